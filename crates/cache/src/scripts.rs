//! The scripts of an entry: their arguments as fields, their answers as enums.

pub(crate) mod access;
pub(crate) mod behind;
pub(crate) mod journal;

use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use russet_core_conn::{Error, FromValue, Key, Script, ScriptCall, Value};

use crate::seal::Seal;
use crate::store::Store;

static CLAIM: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_claim", include_str!("scripts/claim.lua")));
static READ: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_read", include_str!("scripts/read.lua")));
static FILL: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_fill", include_str!("scripts/fill.lua")));
static RENEW: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_renew", include_str!("scripts/renew.lua")));
static RELEASE: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_release", include_str!("scripts/release.lua")));
static SEIZE: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_seize", include_str!("scripts/seize.lua")));
static UPDATE: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_update", include_str!("scripts/update.lua")));
static EXPIRE: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_expire", include_str!("scripts/expire.lua")));

/// Proves who has the lease on an entry: 64 random bits, drawn for each claim.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Token(pub(crate) Bytes);

impl Token {
    pub(crate) fn draw() -> Self {
        // Zero is nobody's.
        Self(Bytes::copy_from_slice(&rand::random_range(1..=u64::MAX).to_be_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Why what is there is not to be believed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Bad {
    #[default]
    Nothing,
    /// This payload can't be read.
    Unreadable(Bytes),
    /// What has this seal is invalid.
    Invalid(Bytes),
    /// It is no string.
    Type,
}

impl Bad {
    pub(crate) fn to_arg(&self) -> Bytes {
        match self {
            Self::Nothing => Bytes::new(),
            Self::Unreadable(payload) => [&b"="[..], payload].concat().into(),
            Self::Invalid(seal) => [&b"^"[..], seal].concat().into(),
            Self::Type => Bytes::from_static(b"type"),
        }
    }
}

/// When an entry that is fresh is due for a refresh.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Due {
    /// The share of its time to live that is left then, in thousandths.
    pub(crate) ahead: u64,
    /// The load took so many thousandths of what is left.
    pub(crate) roll: u64,
}

impl Due {
    /// However much of its time is left.
    pub(crate) const NOW: Self = Self { ahead: 1_000, roll: 0 };
}

/// How long what is fresh stays so, and what of its time is known where it keeps that itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Times {
    pub(crate) left: Duration,
    /// Its whole time to live; zero: nothing is known.
    pub(crate) ttl: Duration,
    /// How long it took to load.
    pub(crate) took: Duration,
}

/// What was said to a claim.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Claimed {
    Fresh {
        payload: Bytes,
        times: Times,
    },
    /// Fresh, and to be refreshed by whoever asked.
    Due {
        payload: Bytes,
    },
    /// The lease is whoever asked's.
    Leads {
        stale: Option<Bytes>,
    },
    /// It is another's for so long.
    Waits {
        stale: Option<Bytes>,
        left: Duration,
    },
    /// The last load failed, and nobody may try again so soon.
    Rests {
        stale: Bytes,
    },
}

pub(crate) async fn claim(
    redis: &Store,
    key: &Key,
    token: &Token,
    lease: Duration,
    due: Due,
    bad: &Bad,
) -> Result<Claimed, Error> {
    let call = CLAIM.key(key).arg(token.0.clone()).arg(millis(lease));
    redis.script(call.arg(due.ahead).arg(due.roll).arg(bad.to_arg())).await
}

impl FromValue for Claimed {
    fn from_value(value: Value) -> Result<Self, Error> {
        let mut answer = Answer::from_value(value)?;
        Ok(match answer.status {
            0 => {
                let payload = answer.next()?;
                let [left, ttl, took] = [answer.time()?, answer.time()?, answer.time()?];
                Self::Fresh { payload, times: Times { left, ttl, took } }
            }
            1 => Self::Due { payload: answer.next()? },
            2 => Self::Leads { stale: None },
            3 => Self::Leads { stale: Some(answer.next()?) },
            4 => Self::Waits { stale: None, left: answer.time()? },
            5 => Self::Waits { stale: Some(answer.next()?), left: answer.time()? },
            6 => Self::Rests { stale: answer.next()? },
            other => return Err(Error::unexpected("a status from 0 to 6", &Value::Int(other))),
        })
    }
}

/// An entry as it stands.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    Fresh(Bytes),
    Stale(Bytes),
    Not,
}

