//! The errors of this crate.

use std::sync::Arc;
use std::time::Duration;

/// Why a cache could not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option that can't be; only `build()` gives it.
    #[error("{field}: {problem}; allowed: {allowed}")]
    Config {
        /// The option.
        field: &'static str,
        /// What is wrong with what was given.
        problem: String,
        /// What would be right.
        allowed: &'static str,
    },
    /// What was asked for needs a cache with a [`journal`](crate::CacheBuilder::journal).
    #[error("{0} without a journal: see CacheBuilder::journal")]
    NoJournal(&'static str),
    /// What was asked for needs a cache with [`access`](crate::CacheBuilder::access).
    #[error("{0} without access insight: see CacheBuilder::access")]
    NoAccess(&'static str),
    /// Tags that can't be: a value has up to 64, of 1 to 128 bytes each.
    #[error("tags: {0}")]
    Tags(String),
    /// Redis gave no answer, or refused. Its own error tells what became of the command.
    #[error("redis: {0}")]
    Redis(russet_core_conn::Error),
    /// The value could not be encoded; nothing was sent.
    #[error("encoding: {0}")]
    Codec(russet_core_conn::CodecError),
}

impl Error {
    /// Whether the same call may succeed later by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Redis(error) => error.is_retryable(),
            Self::Config { .. }
            | Self::NoJournal(_)
            | Self::NoAccess(_)
            | Self::Tags(_)
            | Self::Codec(_) => false,
        }
    }
}

impl From<russet_core_conn::Error> for Error {
    fn from(error: russet_core_conn::Error) -> Self {
        Self::Redis(error)
    }
}

impl From<russet_core_conn::CodecError> for Error {
    fn from(error: russet_core_conn::CodecError) -> Self {
        Self::Codec(error)
    }
}

/// Why a value could be neither found nor loaded. Redis is never the reason: without it, the loader is asked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader's error; shared, because all who wait for one load are given it.
    #[error("{0}")]
    Loader(Arc<E>),
    /// There was no answer within the [`hard_timeout`](crate::CacheBuilder::hard_timeout). The load goes on, and may
    /// fill.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The loader panicked, or the runtime that it ran in has ended.
    #[error("the load ended without a result")]
    Aborted,
    /// Redis is away, and too many wait for the [`origin`](crate::CacheBuilder::origin_limit).
    #[error("too many wait for the origin")]
    Overloaded,
}

/// Why a write through the cache has not ended well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError<E> {
    /// The error of whoever wrote the origin. Nothing is cached.
    #[error("{0}")]
    Origin(E),
    /// The origin was written, and something that is out of date may still be cached.
    #[error("the origin was written, the cache was not: {0}")]
    Cache(Error),
    /// The write panicked, or the runtime that it ran in has ended.
    #[error("the write ended without a result")]
    Aborted,
}

impl<E> LoadError<E> {
    /// The loader's error, if it is one.
    pub fn into_loader(self) -> Option<Arc<E>> {
        match self {
            Self::Loader(error) => Some(error),
            Self::Timeout(_) | Self::Aborted | Self::Overloaded => None,
        }
    }
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Loader(error) => Self::Loader(error.clone()),
            Self::Timeout(after) => Self::Timeout(*after),
            Self::Aborted => Self::Aborted,
            Self::Overloaded => Self::Overloaded,
        }
    }
}
