//! The scripts beside the model, over what can be called in any order, at times that the test makes: clocks that go back
//! among them.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use russet_core_conn::{Cmd, Key, Redis};
use russet_testkit::shared::{self, Topology};
use russet_testkit::soak;
use tokio::runtime::Handle;

use super::super::script::{Beat, Ending, Kind, Place, Rules};
use super::{Kept, Model, Node};

#[derive(Debug, Clone)]
struct Step {
    /// The time since the step before, in ms.
    after: i64,
    call: Call,
}

#[derive(Debug, Clone)]
enum Call {
    /// A node, which of the last generations it knows, whether it votes, and its failures.
    Beat(u8, usize, bool, u64),
    Probe(u64),
    Report(u64, Ending),
    Force(Kind),
    Leave(u8),
    Status,
    /// It is evicted, or lost in a failover.
    Lose,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let after = prop_oneof![
        3 => Just(0_i64),
        8 => 1_i64..12,
        2 => 12_i64..60,
        1 => 60_i64..400,
        1 => -80_i64..0,
    ];
    let beat = (0_u8..5, prop_oneof![6 => Just(0_usize), 1 => 1_usize..4], any::<bool>(), 0_u64..9);
    let ending = prop::sample::select(vec![Ending::Nothing, Ending::Well, Ending::Badly]);
    let kind = prop::sample::select(vec![
        Kind::Closed,
        Kind::ForcedOpen,
        Kind::Disabled,
        Kind::MetricsOnly,
    ]);
    let call = prop_oneof![
        20 => beat.prop_map(|(node, known, votes, n)| Call::Beat(node, known, votes, n)),
        10 => (1_u64..6).prop_map(Call::Probe),
        10 => ((1_u64..6), ending).prop_map(|(permit, ending)| Call::Report(permit, ending)),
        1 => kind.prop_map(Call::Force),
        2 => (0_u8..5).prop_map(Call::Leave),
        4 => Just(Call::Status),
        1 => prop_oneof![4 => Just(Call::Status), 1 => Just(Call::Lose)],
    ];
    let step = (after, call).prop_map(|(after, call)| Step { after, call });
    // A fleet that votes as soon as it may, so that much is opened.
    let votes = prop::collection::vec(0_u8..5, 0..6).prop_map(|nodes| {
        let beat = |(at, node)| Step {
            after: if at == 0 { 0 } else { 6 },
            call: Call::Beat(node, 0, true, 3),
        };
        nodes.into_iter().enumerate().map(beat).collect::<Vec<_>>()
    });
    (votes, prop::collection::vec(step, 1..60)).prop_map(|(mut first, rest)| {
        first.extend(rest);
        first
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    (1_u32..4, 1_u32..4, 12_u32..20).prop_map(|(probes, close_after, fields)| Rules {
        open_for: 20_000,
        probes,
        lasts: 15_000,
        close_after,
        fresh: 30_000,
        there: 100_000,
        settling: 20_000,
        fields,
        kept: 600_000,
    })
}

async fn agree(redis: &Redis, beginning: u64, rules: Rules, steps: Vec<Step>) -> TestCaseResult {
    let prefix = shared::prefix("breaker-model");
    let key = |name: &str| Key::raw(format!("{{{prefix}}}:{name}"));
    let mut place = Place { key: key("breaker"), channel: key("told"), time: "".into() };
    let (mut model, mut now) = (Model::default(), beginning);
    let mut generations = vec![0];
    for (number, Step { after, call }) in steps.into_iter().enumerate() {
        now = now.checked_add_signed(after * 1_000).unwrap();
        place.time = now.to_string().into();
        let drawn = 1 + number as u64;
        match call {
            Call::Beat(node, known, votes, failures) => {
                let known = generations[generations.len() - 1 - known.min(generations.len() - 1)];
                let node = node.to_string();
                let beat = Beat { node: &node, known, votes, failures, drawn };
                let said = place.beat(redis, beat, &rules).await.unwrap();
                prop_assert_eq!(model.beat(now, beat, &rules), said, "the model, and the server");
            }
            Call::Probe(permit) => {
                let said = place.probe(redis, permit, drawn, &rules).await.unwrap();
                prop_assert_eq!(model.probe(now, permit, drawn, &rules), said);
            }
            Call::Report(permit, ending) => {
                let said = place.report(redis, permit, ending, drawn, &rules).await.unwrap();
                prop_assert_eq!(model.report(now, permit, ending, drawn, &rules), said);
            }
            Call::Force(kind) => {
                let said = place.force(redis, kind, drawn, &rules).await.unwrap();
                prop_assert_eq!(model.force(now, kind, drawn), said);
            }
            Call::Leave(node) => {
                let left = place.leave(redis, &node.to_string()).await.unwrap();
                prop_assert_eq!(model.leave(&node.to_string()), left);
            }
            Call::Status => {
                let status = place.status(redis, &rules).await.unwrap();
                prop_assert_eq!(model.status(now, &rules), status);
            }
            Call::Lose => {
                model.kept = None;
                let _: u64 = redis.run(Cmd::idempotent("UNLINK").key(&place.key)).await.unwrap();
            }
        }
        let generation = model.kept.as_ref().map_or(0, |kept| kept.generation);
        if generations.last() != Some(&generation) {
            generations.push(generation);
        }
        prop_assert_eq!(&model.kept, &kept(redis, &place.key).await, "the model, and the server");
        let ttl: i64 = redis.run(Cmd::read("PTTL").key(&place.key)).await.unwrap();
        prop_assert!(ttl != -1, "it has no end");
    }
    Ok(())
}

/// What the server holds.
async fn kept(redis: &Redis, key: &Key) -> Option<Kept> {
    let fields: HashMap<String, String> = redis.run(Cmd::read("HGETALL").key(key)).await.unwrap();
    let number = |name: &str| fields.get(name).map(|text| text.parse::<u64>().unwrap());
    let kinds = [
        Kind::Closed,
        Kind::Open,
        Kind::HalfOpen,
        Kind::ForcedOpen,
        Kind::Disabled,
        Kind::MetricsOnly,
    ];
    let permits = fields.get("permits").map(|text| {
        let permits = text.split_terminator(';').map(|permit| permit.split_once(' ').unwrap());
        permits.map(|(name, until)| (name.parse().unwrap(), until.parse().unwrap())).collect()
    });
    let nodes = fields.iter().filter_map(|(field, text)| {
        let node = field.strip_prefix("n:")?;
        let words: Vec<u64> = text.split(' ').map(|word| word.parse().unwrap()).collect();
        let [at, votes, failures, of] = words[..] else { panic!("{text}") };
        Some((node.to_owned(), Node { at, votes: votes == 1, failures, of }))
    });
    Some(Kept {
        kind: kinds[usize::try_from(number("state")?).unwrap()],
        generation: number("generation").unwrap(),
        since: number("since").unwrap(),
        until: number("until").unwrap(),
        permits,
        successes: number("successes").map(|count| u32::try_from(count).unwrap()),
        counted: number("counted"),
        heard: number("heard"),
        swept: number("swept"),
        nodes: nodes.collect::<BTreeMap<_, _>>(),
    })
}

/// The seed is that of the run.
fn agrees(at: Topology, cases: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let url = at.url().await.unwrap();
        let redis = Redis::builder(&url).deadline(Duration::from_secs(10)).build().unwrap();
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&soak::seed().to_be_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let agreed = tokio::task::block_in_place(|| {
            let mut runner = TestRunner::new_with_rng(config, rng);
            runner.run(&(rules(), steps()), |(rules, steps)| {
                Handle::current().block_on(agree(&redis, 1_800_000_000_000_000, rules, steps))
            })
        });
        if let Err(failure) = agreed {
            panic!("{failure}");
        }
    });
}

#[test]
fn the_breakers_scripts_do_as_the_model() {
    agrees(Topology::Server, 150);
}

#[test]
fn the_breakers_scripts_do_as_the_model_under_sentinel() {
    agrees(Topology::Sentinel, 20);
}

#[test]
fn the_breakers_scripts_do_as_the_model_in_a_cluster() {
    agrees(Topology::Cluster, 20);
}

#[test]
#[ignore = "soak"]
fn soak_breaker_scripts_beside_model() {
    for at in Topology::ALL {
        agrees(at, 10_000);
    }
    let sizes = [("cases of each topology", 10_000)];
    soak::record("breaker_scripts_beside_model", "all topologies", &sizes, &[], &[]);
}
