//! The scripts do what the model does.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use russet_core_conn::{Cmd, Key, KeySpace, Redis};

use super::model::{self, Given, Op, Place};
use crate::keys;
use crate::scripts::behind::{Bounds, Corpse, Enlisted, Failed, OnLane, Said, Taken, Write};

const MOST: u64 = 5;
const FIELDS: u64 = 4;
const BATCH: u64 = 3;

#[derive(Debug, Clone)]
enum Step {
    Write(u8, Op),
    /// By an owner of this fencing number, with so much patience; what it had before is forgotten.
    Take(u64, u64),
    /// So many of those that it was given.
    Ack(u64, usize),
    Fail(u64, usize, Option<u64>),
    /// Of all entities these.
    Redrive(Vec<u8>),
    Discard(u8),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fields = || btree_map(0..6_u8, any::<u8>(), 0..4);
    let write = prop_oneof![
        3 => any::<u8>().prop_map(|value| Op::Put(value, BTreeMap::new())),
        4 => fields().prop_map(Op::Patch),
        1 => Just(Op::Delete),
    ];
    let fence = || 1..4_u64;
    let step = prop_oneof![
        8 => (0..8_u8, write).prop_map(|(entity, op)| Step::Write(entity, op)),
        5 => (fence(), prop_oneof![Just(0), Just(20)]).prop_map(|(f, p)| Step::Take(f, p)),
        3 => (fence(), 0..4_usize).prop_map(|(fence, count)| Step::Ack(fence, count)),
        4 => (fence(), 0..4_usize, prop_oneof![Just(None), (0..30_u64).prop_map(Some)])
            .prop_map(|(fence, count, delay)| Step::Fail(fence, count, delay)),
        2 => vec(0..8_u8, 1..4).prop_map(Step::Redrive),
        1 => (0..8_u8).prop_map(Step::Discard),
        2 => (0..40_u64).prop_map(Step::Wait),
    ];
    vec(step, 1..80)
}

fn entity(number: u8) -> Bytes {
    format!(":kind:{number}").into()
}

fn fields(fields: &BTreeMap<u8, u8>) -> Vec<(Bytes, Bytes)> {
    // Bytes that are no text, and an empty name's neighbour.
    let bytes = |value: u8| Bytes::copy_from_slice(&[value, 0, 255]);
    fields.iter().map(|(field, value)| (format!("f{field}").into(), bytes(*value))).collect()
}

fn write(op: &Op) -> Write {
    match op {
        Op::Put(value, patched) => {
            Write::Put(Bytes::copy_from_slice(&[*value, 0, 200]), fields(patched))
        }
        Op::Patch(patched) => Write::Patch(fields(patched)),
        Op::Delete => Write::Delete,
    }
}

/// Fields stand in the order in which they were first written: that says nothing.
fn sorted(mut write: Write) -> Write {
    if let Write::Put(_, fields) | Write::Patch(fields) = &mut write {
        fields.sort();
    }
    write
}

struct Lane<'a> {
    redis: &'a Redis,
    lane: &'a keys::Lane,
    channel: Key,
    model: model::Lane,
    given: BTreeMap<u64, Vec<Given>>,
    now: u64,
}

