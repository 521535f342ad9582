//! `cargo xtask bench hub`: one message to a thousand subscribers in one process, again and again.

use bytes::Bytes;
use futures_util::StreamExt;
use russet_benchmarks::{
    Ops, Result, Side, Suite,
    rivals::{self, RUSSET},
};
use russet_core_conn::{Delivery, Hub, Redis, Topic};
use std::{
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::{Notify, broadcast};

const SUBSCRIBERS: usize = 1_000;
const PAYLOAD: [u8; 128] = [b'm'; 128];
/// What redis-rs's user would do: one reader, and tokio's channel to the others, as long as our queue.
const RIVAL: &str = "redis-rs 1.8, PubSub and tokio's broadcast of 1,024";
const PROMISED: f64 = 1_000_000.0;
/// A thousand subscribers need some tens of milliseconds to come.
const WINDOW: Duration = Duration::from_millis(750);

/// Messages in one trip of the publisher, and trips on their way at once.
const TRIP: usize = 16;
const TRIPS: usize = 4;

fn main() -> ExitCode {
    Suite::main("hub", async |suite| {
        let redis = Redis::connect(suite.url()).await?;
        let ours = Source::start(suite.url(), "bench:hub:ours").await?;
        let rival = Source::start(suite.url(), "bench:hub:rival").await?;
        // Keeps the channel subscribed, as the rival's reader does.
        let hub = redis.hub();
        let _kept = hub.subscribe(Topic::channel(ours.channel)).await?;
        let sender = rival_reader(suite.url(), rival.channel).await?;

        let alone = (RUSSET, russet(&hub, &ours));
        let row = suite.row("fan-out 1,000").tasks(SUBSCRIBERS).window(WINDOW);
        row.run_alone(alone, PROMISED).await?;
        let (ours, other) = ((RUSSET, russet(&hub, &ours)), (RIVAL, redis_rs(&sender, &rival)));
        let row = suite.row("fan-out 1,000 redis-rs").tasks(SUBSCRIBERS).window(WINDOW);
        row.run(ours, other).await
    })
}

/// Publishes as long as somebody listens, and never further ahead than the slowest listener allows: no side drops
/// anything, and what is counted has arrived everywhere.
struct Source {
    channel: &'static str,
    listeners: AtomicUsize,
    arrived: Notify,
    /// How many have heard the last message of a trip, by the trip's number modulo this length.
    heard: [AtomicUsize; 2 * TRIPS],
    all_heard: Notify,
}

impl Source {
    async fn start(url: &str, channel: &'static str) -> Result<Arc<Self>> {
        let source = Arc::new(Self {
            channel,
            listeners: AtomicUsize::new(0),
            arrived: Notify::new(),
            // Before the first trip nobody is waited for.
            heard: std::array::from_fn(|_| AtomicUsize::new(usize::MAX / 2)),
            all_heard: Notify::new(),
        });
        let mut connection = rivals::redis_rs(url).await?;
        let publishing = Arc::clone(&source);
        tokio::spawn(async move {
            for trip in (0..2 * TRIPS).cycle() {
                publishing.room((trip + TRIPS) % (2 * TRIPS)).await;
                publishing.heard[trip].store(0, SeqCst);
                let mut pipe = redis::pipe();
                for n in 1..=TRIP {
                    let mut payload = PAYLOAD;
                    if n == TRIP {
                        payload[0] = trip as u8;
                    }
                    pipe.cmd("PUBLISH").arg(channel).arg(&payload).ignore();
                }
                let published: redis::RedisResult<()> = pipe.query_async(&mut connection).await;
                if let Err(error) = published {
                    // Nobody would hear anything any more.
                    eprintln!("publishing: {error}");
                    std::process::exit(1);
                }
            }
        });
        Ok(source)
    }

    /// Waits until somebody listens, and until all that do have heard that trip. Those that have just come have not,
    /// and those who are left when it is over still need a message to see that: so not for long.
    async fn room(&self, trip: usize) {
        while self.listeners.load(SeqCst) == 0 {
            self.arrived.notified().await;
        }
        while self.heard[trip].load(SeqCst) < self.listeners.load(SeqCst) {
            let heard = tokio::time::timeout(Duration::from_millis(20), self.all_heard.notified());
            if heard.await.is_err() {
                return;
            }
        }
    }

    fn listen(self: &Arc<Self>) -> Listener {
        self.listeners.fetch_add(1, SeqCst);
        self.arrived.notify_one();
        Listener(Arc::clone(self))
    }
}

/// One that listens, until it is dropped.
struct Listener(Arc<Source>);

impl Listener {
    fn heard(&self, payload: &[u8]) -> Result {
        match payload.split_first() {
            Some((_, rest)) if rest != &PAYLOAD[1..] => Err("another message".into()),
            Some((&trip, _)) if usize::from(trip) < 2 * TRIPS => {
                let heard = self.0.heard[usize::from(trip)].fetch_add(1, SeqCst) + 1;
                if heard >= self.0.listeners.load(SeqCst) {
                    self.0.all_heard.notify_one();
                }
                Ok(())
            }
            Some((&b'm', _)) => Ok(()),
            _ => Err("another message".into()),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.listeners.fetch_sub(1, SeqCst);
    }
}

fn russet(hub: &Hub, source: &Arc<Source>) -> impl Side {
    let (hub, source) = (hub.clone(), Arc::clone(source));
    move |mut ops: Ops| {
        let (hub, source) = (hub.clone(), Arc::clone(&source));
        async move {
            let mut subscription = hub.subscribe(Topic::channel(source.channel)).await?;
            let listener = source.listen();
            while ops.next() {
                match subscription.next().await {
                    Some(Delivery::Message(message)) => listener.heard(message.payload())?,
                    other => return Err(format!("{other:?}").into()),
                }
            }
            Ok(())
        }
    }
}

async fn rival_reader(url: &str, channel: &str) -> Result<broadcast::Sender<Bytes>> {
    let mut pubsub = redis::Client::open(url)?.get_async_pubsub().await?;
    pubsub.subscribe(channel).await?;
    let sender = broadcast::Sender::new(1_024);
    let sending = sender.clone();
    tokio::spawn(async move {
        let mut messages = pubsub.into_on_message();
        while let Some(message) = messages.next().await {
            // Nobody may be listening.
            let _ = sending.send(Bytes::copy_from_slice(message.get_payload_bytes()));
        }
    });
    Ok(sender)
}

fn redis_rs(sender: &broadcast::Sender<Bytes>, source: &Arc<Source>) -> impl Side {
    let (sender, source) = (sender.clone(), Arc::clone(source));
    move |mut ops: Ops| {
        let (mut receiver, source) = (sender.subscribe(), Arc::clone(&source));
        async move {
            let listener = source.listen();
            while ops.next() {
                listener.heard(&receiver.recv().await?)?;
            }
            Ok(())
        }
    }
}
