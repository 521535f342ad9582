//! What is said to be invalid.

use std::fmt;

use bytes::Bytes;
use russet_core_conn::{Error, Value};

/// Something that became invalid, as the journal tells it, in this process or another.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invalidation {
    /// Its place in the order that all processes agree on. Grows, and is near the server's time in µs.
    pub version: u64,
    /// Who said it: 8 random bytes, drawn when a cache is built, so that those of one cache in one process are the same.
    /// None for what nobody said ([`Unknown`](Invalid::Unknown)).
    pub by: Option<Bytes>,
    /// Whether that was this cache in this process.
    pub own: bool,
    /// What is invalid.
    pub what: Invalid,
}

impl Invalidation {
    pub(crate) fn unknown(version: u64) -> Self {
        Self { version, by: None, own: false, what: Invalid::Unknown }
    }
}

/// What became invalid. Keys are told as Redis has them, `{prefix:p}:cache.<name>:<segment>:…`, and not as lookups are
/// given them: a long segment is hashed there. Compare them with [`KeySpace::key`](russet_core_conn::KeySpace::key) of
/// the kind `cache.<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// These entries were removed, are being written through, or an [update](crate::Cache::update) of them was refused:
    /// what is known of them may be out of date.
    Removed(Vec<Bytes>),
    /// These entries were written anew: values or remembered absences.
    Written(Vec<Bytes>),
    /// These entries were marked stale.
    Expired(Vec<Bytes>),
    /// Whatever has one of these tags.
    Tags(Vec<Bytes>),
    /// All entries of the cache.
    All,
    /// Nobody knows: this process fell too far behind, or Redis lost the journal, whole or in part, or may have, in a
    /// failover. Whatever was built on what was told before should be built anew.
    Unknown,
}

/// What a message of the journal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum What {
    Removed,
    Written,
    Expired,
    Tags,
    All,
}

impl What {
    const ALL: [Self; 5] = [Self::Removed, Self::Written, Self::Expired, Self::Tags, Self::All];

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Written => "written",
            Self::Expired => "expired",
            Self::Tags => "tags",
            Self::All => "all",
        }
    }

    pub(crate) fn of_word(word: &Bytes) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|what| what.word().as_bytes() == word);
        found
            .ok_or_else(|| Error::unexpected("a kind of invalidation", &Value::Bytes(word.clone())))
    }

    pub(crate) fn with(self, of: Vec<Bytes>) -> Invalid {
        match self {
            Self::Removed => Invalid::Removed(of),
            Self::Written => Invalid::Written(of),
            Self::Expired => Invalid::Expired(of),
            Self::Tags => Invalid::Tags(of),
            Self::All => Invalid::All,
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}
