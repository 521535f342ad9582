//! `cargo xtask bench core`, its second part: what the links differ by, and what TLS costs; ours beside ours.

use russet_benchmarks::{
    Result, Suite,
    workload::{VALUE, russet_get, russet_script},
};
use russet_core_conn::{Client, Cmd, Key, Redis, Tls};
use russet_testkit::{self as testkit, Server};
use std::process::ExitCode;

const KEY: &str = "bench:links:value";

const COUNTER: &str = "bench:links:counter";

fn main() -> ExitCode {
    Suite::main("links", async |suite| {
        let other = Redis::builder(suite.url()).client(Client::Fred).build()?;
        let ours = Redis::builder(suite.url()).client(Client::RedisRs).build()?;
        ours.ready().await?;
        set(&other).await?;
        for tasks in [1, 64, 256] {
            let ours = ("russet over redis-rs", russet_get(&ours, KEY));
            let other = ("russet over fred", russet_get(&other, KEY));
            suite.row(format!("link get {tasks}")).tasks(tasks).run(ours, other).await?;
        }
        for tasks in [64, 256] {
            let ours = ("russet over redis-rs", russet_script(&ours, COUNTER));
            let other = ("russet over fred", russet_script(&other, COUNTER));
            suite.row(format!("link script {tasks}")).tasks(tasks).run(ours, other).await?;
        }
        tls(suite).await
    })
}

/// On the two ports of one server, which decrypts in its one thread.
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
    set(&plain).await?;
    for tasks in [1, 64] {
        let ours = ("russet over TLS", russet_get(&encrypted, KEY));
        let other = ("the same over TCP", russet_get(&plain, KEY));
        suite.row(format!("get {tasks} tls")).tasks(tasks).run(ours, other).await?;
    }
    Ok(())
}

async fn set(redis: &Redis) -> Result {
    let set = Cmd::idempotent("SET").key(&Key::raw(KEY)).arg(&VALUE[..]);
    Ok(redis.run(set).await?)
}
