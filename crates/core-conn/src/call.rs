//! How a handle's calls are made: which way each goes, how often it is sent, and what its error tells.

use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use futures_util::future::join_all;

use crate::cluster::{Cluster, Way};
use crate::cmd::{Arg, Class, Cmd, one_slot};
use crate::durability::Durability;
use crate::error::{Context, Error, ErrorKind, SendOutcome};
use crate::link::{LinkError, Reply, Request};
use crate::metrics::Observed;
use crate::nodes::Nodes;
use crate::redis::Redis;
use crate::script::{self, ScriptCall};
use crate::table::Route;
use crate::transaction;
use crate::value::server_error;
use crate::{ServerError, Value};

mod clustered;

pub(crate) use self::clustered::{heard_asking, refused};

impl Redis {
    pub(crate) async fn command(
        &self,
        cmd: &Cmd,
        site: &'static Location<'static>,
    ) -> Result<Value, Error> {
        let result = match (self.inner.rules.check_size(cmd.largest()), cmd.route()) {
            (Err(error), _) => Err(error),
            (Ok(()), Route::Hot(_) | Route::Direct) => {
                let request = Request::Cmd(cmd);
                let send = |deadline| self.attempt(cmd.class(), &request, deadline);
                self.repeat(cmd.class(), cmd.name(), send).await.and_then(Reply::one)
            }
            (Ok(()), _) => Box::pin(self.roundabout(cmd)).await,
        };
        result.map_err(|error| self.told(error, Some(cmd.name()), None, site))
    }

    /// The commands that do not go as they are.
    async fn roundabout(&self, cmd: &Cmd) -> Result<Value, Error> {
        cmd.check()?;
        match cmd.route() {
            Route::Wrapped => {
                let call = script::wrapped(cmd);
                let send = |deadline| self.evaluate(&call, deadline);
                self.repeat(cmd.class(), cmd.name(), send).await
            }
            // Without a hash tag it would live in another slot than those that it leads.
            Route::Led if self.is_clustered() && cmd.led().slot().is_err() => {
                let call = script::wrapped(cmd);
                let send = |deadline| self.evaluate(&call, deadline);
                self.repeat(cmd.class(), cmd.name(), send).await
            }
            Route::Led => {
                let led = cmd.led();
                let request = Request::Cmd(&led);
                let send = |deadline| self.attempt(cmd.class(), &request, deadline);
                led.unled(self.repeat(cmd.class(), cmd.name(), send).await?.one()?)
            }
            _ => {
                let own = |deadline| self.on_its_own(cmd.class(), Request::Cmd(cmd), deadline);
                self.repeat(cmd.class(), cmd.name(), own).await?.one()
            }
        }
    }

    /// Several commands at once.
    pub(crate) async fn each(
        &self,
        cmds: &[Cmd],
        site: &'static Location<'static>,
    ) -> Vec<Result<Value, Error>> {
        if cmds.len() < 2 || !cmds.iter().all(|cmd| self.can_be_batched(cmd)) {
            return join_all(cmds.iter().map(|cmd| self.command(cmd, site))).await;
        }
        if let Nodes::Cluster(cluster) = &self.to {
            return Box::pin(self.spread(cluster, cmds, site)).await;
        }
        let batches = join_all(cmds.chunks(BATCH).map(|cmds| self.batch(cmds, site))).await;
        batches.into_iter().flatten().collect()
    }

