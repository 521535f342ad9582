//! The scripts: their arguments as fields, their answers as enums.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Buf, Bytes};
use russet_core_conn::{Error, FromValue, Key, Redis, Script, ScriptCall, Value};
use smallvec::SmallVec;

use crate::rule::{Facts, Rule};
use crate::ticks::MILLI;

mod call;

static GCRA: LazyLock<Script> =
    LazyLock::new(|| Script::new("limit_gcra", include_str!("scripts/gcra.lua")));
static REFUND: LazyLock<Script> =
    LazyLock::new(|| Script::new("limit_refund", include_str!("scripts/refund.lua")));
static TOP_UP: LazyLock<Script> =
    LazyLock::new(|| Script::new("limit_top_up", include_str!("scripts/top_up.lua")));
static BLOCK: LazyLock<Script> =
    LazyLock::new(|| Script::new("limit_block", include_str!("scripts/block.lua")));
static ENTRIES: LazyLock<Script> =
    LazyLock::new(|| Script::new("limit_entries", include_str!("scripts/entries.lua")));
static RENEW: LazyLock<Script> =
    LazyLock::new(|| Script::new("limit_renew", include_str!("scripts/renew.lua")));
static NODES: LazyLock<Script> =
    LazyLock::new(|| Script::new("limit_nodes", include_str!("scripts/nodes.lua")));

/// What is done where the cost fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    All,
    Most,
    Force,
    Peek,
}

/// One level, as a script sees it.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) key: Key,
    pub(crate) what: What,
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Spend {
        rule: Rule,
        cost: u64,
        left: u64,
        id: u64,
    },
    /// Where more than this is spent in the window of a higher class, the next window's limit is that.
    Watch {
        ticks: u64,
        above: u64,
        limit: u64,
    },
    Block,
}

/// What a script has said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    /// How much was admitted with [`Mode::Most`], else 0 or 1.
    pub(crate) granted: u64,
    pub(crate) now: u64,
    /// Of each step.
    pub(crate) facts: SmallVec<[Facts; 4]>,
}

/// One decision over all of these, which share a slot; those from `counted` on stop nobody. One round trip.
pub(crate) async fn decide(
    redis: &Redis,
    mode: Mode,
    steps: &[&Step],
    counted: usize,
    time: Option<u64>,
) -> Result<Said, Error> {
    let lean = call::is_buckets(mode, steps, counted);
    let call = match call::alone(mode, steps, counted, time) {
        Some(call) => call,
        None if lean => call::buckets(steps, time),
        None => call::any(mode, steps, counted, time),
    };
    let mut answer: Packed = redis.script(call).await?;
    let (granted, now) = (answer.next()?, answer.next()?);
    if lean {
        return Ok(Said { granted, now, facts: call::of_buckets(&mut answer, steps.len())? });
    }
    let mut facts = SmallVec::new();
    for step in steps {
        let count = match &step.what {
            What::Spend { rule, .. } => rule.facts(),
            What::Watch { .. } | What::Block => 1,
        };
        let mut of = Facts::default();
        for fact in &mut of.0[..count] {
            *fact = answer.next()?;
        }
        facts.push(of);
    }
    Ok(Said { granted, now, facts })
}

/// What of a bucket is ahead, before what it spent: nothing if it did not fit.
pub(crate) async fn gcra(
    redis: &Redis,
    key: &Key,
    cost: u64,
    most: u64,
    kept: u64,
    time: Option<u64>,
) -> Result<(bool, u64), Error> {
    let call = set(GCRA.key(key).arg(cost).arg(most).arg(kept), time, false);
    let said: i64 = redis.script(call).await?;
    Ok(match u64::try_from(said) {
        Ok(after) => (true, after - cost.min(after)),
        Err(_) => (false, (said.unsigned_abs() + most).saturating_sub(cost)),
    })
}

/// What a step has spent, and can be given back.
#[derive(Debug, Clone)]
pub(crate) struct Receipt {
    pub(crate) key: Key,
    pub(crate) rule: Rule,
    pub(crate) spent: u64,
    pub(crate) id: u64,
    /// When it was, and what the script said then.
    pub(crate) now: u64,
    pub(crate) facts: Facts,
}

