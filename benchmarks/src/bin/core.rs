//! `cargo xtask bench core`: a command and a script, each at its tasks, beside the clients below.

use fred::{
    interfaces::{KeysInterface, LuaInterface},
    prelude::Client,
    types::Value,
};
use redis::aio::MultiplexedConnection;
use russet_benchmarks::{
    Ops, Result, Side, Suite,
    rivals::{self, FRED, REDIS_RS},
};
use std::process::ExitCode;

const KEY: &str = "bench:core:value";
const VALUE: [u8; 512] = [b'v'; 512];

/// What a fixed-window limiter does.
const SCRIPT: &str = "local n = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {0, n}";
const COUNTER: &str = "bench:core:counter";
const LIFE: &str = "60000";

fn main() -> ExitCode {
    Suite::main("core", async |suite| {
        let fred = rivals::fred(suite.url()).await?;
        let twin = rivals::fred(suite.url()).await?;
        let redis_rs = rivals::redis_rs(suite.url()).await?;
        let _: () = fred.set(KEY, &VALUE[..], None, None, false).await?;
        let sha: String = fred.script_load(SCRIPT).await?;

        // The same against the same: what the harness calls a difference where there is none.
        let (a, b) = (("fred", fred_get(&fred)), ("fred, the same", fred_get(&twin)));
        suite.row("a/a get 64").tasks(64).run(a, b).await?;
        for tasks in [1, 64, 256] {
            let (ours, other) = ((FRED, fred_get(&fred)), (REDIS_RS, redis_rs_get(&redis_rs)));
            suite.row(format!("get {tasks} redis-rs")).tasks(tasks).run(ours, other).await?;
        }
        for tasks in [64, 256] {
            let ours = (FRED, fred_script(&fred, &sha));
            let other = (REDIS_RS, redis_rs_script(&redis_rs, &sha));
            suite.row(format!("script {tasks} redis-rs")).tasks(tasks).run(ours, other).await?;
        }
        Ok(())
    })
}

fn fred_get(client: &Client) -> impl Side {
    let client = client.clone();
    move |mut ops: Ops| {
        let client = client.clone();
        async move {
            while ops.next() {
                let value: Option<bytes::Bytes> = client.get(KEY).await?;
                same_length(value.as_deref())?;
            }
            Ok(())
        }
    }
}

fn redis_rs_get(connection: &MultiplexedConnection) -> impl Side {
    let connection = connection.clone();
    move |mut ops: Ops| {
        let mut connection = connection.clone();
        async move {
            while ops.next() {
                let value: Option<bytes::Bytes> =
                    redis::cmd("GET").arg(KEY).query_async(&mut connection).await?;
                same_length(value.as_deref())?;
            }
            Ok(())
        }
    }
}

fn fred_script(client: &Client, sha: &str) -> impl Side {
    let (client, sha) = (client.clone(), sha.to_owned());
    move |mut ops: Ops| {
        let (client, sha) = (client.clone(), sha.clone());
        async move {
            while ops.next() {
                let _: Value = client.evalsha(&sha, COUNTER, LIFE).await?;
            }
            Ok(())
        }
    }
}

fn redis_rs_script(connection: &MultiplexedConnection, sha: &str) -> impl Side {
    let (connection, sha) = (connection.clone(), sha.to_owned());
    move |mut ops: Ops| {
        let (mut connection, sha) = (connection.clone(), sha.clone());
        async move {
            while ops.next() {
                let mut command = redis::cmd("EVALSHA");
                command.arg(&sha).arg(1).arg(COUNTER).arg(LIFE);
                let _: redis::Value = command.query_async(&mut connection).await?;
            }
            Ok(())
        }
    }
}

/// A fast answer that is another one is no answer.
fn same_length(value: Option<&[u8]>) -> Result {
    match value {
        Some(value) if value.len() == VALUE.len() => Ok(()),
        other => Err(format!("another value: {:?}", other.map(<[u8]>::len)).into()),
    }
}
