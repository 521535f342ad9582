//! The scripts of write-behind.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use russet_core_conn::{Durability, Error, FromValue, Key, Redis, Script, ScriptCall, Value};

use super::Answer;
use crate::keys::{LANES, Lane};

static WRITE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("cache_behind_write", include_str!("../scripts/behind_write.lua"))
});
static TAKE: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_behind_take", include_str!("../scripts/behind_take.lua")));
static ACK: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_behind_ack", include_str!("../scripts/behind_ack.lua")));
static FAIL: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_behind_fail", include_str!("../scripts/behind_fail.lua")));
static REDRIVE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("cache_behind_redrive", include_str!("../scripts/behind_redrive.lua"))
});
static DISCARD: LazyLock<Script> = LazyLock::new(|| {
    Script::new("cache_behind_discard", include_str!("../scripts/behind_discard.lua"))
});
static DEAD: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_behind_dead", include_str!("../scripts/behind_dead.lua")));
static READ: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_behind_read", include_str!("../scripts/behind_read.lua")));
static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new("cache_behind_count", include_str!("../scripts/behind_count.lua"))
});
static ENLIST: LazyLock<Script> = LazyLock::new(|| {
    Script::new("cache_behind_enlist", include_str!("../scripts/behind_enlist.lua"))
});

/// Of a batch: what is larger than this together is several.
const MOST_BYTES: u64 = 8 << 20;

/// What is written of an entity, or pending of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Write {
    /// And the fields that were patched since.
    Put(Bytes, Vec<(Bytes, Bytes)>),
    Patch(Vec<(Bytes, Bytes)>),
    Delete,
}

/// The bounds of a lane, and who is told when there is a whole batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'a> {
    pub(crate) entities: u64,
    pub(crate) fields: u64,
    pub(crate) batch: u64,
    pub(crate) channel: &'a Key,
    pub(crate) lane: usize,
}

/// What was said to a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Full(u64),
    Version(u64),
    /// It patches what is being deleted.
    Gone,
    TooManyFields(u64),
}

/// What is to be committed of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) entity: Bytes,
    pub(crate) write: Write,
    pub(crate) version: u64,
    /// This version was given to somebody before.
    pub(crate) again: bool,
    pub(crate) tries: u32,
    pub(crate) name: Bytes,
}

/// One that could not be committed.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) entity: Bytes,
    pub(crate) version: u64,
    /// How often by now.
    pub(crate) tries: u32,
    /// `None`: nobody tries it any more.
    pub(crate) delay: Option<Duration>,
    pub(crate) reason: String,
}

/// One that nobody tries any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Corpse {
    pub(crate) entity: Bytes,
    pub(crate) version: u64,
    pub(crate) since: Duration,
    pub(crate) tries: u32,
    pub(crate) reason: String,
    pub(crate) name: Bytes,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) waiting: u64,
    pub(crate) retrying: u64,
    pub(crate) dead: u64,
    pub(crate) oldest: Duration,
    pub(crate) committed: u64,
    pub(crate) retries: u64,
}

/// Whoever asked is not the owner any more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Deposed;

/// A worker that is there, or goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Enlisted<'a> {
    pub(crate) workers: &'a Key,
    pub(crate) channel: &'a Key,
    pub(crate) worker: &'a str,
    /// For how long it counts as there; zero: it goes.
    pub(crate) ttl: Duration,
    /// A lane that it has given up.
    pub(crate) freed: Option<usize>,
    /// In µs, in tests.
    pub(crate) at: Option<u64>,
}

impl Enlisted<'_> {
    /// How many lanes are its share, and how many workers there are.
    pub(crate) async fn enlist(self, redis: &Redis) -> Result<(usize, usize), Error> {
        let Self { workers, channel, worker, ttl, freed, at } = self;
        let text = |number: Option<u64>| number.map_or_else(String::new, |n| n.to_string());
        let call = ENLIST.key(workers).arg(worker.to_owned()).arg(micros(ttl)).arg(LANES as u64);
        let call = call.arg(channel.to_bytes()).arg(text(freed.map(|lane| lane as u64)));
        // It is said again before long.
        let redis = redis.with_durability(Durability::Async);
        let mut answer: Answer = redis.script(call.arg(text(at))).await?;
        Ok((answer.next()?, answer.next()?))
    }
}

