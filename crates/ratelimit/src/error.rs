//! The errors of this crate.

/// Why there is no answer.
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
    /// Redis gave no answer, or refused. Its own error tells what became of the command.
    #[error("redis: {0}")]
    Redis(russet_core_conn::Error),
}

impl Error {
    /// Whether the same call may succeed later by itself.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Redis(error) => error.is_retryable(),
            Self::Config { .. } => false,
        }
    }
}

impl From<russet_core_conn::Error> for Error {
    fn from(error: russet_core_conn::Error) -> Self {
        Self::Redis(error)
    }
}
