//! One process: its tasks read and write, and note what they did and saw.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use russet_cache::{Cache, Load, Lookup, Tier};
use russet_core_conn::{Durability, KeySpace, Redis};
use russet_testkit::Conn;
use russet_testkit::soak::seed;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::MAX_STALENESS;
use super::history::{KEYS, Scope, TAGS};
use super::servers::SPACE;

const TASKS: u64 = 8;

/// Between what one task does and does next.
const PAUSE: Duration = Duration::from_millis(4);

const READY: &str = "ready";

/// What it is to do.
#[derive(Clone, Copy)]
pub(super) struct Orders {
    /// How many operations at the least.
    pub(super) operations: u64,
    /// Whether it also writes.
    pub(super) writes: bool,
    /// How many replicas acknowledge what it says.
    pub(super) replicas: u32,
}

pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(
        number: usize,
        [server, origin]: [String; 2],
        orders: Orders,
        folder: &Path,
    ) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "coherence::process::one_process", "--ignored", "--nocapture"])
            .env("RUSSET_TEST_SERVER", server)
            .env("RUSSET_TEST_ORIGIN", origin)
            .env("RUSSET_TEST_OPERATIONS", orders.operations.to_string())
            .env("RUSSET_TEST_WRITES", orders.writes.to_string())
            .env("RUSSET_TEST_REPLICAS", orders.replicas.to_string())
            .env("RUSSET_TEST_NUMBER", number.to_string())
            .env("RUSSET_TEST_FILE", file(folder, number))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self(child)
    }

    /// It has what it reads most.
    pub(super) async fn ready(&mut self) {
        let mut lines = BufReader::new(self.0.stdout.as_mut().unwrap()).lines();
        while lines.next_line().await.unwrap().unwrap() != READY {}
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id().unwrap()
    }

    /// Once it has done what it was to do at the least.
    pub(super) fn end(&mut self) {
        drop(self.0.stdin.take());
    }

    pub(super) async fn ends(&mut self) {
        assert!(self.0.wait().await.unwrap().success());
    }
}

pub(super) fn file(folder: &Path, number: usize) -> PathBuf {
    folder.join(number.to_string())
}

/// The time that all processes of this machine have, in µs.
pub(super) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_micros()).unwrap()
}

fn cache(server: &str, replicas: u32) -> Cache<u64> {
    let redis = Redis::builder(server)
        .deadline(Duration::from_millis(500))
        .probe(Duration::from_millis(300), Duration::from_millis(300))
        .build()
        .unwrap();
    let redis = match replicas {
        0 => redis,
        more => redis.with_durability(Durability::Replicas(more)),
    };
    Cache::builder(&redis, &KeySpace::new(SPACE).unwrap(), "n")
        .ttl(Duration::from_secs(60))
        .lease(Duration::from_millis(300))
        .budget(Duration::from_millis(300))
        .journal(MAX_STALENESS)
        .local(10_000)
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that others start"]
async fn one_process() {
    let Ok(server) = std::env::var("RUSSET_TEST_SERVER") else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let number: u64 = variable("RUSSET_TEST_NUMBER").parse().unwrap();
    let operations: u64 = variable("RUSSET_TEST_OPERATIONS").parse().unwrap();
    let writes: bool = variable("RUSSET_TEST_WRITES").parse().unwrap();
    let origin = variable("RUSSET_TEST_ORIGIN");
    let cache = cache(&server, variable("RUSSET_TEST_REPLICAS").parse().unwrap());
    let end = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (cache, origin, end) = (cache.clone(), origin.clone(), end.clone());
        tasks.spawn(async move {
            let random = SmallRng::seed_from_u64(seed() ^ (number << 32) ^ task);
            let origin = Origin(Arc::new(Mutex::new(Conn::open(&origin).await.unwrap())));
            let mut worker = Worker { cache, origin, writes, random, notes: String::new() };
            let mut acts = 0;
            while acts < operations / TASKS || !end.load(Relaxed) {
                tokio::time::sleep(PAUSE.mul_f64(worker.random.random())).await;
                worker.act().await;
                acts += 1;
            }
            worker.notes
        });
    }
    while cache.stats().local < 100 {
        tokio::time::sleep(PAUSE).await;
    }
    println!("\n{READY}");
    let mut nothing = String::new();
    let told = tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut nothing));
    told.await.unwrap().unwrap();
    end.store(true, Relaxed);
    let mut notes = String::new();
    while let Some(done) = tasks.join_next().await {
        notes.push_str(&done.unwrap());
    }
    let stats = cache.stats();
    writeln!(notes, "S {} {}", stats.failovers, stats.repeated).unwrap();
    std::fs::write(variable("RUSSET_TEST_FILE"), notes).unwrap();
}

/// Versions by key, which only grow, in a server that no fault strikes.
#[derive(Clone)]
struct Origin(Arc<Mutex<Conn>>);

impl Origin {
    async fn read(
        self,
        keys: Vec<u64>,
        takes: Duration,
    ) -> Result<Vec<(u64, Load<u64>)>, std::io::Error> {
        let mut loads = Vec::new();
        for key in keys {
            let found = self.0.lock().await.call(&["GET", &key.to_string()]).await.unwrap();
            let version = found.text().map_or(0, |text| text.parse().unwrap());
            loads.push((key, load(key, version)));
        }
        // What it has read gets old meanwhile.
        tokio::time::sleep(takes).await;
        Ok(loads)
    }

    async fn write(&self, key: u64) -> u64 {
        let key = key.to_string();
        let version = self.0.lock().await.call(&["INCR", &key]).await.unwrap().int().unwrap();
        u64::try_from(version).unwrap()
    }
}

