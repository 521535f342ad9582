//! Frames that answer no request, and requests that no frame answers.

use std::time::Duration;

use russet_testkit::{Conn, Match, Proxy, Reply, encode, prefix, shared};

async fn start() -> (Proxy, Conn, Conn, String) {
    let url = shared::url().await.unwrap();
    let addr = url.rsplit(['/', '@']).find(|part| part.contains(':')).unwrap().parse().unwrap();
    let proxy = Proxy::start(addr).await.unwrap();
    let conn = Conn::open(&proxy.url()).await.unwrap();
    (proxy, conn, shared::conn().await.unwrap(), prefix("pubsub"))
}

fn first(reply: &Reply) -> &str {
    reply.items().unwrap()[0].text().unwrap()
}

#[tokio::test]
async fn resp2_subscriptions_are_told_from_messages() {
    let (proxy, mut conn, mut real, channel) = start().await;
    let other = format!("{channel}-other");
    // Two confirmations, one reply.
    conn.send(&encode(&["SUBSCRIBE", &channel, &other])).await.unwrap();
    assert_eq!(first(&conn.reply().await.unwrap()), "subscribe");
    assert_eq!(first(&conn.reply().await.unwrap()), "subscribe");
    conn.send(&encode(&["PSUBSCRIBE", &format!("{channel}*")])).await.unwrap();
    assert_eq!(first(&conn.reply().await.unwrap()), "psubscribe");
    assert_eq!(proxy.replies(), 2);
    for _ in 0..10 {
        assert_eq!(real.call(&["PUBLISH", &channel, "subscribe"]).await.unwrap().int(), Some(2));
    }
    for _ in 0..10 {
        assert_eq!(first(&conn.reply().await.unwrap()), "message");
        assert_eq!(first(&conn.reply().await.unwrap()), "pmessage");
    }
    assert_eq!(proxy.replies(), 2);
    // A message that comes while a reply is waited for is not that reply.
    proxy.corrupt(Match::name("PING"), |_| encode(&["here"]));
    proxy.delay_requests(Duration::from_millis(50));
    conn.send(&encode(&["PING"])).await.unwrap();
    proxy.until(|now| now.requests("PING") == 1).await.unwrap();
    real.call(&["PUBLISH", &channel, "m"]).await.unwrap();
    let words =
        [conn.reply().await.unwrap(), conn.reply().await.unwrap(), conn.reply().await.unwrap()];
    assert_eq!(words.each_ref().map(first), ["message", "pmessage", "here"]);
    assert_eq!((proxy.replies(), proxy.counters().trips), (3, 3));
    proxy.heal();
    // As many confirmations as there are channels.
    proxy.cut_in_reply(Match::name("PING"), 4);
    conn.send(&[encode(&["UNSUBSCRIBE"]), encode(&["PING"])].concat()).await.unwrap();
    assert_eq!(first(&conn.reply().await.unwrap()), "unsubscribe");
    assert_eq!(first(&conn.reply().await.unwrap()), "unsubscribe");
    assert_eq!(conn.rest().await.unwrap(), b"*2\r\n");
    assert_eq!((proxy.replies(), proxy.lost(), proxy.strikes()), (4, 1, 2));
}

#[tokio::test]
async fn words_that_look_like_messages_are_replies() {
    let (proxy, mut conn, mut real, key) = start().await;
    real.call(&["RPUSH", &key, "message", "x", "y"]).await.unwrap();
    for _ in 0..3 {
        assert_eq!(first(&conn.call(&["LRANGE", &key, "0", "-1"]).await.unwrap()), "message");
    }
    // No subscription, no message: an unsubscription is answered all the same.
    conn.send(&encode(&["UNSUBSCRIBE"])).await.unwrap();
    assert_eq!(first(&conn.reply().await.unwrap()), "unsubscribe");
    assert_eq!(first(&conn.call(&["LRANGE", &key, "0", "-1"]).await.unwrap()), "message");
    assert_eq!(proxy.replies(), 5);
    conn.send(&encode(&["SUBSCRIBE"])).await.unwrap();
    assert!(conn.reply().await.unwrap().error().is_some());
    assert_eq!(proxy.replies(), 6);
    assert_eq!(proxy.counters().trips, 6);
}

