//! Signals, in a process of their own.

use std::process::Stdio;
use std::time::Duration;

use russet_core_conn::ErrorKind;
use russet_testkit::Proxy;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{behind_proxy, calls};
use crate::support::{patient, poll_once};

/// In flight when the signal comes.
pub(crate) const CALLS: usize = 8;

/// A service: calls are in flight, and it waits for a signal. Says `closing` and then what the report says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that others send signals to"]
async fn service() {
    let Ok(url) = std::env::var("RUSSET_TEST_SERVICE") else { return };
    let redis = patient(&url)
        .deadline(Duration::from_secs(60))
        .close_deadline(Duration::from_secs(60))
        .build()
        .unwrap();
    redis.ready().await.unwrap();
    let mut shutdown = Box::pin(redis.shutdown_on_signal());
    // From here on signals are heard.
    assert!(poll_once(shutdown.as_mut()).await.is_none());
    println!("\nready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let calls = calls(&redis, "service", CALLS);
    let ear = redis.without_waiting();
    let closing = tokio::spawn(async move {
        loop {
            match ear.ready().await {
                Err(error) if matches!(error.kind(), ErrorKind::Closed) => break,
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        }
        println!("\nclosing");
    });
    let report = shutdown.await.unwrap();
    closing.await.unwrap();
    let replies = calls.join_all().await;
    let answered = replies.iter().filter(|reply| reply.is_ok()).count();
    println!("\nreport {} {} {answered}", report.not_sent, report.unknown);
}

/// Starts it, and waits until its calls are in flight; their replies come when the proxy is told so.
async fn start(proxy: &Proxy) -> (Child, Lines<BufReader<ChildStdout>>) {
    start_as(proxy, "close::signal::service").await
}

/// The same for another service.
pub(crate) async fn start_as(
    proxy: &Proxy,
    service: &str,
) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", service, "--ignored", "--nocapture"])
        .env("RUSSET_TEST_SERVICE", proxy.url())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    line(&mut lines, "ready").await;
    proxy.stall();
    child.stdin.take().unwrap().write_all(b"go\n").await.unwrap();
    proxy.until(|now| now.requests("INCR") == CALLS as u64).await.unwrap();
    (child, lines)
}

pub(crate) async fn signal(child: &Child, name: &str) {
    let pid = child.id().unwrap();
    let kill = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(kill.await.unwrap().success());
}

pub(crate) async fn line(lines: &mut Lines<BufReader<ChildStdout>>, begin: &str) -> String {
    let reading = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.starts_with(begin) {
                return line;
            }
        }
        panic!("it ended without `{begin}`");
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("it hangs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_lets_what_is_in_flight_finish() {
    for name in ["TERM", "INT"] {
        let (_server, proxy) = behind_proxy().await;
        let (mut child, mut lines) = start(&proxy).await;
        signal(&child, name).await;
        line(&mut lines, "closing").await;
        assert_eq!(proxy.requests("QUIT"), 0, "it does not wait for what is in flight");
        proxy.unstall();
        assert_eq!(line(&mut lines, "report").await, format!("report 0 0 {CALLS}"), "{name}");
        assert!(child.wait().await.unwrap().success());
        proxy.until(|now| now.open == 0).await.unwrap();
        assert_eq!(proxy.requests("QUIT"), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_at_once() {
    let (_server, proxy) = behind_proxy().await;
    let (mut child, mut lines) = start(&proxy).await;
    signal(&child, "TERM").await;
    line(&mut lines, "closing").await;
    signal(&child, "TERM").await;
    // Its close deadline is a minute.
    assert_eq!(line(&mut lines, "report").await, format!("report 0 {CALLS} 0"));
    assert!(child.wait().await.unwrap().success());
}
