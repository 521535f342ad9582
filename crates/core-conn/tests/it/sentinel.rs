//! Servers that sentinels watch: found by their word, left when they say so, and never believed without being asked.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use russet_core_conn::{
    Cmd, Credentials, Durability, Error, ErrorKind, EventKind, Key, Redis, Role, Scan, SendOutcome,
    SentinelError, SentinelRole, ServerError,
};
use russet_testkit::{Sentinel, Server};

use crate::support::{clients, incr, ms, patient, until};

mod failover;
mod nodes;
#[cfg(feature = "tls")]
mod tls;

/// The URL that leads to these sentinels, by their addresses alone.
fn url<'a>(sentinels: impl IntoIterator<Item = &'a Server>, name: &str) -> String {
    let hosts = sentinels.into_iter().map(|sentinel| sentinel.addr().to_string());
    format!("redis-sentinel://{}/{name}", Vec::from_iter(hosts).join(","))
}

fn why(error: &Error) -> &SentinelError {
    match error.cause().unwrap_or(error.kind()) {
        ErrorKind::Sentinel(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_lead_to_the_primary_each_with_its_own_password() {
    let sentinel = Sentinel::builder()
        .password("of-data")
        .sentinel_password("of-sentinels")
        .start()
        .await
        .unwrap();
    let told = patient(&sentinel.url()).connection_name("led");
    let redis = told
        .clone()
        .sentinel_credentials(Credentials::password("of-sentinels"))
        .database(2)
        .build()
        .unwrap();
    let mut events = redis.events();
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 1);
    let primary = sentinel.primary().await.unwrap();
    let ready = events.find(|kind| matches!(kind, EventKind::Ready(_))).await.unwrap();
    assert_eq!(*ready.node, primary.addr().to_string());
    let mut conn = primary.conn().await.unwrap();
    conn.call(&["SELECT", "2"]).await.unwrap();
    assert_eq!(conn.call(&["GET", "n"]).await.unwrap().text(), Some("1"));
    // Names hold for what is found, too; and what is written there is what a reader of the replica sees.
    assert_eq!(clients(&mut conn, "led").await.len(), 1);
    let safe = redis.with_durability(Durability::Replicas(1));
    assert_eq!(safe.run::<i64>(incr("n")).await.unwrap(), 2);
    // The data's password is none for the sentinels.
    let error = told.build().unwrap().without_waiting().ping().await.unwrap_err();
    assert!(matches!(why(&error), SentinelError::NoMajority { answered: 0, needed: 2, .. }));
    assert_eq!(error.outcome(), SendOutcome::NotSent);
    assert!(error.to_string().contains("NOAUTH"), "{error}");
    // The end of a handle is the end of its connections to sentinels.
    let connected = async || {
        let mut names = 0;
        for watcher in sentinel.sentinels() {
            names += clients(&mut watcher.conn().await.unwrap(), "led").await.len();
        }
        names
    };
    until("two for each", async || connected().await == 6).await;
    let other = redis.duplicate();
    other.ping().await.unwrap();
    until("as many again", async || connected().await == 12).await;
    drop(other);
    until("dropped", async || connected().await == 6).await;
    assert!(redis.close().await.is_clean());
    until("closed", async || connected().await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sentinels_do_not_say_is_a_typed_error() {
    let sentinel = Sentinel::start(1, 3).await.unwrap();
    let of = |url: &str| patient(url).deadline(ms(1_500)).build().unwrap().without_waiting();
    let began = Instant::now();
    let error = of(&url(sentinel.sentinels(), "nobody")).ping().await.unwrap_err();
    assert_eq!(why(&error), &SentinelError::UnknownPrimary("nobody".into()));
    // The second of three is enough; the third alone is not, however right it is.
    let [first, second, third] = sentinel.sentinels() else { unreachable!() };
    first.kill().await.unwrap();
    let all = url(sentinel.sentinels(), "mymaster");
    of(&all).ping().await.unwrap();
    second.kill().await.unwrap();
    let error = of(&all).ping().await.unwrap_err();
    let few = matches!(
        why(&error),
        SentinelError::NoMajority { listed: 3, answered: 1, agreed: 1, needed: 2, .. }
    );
    assert!(few, "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // Whoever lists one trusts one.
    of(&url([third], "mymaster")).ping().await.unwrap();
    // A server that is no sentinel.
    let error = of(&url([&sentinel.servers()[0]], "mymaster")).ping().await.unwrap_err();
    assert!(matches!(why(&error), SentinelError::NoMajority { answered: 0, .. }), "{error:?}");
    first.restart().await.unwrap();
    second.restart().await.unwrap();
    let waiting = patient(&all).build().unwrap();
    assert_eq!(waiting.run::<i64>(incr("n")).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handle_for_replicas_reads_there_and_writes_nowhere() {
    let sentinel = Sentinel::start(1, 3).await.unwrap();
    let role = |role| patient(&sentinel.url()).sentinel_role(role).build().unwrap();
    let writer = role(SentinelRole::Primary).with_durability(Durability::Replicas(1));
    assert_eq!(writer.run::<i64>(incr("n")).await.unwrap(), 1);
    let replica = role(SentinelRole::Replica);
    let read = || Cmd::read("GET").key(&Key::raw("n"));
    assert_eq!(replica.run::<i64>(read()).await.unwrap(), 1);
    let place = sentinel.replicas().await.unwrap()[0].addr().to_string();
    let info = replica.info().await.unwrap();
    assert_eq!(info.role, Some(Role::Replica));
    // The server calls this a write, and is not left for it.
    let sort = Cmd::read("SORT").key(&Key::raw("list"));
    let error = replica.run::<Vec<String>>(sort).await.unwrap_err();
    assert_eq!((error.server(), error.attempt()), (Some(&ServerError::ReadOnly), 1));
    for refused in [
        replica.run::<i64>(incr("n")).await.unwrap_err(),
        replica.transaction([incr("n")]).await.unwrap_err(),
        replica.dedicated().await.unwrap().run::<i64>(incr("n")).await.unwrap_err(),
    ] {
        assert!(matches!(refused.kind(), ErrorKind::Refused(_)), "{refused}");
        assert_eq!((refused.outcome(), refused.node()), (SendOutcome::NotSent, Some(&*place)));
    }
    // With the only replica gone: an error, or the primary, as was asked for.
    let any = patient(&sentinel.url()).sentinel_role(SentinelRole::Any).connections(2);
    let any = any.connection_name("any").build().unwrap();
    any.ready().await.unwrap();
    let walked = pin!(any.scan(Scan::all())).try_next().await;
    assert!(matches!(walked.unwrap_err().kind(), ErrorKind::Unsupported(_)));
    let walked: Vec<_> = replica.scan(Scan::all()).try_collect().await.unwrap();
    assert_eq!(walked, [Key::raw("n")]);
    for server in sentinel.servers() {
        assert_eq!(clients(&mut server.conn().await.unwrap(), "any").await.len(), 1);
    }
    sentinel.replicas().await.unwrap()[0].kill().await.unwrap();
    let none = async |redis: &Redis| {
        let error = redis.without_waiting().ping().await.err();
        error.is_some_and(|error| {
            matches!(error.cause(), Some(ErrorKind::Sentinel(SentinelError::NoReplica(_))))
        })
    };
    until("no replica", async || none(&replica).await).await;
    let prefers = role(SentinelRole::PreferReplica);
    assert_eq!(prefers.run::<i64>(read()).await.unwrap(), 1);
    assert_eq!(prefers.info().await.unwrap().role, Some(Role::Primary));
    any.ping().await.unwrap();
    // It comes back, and is found.
    sentinel
        .servers()
        .iter()
        .find(|server| server.addr().to_string() == place)
        .unwrap()
        .restart()
        .await
        .unwrap();
    assert_eq!(replica.run::<i64>(read()).await.unwrap(), 1);
}
