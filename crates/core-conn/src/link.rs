//! The seam to the client below: one connection to one node, in one generation.
//!
//! A link has one life. It is opened, answers each call once or not at all, and ends; it never reconnects, never sends
//! a command again, and knows no deadline. All of that is done above it, the same for every kind of link. Each kind is
//! one file here and one arm in each method.

use std::time::Instant;

use bytes::Bytes;
use bytes_utils::Str;

use self::calling::Calling;
use crate::client::Client;
use crate::cmd::{Arg, Cmd, one_slot};
use crate::credentials::Credentials;
use crate::target::{Endpoint, Target};
use crate::value::server_error;
use crate::{Error, ErrorKind, Value};

mod calling;
#[cfg(feature = "fred")]
mod fred;
mod gather;
#[cfg(feature = "redis-rs")]
mod redis_rs;
mod seat;

/// Why a call has no reply.
#[derive(Debug, Clone)]
pub(crate) enum LinkError {
    /// The server answered with these words.
    Server(String),
    /// No answer is known.
    Lost(String),
}

impl LinkError {
    /// Whether the server refused a write because it is a replica.
    pub(crate) fn is_read_only(&self) -> bool {
        matches!(self, Self::Server(words) if words.starts_with("READONLY "))
    }
}

/// What can be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request<'a> {
    /// One command, as it is.
    Cmd(&'a Cmd),
    /// A script by its digest; `single` if it runs one command, which is applied or not.
    EvalSha { sha: &'a Str, keys: &'a [Bytes], args: &'a [Arg], single: bool },
    /// A script by its text.
    Eval { body: &'a Str, keys: &'a [Bytes], args: &'a [Arg], single: bool },
    /// Commands that reach the server with nothing between them: a reply each, or all are lost together.
    Batch(&'a [Cmd]),
}

impl Request<'_> {
    /// Whether an error may have come up half-way through a script.
    pub(crate) fn may_be_partial(&self) -> bool {
        matches!(self, Self::EvalSha { single: false, .. } | Self::Eval { single: false, .. })
    }

    /// Whether code of the caller's runs there, which can write first and say then whatever a server says.
    #[inline]
    pub(crate) fn speaks(&self) -> bool {
        match self {
            Self::Cmd(cmd) => cmd.name() == "FCALL",
            request => request.may_be_partial(),
        }
    }

    /// The same as commands, behind the one that makes a node answer for a slot that is on its way there.
    pub(crate) fn asking(self) -> Vec<Cmd> {
        let mut cmds = self.to_cmds();
        cmds.insert(0, Cmd::internal("ASKING"));
        cmds
    }

    /// Where its keys live; of a batch the first ones, whoever makes it has seen to the others.
    #[inline]
    pub(crate) fn slot(&self) -> Result<Option<u16>, Error> {
        match self {
            Self::Cmd(cmd) => cmd.slot(),
            Self::EvalSha { keys, .. } | Self::Eval { keys, .. } => one_slot(*keys),
            Self::Batch(cmds) => {
                let slots = cmds.iter().map(Cmd::slot);
                slots.filter_map(Result::transpose).next().transpose()
            }
        }
    }

    /// The same as commands.
    pub(crate) fn to_cmds(self) -> Vec<Cmd> {
        let script = |name, script: &Str, keys: &[Bytes], args: &[Arg]| {
            let head = Cmd::internal(name).arg(script.inner()).arg(keys.len());
            vec![head.args(keys).args(args.iter().cloned())]
        };
        match self {
            Self::Cmd(cmd) => vec![cmd.clone()],
            Self::EvalSha { sha, keys, args, .. } => script("EVALSHA", sha, keys, args),
            Self::Eval { body, keys, args, .. } => script("EVAL", body, keys, args),
            Self::Batch(cmds) => cmds.to_vec(),
        }
    }
}

/// What comes back.
#[derive(Debug)]
pub(crate) enum Reply {
    One(Value),
    /// In the order of the batch.
    Many(Vec<Result<Value, LinkError>>),
}

impl Reply {
    /// The reply of a request that has one.
    #[inline]
    pub(crate) fn one(self) -> Result<Value, Error> {
        match self {
            Self::One(value) => Ok(value),
            Self::Many(_) => Err(Error::unknown(ErrorKind::Unexpected {
                expected: "one reply",
                found: self.describe(),
            })),
        }
    }

    /// What it is, never its content.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::One(value) => value.describe(),
            Self::Many(replies) => format!("{} replies", replies.len()),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Link {
    #[cfg(feature = "fred")]
    Fred(fred::FredLink),
    #[cfg(feature = "redis-rs")]
    RedisRs(redis_rs::RedisRsLink),
}

/// Resolves when the link has ended, for whatever reason.
#[derive(Debug)]
pub(crate) enum LinkEnd {
    #[cfg(feature = "fred")]
    Fred(fred::FredEnd),
    #[cfg(feature = "redis-rs")]
    RedisRs(redis_rs::RedisRsEnd),
}

/// A link that was opened.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) link: Link,
    pub(crate) end: LinkEnd,
    /// Where it leads.
    pub(crate) endpoint: Endpoint,
    /// As whom it logged in.
    pub(crate) credentials: Option<Credentials>,
}

impl Link {
    /// Opens a connection and waits until the server has accepted protocol, user, database and name, all within the
    /// target's `connect_timeout`. Dropping the future closes what was opened.
    pub(crate) async fn open(target: &Target) -> Result<Opened, Error> {
        let deadline = Instant::now() + target.access.connect_timeout;
        let credentials = target.access.credentials(deadline).await?;
        // Boxed: what is rare must not make the futures of those who open larger.
        let opening = Box::pin(async {
            match target.access.client {
                #[cfg(feature = "fred")]
                Client::Fred => {
                    let (link, end) = fred::FredLink::open(target, credentials.as_ref()).await?;
                    Ok((Self::Fred(link), LinkEnd::Fred(end)))
                }
                #[cfg(feature = "redis-rs")]
                Client::RedisRs => {
                    let opened = redis_rs::RedisRsLink::open(target, credentials.as_ref());
                    let (link, end) = opened.await?;
                    Ok((Self::RedisRs(link), LinkEnd::RedisRs(end)))
                }
            }
        });
        match tokio::time::timeout_at(deadline.into(), opening).await {
            Ok(Ok((link, end))) => {
                Ok(Opened { link, end, endpoint: target.endpoint.clone(), credentials })
            }
            Ok(Err(LinkError::Server(words))) => {
                // The server refused the connection, not a request.
                Err(Error::not_sent(server_error(&words, false).kind().clone()))
            }
            Ok(Err(LinkError::Lost(reason))) => Err(why_not(target, reason, deadline).await),
            Err(_) => Err(target.access.no_answer()),
        }
    }

    /// Sends once. Dropping the future forgets the reply, which then reaches nobody.
    #[inline]
    pub(crate) fn call(
        &self,
        request: Request<'_>,
    ) -> impl Future<Output = Result<Reply, LinkError>> + Send + Unpin + use<'_> {
        match self {
            #[cfg(feature = "fred")]
            Self::Fred(link) => Calling::Fred(link.call(request)),
            #[cfg(feature = "redis-rs")]
            Self::RedisRs(link) => Calling::RedisRs(link.call(request)),
        }
    }

    /// Says goodbye, so that the server closes; `LinkEnd` resolves then.
    pub(crate) async fn quit(&self) {
        match self {
            #[cfg(feature = "fred")]
            Self::Fred(link) => link.quit().await,
            #[cfg(feature = "redis-rs")]
            Self::RedisRs(link) => link.quit().await,
        }
    }

    /// Ends the connection now, as dropping it does. It can't hang.
    pub(crate) fn abort(&self) {
        match self {
            #[cfg(feature = "fred")]
            Self::Fred(link) => link.abort(),
            #[cfg(feature = "redis-rs")]
            Self::RedisRs(link) => link.abort(),
        }
    }
}

/// Why a connection could not be opened, if its client can't tell.
async fn why_not(target: &Target, reason: String, deadline: Instant) -> Error {
    #[cfg(feature = "tls")]
    {
        let diagnosis = crate::tls::diagnosis::diagnose(target);
        if let Ok(Some(why)) = tokio::time::timeout_at(deadline.into(), diagnosis).await {
            return Error::not_sent(ErrorKind::Tls(why));
        }
    }
    #[cfg(not(feature = "tls"))]
    let _ = (target, deadline);
    Error::not_sent(ErrorKind::Connect(reason))
}

impl LinkEnd {
    /// Why it ended.
    pub(crate) async fn wait(&mut self) -> String {
        match self {
            #[cfg(feature = "fred")]
            Self::Fred(end) => end.wait().await,
            #[cfg(feature = "redis-rs")]
            Self::RedisRs(end) => end.wait().await,
        }
    }
}
