//! The errors of this crate.

use std::sync::Arc;

/// Why there is no decision. A denial is none of these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An option that can't be; only constructors and `build()` give it.
    #[error("{field}: {problem}; allowed: {allowed}")]
    Config {
        /// The option.
        field: &'static str,
        /// What is wrong with what was given.
        problem: String,
        /// What would be right.
        allowed: &'static str,
    },
    /// A cost that this limit can never admit, however long anybody waits. Nothing was sent.
    #[error("{policy}: a cost of {cost}; allowed: 1 to {most}")]
    Unsatisfiable {
        /// The limit.
        policy: Arc<str>,
        /// What was asked for.
        cost: u64,
        /// The most that it ever admits at once.
        most: u64,
    },
    /// A priority class that there is not. Nothing was sent.
    #[error("class {class:?} is unknown; known: {}", known.join(", "))]
    UnknownClass {
        /// What was asked for.
        class: String,
        /// The classes that there are.
        known: Vec<String>,
    },
    /// What can't be done with this algorithm. Nothing was sent.
    #[error("{policy}: {call} of a {algorithm}; allowed: {allowed}")]
    Unsupported {
        /// The limit.
        policy: Arc<str>,
        /// What was asked for.
        call: &'static str,
        /// The limit's algorithm.
        algorithm: &'static str,
        /// Those for which it can be asked.
        allowed: &'static str,
    },
    /// Redis gave no answer, or refused. Its own error tells what became of the decision: of one with an unknown outcome
    /// the cost may be spent.
    #[error("redis: {0}")]
    Redis(russet_core_conn::Error),
}

impl Error {
    /// Whether the same call may succeed later by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Redis(error) => error.is_retryable(),
            Self::Config { .. }
            | Self::Unsatisfiable { .. }
            | Self::UnknownClass { .. }
            | Self::Unsupported { .. } => false,
        }
    }
}

impl From<russet_core_conn::Error> for Error {
    fn from(error: russet_core_conn::Error) -> Self {
        Self::Redis(error)
    }
}