#[tokio::test]
async fn resp3_pushes_come_between_replies() {
    let (proxy, mut conn, mut real, key) = start().await;
    conn.call(&["HELLO", "3"]).await.unwrap();
    conn.call(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", &key]).await.unwrap();
    conn.send(&encode(&["SUBSCRIBE", &key])).await.unwrap();
    assert_eq!(first(&conn.push().await.unwrap()), "subscribe");
    assert_eq!(proxy.replies(), 3);
    proxy.corrupt(Match::name("GET").with_arg(&key).nth(5), |_| b"+fifth\r\n".to_vec());
    for n in 1..=10 {
        real.call(&["PUBLISH", &key, "m"]).await.unwrap();
        real.call(&["SET", &key, &n.to_string()]).await.unwrap();
        let expected = if n == 5 { "fifth".to_owned() } else { n.to_string() };
        assert_eq!(conn.call(&["GET", &key]).await.unwrap().text(), Some(expected.as_str()));
    }
    let mut kinds = Vec::new();
    for _ in 0..20 {
        kinds.push(first(&conn.push().await.unwrap()).to_owned());
    }
    assert_eq!(kinds.iter().filter(|kind| *kind == "invalidate").count(), 10);
    assert_eq!(kinds.iter().filter(|kind| *kind == "message").count(), 10);
    assert_eq!((proxy.replies(), proxy.strikes(), proxy.lost()), (13, 1, 0));
    // Maps, sets, doubles and attributes keep their place too.
    let script = "redis.setresp(3) return {{map={a=1,b=2}}, {set={x=true}}, {double=1.5}, true, {big_number='12'}}";
    let reply = conn.call(&["EVAL", script, "0"]).await.unwrap();
    assert_eq!(reply.items().unwrap().len(), 5);
    assert!(
        matches!(&reply.items().unwrap()[0], Reply::Map(pairs) if pairs.len() == 2),
        "{reply:?}"
    );
    let attributed = conn.call(&["DEBUG", "PROTOCOL", "attrib"]).await.unwrap();
    assert!(matches!(attributed, Reply::Attributed(..) | Reply::Error(_)), "{attributed:?}");
    assert_eq!(conn.call(&["ECHO", "still here"]).await.unwrap().text(), Some("still here"));
    assert_eq!(proxy.replies(), 16);
}

#[tokio::test]
async fn an_answer_in_the_servers_place_keeps_its_turn() {
    let (proxy, mut conn, mut real, key) = start().await;
    conn.call(&["HELLO", "3"]).await.unwrap();
    // The client thinks itself subscribed, and the server knows nothing of it.
    let confirmation = format!(">3\r\n$9\r\nsubscribe\r\n${}\r\n{key}\r\n:1\r\n", key.len());
    let fault = proxy.answer(Match::name("SUBSCRIBE"), confirmation);
    let nobody = ["PUBLISH", &key, "m"];
    conn.send(&encode(&["SUBSCRIBE", &key])).await.unwrap();
    assert_eq!(first(&conn.push().await.unwrap()), "subscribe");
    assert_eq!((fault.strikes(), real.call(&nobody).await.unwrap().int()), (1, Some(0)));

    // Between the replies of the server, and the next one is not lost.
    proxy.answer(Match::name("INCR").every(2), &b"+never\r\n"[..]);
    // The third of those that were left to it.
    proxy.cut_before(Match::name("INCR").nth(3));
    let sent: Vec<_> = (0..6).flat_map(|_| encode(&["INCR", &key])).collect();
    conn.send(&sent).await.unwrap();
    assert_eq!(conn.rest().await.unwrap(), b":1\r\n+never\r\n:2\r\n+never\r\n");
    assert_eq!(real.call(&["GET", &key]).await.unwrap().text(), Some("2"));
    assert_eq!((proxy.strikes(), proxy.lost(), proxy.requests("INCR")), (4, 0, 5));
}

#[tokio::test]
async fn silenced_requests_have_no_reply() {
    let (proxy, mut conn, _, key) = start().await;
    let commands: &[&[&str]] = &[
        &["CLIENT", "REPLY", "SKIP"],
        &["INCR", &key],
        &["INCR", &key],
        &["CLIENT", "REPLY", "OFF"],
        &["INCR", &key],
        &["CLIENT", "REPLY", "SKIP"],
        &["INCR", &key],
        &["CLIENT", "REPLY", "ON"],
        &["INCR", &key],
    ];
    proxy.cut_after(Match::name("INCR").nth(2));
    conn.send(&commands.iter().flat_map(|command| encode(command)).collect::<Vec<_>>())
        .await
        .unwrap();
    // The second one that has a reply.
    assert_eq!(conn.rest().await.unwrap(), b":2\r\n+OK\r\n");
    assert_eq!((proxy.replies(), proxy.lost(), proxy.requests("INCR")), (2, 1, 5));
}
