//! The handle.

use std::collections::{HashMap, HashSet};
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use crate::breaker::Breaker;
use crate::builder::RedisBuilder;
use crate::close::{self, CloseReport};
use crate::cmd::Cmd;
use crate::durability::Durability;
use crate::error::{Error, ErrorKind};
use crate::event::{Announcer, Events};
use crate::hub::{Hub, Shared};
use crate::node::{Node, Settings};
use crate::nodes::Nodes;
use crate::script::ScriptCall;
use crate::target::Site;
use crate::topology::NodeInfo;
use crate::{FromValue, LinkState, Value};

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
    pub(crate) inner: Arc<Inner>,
    /// Where its calls go.
    pub(crate) to: Nodes,
    deadline: Duration,
    pub(crate) wait: bool,
    pub(crate) durability: Durability,
    pub(crate) breaker: Option<Breaker>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) nodes: Nodes,
    pub(crate) announcer: Announcer,
    pub(crate) rules: Rules,
    closed: tokio::sync::OnceCell<CloseReport>,
    hub: OnceLock<Arc<Shared>>,
    /// Nodes beside the one that calls go to, by their addresses.
    others: Mutex<HashMap<Arc<str>, Arc<Node>>>,
}

/// How a handle makes its calls, the same for all of its clones.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Of what may be repeated.
    pub(crate) attempts: u32,
    pub(crate) close_deadline: Duration,
    pub(crate) call_sites: bool,
    /// Commands that are kept out of the pipeline.
    pub(crate) apart: Arc<[&'static str]>,
    pub(crate) largest_argument: usize,
    /// Nothing that changes anything is sent.
    pub(crate) reads_only: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            attempts: 3,
            close_deadline: Duration::from_secs(5),
            call_sites: false,
            apart: Arc::default(),
            largest_argument: 512 << 20,
            reads_only: false,
        }
    }
}

impl Rules {
    /// Refuses what the server would end the connection for.
    #[inline]
    pub(crate) fn check_size(&self, largest: usize) -> Result<(), Error> {
        if largest <= self.largest_argument {
            return Ok(());
        }
        let most = self.largest_argument;
        let why = format!(
            "an argument has {largest} bytes; allowed: at most {most} (`largest_argument`)"
        );
        Err(Error::not_sent(ErrorKind::Refused(why)))
    }

    pub(crate) fn is_apart(&self, name: &str) -> bool {
        !self.apart.is_empty() && self.apart.contains(&name)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.nodes.end();
        self.others().values().for_each(|node| node.end());
    }
}

