//! What is spent ahead: over many nodes, well and killed.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use russet_core_conn::KeySpace;
use russet_ratelimit::{Error, Leasing, Limit, Limiter, Outage, Quota, Source};
use russet_testkit::shared::Topology;
use russet_testkit::{Conn, Sentinel, Server, TestProcess, contract, soak};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::support::{Space, patient, space};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

/// One of so many nodes, that waits as long as it takes.
fn node(url: &str, space: &KeySpace, name: &str, nodes: u32) -> Limiter {
    let options = Limiter::options(&patient(url), space).on_outage(Outage::Error);
    options.budget(10 * SECOND).node(name).nodes(nodes).build().unwrap()
}

fn leased(limiter: &Limiter, quota: Quota, sync: Duration) -> Limit {
    limiter.builder("l", quota).leased(Leasing::new().sync(sync)).build().unwrap()
}

/// How many scripts a server has run, by what it counts itself.
pub(crate) async fn scripts_run(conn: &mut Conn) -> u64 {
    let stats = conn.call(&["INFO", "commandstats"]).await.unwrap();
    let of = |command: &str| {
        let line = stats.text().unwrap().lines().find_map(|line| line.strip_prefix(command));
        let calls =
            line.and_then(|line| line.split(',').next()).map(|calls| calls.parse().unwrap());
        calls.unwrap_or(0)
    };
    of("cmdstat_eval:calls=") + of("cmdstat_evalsha:calls=")
}

contract!(what_is_leased_is_spent_and_what_is_not_used_is_given_back);
async fn what_is_leased_is_spent_and_what_is_not_used_is_given_back(at: Topology) {
    let (redis, space) = space(at, "leases").await;
    let make = || Limiter::options(&redis, &space).budget(10 * SECOND).nodes(1);
    let (one, other) = (make().build().unwrap(), make().build().unwrap());
    let quota = Quota::gcra(1_000, 10 * HOUR, 1_000).unwrap();
    let limit = leased(&one, quota, 10 * SECOND);
    let plain = other.limit("l", quota).unwrap();
    let mut spent = 0;
    // Until it holds more than it needs for this one.
    loop {
        let decision = limit.check("u").await.unwrap();
        assert_eq!((decision.is_allowed(), decision.source), (true, Source::Lease));
        assert_eq!((decision.limit, decision.granted, decision.levels.len()), (1_000, 1, 1));
        spent += 1;
        let used = plain.status("u").await.unwrap().used;
        assert!(used >= spent, "{used} of {spent}");
        if used > spent + 4 {
            break;
        }
    }
    // A cost that it holds, too.
    assert_eq!(limit.check_n("u", 2).await.unwrap().source, Source::Lease);
    assert_eq!(limit.check_n("u", 900).await.unwrap().source, Source::Redis);
    one.shutdown().await.unwrap();
    assert_eq!(plain.status("u").await.unwrap().used, spent + 902);
    // And nothing is leased any more.
    assert_eq!(limit.check("u").await.unwrap().source, Source::Redis);
    one.shutdown().await.unwrap();
}

