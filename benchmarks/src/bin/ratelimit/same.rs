//! What a decision sends, sent by fred: the same script, keys and arguments.

use std::sync::Arc;

use bytes::Bytes;
use fred::{interfaces::LuaInterface, prelude::Client, types::Value};
use russet_benchmarks::{Ops, Result, Side};
use russet_core_conn::{KeySpace, Script};

use crate::{LIMIT, subject};

const GCRA: &str = include_str!("../../../../crates/ratelimit/src/scripts/gcra.lua");
const WINDOW: &str = include_str!("../../../../crates/ratelimit/src/scripts/window.lua");
const STRICT: &str = include_str!("../../../../crates/ratelimit/src/scripts/strict.lua");
const UNITS: &str = include_str!("../../../../crates/ratelimit/src/scripts/units.lua");
const DECIDE: &str = concat!(
    include_str!("../../../../crates/ratelimit/src/scripts/look.lua"),
    include_str!("../../../../crates/ratelimit/src/scripts/take.lua")
);

/// One of its arguments that is another one at each call: the id of a unit.
const ID: &str = "id";

/// A minute, in ticks of 125 ns.
const MINUTE: u64 = 480_000_000;

pub(crate) struct Same {
    keys: KeySpace,
    kind: &'static str,
    name: &'static str,
    sha: Arc<str>,
    args: Vec<String>,
}

impl Same {
    /// Of this algorithm. The server has the script by then: ours is measured first.
    pub(crate) fn new(keys: &KeySpace, name: &'static str) -> Result<Self> {
        let text = |args: &[&str]| args.iter().map(|arg| (*arg).to_owned()).collect();
        let limit = &*LIMIT.to_string();
        let [minute, part] = [MINUTE, MINUTE / 20].map(|ticks| ticks.to_string());
        // A bucket is kept for twice as long as it takes to fill.
        let kept = (2 * LIMIT / 8_000).to_string();
        let longest = (MINUTE + 1).to_string();
        let any = |rest: &[&str]| text(&[&["", "all", "1"], rest].concat());
        let (script, kind, args) = match name {
            "gcra" => (GCRA, "bucket", text(&["1", limit, &kept])),
            "leaky" => (GCRA, "bucket", text(&["1", &longest, &kept])),
            "fixed" => (WINDOW, "window", text(&["1", limit, &minute, limit, "1", "120000"])),
            "counter" => (DECIDE, "counter", any(&["c", "1", limit, &minute, "120000"])),
            "strict" => (STRICT, "strict", text(&["1", limit, &part, "20", "63000"])),
            "log" => (UNITS, "log", text(&["1", "1000", "80000", ID, "10"])),
            "permits" => (UNITS, "permits", text(&["1", "1000", "80000", ID, "10"])),
            _ => return Err(format!("no arguments of {name}").into()),
        };
        let sha = Script::new("same", script).sha().into();
        Ok(Self { keys: keys.clone(), kind, name, sha, args })
    }

    /// The same key as ours.
    fn key(&self, task: usize) -> Bytes {
        self.keys.key(&format!("limit-{}.{}", self.kind, self.name), &*subject(task)).to_bytes()
    }
}

pub(crate) fn decision(client: &Client, same: &Same) -> impl Side + use<> {
    let (client, sha, args) = (client.clone(), same.sha.clone(), same.args.clone());
    let keys: Vec<Bytes> = (0..64).map(|task| same.key(task)).collect();
    let args: Vec<Bytes> = args.into_iter().map(Bytes::from).collect();
    move |mut ops: Ops| {
        let (client, sha, mut args) = (client.clone(), Arc::clone(&sha), args.clone());
        let key = keys[ops.task()].clone();
        let id = args.iter().position(|arg| arg == ID);
        async move {
            while ops.next() {
                if let Some(id) = id {
                    args[id] = format!("{:016x}", rand::random::<u64>()).into();
                }
                admitted(&client.evalsha(&*sha, key.clone(), args.clone()).await?)?;
            }
            Ok(())
        }
    }
}

/// `gcra.lua` says a number; the others whether it fits, now and facts, as packed doubles.
fn admitted(reply: &Value) -> Result {
    let fits = match reply {
        Value::Integer(ahead) => *ahead >= 0,
        Value::Bytes(said) => said.starts_with(&1_f64.to_le_bytes()),
        _ => false,
    };
    if fits { Ok(()) } else { Err(format!("not admitted: {reply:?}").into()) }
}
