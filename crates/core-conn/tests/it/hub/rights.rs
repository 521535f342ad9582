//! What the server refuses.

use russet_core_conn::{
    Backoff, Delivery, EventKind, Hub, ReadyCheck, Redis, SendOutcome, ServerError, Topic,
};
use russet_testkit::{Conn, Proxy, Server, encode};

use super::{next, numsub, publish, text};
use crate::support::{ms, patient, until};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_busy_refuses_for_now_and_not_for_ever() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    conn.call(&["CONFIG", "SET", "busy-reply-threshold", "1"]).await.unwrap();
    let redis = patient(&server.url()).reconnect(Backoff::constant(ms(10))).build().unwrap();
    let hub = Hub::builder(&redis).heartbeat(ms(20), ms(5_000)).build().unwrap();
    let mut kept = hub.subscribe(Topic::channel("kept")).await.unwrap();
    let left = hub.subscribe(Topic::channel("left")).await.unwrap();

    let mut script = server.conn().await.unwrap();
    script.send(&encode(&["EVAL", "while true do end", "0"])).await.unwrap();
    let mut allowed = server.conn().await.unwrap();
    let busy = async |conn: &mut Conn| {
        let reply = conn.call(&["PING"]).await.unwrap();
        reply.error().is_some_and(|words| words.starts_with("BUSY"))
    };
    until("the server is busy", async || busy(&mut allowed).await).await;
    let error = hub.subscribe(Topic::channel("new")).await.unwrap_err();
    assert_eq!(error.server(), Some(&ServerError::Busy), "{error}");
    assert_eq!(error.outcome(), SendOutcome::Rejected);
    drop(left);
    // It is refused while the server is busy, and asked for again.
    drop(hub.subscribe(Topic::channel("after")).await.unwrap_err());
    conn.call(&["SCRIPT", "KILL"]).await.unwrap();
    assert!(script.reply().await.unwrap().error().is_some());
    until("it is unsubscribed", async || numsub(&mut conn, "NUMSUB", "left").await == 0).await;
    assert!(kept.is_live());

    // The connection is lost, and the server is busy when the next one is opened.
    script = server.conn().await.unwrap();
    let kill = encode(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let spin = encode(&["EVAL", "while true do end", "0"]);
    script.send(&[kill, spin].concat()).await.unwrap();
    let away = next(&mut kept).await;
    assert!(matches!(away, Delivery::Away(_)), "{away:?}");
    let mut events = redis.events();
    let refused = |kind: &EventKind| matches!(kind, EventKind::Error(error) if error.server() == Some(&ServerError::Busy));
    let refused = tokio::time::timeout(ms(20_000), events.find(refused)).await;
    refused.expect("it is not asked for again").unwrap();
    conn.call(&["SCRIPT", "KILL"]).await.unwrap();
    assert_eq!(script.reply().await.unwrap().int(), Some(1), "the connection was killed");
    assert!(script.reply().await.unwrap().error().is_some());
    let back = next(&mut kept).await;
    assert!(matches!(back, Delivery::Gap(_)), "{back:?}");
    assert_eq!(publish(&mut conn, "kept", "m").await, 1);
    assert_eq!(text(&mut kept).await, "m");
}
