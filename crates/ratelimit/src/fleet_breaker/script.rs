//! The scripts: their arguments as fields, their answers as enums.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use russet_core_conn::{Error, FromValue, Key, Redis, Script, ScriptCall, Value};

use crate::scripts::Answer;

static BEAT: LazyLock<Script> =
    LazyLock::new(|| Script::new("breaker_beat", include_str!("../scripts/breaker_beat.lua")));
static PROBE: LazyLock<Script> =
    LazyLock::new(|| Script::new("breaker_probe", include_str!("../scripts/breaker_probe.lua")));
static REPORT: LazyLock<Script> =
    LazyLock::new(|| Script::new("breaker_report", include_str!("../scripts/breaker_report.lua")));
static FORCE: LazyLock<Script> =
    LazyLock::new(|| Script::new("breaker_force", include_str!("../scripts/breaker_force.lua")));
static LEAVE: LazyLock<Script> =
    LazyLock::new(|| Script::new("breaker_leave", include_str!("../scripts/breaker_leave.lua")));
static STATUS: LazyLock<Script> =
    LazyLock::new(|| Script::new("breaker_status", include_str!("../scripts/breaker_status.lua")));

/// What the breaker is, as the hash has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Closed = 0,
    Open = 1,
    HalfOpen = 2,
    ForcedOpen = 3,
    Disabled = 4,
    MetricsOnly = 5,
}

/// How a probe ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Ending {
    Nothing = 0,
    Well = 1,
    Badly = 2,
}

/// What the scripts go by. Times are µs, but for the last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) open_for: u64,
    pub(super) probes: u32,
    /// A permit for a probe.
    pub(super) lasts: u64,
    pub(super) close_after: u32,
    /// How long a vote counts without a word from its node.
    pub(super) fresh: u64,
    /// How long a node does.
    pub(super) there: u64,
    /// How long nodes are counted before most of them can be told.
    pub(super) settling: u64,
    /// The most fields of the hash.
    pub(super) fields: u32,
    /// How long the hash is kept without a word, in ms.
    pub(super) kept: u64,
}

/// What a script says of the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Said {
    pub(super) kind: Kind,
    pub(super) generation: u64,
    /// µs since it is that.
    pub(super) age: u64,
    /// µs that it is open yet, or until a permit may be asked for again.
    pub(super) left: u64,
}

/// All that there is to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) said: Said,
    /// In µs since the epoch.
    pub(super) since: u64,
    pub(super) nodes: u64,
    pub(super) votes: u64,
    pub(super) failures: u64,
    pub(super) permits: u64,
    pub(super) successes: u64,
}

/// What a node says with a beat.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beat<'a> {
    pub(super) node: &'a str,
    pub(super) known: u64,
    pub(super) votes: bool,
    pub(super) failures: u64,
    /// A generation, for what the breaker becomes.
    pub(super) drawn: u64,
}

/// A generation or a permit: a number that nobody else has drawn. Zero is nobody's.
pub(super) fn draw() -> u64 {
    rand::random_range(1..=i64::MAX.unsigned_abs())
}

/// Where a breaker is kept.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) key: Key,
    pub(super) channel: Key,
    /// The server's, in µs; given in tests only, else empty.
    pub(super) time: Bytes,
}

impl Place {
    pub(super) async fn beat(
        &self,
        redis: &Redis,
        beat: Beat<'_>,
        rules: &Rules,
    ) -> Result<Said, Error> {
        let call = BEAT.key(&self.key).arg(beat.node).arg(beat.known).arg(u8::from(beat.votes));
        let call = call.arg(beat.failures).arg(beat.drawn).arg(self.channel.to_bytes());
        let call = call.arg(rules.open_for).arg(rules.fresh).arg(rules.there).arg(rules.settling);
        redis.script(call.arg(rules.fields).arg(rules.kept).arg(self.time.clone())).await
    }

    /// What is said, and whether the permit is given; `None` where nobody knows the breaker.
    pub(super) async fn probe(
        &self,
        redis: &Redis,
        permit: u64,
        drawn: u64,
        rules: &Rules,
    ) -> Result<Option<(Said, bool)>, Error> {
        let call = PROBE.key(&self.key).arg(permit).arg(drawn).arg(self.channel.to_bytes());
        let call = call.arg(rules.probes).arg(rules.lasts).arg(rules.kept);
        judged(redis, call.arg(self.time.clone())).await
    }

    /// What is said, and whether it counted; `None` where nobody knows the breaker.
    pub(super) async fn report(
        &self,
        redis: &Redis,
        permit: u64,
        ending: Ending,
        drawn: u64,
        rules: &Rules,
    ) -> Result<Option<(Said, bool)>, Error> {
        let call = REPORT.key(&self.key).arg(permit).arg(ending as u8).arg(drawn);
        let call = call.arg(self.channel.to_bytes()).arg(rules.close_after).arg(rules.open_for);
        judged(redis, call.arg(rules.kept).arg(self.time.clone())).await
    }

    pub(super) async fn force(
        &self,
        redis: &Redis,
        kind: Kind,
        drawn: u64,
        rules: &Rules,
    ) -> Result<Said, Error> {
        let call = FORCE.key(&self.key).arg(kind as u8).arg(drawn).arg(self.channel.to_bytes());
        redis.script(call.arg(rules.kept).arg(self.time.clone())).await
    }

    pub(super) async fn leave(&self, redis: &Redis, node: &str) -> Result<bool, Error> {
        redis.script::<Answer>(LEAVE.key(&self.key).arg(node)).await.map(|gone| gone.status == 1)
    }

    /// `None` where nobody knows the breaker.
    pub(super) async fn status(
        &self,
        redis: &Redis,
        rules: &Rules,
    ) -> Result<Option<Status>, Error> {
        let call = STATUS.key(&self.key).arg(rules.fresh).arg(rules.there);
        redis.script::<Answer>(call.arg(self.time.clone())).await.and_then(status)
    }
}

async fn judged(redis: &Redis, call: ScriptCall<'_>) -> Result<Option<(Said, bool)>, Error> {
    redis.script::<Answer>(call).await.and_then(judgement)
}

fn judgement(mut answer: Answer) -> Result<Option<(Said, bool)>, Error> {
    if answer.status < 0 {
        return Ok(None);
    }
    let said = Said::of(&mut answer)?;
    Ok(Some((said, answer.next::<i64>()? == 1)))
}

fn status(mut answer: Answer) -> Result<Option<Status>, Error> {
    if answer.status < 0 {
        return Ok(None);
    }
    Ok(Some(Status {
        said: Said::of(&mut answer)?,
        since: answer.next()?,
        nodes: answer.next()?,
        votes: answer.next()?,
        failures: answer.next()?,
        permits: answer.next()?,
        successes: answer.next()?,
    }))
}

impl Said {
    fn of(answer: &mut Answer) -> Result<Self, Error> {
        let kind = match answer.status {
            0 => Kind::Closed,
            1 => Kind::Open,
            2 => Kind::HalfOpen,
            3 => Kind::ForcedOpen,
            4 => Kind::Disabled,
            5 => Kind::MetricsOnly,
            other => return Err(Error::unexpected("a state from 0 to 5", &Value::Int(other))),
        };
        Ok(Self { kind, generation: answer.next()?, age: answer.next()?, left: answer.next()? })
    }
}

impl FromValue for Said {
    fn from_value(value: Value) -> Result<Self, Error> {
        Self::of(&mut Answer::from_value(value)?)
    }
}

/// In whole microseconds, not less.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX)
}
