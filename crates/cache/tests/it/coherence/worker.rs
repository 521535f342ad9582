//! What the tasks of a process do.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::SmallRng;
use russet_cache::{Cache, Load, Lookup, Tier};
use russet_testkit::Conn;
use tokio::sync::{Mutex, oneshot};

use super::history::{Due, KEYS, Scope, TAGS};
use super::process::now;

/// Versions by key, which only grow, in a server that no fault strikes.
#[derive(Clone)]
pub(super) struct Origin(Arc<Mutex<Conn>>);

impl Origin {
    pub(super) async fn open(url: &str) -> Self {
        Self(Arc::new(Mutex::new(Conn::open(url).await.unwrap())))
    }

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

/// To change a key.
#[derive(Clone, Copy)]
enum Way {
    Write,
    Update,
    Remove,
    Tag,
}

pub(super) struct Worker {
    pub(super) cache: Cache<u64>,
    pub(super) origin: Origin,
    pub(super) writes: bool,
    pub(super) random: SmallRng,
    /// What it did and saw.
    pub(super) notes: String,
}

impl Worker {
    pub(super) async fn act(&mut self) {
        let key = self.key();
        match self.random.random_range(0..10_000) {
            0 if self.writes => self.change_all(key).await,
            1..50 if self.writes => self.disturb(key).await,
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
        let takes = self.takes();
        let note = read(self.cache.clone(), self.origin.clone(), key, takes).await;
        self.notes.push_str(&note);
    }

    async fn read_many(&mut self, first: u64) {
        let keys = [first, (first + 1) % KEYS, (first + 2) % KEYS];
        let (takes, origin, begun) = (self.takes(), self.origin.clone(), now());
        let load = move |missing: Vec<u64>, _| origin.clone().read(missing, takes);
        let found = self.cache.get_or_load_many(keys, load).await.unwrap();
        for (key, found) in keys.into_iter().zip(found) {
            self.notes.push_str(&saw(key, &found, begun));
        }
    }

    /// Changes a key, and changes it once more while what is invalid now is being loaded.
    async fn disturb(&mut self, key: u64) {
        let first = if self.random.random() { Way::Remove } else { Way::Tag };
        self.change(key, first).await;
        let takes = Duration::from_micros(self.random.random_range(10_000..100_000));
        let pause = Duration::from_micros(self.random.random_range(0..10_000));
        let reads = read(self.cache.clone(), self.origin.clone(), key, takes);
        let changes = async {
            tokio::time::sleep(pause).await;
            let ways = [Way::Write, Way::Update, Way::Remove, Way::Tag, Way::Tag];
            let way = ways[self.random.random_range(0..ways.len())];
            self.change(key, way).await;
        };
        let (note, ()) = tokio::join!(reads, changes);
        self.notes.push_str(&note);
    }

    async fn change(&mut self, key: u64, way: Way) {
        match way {
            Way::Write => {
                let written = self.write_through(key).await;
                self.told(Scope::Key(key), written.map(Due::Version));
            }
            Way::Update => {
                let version = self.write(key).await;
                let told = self.cache.update(key, version, load(key, version)).await;
                self.told(Scope::Key(key), told.is_ok().then_some(Due::Version(version)));
            }
            Way::Remove => {
                self.write(key).await;
                let begun = now();
                let told = self.cache.remove(key).await;
                self.told(Scope::Key(key), told.is_ok().then_some(Due::At(begun)));
            }
            Way::Tag => {
                let number = key % TAGS;
                for key in (0..KEYS).filter(|key| key % TAGS == number) {
                    self.write(key).await;
                }
                let begun = now();
                let told = self.cache.invalidate_tags([tag(number)]).await;
                self.told(Scope::Tag(number), told.is_ok().then_some(Due::At(begun)));
            }
        }
    }

    async fn change_all(&mut self, key: u64) {
        self.write(key).await;
        let begun = now();
        let told = self.cache.invalidate_all().await;
        self.told(Scope::All, told.is_ok().then_some(Due::At(begun)));
    }

    /// Of the origin alone.
    async fn write(&mut self, key: u64) -> u64 {
        let version = self.origin.write(key).await;
        self.wrote(key, version, now());
        version
    }

    /// The version that it has written, if that was told.
    async fn write_through(&mut self, key: u64) -> Option<u64> {
        let (origin, (tell, told)) = (self.origin.clone(), oneshot::channel());
        let write = move || async move {
            let version = origin.write(key).await;
            tell.send((version, now())).unwrap();
            Ok::<_, std::io::Error>(load(key, version))
        };
        let done = self.cache.write(key, write).await;
        let (version, written) = told.await.unwrap();
        self.wrote(key, version, written);
        done.is_ok().then_some(version)
    }

    /// It was there by then.
    fn wrote(&mut self, key: u64, version: u64, at: u64) {
        writeln!(self.notes, "W {key} {version} {at}").unwrap();
    }

    fn told(&mut self, scope: Scope, due: Option<Due>) {
        match due {
            Some(due) => writeln!(self.notes, "I {scope} {due} {}", now()).unwrap(),
            None => self.notes.push_str("F\n"),
        }
    }
}

/// One lookup, and what it saw.
async fn read(cache: Cache<u64>, origin: Origin, key: u64, takes: Duration) -> String {
    let begun = now();
    let load = move |_| async move {
        let mut loads = origin.read(vec![key], takes).await?;
        Ok::<_, std::io::Error>(loads.remove(0).1)
    };
    saw(key, &cache.get_or_load(key, load).await.unwrap(), begun)
}

fn saw(key: u64, found: &Lookup<u64>, begun: u64) -> String {
    let tier = match found.tier() {
        Tier::Local => 'l',
        Tier::Redis => 'r',
        _ => 'o',
    };
    format!("R {key} {} {begun} {tier}\n", found.value().unwrap())
}

/// With its version: an update must know what is older.
fn load(key: u64, version: u64) -> Load<u64> {
    Load::value(version).version(version).tags([tag(key % TAGS)])
}

fn tag(number: u64) -> String {
    format!("t{number}")
}
