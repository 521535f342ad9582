//! What the server refuses.

use russet_core_conn::{
    Delivery, EventKind, Hub, ReadyCheck, Redis, SendOutcome, ServerError, Topic,
};
use russet_testkit::{Conn, Proxy, Server};

use super::{next, publish, text};
use crate::support::{ms, patient};

/// A server, a bare connection to it, and a handle of a user who may hear `ok*`.
async fn limited(rules: &[&str]) -> (Server, Conn, Redis) {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let basic = ["ACL", "SETUSER", "ann", "on", ">secret", "+@all", "resetchannels", "&ok*"];
    conn.call(&[&basic[..], rules].concat()).await.unwrap();
    let redis = patient(&server.url()).user("ann").password("secret").build().unwrap();
    (server, conn, redis)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_is_denied_is_refused_to_its_subscriber_alone() {
    let (_server, mut conn, redis) = limited(&["&old"]).await;
    let hub = redis.hub();
    let mut allowed = hub.subscribe(Topic::channel("ok")).await.unwrap();
    let mut old = hub.subscribe(Topic::channel("old")).await.unwrap();
    for topic in [Topic::channel("no"), Topic::sharded("no"), Topic::pattern("o*")] {
        let error = hub.subscribe(topic).await.unwrap_err();
        assert!(matches!(error.server(), Some(ServerError::NoPerm(_))), "{error}");
        assert_eq!(error.outcome(), SendOutcome::Rejected);
    }
    assert_eq!(publish(&mut conn, "ok", "m").await, 1);
    assert_eq!(text(&mut allowed).await, "m");

    // The server ends connections that hear what they may not hear any more.
    conn.call(&["ACL", "SETUSER", "ann", "resetchannels", "&ok*"]).await.unwrap();
    assert!(matches!(next(&mut old).await, Delivery::Away(_)));
    let refused = next(&mut old).await;
    let Delivery::Refused(error) = refused else { panic!("{refused:?}") };
    assert!(matches!(error.server(), Some(ServerError::NoPerm(_))), "{error}");
    assert!(old.next().await.is_none() && !old.is_live());
    assert!(matches!(next(&mut allowed).await, Delivery::Away(_)));
    assert!(matches!(next(&mut allowed).await, Delivery::Gap(_)));
    assert_eq!(publish(&mut conn, "ok", "n").await, 1);
    assert_eq!(text(&mut allowed).await, "n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_client_info_the_nonce_alone_is_asked_for_and_that_is_said() {
    let cases: [(&[&str], _, _); 3] = [
        (&[], ReadyCheck::Info, 5),
        (&["-client|info"], ReadyCheck::Ping, 1),
        (&["-client|info", "-ping"], ReadyCheck::Ping, 1),
    ];
    for (rules, check, infos) in cases {
        let (server, mut conn, _) = limited(rules).await;
        let proxy = Proxy::start(server.addr()).await.unwrap();
        let redis = patient(&proxy.url()).user("ann").password("secret").build().unwrap();
        let mut events = redis.events();
        let hub = Hub::builder(&redis).heartbeat(ms(10), ms(5_000)).build().unwrap();
        let mut subscription = hub.subscribe(Topic::channel("ok")).await.unwrap();
        let ready = events.find(|kind| matches!(kind, EventKind::Ready(_))).await.unwrap();
        assert!(matches!(ready.kind, EventKind::Ready(found) if found == check), "{ready:?}");
        // Some heartbeats later it is still the same connection.
        proxy.until(|now| now.requests("PING") > 5).await.unwrap();
        assert!(proxy.requests("CLIENT") >= infos && (infos > 1 || proxy.requests("CLIENT") == 1));
        assert_eq!(proxy.connections(), 1);
        assert_eq!(publish(&mut conn, "ok", "m").await, 1);
        assert_eq!(text(&mut subscription).await, "m");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_can_not_unsubscribe_goes_on() {
    let (_server, mut conn, redis) = limited(&["-unsubscribe"]).await;
    let hub = redis.hub();
    let mut kept = hub.subscribe(Topic::channel("ok")).await.unwrap();
    drop(hub.subscribe(Topic::channel("ok2")).await.unwrap());
    // It has been refused by now: the server answers in order.
    let mut third = hub.subscribe(Topic::channel("ok3")).await.unwrap();
    assert_eq!(publish(&mut conn, "ok2", "for nobody").await, 1);
    let mut again = hub.subscribe(Topic::channel("ok2")).await.unwrap();
    assert_eq!(publish(&mut conn, "ok2", "begin").await, 1);
    while text(&mut again).await != "begin" {}
    for (channel, subscription) in [("ok", &mut kept), ("ok2", &mut again), ("ok3", &mut third)] {
        assert_eq!(publish(&mut conn, channel, channel).await, 1);
        assert_eq!(text(subscription).await, channel);
    }
}