impl<'a> Lane<'a> {
    fn on(&self) -> OnLane<'a> {
        OnLane { redis: self.redis, lane: self.lane, at: Some(self.now) }
    }

    async fn step(&mut self, step: &Step) {
        self.now += 1;
        let (on, now) = (self.on(), self.now);
        match step {
            Step::Wait(time) => self.now += time,
            Step::Write(number, op) => {
                let (name, channel) = (Bytes::copy_from_slice(&[*number]), &self.channel);
                let bounds =
                    Bounds { entities: MOST, fields: FIELDS, batch: BATCH, channel, lane: 3 };
                let said = on.write(&entity(*number), name, write(op), bounds).await.unwrap();
                assert_eq!(said, self.model.write(*number, op.clone(), [MOST, FIELDS], now));
                if let Said::Version(version) = said {
                    assert!(version >= now);
                }
            }
            Step::Take(fence, patience) => {
                let time = Duration::from_micros(*patience);
                let taken = on.take(*fence, BATCH, time).await.unwrap();
                #[expect(clippy::cast_possible_truncation, reason = "three")]
                let given = self.model.take(*fence, BATCH as usize, *patience, now);
                let taken = taken.ok().map(|(taken, left)| {
                    let sort = |taken: Taken| Taken { write: sorted(taken.write), ..taken };
                    (taken.into_iter().map(sort).collect::<Vec<_>>(), left)
                });
                let expected = given.clone().map(|(given, left)| {
                    let all = given.into_iter().map(|(number, op, version, again, tries)| Taken {
                        entity: entity(number),
                        write: write(&op),
                        version,
                        again,
                        tries,
                        name: Bytes::copy_from_slice(&[number]),
                    });
                    (all.collect(), left.map(Duration::from_micros))
                });
                assert_eq!(taken, expected);
                self.given.insert(*fence, given.map_or_else(Vec::new, |(given, _)| given));
            }
            Step::Ack(fence, count) => {
                let given = some(&self.given, *fence, *count);
                let committed =
                    given.iter().map(|(number, _, version, ..)| (entity(*number), *version));
                let acknowledged = on.ack(*fence, committed.collect::<Vec<_>>()).await.unwrap();
                assert_eq!(acknowledged.ok(), self.model.ack(*fence, &given, now));
            }
            Step::Fail(fence, count, delay) => {
                let given = some(&self.given, *fence, *count);
                let failed = given.iter().map(|(number, _, version, _, tries)| Failed {
                    entity: entity(*number),
                    version: *version,
                    tries: tries + 1,
                    delay: delay.map(Duration::from_micros),
                    reason: "why".into(),
                });
                let failed = on.fail(*fence, failed.collect::<Vec<_>>()).await.unwrap();
                assert_eq!(failed.ok(), self.model.fail(*fence, &given, *delay, now));
            }
            Step::Redrive(numbers) => {
                let entities = numbers.iter().map(|number| entity(*number)).collect::<Vec<_>>();
                let revived = on.redrive(entities, (&self.channel, 3)).await.unwrap();
                assert_eq!(revived, self.model.redrive(numbers, now));
            }
            Step::Discard(number) => {
                let version = self.model.entities.get(number).map_or(1, |state| state.version);
                for version in [version - 1, version] {
                    let discarded = on.discard(entity(*number), version).await.unwrap();
                    assert_eq!(discarded, self.model.discard(*number, version));
                }
            }
        }
    }

    /// All that is there is the same.
    async fn compare(&self) {
        let on = self.on();
        for number in 0..8 {
            let found = on.read(&entity(number)).await.unwrap();
            let expected = self.model.entities.get(&number);
            let expected = expected.map(|state| (state.version, write(&state.op)));
            assert_eq!(found.map(|(version, write)| (version, sorted(write))), expected);
        }
        let counted = on.count().await.unwrap();
        let count = |is: fn(Place) -> bool| {
            self.model.entities.values().filter(|state| is(state.place)).count() as u64
        };
        assert_eq!(counted.waiting, count(|place| matches!(place, Place::Fresh(_))));
        assert_eq!(counted.retrying, count(|place| matches!(place, Place::Retry(_))));
        assert_eq!(counted.dead, count(|place| matches!(place, Place::Dead(_))));
        let waiting =
            self.model.entities.values().filter(|state| !matches!(state.place, Place::Dead(_)));
        let oldest = waiting.map(|state| self.now - state.first).max().unwrap_or(0);
        assert_eq!(counted.oldest, Duration::from_micros(oldest));
        let counts = (self.model.committed, self.model.retries);
        assert_eq!((counted.committed, counted.retries), counts);
        let mut dead: Vec<_> = self.model.entities.iter().collect();
        dead.retain(|(_, state)| matches!(state.place, Place::Dead(_)));
        dead.sort_by_key(|(number, state)| (state.place, **number));
        let found = on.dead(10).await.unwrap();
        let found: Vec<_> = found
            .into_iter()
            .map(|Corpse { entity, version, tries, reason, .. }| (entity, version, tries, reason))
            .collect();
        let dead = dead
            .into_iter()
            .map(|(number, state)| (entity(*number), state.version, state.tries, "why".to_owned()));
        assert_eq!(found, dead.collect::<Vec<_>>());
    }
}

