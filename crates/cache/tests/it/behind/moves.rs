//! Where a primary dies under load, or the slots of lanes are moved, nothing that was acknowledged is lost, nor comes in
//! another order.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use russet_cache::{Entities, Worker};
use russet_core_conn::{Durability, Key, KeySpace, Redis, SendOutcome};
use russet_testkit::soak::{record, seed};
use russet_testkit::{Cluster, Conn, Sentinel};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::soak::table::{self, Found, Row};
use super::soak::writer::{self, Tally, Writer};
use super::soak::{buffer, settle};
use super::{Table, committed, ms, routes};
use crate::support::{forsake, patient, route};

const ENTITIES: u64 = 100;

/// Writers, and two workers with handles of their own.
struct Load {
    redis: Redis,
    folder: TempDir,
    written: Arc<AtomicU64>,
    ends: Arc<AtomicBool>,
    writers: JoinSet<Tally>,
    workers: Vec<Worker>,
}

impl Load {
    async fn start(redis: Redis) -> Self {
        let folder = tempfile::tempdir().unwrap();
        table::create(&folder.path().join("db"));
        // Nothing is poison.
        std::fs::write(folder.path().join("healed"), "").unwrap();
        let (written, ends) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let mut writers = JoinSet::new();
        let shared = buffer(&redis);
        for number in 0..writer::TASKS {
            let writer = Writer::new(&shared, number, ENTITIES);
            writers.spawn(writer.run(0, written.clone(), ends.clone()));
        }
        writers.spawn(each_once(shared.entities("row").unwrap(), ends.clone()));
        let mut workers = Vec::new();
        for _ in 0..2 {
            let buffer = buffer(&redis.duplicate());
            let sink = table::Table::open(folder.path());
            let rows = buffer.entities("row").unwrap();
            workers.push(buffer.worker().sink(&rows, sink).start().await.unwrap());
        }
        Self { redis, folder, written, ends, writers, workers }
    }

    /// Until so many writes more of the writers have ended.
    async fn goes_on(&self, writes: u64) {
        let until = self.written.load(Relaxed) + writes;
        while self.written.load(Relaxed) < until {
            tokio::time::sleep(ms(2)).await;
        }
    }

    /// All is committed, and judged.
    async fn ends(mut self) -> (Tally, Found) {
        self.ends.store(true, Relaxed);
        let mut tally = Tally::default();
        while let Some(done) = self.writers.join_next().await {
            tally.add(done.unwrap());
        }
        settle(&buffer(&self.redis.with_durability(Durability::Async)), self.folder.path()).await;
        for worker in self.workers {
            assert_eq!(worker.shutdown(ms(10_000)).await.undrained, 0);
        }
        let found = table::judge(&self.folder.path().join("db"), &tally.possible);
        println!("{tally:?} {found:?}");
        (tally, found)
    }
}

/// Writes each entity but once: what is lost of it, no later write makes up for.
async fn each_once(rows: Entities<u64, Row>, ends: Arc<AtomicBool>) -> Tally {
    let mut tally = Tally::default();
    for key in 1_000_000.. {
        if ends.load(Relaxed) {
            break;
        }
        let row = Row { a: key, b: key, c: key };
        tally.writes += 1;
        match rows.put(&key, &row).await {
            Ok(_) => {
                tally.acknowledged += 1;
                tally.possible.insert(key, vec![Some(row)]);
            }
            Err(error) => {
                let unknown = error.outcome() == SendOutcome::Unknown;
                tally.unknown += u64::from(unknown);
                tally
                    .possible
                    .insert(key, if unknown { vec![None, Some(row)] } else { vec![None] });
            }
        }
        tokio::time::sleep(ms(1)).await;
    }
    tally
}

