//! Many subscribers, and one that is slow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use russet_core_conn::{Delivery, Hub, Subscription, Topic};
use russet_testkit::{Conn, Server};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::next;
use crate::support::{clients, patient, record_figures, rss};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_loses_nothing_by_one_that_is_slow() {
    check(100, 10_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_hub_crowd() {
    let (channels, messages) = (1_000, 1_000_000);
    let found = check(channels, messages).await;
    let [tenth, end] = found.rss;
    assert!(end as f64 <= tenth as f64 * 1.05, "from {tenth} to {end} KiB");
    record_figures(
        "hub_crowd",
        &found.server,
        &[
            ("subscribers", (channels * EACH + 1) as u64),
            ("channels", channels as u64),
            ("messages", messages as u64),
        ],
        &[("missed_by_the_slow", found.missed)],
        &[
            ("deliveries", (messages * EACH) as u64),
            ("deliveries_per_second", found.rate),
            ("rss_tenth_kib", tenth),
            ("rss_end_kib", end),
        ],
    );
}

/// Subscribers of each channel.
const EACH: usize = 10;
/// How many messages of a channel may be on their way to those who read.
const WINDOW: usize = 10;
/// More than these wait for nobody.
const QUEUE: usize = 64;

struct Found {
    server: String,
    missed: u64,
    rate: u64,
    rss: [u64; 2],
}

async fn check(channels: usize, messages: usize) -> Found {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let redis = patient(&server.url()).connection_name("crowd").build().unwrap();
    let hub = Hub::builder(&redis).queue(QUEUE).build().unwrap();
    let topic = |channel: usize| Topic::channel(format!("c{channel}"));
    let per_channel = messages / channels;

    let room = Arc::new(Semaphore::new(channels * WINDOW * EACH));
    let mut joining = JoinSet::new();
    for n in 0..channels * EACH {
        let (hub, room, topic) = (hub.clone(), room.clone(), topic(n % channels));
        joining.spawn(async move { (hub.subscribe(topic).await.unwrap(), room) });
    }
    let mut quick = JoinSet::new();
    for (subscription, room) in joining.join_all().await {
        quick.spawn(read_all(subscription, room, per_channel));
    }
    let turn = Arc::new(Notify::new());
    let slow = hub.subscribe(topic(channels / 2)).await.unwrap();
    let slow = tokio::spawn(read_slowly(slow, turn.clone(), per_channel));
    let lines = clients(&mut conn, "crowd").await;
    assert!(lines.len() == 1 && lines[0].contains(&format!(" sub={channels} ")), "{lines:?}");

    let begun = Instant::now();
    let mut tenth = 0;
    for first in (0..per_channel).step_by(WINDOW / 2) {
        let numbers = first..(first + WINDOW / 2).min(per_channel);
        publish(&mut conn, &room, numbers, channels).await;
        if first <= per_channel / 10 {
            tenth = rss();
        }
        if first % (per_channel / 4) < WINDOW / 2 {
            turn.notify_one();
        }
    }
    while let Some(read) = quick.join_next().await {
        assert_eq!(read.unwrap(), per_channel);
    }
    let rate = (messages * EACH) as f64 / begun.elapsed().as_secs_f64();
    let rss = [tenth, rss()];
    turn.notify_one();
    let missed = slow.await.unwrap();
    assert!(missed >= (per_channel / 10) as u64, "it was not slow: {missed} missed");
    Found { server: server.version().to_string(), missed, rate: rate as u64, rss }
}

/// Some numbers to each channel, as soon as those who read have room for them.
async fn publish(
    conn: &mut Conn,
    room: &Semaphore,
    numbers: std::ops::Range<usize>,
    channels: usize,
) {
    let batch = numbers.len() * channels * EACH;
    let permit = room.acquire_many(u32::try_from(batch).unwrap());
    tokio::time::timeout(Duration::from_secs(60), permit)
        .await
        .expect("not all arrives")
        .unwrap()
        .forget();
    let commands: Vec<_> = numbers
        .flat_map(|number| (0..channels).map(move |channel| (number, channel)))
        .map(|(number, channel)| ["PUBLISH".to_owned(), format!("c{channel}"), format!("{number}")])
        .collect();
    for reply in conn.pipeline(&commands).await.unwrap() {
        assert_eq!(reply.int(), Some(1), "one connection for all");
    }
}

/// Reads everything at once, and makes room.
async fn read_all(mut subscription: Subscription, room: Arc<Semaphore>, count: usize) -> usize {
    for expected in 0..count {
        match next(&mut subscription).await {
            Delivery::Message(message) => {
                assert_eq!(message.payload(), expected.to_string().as_bytes());
            }
            other => panic!("{other:?} in place of {expected}"),
        }
        room.add_permits(1);
    }
    count
}

/// Reads a little at each turn. How many it missed: at each place as many as it was told.
async fn read_slowly(mut subscription: Subscription, turn: Arc<Notify>, count: usize) -> u64 {
    let (mut expected, mut all_missed) = (0, 0);
    for n in 0.. {
        if n % 5 == 0 && expected + QUEUE < count {
            turn.notified().await;
        }
        match next(&mut subscription).await {
            Delivery::Message(message) => {
                assert_eq!(message.payload(), expected.to_string().as_bytes());
                expected += 1;
            }
            Delivery::Missed(missed) => {
                expected += usize::try_from(missed).unwrap();
                all_missed += missed;
            }
            other => panic!("{other:?}"),
        }
        if expected == count {
            break;
        }
    }
    all_missed
}
