//! Traces of lookups, replayed with and without what is to make them cheaper.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use moka::sync::Cache as Moka;
use russet_cache::{Access, Cache, Tier};
use russet_core_conn::KeySpace;
use russet_testkit::Server;
use russet_testkit::soak::{record, seed};
use russet_testkit::trace::{Chance, Zipf};

use crate::support::{patient, users};

/// A server of its own, and its version.
struct Place {
    server: Server,
    version: String,
}

impl Place {
    async fn open() -> Self {
        let server = Server::builder().acl_file(users("replay")).start().await.unwrap();
        let info = server.conn().await.unwrap().call(&["INFO", "server"]).await.unwrap();
        let version =
            info.text().unwrap().lines().find_map(|line| line.strip_prefix("redis_version:"));
        Self { version: version.unwrap().to_owned(), server }
    }

    /// Nothing is kept of what was there.
    async fn cache(&self, name: &str, local: Option<u64>) -> Cache<u64> {
        let redis = patient(&crate::support::url(self.server.addr()));
        let access = Access::default().every(Duration::from_secs(3_600));
        let builder = Cache::builder(&redis, &KeySpace::new("replay").unwrap(), name);
        let builder = builder.ttl(Duration::from_secs(36_000)).budget(Duration::from_secs(10));
        match local {
            Some(entries) => builder.journal(Duration::from_secs(3_600)).local(entries),
            None => builder.access(access),
        }
        .build()
        .unwrap()
    }
}

/// The origin: how often it was called, and for how many keys.
#[derive(Debug, Clone, Default)]
struct Source(Arc<[AtomicU64; 2]>);

impl Source {
    async fn give(self, keys: Vec<u64>) -> Result<Vec<(u64, u64)>, std::convert::Infallible> {
        self.0[0].fetch_add(1, SeqCst);
        self.0[1].fetch_add(keys.len() as u64, SeqCst);
        Ok(keys.into_iter().map(|key| (key, key)).collect())
    }

    fn seen(&self) -> [u64; 2] {
        [0, 1].map(|at| self.0[at].load(SeqCst))
    }
}

fn permille(part: u64, of: u64) -> u64 {
    part * 1_000 / of.max(1)
}

const KEYS: u64 = 10_000;

fn zipf(lookups: u64) -> Vec<u64> {
    Zipf::new(KEYS, 1.0, seed()).take(usize::try_from(lookups).unwrap()).collect()
}

/// Half of it walks through keys that nobody asks for again, 500 at a time.
fn scanning(lookups: u64) -> Vec<u64> {
    let (mut zipf, mut next) = (Zipf::new(KEYS, 1.0, seed()), KEYS);
    let pick = |at: u64| {
        if (at / 500).is_multiple_of(2) {
            return zipf.next().unwrap();
        }
        next += 1;
        next
    };
    (0..lookups).map(pick).collect()
}

