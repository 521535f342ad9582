//! How a handle's calls are made: which way each goes, how often it is sent, and what its error tells.

use std::panic::Location;
use std::time::Instant;

use futures_util::future::join_all;

use crate::Value;
use crate::cmd::{Class, Cmd};
use crate::error::{Context, Error, ErrorKind, SendOutcome};
use crate::link::{LinkError, Reply, Request};
use crate::metrics::Observed;
use crate::redis::Redis;
use crate::script::{self, ScriptCall};
use crate::table::Route;
use crate::value::server_error;

impl Redis {
    pub(crate) async fn command(
        &self,
        cmd: &Cmd,
        site: &'static Location<'static>,
    ) -> Result<Value, Error> {
        let result = match cmd.route() {
            Route::Hot(_) | Route::Direct => {
                self.repeat(cmd.class(), cmd.name(), |deadline| {
                    self.send(Request::Cmd(cmd), deadline)
                })
                .await
            }
            _ => Box::pin(self.roundabout(cmd)).await,
        };
        result.map_err(|error| self.told(error, Some(cmd.name()), None, site))
    }

    /// The commands that do not go as they are.
    async fn roundabout(&self, cmd: &Cmd) -> Result<Value, Error> {
        cmd.check()?;
        match cmd.route() {
            Route::Wrapped => {
                let call = script::wrapped(cmd);
                let reply = self
                    .repeat(cmd.class(), cmd.name(), |deadline| self.evaluate(&call, deadline))
                    .await;
                reply.map_err(script::single)
            }
            Route::Led => {
                let led = cmd.led();
                let reply = self.repeat(cmd.class(), cmd.name(), |deadline| {
                    self.send(Request::Cmd(&led), deadline)
                });
                match reply.await? {
                    Value::Array(mut values)
                        if values.len() == led.arguments().len()
                            && values.first() == Some(&Value::Nil) =>
                    {
                        values.remove(0);
                        Ok(Value::Array(values))
                    }
                    other => Err(Error::unknown(ErrorKind::Unexpected {
                        expected: "nil and then a value a key",
                        found: other.describe(),
                    })),
                }
            }
            _ => {
                let alone = |deadline| self.inner.node.alone(cmd, deadline, self.deadline());
                self.repeat(cmd.class(), cmd.name(), alone).await
            }
        }
    }

    /// Several commands at once.
    pub(crate) async fn each(
        &self,
        cmds: &[Cmd],
        site: &'static Location<'static>,
    ) -> Vec<Result<Value, Error>> {
        if cmds.len() < 2 || !cmds.iter().all(can_be_batched) {
            return join_all(cmds.iter().map(|cmd| self.command(cmd, site))).await;
        }
        let batches = join_all(cmds.chunks(BATCH).map(|cmds| self.batch(cmds, site))).await;
        batches.into_iter().flatten().collect()
    }

    async fn batch(
        &self,
        cmds: &[Cmd],
        site: &'static Location<'static>,
    ) -> Vec<Result<Value, Error>> {
        let send = |deadline| self.attempt(Request::Batch(cmds), deadline);
        let told = |error, cmd: &Cmd| self.told(error, Some(cmd.name()), None, site);
        match self.repeat(Class::Idempotent, "BATCH", send).await {
            Ok(Reply::Many(replies)) => {
                let replies = replies.into_iter().zip(cmds);
                replies
                    .map(|(reply, cmd)| reply.map_err(|error| told(link_error(error), cmd)))
                    .collect()
            }
            Ok(Reply::One(value)) => {
                let kind =
                    ErrorKind::Unexpected { expected: "a reply each", found: value.describe() };
                cmds.iter().map(|cmd| Err(told(Error::unknown(kind.clone()), cmd))).collect()
            }
            Err(error) => cmds.iter().map(|cmd| Err(told(error.clone(), cmd))).collect(),
        }
    }

