//! As whom the connections come, and how many they are.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use russet_core_conn::{Cmd, EventKind, Key, Redis, SendOutcome, ServerError};
use russet_testkit::Server;

use super::{assert_not_connected, is_ready, quick};
use crate::order::Order;
use crate::support::{clients, incr, info, key, ms, patient, poll_once, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_let_us_in_says_why() {
    let acl = "user default on >secret ~* &* +@all\nuser ann on >ann ~* &* +@all\n";
    let server = Server::builder().acl_file(acl).start().await.unwrap();
    let addr = server.addr();
    for (url, expected) in [
        (format!("redis://:wrong@{addr}"), ServerError::WrongPass),
        (format!("redis://bob:ann@{addr}"), ServerError::WrongPass),
        (format!("redis://ann:secret@{addr}"), ServerError::WrongPass),
        (format!("redis://{addr}"), ServerError::NoAuth),
    ] {
        let redis = quick(Redis::builder(&url).deadline(ms(300)));
        let (mut events, mut order) = (redis.events(), Order::default());
        let error = redis.run::<i64>(incr("n")).await.unwrap_err();
        assert_not_connected(&error);
        assert!(error.to_string().contains(&expected.to_string()), "{error}");
        let event = order.until(&mut events, |kind| matches!(kind, EventKind::Error(_))).await;
        let EventKind::Error(error) = event.kind else { panic!() };
        assert_eq!(error.server(), Some(&expected), "{url}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_name_and_user_reach_the_server() {
    let acl = "user default on nopass ~* &* +@all\nuser a:b@c/d on >p@s:s/?#%w ~* &* +@all\n";
    let server = Server::builder().acl_file(acl).start().await.unwrap();
    let url = format!("redis://a%3Ab%40c%2Fd:p%40s%3As%2F%3F%23%25w@{}/3", server.addr());
    let redis = patient(&url).connection_name("shop").build().unwrap();
    assert_eq!(redis.run::<i64>(incr("here")).await.unwrap(), 1);
    let mut conn = server.conn().await.unwrap();
    let list = clients(&mut conn, "shop").await;
    assert_eq!(list.len(), 1, "{list:?}");
    assert!(list[0].contains(" db=3 ") && list[0].contains(" user=a:b@c/d "), "{list:?}");
    assert!(conn.call(&["GET", "here"]).await.unwrap().is_nil());
    conn.call(&["SELECT", "3"]).await.unwrap();
    assert_eq!(conn.call(&["GET", "here"]).await.unwrap().text(), Some("1"));
    // The next generation has them, too, and so has a connection of a call's own.
    let mut events = redis.events();
    conn.call(&["CLIENT", "KILL", "USER", "a:b@c/d"]).await.unwrap();
    events.find(is_ready).await.unwrap();
    assert_eq!(redis.run::<i64>(incr("here")).await.unwrap(), 2);
    let list = Cmd::read("CLIENT INFO");
    let line: String = redis.run(list).await.unwrap();
    assert!(line.contains("db=3") && line.contains("name=shop"), "{line}");
    let popped = Cmd::write("BLPOP").key(&Key::raw("list")).arg("0");
    let mut popping = Box::pin(redis.run::<Vec<String>>(popped));
    tokio::select! {
        popped = popping.as_mut() => panic!("{popped:?}"),
        () = until("a connection that pops", async || clients(&mut conn, "shop").await.len() == 2) => {}
    }
    conn.call(&["RPUSH", "list", "subscribe"]).await.unwrap();
    assert_eq!(popping.await.unwrap(), ["list", "subscribe"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_connections_share_the_calls_and_fall_alone() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let before = info(&mut conn, "total_connections_received").await;
    let redis = patient(&server.url())
        .connections(4)
        .connection_name("four")
        .probe(Duration::from_secs(60), Duration::from_secs(60))
        .build()
        .unwrap();
    redis.ready().await.unwrap();
    assert_eq!(info(&mut conn, "total_connections_received").await - before, 4);
    let mut calls_of = HashMap::<i64, usize>::new();
    for _ in 0..40 {
        *calls_of.entry(redis.run(Cmd::read("CLIENT ID")).await.unwrap()).or_default() += 1;
    }
    assert_eq!(calls_of.values().copied().collect::<Vec<_>>(), [10; 4], "{calls_of:?}");

    // The server holds all writes back while one of the connections is cut.
    let mut events = redis.events();
    conn.call(&["CLIENT", "PAUSE", "60000", "WRITE"]).await.unwrap();
    let keys: Vec<Key> = (0..40).map(|n| key("held", n)).collect();
    let held = keys.iter().map(|key| redis.run::<i64>(Cmd::write("INCR").key(key)));
    let mut held = Box::pin(join_all(held));
    assert!(poll_once(held.as_mut()).await.is_none());
    let victim = calls_of.keys().next().unwrap().to_string();
    conn.call(&["CLIENT", "KILL", "ID", &victim]).await.unwrap();
    events.find(|kind| matches!(kind, EventKind::Closed)).await.unwrap();
    conn.call(&["CLIENT", "UNPAUSE"]).await.unwrap();
    let mut failed = 0;
    for (key, reply) in keys.iter().zip(held.await) {
        let value = conn.call(&[b"GET".as_slice(), key.as_bytes()]).await.unwrap();
        match reply {
            Ok(n) => assert_eq!((n, value.text()), (1, Some("1"))),
            Err(error) => {
                assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
                assert!(value.is_nil());
                failed += 1;
            }
        }
    }
    assert_eq!(failed, 10, "one connection's share, and nothing of the others'");

    // It comes back by itself, and only it.
    redis.ready().await.unwrap();
    assert_eq!(info(&mut conn, "total_connections_received").await - before, 5);
}
