//! `cargo xtask bench core`: a command and a script at some tasks, beside the clients below.

use bytes::Bytes;
use fred::{
    interfaces::{KeysInterface, LuaInterface},
    prelude::Client,
};
use redis::aio::MultiplexedConnection;
use russet_benchmarks::{
    Ops, Result, Side, Suite,
    rivals::{self, FRED, REDIS_RS, RUSSET},
    workload::{LIFE, SCRIPT, TEXT, VALUE, counted, same_length},
};
use russet_core_conn::{Client as Link, Cmd, Key, Redis, Tls};
use russet_testkit::{self as testkit, Server};
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
            let (ours, other) = ((RUSSET, russet_get(&russet)), (FRED, fred_get(&fred)));
            suite.row(format!("get {tasks}")).tasks(tasks).floor(floor).run(ours, other).await?;
        }
        let (a, b) =
            (("fred", fred_script(&fred, &sha)), ("fred, the same", fred_script(&twin, &sha)));
        suite.row("a/a script 256").tasks(256).run(a, b).await?;
        for tasks in [64, 256] {
            let ours = (RUSSET, russet_script(&russet));
            let other = (FRED, fred_script(&fred, &sha));
            let row = suite.row(format!("script {tasks}")).tasks(tasks).floor(Some(0.95));
            row.run(ours, other).await?;
        }
        for tasks in [1, 64, 256] {
            let (ours, other) =
                ((RUSSET, russet_get(&russet)), (REDIS_RS, redis_rs_get(&redis_rs)));
            suite.row(format!("get {tasks} redis-rs")).tasks(tasks).run(ours, other).await?;
        }
        for tasks in [64, 256] {
            let ours = (RUSSET, russet_script(&russet));
            let other = (REDIS_RS, redis_rs_script(&redis_rs, &sha));
            suite.row(format!("script {tasks} redis-rs")).tasks(tasks).run(ours, other).await?;
        }
        // What the links differ by.
        let second = Redis::builder(suite.url()).client(Link::RedisRs).build()?;
        second.ready().await?;
        for tasks in [1, 64, 256] {
            let ours = ("russet over redis-rs", russet_get(&second));
            let other = (RUSSET, russet_get(&russet));
            suite.row(format!("link get {tasks}")).tasks(tasks).run(ours, other).await?;
        }
        for tasks in [64, 256] {
            let ours = ("russet over redis-rs", russet_script(&second));
            let other = (RUSSET, russet_script(&russet));
            suite.row(format!("link script {tasks}")).tasks(tasks).run(ours, other).await?;
        }
        tls(suite).await
    })
}

/// What TLS costs a call: ours beside ours, on the two ports of one server, which decrypts in its one thread.
async fn tls(suite: &mut Suite) -> Result {
    let server = match Server::builder().tls(testkit::Tls::new()).start().await {
        Ok(server) => server,
        Err(testkit::Error::Unsupported { what: "TLS", version }) => {
            eprintln!("no rows of TLS: {version} was built without it");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let (Some(url), Some(certificates)) = (server.tls_url(), server.certificates()) else {
        return Err("a server with TLS that has no port for it".into());
    };
    let trust = Tls::new().ca_file(certificates.ca().path());
    let encrypted = Redis::builder(&url).tls(trust).build()?;
    let plain = Redis::connect(&server.url()).await?;
    let () = plain.run(Cmd::idempotent("SET").key(&Key::raw(KEY)).arg(&VALUE[..])).await?;
    for tasks in [1, 64] {
        let ours = ("russet over TLS", russet_get(&encrypted));
        let other = ("the same over TCP", russet_get(&plain));
        suite.row(format!("get {tasks} tls")).tasks(tasks).run(ours, other).await?;
    }
    Ok(())
}

fn russet_get(redis: &Redis) -> impl Side {
    let (redis, key) = (redis.clone(), Key::raw(KEY));
    move |mut ops: Ops| {
        let (redis, key) = (redis.clone(), key.clone());
        async move {
            while ops.next() {
                let value: Option<Bytes> = redis.run(Cmd::read("GET").key(&key)).await?;
                same_length(value)?;
            }
            Ok(())
        }
    }
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

fn russet_script(redis: &Redis) -> impl Side {
    let (redis, key) = (redis.clone(), Key::raw(COUNTER));
    move |mut ops: Ops| {
        let (redis, key) = (redis.clone(), key.clone());
        async move {
            while ops.next() {
                let count: i64 = redis.script(SCRIPT.key(&key).arg(LIFE)).await?;
                counted(count)?;
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
