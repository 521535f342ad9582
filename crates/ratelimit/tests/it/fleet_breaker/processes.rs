//! Nodes that are processes of their own, and what they call another.

use std::io::BufRead;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use russet_core_conn::{KeySpace, Notice, Redis};
use russet_ratelimit::{FleetEventKind, FleetState};
use russet_testkit::shared::{self, Topology};
use russet_testkit::{Conn, Server, TestProcess, contract, soak};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::support::{Down, Node, fail, joined, ms, node};
use crate::support::{ACL, Space};

const HEARTBEAT: Duration = Duration::from_millis(500);
const PROBES: u32 = 2;
const PROBE_WITHIN: Duration = Duration::from_millis(500);
const CALLERS: usize = 8;

/// Counts who is inside, and says whether it is well.
const ENTER: &str = "\
    local inside = redis.call('HINCRBY', 'calls', 'inside', 1) \
    redis.call('HINCRBY', 'calls', 'all', 1) \
    redis.call('HSET', 'in', ARGV[1], 1) \
    if inside > tonumber(redis.call('HGET', 'calls', 'most') or 0) then redis.call('HSET', 'calls', 'most', inside) end \
    return redis.call('GET', 'health') or 'bad'";
const LEAVE: &str =
    "redis.call('HDEL', 'in', ARGV[1]) return redis.call('HINCRBY', 'calls', 'inside', -1)";

/// What is called: it takes its time, and is well or not.
async fn call(origin: &str) -> Result<(), Down> {
    let mut conn = Conn::open(origin).await.unwrap();
    let pid = std::process::id().to_string();
    let health = conn.call(&["EVAL", ENTER, "0", &pid]).await.unwrap();
    let health = health.text().unwrap().to_owned();
    if health == "hung" {
        // For as long as whoever looks on wants.
        conn = conn.with_deadline(Duration::from_secs(60));
        conn.call(&["BLPOP", "released", "60"]).await.unwrap();
    } else {
        conn.call(&["BLPOP", "nothing", "0.02"]).await.unwrap();
    }
    conn.call(&["EVAL", LEAVE, "0", &pid]).await.unwrap();
    if health == "well" { Ok(()) } else { Err(Down) }
}

/// What it is told, line by line.
fn words() -> mpsc::UnboundedReceiver<String> {
    let (tell, told) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let _ = tell.send(line.unwrap());
        }
    });
    told
}

fn micros() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()
}