/// The scripts on one lane; `at`, in µs, is the time in tests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnLane<'a> {
    pub(crate) redis: &'a Redis,
    pub(crate) lane: &'a Lane,
    pub(crate) at: Option<u64>,
}

impl OnLane<'_> {
    fn time(&self) -> Bytes {
        self.at.map_or_else(Bytes::new, |at| at.to_string().into())
    }

    pub(crate) async fn write(
        &self,
        entity: &[u8],
        name: Bytes,
        write: Write,
        bounds: Bounds<'_>,
    ) -> Result<Said, Error> {
        let Lane { pending, fresh, retry, dead, .. } = self.lane;
        let (kind, value, fields) = match write {
            Write::Put(value, _) => ("put", value, Vec::new()),
            Write::Patch(fields) => ("patch", Bytes::new(), fields),
            Write::Delete => ("delete", Bytes::new(), Vec::new()),
        };
        let call = WRITE.key(pending).key(fresh).key(retry).key(dead);
        let call = call.arg(Bytes::copy_from_slice(entity)).arg(kind).arg(name).arg(value);
        let call = call.arg(bounds.entities).arg(bounds.fields).arg(bounds.batch);
        let call = call.arg(bounds.channel.to_bytes()).arg(bounds.lane as u64).arg(self.time());
        let call = call.args(fields.into_iter().flat_map(|(field, value)| [field, value]));
        self.redis.script(call).await
    }

    pub(crate) async fn take(
        &self,
        fence: u64,
        most: u64,
        patience: Duration,
    ) -> Result<Result<(Vec<Taken>, Option<Duration>), Deposed>, Error> {
        let Lane { pending, fresh, retry, .. } = self.lane;
        let call = TAKE.key(pending).key(fresh).key(retry).arg(fence).arg(most);
        let call = call.arg(micros(patience)).arg(MOST_BYTES).arg(self.time());
        let mut answer: Answer = self.redis.script(call).await?;
        if answer.status == 0 {
            return Ok(Err(Deposed));
        }
        let (items, left): (_, i64) = (answer.next()?, answer.next()?);
        Ok(Ok((items, u64::try_from(left).ok().map(Duration::from_micros))))
    }

    /// How many were removed.
    pub(crate) async fn ack(
        &self,
        fence: u64,
        committed: impl IntoIterator<Item = (Bytes, u64)>,
    ) -> Result<Result<u64, Deposed>, Error> {
        let Lane { pending, fresh, retry, dead, since } = self.lane;
        let call = ACK.key(pending).key(fresh).key(retry).key(dead).key(since);
        let call = call.arg(fence).arg(self.time());
        let one = |(entity, version): (Bytes, u64)| [entity, version.to_string().into()];
        self.owned(call.args(committed.into_iter().flat_map(one))).await
    }

    /// How many of them nobody tries any more.
    pub(crate) async fn fail(
        &self,
        fence: u64,
        failed: impl IntoIterator<Item = Failed>,
    ) -> Result<Result<u64, Deposed>, Error> {
        let Lane { pending, fresh, retry, dead, since } = self.lane;
        let call = FAIL.key(pending).key(fresh).key(retry).key(dead).key(since);
        let call = call.arg(fence).arg(self.time());
        let one = |failed: Failed| {
            let Failed { entity, version, tries, delay, reason } = failed;
            let delay = delay.map_or_else(|| "-1".to_owned(), |delay| micros(delay).to_string());
            let [version, tries] = [version, tries.into()].map(|n: u64| n.to_string().into());
            [entity, version, tries, delay.into(), reason.into()]
        };
        self.owned(call.args(failed.into_iter().flat_map(one))).await
    }

    async fn owned(&self, call: ScriptCall<'_>) -> Result<Result<u64, Deposed>, Error> {
        let mut answer: Answer = self.redis.script(call).await?;
        if answer.status == 0 { Ok(Err(Deposed)) } else { Ok(Ok(answer.next()?)) }
    }

    /// How many of them were dead.
    pub(crate) async fn redrive(
        &self,
        entities: impl IntoIterator<Item = Bytes>,
        (channel, lane): (&Key, usize),
    ) -> Result<u64, Error> {
        let Lane { pending, retry, dead, since, .. } = self.lane;
        let call = REDRIVE.key(pending).key(retry).key(dead).key(since).arg(self.time());
        let call = call.arg(channel.to_bytes()).arg(lane as u64);
        let mut answer: Answer = self.redis.script(call.args(entities)).await?;
        answer.next()
    }

    pub(crate) async fn discard(&self, entity: Bytes, version: u64) -> Result<bool, Error> {
        let Lane { pending, dead, .. } = self.lane;
        let call = DISCARD.key(pending).key(dead).arg(entity).arg(version);
        self.redis.script::<Answer>(call).await.map(|answer| answer.status == 1)
    }

    pub(crate) async fn dead(&self, most: u64) -> Result<Vec<Corpse>, Error> {
        let Lane { pending, dead, .. } = self.lane;
        let mut answer: Answer =
            self.redis.script(DEAD.key(pending).key(dead).arg(most.max(1))).await?;
        answer.next()
    }

    pub(crate) async fn read(&self, entity: &[u8]) -> Result<Option<(u64, Write)>, Error> {
        let call = READ.key(&self.lane.pending).arg(Bytes::copy_from_slice(entity));
        // There is nothing to wait for replicas for.
        let redis = self.redis.with_durability(Durability::Async);
        let mut answer: Answer = redis.script(call).await?;
        if answer.status == 0 {
            return Ok(None);
        }
        let (kind, version): (Bytes, u64) = (answer.next()?, answer.next()?);
        let (value, fields) = (answer.next()?, answer.next::<Vec<Bytes>>()?);
        Ok(Some((version, write(&kind, value, &fields)?)))
    }

    pub(crate) async fn count(&self) -> Result<Counted, Error> {
        let Lane { pending, fresh, retry, dead, since } = self.lane;
        let call = COUNT.key(pending).key(fresh).key(retry).key(dead).key(since);
        let call = call.arg(self.time());
        let mut answer: Answer = self.redis.script(call).await?;
        Ok(Counted {
            waiting: answer.next()?,
            retrying: answer.next()?,
            dead: answer.next()?,
            oldest: Duration::from_micros(answer.next()?),
            committed: answer.next()?,
            retries: answer.next()?,
        })
    }
}