fn some(given: &BTreeMap<u64, Vec<Given>>, fence: u64, count: usize) -> Vec<Given> {
    given.get(&fence).into_iter().flatten().take(count).cloned().collect()
}

#[test]
fn the_scripts_do_what_the_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (redis, space) = runtime.block_on(async {
        let url = russet_testkit::shared::url().await.unwrap();
        let redis = Redis::builder(&url).deadline(Duration::from_secs(10)).build().unwrap();
        (redis, KeySpace::new(russet_testkit::shared::prefix("behind-model")).unwrap())
    });
    let config = Config { cases: 100, failure_persistence: None, ..Config::default() };
    let lane = keys::Lane::of(&space, "model", 3);
    let run = TestRunner::new(config).run(&steps(), |steps| {
        runtime.block_on(async {
            let keys = [&lane.pending, &lane.fresh, &lane.retry, &lane.dead, &lane.since];
            let cleared = keys.map(|key| Cmd::idempotent("UNLINK").key(key));
            for reply in redis.pipeline(cleared).await {
                reply.unwrap();
            }
            let mut lane = Lane {
                redis: &redis,
                lane: &lane,
                channel: keys::Lane::channel(&space, "model"),
                model: model::Lane::default(),
                given: BTreeMap::new(),
                now: 1_000,
            };
            for step in &steps {
                lane.step(step).await;
            }
            lane.compare().await;
        });
        Ok(())
    });
    run.unwrap();
}

#[tokio::test]
async fn the_shares_of_all_workers_are_all_lanes() {
    let url = russet_testkit::shared::url().await.unwrap();
    let redis = Redis::builder(&url).deadline(Duration::from_secs(10)).build().unwrap();
    let space = KeySpace::new(russet_testkit::shared::prefix("behind-shares")).unwrap();
    let (workers, channel) =
        (keys::Lane::workers(&space, "model"), keys::Lane::channel(&space, "model"));
    let (workers, channel) = (&workers, &channel);
    let at = async |worker: usize, ttl: u64, at: u64| {
        let (worker, ttl) = (&*format!("{:x}", worker * 7 % 23), Duration::from_micros(ttl));
        let one = Enlisted { workers, channel, worker, ttl, freed: None, at: Some(at) };
        one.enlist(&redis).await.unwrap()
    };
    let all = async |time: u64, workers: std::ops::Range<usize>| {
        let mut shares = Vec::new();
        for worker in workers.clone() {
            let (share, count) = at(worker, 1_000_000, time).await;
            assert_eq!(count, workers.len());
            shares.push(share);
        }
        shares.sort_unstable();
        assert_eq!(shares.iter().sum::<usize>(), keys::LANES, "{shares:?}");
        assert!(shares[shares.len() - 1] - shares[0] <= 1, "{shares:?}");
    };
    for count in 1..=20 {
        assert_eq!(at(count - 1, 1_000_000, 0).await.1, count);
        all(0, 0..count).await;
    }
    // They go, and then all but one are not heard of for as long as they said.
    for worker in 5..20 {
        assert_eq!(at(worker, 0, 500_000).await.0, 0);
    }
    all(500_000, 0..5).await;
    all(1_499_999, 0..5).await;
    assert_eq!(at(4, 1_000_000, 2_499_998).await.1, 5);
    assert_eq!(at(4, 1_000_000, 2_499_999).await, (16, 1));
}
