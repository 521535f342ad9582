//! The connection is lost again and again while messages come.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use russet_core_conn::{Backoff, Delivery, Gap, Hub, Subscription, Topic};
use russet_testkit::{Conn, Match, Proxy, Server};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::support::{clients, ms, patient, record_figures};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_loss_is_told_to_every_subscriber_and_nothing_else_is_lost() {
    check(10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_hub_kills() {
    let found = check(50).await;
    record_figures(
        "hub_kills",
        &found.server,
        &[("subscribers", QUICK + 1), ("published", found.published)],
        &[("kills", 50), ("lost_in_gaps", found.lost), ("missed_by_the_slow", found.missed)],
        &[("longest_gap_ms", found.longest_gap), ("median_gap_ms", found.median_gap)],
    );
}

const QUICK: u64 = 12;

struct Found {
    server: String,
    published: u64,
    lost: u64,
    missed: u64,
    longest_gap: u64,
    median_gap: u64,
}

async fn check(rounds: usize) -> Found {
    let server = Arc::new(Server::start().await.unwrap());
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = patient(&proxy.url())
        .connection_name("hub")
        .reconnect(Backoff::exponential(ms(5), ms(100)))
        .build()
        .unwrap();
    let hub = Hub::builder(&redis).heartbeat(ms(100), ms(5_000)).build().unwrap();
    let topics = [Topic::channel("a"), Topic::pattern("a*"), Topic::sharded("a")];
    let mut slow = hub.subscribe(Topic::channel("a")).await.unwrap();
    let (told, mut heard) = mpsc::unbounded_channel();
    let mut subscribers = JoinSet::new();
    for topic in topics.iter().cycle().take(QUICK as usize) {
        let subscription = hub.subscribe(topic.clone()).await.unwrap();
        subscribers.spawn(listen(subscription, Some(told.clone())));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let publisher = tokio::spawn(publish(server.clone(), stop.clone()));

    for round in 0..rounds {
        all(&mut heard, round).await;
        lose(&server, &proxy, round).await;
    }
    all(&mut heard, rounds).await;
    stop.store(true, SeqCst);
    let facts = publisher.await.unwrap();

    let mut found = Found {
        server: server.version().to_string(),
        published: facts.len() as u64,
        lost: 0,
        missed: 0,
        longest_gap: 0,
        median_gap: 0,
    };
    let mut by_channel = Vec::new();
    while let Some(heard) = subscribers.join_next().await {
        let heard = heard.unwrap();
        assert_eq!((heard.aways, heard.gaps.len()), (rounds, rounds), "each loss by itself");
        assert_eq!(heard.missed, 0);
        found.lost += heard.check(&facts);
        let mut gaps: Vec<_> =
            heard.gaps.iter().map(|gap| gap.duration().as_millis() as u64).collect();
        gaps.sort_unstable();
        (found.longest_gap, found.median_gap) = (gaps[rounds - 1], gaps[rounds / 2]);
        if heard.topic == topics[0] {
            by_channel.push(heard.messages.len() as u64);
        }
    }
    // The slow one of the same channel has not lost more than it is told.
    let heard = listen_to(&mut slow, None).await;
    heard.check_order();
    let losses: u32 = heard.gaps.iter().map(|gap| gap.losses).sum();
    assert_eq!(losses as usize, rounds, "{} gaps", heard.gaps.len());
    let arrived = heard.messages.len() as u64 + heard.missed;
    assert!(by_channel.iter().all(|all| *all == arrived), "{arrived} of {by_channel:?}");
    assert!(heard.missed > 0, "it was not slow: {arrived} arrived");
    found.missed = heard.missed;
    let least = rounds as u64 * QUICK * AFTER as u64;
    assert!(found.published > least / QUICK, "{} published", found.published);
    found
}

/// Ends the connection, in one of five ways.
async fn lose(server: &Server, proxy: &Proxy, round: usize) {
    match round % 5 {
        0 => {
            let mut conn = server.conn().await.unwrap();
            let killed = conn.call(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
            assert_eq!(killed.int(), Some(1));
        }
        1 => assert_eq!(proxy.cut_all().await.unwrap(), 1),
        2 => {
            let mut conn = server.conn().await.unwrap();
            let line = clients(&mut conn, "hub").await.pop().unwrap();
            let id = line.split_whitespace().next().unwrap().strip_prefix("id=").unwrap();
            let killed = conn.call(&["CLIENT", "KILL", "ID", id]).await.unwrap();
            assert_eq!(killed.int(), Some(1));
        }
        3 => {
            server.kill().await.unwrap();
            server.restart().await.unwrap();
        }
        _ => proxy.cut_in_reply(Match::name("CLIENT"), round).struck().await.unwrap(),
    }
}

/// When each number was about to be published, and when the server had said that it was.
type Facts = Vec<(Instant, Option<Instant>)>;

/// Publishes 0, 1, 2, … to both kinds of channels, and the end when it is told to.
async fn publish(server: Arc<Server>, stop: Arc<AtomicBool>) -> Facts {
    let mut facts = Facts::new();
    let mut conn = server.conn().await.unwrap();
    while !stop.load(SeqCst) {
        let (began, number) = (Instant::now(), facts.len().to_string());
        let sent = [["PUBLISH", "a", &number], ["SPUBLISH", "a", &number]];
        let finished = conn.pipeline(&sent).await.is_ok().then(Instant::now);
        facts.push((began, finished));
        if finished.is_none() {
            // It is being restarted.
            conn = loop {
                match Conn::open(&server.url()).await {
                    Ok(conn) => break conn,
                    Err(_) => tokio::time::sleep(ms(2)).await,
                }
            };
        }
    }
    conn.pipeline(&[["PUBLISH", "a", END], ["SPUBLISH", "a", END]]).await.unwrap();
    facts
}

const END: &str = "end";
/// How many messages each subscriber gets between two losses, at least.
const AFTER: usize = 150;

/// Waits until all subscribers have been told of so many losses, and hear again.
async fn all(heard: &mut mpsc::UnboundedReceiver<usize>, losses: usize) {
    for _ in 0..QUICK {
        let told = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await;
        assert_eq!(told.expect("a loss is not told").unwrap(), losses);
    }
}

struct Heard {
    topic: Topic,
    messages: Vec<usize>,
    /// Where among the messages.
    gaps_at: HashMap<usize, Vec<Gap>>,
    gaps: Vec<Gap>,
    aways: usize,
    missed: u64,
}

async fn listen(
    mut subscription: Subscription,
    told: Option<mpsc::UnboundedSender<usize>>,
) -> Heard {
    listen_to(&mut subscription, told).await
}

async fn listen_to(
    subscription: &mut Subscription,
    told: Option<mpsc::UnboundedSender<usize>>,
) -> Heard {
    let mut heard = Heard {
        topic: subscription.topic().clone(),
        messages: Vec::new(),
        gaps_at: HashMap::new(),
        gaps: Vec::new(),
        aways: 0,
        missed: 0,
    };
    let mut since_gap = 0;
    loop {
        match super::next(subscription).await {
            Delivery::Message(message) => {
                let text = std::str::from_utf8(message.payload()).unwrap();
                if text == END {
                    return heard;
                }
                heard.messages.push(text.parse().unwrap());
                since_gap += 1;
                if since_gap == AFTER
                    && let Some(told) = &told
                {
                    let _ = told.send(heard.gaps.len());
                }
            }
            Delivery::Away(_) => heard.aways += 1,
            Delivery::Gap(gap) => {
                heard.gaps_at.entry(heard.messages.len()).or_default().push(gap);
                heard.gaps.push(gap);
                since_gap = 0;
            }
            Delivery::Missed(count) => heard.missed += count,
            other => panic!("{other:?}"),
        }
    }
}

impl Heard {
    fn check_order(&self) {
        let out_of_order = self.messages.windows(2).find(|pair| pair[0] >= pair[1]);
        assert_eq!(out_of_order, None, "out of order, or twice");
    }

    /// What is missing was published in a gap, by its own account. How much that is.
    fn check(&self, facts: &Facts) -> u64 {
        self.check_order();
        let mut lost = 0;
        for (at, pair) in self.messages.windows(2).enumerate() {
            let gaps = self.gaps_at.get(&(at + 1)).map_or(&[][..], Vec::as_slice);
            let missing = facts.iter().enumerate().take(pair[1]).skip(pair[0] + 1);
            for (missing, &(began, finished)) in missing {
                let excused = |gap: &Gap| {
                    began <= gap.until && finished.is_none_or(|finished| finished >= gap.since)
                };
                assert!(gaps.iter().any(excused), "{missing} is missing, and in no gap");
                lost += 1;
            }
        }
        lost
    }
}
