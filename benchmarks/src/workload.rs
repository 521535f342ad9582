//! What the benches of single calls do: a value that is read, and a script that counts.

use crate::{Ops, Result, Side};
use bytes::Bytes;
use russet_core_conn::{Cmd, Key, Redis, Script};
use std::sync::LazyLock;

/// What a GET finds.
pub const VALUE: [u8; 512] = [b'v'; 512];

/// What a fixed-window limiter does.
pub const TEXT: &str = "\
-- Counts, and lets the count end by itself.
-- KEYS[1]: the counter
-- ARGV[1]: its time to live in milliseconds
-- Returns: the count
-- Idempotent: no
local n = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return n";

/// Of a counter, in milliseconds.
pub const LIFE: i64 = 60_000;

/// The same as ours.
pub static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new("window", TEXT));

/// A fast answer that is another one is no answer.
///
/// # Errors
/// Another value, or none.
pub fn same_length(value: Option<Bytes>) -> Result {
    match value {
        Some(value) if value.len() == VALUE.len() => Ok(()),
        other => Err(format!("another value: {other:?}").into()),
    }
}

/// The same of the script.
///
/// # Errors
/// No count.
pub fn counted(count: i64) -> Result {
    if count > 0 { Ok(()) } else { Err(format!("another count: {count}").into()) }
}

/// Reads one value.
pub fn russet_get(redis: &Redis, key: &'static str) -> impl Side + use<> {
    let (redis, key) = (redis.clone(), Key::raw(key));
    move |mut ops: Ops| {
        let (redis, key) = (redis.clone(), key.clone());
        async move {
            while ops.next() {
                same_length(redis.run(Cmd::read("GET").key(&key)).await?)?;
            }
            Ok(())
        }
    }
}

/// Runs the script on one counter.
pub fn russet_script(redis: &Redis, counter: &'static str) -> impl Side + use<> {
    let (redis, counter) = (redis.clone(), Key::raw(counter));
    move |mut ops: Ops| {
        let (redis, counter) = (redis.clone(), counter.clone());
        async move {
            while ops.next() {
                counted(redis.script(SCRIPT.key(&counter).arg(LIFE)).await?)?;
            }
            Ok(())
        }
    }
}
