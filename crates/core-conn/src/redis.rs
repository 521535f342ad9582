//! The handle.

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::builder::RedisBuilder;
use crate::close::{self, CloseReport};
use crate::cmd::{Class, Cmd};
use crate::error::{Context, Error, ErrorKind, SendOutcome};
use crate::event::{Announcer, Events};
use crate::link::{LinkError, Reply, Request};
use crate::metrics::Observed;
use crate::node::{Node, Settings};
use crate::script::{self, ScriptCall};
use crate::table::Route;
use crate::value::server_error;
use crate::{FromValue, Value};

/// A handle to Redis or Valkey: cheap to clone, lazy, shared by all tasks.
///
/// Concurrent calls are pipelined on its connection. Each call ends within its deadline, with the server's answer or
/// with an [`Error`] that tells what became of the command. When a connection is lost the handle opens the next one by
/// itself; calls made meanwhile wait for it, up to their deadline.
///
/// Dropping the last clone ends the connections at once; [`close`](Self::close) lets what is in flight finish.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use russet_core_conn::{Cmd, KeySpace, Redis};
///
/// let redis = Redis::connect("redis://localhost").await?;
/// let keys = KeySpace::new("shop")?;
/// let key = keys.key("greeting", "world");
/// let () = redis.run(Cmd::idempotent("SET").key(&key).arg("hello")).await?;
/// let greeting: Option<String> = redis.run(Cmd::read("GET").key(&key)).await?;
/// assert_eq!(greeting.as_deref(), Some("hello"));
/// redis.close().await;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Redis {
    inner: Arc<Inner>,
    deadline: Duration,
    wait: bool,
}

#[derive(Debug)]
struct Inner {
    node: Arc<Node>,
    announcer: Announcer,
    attempts: u32,
    close_deadline: Duration,
    call_sites: bool,
    closed: tokio::sync::OnceCell<CloseReport>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.node.closing.cancel();
        self.node.ended.cancel();
    }
}

