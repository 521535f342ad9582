//! A server that is killed and started again, under load.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use russet_core_conn::{Backoff, Cmd, Error, Key, Redis, Script, SendOutcome};
use russet_testkit::{Fsync, Server};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::order::{At, Order};
use crate::support::{key, ms, record_figures, seed};

const TASKS: usize = 64;
const CAP: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_and_restarts_under_load_lose_no_task_and_mix_no_replies() {
    check(3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_restart() {
    let found = check(20).await;
    assert!(found.recoveries[19] < ms(1_000), "recovery took {:?}", found.recoveries[19]);
    let us = |time: Duration| u64::try_from(time.as_micros()).unwrap();
    record_figures(
        "restart",
        &found.server,
        &[("tasks", TASKS as u64), ("rounds", 20), ("operations", found.tally.done)],
        &[("kills", 20), ("unknown", found.tally.unknown), ("not_sent", found.tally.not_sent)],
        &[
            ("slowest_recovery_us", us(found.recoveries[19])),
            ("median_recovery_us", us(found.recoveries[10])),
        ],
    );
}

struct Found {
    server: String,
    tally: Tally,
    /// From the port's answer until each task had an answer, the shortest first.
    recoveries: Vec<Duration>,
}

async fn check(rounds: usize) -> Found {
    // What was acknowledged survives, so that a task knows what it must see.
    let server = Server::builder().aof(Fsync::Always).start().await.unwrap();
    let redis = Redis::builder(&server.url())
        .reconnect(Backoff::exponential(ms(20), CAP))
        .deadline(ms(2_000))
        .build()
        .unwrap();
    let mut events = redis.events();
    let listener = tokio::spawn(async move {
        let mut order = Order::capped(CAP);
        order.read_to_end(&mut events).await;
        order
    });
    redis.ready().await.unwrap();

    let epoch = Arc::new(AtomicUsize::new(0));
    let (progress, mut heard) = mpsc::unbounded_channel();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let worker = Worker::new(task, redis.clone(), epoch.clone(), progress.clone());
        tasks.spawn(worker.work(rounds));
    }
    let mut recoveries = Vec::new();
    for round in 1..=rounds {
        // All have done their share since the last kill, and are at work.
        all(&mut heard, Progress::Worked(round - 1)).await;
        // It answers nobody any more: each task has a call on its way when it dies, and a quarter of those write.
        server.pause().await.unwrap();
        tokio::time::sleep(ms(20)).await;
        server.kill().await.unwrap();
        server.restart().await.unwrap();
        let up = Instant::now();
        epoch.store(round, SeqCst);
        let last = all(&mut heard, Progress::Answered(round)).await;
        recoveries.push(last.saturating_duration_since(up));
    }
    let tallies = tokio::time::timeout(Duration::from_secs(20), tasks.join_all()).await;
    let tally = tallies.expect("a task hangs").into_iter().fold(Tally::default(), Tally::add);
    assert!(redis.close().await.is_clean());
    drop(redis);

    let order = listener.await.unwrap();
    assert_eq!(order.at(0), At::Closed, "the last thing that happens");
    assert_eq!(order.readies, rounds + 1, "one connection for each life of the server");
    assert!(order.errors >= rounds, "{} errors", order.errors);
    recoveries.sort_unstable();
    let slowest = recoveries[rounds - 1];
    assert!(slowest < ms(3_000), "recovery took {slowest:?}");
    let felt = tally.unknown + tally.not_sent;
    assert!(felt >= 4 * rounds as u64, "a kill that few felt: {tally:?}");
    assert!(tally.between * 100 <= tally.done, "failures while the server was well: {tally:?}");
    Found { server: server.version().to_string(), tally, recoveries }
}

/// What a task tells, with the number of kills before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It has had an answer again.
    Answered(usize),
    /// And then its share of them.
    Worked(usize),
}

/// Waits until all tasks have told it; when the last one did.
async fn all(
    heard: &mut mpsc::UnboundedReceiver<(Progress, Instant)>,
    wanted: Progress,
) -> Instant {
    let mut last = Instant::now();
    let mut missing = TASKS;
    while missing > 0 {
        let next = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await;
        let (progress, at) = next.expect("a task hangs").expect("the tasks ended");
        if progress == wanted {
            missing -= 1;
            last = at;
        }
    }
    last
}

