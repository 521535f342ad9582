//! Redis that is killed or hangs under load: how long decisions take then, and what they admit.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use russet_core_conn::{BreakerState, Redis};
use russet_ratelimit::{Leasing, Level, Limit, Limiter, Outage, Quota, Source};
use russet_testkit::{Cluster, Proxy, Sentinel, Server, soak};
use tokio::task::JoinSet;

use crate::support::Space;

const SECOND: Duration = Duration::from_secs(1);

fn quick(url: &str) -> Redis {
    Redis::builder(url).build().unwrap()
}

/// Tasks that ask all the time.
struct Load {
    over: Arc<AtomicBool>,
    took: Arc<Mutex<Vec<Duration>>>,
    by: Arc<[AtomicU64; 2]>,
    tasks: JoinSet<()>,
}

impl Load {
    fn on(limit: &Limit, tasks: usize) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (took, by) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<[AtomicU64; 2]>::default());
        let mut set = JoinSet::new();
        for task in 0..tasks {
            let (limit, over, took, by) = (limit.clone(), over.clone(), took.clone(), by.clone());
            set.spawn(async move {
                while !over.load(Relaxed) {
                    let asked = Instant::now();
                    let decision = limit.check(task).await.unwrap();
                    took.lock().unwrap().push(asked.elapsed());
                    by[usize::from(decision.source == Source::Fallback)].fetch_add(1, Relaxed);
                    // As a server would have something else to do.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
        Self { over, took, by, tasks: set }
    }

    /// How many Redis has decided on, and how many nobody.
    fn by(&self) -> [u64; 2] {
        [0, 1].map(|at| self.by[at].load(Relaxed))
    }

    async fn ends(mut self) -> Vec<Duration> {
        self.over.store(true, Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
        let mut took = std::mem::take(&mut *self.took.lock().unwrap());
        took.sort_unstable();
        took
    }
}

fn percentile(sorted: &[Duration], of: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * of) as usize]
}

/// Kills and pauses it, for so long each. Answers the decisions, and their p99 and longest in µs.
async fn killed_and_paused(outages: u32, long: Duration, tasks: usize) -> [u64; 4] {
    let server = Server::start().await.unwrap();
    // Calls that nobody spares the wait would wait for all of an outage.
    let redis = quick(&server.url()).with_deadline(10 * SECOND);
    let space = Space::own([&server], "outage");
    let limiter = Limiter::options(&redis, &space).nodes(1).build().unwrap();
    let limit = limiter.limit("l", Quota::gcra(1_000, SECOND, 100).unwrap()).unwrap();
    // Where all is well, and scripts are known.
    limit.check("u").await.unwrap();
    space.hygiene().await;
    let load = Load::on(&limit, tasks);
    for outage in 0..outages {
        tokio::time::sleep(long / 2).await;
        let [redis, local] = load.by();
        let kill = outage % 2 == 0;
        if kill {
            server.kill().await.unwrap();
        } else {
            server.pause().await.unwrap();
        }
        tokio::time::sleep(long).await;
        let [_, after] = load.by();
        assert!(after > local + 100, "without Redis: {local} then {after}");
        if kill {
            server.restart().await.unwrap();
        } else {
            server.resume().await.unwrap();
        }
        // Nothing is stuck: Redis decides again, and on all.
        let back = Instant::now();
        while limiter.is_away() || load.by()[0] < redis + 10 {
            assert!(back.elapsed() < 20 * SECOND, "{limiter:?} {:?}", load.by());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let by = load.by();
    let took = load.ends().await;
    let decision = limit.check("last").await.unwrap();
    assert_eq!(decision.source, Source::Redis);
    let (p99, most) = (percentile(&took, 0.99), took[took.len() - 1]);
    println!("{} decisions, {} of them local: p99 {p99:?}, at most {most:?}", took.len(), by[1]);
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap();
    [by[0], by[1], micros(p99), micros(most)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_decision_waits_for_a_redis_that_is_killed_or_hangs() {
    let [_, _, p99, most] = killed_and_paused(2, SECOND, 16).await;
    assert!(p99 < 60_000, "p99 of {p99} µs");
    assert!(most < 700_000, "{most} µs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_ratelimit_outage() {
    let [by_redis, local, p99, most] = killed_and_paused(20, 3 * SECOND, 64).await;
    assert!(p99 < 60_000, "p99 of {p99} µs");
    let figures = [("by_redis", by_redis), ("local", local), ("p99_us", p99), ("most_us", most)];
    let faults = [("killed", 10), ("paused", 10)];
    soak::record("ratelimit_outage", "one server", &[("tasks", 64)], &faults, &figures);
}

/// Many tasks that ask all the time, of a Redis that was killed, or hung, and is back. Answers how many scripts it was sent
/// before the breaker closed, and how often they had asked by then.
async fn back(kill: bool) -> (u64, u64) {
    let server = Server::start().await.unwrap();
    let proxy = Arc::new(Proxy::start(server.addr()).await.unwrap());
    let space = Space::own([&server], "back");
    let limiter = Limiter::options(&quick(&proxy.url()), &space).nodes(1).build().unwrap();
    let limit = limiter.limit("l", Quota::gcra(1_000, SECOND, 100).unwrap()).unwrap();
    limit.check("u").await.unwrap();
    space.hygiene().await;
    let (is_back, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let (limit, is_back, asked) = (limit.clone(), is_back.clone(), asked.clone());
        let (limiter, proxy) = (limiter.clone(), proxy.clone());
        tasks.spawn(async move {
            loop {
                let decision = limit.check(task).await.unwrap();
                let closed = limiter.breaker().unwrap().state() == BreakerState::Closed;
                if decision.source == Source::Redis && closed && is_back.load(Relaxed) {
                    // With one thread, nobody asks in between.
                    let sent = proxy.requests("EVALSHA") + proxy.requests("EVAL");
                    return (sent, asked.load(Relaxed));
                }
                asked.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    if kill {
        server.kill().await.unwrap();
    } else {
        server.pause().await.unwrap();
    }
    let begun = Instant::now();
    while !limiter.is_away() {
        assert!(begun.elapsed() < 20 * SECOND, "{limiter:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Until all have been told who asked before.
    tokio::time::sleep(SECOND / 5).await;
    // Its answers take their time: others might ask meanwhile.
    proxy.delay_replies(Duration::from_millis(20));
    proxy.reset_counters();
    asked.store(0, Relaxed);
    is_back.store(true, Relaxed);
    if kill {
        server.restart().await.unwrap();
    } else {
        server.resume().await.unwrap();
    }
    let told = tokio::time::timeout(20 * SECOND, tasks.join_all()).await.unwrap();
    told.into_iter().min().unwrap()
}

#[tokio::test]
async fn a_redis_that_is_back_is_asked_by_one_before_it_is_asked_by_all() {
    for kill in [false, true] {
        let (sent, asked) = back(kill).await;
        println!("{sent} scripts for {asked} decisions, killed: {kill}");
        // Two probes, one after the other; some that were too late, and a script that the server did not know any more.
        assert!(sent <= 8, "{sent} scripts for {asked} decisions, killed: {kill}");
        assert!(asked >= 200, "{asked} decisions, killed: {kill}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_leased_is_spent_without_redis_and_then_the_policy_holds() {
    let server = Server::start().await.unwrap();
    let space = Space::own([&server], "leased");
    let limiter = Limiter::options(&quick(&server.url()), &space).nodes(1).build().unwrap();
    let quota = Quota::gcra(1_000, SECOND, 1_000).unwrap();
    let limit = limiter.builder("l", quota).leased(Leasing::new().sync(SECOND)).build().unwrap();
    let begun = Instant::now();
    let asks = async |source| {
        let asked = Instant::now();
        let decision = limit.check("u").await.unwrap();
        assert!(begun.elapsed() < 30 * SECOND, "{decision:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
        (decision.source == source, asked.elapsed())
    };
    // Until it holds something.
    for _ in 0..200 {
        asks(Source::Lease).await;
    }
    server.pause().await.unwrap();
    assert!(asks(Source::Lease).await.0);
    let (mut without, mut most) = (0, Duration::ZERO);
    while without < 200 {
        let (fallback, took) = asks(Source::Fallback).await;
        without += u32::from(fallback);
        most = most.max(took);
    }
    assert!(most < SECOND / 2, "{most:?}");
    server.resume().await.unwrap();
    while !asks(Source::Lease).await.0 {}
}

/// What a fleet of four admits in so much time without Redis, beside what it should.
async fn fleet(long: Duration) -> (u64, u64) {
    let server = Server::start().await.unwrap();
    let space = Space::own([&server], "fleet");
    let rate = 400;
    let (mut limiters, mut handles) = (Vec::new(), Vec::new());
    for node in 0..4 {
        let redis = quick(&server.url()).with_deadline(10 * SECOND);
        let options = Limiter::options(&redis, &space).node(&format!("node-{node}"));
        handles.push(redis);
        limiters.push(options.heartbeat(Duration::from_millis(100)).build().unwrap());
    }
    let mut limits = Vec::new();
    for limiter in &limiters {
        let limit = limiter.limit("l", Quota::gcra(rate, SECOND, 40).unwrap()).unwrap();
        limit.check("u").await.unwrap();
        limits.push(limit);
    }
    // All of them have heard of all.
    let begun = Instant::now();
    while limiters.iter().any(|limiter| limiter.nodes() != 4) {
        assert!(begun.elapsed() < 20 * SECOND);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.pause().await.unwrap();
    for (limiter, limit) in limiters.iter().zip(&limits) {
        while !limiter.is_away() {
            limit.check("u").await.unwrap();
        }
    }
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for limit in limits {
        tasks.spawn(async move {
            let mut admitted = 0;
            while begun.elapsed() < long {
                let decision = limit.check("u").await.unwrap();
                assert_eq!(decision.source, Source::Fallback);
                admitted += u64::from(decision.is_allowed());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            admitted
        });
    }
    let mut admitted = 0;
    while let Some(some) = tasks.join_next().await {
        admitted += some.unwrap();
    }
    let asked = (rate as f64 * begun.elapsed().as_secs_f64()) as u64;
    println!("{admitted} of {asked}");
    server.resume().await.unwrap();
    for (limiter, redis) in limiters.iter().zip(&handles) {
        redis.ready().await.unwrap();
        limiter.shutdown().await.unwrap();
    }
    let nodes = space.global("limit-nodes", ());
    let left = server
        .conn()
        .await
        .unwrap()
        .call(&["EXISTS", std::str::from_utf8(nodes.as_bytes()).unwrap()])
        .await;
    assert_eq!(left.unwrap().int(), Some(0), "nobody is left");
    (admitted, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_a_fleet_admits_the_limit_within_a_fifth() {
    let (admitted, asked) = fleet(3 * SECOND).await;
    assert!(admitted * 5 >= asked * 4 && admitted * 5 <= asked * 6, "{admitted} of {asked}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_ratelimit_outage_fleet() {
    let (admitted, asked) = fleet(60 * SECOND).await;
    assert!(admitted * 5 >= asked * 4 && admitted * 5 <= asked * 6, "{admitted} of {asked}");
    let figures = [("admitted", admitted), ("limit", asked)];
    soak::record(
        "ratelimit_outage_fleet",
        "one server",
        &[("nodes", 4), ("seconds", 60)],
        &[],
        &figures,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_cluster_only_what_is_away_is_decided_without_it() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let space = Space::own(cluster.nodes(), "part");
    let limiter = Limiter::options(&quick(&cluster.url()), &space).nodes(4).build().unwrap();
    let hour = 3_600 * SECOND;
    let limit = |name: &str, outage| {
        let builder = limiter.builder(name, Quota::fixed(8, hour).unwrap());
        builder.on_outage(outage).build().unwrap()
    };
    let (here, there) = (limit("here", Outage::Local), limit("there", Outage::Local));
    let closed = limit("closed", Outage::Closed);
    // Of two subjects, each on a node of its own.
    let slot = |subject: &str| space.key("limit-window.here", subject).slot();
    let node = async |subject: &str| cluster.primary_of(slot(subject)).await.unwrap();
    let gone = node("gone").await;
    let mut stays = None;
    for n in 0..100 {
        let subject = format!("stays-{n}");
        if node(&subject).await.addr() != gone.addr() {
            stays = Some(subject);
            break;
        }
    }
    let stays = &*stays.unwrap();
    let levels: [Level; 2] = [here.of(stays), there.of("gone")];
    assert_eq!(limiter.check(&levels).await.unwrap().source, Source::Redis);
    gone.pause().await.unwrap();
    let decision = limiter.check(&levels).await.unwrap();
    assert_eq!((decision.is_allowed(), decision.source), (true, Source::Fallback));
    // One by Redis, the other by a quarter.
    let said: Vec<_> = decision.levels.iter().map(|level| (level.limit, level.used)).collect();
    assert_eq!(said, [(8, 2), (2, 1)]);
    assert!(limiter.check(&levels).await.unwrap().is_allowed());
    let denied = limiter.check(&levels).await.unwrap();
    assert_eq!((denied.is_allowed(), &*denied.policy), (false, "there"));
    let denied = limiter.check(&[here.of(stays), closed.of("gone")]).await.unwrap();
    assert_eq!((denied.is_allowed(), &*denied.policy), (false, "closed"));
    // What was spent for them is given back, with nobody waiting for it.
    let begun = Instant::now();
    while here.status(stays).await.unwrap().used != 3 {
        assert!(begun.elapsed() < 20 * SECOND, "{:?}", here.status(stays).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // However often one fails, the other is asked as ever.
    for _ in 0..12 {
        for _ in 0..3 {
            assert_eq!(there.check("gone").await.unwrap().source, Source::Fallback);
        }
        assert_eq!(here.check(stays).await.unwrap().source, Source::Redis);
    }
    gone.resume().await.unwrap();
    let begun = Instant::now();
    while limiter.check(&levels).await.unwrap().source != Source::Redis {
        assert!(begun.elapsed() < 20 * SECOND);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_gone_through_without_redis() {
    let sentinel = Sentinel::start(1, 3).await.unwrap();
    let space = Space::own(sentinel.servers(), "failover");
    let limiter = Limiter::options(&quick(&sentinel.url()), &space).nodes(1).build().unwrap();
    let limit = limiter.limit("l", Quota::gcra(1_000, SECOND, 100).unwrap()).unwrap();
    limit.check("u").await.unwrap();
    let load = Load::on(&limit, 8);
    tokio::time::sleep(SECOND / 4).await;
    sentinel.kill_primary().await.unwrap();
    sentinel.promoted().await.unwrap();
    let [redis, local] = load.by();
    assert!(local > 0);
    let back = Instant::now();
    while limiter.is_away() || load.by()[0] < redis + 50 {
        assert!(back.elapsed() < 20 * SECOND, "{:?}", load.by());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = load.ends().await;
    let p99 = percentile(&took, 0.99);
    assert!(p99 < 60 * SECOND / 1_000, "{p99:?}");
}
