//! What the tests share.

use std::fmt::Display;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use russet_core_conn::{Key, Redis, RedisBuilder};
use russet_testkit::Conn;

/// The seed of this run: of `RUSSET_SEED`, or fixed.
pub(crate) fn seed() -> u64 {
    std::env::var("RUSSET_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7)
}

/// A handle to a server that other tests use, too, and a prefix that is this test's alone.
pub(crate) async fn shared(test: &str) -> (Redis, String) {
    let redis = patient(&russet_testkit::shared::url().await.unwrap()).build().unwrap();
    (redis, russet_testkit::shared::prefix(test))
}

/// Options for tests that are not about deadlines: a busy machine must not fail them.
pub(crate) fn patient(url: &str) -> RedisBuilder {
    Redis::builder(url).deadline(Duration::from_secs(10))
}

pub(crate) fn key(prefix: &str, name: impl Display) -> Key {
    Key::raw(format!("{prefix}:{name}"))
}

/// Where the soak writes what it found.
pub(crate) fn soak_report(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/soak").join(format!("{name}.json"))
}

/// Writes what a soak did and met; called when it has passed.
pub(crate) fn record(name: &str, server: &str, sizes: &[(&str, u64)], faults: &[(&str, u64)]) {
    record_figures(name, server, sizes, faults, &[]);
}

/// The same, with what was measured.
pub(crate) fn record_figures(
    name: &str,
    server: &str,
    sizes: &[(&str, u64)],
    faults: &[(&str, u64)],
    figures: &[(&str, u64)],
) {
    let git = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output().unwrap();
    let commit = String::from_utf8(git.stdout).unwrap();
    let object = |pairs: &[(&str, u64)]| {
        let pairs: Vec<_> = pairs.iter().map(|(key, n)| format!("\"{key}\": {n}")).collect();
        format!("{{{}}}", pairs.join(", "))
    };
    let report = format!(
        "{{\"name\": \"{name}\", \"commit\": \"{}\", \"server\": \"{server}\", \"seed\": {}, \"sizes\": {}, \
         \"faults\": {}, \"figures\": {}, \"result\": \"passed\"}}\n",
        commit.trim(),
        seed(),
        object(sizes),
        object(faults),
        object(figures),
    );
    let path = soak_report(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, &report).unwrap();
    print!("{report}");
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

/// A line of `CLIENT LIST` for each connection with this name.
pub(crate) async fn clients(conn: &mut Conn, name: &str) -> Vec<String> {
    let list = conn.call(&["CLIENT", "LIST"]).await.unwrap();
    let named = format!(" name={name} ");
    list.text().unwrap().lines().filter(|line| line.contains(&named)).map(str::to_owned).collect()
}

/// One number of `INFO`.
pub(crate) async fn info(conn: &mut Conn, field: &str) -> u64 {
    let info = conn.call(&["INFO"]).await.unwrap();
    let prefix = format!("{field}:");
    let line = info.text().unwrap().lines().find_map(|line| line.strip_prefix(&prefix)).unwrap();
    line.trim().parse().unwrap()
}
