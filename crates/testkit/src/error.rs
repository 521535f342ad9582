use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::Version;

/// What can go wrong between a test and its server.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no server binary to start.
    #[error(
        "no server found ({tried}); install redis-server or valkey-server, or set RUSSET_SERVER to the path of one"
    )]
    ServerNotFound {
        /// What was looked for, and where.
        tried: String,
    },

    /// The binary does not say that it is a Redis or Valkey server.
    #[error("{} is not a Redis or Valkey server: `--version` says {output:?}", path.display())]
    NotAServer {
        /// The binary.
        path: PathBuf,
        /// What it printed.
        output: String,
    },

    /// This server cannot do what was asked of it.
    #[error("{version} does not support {what}")]
    Unsupported {
        /// The missing ability, for example `TLS`.
        what: &'static str,
        /// The server that lacks it.
        version: Version,
    },

    /// An option that cannot be used.
    #[error("{field}: {reason}")]
    Config {
        /// The option.
        field: &'static str,
        /// What is wrong with it, and what is allowed.
        reason: String,
    },

    /// The port belongs to another process.
    #[error("port {port} on 127.0.0.1 is taken")]
    PortTaken {
        /// The port.
        port: u16,
    },

    /// The server ended instead of getting ready.
    #[error("the server ended with status {status} while starting; its last words:\n{log}")]
    Exited {
        /// Its exit status as a shell gives it: 128 + n for signal n.
        status: i32,
        /// The end of its output.
        log: String,
    },

    /// The server runs but did not answer in time.
    #[error("the server was not ready within {after:?}; its last words:\n{log}")]
    NotReady {
        /// How long was waited.
        after: Duration,
        /// The end of its output.
        log: String,
    },

    /// The server process does not run.
    #[error("the server does not run")]
    NotRunning,

    /// The guardian process is gone, so no server can be started by it.
    #[error("the guardian process is gone")]
    GuardianLost,

    /// Something did not happen in time.
    #[error("{what}: nothing within {after:?}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },

    /// A cluster, or servers under Sentinel, did not come to what was awaited.
    #[error("{what}: not within {after:?}; last seen: {seen}")]
    NotReached {
        /// What was awaited.
        what: String,
        /// How long was waited.
        after: Duration,
        /// What stood against it when it was last looked at.
        seen: String,
    },

    /// The peer closed the connection before a whole reply had come.
    #[error("the connection was closed")]
    Closed,

    /// Bytes that are not RESP2 or RESP3.
    #[error("not RESP: {0}")]
    Protocol(String),

    /// The server answered with an error where none can be handled.
    #[error("the server refused: {0}")]
    Refused(String),

    /// A certificate could not be made.
    #[error("certificate: {0}")]
    Certificate(String),

    /// A network of one's own is not to be had.
    #[error("network namespace: {0}")]
    Network(String),

    /// The operating system refused.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let what = what.into();
        move |source| Error::Io { what, source }
    }
}

/// The result of this crate's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;
