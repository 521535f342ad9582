//! What the tests share.

use std::fmt::Display;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use russet_core_conn::{
    Backoff, Client, Cmd, Error, EventKind, Key, Redis, RedisBuilder, SendOutcome,
};
use russet_testkit::Conn;
use russet_testkit::shared::Topology;

/// Whether handles go by fred unless they say otherwise.
pub(crate) fn over_fred() -> bool {
    format!("{:?}", Client::default()) == "Fred"
}

/// The rights that this crate asks for.
pub(crate) const ACL: &str = include_str!("../../acl/core-conn.acl");

/// A handle to servers that other tests use, too, and the beginning of keys that is this test's alone. The user is
/// that of the crate's ACL file, with the commands that read and write, which are the application's own.
pub(crate) async fn shared(at: Topology, test: &str) -> (Redis, String) {
    let prefix = russet_testkit::shared::prefix(test);
    let more = ["+@read", "+@write", "+@pubsub", "+client|info", "&*"];
    let url = at.url_as(ACL, &prefix, &more).await.unwrap();
    (patient(&url).build().unwrap(), format!("{{{prefix}:0}}"))
}

/// Options for tests that are not about deadlines: a busy machine must not fail them.
pub(crate) fn patient(url: &str) -> RedisBuilder {
    Redis::builder(url).deadline(Duration::from_secs(10))
}

/// A handle that gives an attempt to connect this long, and makes the next one at once.
pub(crate) fn tried_again(builder: RedisBuilder, timeout: Duration) -> Redis {
    builder.connect_timeout(timeout).reconnect(Backoff::constant(ms(10))).build().unwrap()
}

pub(crate) fn is_fourth_attempt(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Reconnecting { attempt: 4, .. })
}

/// None when this server has no TLS, which the testkit makes sure of: there is nothing to prove then.
#[cfg(feature = "tls")]
pub(crate) fn with_tls<T>(started: Result<T, russet_testkit::Error>) -> Option<T> {
    match started {
        Ok(started) => Some(started),
        Err(russet_testkit::Error::Unsupported { what: "TLS", version }) => {
            eprintln!("{version} was built without TLS");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

/// What a call on a connection of its own is told that gets none: it was never sent.
pub(crate) async fn told_alone(redis: &Redis) -> Error {
    let alone = Cmd::write("BLPOP").key(&Key::raw("list")).arg("1");
    let brief = redis.with_deadline(ms(500));
    let error = brief.run::<Vec<String>>(alone).await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
    error
}

/// A write that shows by its answer how often it was made.
pub(crate) fn incr(name: &str) -> Cmd {
    Cmd::write("INCR").key(&Key::raw(name.to_owned()))
}

pub(crate) fn key(prefix: &str, name: impl Display) -> Key {
    Key::raw(format!("{prefix}:{name}"))
}

pub(crate) use russet_testkit::soak::{record as record_figures, seed};

/// The same without figures.
pub(crate) fn record(name: &str, server: &str, sizes: &[(&str, u64)], faults: &[(&str, u64)]) {
    record_figures(name, server, sizes, faults, &[]);
}

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Lets a future get as far as it can by itself. A call that must wait has its turn in the queue then.
pub(crate) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Asks again and again what tells of its changes to nobody: the server, the system.
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !done().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(ms(5)).await;
    }
}

/// Runs one test of this program again, as a process of its own with these variables: no process may change its own
/// environment. The test finds by them that it is meant. Fails if that fails.
pub(crate) fn run_again(test: &str, variables: &[(&str, &str)]) {
    let again = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    let complained = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success() && said.contains("1 passed"), "{said}\n{complained}");
}

/// A line of `CLIENT LIST` for each connection with this name.
pub(crate) async fn clients(conn: &mut Conn, name: &str) -> Vec<String> {
    let list = conn.call(&["CLIENT", "LIST"]).await.unwrap();
    let named = format!(" name={name} ");
    list.text().unwrap().lines().filter(|line| line.contains(&named)).map(str::to_owned).collect()
}

/// The same of all primaries of the shared servers.
pub(crate) async fn clients_at(at: Topology, name: &str) -> Vec<String> {
    let mut all = Vec::new();
    for mut primary in at.primaries().await.unwrap() {
        all.extend(clients(&mut primary, name).await);
    }
    all
}

/// One number of `INFO`.
pub(crate) async fn info(conn: &mut Conn, field: &str) -> u64 {
    let info = conn.call(&["INFO"]).await.unwrap();
    let prefix = format!("{field}:");
    let line = info.text().unwrap().lines().find_map(|line| line.strip_prefix(&prefix)).unwrap();
    line.trim().parse().unwrap()
}

/// The memory of this process that is in use, in KiB.
pub(crate) fn rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