    async fn batch(
        &self,
        cmds: &[Cmd],
        site: &'static Location<'static>,
    ) -> Vec<Result<Value, Error>> {
        let class = if cmds.iter().all(|cmd| cmd.class() == Class::Read) {
            Class::Read
        } else if cmds.iter().all(|cmd| cmd.class() != Class::Write) {
            Class::Idempotent
        } else {
            Class::Write
        };
        // An attempt before the one that was answered may have been applied, whatever that one says of its commands.
        let perhaps = AtomicBool::new(false);
        let send = async |deadline| {
            let reply = self.attempt(class, &Request::Batch(cmds), deadline).await;
            let unknown = |error: &Error| error.outcome() == SendOutcome::Unknown;
            perhaps.fetch_or(reply.as_ref().is_err_and(unknown), Relaxed);
            reply
        };
        let told = |error, cmd: &Cmd| self.told(error, Some(cmd.name()), None, site);
        let refused = |error, cmd: &Cmd| {
            let changes = cmd.class() != Class::Read;
            let error = link_error(error);
            if changes && perhaps.load(Relaxed) { error.after_unknown() } else { error }
        };
        match self.repeat(class, "BATCH", send).await {
            Ok(Reply::Many(replies)) => {
                let replies = replies.into_iter().zip(cmds);
                replies
                    .map(|(reply, cmd)| reply.map_err(|error| told(refused(error, cmd), cmd)))
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
        if self.is_clustered() {
            one_slot(cmds.iter().flat_map(Cmd::key_bytes))?;
        }
        let block = transaction::block(cmds, &self.inner.rules)?;
        let block = &block;
        let send = |deadline| async move {
            let replies = self.attempt(Class::Write, &Request::Batch(block), deadline).await?;
            transaction::replies(replies, block.len())
        };
        let sent = self.repeat(Class::Write, "EXEC", send).await?;
        // Nothing was watched.
        sent.ok_or_else(|| {
            Error::unknown(ErrorKind::Unexpected {
                expected: "the replies of EXEC",
                found: "nil".into(),
            })
        })
    }

    pub(crate) async fn evaluate(
        &self,
        call: &ScriptCall<'_>,
        deadline: Instant,
    ) -> Result<Value, Error> {
        let reply = match self.attempt(call.class(), &call.by_digest(), deadline).await {
            Err(error) if error.server() == Some(&ServerError::NoScript) => {
                self.attempt(call.class(), &call.by_text(), deadline).await?
            }
            reply => reply?,
        };
        script::unwrap_reply(reply.one()?)
    }

    #[inline]
    pub(crate) async fn attempt(
        &self,
        class: Class,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        if self.durability_of(class) != Durability::Async || self.goes_apart(request) {
            return Box::pin(self.on_its_own(class, *request, deadline)).await;
        }
        let stop;
        // One place for the future of either, which every call carries.
        let node = match &self.to {
            Nodes::One(node) => {
                stop = None;
                node
            }
            Nodes::Cluster(cluster) => {
                let way = self.way(cluster, class, request, deadline)?;
                stop = way.straight();
                match &stop {
                    Some(stop) => stop.node(),
                    None => return Box::pin(self.along(way, request, None, None)).await,
                }
            }
        };
        let reply = node.attempt(request, deadline, self.deadline(), self.wait).await;
        let (Nodes::Cluster(cluster), Some(stop)) = (&self.to, stop) else { return reply };
        match refused(request, reply) {
            Ok(reply) => Ok(reply),
            Err(error) => {
                let way = self.way(cluster, class, request, deadline)?;
                Box::pin(self.along(way, request, None, Some((stop, error)))).await
            }
        }
    }

    fn way<'a>(
        &self,
        cluster: &'a Arc<Cluster>,
        class: Class,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Result<Way<'a>, Error> {
        let way = cluster.way(request.slot()?, class, deadline, self.deadline(), self.wait);
        Ok(way.with(request, class))
    }

    /// Whether it was made for a cluster. Asks nobody.
    #[must_use]
    pub fn is_clustered(&self) -> bool {
        matches!(self.to, Nodes::Cluster(_))
    }

    /// One attempt on a connection of its own.
    async fn on_its_own(
        &self,
        class: Class,
        request: Request<'_>,
        deadline: Instant,
    ) -> Result<Reply, Error> {
        let (durability, budget) = (self.durability_of(class), self.deadline());
        match &self.to {
            Nodes::One(node) => {
                let mut own = node.own(deadline, budget, self.wait).await?;
                own.call(request, false, durability, deadline, budget).await
            }
            Nodes::Cluster(cluster) => {
                let way = self.way(cluster, class, &request, deadline)?;
                self.along(way, &request, Some(durability), None).await
            }
        }
    }

    /// Whether it is one of those that are kept out of the pipeline.
    #[inline]
    fn goes_apart(&self, request: &Request<'_>) -> bool {
        let rules = &self.inner.rules;
        !rules.apart.is_empty()
            && match request {
                Request::Cmd(cmd) => rules.is_apart(cmd.name()),
                Request::Batch(cmds) => cmds.iter().any(|cmd| rules.is_apart(cmd.name())),
                // Its first argument is the name of a command that is wrapped.
                Request::EvalSha { args, .. } | Request::Eval { args, .. } => {
                    args.first().and_then(Arg::text).is_some_and(|name| rules.is_apart(name))
                }
            }
    }

    /// How safe what has this class must be.
    pub(crate) fn durability_of(&self, class: Class) -> Durability {
        if class == Class::Read { Durability::Async } else { self.durability }
    }

    /// Whether losing its reply together with others does no harm, or it is confirmed together with others.
    fn can_be_batched(&self, cmd: &Cmd) -> bool {
        (cmd.class() != Class::Write || self.durability != Durability::Async)
            && matches!(cmd.route(), Route::Hot(_) | Route::Direct)
            && cmd.largest() <= self.inner.rules.largest_argument
            && !self.inner.rules.is_apart(cmd.name())
    }

    /// Attempts until there is an answer, or no further attempt is right.
    #[inline]
    pub(crate) async fn repeat<T, F: Future<Output = Result<T, Error>>>(
        &self,
        class: Class,
        operation: &'static str,
        mut attempt: impl FnMut(Instant) -> F,
    ) -> Result<T, Error> {
        let observed = Observed::start(operation, self.to.name());
        let permit = match self.permit() {
            Ok(permit) => permit,
            Err(error) => return self.refused(&observed, error).await,
        };
        if class != Class::Read && self.inner.rules.reads_only {
            return self.refused(&observed, reads_only()).await;
        }
        let deadline = Instant::now() + self.deadline();
        // What must be durable is sent once: sent again it may change nothing, and then nothing is waited for.
        let once = class == Class::Write || self.durability_of(class) != Durability::Async;
        let most = if once { 1 } else { self.inner.rules.attempts };
        // A script or a function could have written, and say by itself what a replica says.
        let hands_on = class != Class::Write || !matches!(operation, "EVALSHA" | "FCALL");
        let mut made = 1;
        // What changes something may have done so in an attempt whose reply was lost, whatever became of the last one.
        let mut perhaps = false;
        loop {
            match attempt(deadline).await {
                Err(error)
                    if ((most > 1 && may_repeat(&error) && (made < most || is_down(&error)))
                        || (hands_on && self.is_elsewhere(&error)))
                        && Instant::now() < deadline =>
                {
                    made += 1;
                    perhaps |= class != Class::Read && error.outcome() == SendOutcome::Unknown;
                }
                result => {
                    if let Some(permit) = permit {
                        permit.record(&result);
                    }
                    let result = match result {
                        Err(error) if perhaps => Err(error.after_unknown()),
                        result => result,
                    };
                    observed.end(&result, made);
                    return result.map_err(|error| error.with(self.context(None, None, made)));
                }
            }
        }
    }

    /// Whether a replica refused it, and the sentinels will say where the primary is.
    fn is_elsewhere(&self, error: &Error) -> bool {
        error.server() == Some(&ServerError::ReadOnly)
            && error.outcome() == SendOutcome::Rejected
            && self.to.is_led()
    }

    /// What the breaker did not let through.
    pub(crate) async fn refused<T>(&self, observed: &Observed, error: Error) -> Result<T, Error> {
        // Whoever goes on without Redis may wait for nothing else, and must not keep others from running.
        tokio::task::coop::consume_budget().await;
        let refused = Err(error.with(self.context(None, None, 0)));
        observed.end(&refused, 0);
        refused
    }

    pub(crate) fn context(
        &self,
        operation: Option<&'static str>,
        script: Option<&'static str>,
        attempt: u32,
    ) -> Context {
        Context { operation, script, node: self.to.place(), attempt, call_site: None }
    }

    pub(crate) fn told(
        &self,
        error: Error,
        operation: Option<&'static str>,
        script: Option<&'static str>,
        site: &'static Location<'static>,
    ) -> Error {
        let call_site = self.inner.rules.call_sites.then_some(site);
        let attempt = error.attempt();
        error.with(Context { call_site, ..self.context(operation, script, attempt) })
    }
}

/// Commands that travel as one.
const BATCH: usize = 128;

/// One command's part of a batch that was answered.
pub(crate) fn link_error(error: LinkError) -> Error {
    match error {
        LinkError::Server(words) => server_error(&words, false),
        LinkError::Lost(reason) => Error::unknown(ErrorKind::ConnectionLost(reason)),
    }
}

/// A handle for replicas sends nothing that changes anything.
pub(crate) fn reads_only() -> Error {
    let why = "this handle may be on a replica (`sentinel_role`), and runs only what is a `Read`";
    Error::not_sent(ErrorKind::Refused(why.into()))
}

/// Whether the connection was lost under a call, so that the next one may answer it.
fn may_repeat(error: &Error) -> bool {
    error.outcome() != SendOutcome::Rejected
        && (is_down(error)
            || matches!(
                error.kind(),
                ErrorKind::ConnectionLost(_)
                    | ErrorKind::Desync(_)
                    | ErrorKind::Connect(_)
                    | ErrorKind::Sentinel(_)
            ))
}

/// The cluster takes no calls until it has recovered: that is waited for, however often it is said.
fn is_down(error: &Error) -> bool {
    error.server() == Some(&ServerError::ClusterDown)
}