struct Worker {
    cache: Cache<u64>,
    origin: Origin,
    writes: bool,
    random: SmallRng,
    notes: String,
}

impl Worker {
    async fn act(&mut self) {
        let key = self.key();
        match self.random.random_range(0..10_000) {
            0 if self.writes => self.change_all(key).await,
            1..60 if self.writes => self.disturb(key).await,
            60..500 => self.read_many(key).await,
            _ => self.read(key).await,
        }
    }

    /// Some are asked for far more often than others.
    fn key(&mut self) -> u64 {
        let share: f64 = self.random.random();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "neither is large"
        )]
        let key = (share.powi(3) * KEYS as f64) as u64;
        key
    }

    /// Most loads are quick; some last so long that much is written meanwhile.
    fn takes(&mut self) -> Duration {
        let most = if self.random.random_bool(0.3) { 120_000 } else { 8_000 };
        Duration::from_micros(self.random.random_range(0..most))
    }

    async fn read(&mut self, key: u64) {
        let (takes, origin, begun) = (self.takes(), self.origin.clone(), now());
        let load = move |_| async move {
            let mut loads = origin.read(vec![key], takes).await?;
            Ok::<_, std::io::Error>(loads.remove(0).1)
        };
        let found = self.cache.get_or_load(key, load).await.unwrap();
        self.saw(key, &found, begun);
    }

    async fn read_many(&mut self, first: u64) {
        let keys = [first, (first + 1) % KEYS, (first + 2) % KEYS];
        let (takes, origin, begun) = (self.takes(), self.origin.clone(), now());
        let load = move |missing: Vec<u64>, _| origin.clone().read(missing, takes);
        let found = self.cache.get_or_load_many(keys, load).await.unwrap();
        for (key, found) in keys.into_iter().zip(found) {
            self.saw(key, &found, begun);
        }
    }

    fn saw(&mut self, key: u64, found: &Lookup<u64>, begun: u64) {
        let tier = match found.tier() {
            Tier::Local => 'l',
            Tier::Redis => 'r',
            _ => 'o',
        };
        writeln!(self.notes, "R {key} {} {begun} {tier}", found.value().unwrap()).unwrap();
    }

    /// Changes a key, and now and then once more while what the first change made invalid is being loaded.
    async fn disturb(&mut self, key: u64) {
        self.change(key).await;
        if self.random.random_bool(0.5) {
            tokio::time::sleep(Duration::from_micros(self.random.random_range(0..20_000))).await;
            self.change(key).await;
        }
    }

    /// In one of the ways there are.
    async fn change(&mut self, key: u64) {
        match self.random.random_range(0..5) {
            0 => {
                let origin = self.origin.clone();
                let write = move || async move {
                    let version = origin.write(key).await;
                    Ok::<_, std::io::Error>((version, now(), load(key, version)))
                };
                let begun = self.write_through(key, write).await;
                self.told(Scope::Key(key), begun);
            }
            1 => {
                let version = self.write(key).await;
                let begun = now();
                let told = self.cache.update(key, version, load(key, version)).await;
                self.told(Scope::Key(key), told.is_ok().then_some(begun));
            }
            2 | 3 => {
                self.write(key).await;
                let begun = now();
                let told = self.cache.remove(key).await;
                self.told(Scope::Key(key), told.is_ok().then_some(begun));
            }
            _ => {
                let number = key % TAGS;
                for key in (0..KEYS).filter(|key| key % TAGS == number) {
                    self.write(key).await;
                }
                let begun = now();
                let told = self.cache.invalidate_tags([tag(number)]).await;
                self.told(Scope::Tag(number), told.is_ok().then_some(begun));
            }
        }
    }

    async fn change_all(&mut self, key: u64) {
        self.write(key).await;
        let begun = now();
        let told = self.cache.invalidate_all().await;
        self.told(Scope::All, told.is_ok().then_some(begun));
    }

    /// Of the origin alone.
    async fn write(&mut self, key: u64) -> u64 {
        let version = self.origin.write(key).await;
        self.wrote(key, version, now());
        version
    }

    /// Since when the origin was written, if that was told.
    async fn write_through<F>(
        &mut self,
        key: u64,
        write: impl FnOnce() -> F + Send + 'static,
    ) -> Option<u64>
    where
        F: Future<Output = Result<(u64, u64, Load<u64>), std::io::Error>> + Send + 'static,
    {
        let (tell, told) = tokio::sync::oneshot::channel();
        let write = move || async move {
            let (version, written, load) = write().await?;
            tell.send((version, written)).unwrap();
            Ok::<_, std::io::Error>(load)
        };
        let done = self.cache.write(key, write).await;
        let (version, written) = told.await.unwrap();
        self.wrote(key, version, written);
        done.is_ok().then_some(written)
    }

    /// It was there by then.
    fn wrote(&mut self, key: u64, version: u64, at: u64) {
        writeln!(self.notes, "W {key} {version} {at}").unwrap();
    }

    fn told(&mut self, scope: Scope, begun: Option<u64>) {
        match begun {
            Some(begun) => writeln!(self.notes, "I {scope} {begun} {}", now()).unwrap(),
            None => self.notes.push_str("F\n"),
        }
    }
}

/// With its version: an update must know what is older.
fn load(key: u64, version: u64) -> Load<u64> {
    Load::value(version).version(version).tags([tag(key % TAGS)])
}

fn tag(number: u64) -> String {
    format!("t{number}")
}
