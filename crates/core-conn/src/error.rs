//! One error type for the whole core.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

pub use self::sentinel::SentinelError;
pub use self::server::ServerError;
pub use self::tls::TlsError;
use crate::{BreakerOpen, CodecError, Durability, KeyError, Value};

mod sentinel;
mod server;
mod tls;

/// What became of a command that ended in an error.
///
/// | outcome | was it applied? | may the caller repeat it? |
/// |---|---|---|
/// | [`NotSent`](Self::NotSent) | never, and it will not be later | yes |
/// | [`Rejected`](Self::Rejected) | no: the server answered with an error | when its reason is gone |
/// | [`Unknown`](Self::Unknown) | perhaps once | only if it is idempotent |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendOutcome {
    /// No byte of it was handed to a connection: it is not applied, now or later.
    NotSent,
    /// The server answered, and refused.
    Rejected,
    /// It was handed to a connection and no answer of the server is known: it is applied at most once.
    Unknown,
}

/// Why a call failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option that can't be. Only `build()` gives it.
    #[error("{field}: {problem}; allowed: {allowed}")]
    Config {
        /// The option.
        field: &'static str,
        /// What is wrong with what was given.
        problem: String,
        /// What would be right.
        allowed: &'static str,
    },
    /// A call that can't be made this way.
    #[error("{0}")]
    Refused(String),
    /// A registry has an entry of this name already.
    #[error("the registry has an entry {0:?} already")]
    NameTaken(Box<str>),
    /// The registry takes no more entries: it was closed, or is being closed.
    #[error("the registry is closed")]
    RegistryClosed,
    /// The handle, or the hub, was closed.
    #[error("the handle is closed")]
    Closed,
    /// The handle stopped reconnecting; `Redis::reconnect` starts it again.
    #[error("gave up after {attempts} attempts to connect: {reason}")]
    GaveUp {
        /// Attempts since the last stay in ready.
        attempts: u32,
        /// Why it stopped, with the last error.
        reason: String,
    },
    /// There is no connection, and this call does not wait for one.
    #[error("not connected: {0}")]
    NotConnected(String),
    /// The deadline passed.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// As many calls are waiting as may wait.
    #[error("{waiting} calls are waiting already, the most that may")]
    Backpressure {
        /// The bound.
        waiting: usize,
    },
    /// The handle's breaker is open; see [`Redis::with_breaker`](crate::Redis::with_breaker).
    #[error(transparent)]
    BreakerOpen(BreakerOpen),
    /// No node of the cluster serves this slot, or takes calls without a key.
    #[error("no node of the cluster serves {}", slot.map_or("calls without a key".into(), |slot| format!("slot {slot}")))]
    Unserved {
        /// The slot, if there is a key.
        slot: Option<u16>,
    },
    /// The keys of one call live in different slots of the cluster.
    #[error(
        "the keys live in different slots, {first} and {other}; allowed: one slot, by a common hash tag"
    )]
    CrossSlot {
        /// The slot of the first key.
        first: u16,
        /// Another one.
        other: u16,
    },
    /// The connection ended.
    #[error("the connection ended: {0}")]
    ConnectionLost(String),
    /// The connection could not be opened.
    #[error("can't connect: {0}")]
    Connect(String),
    /// Client and server could not agree on a TLS session.
    #[error("TLS: {0}")]
    Tls(TlsError),
    /// The sentinels could not tell where to connect to.
    #[error("sentinels: {0}")]
    Sentinel(SentinelError),
    /// The provider of credentials gave none, with its reason.
    #[error("no credentials: {0}")]
    Credentials(String),
    /// The connection answered a probe with somebody else's reply, and was ended.
    #[error("the connection gave another call's reply: {0}")]
    Desync(String),
    /// The server answered with an error.
    #[error(transparent)]
    Server(ServerError),
    /// The reply is not of the type that was asked for.
    #[error("expected {expected}, the server gave {found}")]
    Unexpected {
        /// What was asked for.
        expected: &'static str,
        /// What came.
        found: String,
    },
    /// Applied on the primary, and not known to be as safe as was asked for.
    #[error("applied, but {acknowledged} of {wanted} confirmed it in time")]
    NotDurable {
        /// What was asked for.
        wanted: Durability,
        /// How many acknowledged.
        acknowledged: u32,
    },
    /// The server can't do this.
    #[error("{0}")]
    Unsupported(String),
    /// The key space is laid out otherwise in Redis.
    #[error("key space `{prefix}` is kept with layout {} and {} partitions, this program has layout {} and {}",
        kept.0, kept.1, ours.0, ours.1)]
    Layout {
        /// The prefix of the key space.
        prefix: Box<str>,
        /// Version and number of partitions in Redis.
        kept: (u32, u16),
        /// Version and number of partitions of this program.
        ours: (u32, u16),
    },
    /// The name of a key space or a segment of a key can't be.
    #[error(transparent)]
    Key(KeyError),
    /// A value could not be encoded or decoded.
    #[error(transparent)]
    Codec(Arc<CodecError>),
}

/// The error of every call of this crate.
///
/// It tells why ([`kind`](Self::kind)), what became of the command ([`outcome`](Self::outcome)), and where:
/// operation, script, node, attempt, and (in debug builds, or by
/// [`call_sites`](crate::RedisBuilder::call_sites)) the line that made the call. It never holds keys or values.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    cause: Option<ErrorKind>,
    outcome: SendOutcome,
    context: Context,
}

