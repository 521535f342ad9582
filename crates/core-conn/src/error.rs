//! One error type for the whole core.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::{CodecError, KeyError};

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

/// An error reply of the server, by its code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// `NOSCRIPT`: the server does not have the script.
    #[error("the server does not know the script (NOSCRIPT)")]
    NoScript,
    /// `OOM`: over `maxmemory`, and the policy evicts nothing for this command.
    #[error("the server is over its maxmemory (OOM)")]
    Oom,
    /// `WRONGTYPE`: the key holds another type.
    #[error("the key holds another type (WRONGTYPE)")]
    WrongType,
    /// `NOPERM`: the user may not run this command, or not on this key or channel.
    #[error("the user lacks the permission (NOPERM): {0}")]
    NoPerm(String),
    /// `WRONGPASS`: wrong user or password.
    #[error("wrong user name or password (WRONGPASS)")]
    WrongPass,
    /// `NOAUTH`: the server asks for a password.
    #[error("the server asks for a password (NOAUTH)")]
    NoAuth,
    /// `BUSY`: a script has run for longer than the server's limit.
    #[error("the server is busy with a script (BUSY)")]
    Busy,
    /// `NOREPLICAS`: fewer good replicas than `min-replicas-to-write`.
    #[error("too few good replicas to write (NOREPLICAS)")]
    NoReplicas,
    /// `MISCONF`: the server can't persist, and therefore refuses writes.
    #[error("the server can't persist and refuses writes (MISCONF)")]
    MisConf,
    /// `READONLY`: a replica, or a demoted primary.
    #[error("the server is a read-only replica (READONLY)")]
    ReadOnly,
    /// `LOADING`: the server is still loading its data.
    #[error("the server is loading its data (LOADING)")]
    Loading,
    /// `MASTERDOWN`: a replica whose link to its primary is down.
    #[error("the replica's primary is down (MASTERDOWN)")]
    MasterDown,
    /// `MOVED`: the slot lives on another node.
    #[error("slot {slot} lives on {node} (MOVED)")]
    Moved {
        /// The slot.
        slot: u16,
        /// The node that owns it, as the server wrote it: `host:port`, or `:port`.
        node: String,
    },
    /// `ASK`: the slot is being moved, and the key is already there.
    #[error("slot {slot} is being moved to {node} (ASK)")]
    Ask {
        /// The slot.
        slot: u16,
        /// The node to ask, as the server wrote it.
        node: String,
    },
    /// `TRYAGAIN`: the keys of one command are spread over both ends of a move.
    #[error("the keys are being moved (TRYAGAIN)")]
    TryAgain,
    /// `CROSSSLOT`: the keys of one command live in different slots.
    #[error("the keys live in different slots (CROSSSLOT)")]
    CrossSlot,
    /// `CLUSTERDOWN`: the cluster, or this slot, is not served.
    #[error("the cluster does not serve this slot (CLUSTERDOWN)")]
    ClusterDown,
    /// `EXECABORT`: the transaction was refused as a whole.
    #[error("the transaction was refused before it ran (EXECABORT)")]
    ExecAbort,
    /// The server has as many clients as it allows.
    #[error("the server has reached its maximum number of clients")]
    MaxClients,
    /// Any other code, with the server's words.
    #[error("{0}")]
    Other(String),
}

impl ServerError {
    /// Reads the server's words.
    pub(crate) fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace();
        let code = words.next().unwrap_or_default();
        let mut redirect = || {
            let slot = words.next()?.parse().ok()?;
            Some((slot, words.next()?.to_owned()))
        };
        match code {
            "NOSCRIPT" => Self::NoScript,
            "OOM" => Self::Oom,
            "WRONGTYPE" => Self::WrongType,
            "NOPERM" => Self::NoPerm(text.to_owned()),
            "WRONGPASS" => Self::WrongPass,
            "NOAUTH" => Self::NoAuth,
            "BUSY" => Self::Busy,
            "NOREPLICAS" => Self::NoReplicas,
            "MISCONF" => Self::MisConf,
            "READONLY" => Self::ReadOnly,
            "LOADING" => Self::Loading,
            "MASTERDOWN" => Self::MasterDown,
            "TRYAGAIN" => Self::TryAgain,
            "CROSSSLOT" => Self::CrossSlot,
            "CLUSTERDOWN" => Self::ClusterDown,
            "EXECABORT" => Self::ExecAbort,
            "MOVED" => match redirect() {
                Some((slot, node)) => Self::Moved { slot, node },
                None => Self::Other(text.to_owned()),
            },
            "ASK" => match redirect() {
                Some((slot, node)) => Self::Ask { slot, node },
                None => Self::Other(text.to_owned()),
            },
            "ERR" if text.contains("max number of clients") => Self::MaxClients,
            _ => Self::Other(text.to_owned()),
        }
    }

    /// Whether the same call may be answered later without anybody's help.
    fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::Loading
                | Self::MasterDown
                | Self::TryAgain
                | Self::ClusterDown
                | Self::ReadOnly
                | Self::NoReplicas
                | Self::MaxClients
                | Self::Moved { .. }
                | Self::Ask { .. }
        )
    }
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
    /// The handle was closed.
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
    /// The connection ended.
    #[error("the connection ended: {0}")]
    ConnectionLost(String),
    /// The connection could not be opened.
    #[error("can't connect: {0}")]
    Connect(String),
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
        Self(Box::new(Inner { kind, outcome, context: Context::default() }))
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

    pub(crate) fn with(mut self, context: Context) -> Self {
        self.0.context = context;
        self
    }

    pub(crate) fn rejected(mut self) -> Self {
        self.0.outcome = SendOutcome::Rejected;
        self
    }

    /// Why.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
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
            | ErrorKind::ConnectionLost(_)
            | ErrorKind::Connect(_)
            | ErrorKind::Desync(_) => true,
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

    /// The node, as `host:port`.
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
        let Inner { kind, outcome, context } = &*self.0;
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
    fn server_errors_are_typed_by_their_code() {
        assert_eq!(ServerError::parse("NOSCRIPT No matching script."), ServerError::NoScript);
        assert_eq!(
            ServerError::parse("MOVED 3999 127.0.0.1:6381"),
            ServerError::Moved { slot: 3999, node: "127.0.0.1:6381".into() }
        );
        assert_eq!(
            ServerError::parse("ERR max number of clients reached"),
            ServerError::MaxClients
        );
        assert_eq!(ServerError::parse("MOVED x"), ServerError::Other("MOVED x".into()));
    }

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