fn write(kind: &[u8], value: Bytes, fields: &[Bytes]) -> Result<Write, Error> {
    let fields = fields.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
    match kind {
        b"put" => Ok(Write::Put(value, fields)),
        b"patch" => Ok(Write::Patch(fields)),
        b"delete" => Ok(Write::Delete),
        _ => Err(Error::unexpected("put, patch or delete", &Value::Nil)),
    }
}

impl FromValue for Said {
    fn from_value(value: Value) -> Result<Self, Error> {
        let mut answer = Answer::from_value(value)?;
        Ok(match answer.status {
            0 => Self::Full(answer.next()?),
            1 => Self::Version(answer.next()?),
            2 => Self::Gone,
            3 => Self::TooManyFields(answer.next()?),
            other => return Err(Error::unexpected("a status from 0 to 3", &Value::Int(other))),
        })
    }
}

impl FromValue for Taken {
    fn from_value(value: Value) -> Result<Self, Error> {
        let mut items = Vec::<Value>::from_value(value)?.into_iter();
        let mut next = || items.next().unwrap_or(Value::Nil);
        let (entity, kind) = (Bytes::from_value(next())?, Bytes::from_value(next())?);
        let (version, again) = (u64::from_value(next())?, bool::from_value(next())?);
        let (tries, name) = (u32::from_value(next())?, Bytes::from_value(next())?);
        let (value, fields) = (Bytes::from_value(next())?, Vec::from_value(next())?);
        let write = write(&kind, value, &fields)?;
        Ok(Self { entity, write, version, again, tries, name })
    }
}

impl FromValue for Corpse {
    fn from_value(value: Value) -> Result<Self, Error> {
        let mut items = Vec::<Value>::from_value(value)?.into_iter();
        let mut next = || items.next().unwrap_or(Value::Nil);
        Ok(Self {
            entity: Bytes::from_value(next())?,
            version: u64::from_value(next())?,
            since: Duration::from_micros(u64::from_value(next())?),
            tries: u32::from_value(next())?,
            reason: String::from_value(next())?,
            name: Bytes::from_value(next())?,
        })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
