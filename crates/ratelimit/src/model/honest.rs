//! Whether a denial tells the truth about when to come back, over many states of each algorithm: on the model, and by the
//! scripts, at times that the test makes.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use russet_core_conn::{Canonical, KeySpace, Redis};
use russet_testkit::shared::{self, Topology};
use russet_testkit::soak;
use tokio::task::JoinSet;

use super::Model;
use crate::keys::Keys;
use crate::rule::Facts;
use crate::scripts::{Mode, Step, What};
use crate::ticks::ticks;
use crate::{Error, Level, Limit, Limiter, Outage, Quota};

/// How long this step has to wait.
pub(super) fn wait(step: &Step, facts: Facts, now: u64) -> u64 {
    match &step.what {
        What::Block => facts.0[0],
        What::Watch { .. } => 0,
        What::Spend { rule, cost, left, .. } => rule.read(facts, now, *cost, 0, *left).wait,
    }
}

/// Each algorithm, so slow that no key ends by the server's clock while a test has a time of its own.
fn quotas() -> Vec<Quota> {
    let seconds = Duration::from_secs;
    let quotas = [
        Quota::gcra(10, seconds(10), 25),
        Quota::gcra(7, seconds(60), 3),
        Quota::queue(20, 10, seconds(10), Duration::from_millis(12_345)),
        Quota::interval(20, 3, seconds(7)),
        Quota::fixed(9, seconds(20)),
        Quota::counter(13, seconds(20)),
        Quota::counter(60, seconds(30)),
        Quota::strict(11, seconds(20)),
        Quota::log(8, seconds(20)),
        Quota::permits(5, seconds(20)),
    ];
    quotas.into_iter().map(Result::unwrap).collect()
}

/// Until the next call, and its cost: mostly soon and small.
fn next(rng: &mut SmallRng, quota: Quota) -> (u64, u64) {
    let after = rng.random_range(0..=ticks(quota.period()) / 4) >> rng.random_range(0..20);
    let limit = quota.limit();
    (after, 1 + rng.random_range(0..limit) / rng.random_range(1..=limit))
}

const BEGINNING: u64 = 800_000_000_000_000;

#[test]
fn a_denial_tells_when_to_come_back() {
    let keys = Keys::new(&KeySpace::new("t").unwrap(), "l");
    let mut rng = SmallRng::seed_from_u64(soak::seed());
    let fast = Quota::counter(1_000, Duration::from_millis(7)).unwrap();
    for quota in quotas().into_iter().chain([fast]) {
        let rule = quota.0;
        let key = keys.state(&rule, &Canonical::of(&()));
        let (mut model, mut now, mut denied) = (Model::default(), BEGINNING, 0);
        while denied < 2_000 {
            let (after, cost) = next(&mut rng, quota);
            now += after;
            let what = What::Spend { rule, cost, left: 0, id: rng.random() };
            let step = Step { key: key.clone(), what };
            let said = model.decide(Mode::All, &[&step], 1, now);
            if said.granted > 0 {
                continue;
            }
            denied += 1;
            let wait = wait(&step, said.facts[0], now);
            for (at, admitted) in [(now + wait - 1, 0), (now + wait, 1)] {
                let said = model.decide(Mode::Peek, &[&step], 1, at);
                assert_eq!(said.granted, admitted, "{rule:?}: {} ticks of {wait}", at - now);
            }
        }
    }
}

/// Spends on all of these limits until so many calls were denied, and comes back after each: one tick too early, and then
/// in time.
async fn comes_back(limiter: Limiter, limits: Arc<[Limit]>, seed: u64, most: u64) {
    let (mut rng, mut now, mut denied) = (SmallRng::seed_from_u64(seed), BEGINNING, 0);
    while denied < most {
        let mut levels = Vec::<Level>::new();
        for limit in &*limits {
            let (after, cost) = next(&mut rng, limit.quota());
            now += after / limits.len() as u64;
            levels.push(limit.of("subject").cost(cost));
        }
        let at = async |time: u64| {
            limiter.set_time(time);
            let decision = limiter.check(&levels).await.unwrap();
            (decision.is_allowed(), decision.retry_after)
        };
        let (false, wait) = at(now).await else { continue };
        denied += 1;
        let wait = ticks(wait.unwrap());
        let names = || limits.iter().map(Limit::quota).collect::<Vec<_>>();
        let (early, left) = at(now + wait - 1).await;
        assert!(!early, "{:?}: a tick before {wait}", names());
        assert_eq!(left, Some(crate::ticks::time(1)), "{:?}: after {wait}", names());
        assert!(at(now + wait).await.0, "{:?}: after {wait}", names());
        now += wait;
    }
}

/// So many denials of each algorithm, and of levels of several, by the scripts: many subjects at a time, each by a limiter
/// of its own, which has a time of its own.
async fn denials_are_honest(most: u64) -> Result<u64, Error> {
    const SUBJECTS: u64 = 32;
    let redis = Redis::builder(&Topology::Server.url().await.unwrap());
    let redis = redis.deadline(Duration::from_secs(10)).build()?;
    let mut sets: Vec<Vec<Quota>> = quotas().into_iter().map(|quota| vec![quota]).collect();
    sets.push(quotas()[..3].to_vec());
    sets.push(quotas()[3..].to_vec());
    for (at, quotas) in sets.iter().enumerate() {
        let mut subjects = JoinSet::new();
        for subject in 0..SUBJECTS {
            let space = KeySpace::new(shared::prefix("honest")).unwrap();
            // A slow answer is waited for, not made up.
            let limiter = Limiter::options(&redis, &space).on_outage(Outage::Error).build()?;
            let limit = |(n, quota): (usize, &Quota)| limiter.limit(&format!("l{n}"), *quota);
            let limits: Arc<[Limit]> =
                quotas.iter().enumerate().map(limit).collect::<Result<_, _>>()?;
            let seed = soak::seed() + SUBJECTS * at as u64 + subject;
            subjects.spawn(comes_back(limiter, limits, seed, most.div_ceil(SUBJECTS)));
        }
        subjects.join_all().await;
    }
    Ok(most.div_ceil(SUBJECTS) * SUBJECTS * sets.len() as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scripts_denial_tells_when_to_come_back() {
    denials_are_honest(1_000).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_ratelimit_honest_waiting() {
    let denials = denials_are_honest(100_000).await.unwrap();
    let sizes = [("denials of each", 100_000), ("denials", denials)];
    soak::record("ratelimit_honest_waiting", "one server", &sizes, &[], &[]);
}
