//! The ways to a server: by a socket, by a URL of another product.

use russet_core_conn::{Backoff, Cmd, ErrorKind, EventKind, Key, Redis, RedisBuilder};
use russet_testkit::Server;

use crate::support::{clients, incr, ms, patient};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_a_unix_socket_everything_is_as_by_tcp() {
    let acl = "user default on nopass ~* &* +@all\nuser ann on >p+w&d ~* &* +@all\n";
    let server = Server::builder().acl_file(acl).unix_socket().start().await.unwrap();
    let path = server.socket_path().unwrap().to_str().unwrap().to_owned();
    let by_options = || patient("redis://").unix_socket(&path);
    let ways: [(&str, RedisBuilder); 4] = [
        ("default", patient(&format!("unix://{path}"))),
        ("ann", patient(&format!("redis+unix://{path}?db=3&user=ann&pass=p+w%26d"))),
        ("default", by_options()),
        ("ann", by_options().user("ann").password("p+w&d").database(3)),
    ];
    let mut conn = server.conn().await.unwrap();
    for (n, (user, way)) in ways.into_iter().enumerate() {
        let redis = way.connection_name("sock").build().unwrap();
        assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), n as i64 / 2 + 1);
        let list = clients(&mut conn, "sock").await;
        let db = if user == "ann" { " db=3 " } else { " db=0 " };
        assert!(list.len() == 1 && list[0].contains(db), "{list:?}");
        assert!(list[0].contains(&format!(" user={user} ")), "{list:?}");
        assert!(list[0].contains(" flags=U "), "{list:?}");
        let alone = Cmd::write("BLPOP").key(&Key::raw("list")).arg("0.01");
        assert_eq!(redis.run::<Option<Vec<String>>>(alone).await.unwrap(), None);
        redis.close().await;
        crate::support::until("its end", async || clients(&mut conn, "sock").await.is_empty())
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_goes_and_comes_back() {
    let server = Server::builder().unix_socket().start().await.unwrap();
    let path = server.socket_path().unwrap().to_str().unwrap();
    let redis =
        patient(&format!("unix://{path}")).reconnect(Backoff::constant(ms(10))).build().unwrap();
    redis.ready().await.unwrap();
    let mut events = redis.events();
    server.kill().await.unwrap();
    let event = events
        .find(|kind| matches!(kind, EventKind::Error(error) if matches!(error.kind(), ErrorKind::Connect(_))))
        .await
        .unwrap();
    assert_eq!(&*event.node, path);
    let error = redis.with_deadline(ms(50)).ping().await.unwrap_err();
    assert_eq!(error.node(), Some(path), "{error}");
    server.restart().await.unwrap();
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_silent_costs_the_connect_timeout() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let redis = patient(&format!("valkey://{}", silent.local_addr().unwrap()))
        .connect_timeout(ms(100))
        .build()
        .unwrap();
    let mut events = redis.events();
    let error = redis.without_waiting().ping().await.unwrap_err();
    assert!(
        matches!(error.cause(), Some(ErrorKind::Connect(why)) if why.contains("no answer within 100ms")),
        "{error}"
    );
    assert!(events.find(|kind| matches!(kind, EventKind::Error(_))).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_of_valkey_is_a_url() {
    let server = Server::start().await.unwrap();
    let redis = Redis::connect(&format!("valkey://{}", server.addr())).await.unwrap();
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 1);
}