#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    done: u64,
    unknown: u64,
    not_sent: u64,
    /// Failures between an answer and the next kill.
    between: u64,
}

impl Tally {
    fn add(self, other: Self) -> Self {
        Self {
            done: self.done + other.done,
            unknown: self.unknown + other.unknown,
            not_sent: self.not_sent + other.not_sent,
            between: self.between + other.between,
        }
    }
}

/// One task, with keys of its own, that knows what each answer must be.
struct Worker {
    task: usize,
    redis: Redis,
    key: Key,
    epoch: Arc<AtomicUsize>,
    progress: mpsc::UnboundedSender<(Progress, Instant)>,
    /// What the key may hold: the last write that was acknowledged, and those since that are unknown.
    possible: Vec<Option<String>>,
    steps: StdRng,
    tally: Tally,
}

/// How many answers each task gets between two kills, at least.
const SHARE: usize = 40;

static READ_BACK: LazyLock<Script> = LazyLock::new(|| {
    Script::new("read_back", "#!lua flags=no-writes\nreturn {ARGV[1], redis.call('GET', KEYS[1])}")
});

impl Worker {
    fn new(
        task: usize,
        redis: Redis,
        epoch: Arc<AtomicUsize>,
        progress: mpsc::UnboundedSender<(Progress, Instant)>,
    ) -> Self {
        let key = key("restart", task);
        let steps = StdRng::seed_from_u64(seed() ^ task as u64);
        let (possible, tally) = (vec![None], Tally::default());
        Self { task, redis, key, epoch, progress, possible, steps, tally }
    }

    async fn work(mut self, rounds: usize) -> Tally {
        let (mut answered, mut answers) = (None, 0);
        for n in 0_usize.. {
            let step = self.step(n).await;
            let epoch = self.epoch.load(SeqCst);
            match step {
                Ok(()) => {
                    self.tally.done += 1;
                    if answered != Some(epoch) {
                        (answered, answers) = (Some(epoch), 0);
                        let _ = self.progress.send((Progress::Answered(epoch), Instant::now()));
                    }
                    answers += 1;
                    if answers == SHARE {
                        let _ = self.progress.send((Progress::Worked(epoch), Instant::now()));
                    }
                    if answers >= SHARE && epoch == rounds {
                        break;
                    }
                }
                Err(error) => {
                    self.tally.between += u64::from(answered == Some(epoch) && answers < SHARE);
                    match error.outcome() {
                        SendOutcome::Unknown => self.tally.unknown += 1,
                        SendOutcome::NotSent => self.tally.not_sent += 1,
                        SendOutcome::Rejected => panic!("task {}: {error}", self.task),
                    }
                }
            }
        }
        self.tally
    }

    async fn step(&mut self, n: usize) -> Result<(), Error> {
        let mark = format!("{}-{n}", self.task);
        // By chance: in turn, all would wait at the same step after a while, and a kill could meet nothing but reads,
        // which are repeated.
        match self.steps.random_range(0..4) {
            0 => {
                let set = Cmd::write("SET").key(&self.key).arg(&mark);
                let written: Result<(), Error> = self.redis.run(set).await;
                match &written {
                    Ok(()) => self.possible = vec![Some(mark)],
                    Err(error) if error.outcome() == SendOutcome::Unknown => {
                        self.possible.push(Some(mark));
                    }
                    Err(_) => {}
                }
                return written;
            }
            1 => {
                let found: Option<String> = self.redis.run(Cmd::read("GET").key(&self.key)).await?;
                self.must_be_possible(&found);
            }
            2 => {
                let echo: String = self.redis.run(Cmd::read("ECHO").arg(&mark)).await?;
                assert_eq!(echo, mark, "another call's reply");
            }
            _ => {
                let call = READ_BACK.key(&self.key).arg(&mark);
                let (echo, found): (String, Option<String>) = self.redis.script(call).await?;
                assert_eq!(echo, mark, "another call's reply");
                self.must_be_possible(&found);
            }
        }
        Ok(())
    }

    fn must_be_possible(&self, found: &Option<String>) {
        assert!(self.possible.contains(found), "{found:?} is none of {:?}", self.possible);
    }
}