impl Inner {
    fn others(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Node>>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection to a node beside the one for calls.
    pub(crate) fn link_state(&self, place: &str) -> LinkState {
        self.others().get(place).map_or(LinkState::Unused, |node| node.link_state())
    }

    /// A node beside this one; `None` once the handle is closed.
    pub(crate) fn other(&self, one: &Node, other: &NodeInfo) -> Option<Arc<Node>> {
        let mut others = self.others();
        if one.gate.is_closed() {
            return None;
        }
        let endpoint = one.template().elsewhere((other.host.clone(), other.port));
        let place: Arc<str> = endpoint.to_string().into();
        let make = || {
            let settings = Settings { site: Site::At(endpoint), ..one.settings().clone() };
            Node::new(settings, self.announcer.clone())
        };
        Some(others.entry(place).or_insert_with(make).clone())
    }

    /// Ends the connections to nodes that are none of these any more, when what is in flight there is answered. Needs a
    /// runtime.
    pub(crate) fn forget_others(&self, known: &[NodeInfo]) {
        let known: HashSet<String> = known.iter().map(NodeInfo::endpoint).collect();
        for (_, left) in self.others().extract_if(|place, _| !known.contains(&**place)) {
            let deadline = Instant::now() + self.rules.close_deadline;
            tokio::spawn(async move { left.drain(deadline).await });
        }
    }

    /// Lets what is in flight finish. Answers how many calls were waiting and how many had to be cut.
    pub(crate) async fn drain(&self, deadline: Instant) -> (u64, usize) {
        let (waiting, cut) = self.nodes.drain(deadline).await;
        let others: Vec<_> = self.others().values().cloned().collect();
        let drained = join_all(others.iter().map(|node| node.drain(deadline))).await;
        drained.into_iter().fold((waiting, cut), |(all, more), (one, cut)| (all + one, more + cut))
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

    /// Options for a handle.
    ///
    /// | URL | leads |
    /// |---|---|
    /// | `redis://[[user]:password@]host[:port][/database]` | by TCP; without a host to `localhost`, without a port to 6379, without a database to 0 |
    /// | `rediss://…` | the same by TLS, with the feature `tls`; see `RedisBuilder::tls` |
    /// | `redis-sentinel://[[user]:password@]host[:port][,host[:port]…][/name[/database]]` | to the server that these sentinels call the primary of this name; without a port to 26379, without a name to `mymaster`. User, password and database are those of the server, see [`sentinel_credentials`](RedisBuilder::sentinel_credentials) |
    /// | `rediss-sentinel://…` | the same by TLS, with sentinels and servers |
    /// | `redis-cluster://[[user]:password@]host[:port][,host[:port]…]` | to the cluster that any of these nodes belongs to; without a port to 6379 |
    /// | `rediss-cluster://…` | the same by TLS |
    /// | `unix:///path[?db=…&user=…&pass=…]`, `redis+unix://…` | by a unix socket |
    ///
    /// `valkey` may stand for `redis`. User, password and path may be percent-encoded, and must be where they hold
    /// `/ : @ ? # & %`. Any other parameter is refused by `build()`.
    pub fn builder(url: &str) -> RedisBuilder {
        RedisBuilder::new(url)
    }

    pub(crate) fn new(settings: Settings, rules: Rules, deadline: Duration) -> Self {
        let announcer = Announcer::new();
        let nodes = Nodes::new(settings, announcer.clone());
        let closed = tokio::sync::OnceCell::new();
        let hub = OnceLock::new();
        let to = nodes.clone();
        let inner =
            Arc::new(Inner { nodes, announcer, rules, closed, hub, others: Mutex::default() });
        Self { inner, to, deadline, wait: true, durability: Durability::Async, breaker: None }
    }

    /// Another handle with the same options and connections of its own, as few or as many, opened when it is first
    /// used. For calls that must not wait behind others' large replies, and for what is closed by itself.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let Inner { nodes, rules, .. } = &*self.inner;
        let own = Self::new(nodes.settings().clone(), rules.clone(), self.deadline);
        let (wait, durability, breaker) = (self.wait, self.durability, self.breaker.clone());
        Self { wait, durability, breaker, ..own }
    }

    /// The same connections, with another deadline for the calls of this handle. A longer one than a day, the most that
    /// the [builder](RedisBuilder::deadline) takes, is a day.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline: deadline.min(crate::builder::DAY), ..self.clone() }
    }

    /// The same connections; calls of this handle do not wait for a connection that is known to be away, but fail at
    /// once as [`NotConnected`](crate::ErrorKind::NotConnected). For what goes on without Redis.
    #[must_use]
    pub fn without_waiting(&self) -> Self {
        Self { wait: false, ..self.clone() }
    }

    /// The same connections; writes by this handle count as done when they are this safe, and are
    /// [`NotDurable`](crate::ErrorKind::NotDurable) with an unknown outcome if that is not confirmed in time.
    ///
    /// Writes are what has the class [`Write`](crate::Class::Write) or [`Idempotent`](crate::Class::Idempotent):
    /// commands, scripts, transactions; a [`pipeline`](Self::pipeline) is confirmed as a whole. Each takes one of the
    /// [`dedicated`](crate::RedisBuilder::dedicated) connections for as long as it waits, in one round trip.
    #[must_use]
    pub fn with_durability(&self, durability: Durability) -> Self {
        Self { durability, ..self.clone() }
    }

    /// The same, but that its calls go to this node, whatever their keys.
    pub(crate) fn pinned(&self, node: &Arc<Node>) -> Self {
        Self { to: Nodes::One(node.clone()), ..self.clone() }
    }