    pub(crate) async fn exec(&self, cmds: Vec<Cmd>) -> Result<Vec<Value>, Error> {
        for cmd in &cmds {
            cmd.check()?;
            if matches!(cmd.route(), Route::Alone) {
                let why = format!(
                    "`{}` can't be in a transaction: it needs a connection of its own",
                    cmd.name()
                );
                return Err(Error::not_sent(ErrorKind::Refused(why)));
            }
        }
        // The constant keeps the reply of EXEC from beginning with data.
        let mut whole = vec![Cmd::write("MULTI"), Cmd::read("ECHO").arg("russet")];
        whole.extend(cmds);
        whole.push(Cmd::write("EXEC"));
        let adjacent = Request::Adjacent(&whole);
        let reply =
            self.repeat(Class::Write, "EXEC", |deadline| self.send(adjacent, deadline)).await;
        match reply {
            Ok(Value::Array(mut replies)) if replies.len() == whole.len() - 2 => {
                replies.remove(0);
                Ok(replies)
            }
            Ok(other) => {
                let kind = ErrorKind::Unexpected {
                    expected: "the replies of EXEC",
                    found: other.describe(),
                };
                Err(Error::unknown(kind))
            }
            Err(error) => match error.server() {
                Some(crate::ServerError::ExecAbort) | None => Err(error),
                // One of the commands failed, and the others ran.
                Some(_) => Err(Error::unknown(error.kind().clone())),
            },
        }
    }

    pub(crate) async fn evaluate(
        &self,
        call: &ScriptCall<'_>,
        deadline: Instant,
    ) -> Result<Value, Error> {
        let reply = match self.send(call.by_digest(), deadline).await {
            Err(error) if error.server() == Some(&crate::ServerError::NoScript) => {
                self.send(call.by_text(), deadline).await?
            }
            reply => reply?,
        };
        script::unwrap_reply(reply)
    }

    #[inline]
    fn attempt<'a>(
        &'a self,
        request: Request<'a>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Reply, Error>> + 'a {
        self.inner.node.attempt(request, deadline, self.deadline(), self.wait)
    }

    /// One attempt of what has one reply.
    #[inline]
    async fn send(&self, request: Request<'_>, deadline: Instant) -> Result<Value, Error> {
        self.attempt(request, deadline).await?.one()
    }

    /// Attempts until there is an answer, or no further attempt is right.
    #[inline]
    pub(crate) async fn repeat<T, F: Future<Output = Result<T, Error>>>(
        &self,
        class: Class,
        operation: &'static str,
        mut attempt: impl FnMut(Instant) -> F,
    ) -> Result<T, Error> {
        let observed = Observed::start(operation, &self.inner.node.name);
        let permit = match self.permit() {
            Ok(permit) => permit,
            Err(error) => {
                // Whoever goes on without Redis may wait for nothing else, and must not keep others from running.
                tokio::task::coop::consume_budget().await;
                let refused = Err(error.with(self.context(None, None, 0)));
                observed.end(&refused, 0);
                return refused;
            }
        };
        let deadline = Instant::now() + self.deadline();
        let most = if class == Class::Write { 1 } else { self.inner.attempts };
        let mut made = 1;
        loop {
            match attempt(deadline).await {
                Err(error) if made < most && may_repeat(&error) && Instant::now() < deadline => {
                    made += 1;
                }
                result => {
                    if let Some(permit) = permit {
                        permit.record(&result);
                    }
                    observed.end(&result, made);
                    return result.map_err(|error| error.with(self.context(None, None, made)));
                }
            }
        }
    }

    pub(crate) fn context(
        &self,
        operation: Option<&'static str>,
        script: Option<&'static str>,
        attempt: u32,
    ) -> Context {
        Context {
            operation,
            script,
            node: Some(self.inner.node.name.clone()),
            attempt,
            call_site: None,
        }
    }

    pub(crate) fn told(
        &self,
        error: Error,
        operation: Option<&'static str>,
        script: Option<&'static str>,
        site: &'static Location<'static>,
    ) -> Error {
        let call_site = self.inner.call_sites.then_some(site);
        let attempt = error.attempt();
        error.with(Context { call_site, ..self.context(operation, script, attempt) })
    }
}

/// Commands that travel as one.
const BATCH: usize = 128;

/// Whether losing its reply together with others does no harm.
fn can_be_batched(cmd: &Cmd) -> bool {
    cmd.class() != Class::Write && matches!(cmd.route(), Route::Hot(_) | Route::Direct)
}

/// One command's part of a batch that was answered.
fn link_error(error: LinkError) -> Error {
    match error {
        LinkError::Server(words) => server_error(&words, false),
        LinkError::Lost(reason) => Error::unknown(ErrorKind::ConnectionLost(reason)),
    }
}

/// Whether the connection was lost under a call, so that the next one may answer it.
fn may_repeat(error: &Error) -> bool {
    error.outcome() != SendOutcome::Rejected
        && matches!(
            error.kind(),
            ErrorKind::ConnectionLost(_) | ErrorKind::Desync(_) | ErrorKind::Connect(_)
        )
}
