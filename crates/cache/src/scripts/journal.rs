//! The scripts of the journal.

use std::sync::LazyLock;

use bytes::Bytes;
use russet_core_conn::{Error, FromValue, Key, Script, ScriptCall, Value};

use super::Answer;
use crate::invalidation::What;
use crate::journal::MOST_TAGS;
use crate::keys::Keys;
use crate::store::Store;

static WRITE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("cache_journal_write", include_str!("../scripts/journal_write.lua"))
});
static READ: LazyLock<Script> = LazyLock::new(|| {
    Script::new("cache_journal_read", include_str!("../scripts/journal_read.lua"))
});
static TAGS: LazyLock<Script> = LazyLock::new(|| {
    Script::new("cache_journal_tags", include_str!("../scripts/journal_tags.lua"))
});

/// How many invalidations the log holds at least: who has not asked for longer starts anew.
const LOG: usize = 10_000;

/// How many are read at once.
const PIECE: usize = 500;

/// How many keys or tags one of them is about, so that the log has its bound in bytes, too.
pub(crate) const MOST_OF_ONE: usize = 100;

/// Where the journal lies, and where it is told of.
#[derive(Debug)]
pub(crate) struct JournalKeys {
    /// Its state, the tags, the log.
    pub(crate) keys: [Key; 3],
    pub(crate) channel: Key,
}

/// The journal as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) incarnation: u64,
    pub(crate) version: u64,
    pub(crate) floor: u64,
    pub(crate) forgotten: u64,
}

/// One invalidation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) version: u64,
    pub(crate) by: Bytes,
    pub(crate) what: What,
    pub(crate) of: Vec<Bytes>,
}

/// Where something was told.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Written {
    pub(crate) incarnation: u64,
    pub(crate) version: u64,
    /// The one before it.
    pub(crate) before: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Since {
    /// What came after what was known, or its beginning; `None`: that is not known.
    pub(crate) entries: Option<Vec<Entry>>,
    pub(crate) state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Tags {
    /// 0 where there is no journal.
    pub(crate) incarnation: u64,
    pub(crate) forgotten: u64,
    pub(crate) versions: Vec<u64>,
}

impl JournalKeys {
    pub(crate) fn of(keys: &Keys) -> Self {
        Self { keys: keys.journal(), channel: keys.journal_channel() }
    }

    /// Tells everybody.
    pub(crate) async fn write(
        &self,
        redis: &Store,
        by: &Bytes,
        what: What,
        of: &[Bytes],
    ) -> Result<Written, Error> {
        let call = self.call(&WRITE).arg(incarnation()).arg(LOG).arg(MOST_TAGS);
        let call = call.arg(self.channel.to_bytes()).arg(by.clone()).arg(what.word());
        let mut answer: Answer = redis.script(call.args(of.iter().cloned())).await?;
        let (incarnation, version) = (answer.next()?, answer.next()?);
        Ok(Written { incarnation, version, before: answer.next()? })
    }

    pub(crate) async fn since(
        &self,
        redis: &Store,
        known: u64,
        version: u64,
    ) -> Result<Since, Error> {
        let call = self.call(&READ).arg(incarnation()).arg(known).arg(version).arg(PIECE);
        redis.script(call).await
    }

    pub(crate) async fn tags(&self, redis: &Store, tags: &[Bytes]) -> Result<Tags, Error> {
        redis.script(self.call(&TAGS).args(tags.iter().cloned())).await
    }

    fn call(&self, script: &'static Script) -> ScriptCall<'static> {
        let [journal, tags, log] = &self.keys;
        script.key(journal).key(tags).key(log)
    }
}

/// Zero is none's.
fn incarnation() -> u64 {
    rand::random_range(1..=i64::MAX.unsigned_abs())
}

impl FromValue for Since {
    fn from_value(value: Value) -> Result<Self, Error> {
        let mut answer = Answer::from_value(value)?;
        let state = answer.next()?;
        let entries = if answer.status == 0 { Some(answer.next()?) } else { None };
        Ok(Self { entries, state })
    }
}

impl FromValue for State {
    fn from_value(value: Value) -> Result<Self, Error> {
        let fields: Vec<u64> = Vec::from_value(value)?;
        match fields[..] {
            [incarnation, version, floor, forgotten] => {
                Ok(Self { incarnation, version, floor, forgotten })
            }
            _ => Err(Error::unexpected("4 numbers", &Value::Nil)),
        }
    }
}

/// `[id, [before, …, by, …, what, …, of, …, of, …]]`
impl FromValue for Entry {
    fn from_value(value: Value) -> Result<Self, Error> {
        let (id, fields): (String, Vec<Bytes>) = FromValue::from_value(value)?;
        let values: Vec<Bytes> = fields.into_iter().skip(1).step_by(2).collect();
        let version = id.split('-').next().and_then(|version| version.parse().ok());
        match (&values[..], version) {
            ([_, by, what, of @ ..], Some(version)) => {
                let (by, of) = (by.clone(), of.to_vec());
                Ok(Self { version, by, what: What::of_word(what)?, of })
            }
            _ => Err(Error::unexpected("an entry of the journal", &Value::Bytes(id.into()))),
        }
    }
}

impl FromValue for Tags {
    fn from_value(value: Value) -> Result<Self, Error> {
        let mut answer = Answer::from_value(value)?;
        if answer.status != 0 {
            return Ok(Self { incarnation: 0, forgotten: 0, versions: Vec::new() });
        }
        let (incarnation, forgotten) = (answer.next()?, answer.next()?);
        Ok(Self { incarnation, forgotten, versions: answer.next()? })
    }
}
