//! Ends.

use futures_util::FutureExt;
use russet_core_conn::{
    Delivery, ErrorKind, Hub, Notice, Purpose, SendOutcome, Subscription, Topic,
};
use russet_testkit::{Proxy, Server};

use super::{numsub, publish, text};
use crate::order::{At, Order};
use crate::support::{ms, patient, poll_once, until};

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// What is queued, and then the end.
async fn rest(mut subscription: Subscription) -> Vec<String> {
    let mut read = Vec::new();
    while let Some(delivery) = in_time(subscription.next()).await {
        let Delivery::Message(message) = delivery else { panic!("{delivery:?}") };
        read.push(String::from_utf8(message.payload().to_vec()).unwrap());
    }
    assert!(in_time(subscription.next()).await.is_none() && !subscription.is_live());
    read
}

async fn in_time<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(ms(20_000), future).await.expect("it waits for ever")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_ends_everything_but_what_is_queued() {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let redis = patient(&proxy.url()).build().unwrap();
    let own = Hub::builder(&redis).build().unwrap();
    let before = tasks();
    for hub in [redis.hub(), own] {
        let mut queued = hub.subscribe(Topic::channel("a")).await.unwrap();
        let mut marks = hub.subscribe(Topic::channel("a")).await.unwrap();
        for mark in ["1", "2", "3"] {
            assert_eq!(publish(&mut conn, "a", mark).await, 1);
            assert_eq!(text(&mut marks).await, mark);
        }
        assert_eq!(text(&mut queued).await, "1");
        proxy.stall();
        let requests = proxy.requests("SUBSCRIBE");
        let mut asked = Box::pin(hub.subscribe(Topic::channel("b")));
        assert!(poll_once(asked.as_mut()).await.is_none());
        proxy.until(|now| now.requests("SUBSCRIBE") > requests).await.unwrap();

        let report = hub.shutdown().await;
        assert_eq!((report.subscribers, report.unread, report.unknown), (2, 2, 1), "{report:?}");
        assert_eq!(hub.clone().shutdown().await, report);
        let error = asked.await.unwrap_err();
        assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
        assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
        let error = hub.subscribe(Topic::channel("a")).await.unwrap_err();
        assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
        assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
        assert_eq!(rest(queued).await, ["2", "3"]);
        assert_eq!(rest(marks).await, [""; 0]);
        proxy.unstall();
        until("its connection ends", async || numsub(&mut conn, "NUMSUB", "a").await == 0).await;
    }
    // The proxy's tasks end, too.
    until("no task is left", async || tasks() <= before).await;
    assert!(redis.ping().await.is_ok(), "the handle lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_the_handle_ends_its_hubs() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let before = tasks();
    let redis = patient(&server.url()).build().unwrap();
    let mut events = redis.events();
    let hubs = [redis.hub(), Hub::builder(&redis).build().unwrap()];
    let never_used = Hub::builder(&redis).build().unwrap();
    let mut subscriptions = Vec::new();
    for hub in &hubs {
        subscriptions.push(hub.subscribe(Topic::channel("a")).await.unwrap());
    }
    publish(&mut conn, "a", "m").await;
    for subscription in &mut subscriptions {
        assert_eq!(text(subscription).await, "m");
    }
    assert!(redis.close().await.is_clean());
    until("no task is left", async || tasks() <= before).await;
    for subscription in subscriptions {
        assert_eq!(rest(subscription).await, [""; 0]);
    }
    for hub in hubs.iter().chain([&never_used]) {
        let error = hub.subscribe(Topic::channel("a")).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
        hub.shutdown().await;
    }
    until("no connection is left", async || numsub(&mut conn, "NUMSUB", "a").await == 0).await;
    let mut order = Order::default();
    order.read_to_end(&mut events).await;
    assert_eq!(
        [0, 1, 2].map(|connection| order.at(connection)),
        [At::Away, At::Closed, At::Closed]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_of_all_ends_the_connection() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let before = tasks();
    let redis = patient(&server.url()).build().unwrap();
    let mut events = redis.events();
    let mut subscription = redis.hub().subscribe(Topic::channel("a")).await.unwrap();
    drop(redis);
    assert_eq!(publish(&mut conn, "a", "m").await, 1, "a subscription keeps its handle");
    assert_eq!(text(&mut subscription).await, "m");
    drop(subscription);
    while let Some(notice) = events.next().await {
        let Notice::Event(event) = notice else { panic!("{notice:?}") };
        assert_eq!(event.purpose, Purpose::Subscriptions);
    }
    until("no task is left", async || tasks() <= before).await;
    until("no connection is left", async || numsub(&mut conn, "NUMSUB", "a").await == 0).await;
}

#[test]
fn where_the_runtime_ends_first_nobody_waits_for_ever() {
    let runtime = || tokio::runtime::Runtime::new().unwrap();
    let (first, second) = (runtime(), runtime());
    let (server, hub, mut subscription) = first.block_on(async {
        let server = Server::start().await.unwrap();
        let redis = patient(&server.url()).build().unwrap();
        let hub = redis.hub();
        let subscription = hub.subscribe(Topic::channel("a")).await.unwrap();
        (server, hub, subscription)
    });
    first.shutdown_background();
    second.block_on(async {
        assert!(in_time(subscription.next()).await.is_none());
        in_time(hub.shutdown()).await;
        let error = hub.subscribe(Topic::channel("a")).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
        drop(server);
    });
}

/// A task that its runtime drops before it has ever run, and one whose runtime nobody drives.
#[test]
fn where_the_task_does_not_run_nobody_waits_for_ever() {
    let current = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (unpolled, undriven, last) = (current(), current(), current());
    let server = last.block_on(Server::start()).unwrap();
    let redis = patient(&server.url()).build().unwrap();
    let (dropped, idle) = (redis.hub(), Hub::builder(&redis).build().unwrap());
    let topic = || Topic::channel("a");
    let subscribed = unpolled.block_on(async { dropped.subscribe(topic()).now_or_never() });
    assert!(subscribed.is_none());
    drop(unpolled);
    let subscription = undriven.block_on(idle.subscribe(topic())).unwrap();
    last.block_on(async {
        let error = in_time(dropped.subscribe(topic())).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Closed), "{error}");
        in_time(dropped.shutdown()).await;
        in_time(idle.shutdown()).await;
        assert!(rest(subscription).await.is_empty());
    });
    drop(undriven);
}
