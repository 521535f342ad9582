//! Slots that are moved under load.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use russet_core_conn::{Cmd, Key, Redis, Script, SendOutcome};
use russet_testkit::Cluster;
use tokio::task::JoinSet;

use crate::support::{ms, record};

const KEYS: u64 = 2_000;
const TASKS: u64 = 32;
const SLOTS: u16 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_mistaken_or_lost_while_slots_are_moved() {
    check(2, ms(500), 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_cluster_reshard() {
    check(10, ms(3_000), 1).await;
}

/// Half of the keys live in the slots that are moved.
fn names(slots: &[u16]) -> Vec<Key> {
    let mut names = Vec::new();
    let (mut near, mut far) = (0, 0);
    for number in 0_u64.. {
        let key = Key::raw(format!("r:{number}"));
        let moves = slots.contains(&key.slot());
        let count = if moves { &mut near } else { &mut far };
        if *count < KEYS / 2 {
            *count += 1;
            names.push(key);
        }
        if near + far == KEYS {
            break;
        }
    }
    names
}

#[derive(Default)]
struct Found {
    calls: AtomicU64,
    unknown: AtomicU64,
    failed: AtomicU64,
    wrong: AtomicU64,
}

/// `share`: of the load that the soak is to be, one part in so many.
async fn check(rounds: u64, open_for: Duration, share: u64) {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let nodes = cluster.nodes();
    let slots: Vec<u16> = (0..SLOTS).collect();
    let redis = Redis::builder(&cluster.url()).deadline(Duration::from_secs(5)).build().unwrap();
    redis.ready().await.unwrap();
    let keys = Arc::new(names(&slots));
    let over = Arc::new(AtomicBool::new(false));
    let found = Arc::new(Found::default());
    let confirmed: Arc<Vec<AtomicU64>> = Arc::new(keys.iter().map(|_| AtomicU64::new(0)).collect());
    let perhaps: Arc<Vec<AtomicU64>> = Arc::new(keys.iter().map(|_| AtomicU64::new(0)).collect());
    for key in keys.iter() {
        let own = Key::raw(format!("{{{}}}:own", String::from_utf8_lossy(key.as_ref())));
        let () = redis.run(Cmd::idempotent("SET").key(&own).arg(key.as_ref())).await.unwrap();
    }
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (redis, keys, over, found) = (redis.clone(), keys.clone(), over.clone(), found.clone());
        let (confirmed, perhaps) = (confirmed.clone(), perhaps.clone());
        tasks.spawn(async move {
            let add = Script::new("add", "return redis.call('INCR', KEYS[1])");
            let mut place = task as usize * 61;
            while !over.load(SeqCst) {
                place = (place + 7) % keys.len();
                let key = &keys[place];
                found.calls.fetch_add(2, SeqCst);
                let own = Key::raw(format!("{{{}}}:own", String::from_utf8_lossy(key.as_ref())));
                match redis.run::<bytes::Bytes>(Cmd::read("GET").key(&own)).await {
                    Ok(value) if value == key.as_ref() => {}
                    Ok(_) => drop(found.wrong.fetch_add(1, SeqCst)),
                    Err(error) => {
                        eprintln!("GET: {error}");
                        found.failed.fetch_add(1, SeqCst);
                    }
                }
                let added = if place.is_multiple_of(2) {
                    redis.run::<u64>(Cmd::write("INCR").key(key)).await
                } else {
                    redis.script::<u64>(add.key(key)).await
                };
                match added {
                    Ok(_) => drop(confirmed[place].fetch_add(1, SeqCst)),
                    Err(error) => {
                        eprintln!("INCR: {error}");
                        found.failed.fetch_add(1, SeqCst);
                        if error.outcome() == SendOutcome::Unknown {
                            found.unknown.fetch_add(1, SeqCst);
                            perhaps[place].fetch_add(1, SeqCst);
                        }
                    }
                }
            }
        });
    }
    let refreshes = async || {
        let mut all = 0;
        for node in &nodes {
            let stats = node.conn().await.unwrap().call(&["INFO", "commandstats"]).await.unwrap();
            let calls = stats.text().unwrap().lines().find_map(|line| {
                line.strip_prefix("cmdstat_cluster|shards:calls=")?
                    .split(',')
                    .next()?
                    .parse::<u64>()
                    .ok()
            });
            all += calls.unwrap_or(0);
        }
        all
    };
    let redirections = async || {
        let mut met = [0, 0];
        for node in &nodes {
            let stats = node.conn().await.unwrap().call(&["INFO", "errorstats"]).await.unwrap();
            for (place, kind) in ["MOVED", "ASK"].iter().enumerate() {
                let prefix = format!("errorstat_{kind}:count=");
                let count = stats
                    .text()
                    .unwrap()
                    .lines()
                    .find_map(|line| line.strip_prefix(&prefix)?.trim().parse::<u64>().ok());
                met[place] += count.unwrap_or(0);
            }
        }
        met
    };
    for round in 0..rounds {
        let (from, to) =
            if round % 2 == 0 { (&nodes[0], &nodes[1]) } else { (&nodes[1], &nodes[0]) };
        let (before, met) = (refreshes().await, redirections().await);
        let open = cluster.open_slots(slots.iter().copied(), from, to).await.unwrap();
        open.move_keys().await.unwrap();
        tokio::time::sleep(open_for).await;
        open.move_keys().await.unwrap();
        open.assign().await.unwrap();
        cluster.ready().await.unwrap();
        // Whoever is behind by then is told.
        tokio::time::sleep(ms(300)).await;
        let (after, now) = (refreshes().await - before, redirections().await);
        let (moved, asked) = (now[0] - met[0], now[1] - met[1]);
        println!(
            "round {round}: {after} refreshes, {moved} MOVED, {asked} ASK, {} calls",
            found.calls.load(SeqCst)
        );
        assert!(after <= 20, "{after} refreshes");
        assert!(asked >= 1_000 / share && moved >= 100 / share, "{asked} ASK, {moved} MOVED");
    }
    over.store(true, SeqCst);
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert_eq!(found.wrong.load(SeqCst), 0, "wrong values");
    for (place, key) in keys.iter().enumerate() {
        let count = redis.run::<Option<u64>>(Cmd::read("GET").key(key)).await.unwrap().unwrap_or(0);
        let (least, most) = (confirmed[place].load(SeqCst), perhaps[place].load(SeqCst));
        assert!((least..=least + most).contains(&count), "{key:?}: {count}, {least} + {most}");
    }
    assert_eq!(found.failed.load(SeqCst), 0, "calls failed");
    let calls = found.calls.load(SeqCst);
    record(
        "cluster_reshard",
        &nodes[0].version().to_string(),
        &[("rounds", rounds), ("calls", calls)],
        &[],
    );
}