/// Where an error happened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Context {
    pub(crate) operation: Option<&'static str>,
    pub(crate) script: Option<&'static str>,
    pub(crate) node: Option<Arc<str>>,
    pub(crate) attempt: u32,
    pub(crate) call_site: Option<&'static Location<'static>>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, outcome: SendOutcome) -> Self {
        Self(Box::new(Inner { kind, cause: None, outcome, context: Context::default() }))
    }

    pub(crate) fn not_sent(kind: ErrorKind) -> Self {
        Self::new(kind, SendOutcome::NotSent)
    }

    pub(crate) fn unknown(kind: ErrorKind) -> Self {
        Self::new(kind, SendOutcome::Unknown)
    }

    pub(crate) fn config(
        field: &'static str,
        problem: impl Into<String>,
        allowed: &'static str,
    ) -> Self {
        Self::not_sent(ErrorKind::Config { field, problem: problem.into(), allowed })
    }

    /// A context without a node leaves the one that is known.
    pub(crate) fn with(mut self, context: Context) -> Self {
        let node = context.node.or(self.0.context.node.take());
        self.0.context = Context { node, ..context };
        self
    }

    /// Where it happened.
    pub(crate) fn at(mut self, node: &Arc<str>) -> Self {
        self.0.context.node = Some(node.clone());
        self
    }

    pub(crate) fn caused_by(mut self, cause: &ErrorKind) -> Self {
        self.0.cause = Some(cause.clone());
        self
    }

    /// An attempt before this one may have been applied.
    pub(crate) fn after_unknown(mut self) -> Self {
        self.0.outcome = SendOutcome::Unknown;
        self
    }

    /// A reply that is not what was expected: for types that are made [from one](crate::FromValue). The command was
    /// answered, and may have been applied.
    #[must_use]
    pub fn unexpected(expected: &'static str, found: &Value) -> Self {
        Self::unknown(ErrorKind::Unexpected { expected, found: found.describe() })
    }

    /// Why.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// Why there was no connection, if there was none: the error of the last attempt to open one. So a call that ends
    /// as [`NotConnected`](ErrorKind::NotConnected) or [`GaveUp`](ErrorKind::GaveUp) tells a wrong password from an
    /// expired certificate.
    pub fn cause(&self) -> Option<&ErrorKind> {
        self.0.cause.as_ref()
    }

    /// What became of the command.
    pub fn outcome(&self) -> SendOutcome {
        self.0.outcome
    }

    /// The server's error, if it is one.
    pub fn server(&self) -> Option<&ServerError> {
        match &self.0.kind {
            ErrorKind::Server(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without a change of program, configuration or rights.
    ///
    /// It says nothing of whether repeating is safe: that is [`outcome`](Self::outcome)'s to tell.
    pub fn is_retryable(&self) -> bool {
        match &self.0.kind {
            ErrorKind::NotConnected(_)
            | ErrorKind::Deadline(_)
            | ErrorKind::Backpressure { .. }
            | ErrorKind::BreakerOpen(_)
            | ErrorKind::ConnectionLost(_)
            | ErrorKind::Connect(_)
            | ErrorKind::Unserved { .. }
            | ErrorKind::Credentials(_)
            | ErrorKind::Desync(_)
            | ErrorKind::NotDurable { .. } => true,
            ErrorKind::Sentinel(error) => !matches!(error, SentinelError::UnknownPrimary(_)),
            ErrorKind::Server(error) => error.is_transient(),
            _ => false,
        }
    }

    /// The command that failed, as `GET` or `EVALSHA`.
    pub fn operation(&self) -> Option<&'static str> {
        self.0.context.operation
    }

    /// The script that failed, by its name.
    pub fn script(&self) -> Option<&'static str> {
        self.0.context.script
    }

    /// The node, as `host:port` or the path of its socket; under Sentinel where the last connection was opened, or was
    /// to be.
    pub fn node(&self) -> Option<&str> {
        self.0.context.node.as_deref()
    }

    /// Which attempt it was, from 1; 0 if none was made.
    pub fn attempt(&self) -> u32 {
        self.0.context.attempt
    }

    /// The line that made the call, where call sites are kept.
    pub fn call_site(&self) -> Option<&'static Location<'static>> {
        self.0.context.call_site
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, outcome, context, .. } = &*self.0;
        match (context.operation, context.script) {
            (_, Some(script)) => write!(f, "script {script}: ")?,
            (Some(operation), None) => write!(f, "{operation}: ")?,
            (None, None) => {}
        }
        write!(f, "{kind}")?;
        if matches!(kind, ErrorKind::Config { .. }) {
            return Ok(());
        }
        match outcome {
            SendOutcome::NotSent => f.write_str(" [not sent")?,
            SendOutcome::Rejected => f.write_str(" [rejected")?,
            SendOutcome::Unknown => f.write_str(" [outcome unknown")?,
        }
        if let Some(node) = &context.node {
            write!(f, ", node {node}")?;
        }
        if context.attempt > 0 {
            write!(f, ", attempt {}", context.attempt)?;
        }
        if let Some(site) = context.call_site {
            write!(f, ", called at {site}")?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("cause", &self.0.cause)
            .field("outcome", &self.0.outcome)
            .field("context", &self.0.context)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // Display prints the kind, so its own source is ours.
        std::error::Error::source(&self.0.kind)
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::not_sent(ErrorKind::Key(error))
    }
}

impl From<CodecError> for Error {
    fn from(error: CodecError) -> Self {
        Self::not_sent(ErrorKind::Codec(Arc::new(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_where_and_what_became_of_it() {
        let error = Error::unknown(ErrorKind::Deadline(Duration::from_millis(500))).with(Context {
            operation: Some("INCR"),
            node: Some("127.0.0.1:6379".into()),
            attempt: 1,
            ..Context::default()
        });
        assert_eq!(
            error.to_string(),
            "INCR: no answer within 500ms [outcome unknown, node 127.0.0.1:6379, attempt 1]"
        );
        assert!(error.is_retryable());
    }
}