async fn local_tier(lookups: u64) -> (String, Vec<(&'static str, u64)>) {
    const ENTRIES: u64 = 1_000;
    let place = Place::open().await;
    let mut figures = Vec::new();
    for (trace, names) in [
        (zipf(lookups), ["zipf_local_permille", "zipf_moka_permille"]),
        (scanning(lookups), ["scanning_local_permille", "scanning_moka_permille"]),
    ] {
        let cache = place.cache(names[0], Some(ENTRIES)).await;
        let (moka, mut hits) = (Moka::new(ENTRIES), [0_u64; 2]);
        for key in trace {
            let found = cache
                .get_or_load(key, move |_| async move { Ok::<_, std::convert::Infallible>(key) });
            hits[0] += u64::from(found.await.unwrap().tier() == Tier::Local);
            match moka.get(&key) {
                Some(()) => hits[1] += 1,
                None => moka.insert(key, ()),
            }
        }
        let [ours, theirs] = hits.map(|hits| permille(hits, lookups));
        println!("{names:?}: {ours} {theirs}");
        assert!(ours.abs_diff(theirs) <= 10, "{names:?}: {ours} and {theirs} of 1,000");
        figures.extend(names.into_iter().zip([ours, theirs]));
    }
    (place.version, figures)
}

#[tokio::test]
async fn memory_hits_as_often_as_a_bare_moka() {
    local_tier(4_000).await;
}

#[tokio::test]
#[ignore = "soak"]
async fn soak_replay_local() {
    let lookups = 300_000;
    let (version, figures) = local_tier(lookups).await;
    record("replay-local", &version, &[("lookups", lookups)], &[], &figures);
}

/// Pages of one key and four that follow it; now and then all of a page is gone.
fn pages(visits: u64) -> Vec<(Vec<u64>, bool)> {
    let (mut zipf, mut chance) = (Zipf::new(200, 0.8, seed()), Chance(seed()));
    let visit = |_| {
        let page = zipf.next().unwrap();
        // One of the four is another one each time.
        let stray = 10_000 + chance.number() % 1_000;
        let keys = (0..4).map(|at| page * 10 + at).chain([stray]).collect();
        (keys, chance.share() < 0.3)
    };
    (0..visits).map(visit).collect()
}

/// No key has to do with another, and now and then one is gone.
fn strangers(visits: u64) -> Vec<(Vec<u64>, bool)> {
    let (mut zipf, mut chance) = (Zipf::new(1_000, 0.8, seed()), Chance(seed()));
    let visit = |_| (zipf.by_ref().take(5).collect(), chance.share() < 0.3);
    (0..visits).map(visit).collect()
}

/// Hits, origin calls and keys loaded, without and with.
async fn visit(place: &Place, name: &str, trace: &[(Vec<u64>, bool)]) -> [[u64; 3]; 2] {
    let mut all = [[0; 3]; 2];
    for (with, result) in all.iter_mut().enumerate() {
        let (cache, source) =
            (place.cache(&format!("{name}-{with}"), None).await, Source::default());
        let own = source.clone();
        let lookups = cache.prefetch(move |keys, _| own.clone().give(keys)).most(with * 5);
        for (keys, gone) in trace {
            if *gone {
                cache.remove_many(keys).await.unwrap();
            }
            // Each visit is a task of its own.
            let (lookups, keys) = (lookups.clone(), keys.clone());
            let hits = tokio::spawn(async move {
                let mut hits = 0;
                for key in keys {
                    hits += u64::from(lookups.get_or_load(key).await.unwrap().is_hit());
                    lookups.settled().await;
                }
                hits
            });
            result[0] += hits.await.unwrap();
        }
        let [calls, keys] = source.seen();
        (result[1], result[2]) = (calls, keys);
    }
    all
}

async fn prefetching(visits: u64) -> (String, Vec<(&'static str, u64)>) {
    let place = Place::open().await;
    let [[alone, calls, loaded], [beside, fewer, prefetched]] =
        visit(&place, "pages", &pages(visits)).await;
    let lookups = visits * 5;
    let [
        [stranger, stranger_calls, stranger_loaded],
        [neighbour, neighbour_calls, neighbour_loaded],
    ] = visit(&place, "strangers", &strangers(visits)).await;
    let figures = vec![
        ("pages_hit_permille_without", permille(alone, lookups)),
        ("pages_hit_permille_with", permille(beside, lookups)),
        ("pages_origin_calls_without", calls),
        ("pages_origin_calls_with", fewer),
        ("pages_keys_loaded_without", loaded),
        ("pages_keys_loaded_with", prefetched),
        ("strangers_hit_permille_without", permille(stranger, lookups)),
        ("strangers_hit_permille_with", permille(neighbour, lookups)),
        ("strangers_origin_calls_without", stranger_calls),
        ("strangers_origin_calls_with", neighbour_calls),
        ("strangers_keys_loaded_without", stranger_loaded),
        ("strangers_keys_loaded_with", neighbour_loaded),
    ];
    println!("{figures:?}");
    assert!(beside > alone && fewer < calls, "{figures:?}");
    // Where there is nothing to learn it costs little.
    assert!(neighbour_loaded * 10 <= stranger_loaded * 11, "{figures:?}");
    (place.version, figures)
}

#[tokio::test]
async fn prefetching_learns_what_belongs_together() {
    prefetching(100).await;
}

#[tokio::test]
#[ignore = "soak"]
async fn soak_replay_prefetch() {
    let visits = 5_000;
    let (version, figures) = prefetching(visits).await;
    record("replay-prefetch", &version, &[("lookups", visits * 5)], &[], &figures);
}

/// What was asked for before all is lost, and what is asked for after that.
async fn warming(lookups: u64) -> (String, Vec<(&'static str, u64)>) {
    let place = Place::open().await;
    let trace = zipf(lookups * 2);
    let (before, after) = trace.split_at(trace.len() / 2);
    let mut all = [[0; 3]; 2];
    for (with, result) in all.iter_mut().enumerate() {
        let (cache, source) = (place.cache(&format!("warm-{with}"), None).await, Source::default());
        let ask = async |key: u64| {
            let source = source.clone();
            let load = move |_| async move { source.give(vec![key]).await.map(|_| key) };
            cache.get_or_load(key, load).await.unwrap().is_hit()
        };
        for key in before {
            ask(*key).await;
        }
        cache.hot(1).await.unwrap();
        for keys in (0..KEYS).collect::<Vec<_>>().chunks(1_000) {
            cache.remove_many(keys).await.unwrap();
        }
        let [calls, loaded] = source.seen();
        if with == 1 {
            let own = source.clone();
            let warmer = cache.predictive_warmer("replay");
            let load = move |keys, _| own.clone().give(keys);
            let warmed = warmer.run(|key| key.segment(0), load).await.unwrap().await;
            assert_eq!(warmed.progress.loaded, 100);
        }
        for key in after {
            result[0] += u64::from(ask(*key).await);
        }
        let seen = source.seen();
        (result[1], result[2]) = (seen[0] - calls, seen[1] - loaded);
    }
    let [[cold, calls, loaded], [warm, fewer, warmed]] = all;
    let figures = vec![
        ("hit_permille_without", permille(cold, lookups)),
        ("hit_permille_with", permille(warm, lookups)),
        ("origin_calls_without", calls),
        ("origin_calls_with", fewer),
        ("keys_loaded_without", loaded),
        ("keys_loaded_with", warmed),
    ];
    println!("{figures:?}");
    assert!(warm > cold && fewer < calls, "{figures:?}");
    (place.version, figures)
}

#[tokio::test]
async fn what_was_warmed_is_what_is_asked_for() {
    warming(1_000).await;
}

#[tokio::test]
#[ignore = "soak"]
async fn soak_replay_warming() {
    for (name, lookups) in [("replay-warming-first", 1_000), ("replay-warming", 20_000)] {
        let (version, figures) = warming(lookups).await;
        record(name, &version, &[("lookups", lookups)], &[], &figures);
    }
}