impl Redis {
    /// Builds a handle with default options, and waits until it is ready.
    ///
    /// # Errors
    /// A URL that can't be, or no ready connection within the deadline (500 ms).
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let redis = Self::builder(url).build()?;
        redis.ready().await?;
        Ok(redis)
    }

    /// Options for a handle: `redis://[[user]:password@]host[:port][/database]`. Without a host it is `localhost`,
    /// without a port 6379, without a database 0.
    pub fn builder(url: &str) -> RedisBuilder {
        RedisBuilder::new(url)
    }

    pub(crate) fn new(
        settings: Settings,
        deadline: Duration,
        attempts: u32,
        close_deadline: Duration,
        call_sites: bool,
    ) -> Self {
        let announcer = Announcer::new();
        let node = Node::new(settings, announcer.clone());
        let closed = tokio::sync::OnceCell::new();
        let inner =
            Arc::new(Inner { node, announcer, attempts, close_deadline, call_sites, closed });
        Self { inner, deadline, wait: true }
    }

    /// The same connections, with another deadline for the calls of this handle.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The same connections; calls of this handle do not wait for a connection that is known to be away, but fail at
    /// once as [`NotConnected`](ErrorKind::NotConnected). For what goes on without Redis.
    #[must_use]
    pub fn without_waiting(&self) -> Self {
        Self { wait: false, ..self.clone() }
    }

    /// The deadline of this handle's calls.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Waits until all connections are ready, at most for the deadline.
    ///
    /// # Errors
    /// [`NotConnected`](ErrorKind::NotConnected) with the last reason, [`GaveUp`](ErrorKind::GaveUp),
    /// [`Closed`](ErrorKind::Closed).
    pub async fn ready(&self) -> Result<(), Error> {
        let ready = self.inner.node.ready(Instant::now() + self.deadline).await;
        ready.map_err(|error| error.with(self.context(None, None, 0)))
    }

    /// Asks the server for a sign of life, and answers how long that took. One round trip.
    ///
    /// # Errors
    /// Any error of a call.
    #[track_caller]
    pub fn ping(&self) -> impl Future<Output = Result<Duration, Error>> + Send + '_ {
        let site = Location::caller();
        async move {
            let started = Instant::now();
            self.command(&Cmd::read("PING"), site).await?;
            Ok(started.elapsed())
        }
    }

    /// Runs one command. One round trip, pipelined with whatever else is under way.
    ///
    /// # Errors
    /// See [`Error::outcome`] for what became of the command. A [`Class::Write`] is sent at most once.
    #[track_caller]
    pub fn run<T: FromValue>(
        &self,
        cmd: Cmd,
    ) -> impl Future<Output = Result<T, Error>> + Send + '_ {
        let site = Location::caller();
        async move {
            let value = self.command(&cmd, site).await?;
            T::from_value(value).map_err(|error| self.told(error, Some(cmd.name()), None, site))
        }
    }

    /// Runs several commands at once: one result each, in the order given, in one round trip where they fit into the
    /// pipeline. They are not atomic: others may come between, and one may fail where another does not.
    ///
    /// Commands that may all be repeated travel in batches of 128, which makes them cheaper; if the connection is lost
    /// a batch is lost as one, and sent again as one.
    #[track_caller]
    pub fn pipeline(
        &self,
        cmds: impl IntoIterator<Item = Cmd>,
    ) -> impl Future<Output = Vec<Result<Value, Error>>> + Send + '_ {
        let site = Location::caller();
        let cmds: Vec<Cmd> = cmds.into_iter().collect();
        async move {
            if cmds.len() < 2 || !cmds.iter().all(can_be_batched) {
                return join_all(cmds.iter().map(|cmd| self.command(cmd, site))).await;
            }
            let batches = join_all(cmds.chunks(BATCH).map(|cmds| self.batch(cmds, site))).await;
            batches.into_iter().flatten().collect()
        }
    }

    /// Runs several commands as one `MULTI`/`EXEC`: nothing comes between them. One round trip; a reply each.
    ///
    /// A script is the better tool where one command needs another's reply. It is sent once, whatever the class of
    /// the commands. If a command fails while it runs, the others are applied all the same (Redis has no rollback):
    /// the error's outcome is then [`SendOutcome::Unknown`].
    ///
    /// # Errors
    /// [`Refused`](ErrorKind::Refused) for a command that can't be in a transaction, `EXECABORT` if the server refused
    /// one before anything ran, and any error of a call.
    #[track_caller]
    pub fn transaction(
        &self,
        cmds: impl IntoIterator<Item = Cmd>,
    ) -> impl Future<Output = Result<Vec<Value>, Error>> + Send + '_ {
        let site = Location::caller();
        let cmds: Vec<Cmd> = cmds.into_iter().collect();
        async move {
            let replies = self.exec(cmds).await;
            replies.map_err(|error| self.told(error, Some("EXEC"), None, site))
        }
    }

    /// Runs a script: `EVALSHA`, and `EVAL` where the server does not know it. One round trip, two the first time.
    ///
    /// # Errors
    /// See [`Error::outcome`]; an error raised inside a script is [`SendOutcome::Unknown`].
    #[track_caller]
    pub fn script<'a, T: FromValue>(
        &'a self,
        call: ScriptCall<'a>,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'a {
        let site = Location::caller();
        async move {
            let name = call.script().name();
            let reply = self
                .repeat(call.class(), "EVALSHA", |deadline| self.evaluate(&call, deadline))
                .await;
            reply
                .and_then(T::from_value)
                .map_err(|error| self.told(error, Some("EVALSHA"), Some(name), site))
        }
    }

    /// Listens to what happens to the connections from now on.
    pub fn events(&self) -> Events {
        self.inner.announcer.listen()
    }

    /// Tries to connect now: instead of waiting for the next attempt's time, and also after the handle gave up.
    pub fn reconnect(&self) {
        self.inner.node.reconnect();
    }

    /// Closes the handle and all of its clones: calls that wait end as [`Closed`](ErrorKind::Closed), not sent; later
    /// ones too; calls in flight may finish within the close deadline (5 s by default), and end with an unknown outcome
    /// after it; then the server is told goodbye. Never takes longer than the deadline by much, whatever the server
    /// does. Calling it again gives the same report.
    ///
    /// In a web server: stop accepting requests first, let the open ones finish, and close Redis last.
    pub async fn close(&self) -> CloseReport {
        self.close_within(self.inner.close_deadline).await
    }

    pub(crate) async fn close_within(&self, deadline: Duration) -> CloseReport {
        *self.inner.closed.get_or_init(|| close::drain(&self.inner.node, deadline)).await
    }

    /// Waits for SIGTERM or Ctrl-C, then [`close`](Self::close)s. A second signal cuts what is still in flight.
    ///
    /// # Errors
    /// If the signals can't be listened to.
    pub async fn shutdown_on_signal(&self) -> std::io::Result<CloseReport> {
        close::on_signal(self).await
    }

    async fn command(&self, cmd: &Cmd, site: &'static Location<'static>) -> Result<Value, Error> {
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
            Route::Split => {
                let gets =
                    cmd.key_bytes().map(|key| Cmd::read("GET").key(&crate::Key::raw(key.clone())));
                let gets: Vec<Cmd> = gets.collect();
                let replies = join_all(gets.iter().map(|get| {
                    self.repeat(Class::Read, "GET", |deadline| {
                        self.send(Request::Cmd(get), deadline)
                    })
                }));
                replies.await.into_iter().collect::<Result<Vec<_>, _>>().map(Value::Array)
            }
            _ => {
                let alone = |deadline| self.inner.node.alone(cmd, deadline, self.deadline);
                self.repeat(cmd.class(), cmd.name(), alone).await
            }
        }
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

    async fn exec(&self, cmds: Vec<Cmd>) -> Result<Vec<Value>, Error> {
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

    async fn evaluate(&self, call: &ScriptCall<'_>, deadline: Instant) -> Result<Value, Error> {
        let reply = match self.send(call.by_digest(), deadline).await {
            Err(error) if error.server() == Some(&crate::ServerError::NoScript) => {
                self.send(call.by_text(), deadline).await?
            }
            reply => reply?,
        };
        let found = reply.describe();
        script::unwrap_reply(reply).ok_or_else(|| {
            Error::unknown(ErrorKind::Unexpected { expected: "a wrapped reply", found })
        })
    }

    #[inline]
    fn attempt<'a>(
        &'a self,
        request: Request<'a>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Reply, Error>> + 'a {
        self.inner.node.attempt(request, deadline, self.deadline, self.wait)
    }

    /// One attempt of what has one reply.
    #[inline]
    async fn send(&self, request: Request<'_>, deadline: Instant) -> Result<Value, Error> {
        self.attempt(request, deadline).await?.one()
    }

    /// Attempts until there is an answer, or no further attempt is right.
    #[inline]
    async fn repeat<T, F: Future<Output = Result<T, Error>>>(
        &self,
        class: Class,
        operation: &'static str,
        mut attempt: impl FnMut(Instant) -> F,
    ) -> Result<T, Error> {
        let observed = Observed::start(operation, &self.inner.node.name);
        let deadline = Instant::now() + self.deadline;
        let most = if class == Class::Write { 1 } else { self.inner.attempts };
        let mut made = 1;
        loop {
            match attempt(deadline).await {
                Err(error) if made < most && may_repeat(&error) && Instant::now() < deadline => {
                    made += 1;
                }
                result => {
                    observed.end(&result, made);
                    return result.map_err(|error| error.with(self.context(None, None, made)));
                }
            }
        }
    }

    fn context(
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

    fn told(
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
