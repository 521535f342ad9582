//! Why a write was not taken, or a buffer gave no answer.

use russet_core_conn::SendOutcome;

/// Why a buffer of writes could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BehindError {
    /// An option that can't be; only `build()` and [`WriteBehind::entities`](crate::WriteBehind::entities) give it.
    #[error("{field}: {problem}; allowed: {allowed}")]
    Config {
        /// The option.
        field: &'static str,
        /// What is wrong with what was given.
        problem: String,
        /// What would be right.
        allowed: &'static str,
    },
    /// The entity's lane holds as many as it may: nothing was written. Writes of those that it holds are still taken.
    #[error("the buffer is full: {pending} entities wait in this lane, the most that may")]
    Full {
        /// How many.
        pending: u64,
    },
    /// More fields than an entity may have pending: nothing was written.
    #[error("{fields} fields of one entity; allowed: {allowed}")]
    Fields {
        /// How many there would be.
        fields: u64,
        /// How many may be.
        allowed: u64,
    },
    /// The server may throw away what is pending when its memory is full: see
    /// [`allow_eviction`](crate::WriteBehindBuilder::allow_eviction). Nothing was written.
    #[error(
        "maxmemory-policy {policy}: what is pending may be thrown away; allowed: noeviction, volatile-*"
    )]
    Evicts {
        /// The policy.
        policy: String,
    },
    /// The server does not tell its policy to this user (`INFO memory`). Nothing was written.
    #[error(
        "the server does not tell its maxmemory-policy: see WriteBehindBuilder::allow_eviction"
    )]
    PolicyUnknown,
    /// Redis gave no answer, or refused.
    #[error("redis: {0}")]
    Redis(russet_core_conn::Error),
    /// A value or key could not be encoded, and nothing was written; or what is pending can't be read.
    #[error("encoding: {0}")]
    Codec(russet_core_conn::CodecError),
    /// The write was taken, and what is out of date may still be cached: the cache repeats the removal until Redis takes
    /// it.
    #[error("written, but the cache may be out of date: {0}")]
    Cache(crate::Error),
    /// It was written so often meanwhile that nobody could say what it is.
    #[error("it was changed again and again while it was read")]
    Contended,
}

impl BehindError {
    /// What became of a write that ended so. [`Unknown`](SendOutcome::Unknown): it may have been taken, and will be
    /// committed then.
    pub fn outcome(&self) -> SendOutcome {
        match self {
            Self::Redis(error) => error.outcome(),
            Self::Full { .. } | Self::Fields { .. } => SendOutcome::Rejected,
            Self::Cache(_) => SendOutcome::Unknown,
            Self::Config { .. }
            | Self::Evicts { .. }
            | Self::PolicyUnknown
            | Self::Codec(_)
            | Self::Contended => SendOutcome::NotSent,
        }
    }

    /// Whether the same call may succeed later by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Redis(error) => error.is_retryable(),
            Self::Cache(error) => error.is_retryable(),
            Self::Full { .. } | Self::Contended => true,
            Self::Config { .. }
            | Self::Fields { .. }
            | Self::Evicts { .. }
            | Self::PolicyUnknown
            | Self::Codec(_) => false,
        }
    }
}

impl From<russet_core_conn::Error> for BehindError {
    fn from(error: russet_core_conn::Error) -> Self {
        Self::Redis(error)
    }
}

impl From<russet_core_conn::CodecError> for BehindError {
    fn from(error: russet_core_conn::CodecError) -> Self {
        Self::Codec(error)
    }
}
