//! One process: its tasks read and write, and note what they did and saw.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use russet_cache::{Cache, Load, Tier};
use russet_core_conn::{KeySpace, Redis};
use russet_testkit::Conn;
use russet_testkit::soak::seed;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::MAX_STALENESS;
use super::history::{Scope, TAGS};
use crate::support::url;

const TASKS: u64 = 8;

/// Between what one task does and does next.
const PAUSE: Duration = Duration::from_millis(4);

pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(
        number: usize,
        [server, origin]: [SocketAddr; 2],
        [operations, keys]: [u64; 2],
        folder: &Path,
    ) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "coherence::process::one_process", "--ignored", "--nocapture"])
            .env("RUSSET_TEST_SERVER", server.to_string())
            .env("RUSSET_TEST_ORIGIN", origin.to_string())
            .env("RUSSET_TEST_OPERATIONS", operations.to_string())
            .env("RUSSET_TEST_KEYS", keys.to_string())
            .env("RUSSET_TEST_NUMBER", number.to_string())
            .env("RUSSET_TEST_FILE", file(folder, number))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self(child)
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that others start"]
async fn one_process() {
    let Ok(server) = std::env::var("RUSSET_TEST_SERVER") else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let number: u64 = variable("RUSSET_TEST_NUMBER").parse().unwrap();
    let operations: u64 = variable("RUSSET_TEST_OPERATIONS").parse().unwrap();
    let keys: u64 = variable("RUSSET_TEST_KEYS").parse().unwrap();
    let origin = format!("redis://{}", variable("RUSSET_TEST_ORIGIN"));
    let redis = Redis::builder(&url(server.parse().unwrap()))
        .deadline(Duration::from_millis(500))
        .probe(Duration::from_millis(300), Duration::from_millis(300))
        .build()
        .unwrap();
    let cache = Cache::builder(&redis, &KeySpace::new("coherence").unwrap(), "n")
        .ttl(Duration::from_secs(60))
        .lease(Duration::from_millis(300))
        .journal(MAX_STALENESS)
        .local(10_000)
        .build()
        .unwrap();
    let end = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (cache, origin, end) = (cache.clone(), origin.clone(), end.clone());
        tasks.spawn(async move {
            let random = SmallRng::seed_from_u64(seed() ^ (number << 32) ^ task);
            let origin = Origin(Arc::new(Mutex::new(Conn::open(&origin).await.unwrap())));
            let mut worker = Worker { cache, origin, keys, random, notes: String::new() };
            let mut acts = 0;
            while acts < operations / TASKS || !end.load(Relaxed) {
                tokio::time::sleep(PAUSE.mul_f64(worker.random.random())).await;
                worker.act().await;
                acts += 1;
            }
            worker.notes
        });
    }
    let mut nothing = String::new();
    let told = tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut nothing));
    told.await.unwrap().unwrap();
    end.store(true, Relaxed);
    let mut notes = String::new();
    while let Some(done) = tasks.join_next().await {
        notes.push_str(&done.unwrap());
    }
    std::fs::write(variable("RUSSET_TEST_FILE"), notes).unwrap();
}

/// Versions by key, which only grow, in a server that no fault strikes.
#[derive(Clone)]
struct Origin(Arc<Mutex<Conn>>);

impl Origin {
    async fn read(self, key: u64, takes: Duration) -> Result<Load<u64>, std::io::Error> {
        let key = key.to_string();
        let found = self.0.lock().await.call(&["GET", &key]).await.unwrap();
        let version = found.text().map_or(0, |text| text.parse().unwrap());
        // What it has read gets old meanwhile.
        tokio::time::sleep(takes).await;
        Ok(Load::value(version))
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
    keys: u64,
    random: SmallRng,
    notes: String,
}

impl Worker {
    async fn act(&mut self) {
        // Some keys are asked for far more often than others.
        let share: f64 = self.random.random();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "neither is large"
        )]
        let key = (share.powi(3) * self.keys as f64) as u64;
        match self.random.random_range(0..100_000) {
            0 => self.invalidate(Scope::All).await,
            1..500 => self.invalidate(Scope::Tag(key % TAGS)).await,
            500..1_000 => self.change(key).await,
            _ => self.read(key).await,
        }
    }

    async fn read(&mut self, key: u64) {
        let takes = Duration::from_micros(self.random.random_range(0..8_000));
        let (origin, begun) = (self.origin.clone(), now());
        let load = move |_| async move {
            let load = origin.read(key, takes).await?;
            Ok::<_, std::io::Error>(load.tags([tag(key % TAGS)]))
        };
        let found = self.cache.get_or_load(key, load).await.unwrap();
        let tier = match found.tier() {
            Tier::Local => 'l',
            Tier::Redis => 'r',
            _ => 'o',
        };
        writeln!(self.notes, "R {key} {} {begun} {tier}", found.value().unwrap()).unwrap();
    }

    /// Of one key, in one of the ways there are.
    async fn change(&mut self, key: u64) {
        let done = match self.random.random_range(0..3) {
            0 => {
                let (origin, load) = (self.origin.clone(), tag(key % TAGS));
                let write = move || async move {
                    let version = origin.write(key).await;
                    Ok::<_, std::io::Error>((version, now(), Load::value(version).tags([load])))
                };
                self.write_through(key, write).await
            }
            way => {
                let version = self.origin.write(key).await;
                self.wrote(key, version, now());
                let begun = now();
                let told = if way == 1 {
                    self.cache.remove(key).await.map(drop)
                } else {
                    let load = Load::value(version).tags([tag(key % TAGS)]);
                    self.cache.update(key, version, load).await.map(drop)
                };
                told.is_ok().then_some(begun)
            }
        };
        self.told(Scope::Key(key), done);
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

    async fn invalidate(&mut self, scope: Scope) {
        let begun = now();
        let told = match scope {
            Scope::Tag(number) => self.cache.invalidate_tags([tag(number)]).await,
            _ => self.cache.invalidate_all().await,
        };
        self.told(scope, told.is_ok().then_some(begun));
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

fn tag(number: u64) -> String {
    format!("t{number}")
}