    /// The deadline of this handle's calls.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Waits until all connections are ready, at most for the deadline.
    ///
    /// # Errors
    /// [`NotConnected`](crate::ErrorKind::NotConnected) with the last reason, [`GaveUp`](crate::ErrorKind::GaveUp),
    /// [`Closed`](crate::ErrorKind::Closed).
    pub async fn ready(&self) -> Result<(), Error> {
        let ready = self.to.ready(Instant::now() + self.deadline).await;
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
    /// See [`Error::outcome`] for what became of the command. A [`Class::Write`](crate::Class::Write) is sent at most once.
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
        async move { self.each(&cmds, site).await }
    }

    /// Runs several commands as one `MULTI`/`EXEC`: nothing comes between them. One round trip; a reply each.
    ///
    /// A script is the better tool where one command needs another's reply. It is sent once, whatever the class of
    /// the commands. If a command fails while it runs, the others are applied all the same (Redis has no rollback):
    /// the error's outcome is then [`SendOutcome::Unknown`](crate::SendOutcome::Unknown).
    ///
    /// # Errors
    /// [`Refused`](crate::ErrorKind::Refused) for a command that can't be in a transaction, `EXECABORT` if the server refused
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
    /// See [`Error::outcome`]; an error raised inside a script is [`SendOutcome::Unknown`](crate::SendOutcome::Unknown).
    #[track_caller]
    pub fn script<'a, T: FromValue>(
        &'a self,
        call: ScriptCall<'a>,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'a {
        let site = Location::caller();
        async move {
            let name = call.script().name();
            let reply = match self.inner.rules.check_size(call.largest()) {
                Ok(()) => {
                    let evaluate = |deadline| self.evaluate(&call, deadline);
                    self.repeat(call.class(), "EVALSHA", evaluate).await
                }
                Err(error) => Err(error),
            };
            reply
                .and_then(T::from_value)
                .map_err(|error| self.told(error, Some("EVALSHA"), Some(name), site))
        }
    }

    /// Whether two calls may be answered by two servers that both are what it asks for.
    pub(crate) fn spreads(&self) -> bool {
        self.inner.rules.reads_only && self.to.settings().connections > 1
    }

    /// The hub that all clones of this handle share: subscriptions on one connection, opened by the first of them.
    /// This handle's deadline and [`without_waiting`](Self::without_waiting) hold for its `subscribe`.
    pub fn hub(&self) -> Hub {
        let shared = self.inner.hub.get_or_init(|| Shared::of(&self.inner.nodes));
        Hub::new(self.clone(), shared.clone())
    }

    /// Listens to what happens to the connections from now on.
    pub fn events(&self) -> Events {
        self.inner.announcer.listen()
    }

    /// Tries to connect now: instead of waiting for the next attempt's time, and also after the handle gave up.
    pub fn reconnect(&self) {
        self.inner.nodes.reconnect();
    }

    /// Closes the handle and all of its clones: calls that wait end as [`Closed`](crate::ErrorKind::Closed), not sent; later
    /// ones too; calls in flight may finish within the close deadline (5 s by default), and end with an unknown outcome
    /// after it; then the server is told goodbye. Hubs end, and their subscribers read what is queued. Never takes longer than the deadline by much, whatever the server
    /// does. Calling it again gives the same report.
    ///
    /// In a web server: stop accepting requests first, let the open ones finish, and close Redis last.
    pub async fn close(&self) -> CloseReport {
        self.close_within(self.inner.rules.close_deadline).await
    }

    pub(crate) async fn close_within(&self, deadline: Duration) -> CloseReport {
        *self.inner.closed.get_or_init(|| close::drain(&self.inner, deadline)).await
    }

    /// Waits for SIGTERM or Ctrl-C, then [`close`](Self::close)s. A second signal cuts what is still in flight.
    ///
    /// # Errors
    /// If the signals can't be listened to.
    pub async fn shutdown_on_signal(&self) -> std::io::Result<CloseReport> {
        close::on_signal(self).await
    }
}
