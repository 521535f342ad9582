//! The scripts beside the model, over what can be called in any order, at times that the test makes.
//!
//! Their text is sent with `property/clock.lua` before it: so the last argument is the time, and time to live goes by that,
//! too. On the server nothing of it is needed.

use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestRng, TestRunner};
use russet_core_conn::{Cmd, Key, Redis, Script};
use russet_testkit::{shared, soak};
use tokio::runtime::Handle;

use super::{Bounds, Model, Time};
use crate::scripts::journal::JournalKeys;

mod entry;
mod journal;
mod outcome;
mod step;

use step::{Call, Step, steps};

macro_rules! scripts {
    ($($name:ident = $file:literal),* $(,)?) => {
        $(static $name: LazyLock<Script> = LazyLock::new(|| timed(include_str!(concat!("../scripts/", $file, ".lua"))));)*
    };
}

scripts! {
    READ = "read",
    CLAIM = "claim",
    FILL = "fill",
    RENEW = "renew",
    RELEASE = "release",
    SEIZE = "seize",
    UPDATE = "update",
    EXPIRE = "expire",
    WRITE = "journal_write",
    SINCE = "journal_read",
    TAGS = "journal_tags",
}

/// What a key whose time is over does on a server.
static END: LazyLock<Script> =
    LazyLock::new(|| Script::new("end", include_str!("property/end.lua")));

/// The script, with its time made by the test. A first line with flags stays the first.
fn timed(text: &str) -> Script {
    const CLOCK: &str = include_str!("property/clock.lua");
    let (first, rest) = match text.starts_with("#!") {
        true => text.split_once('\n').unwrap_or((text, "")),
        false => ("", text),
    };
    Script::new("timed", format!("{first}\n{CLOCK}\n{rest}").trim_start())
}

/// The servers' side of it.
struct Real {
    redis: Redis,
    entries: [Key; 2],
    channel: Key,
    journal: JournalKeys,
}

/// Where the time begins, in µs: what is left behind on the server ends after it.
async fn beginning(redis: &Redis) -> u64 {
    let (seconds, _): (u64, u64) = redis.run(Cmd::read("TIME")).await.unwrap();
    (seconds + 600) * 1_000_000
}

impl Real {
    fn new(redis: &Redis) -> Self {
        let prefix = shared::prefix("model");
        let key = |name: &str| Key::raw(format!("{{{prefix}}}:{name}"));
        Self {
            redis: redis.clone(),
            entries: [key("a"), key("b")],
            channel: key("woken"),
            journal: JournalKeys {
                keys: [key("journal"), key("tags"), key("log")],
                channel: key("told"),
            },
        }
    }

    async fn run<T: russet_core_conn::FromValue>(&self, cmd: Cmd) -> T {
        self.redis.run(cmd).await.unwrap()
    }

    /// A key whose time is over is not there.
    async fn end(&self, key: &Key, now: Time) {
        let _: u64 = self.redis.script(END.key(key).arg(now.0)).await.unwrap();
    }
}

fn same<T: PartialEq + std::fmt::Debug>(model: &T, real: &T) -> TestCaseResult {
    prop_assert_eq!(model, real, "the model, and the server");
    Ok(())
}

/// Small ones, so that they are met.
const BOUNDS: Bounds = Bounds { log: 10_000, tags: 3 };

async fn agree(redis: &Redis, beginning: u64, steps: Vec<Step>) -> TestCaseResult {
    let (real, mut model, mut now) = (Real::new(redis), Model::default(), Time(beginning));
    let mut places = vec![(0, 0)];
    for (number, Step { after, call }) in steps.into_iter().enumerate() {
        now.0 += after;
        let incarnation = 1 + number as u64;
        match call {
            Call::Entry(key, call) => {
                real.end(&real.entries[key], now).await;
                let key = &real.entries[key];
                entry::agree(&real, &mut model, now, key, call).await?;
                same(&model.get(now, key), &real.run(Cmd::read("GET").key(key)).await)?;
            }
            Call::Write(what, of) => {
                let place = journal::write(&real, &mut model, now, incarnation, what, &of).await?;
                places.push(place);
            }
            Call::Since(place, most) => {
                let known = *place.get(&places);
                let place = journal::read(&real, &mut model, now, incarnation, known, most).await?;
                places.push(place);
            }
            Call::Tags(tags) => journal::tags(&real, &model, now, &tags).await?,
            Call::LoseJournal => {
                model.lose_journal(&real.journal);
                let _: u64 = real.run(Cmd::idempotent("UNLINK").key(&real.journal.keys[0])).await;
            }
            Call::LoseLog(left) => {
                model.lose_log(&real.journal, left);
                let trim = Cmd::idempotent("XTRIM").key(&real.journal.keys[2]);
                let _: u64 = real.run(trim.arg("MAXLEN").arg(left)).await;
            }
        }
    }
    outcome::agree(&real, &mut model, now).await
}

/// The seed is that of the run.
fn agrees(cases: u32) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let url = shared::url().await.unwrap();
        let redis = Redis::builder(&url).deadline(Duration::from_secs(10)).build().unwrap();
        let beginning = beginning(&redis).await;
        let config = Config { cases, failure_persistence: None, ..Config::default() };
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&soak::seed().to_be_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let agreed = tokio::task::block_in_place(|| {
            let mut runner = TestRunner::new_with_rng(config, rng);
            runner.run(&steps(40), |steps| {
                Handle::current().block_on(agree(&redis, beginning, steps))
            })
        });
        if let Err(failure) = agreed {
            panic!("{failure}");
        }
    });
}

#[test]
fn the_scripts_do_as_the_model() {
    agrees(300);
}

#[test]
#[ignore = "soak"]
fn soak_scripts_beside_model() {
    agrees(10_000);
    soak::record("cache_scripts_beside_model", "one server", &[("cases", 10_000)], &[], &[]);
}