pub(crate) async fn read(redis: &Store, key: &Key) -> Result<Stands, Error> {
    redis.script(READ.key(key)).await
}

impl FromValue for Stands {
    fn from_value(value: Value) -> Result<Self, Error> {
        let mut answer = Answer::from_value(value)?;
        Ok(match answer.status {
            0 => Self::Fresh(answer.next()?),
            1 => Self::Stale(answer.next()?),
            2 => Self::Not,
            other => return Err(Error::unexpected("a status from 0 to 2", &Value::Int(other))),
        })
    }
}

/// What is written, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Fill {
    pub(crate) payload: Bytes,
    /// What the payload begins with.
    pub(crate) seal: Option<Seal>,
    pub(crate) ttl: Duration,
    pub(crate) grace: Duration,
    /// Whether it keeps its own times.
    pub(crate) timed: bool,
    /// How long it took to load.
    pub(crate) took: Duration,
}

impl Fill {
    /// As a claim tells them of it right after.
    pub(crate) fn times(&self) -> Times {
        let own = |time| if self.timed { time } else { Duration::ZERO };
        Times { left: self.ttl, ttl: own(self.ttl), took: own(self.took) }
    }
}

/// Whether it was written: not, if the lease on it is gone.
pub(crate) async fn fill(
    redis: &Store,
    key: &Key,
    token: Option<&Token>,
    fill: Fill,
    channel: &Key,
) -> Result<bool, Error> {
    let call = FILL.key(key).arg(token.map_or_else(Bytes::new, |token| token.0.clone()));
    let call = call.arg(fill.payload).arg(millis(fill.ttl)).arg(millis(fill.grace));
    let took = millis(fill.took).min(u64::from(u32::MAX));
    let call = call.arg(u8::from(fill.timed)).arg(took).arg(channel.to_bytes());
    yes(redis, call).await
}

/// Whether the lease still stands.
pub(crate) async fn renew(
    redis: &Store,
    key: &Key,
    token: &Token,
    lease: Duration,
) -> Result<bool, Error> {
    let call = RENEW.key(key).arg(token.0.clone()).arg(millis(lease));
    yes(redis, call).await
}

pub(crate) async fn release(
    redis: &Store,
    key: &Key,
    token: &Token,
    pause: Duration,
    channel: &Key,
) -> Result<bool, Error> {
    let call = RELEASE.key(key).arg(token.0.clone()).arg(millis(pause)).arg(channel.to_bytes());
    yes(redis, call).await
}

/// The lease, whoever has it.
pub(crate) async fn seize(
    redis: &Store,
    key: &Key,
    token: &Token,
    lease: Duration,
) -> Result<bool, Error> {
    yes(redis, SEIZE.key(key).arg(token.0.clone()).arg(millis(lease))).await
}

/// Whether it was written: only over one that is older.
pub(crate) async fn update(
    redis: &Store,
    key: &Key,
    version: u64,
    fill: Fill,
    channel: &Key,
) -> Result<bool, Error> {
    let call = UPDATE.key(key).arg(version.to_be_bytes().to_vec()).arg(fill.payload);
    let call = call.arg(millis(fill.ttl)).arg(millis(fill.grace)).arg(u8::from(fill.timed));
    yes(redis, call.arg(channel.to_bytes())).await
}

/// Whether there was anything.
pub(crate) async fn expire(redis: &Store, key: &Key) -> Result<bool, Error> {
    yes(redis, EXPIRE.key(key)).await
}

async fn yes(redis: &Store, call: ScriptCall<'_>) -> Result<bool, Error> {
    redis.script::<Answer>(call).await.map(|answer| answer.status == 1)
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

    fn time(&mut self) -> Result<Duration, Error> {
        self.next().map(Duration::from_millis)
    }
}

impl FromValue for Answer {
    fn from_value(value: Value) -> Result<Self, Error> {
        let mut answer = Self { status: 0, rest: Vec::from_value(value)?.into_iter() };
        answer.status = answer.next()?;
        Ok(answer)
    }
}

/// In whole milliseconds, not less.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