/// Says what the fleet's breaker becomes, and when.
async fn says(breaker: Node) {
    let mut events = breaker.events();
    println!("\nready -");
    while let Some(notice) = events.next().await {
        if let Notice::Event(event) = notice
            && let FleetEventKind::Changed { to, .. } = event.kind
        {
            println!("\n{to} {}", micros());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that others start and kill"]
async fn one_node() {
    let Ok(url) = std::env::var("RUSSET_TEST_NODE_URL") else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let space = KeySpace::new(variable("RUSSET_TEST_PREFIX")).unwrap();
    let redis = Redis::builder(&url).deadline(Duration::from_secs(5)).build().unwrap();
    let breaker = node(&redis, &space, &variable("RUSSET_TEST_NODE"))
        .heartbeat(HEARTBEAT)
        .open_for(ms(variable("RUSSET_TEST_OPEN_FOR").parse().unwrap()))
        .probes(PROBES)
        .close_after(3)
        .probe_within(PROBE_WITHIN)
        .build()
        .unwrap();
    joined(&breaker).await;
    tokio::spawn(says(breaker.clone()));
    let mut words = words();
    let mut calls = JoinSet::new();
    while let Some(word) = words.recv().await {
        match &*word {
            "fail" => fail(&breaker).await,
            "serve" => {
                let served = breaker.execute(async { Ok::<_, Down>(()) }).await.is_ok();
                println!("\nserved {served}");
            }
            "call" => {
                for _ in 0..CALLERS {
                    let (breaker, origin) = (breaker.clone(), variable("RUSSET_TEST_ORIGIN"));
                    calls.spawn(async move {
                        loop {
                            if breaker.execute(call(&origin)).await.is_err() {
                                tokio::time::sleep(ms(2)).await;
                            }
                        }
                    });
                }
            }
            _ => panic!("{word}"),
        }
    }
}

async fn start(
    url: &str,
    prefix: &str,
    size: usize,
    origin: &str,
    open_for: &str,
) -> Vec<TestProcess> {
    let mut nodes = Vec::new();
    for at in 0..size {
        let name = format!("node-{at}");
        let variables = [
            ("RUSSET_TEST_NODE_URL", url),
            ("RUSSET_TEST_PREFIX", prefix),
            ("RUSSET_TEST_NODE", &name),
            ("RUSSET_TEST_ORIGIN", origin),
            ("RUSSET_TEST_OPEN_FOR", open_for),
        ];
        nodes.push(TestProcess::start("fleet_breaker::processes::one_node", variables).unwrap());
    }
    for node in &mut nodes {
        node.says("ready").await.unwrap();
    }
    nodes
}

/// Most of five processes see failures, as often as is asked for: how long it took from the server's decision to the last
/// of them that knew, at worst, in µs.
async fn spread(at: Topology, rounds: u32) -> u64 {
    let prefix = shared::prefix("spread");
    let url = at.url_as(ACL, &prefix, &[]).await.unwrap();
    let redis = Redis::builder(&url).deadline(Duration::from_secs(10)).build().unwrap();
    let space = Space::shared(at, &prefix);
    let mut nodes = start(&url, &prefix, 5, "", "2000").await;
    let onlooker = node(&redis, &space, "onlooker").heartbeat(HEARTBEAT).build().unwrap();
    joined(&onlooker).await;
    // It looks on, and has no vote.
    onlooker.shutdown().await.unwrap();
    // Longer than nodes are counted first: one bad one has no say.
    nodes[0].tell("fail").await.unwrap();
    tokio::time::sleep(7 * HEARTBEAT).await;
    assert_eq!(onlooker.status().await.unwrap().state, FleetState::Closed);
    for node in &mut nodes[1..] {
        node.tell("serve").await.unwrap();
        assert_eq!(node.says("served").await.unwrap(), "true");
    }
    let mut worst = 0;
    for _ in 0..rounds {
        for node in &mut nodes[..3] {
            node.tell("fail").await.unwrap();
        }
        let mut known = Vec::new();
        for node in &mut nodes {
            known.push(node.says("open").await.unwrap().parse::<u128>().unwrap());
        }
        let status = onlooker.status().await.unwrap();
        assert!(matches!(status.state, FleetState::Open { .. }), "{status:?}");
        let opened = status.opened_at.unwrap().duration_since(UNIX_EPOCH).unwrap().as_micros();
        let took = known.iter().max().unwrap().saturating_sub(opened);
        worst = worst.max(u64::try_from(took).unwrap());
        onlooker.reset().await.unwrap();
        for node in &mut nodes {
            node.says("closed").await.unwrap();
        }
    }
    println!("{at}: open everywhere within {worst} µs");
    worst
}

contract!(threads, opened_by_most_it_is_open_everywhere_soon);
async fn opened_by_most_it_is_open_everywhere_soon(at: Topology) {
    let worst = spread(at, 1).await;
    assert!(worst < 400_000, "{worst} µs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_breaker_spread() {
    let mut figures = Vec::new();
    for (at, name) in Topology::ALL.into_iter().zip(["one_server_us", "sentinel_us", "cluster_us"])
    {
        let worst = spread(at, 100).await;
        assert!(worst <= 100_000, "{at}: {worst} µs");
        figures.push((name, worst));
    }
    soak::record("breaker_spread", "all topologies", &[("rounds", 100)], &[], &figures);
}

struct Origin(Conn);

impl Origin {
    async fn is(&mut self, health: &str) {
        assert!(self.0.call(&["SET", "health", health]).await.unwrap().is_ok());
    }

    async fn count(&mut self, what: &str) -> i64 {
        let count = self.0.call(&["HGET", "calls", what]).await.unwrap();
        count.text().map_or(0, |text| text.parse().unwrap())
    }

    async fn anew(&mut self) {
        self.0.call(&["DEL", "calls", "in"]).await.unwrap();
    }

    /// Waits as long as it goes on.
    async fn until(&mut self, what: &str, is: impl Fn(i64) -> bool) {
        let (mut last, mut since) = (-1, Instant::now());
        loop {
            let count = self.count(what).await;
            if is(count) {
                return;
            }
            if count != last {
                (last, since) = (count, Instant::now());
            }
            assert!(since.elapsed() < Duration::from_secs(20), "{what}: {count}");
            tokio::time::sleep(ms(5)).await;
        }
    }
}

/// Eight processes with eight callers each, so many rounds of failed probes, and so many processes that are killed in the
/// middle of their probe: how many probes there were.
async fn half_open(rounds: i64, kills: usize) -> u64 {
    let server = Server::start().await.unwrap();
    let _space = Space::own([&server], "half-open");
    let called = Server::start().await.unwrap();
    let mut origin = Origin(called.conn().await.unwrap());
    origin.is("bad").await;
    let mut nodes = start(&server.url(), "half-open", 8, &called.url(), "300").await;
    for node in &mut nodes {
        node.tell("call").await.unwrap();
    }
    for node in &mut nodes {
        node.says("open").await.unwrap();
    }
    // What was let through before has ended.
    origin.until("inside", |inside| inside == 0).await;
    origin.anew().await;
    origin.until("all", |all| all >= rounds).await;
    let most = origin.count("most").await;
    assert!((1..=i64::from(PROBES)).contains(&most), "{most} probes at once");
    let mut probes = origin.count("all").await;

    // Every probe hangs, and whoever makes it is killed.
    for _ in 0..kills {
        origin.is("hung").await;
        origin.until("inside", |inside| inside > 0).await;
        let inside = origin.0.call(&["HKEYS", "in"]).await.unwrap();
        let pids: Vec<u32> = inside
            .items()
            .unwrap()
            .iter()
            .map(|pid| pid.text().unwrap().parse().unwrap())
            .collect();
        let at = nodes.iter().position(|node| pids.contains(&node.id().unwrap()));
        let mut victim = nodes.swap_remove(at.unwrap());
        victim.kill().await.unwrap();
        probes += origin.count("all").await;
        origin.is("bad").await;
        // Those that live come back, and the dead one's permit does, too.
        origin
            .0
            .call(&["RPUSH", "released", "1", "1", "1", "1", "1", "1", "1", "1"])
            .await
            .unwrap();
        tokio::time::sleep(ms(100)).await;
        origin.0.call(&["DEL", "released"]).await.unwrap();
        origin.anew().await;
        origin.until("all", |all| all >= 1).await;
    }
    origin.is("well").await;
    for node in &mut nodes {
        node.says("closed").await.unwrap();
    }
    u64::try_from(probes).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_probe_no_more_than_they_may_and_recover_from_kills() {
    let probes = half_open(6, 1).await;
    println!("{probes} probes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_breaker_half_open() {
    let mut probes = 0;
    for _ in 0..5 {
        probes += half_open(200, 5).await;
    }
    let (sizes, faults) = ([("processes", 8), ("rounds", 5)], [("killed in half-open", 25)]);
    soak::record("breaker_half_open", "one server", &sizes, &faults, &[("probes", probes)]);
}
