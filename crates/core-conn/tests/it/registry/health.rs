//! The health of all entries.

use std::time::{Duration, Instant};

use russet_core_conn::{
    Backoff, ErrorKind, EventKind, Health, Redis, RedisBuilder, Registry, RegistryReport,
    SendOutcome,
};
use russet_testkit::{Conn, Eviction, Proxy, Server};

use crate::close::assert_closed;
use crate::log::Log;
use crate::support::{incr, ms, patient, poll_once, until};

/// Why this entry is not healthy.
fn reason(report: &RegistryReport<Health>, name: &str) -> ErrorKind {
    match report.get(name) {
        Some(Health::Unhealthy { error }) => error.kind().clone(),
        other => panic!("{name}: {other:?}"),
    }
}

fn latency(report: &RegistryReport<Health>, name: &str) -> Duration {
    match report.get(name) {
        Some(Health::Healthy { latency, .. }) => *latency,
        other => panic!("{name}: {other:?}"),
    }
}

/// A port on which nobody answers, and that is nobody else's.
async fn nowhere() -> Proxy {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    proxy.refuse().await.unwrap();
    proxy
}

/// Whose next attempt to connect is an hour away once it has failed.
fn no_second_attempt(url: &str) -> RedisBuilder {
    patient(url).reconnect(Backoff::constant(Duration::from_secs(3_600)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_entry_says_how_it_is_within_the_time_whatever_the_others_do() {
    let registry = Registry::new();
    assert!(registry.health().await.is_healthy(), "there is none that is not");
    let fine = Server::start().await.unwrap();
    let hung = Server::start().await.unwrap();
    let dead = Server::start().await.unwrap();
    let silent = Server::start().await.unwrap();
    let gone = nowhere().await;
    // It is used and well, and does not say so by the handle's own deadline.
    let used = registry.add("fine", Redis::builder(&fine.url()).deadline(ms(1))).unwrap();
    registry.add("lazy", patient(&fine.url())).unwrap();
    for name in ["hung 1", "hung 2", "hung 3", "hung 4"] {
        registry.add(name, patient(&hung.url())).unwrap().ready().await.unwrap();
    }
    let killed = registry.add("dead", no_second_attempt(&dead.url())).unwrap();
    registry.add("silent", patient(&silent.url())).unwrap();
    let give_up = Backoff::constant(ms(5)).max_attempts(1);
    let gave_up = registry.add("gave up", patient(&gone.url()).reconnect(give_up)).unwrap();
    used.with_deadline(ms(10_000)).ready().await.unwrap();
    killed.ready().await.unwrap();
    hung.pause().await.unwrap();
    silent.pause().await.unwrap();
    let mut events = killed.events();
    dead.kill().await.unwrap();
    events.find(|kind| matches!(kind, EventKind::Reconnecting { .. })).await.unwrap();
    gave_up.ready().await.unwrap_err();

    let started = Instant::now();
    let report = registry.health_within(ms(400)).await;
    let took = started.elapsed();
    assert!(took >= ms(400) && took < ms(1_500), "{took:?}");
    let names: Vec<_> = report.iter().map(|(name, _)| name).collect();
    let hung_ones = ["hung 1", "hung 2", "hung 3", "hung 4"];
    assert_eq!(names, [&["dead", "fine", "gave up"][..], &hung_ones, &["lazy", "silent"]].concat());
    assert!(!report.is_healthy());
    assert!(latency(&report, "fine") < ms(400));
    assert!(latency(&report, "lazy") < ms(400));
    for name in hung_ones {
        assert!(matches!(reason(&report, name), ErrorKind::Deadline(_)), "{report:?}");
    }
    let ErrorKind::NotConnected(why) = reason(&report, "silent") else { panic!("{report:?}") };
    assert!(why.contains("still connecting"), "{why}");
    let ErrorKind::NotConnected(why) = reason(&report, "dead") else { panic!("{report:?}") };
    assert!(why.contains("connection ended"), "without the last error: {why}");
    assert!(matches!(reason(&report, "gave up"), ErrorKind::GaveUp { .. }));

    hung.resume().await.unwrap();
    silent.resume().await.unwrap();
    registry.get("silent").unwrap().ready().await.unwrap();
    let report = registry.health_within(Duration::from_secs(10)).await;
    latency(&report, "hung 1");
    latency(&report, "silent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_away_is_said_at_once() {
    let registry = Registry::new();
    let gone = nowhere().await;
    for name in ["used", "queued", "never used"] {
        registry.add(name, no_second_attempt(&gone.url()).queue(1)).unwrap();
    }
    registry.get("used").unwrap().without_waiting().ping().await.unwrap_err();
    // Its queue is full of calls that wait for the next connection.
    let queued = registry.get("queued").unwrap();
    queued.without_waiting().ping().await.unwrap_err();
    let mut waiting = Box::pin(queued.run::<i64>(incr("n")));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    let started = Instant::now();
    let report = registry.health_within(Duration::from_secs(10)).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    for name in ["used", "queued", "never used"] {
        let ErrorKind::NotConnected(why) = reason(&report, name) else { panic!("{report:?}") };
        assert!(why.contains("refused"), "{name}: {why}");
    }
    assert!(poll_once(waiting.as_mut()).await.is_none(), "others wait as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_measured_without_the_time_to_connect() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let registry = Registry::new();
    registry.add("lazy", patient(&proxy.url())).unwrap();
    proxy.stall();
    // Its future can be sent to another task.
    let asking = tokio::spawn({
        let registry = registry.clone();
        async move { registry.health_within(Duration::from_secs(10)).await }
    });
    proxy.until(|now| now.requests("HELLO") == 1).await.unwrap();
    tokio::time::sleep(ms(500)).await;
    proxy.unstall();
    let report = asking.await.unwrap();
    assert!(latency(&report, "lazy") < ms(500), "{report:?}");
    tokio::spawn(async move { registry.close_all().await }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_ask_is_answered_all_the_same() {
    let acl = "user bob on >pw ~* &* +@all -ping\n";
    let server = Server::builder().acl_file(acl).start().await.unwrap();
    let registry = Registry::new();
    registry.add("bob", patient(&format!("redis://bob:pw@{}", server.addr()))).unwrap();
    registry
        .add("stranger", no_second_attempt(&format!("redis://bob:no@{}", server.addr())))
        .unwrap();
    let report = registry.health_within(Duration::from_secs(10)).await;
    latency(&report, "bob");
    let ErrorKind::NotConnected(why) = reason(&report, "stranger") else { panic!("{report:?}") };
    assert!(why.contains("WRONGPASS"), "{why}");

    registry.close_all().await;
    let report = registry.health_within(Duration::from_secs(10)).await;
    let Some(Health::Unhealthy { error }) = report.get("bob") else { panic!("{report:?}") };
    assert_closed(error);
    assert!(error.operation() == Some("PING") && error.call_site().is_none(), "{error}");
    assert_eq!(error.outcome(), SendOutcome::NotSent);
}

async fn evicts(registry: &Registry) -> Option<bool> {
    let report = registry.health_within(Duration::from_secs(10)).await;
    assert!(report.is_healthy(), "{report:?}");
    report.state_evicts()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_lost_is_told_to_be_on_a_server_that_evicts() {
    let registry = Registry::new();
    assert_eq!(evicts(&registry).await, None, "there is no state");
    let acl = "user default on nopass ~* &* +@all\nuser mute on >pw ~* &* +@all -info\n";
    let server = Server::builder()
        .maxmemory(64 << 20, Eviction::AllKeysLru)
        .acl_file(acl)
        .start()
        .await
        .unwrap();
    registry.add(Registry::CACHE, patient(&server.url())).unwrap();
    assert_eq!(evicts(&registry).await, None, "a cache may be evicted");
    let quick = patient(&server.url()).reconnect(Backoff::constant(ms(5)));
    let state = registry.add(Registry::STATE, quick).unwrap();
    assert_eq!(evicts(&registry).await, Some(true));

    // Asked once a connection; another policy is seen with the next one.
    let mut conn = server.conn().await.unwrap();
    let asked = async |conn: &mut Conn| {
        let stats = conn.call(&["INFO", "commandstats"]).await.unwrap();
        let stats = stats.text().unwrap().to_owned();
        let line = stats.lines().find_map(|line| line.strip_prefix("cmdstat_info:calls="));
        line.and_then(|line| line.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = asked(&mut conn).await;
    assert_eq!(evicts(&registry).await, Some(true));
    assert_eq!(asked(&mut conn).await, before + 1, "that was this question itself");
    let set = ["CONFIG", "SET", "maxmemory-policy", "noeviction"];
    assert!(conn.call(&set).await.unwrap().is_ok());
    let mut events = state.events();
    conn.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.unwrap();
    events.find(|kind| matches!(kind, EventKind::Ready(_))).await.unwrap();
    until("it does not evict any more", async || {
        registry.health_within(Duration::from_secs(10)).await.state_evicts() == Some(false)
    })
    .await;

    // Who may not know it is well all the same.
    assert!(
        conn.call(&["CONFIG", "SET", "maxmemory-policy", "volatile-ttl"]).await.unwrap().is_ok()
    );
    let registry = Registry::new();
    registry.add(Registry::STATE, patient(&format!("redis://mute:pw@{}", server.addr()))).unwrap();
    assert_eq!(evicts(&registry).await, None);
}

/// On one thread, so that it hears its own log.
#[tokio::test]
async fn that_state_may_be_evicted_is_in_the_log_once() {
    let (log, _guard) = Log::of_this_thread();
    let warnings = || log.text().lines().filter(|line| line.contains("may evict")).count();
    let server =
        Server::builder().maxmemory(64 << 20, Eviction::VolatileLru).start().await.unwrap();
    let registry = Registry::new();
    registry.add(Registry::CACHE, patient(&server.url())).unwrap();
    registry.health_within(Duration::from_secs(10)).await;
    assert_eq!(warnings(), 0, "a cache may be evicted");
    registry.add(Registry::STATE, patient(&server.url())).unwrap();
    for _ in 0..3 {
        assert_eq!(evicts(&registry).await, Some(true));
        assert_eq!(warnings(), 1, "{}", log.text());
    }
}
