//! The scripts beside the model, over what can be asked for in any order, at times that the test makes: also ones that go
//! back.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use russet_core_conn::{Canonical, Cmd, KeySpace, Redis};
use russet_testkit::shared::{self, Topology};
use russet_testkit::{contract, soak};
use tokio::runtime::Handle;

use super::Model;
use crate::keys::Keys;
use crate::rule::Rule;
use crate::scripts::{self, Mode, Receipt, Step, What};

mod call;

use call::{Call, Case, Part, cases};

/// A day in 2027, in ticks.
const BEGINNING: u64 = 100_000_000 * 8_000_000 + 7;

/// The limits of a case, for one subject, so that they share a slot.
struct Real {
    redis: Redis,
    space: KeySpace,
    subject: Canonical,
}

impl Real {
    fn keys(&self, limit: usize) -> Keys {
        Keys::new(&self.space, &format!("l{limit}"))
    }

    fn step(&self, rules: &[Rule], part: &Part, mode: Mode) -> Step {
        let keys = self.keys(part.limit);
        let rule = rules[part.limit];
        match part.what {
            call::What::Spend { cost, left, id } => {
                // The limit may be a lower one by now, and what never fits is not asked for.
                let left = left.min(rule.limit() - 1);
                let most =
                    if matches!(mode, Mode::All | Mode::Peek) { rule.limit() - left } else { cost };
                let cost = cost.min(most);
                let what = What::Spend { rule, cost, left, id };
                Step { key: keys.state(&rule, &self.subject), what }
            }
            call::What::Watch { above, limit } => {
                let what = What::Watch { ticks: rule.period(), above, limit };
                Step { key: keys.state(&rule, &self.subject), what }
            }
            call::What::Block => Step { key: keys.block(&self.subject), what: What::Block },
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(model: &T, real: &T) -> TestCaseResult {
    prop_assert_eq!(model, real, "the model, and the server");
    Ok(())
}

/// Of which algorithms something was decided.
type Decided = BTreeSet<&'static str>;

async fn agree(real: &Real, case: Case, decided: &mut Decided) -> TestCaseResult {
    let Case { mut rules, steps } = case;
    let (mut model, mut now, mut receipts) = (Model::default(), BEGINNING, Vec::<Receipt>::new());
    let redis = &real.redis;
    for (after, call) in steps {
        now = now.saturating_add_signed(after);
        let time = Some(now);
        match call {
            Call::Decide { mode, parts, shadows } => {
                let steps: Vec<Step> =
                    parts.iter().map(|part| real.step(&rules, part, mode)).collect();
                let steps: Vec<&Step> = steps.iter().collect();
                let counted = steps.len().saturating_sub(shadows);
                let said = model.decide(mode, &steps, counted, now);
                let heard = scripts::decide(redis, mode, &steps, counted, time).await.unwrap();
                same(&said, &heard)?;
                for (step, facts) in steps.iter().zip(&said.facts) {
                    let What::Spend { rule, cost, id, .. } = step.what else { continue };
                    decided.insert(algorithm(&rule));
                    if mode == Mode::All && said.granted > 0 && shadows == 0 {
                        let (key, facts) = (step.key.clone(), *facts);
                        receipts.push(Receipt { key, rule, spent: cost, id, now, facts });
                    }
                }
                if mode == Mode::All && said.granted == 0 {
                    honest(real, &steps[..counted], &said.facts, now).await?;
                }
            }
            Call::Gcra { limit, cost, left } => {
                let rule = rules[limit];
                let (Rule::Bucket { each, .. } | Rule::Queue { each, .. }) = rule else { continue };
                let left = left.min(rule.limit() - 1);
                let cost = cost.min(rule.limit() - left);
                let key = real.keys(limit).state(&rule, &real.subject);
                let (ticks, most) = (cost * each, rule.most(cost, left));
                let said = model.gcra(&key, (&rule, cost), left, now);
                let heard = scripts::gcra(redis, &key, ticks, most, rule.kept(), time);
                same(&said, &heard.await.unwrap())?;
                decided.insert(algorithm(&rule));
            }
            Call::Refund(which, units) => {
                if receipts.is_empty() {
                    continue;
                }
                let receipt = receipts.swap_remove(which.index(receipts.len()));
                let back = [(&receipt, units.min(receipt.spent))];
                let said = model.refund(&back, now);
                same(&said, &scripts::refund(redis, &back, time).await.unwrap())?;
            }
            Call::TopUp(limit, units) => {
                let rule = rules[limit];
                if !matches!(rule, Rule::Bucket { .. } | Rule::Window { .. }) {
                    continue;
                }
                let key = real.keys(limit).state(&rule, &real.subject);
                let said = model.top_up(&key, &rule, units, now);
                let heard = scripts::top_up(redis, &key, &rule, units, time).await.unwrap();
                same(&said, &heard)?;
            }
            Call::Block(limit, ticks) => {
                let key = real.keys(limit).block(&real.subject);
                model.block(&key, ticks, now);
                scripts::block(redis, &key, ticks, time).await.unwrap();
            }
            Call::Unlink(limit, block) => {
                let keys = real.keys(limit);
                let state = keys.state(&rules[limit], &real.subject);
                let key = if block { keys.block(&real.subject) } else { state };
                let heard: u64 = redis.run(Cmd::idempotent("UNLINK").key(&key)).await.unwrap();
                same(&u64::from(model.unlink(&key)), &heard)?;
            }
            Call::Entries(limit) => {
                let rule = rules[limit];
                if !matches!(rule, Rule::Log { .. } | Rule::Permits { .. }) {
                    continue;
                }
                let key = real.keys(limit).state(&rule, &real.subject);
                let (count, entries) = model.entries(&key, now);
                let heard = scripts::entries(redis, &key, 1_000, time).await.unwrap();
                same(&(now, count, entries), &heard)?;
            }
            Call::Renew(which) => {
                let held = receipts.iter().filter(|of| matches!(of.rule, Rule::Permits { .. }));
                let held: Vec<&Receipt> = held.collect();
                if held.is_empty() {
                    continue;
                }
                let receipt = held[which.index(held.len())];
                let said = model.renew(receipt, now);
                same(&said, &scripts::renew(redis, receipt, time).await.unwrap())?;
            }
            Call::Change(limit, rule) => {
                // Within an algorithm: another one has keys of its own.
                if std::mem::discriminant(&rule) == std::mem::discriminant(&rules[limit]) {
                    rules[limit] = rule;
                }
            }
        }
        ends(real, &rules).await?;
    }
    Ok(())
}

fn algorithm(rule: &Rule) -> &'static str {
    match rule {
        Rule::Window { aligned: true, .. } => "fixed",
        Rule::Window { .. } => "interval",
        rule => rule.name(),
    }
}

/// That each key has an end, by the clock of the server.
async fn ends(real: &Real, rules: &[Rule]) -> TestCaseResult {
    let of = |(limit, rule)| {
        let keys = real.keys(limit);
        [keys.state(rule, &real.subject), keys.block(&real.subject)]
    };
    let left = rules.iter().enumerate().flat_map(of).map(|key| async move {
        let left = real.redis.run::<i64>(Cmd::read("PTTL").key(&key)).await.unwrap();
        (key, left)
    });
    for (key, left) in futures_util::future::join_all(left).await {
        prop_assert!(left != -1, "{key:?} has no end");
    }
    Ok(())
}

/// A retry at the time that a denial tells is admitted, and one tick earlier it is not.
async fn honest(
    real: &Real,
    steps: &[&Step],
    facts: &[crate::rule::Facts],
    now: u64,
) -> TestCaseResult {
    if steps.iter().any(|step| matches!(step.what, What::Watch { .. })) {
        return Ok(());
    }
    let wait = steps.iter().zip(facts).map(|(step, facts)| super::honest::wait(step, *facts, now));
    let wait = wait.max().unwrap_or(0);
    for (at, admitted) in [(now + wait - 1, 0), (now + wait, 1)] {
        let heard =
            scripts::decide(&real.redis, Mode::Peek, steps, steps.len(), Some(at)).await.unwrap();
        prop_assert_eq!(heard.granted, admitted, "{} ticks of {}", at - now, wait);
    }
    Ok(())
}

/// Answers in how many of the cases something was decided by each algorithm. The seed is that of the run.
async fn agrees(at: Topology, most: u32) -> BTreeMap<&'static str, u64> {
    let redis = Redis::builder(&at.url().await.unwrap());
    let redis = redis.deadline(std::time::Duration::from_secs(10)).build().unwrap();
    let config = Config { cases: most, failure_persistence: None, ..Config::default() };
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&soak::seed().to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let (number, counts) = (Cell::new(0_u64), RefCell::new(BTreeMap::new()));
    let space = KeySpace::new(shared::prefix("model")).unwrap();
    let agreed = tokio::task::block_in_place(|| {
        let mut runner = TestRunner::new_with_rng(config, rng);
        runner.run(&cases(30), |case| {
            number.set(number.get() + 1);
            let subject = Canonical::of(&number.get());
            let real = Real { redis: redis.clone(), space: space.clone(), subject };
            let mut decided = Decided::new();
            Handle::current().block_on(agree(&real, case, &mut decided))?;
            for algorithm in decided {
                *counts.borrow_mut().entry(algorithm).or_default() += 1;
            }
            Ok(())
        })
    });
    if let Err(failure) = agreed {
        panic!("{failure}");
    }
    let counts = counts.into_inner();
    println!("{at}: {counts:?}");
    counts
}

/// That something was decided by each algorithm in so many cases.
fn each_has(counts: &BTreeMap<&'static str, u64>, least: u64) {
    let algorithms =
        ["bucket", "counter", "fixed", "interval", "log", "permits", "queue", "strict"];
    assert!(counts.keys().eq(&algorithms), "{counts:?}");
    assert!(counts.values().all(|cases| *cases >= least), "at least {least}: {counts:?}");
}

contract!(threads, the_scripts_do_as_the_model);
async fn the_scripts_do_as_the_model(at: Topology) {
    each_has(&agrees(at, 200).await, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_ratelimit_scripts_beside_model() {
    // A case has one or two of the eight algorithms.
    let (cases, least) = (70_000, 10_000);
    let mut fewest = u64::MAX;
    for at in Topology::ALL {
        let counts = agrees(at, cases).await;
        each_has(&counts, least);
        fewest = counts.into_values().fold(fewest, u64::min);
    }
    let sizes = [("cases", cases.into()), ("topologies", 3)];
    let figures = [("cases of each algorithm", fewest)];
    soak::record("ratelimit_scripts_beside_model", "all topologies", &sizes, &[], &figures);
}
