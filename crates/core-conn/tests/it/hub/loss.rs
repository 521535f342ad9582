//! Connections that are lost, hang, or do not hear.

use std::time::{Duration, Instant};

use russet_core_conn::{Backoff, Delivery, Error, ErrorKind, Gap, Hub, Subscription, Topic};
use russet_testkit::{Conn, Match, Proxy, Server};

use super::{next, publish, text};
use crate::support::{ms, patient};

mod kills;

const INTERVAL: Duration = ms(150);
const TIMEOUT: Duration = ms(600);

/// A server behind a proxy, and a hub that finds out quickly.
async fn watched() -> (Server, Proxy, Conn, Hub) {
    let server = Server::start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let conn = server.conn().await.unwrap();
    let redis = patient(&proxy.url()).reconnect(Backoff::constant(ms(10))).build().unwrap();
    let hub = Hub::builder(&redis).heartbeat(INTERVAL, TIMEOUT).build().unwrap();
    (server, proxy, conn, hub)
}

/// Reads what tells of one loss and of its end, and nothing else.
async fn gap(subscription: &mut Subscription) -> (Error, Gap) {
    let away = next(subscription).await;
    let Delivery::Away(error) = away else { panic!("{away:?}") };
    let gap = next(subscription).await;
    let Delivery::Gap(gap) = gap else { panic!("{gap:?}") };
    (error, gap)
}

fn inject(proxy: &Proxy, bytes: &[u8]) {
    assert_eq!(proxy.inject_reply(bytes.to_vec()), 1);
}

/// Bounds on time, with what a busy machine may add.
fn soon(begun: Instant, bound: Duration) {
    assert!(begun.elapsed() < bound + ms(1_000), "{:?} of {bound:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_the_server_does_not_have_is_found() {
    let (_server, proxy, mut conn, hub) = watched().await;
    let mut good = hub.subscribe(Topic::channel("good")).await.unwrap();
    let deaf = [
        (Topic::channel("deaf"), "subscribe", "PUBLISH"),
        (Topic::pattern("dea?"), "psubscribe", "PUBLISH"),
        (Topic::sharded("deaf"), "ssubscribe", "SPUBLISH"),
    ];
    for (topic, verb, publish_verb) in deaf {
        let name = String::from_utf8(topic.as_bytes().to_vec()).unwrap();
        let confirmation =
            format!(">3\r\n${}\r\n{verb}\r\n${}\r\n{name}\r\n:1\r\n", verb.len(), name.len());
        let fault = proxy.answer(Match::name(verb).with_arg(&name), confirmation);
        let mut subscription = hub.subscribe(topic).await.unwrap();
        let begun = Instant::now();
        assert_eq!(fault.strikes(), 1);
        conn.call(&[publish_verb, "deaf", "unheard"]).await.unwrap();
        let (error, gap_of_deaf) = gap(&mut subscription).await;
        soon(begun, INTERVAL + TIMEOUT);
        // The heartbeat that found it proves nothing of the time before it.
        assert!(gap_of_deaf.since <= begun, "{gap_of_deaf:?}, begun {begun:?}");
        assert!(error.to_string().contains("counts other subscriptions"), "{error}");
        conn.call(&[publish_verb, "deaf", "heard"]).await.unwrap();
        assert_eq!(text(&mut subscription).await, "heard");
        gap(&mut good).await;
    }
    // And one that it has and should not have.
    let fault = proxy
        .answer(Match::name("UNSUBSCRIBE"), ">3\r\n$11\r\nunsubscribe\r\n$4\r\nmore\r\n:1\r\n");
    drop(hub.subscribe(Topic::channel("more")).await.unwrap());
    fault.struck().await.unwrap();
    gap(&mut good).await;
    assert_eq!(publish(&mut conn, "more", "m").await, 0);
    assert_eq!(publish(&mut conn, "good", "m").await, 1);
    assert_eq!(text(&mut good).await, "m");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_out_of_step_is_ended() {
    let (_server, proxy, mut conn, hub) = watched().await;
    let mut subscription = hub.subscribe(Topic::channel("a")).await.unwrap();
    type Break = fn(&Proxy);
    let faults: [(Break, &str); 6] = [
        (|proxy| drop(proxy.flip_bit(Match::name("PING"), 20)), "another answer"),
        (|proxy| drop(proxy.inject_before(Match::name("PING"), "+OK\r\n")), "another answer"),
        (|proxy| drop(proxy.corrupt(Match::name("PING"), |_| b"_\r\n".to_vec())), "another answer"),
        (|proxy| inject(proxy, b"?\r\n"), "not known"),
        (|proxy| inject(proxy, &b"*1\r\n".repeat(100_000)), "should have"),
        (
            |proxy| inject(proxy, b">3\r\n$12\r\nsunsubscribe\r\n$1\r\na\r\n:0\r\n"),
            "ended a subscription",
        ),
    ];
    for (number, (fault, words)) in faults.into_iter().enumerate() {
        let strikes = proxy.strikes();
        fault(&proxy);
        proxy.until(|now| now.strikes > strikes).await.unwrap();
        let (error, gap) = gap(&mut subscription).await;
        assert!(error.to_string().contains(words), "{number}: {error}");
        assert_eq!(gap.losses, 1);
        assert_eq!(publish(&mut conn, "a", "m").await, 1);
        assert_eq!(text(&mut subscription).await, "m");
    }
    // An answer that nobody asked for, before the next heartbeat or within it.
    inject(&proxy, b"+PONG\r\n");
    let (error, _) = gap(&mut subscription).await;
    assert!(matches!(error.kind(), ErrorKind::Desync(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_server_and_a_dead_line_are_found() {
    let (server, proxy, mut conn, hub) = watched().await;
    let mut subscription = hub.subscribe(Topic::channel("a")).await.unwrap();
    for hung in [true, false] {
        let begun = Instant::now();
        if hung {
            server.pause().await.unwrap();
        } else {
            proxy.stall();
        }
        let away = next(&mut subscription).await;
        let Delivery::Away(error) = away else { panic!("{away:?}") };
        assert!(error.to_string().contains("no answer within 600ms"), "{error}");
        // A heartbeat may have been under way already.
        assert!(begun.elapsed() >= TIMEOUT / 2 && !subscription.is_live());
        soon(begun, INTERVAL + TIMEOUT);
        if hung {
            server.resume().await.unwrap();
        } else {
            proxy.unstall();
        }
        let back = next(&mut subscription).await;
        let Delivery::Gap(gap) = back else { panic!("{back:?}") };
        assert!(gap.since <= begun + INTERVAL && gap.until > begun + TIMEOUT / 2, "{gap:?}");
        assert_eq!(publish(&mut conn, "a", "m").await, 1);
        assert_eq!(text(&mut subscription).await, "m");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_hears_and_can_not_speak_is_found_while_messages_come() {
    let (_server, proxy, mut conn, hub) = watched().await;
    let mut subscription = hub.subscribe(Topic::channel("a")).await.unwrap();
    // Requests arrive too late to be answered in time; messages come at once.
    proxy.delay_requests(ms(5_000));
    let begun = Instant::now();
    let mut heard = 0;
    loop {
        publish(&mut conn, "a", "m").await;
        match next(&mut subscription).await {
            Delivery::Message(_) => heard += 1,
            Delivery::Away(error) => {
                assert!(error.to_string().contains("no answer within"), "{error}");
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    soon(begun, INTERVAL + TIMEOUT);
    assert!(heard > 10, "{heard}");
    proxy.heal();
    assert!(matches!(next(&mut subscription).await, Delivery::Gap(_)));
}