fn figures(tally: &Tally) -> [(&'static str, u64); 4] {
    [
        ("written", tally.writes),
        ("acknowledged", tally.acknowledged),
        ("outcome unknown", tally.unknown),
        ("lost or in another order", 0),
    ]
}

/// How many failovers there have been.
async fn epoch(servers: &Sentinel) -> u64 {
    let mut sentinel = servers.sentinels()[0].conn().await.unwrap();
    let said = sentinel.call(&["SENTINEL", "MASTER", servers.name()]).await.unwrap();
    let said: Vec<_> = said.items().unwrap().iter().map(|item| item.text().unwrap()).collect();
    let field = said.chunks(2).find(|pair| pair[0] == "config-epoch").unwrap();
    field[1].parse().unwrap()
}

async fn failovers(times: u64) -> (String, Tally) {
    // A primary that a busy machine keeps from answering is not to be given up while its replica is still copying it.
    let servers = Sentinel::builder().replicas(1).down_after(ms(3_000)).start().await.unwrap();
    let redis = Redis::builder(&servers.url()).deadline(ms(2_000)).build().unwrap();
    let load = Load::start(redis.with_durability(Durability::Replicas(1))).await;
    for _ in 0..times {
        load.goes_on(300).await;
        // What comes now is on no replica, and each writer hears so.
        forsake(servers.primary().await.unwrap()).await;
        load.goes_on(2 * writer::TASKS).await;
        let dead = servers.kill_primary().await.unwrap();
        servers.promoted().await.unwrap();
        dead.restart().await.unwrap();
        servers.ready().await.unwrap();
    }
    load.goes_on(300).await;
    // One that nobody asked for may promote a replica that has not all of it yet.
    assert_eq!(epoch(&servers).await, times, "more failovers than were asked for");
    let (tally, _) = load.ends().await;
    // A failover takes seconds, in which each writer waits and hears of a few writes that nobody knows what became of.
    assert!(tally.acknowledged >= 300 * times && tally.unknown > 0, "{tally:?}");
    (servers.servers()[0].version().to_string(), tally)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_takes_nothing_back_that_replicas_have() {
    failovers(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_write_behind_failovers() {
    let (version, tally) = failovers(20).await;
    record("write-behind-failovers", &version, &[], &[("failovers", 20)], &figures(&tally));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failover_takes_back_of_the_rest_is_what_replicas_had_not() {
    let servers = Sentinel::builder().replicas(1).start().await.unwrap();
    let redis = patient(&servers.url());
    let buffer = buffer(&redis);
    let (routes, table) = (routes(&buffer), Table::default());
    let put = async |keys: std::ops::Range<u64>, fare| {
        for key in keys {
            routes.put(&key, &route(fare)).await.unwrap();
        }
    };
    put(0..40, 1).await;
    let primary = servers.primary().await.unwrap();
    let mut conn: Conn = primary.conn().await.unwrap();
    assert!(conn.call(&["SET", "mark", "1"]).await.unwrap().is_ok());
    assert_eq!(conn.call(&["WAIT", "1", "10000"]).await.unwrap().int(), Some(1));
    forsake(primary).await;
    put(20..60, 2).await;
    // Some of it is committed before it is lost: the older state comes again, and the sink refuses it.
    let before = table.work(&routes, &buffer).await;
    committed(&buffer).await;
    assert_eq!(before.stats().committed, 60);
    let fares = |fare: u32| {
        table.with(|table| {
            table.rows.values().filter(|(_, row)| row.as_ref().unwrap().fare == fare).count()
        })
    };
    assert_eq!((fares(1), fares(2)), (20, 40));
    drop(before);
    let acknowledged = 30..70;
    put(acknowledged.clone(), 3).await;
    primary.kill().await.unwrap();
    servers.promoted().await.unwrap();
    let worker = table.work(&routes, &buffer).await;
    committed(&buffer).await;
    // Lost are the writes that no replica had and no sink: all of the last ones, and nothing else.
    let lost = acknowledged.clone().count() - fares(3);
    assert_eq!((fares(1), fares(2), lost), (20, 40, 40));
    // What is written from here on is newer than all that was lost.
    put(0..70, 4).await;
    committed(&buffer).await;
    assert_eq!(fares(4), 70);
    drop(worker);
}

/// How often nodes have said so to clients.
async fn said(servers: &Cluster, error: &str) -> u64 {
    let mut sum = 0;
    for node in servers.nodes() {
        let mut conn = node.conn().await.unwrap();
        let stats = conn.call(&["INFO", "errorstats"]).await.unwrap();
        let stats = stats.text().unwrap();
        let line =
            stats.lines().find_map(|line| line.strip_prefix(&format!("errorstat_{error}:count=")));
        sum += line.map_or(0, |count| count.trim().parse().unwrap());
    }
    sum
}

async fn slots_move(times: u64) -> (String, Tally, [(&'static str, u64); 4]) {
    let servers = Cluster::builder().primaries(3).replicas(0).start().await.unwrap();
    let redis = Redis::builder(&servers.url()).deadline(ms(2_000)).build().unwrap();
    let load = Load::start(redis).await;
    let (space, mut random) = (KeySpace::new("soak").unwrap(), SmallRng::seed_from_u64(seed()));
    for number in 0..times {
        let lane = random.random_range(0..16_u64);
        // A lane with its four keys, the lease on it, or the list of workers.
        let key: Key = match number % 3 {
            0 => space.key("cache-behind", ("orders", lane)),
            1 => space.key("lease", ("cache-behind", "orders", lane)),
            _ => space.key("cache-workers", "orders"),
        };
        let slot = key.slot();
        let from = servers.primary_of(slot).await.unwrap();
        let others: Vec<_> =
            servers.nodes().into_iter().filter(|node| node.port() != from.port()).collect();
        let to = &others[random.random_range(0..others.len())];
        let open = servers.open_slots([slot], &from, to).await.unwrap();
        load.goes_on(50).await;
        // Here one of its keys, there the others.
        open.move_key(key.as_bytes()).await.unwrap();
        load.goes_on(50).await;
        open.move_keys().await.unwrap();
        load.goes_on(50).await;
        open.assign().await.unwrap();
        load.goes_on(50).await;
    }
    let met = ["ASK", "MOVED", "TRYAGAIN"];
    let [ask, moved, again] =
        [said(&servers, met[0]).await, said(&servers, met[1]).await, said(&servers, met[2]).await];
    assert!(ask > 0 && moved > 0 && again > 0, "{ask} ASK, {moved} MOVED, {again} TRYAGAIN");
    let (tally, _) = load.ends().await;
    assert!(tally.acknowledged * 100 >= tally.writes * 95, "{tally:?}");
    let met = [("slots moved", times), ("ASK", ask), ("MOVED", moved), ("TRYAGAIN", again)];
    (servers.nodes()[0].version().to_string(), tally, met)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_under_load_lose_nothing() {
    slots_move(6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_write_behind_slots() {
    let (version, tally, met) = slots_move(300).await;
    record("write-behind-slots", &version, &[("entities", ENTITIES)], &met, &figures(&tally));
}
