//! A server that loads its data, and what a connection makes of it.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use russet_core_conn::{
    Backoff, Cmd, ErrorKind, EventKind, Key, ReadyCheck, Redis, RedisBuilder, SendOutcome,
    ServerError,
};
use russet_testkit::{Builder, Conn, Reply, Server};

use crate::order::Order;
use crate::support::{ms, patient, until};

/// A server that takes a second or more to load its data, and answers meanwhile.
pub(crate) async fn slow_loader(builder: Builder) -> Server {
    let server = builder
        // Microseconds for each key, and how many bytes it reads before it looks at its clients.
        .config("key-load-delay", "500")
        .config("loading-process-events-interval-bytes", "1024")
        .start()
        .await
        .unwrap();
    let mut conn = server.conn().await.unwrap();
    let fill = "for n = 1, 2000 do redis.call('SET', 'filler:' .. n, string.rep('x', 200)) end";
    conn.call(&["EVAL", fill, "0"]).await.unwrap();
    conn.call(&["SET", "counter", "41"]).await.unwrap();
    assert!(conn.call(&["SAVE"]).await.unwrap().is_ok());
    server.kill().await.unwrap();
    server
}

fn quick(url: &str) -> RedisBuilder {
    patient(url).reconnect(Backoff::constant(ms(10)))
}

pub(crate) async fn until_loading(server: &Server) {
    until("a server that loads", async || {
        let Ok(mut conn) = Conn::tcp(server.addr()).await else { return false };
        let loading =
            |reply: Reply| reply.error().is_some_and(|words| words.starts_with("LOADING"));
        conn.call(&["PING"]).await.is_ok_and(loading)
    })
    .await;
}

/// Starts it again; runs `meanwhile` when it answers LOADING to whoever asks.
async fn restart<T>(server: &Server, meanwhile: impl Future<Output = T>) -> T {
    let (restarted, found) = tokio::join!(server.restart(), async {
        until_loading(server).await;
        meanwhile.await
    });
    restarted.unwrap();
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_sees_a_server_that_loads() {
    let server = slow_loader(Server::builder()).await;
    let redis = quick(&server.url()).build().unwrap();
    let (mut events, mut order) = (redis.events(), Order::default());
    let incr = || redis.run::<i64>(Cmd::write("INCR").key(&Key::raw("counter")));
    restart(&server, async {
        // Who can't wait for so long is told that there is no connection, and nothing was sent.
        let brief = redis.with_deadline(ms(100));
        let error =
            brief.run::<i64>(Cmd::write("INCR").key(&Key::raw("counter"))).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotConnected(_)), "{error}");
        assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
        // It still loads; so this one waits, and is answered.
        until_loading(&server).await;
        assert_eq!(incr().await.unwrap(), 42);
        let mut conn = server.conn().await.unwrap();
        assert_eq!(conn.call(&["PING"]).await.unwrap().text(), Some("PONG"));
    })
    .await;
    order.until(&mut events, |kind| matches!(kind, EventKind::Ready(ReadyCheck::Info))).await;
    assert_eq!(order.readies, 1, "it was ready once: at the end");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_check_calls_see_it() {
    let server = slow_loader(Server::builder()).await;
    let redis = quick(&server.url()).ready_check(false).build().unwrap();
    let mut events = redis.events();
    let error = restart(&server, async {
        redis.run::<i64>(Cmd::write("INCR").key(&Key::raw("counter"))).await.unwrap_err()
    })
    .await;
    assert_eq!(error.server(), Some(&ServerError::Loading), "{error}");
    assert_eq!(error.outcome(), SendOutcome::Rejected);
    assert!(error.is_retryable());
    let is_ready = |kind: &EventKind| matches!(kind, EventKind::Ready(ReadyCheck::Off));
    events.find(is_ready).await.unwrap();
    let counter: i64 = redis.run(Cmd::write("INCR").key(&Key::raw("counter"))).await.unwrap();
    assert_eq!(counter, 42);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_may_not_call_info_is_checked_by_ping() {
    let acl = "user bob on >pw ~* &* +@all -info\n";
    let server = slow_loader(Server::builder().acl_file(acl)).await;
    let redis = quick(&format!("redis://bob:pw@{}", server.addr())).build().unwrap();
    let mut events = redis.events();
    restart(&server, async {
        let counter: i64 = redis.run(Cmd::write("INCR").key(&Key::raw("counter"))).await.unwrap();
        assert_eq!(counter, 42);
    })
    .await;
    let is_ready = |kind: &EventKind| matches!(kind, EventKind::Ready(ReadyCheck::Ping));
    events.find(is_ready).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_on_after_a_restart_as_if_nothing_had_been() {
    let server = slow_loader(Server::builder()).await;
    let redis = quick(&server.url()).build().unwrap();
    server.restart().await.unwrap();
    redis.ready().await.unwrap();
    let answers = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> =
        (0..8).map(|_| tokio::spawn(keep_asking(redis.clone(), answers.clone()))).collect();
    until("answers", async || answers.load(SeqCst) > 100).await;
    server.kill().await.unwrap();
    let before = restart(&server, async { answers.load(SeqCst) }).await;
    until("answers again", async || answers.load(SeqCst) > before + 100).await;
    redis.close().await;
    for task in tasks {
        task.await.unwrap();
    }
}

/// Until the handle is closed, and no other error will do.
async fn keep_asking(redis: Redis, answers: Arc<AtomicU64>) {
    loop {
        let get = Cmd::read("GET").key(&Key::raw("counter"));
        match redis.run::<String>(get).await {
            Ok(counter) => assert_eq!(counter, "41"),
            Err(error) if matches!(error.kind(), ErrorKind::Closed) => return,
            Err(error) => panic!("{error}"),
        }
        answers.fetch_add(1, SeqCst);
    }
}