/// How much of that each has given back: a bucket in ticks, others in units.
pub(crate) async fn refund(
    redis: &Redis,
    receipts: &[(&Receipt, u64)],
    time: Option<u64>,
) -> Result<Vec<u64>, Error> {
    let mut call = receipts.iter().fold(REFUND.call(), |call, (receipt, _)| call.key(&receipt.key));
    call = set(call, time, true);
    for (receipt, units) in receipts {
        let Receipt { rule, spent, id, now, facts: Facts([first, second, _]), .. } = receipt;
        call = match *rule {
            Rule::Bucket { each, .. } | Rule::Queue { each, .. } => {
                let kind = if matches!(rule, Rule::Queue { .. }) { "q" } else { "g" };
                call.arg(kind).arg(units * each).arg(now + first + spent * each).arg(*second)
            }
            Rule::Window { .. } => call.arg("w").arg(*units).arg(*second),
            Rule::Counter { ticks, .. } => {
                call.arg("c").arg(*units).arg(now - now % ticks).arg(ticks)
            }
            Rule::Strict { part, .. } => call.arg("s").arg(*units).arg(now / part).arg(part),
            Rule::Log { .. } | Rule::Permits { .. } => {
                call.arg("z").arg(*units).arg(*spent).arg(name(*id))
            }
        };
    }
    let mut answer: Answer = redis.script(call).await?;
    receipts.iter().map(|_| answer.next()).collect()
}

/// Gives a bucket so many units, at most all.
pub(crate) async fn top_up(
    redis: &Redis,
    key: &Key,
    rule: &Rule,
    units: u64,
    time: Option<u64>,
) -> Result<u64, Error> {
    let call = TOP_UP.key(key);
    let (call, each) = match *rule {
        Rule::Window { ticks, refill, .. } => {
            (call.arg("w").arg(units).arg(rule.kept()).arg(ticks).arg(refill), 1)
        }
        Rule::Bucket { each, .. } | Rule::Queue { each, .. } => {
            let much = units.min(2 * rule.limit()) * each;
            (call.arg("g").arg(much).arg(rule.kept()).arg("").arg(""), each)
        }
        _ => return Ok(0),
    };
    let mut answer: Answer = redis.script(set(call, time, false)).await?;
    answer.next::<u64>().map(|given| given / each)
}

pub(crate) async fn block(
    redis: &Redis,
    key: &Key,
    ticks: u64,
    time: Option<u64>,
) -> Result<(), Error> {
    let call = BLOCK.key(key).arg(ticks.div_ceil(MILLI));
    redis.script::<Answer>(set(call, time, false)).await.map(|_| ())
}

/// What is held or logged: now, how many, and up to so many of them with their ends.
pub(crate) async fn entries(
    redis: &Redis,
    key: &Key,
    most: usize,
    time: Option<u64>,
) -> Result<(u64, u64, Vec<(String, u64)>), Error> {
    let call = ENTRIES.key(key).arg(most);
    let mut answer: Answer = redis.script(set(call, time, false)).await?;
    Ok((answer.next()?, answer.next()?, answer.next()?))
}

/// Whether they were still held.
pub(crate) async fn renew(
    redis: &Redis,
    receipt: &Receipt,
    time: Option<u64>,
) -> Result<bool, Error> {
    let call = RENEW.key(&receipt.key).arg(name(receipt.id)).arg(receipt.spent);
    let call = call.arg(receipt.rule.period()).arg(receipt.rule.kept());
    redis.script::<Answer>(set(call, time, false)).await.map(|answer| answer.status == 1)
}

/// Says that a node is there, for so long, and answers how many are.
pub(crate) async fn nodes(
    redis: &Redis,
    key: &Key,
    node: &str,
    there: Duration,
) -> Result<u32, Error> {
    let call = NODES.key(key).arg(node).arg(u64::try_from(there.as_millis()).unwrap_or(u64::MAX));
    redis.script::<Answer>(call.arg(10_000)).await?.next()
}

/// By which entries are known.
pub(crate) fn name(id: u64) -> String {
    format!("{id:016x}")
}

/// The time as an argument, in tests: an empty one elsewhere where others follow it.
fn set(call: ScriptCall<'_>, time: Option<u64>, followed: bool) -> ScriptCall<'_> {
    match time {
        Some(time) => call.arg(time),
        None if followed => call.arg(""),
        None => call,
    }
}

/// Numbers, packed as doubles: one value of the protocol, which costs both ends less than a table of as many.
struct Packed(Bytes);

impl Packed {
    fn next(&mut self) -> Result<u64, Error> {
        let Some((first, _)) = self.0.split_first_chunk() else {
            return u64::from_value(Value::Nil);
        };
        let number = f64::from_le_bytes(*first);
        self.0.advance(size_of::<f64>());
        Ok(number as u64)
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromValue for Packed {
    fn from_value(value: Value) -> Result<Self, Error> {
        Bytes::from_value(value).map(Self)
    }
}

/// A status, and what belongs to it.
pub(crate) struct Answer {
    pub(crate) status: i64,
    rest: std::vec::IntoIter<Value>,
}

impl Answer {
    pub(crate) fn next<T: FromValue>(&mut self) -> Result<T, Error> {
        T::from_value(self.rest.next().unwrap_or(Value::Nil))
    }
}

impl FromValue for Answer {
    fn from_value(value: Value) -> Result<Self, Error> {
        let mut answer = Self { status: 0, rest: Vec::from_value(value)?.into_iter() };
        answer.status = answer.next()?;
        Ok(answer)
    }
}
