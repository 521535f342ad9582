//! What the server tells of itself, to whom, and how often it is asked.

use russet_core_conn::{
    Backoff, Cmd, EventKind, Feature, Key, Product, Redis, Role, SendOutcome, ServerInfo, Topology,
};
use russet_testkit::{Conn, Eviction, Match, Proxy, Server};

use crate::support::{info, ms, patient};

fn is_ready(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Ready(_))
}

async fn field(conn: &mut Conn, name: &str) -> Option<String> {
    let info = conn.call(&["INFO"]).await.unwrap();
    let line = info.text().unwrap().lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim_start_matches(':').trim().to_owned())
}

/// The version by the server's own words, however it calls itself.
async fn version(conn: &mut Conn) -> (Product, String) {
    match field(conn, "valkey_version").await {
        Some(version) => (Product::Valkey, version),
        None => (Product::Redis, field(conn, "redis_version").await.unwrap()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_what_the_server_says() {
    let server = Server::builder().maxmemory(64 << 20, Eviction::AllKeysLfu).start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let redis = Redis::connect(&server.url()).await.unwrap();
    let told = redis.info().await.unwrap();
    let (product, version) = version(&mut conn).await;
    assert_eq!((&told.product, told.version.unwrap().to_string()), (&product, version));
    assert_eq!((told.topology, told.role), (Some(Topology::Standalone), Some(Role::Primary)));
    assert_eq!(told.run_id, field(&mut conn, "run_id").await);
    assert_eq!((told.max_memory, told.evicts()), (Some(64 << 20), Some(true)));
    assert_eq!(told.eviction.as_deref(), Some("allkeys-lfu"));
    let modules = conn.call(&["MODULE", "LIST"]).await.unwrap();
    assert_eq!(told.modules.as_ref().unwrap().len(), modules.items().unwrap().len());
    // What it is said to have, it has, and what not, not.
    for (feature, command) in [
        (Feature::WaitAof, "WAITAOF"),
        (Feature::HashFieldTtl, "HPEXPIRE"),
        (Feature::HashFieldGetEx, "HGETEX"),
        (Feature::StreamAckDelete, "XACKDEL"),
        (Feature::DeleteIfEqual, "DELIFEQ"),
    ] {
        let known = conn.call(&["COMMAND", "INFO", command]).await.unwrap();
        let has = !known.items().unwrap()[0].is_nil();
        assert_eq!(told.supports(feature), has, "{command} of {told:?}");
    }
    // The protocol is as it was.
    let pairs = redis.run::<russet_core_conn::Value>(Cmd::read("HGETALL").key(&Key::raw("h")));
    assert_eq!(pairs.await.unwrap(), russet_core_conn::Value::Map(Vec::new()));
}

async fn told_to(user: &str, rights: &str) -> (Server, ServerInfo) {
    let acl = format!("user default on nopass ~* &* +@all\nuser {user} on >pw ~* {rights}\n");
    let server = Server::builder().acl_file(acl).start().await.unwrap();
    let url = format!("redis://{user}:pw@{}", server.addr());
    let told = ServerInfo::clone(&*patient(&url).build().unwrap().info().await.unwrap());
    (server, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_ask_is_told_what_everybody_is() {
    // Managed services deny CONFIG, which is not asked for.
    let (server, all) = told_to("managed", "+@all -@admin -@dangerous +info").await;
    assert!(all.run_id.is_some() && all.eviction.is_some() && all.max_memory.is_some());
    let mut conn = server.conn().await.unwrap();
    let denied = conn.call(&["ACL", "LOG"]).await.unwrap();
    assert!(denied.items().unwrap().is_empty(), "{denied:?}");

    let (server, less) = told_to("least", "-@all +ping").await;
    assert_eq!((&less.run_id, &less.eviction, less.max_memory), (&None, &None, None));
    assert_eq!(less.evicts(), None);
    let expected = version(&mut server.conn().await.unwrap()).await;
    assert_eq!((less.product.clone(), less.version.unwrap().to_string()), expected);
    assert_eq!((less.topology, less.role), (Some(Topology::Standalone), Some(Role::Primary)));
    assert!(less.modules.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_says_so() {
    let server = Server::start_with_replicas(1).await.unwrap();
    let redis = Redis::connect(&server.replicas()[0].url()).await.unwrap();
    assert_eq!(redis.info().await.unwrap().role, Some(Role::Replica));
}

/// Until the only probe for a long time is over; from here on the proxy counts anew, what is sent together as one trip.
async fn settled(redis: &Redis, proxy: &Proxy) {
    proxy.delay_replies(ms(0));
    redis.ready().await.unwrap();
    proxy.until(|counters| counters.requests("PING") >= 1).await.unwrap();
    redis.ping().await.unwrap();
    proxy.delay_replies(ms(200));
    proxy.reset_counters();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_costs_one_trip_a_connection() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = patient(&proxy.url())
        .probe(std::time::Duration::from_secs(60), ms(1_000))
        .reconnect(Backoff::constant(ms(5)))
        .build()
        .unwrap();
    let mut events = redis.events();
    settled(&redis, &proxy).await;
    let first = redis.info().await.unwrap();
    assert_eq!((proxy.trips(), proxy.requests("INFO"), proxy.requests("HELLO")), (1, 1, 1));
    for _ in 0..10 {
        assert_eq!(redis.clone().info().await.unwrap(), first);
    }
    assert_eq!((proxy.trips(), proxy.requests("INFO")), (1, 1));
    events.find(is_ready).await.unwrap();
    server.restart().await.unwrap();
    events.find(is_ready).await.unwrap();
    settled(&redis, &proxy).await;
    let second = redis.info().await.unwrap();
    assert_eq!((proxy.trips(), proxy.requests("INFO")), (1, 1));
    assert_ne!(second.run_id, first.run_id);
    assert_eq!(ServerInfo::clone(&second).version, first.version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_busy_is_asked_again_and_not_taken_for_one_that_tells_nothing() {
    let server = Server::builder().config("busy-reply-threshold", "20").start().await.unwrap();
    let redis = patient(&server.url()).build().unwrap();
    redis.ready().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let busy = tokio::spawn(async move {
        let forever = conn.call(&["EVAL", "while true do end", "0"]).await.unwrap();
        assert!(forever.error().is_some(), "{forever:?}");
    });
    let mut other = server.conn().await.unwrap();
    crate::support::until("a busy server", async || {
        let reply = other.call(&["GET", "k"]).await.unwrap();
        reply.error().is_some_and(|words| words.starts_with("BUSY"))
    })
    .await;
    let error = redis.info().await.unwrap_err();
    assert_eq!(error.server(), Some(&russet_core_conn::ServerError::Busy), "{error}");
    assert_eq!(error.outcome(), SendOutcome::Rejected);
    assert!(other.call(&["SCRIPT", "KILL"]).await.unwrap().is_ok());
    busy.await.unwrap();
    assert!(redis.info().await.unwrap().run_id.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_has_the_same_options_and_connections_of_its_own() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let before = info(&mut conn, "total_connections_received").await;
    let redis = patient(&format!("{}/2", proxy.url()))
        .connections(3)
        .connection_name("dup")
        .build()
        .unwrap();
    redis.ready().await.unwrap();
    let brief = redis.with_deadline(ms(300)).without_waiting();
    let copy = brief.duplicate();
    assert_eq!(copy.deadline(), ms(300));
    // As lazy as a new one.
    assert_eq!(info(&mut conn, "total_connections_received").await - before, 3);
    let copy = copy.with_deadline(std::time::Duration::from_secs(10));
    copy.ready().await.unwrap();
    assert_eq!(info(&mut conn, "total_connections_received").await - before, 6);
    let () = copy.run(Cmd::idempotent("SET").key(&Key::raw("k")).arg("v")).await.unwrap();
    let seen: String = redis.run(Cmd::read("GET").key(&Key::raw("k"))).await.unwrap();
    assert_eq!(seen, "v");
    let list = crate::support::clients(&mut conn, "dup").await;
    assert!(list.len() == 6 && list.iter().all(|line| line.contains(" db=2 ")), "{list:?}");
    // The end of one is not the other's.
    redis.close().await;
    copy.ping().await.unwrap();
    // Nor does it wait where the first did not.
    proxy.cut_before(Match::any().always());
    proxy.cut_all().await.unwrap();
    let started = std::time::Instant::now();
    while copy.ping().await.is_ok() {}
    copy.ping().await.unwrap_err();
    assert!(started.elapsed() < std::time::Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_of_the_server_is_told_once_and_another_connection_to_it_is_not() {
    let server = Server::start().await.unwrap();
    let redis =
        patient(&server.url()).connections(2).reconnect(Backoff::constant(ms(5))).build().unwrap();
    // From the beginning: a connection takes calls before it is told that it does.
    let mut events = redis.events();
    redis.ready().await.unwrap();
    for restarts in [None, Some(false), Some(true), Some(false)] {
        match restarts {
            None => {}
            Some(true) => server.restart().await.unwrap(),
            Some(false) => {
                let mut conn = server.conn().await.unwrap();
                conn.call(&["CLIENT", "KILL", "TYPE", "normal"]).await.unwrap();
            }
        }
        let (mut replaced, mut ready) = (0, 0);
        while ready < 2 {
            match events.find(|_| true).await.unwrap().kind {
                EventKind::Replaced => {
                    assert_eq!(ready, 0, "calls went out before it was told");
                    replaced += 1;
                }
                EventKind::Ready(_) => ready += 1,
                _ => {}
            }
        }
        assert_eq!(replaced, usize::from(restarts == Some(true)));
    }
}