contract!(where_nothing_is_left_it_is_denied_without_redis);
async fn where_nothing_is_left_it_is_denied_without_redis(at: Topology) {
    let (redis, space) = space(at, "empty").await;
    let limiter = Limiter::options(&redis, &space).budget(10 * SECOND).nodes(1).build().unwrap();
    let limit = leased(&limiter, Quota::gcra(5, HOUR, 5).unwrap(), SECOND * 10);
    for _ in 0..5 {
        assert!(limit.check("u").await.unwrap().is_allowed());
    }
    let denied = limit.check("u").await.unwrap();
    assert_eq!((denied.is_allowed(), denied.source), (false, Source::Lease));
    assert!(denied.retry_after > Some(HOUR / 6) && denied.remaining == 0, "{denied:?}");
    assert_eq!(denied.limiting(), Some(&denied.levels[0]));
    limit.top_up("u", 1).await.unwrap();
    assert!(limit.check("u").await.unwrap().is_allowed());
    assert!(!limit.check("u").await.unwrap().is_allowed());
    limit.reset("u").await.unwrap();
    assert!(limit.check("u").await.unwrap().is_allowed());
    limiter.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_crowd_asks_with_one_voice() {
    let server = Server::start().await.unwrap();
    let space = Space::own([&server], "crowd");
    let limiter = node(&server.url(), &space, "one", 1);
    let limit = leased(&limiter, Quota::gcra(100, HOUR, 100).unwrap(), SECOND * 10);
    // Nobody is denied what there is, and all are answered.
    let asked = (0..64).map(|_| limit.check("u"));
    for decision in futures_util::future::join_all(asked).await {
        let decision = decision.unwrap();
        assert_eq!((decision.is_allowed(), decision.source), (true, Source::Lease));
    }
    // One for the layout, one for the first, one for all others; scripts are sent twice the first time.
    let scripts = scripts_run(&mut server.conn().await.unwrap()).await;
    assert!(scripts <= 8, "{scripts} scripts");
}

#[tokio::test]
async fn who_is_denied_asks_again_after_ten_milliseconds() {
    let server = Server::start().await.unwrap();
    let space = Space::own([&server], "floor");
    let limiter = node(&server.url(), &space, "one", 1);
    // One each millisecond.
    let limit = leased(&limiter, Quota::gcra(1_000, SECOND, 1).unwrap(), SECOND);
    let (begun, mut least) = (Instant::now(), SECOND);
    while begun.elapsed() < SECOND / 2 {
        if let Some(retry) = limit.check("u").await.unwrap().retry_after {
            least = least.min(retry);
            let until = Instant::now() + retry;
            tokio::time::sleep_until(until.into()).await;
            // As honest as ever.
            assert!(limit.check("u").await.unwrap().is_allowed());
        }
    }
    assert!(least > Duration::from_millis(5) && least < SECOND, "{least:?}");
    let scripts = scripts_run(&mut server.conn().await.unwrap()).await;
    assert!(scripts < 250, "{scripts} scripts");
}

#[tokio::test]
async fn what_nobody_asks_for_any_more_is_given_back() {
    let (redis, space) = space(Topology::Server, "idle").await;
    let limiter = Limiter::options(&redis, &space).budget(10 * SECOND).nodes(1).build().unwrap();
    let quota = Quota::gcra(1_000, 100 * HOUR, 1_000).unwrap();
    let limit = leased(&limiter, quota, Duration::from_millis(300));
    let (begun, mut subject) = (Instant::now(), 0);
    // The second one leases some, unless it comes late: one lease, since of several only one is given back.
    loop {
        for _ in 0..2 {
            assert!(limit.check(subject).await.unwrap().is_allowed());
        }
        if limit.status(subject).await.unwrap().used > 2 {
            break;
        }
        assert!(begun.elapsed() < 20 * SECOND);
        subject += 1;
    }
    while limit.status(subject).await.unwrap().used > 2 {
        assert!(begun.elapsed() < 20 * SECOND);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(limit.status(subject).await.unwrap().used, 2);
}

#[tokio::test]
async fn more_subjects_than_there_is_room_for_are_asked_of_redis() {
    let (redis, space) = space(Topology::Server, "room").await;
    let limiter = Limiter::options(&redis, &space).budget(10 * SECOND).nodes(1).build().unwrap();
    let leasing = Leasing::new().subjects(16);
    let limit = limiter.builder("l", Quota::bucket()).leased(leasing).build().unwrap();
    let mut sources = Vec::new();
    for subject in 0..200 {
        sources.push(limit.check(subject).await.unwrap().source);
    }
    let leased = sources.iter().filter(|source| **source == Source::Lease).count();
    assert!((1..=16).contains(&leased), "{leased}");
}

#[tokio::test]
async fn what_cannot_be_leased_is_named() {
    let limiter = Limiter::new(&patient("redis://localhost"), &KeySpace::new("wrong").unwrap());
    for (n, quota) in crate::support::all(5).into_iter().enumerate().skip(1) {
        let Err(Error::Config { field: "leased", allowed: "buckets", .. }) =
            limiter.builder("l", quota).leased(Leasing::new()).build()
        else {
            panic!("{n}")
        };
    }
    let ok = || limiter.builder("l", Quota::bucket());
    let leasing = Leasing::new;
    for (builder, field) in [
        (ok().leased(leasing()).blockable(), "leased"),
        (ok().leased(leasing()).shadow(true), "leased"),
        (ok().leased(leasing().sync(Duration::from_millis(9))), "sync"),
        (ok().leased(leasing().subjects(0)), "subjects"),
        (ok().cache_denials(Duration::ZERO), "cache_denials"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.starts_with(field) && error.contains("allowed"), "{error}");
    }
}

/// A bucket, and how nodes lease of it.
#[derive(Clone, Copy)]
struct Plan {
    rate: u64,
    burst: u64,
    sync: Duration,
}

impl Plan {
    fn quota(self) -> Quota {
        Quota::gcra(self.rate, SECOND, self.burst).unwrap()
    }

    /// The most in any window of this length: a failover may forget what was spent last, and adds a burst.
    fn most(self, window: Duration, failovers: u64) -> usize {
        let units = self.rate as f64 * (window + 2 * self.sync).as_secs_f64();
        ((1 + failovers) * self.burst) as usize + units.ceil() as usize
    }

    /// That no window holds more than it may of what was admitted between these times, in µs.
    fn holds(self, admitted: &[(u128, u128)], failovers: u64) {
        for window in [SECOND / 10, SECOND / 2, SECOND, 3 * SECOND] {
            let mut begins: Vec<u128> = admitted.iter().map(|(before, _)| *before).collect();
            begins.sort_unstable();
            let (mut most, length) = (0, window.as_micros());
            for begin in begins.iter().step_by(1 + begins.len() / 2_000) {
                let inside =
                    |(before, after): &&(u128, u128)| before >= begin && *after < begin + length;
                most = most.max(admitted.iter().filter(inside).count());
            }
            let bound = self.most(window, failovers);
            assert!(most <= bound, "{most} in {window:?}; allowed: {bound}");
            println!("{window:?}: at most {most} of {bound}");
        }
    }
}

fn micros() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()
}

/// Asks so often; `None` as fast as it can. Between which times each unit was admitted, and how many were denied.
async fn spend(limit: Limit, every: Option<Duration>, until: Instant) -> (Vec<(u128, u128)>, u64) {
    let (mut admitted, mut denied) = (Vec::new(), 0);
    let mut tick = tokio::time::interval(every.unwrap_or(Duration::from_micros(500)));
    while Instant::now() < until {
        tick.tick().await;
        let before = micros();
        if limit.check("u").await.unwrap().is_allowed() {
            admitted.push((before, micros()));
        } else {
            denied += 1;
        }
    }
    (admitted, denied)
}

/// Nodes of this process that ask at so much of the rate. Answers what was admitted, what was denied, and the scripts.
async fn nodes(plan: Plan, nodes: u32, load: f64, time: Duration) -> (usize, u64, u64) {
    let server = Server::start().await.unwrap();
    let space = Space::own([&server], "nodes");
    let mut limiters = Vec::new();
    for n in 0..nodes {
        limiters.push(node(&server.url(), &space, &format!("node-{n}"), nodes));
    }
    let until = Instant::now() + time;
    let every = Duration::from_secs_f64(f64::from(nodes) / (plan.rate as f64 * load));
    let mut tasks = JoinSet::new();
    for limiter in &limiters {
        let limit = leased(limiter, plan.quota(), plan.sync);
        // Timers are no finer than a millisecond.
        let many = (Duration::from_millis(2).as_secs_f64() / every.as_secs_f64()).ceil() as u32;
        for _ in 0..many {
            tasks.spawn(spend(limit.clone(), Some(every * many), until));
        }
    }
    let (mut admitted, mut denied) = (Vec::new(), 0);
    while let Some(done) = tasks.join_next().await {
        let (some, not) = done.unwrap();
        admitted.extend(some);
        denied += not;
    }
    plan.holds(&admitted, 0);
    let scripts = scripts_run(&mut server.conn().await.unwrap()).await;
    println!("load {load}: {} admitted, {denied} denied, {scripts} scripts", admitted.len());
    for limiter in limiters {
        limiter.shutdown().await.unwrap();
    }
    (admitted.len(), denied, scripts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_nodes_ask_seldom_and_admit_what_there_is() {
    let plan = Plan { rate: 800, burst: 4_800, sync: SECOND };
    let (admitted, denied, scripts) = nodes(plan, 8, 0.8, 4 * SECOND).await;
    let all = admitted as u64 + denied;
    assert!(denied * 100 <= all, "{denied} of {all} were denied");
    assert!(scripts * 10 <= all, "{scripts} scripts for {all} decisions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_nodes_never_admit_more_than_the_bound() {
    let plan = Plan { rate: 500, burst: 100, sync: SECOND / 5 };
    let (admitted, denied, _) = nodes(plan, 8, 4.0, 3 * SECOND).await;
    assert!(denied as usize > admitted, "{admitted} and {denied}");
    let share = admitted as f64 / (500.0 * 3.0 + 100.0);
    assert!(share >= 0.8, "{share}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_ratelimit_leases() {
    // The figures of the simulation: 6,000 a minute, bursts of 600.
    let plan = Plan { rate: 100, burst: 600, sync: 2 * SECOND };
    let mut figures = Vec::new();
    for (load, names) in [
        (0.8, ["admitted_at_80", "decisions_at_80", "scripts_at_80"]),
        (2.0, ["admitted_at_200", "decisions_at_200", "scripts_at_200"]),
    ] {
        let (admitted, denied, scripts) = nodes(plan, 8, load, 60 * SECOND).await;
        let all = admitted as u64 + denied;
        if load < 1.0 {
            assert!(scripts * 10 <= all, "{scripts} scripts for {all} decisions");
            assert!(denied * 100 <= all);
        }
        figures.extend(names.into_iter().zip([admitted as u64, all, scripts]));
    }
    soak::record("ratelimit_leases", "one server", &[("nodes", 8), ("seconds", 60)], &[], &figures);
}

const KILLED: Plan = Plan { rate: 1_000, burst: 200, sync: Duration::from_millis(250) };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that others start and kill"]
async fn one_process() {
    let Ok(url) = std::env::var("RUSSET_TEST_LEASES") else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<u32>().unwrap();
    let (nodes, name) = (number("RUSSET_TEST_NODES"), std::process::id().to_string());
    let limiter = node(&url, &KeySpace::new("killed").unwrap(), &name, nodes);
    let limit = leased(&limiter, KILLED.quota(), KILLED.sync);
    let mut tasks = JoinSet::new();
    for _ in 0..number("RUSSET_TEST_TASKS") {
        let limit = limit.clone();
        tasks.spawn(async move {
            loop {
                let before = micros();
                let wait = match limit.check("u").await {
                    Ok(decision) => decision.retry_after,
                    // Where a server is killed.
                    Err(_) => Some(SECOND),
                };
                match wait {
                    // A line is written at once, so that it is known of when the process is killed.
                    None => println!("\nadmitted {before} {}", micros()),
                    Some(wait) => tokio::time::sleep(wait.min(SECOND / 100)).await,
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Who spends, and for how long.
#[derive(Clone, Copy)]
struct Load {
    processes: u32,
    /// Of each process.
    tasks: u32,
    time: Duration,
}

/// Processes that are killed and replaced all the time; something may happen after a third of it. Answers what was admitted
/// between which times, and how many were killed.
async fn killed(url: &str, load: Load, meanwhile: impl AsyncFnOnce()) -> (Vec<(u128, u128)>, u64) {
    let start = || {
        let variables = [
            ("RUSSET_TEST_LEASES", url.to_owned()),
            ("RUSSET_TEST_NODES", load.processes.to_string()),
            ("RUSSET_TEST_TASKS", load.tasks.to_string()),
        ];
        let mut process = TestProcess::start("leases::one_process", variables).unwrap();
        let (kill, mut killed) = oneshot::channel::<()>();
        let read = tokio::spawn(async move {
            let (mut admitted, mut alive) = (Vec::new(), true);
            loop {
                let line = tokio::select! {
                    line = process.line() => line.unwrap(),
                    _ = &mut killed, if alive => {
                        process.kill().await.unwrap();
                        alive = false;
                        continue;
                    }
                };
                let Some(line) = line else { return admitted };
                let Some(line) = line.strip_prefix("admitted ") else { continue };
                let mut times = line.split(' ').map(str::parse::<u128>);
                if let (Some(Ok(before)), Some(Ok(after))) = (times.next(), times.next()) {
                    admitted.push((before, after));
                }
            }
        });
        (kill, read)
    };
    let mut alive: Vec<_> = (0..load.processes).map(|_| start()).collect();
    let (begun, mut admitted, mut kills) = (Instant::now(), Vec::new(), 0);
    let mut meanwhile = Some(meanwhile);
    while begun.elapsed() < load.time {
        tokio::time::sleep(SECOND * 3 / 4).await;
        let (kill, read) = alive.remove(0);
        kill.send(()).unwrap();
        kills += 1;
        admitted.extend(read.await.unwrap());
        alive.push(start());
        if begun.elapsed() > load.time / 3
            && let Some(meanwhile) = meanwhile.take()
        {
            meanwhile().await;
        }
    }
    for (kill, read) in alive {
        kill.send(()).unwrap();
        admitted.extend(read.await.unwrap());
    }
    (admitted, kills)
}

async fn killed_processes(load: Load) -> (u64, u64) {
    let server = Server::start().await.unwrap();
    let _space = Space::own([&server], "killed");
    let (admitted, kills) = killed(&server.url(), load, async || {}).await;
    KILLED.holds(&admitted, 0);
    println!("{} admitted, {kills} killed", admitted.len());
    (admitted.len() as u64, kills)
}

/// The same, and the primary is killed. Answers how many were admitted before that and after the failover, and how many
/// processes were killed.
async fn killed_primary(load: Load) -> [u64; 3] {
    let sentinel = Sentinel::builder().start().await.unwrap();
    sentinel.ready().await.unwrap();
    let _space = Space::own(sentinel.servers(), "killed");
    let (mut dies, mut promoted) = (0, 0);
    let (admitted, kills) = killed(&sentinel.url(), load, async || {
        dies = micros();
        sentinel.kill_primary().await.unwrap();
        sentinel.promoted().await.unwrap();
        promoted = micros();
    })
    .await;
    KILLED.holds(&admitted, 1);
    let before = admitted.iter().filter(|(_, end)| *end < dies).count() as u64;
    let after = admitted.iter().filter(|(begin, _)| *begin > promoted).count() as u64;
    println!("{before} and {after} admitted, {kills} killed");
    [before, after, kills]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_killed_take_what_they_hold_with_them() {
    let (admitted, kills) =
        killed_processes(Load { processes: 3, tasks: 4, time: 3 * SECOND }).await;
    assert!(admitted > 1_000 && kills >= 3, "{admitted} {kills}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_adds_one_burst_to_what_is_leased() {
    let load = Load { processes: 2, tasks: 4, time: 6 * SECOND };
    let [before, after, kills] = killed_primary(load).await;
    assert!(before > 500 && after > 500 && kills >= 3, "{before} {after} {kills}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_ratelimit_leases_killed() {
    let load = Load { processes: 8, tasks: 64, time: 60 * SECOND };
    let sizes = [("processes", 8), ("tasks", 64), ("seconds", 60)];
    let name = "ratelimit_leases_killed";
    let (admitted, kills) = killed_processes(load).await;
    assert!(admitted > 30_000 && kills > 30, "{admitted} {kills}");
    soak::record(name, "one server", &sizes, &[("killed", kills)], &[("admitted", admitted)]);
    let [before, after, kills] = killed_primary(load).await;
    assert!(before > 5_000 && after > 10_000 && kills > 30, "{before} {after} {kills}");
    let (faults, figures) =
        ([("killed", kills), ("failovers", 1)], [("before", before), ("after", after)]);
    soak::record(&format!("{name}_failover"), "Sentinel", &sizes, &faults, &figures);
}
