//! `cargo xtask bench core`: a command and a script at some tasks, beside the clients below.

use fred::{
    interfaces::{KeysInterface, LuaInterface},
    prelude::Client,
};
use redis::aio::MultiplexedConnection;
use russet_benchmarks::{
    Ops, Side, Suite,
    rivals::{self, FRED, REDIS_RS, RUSSET},
    workload::{LIFE, TEXT, VALUE, counted, russet_get, russet_script, same_length},
};
use russet_core_conn::Redis;
use std::{process::ExitCode, sync::Arc};

const KEY: &str = "bench:core:value";

const COUNTER: &str = "bench:core:counter";

fn main() -> ExitCode {
    Suite::main("core", async |suite| {
        let russet = Redis::connect(suite.url()).await?;
        let fred = rivals::fred(suite.url()).await?;
        let twin = rivals::fred(suite.url()).await?;
        let redis_rs = rivals::redis_rs(suite.url()).await?;
        let _: () = fred.set(KEY, &VALUE[..], None, None, false).await?;
        let sha: String = fred.script_load(TEXT).await?;

        // The same against the same: what the harness calls a difference where there is none.
        let (a, b) = (("fred", fred_get(&fred)), ("fred, the same", fred_get(&twin)));
        suite.row("a/a get 64").tasks(64).run(a, b).await?;

        for (tasks, floor) in [(1, None), (64, Some(0.95)), (256, Some(0.95))] {
            let (ours, other) = ((RUSSET, russet_get(&russet, KEY)), (FRED, fred_get(&fred)));
            suite.row(format!("get {tasks}")).tasks(tasks).floor(floor).run(ours, other).await?;
        }
        let (a, b) =
            (("fred", fred_script(&fred, &sha)), ("fred, the same", fred_script(&twin, &sha)));
        suite.row("a/a script 256").tasks(256).run(a, b).await?;
        for tasks in [64, 256] {
            let ours = (RUSSET, russet_script(&russet, COUNTER));
            let other = (FRED, fred_script(&fred, &sha));
            let row = suite.row(format!("script {tasks}")).tasks(tasks).floor(Some(0.95));
            row.run(ours, other).await?;
        }
        for tasks in [1, 64, 256] {
            let (ours, other) =
                ((RUSSET, russet_get(&russet, KEY)), (REDIS_RS, redis_rs_get(&redis_rs)));
            suite.row(format!("get {tasks} redis-rs")).tasks(tasks).run(ours, other).await?;
        }
        for tasks in [64, 256] {
            let ours = (RUSSET, russet_script(&russet, COUNTER));
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
                same_length(client.get(KEY).await?)?;
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
                same_length(redis::cmd("GET").arg(KEY).query_async(&mut connection).await?)?;
            }
            Ok(())
        }
    }
}

fn fred_script(client: &Client, sha: &str) -> impl Side {
    // fred keeps the digest as a string with a shared buffer; ours is not charged for a copy either.
    let (client, sha) = (client.clone(), Arc::<str>::from(sha));
    move |mut ops: Ops| {
        let (client, sha) = (client.clone(), Arc::clone(&sha));
        async move {
            while ops.next() {
                counted(client.evalsha(&*sha, COUNTER, LIFE).await?)?;
            }
            Ok(())
        }
    }
}

fn redis_rs_script(connection: &MultiplexedConnection, sha: &str) -> impl Side {
    let (connection, sha) = (connection.clone(), Arc::<str>::from(sha));
    move |mut ops: Ops| {
        let (mut connection, sha) = (connection.clone(), Arc::clone(&sha));
        async move {
            while ops.next() {
                let mut command = redis::cmd("EVALSHA");
                command.arg(&*sha).arg(1).arg(COUNTER).arg(LIFE);
                counted(command.query_async(&mut connection).await?)?;
            }
            Ok(())
        }
    }
}
