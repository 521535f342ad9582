//! Connections in one caller's hands: for commands that block, and for transactions that depend on what was read.

use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::call::{reads_only, refused};
use crate::cmd::{Class, Cmd};
use crate::error::{Error, ErrorKind};
use crate::link::{Reply, Request};
use crate::metrics::Observed;
use crate::node::{Node, Own};
use crate::nodes::Nodes;
use crate::script::{self, ScriptCall};
use crate::table::Route;
use crate::{Durability, FromValue, Key, Redis, ServerError, Value, transaction};

/// A connection that its holder has to itself: nobody waits behind its calls. From [`Redis::dedicated`].
///
/// Each call ends within the handle's deadline, which holds for blocking commands, too: let the server's own timeout be
/// the shorter one, or what `BLPOP` took may be lost on the way, with an unknown outcome. Each call is sent once,
/// whatever its class, and is followed by a probe, so that a reply which is lost can only be its own. A call that is
/// lost, cut by its deadline or dropped ends the connection; later calls are
/// [`ConnectionLost`](ErrorKind::ConnectionLost), not sent: take another one.
///
/// In a cluster it is opened where the first call's key leads. A call whose key leads to another node leaves it and
/// takes one there.
///
/// Dropping it leaves the connection for the next caller for five seconds, and ends it within five more, or at once if
/// it was lost or ran a command that the [table](Cmd) does not know.
///
/// ```no_run
/// # async fn example(redis: russet_core_conn::Redis) -> Result<(), russet_core_conn::Error> {
/// use std::time::Duration;
/// use russet_core_conn::{Cmd, Key};
///
/// let patient = redis.with_deadline(Duration::from_secs(6));
/// let mut own = patient.dedicated().await?;
/// let next: Option<(String, String)> = own.run(Cmd::write("BLPOP").key(&Key::raw("jobs")).arg(5)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Dedicated {
    redis: Redis,
    /// In a cluster it is opened where the first key leads.
    held: Option<Held>,
    /// What it watches is on the node where it is.
    bound: bool,
}

#[derive(Debug)]
struct Held {
    own: Own,
    node: Arc<Node>,
    /// Whether the slot of what it watches is on its way there.
    asking: bool,
}

impl Redis {
    /// A connection of the caller's own: one that another caller has left, or a new one.
    ///
    /// At most [`dedicated`](crate::RedisBuilder::dedicated) of them are out at once; more callers wait for their turn
    /// until their deadline. Lone commands and durable writes take theirs from the same number.
    ///
    /// # Errors
    /// All of them not sent: no place within the deadline, no connection, closed.
    pub async fn dedicated(&self) -> Result<Dedicated, Error> {
        let mut dedicated = Dedicated { redis: self.clone(), held: None, bound: false };
        if let Nodes::One(node) = &self.to {
            let deadline = Instant::now() + self.deadline();
            let taken = dedicated.take(node, deadline).await;
            let held = taken.map_err(|error| error.with(self.context(None, None, 0)))?;
            held.own.rest();
        }
        Ok(dedicated)
    }

    /// Watches keys of one slot for a transaction that depends on them: read them by the [`Watch`], then
    /// [`exec`](Watch::exec).
    ///
    /// A script is the better tool where the decision can be written in Lua: it takes one trip instead of three, and
    /// never has to begin again. Watching is for decisions that need the program.
    ///
    /// # Errors
    /// [`Refused`](ErrorKind::Refused) without a key or for keys of several slots; those of
    /// [`dedicated`](Self::dedicated) and of a call.
    #[track_caller]
    pub fn watch<'a>(
        &'a self,
        keys: &[Key],
    ) -> impl Future<Output = Result<Watch, Error>> + Send + use<'a> {
        let site = Location::caller();
        let watch = Cmd::internal("WATCH").keys(keys);
        let refused = match keys {
            [] => Some("nothing to watch: give at least one key"),
            [first, rest @ ..] if rest.iter().any(|key| key.slot() != first.slot()) => {
                Some("the keys live in different slots; one transaction is on one slot")
            }
            _ => None,
        };
        async move {
            if let Some(why) = refused {
                let error = Error::not_sent(ErrorKind::Refused(why.into()));
                return Err(self.told(error, Some("WATCH"), None, site));
            }
            let mut own = self.dedicated().await?;
            match own.send(Request::Cmd(&watch), Class::Read, "WATCH").await {
                Ok(_) => {
                    own.bound = true;
                    Ok(Watch { own })
                }
                Err(error) => Err(self.told(error, Some("WATCH"), None, site)),
            }
        }
    }
}

impl Dedicated {
    /// Runs one command. One round trip.
    ///
    /// # Errors
    /// Those of [`Redis::run`].
    #[track_caller]
    pub fn run<T: FromValue>(
        &mut self,
        cmd: Cmd,
    ) -> impl Future<Output = Result<T, Error>> + Send + '_ {
        let site = Location::caller();
        async move {
            let value = self.value(&cmd).await.and_then(T::from_value);
            value.map_err(|error| self.redis.told(error, Some(cmd.name()), None, site))
        }
    }

    /// Runs a script. One round trip, two the first time.
    ///
    /// # Errors
    /// Those of [`Redis::script`].
    #[track_caller]
    pub fn script<'a, T: FromValue>(
        &'a mut self,
        call: ScriptCall<'a>,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'a {
        let site = Location::caller();
        async move {
            let name = call.script().name();
            let value = match self.redis.inner.rules.check_size(call.largest()) {
                Ok(()) => self.evaluate(&call, "EVALSHA").await.and_then(T::from_value),
                Err(error) => Err(error),
            };
            value.map_err(|error| self.redis.told(error, Some("EVALSHA"), Some(name), site))
        }
    }

    async fn value(&mut self, cmd: &Cmd) -> Result<Value, Error> {
        cmd.check()?;
        self.redis.inner.rules.check_size(cmd.largest())?;
        match cmd.route() {
            Route::Wrapped => self.evaluate(&script::wrapped(cmd), cmd.name()).await,
            Route::Led if self.redis.is_clustered() && cmd.led().slot().is_err() => {
                self.evaluate(&script::wrapped(cmd), cmd.name()).await
            }
            Route::Led => {
                let led = cmd.led();
                led.unled(self.send(Request::Cmd(&led), cmd.class(), cmd.name()).await?)
            }
            _ => self.send(Request::Cmd(cmd), cmd.class(), cmd.name()).await,
        }
    }

    async fn evaluate(
        &mut self,
        call: &ScriptCall<'_>,
        operation: &'static str,
    ) -> Result<Value, Error> {
        let reply = match self.send(call.by_digest(), call.class(), operation).await {
            Err(error) if error.server() == Some(&ServerError::NoScript) => {
                self.send(call.by_text(), call.class(), operation).await?
            }
            reply => reply?,
        };
        script::unwrap_reply(reply)
    }

    async fn send(
        &mut self,
        request: Request<'_>,
        class: Class,
        operation: &'static str,
    ) -> Result<Value, Error> {
        self.observed(request, class, operation, Reply::one).await
    }

    async fn exec(&mut self, cmds: Vec<Cmd>) -> Result<Option<Vec<Value>>, Error> {
        let block = transaction::block(cmds, &self.redis.inner.rules)?;
        let replies = |reply| transaction::replies(reply, block.len());
        self.observed(Request::Batch(&block), Class::Write, "EXEC", replies).await
    }

    /// A connection to this node, which it holds from here on.
    async fn take(&mut self, node: &Arc<Node>, deadline: Instant) -> Result<&mut Held, Error> {
        // Left first: it may be the one that is to be had.
        self.held = None;
        let own = node.own(deadline, self.redis.deadline(), self.redis.wait).await?;
        Ok(self.held.insert(Held { own, node: node.clone(), asking: false }))
    }

    async fn call(
        &mut self,
        request: Request<'_>,
        durability: Durability,
        deadline: Instant,
        budget: Duration,
    ) -> Result<Reply, Error> {
        let watches = matches!(request, Request::Cmd(cmd) if cmd.name() == "WATCH");
        let redis = self.redis.clone();
        let Nodes::Cluster(cluster) = &redis.to else {
            let held = self.held.as_mut().ok_or_else(|| Error::not_sent(ErrorKind::Closed))?;
            held.own.watching |= watches;
            return held.own.call(request, false, durability, deadline, budget).await;
        };
        let slot = request.slot()?;
        if let Some(held) = self.held.as_mut().filter(|_| self.bound || slot.is_none()) {
            let asking = held.asking;
            let reply = held.own.call(request, asking, durability, deadline, budget).await;
            return refused(&request, reply).map_err(|error| error.at(&held.node.place()));
        }
        let way = cluster.way(slot, Class::Write, deadline, budget, redis.wait);
        let mut way = way.with(&request, Class::Write);
        loop {
            let stop = way.stop().await?;
            let held = match self.held.take().filter(|held| Arc::ptr_eq(&held.node, stop.node())) {
                Some(held) => self.held.insert(held),
                None => self.take(stop.node(), deadline).await?,
            };
            held.own.watching |= watches;
            held.asking = stop.asking;
            let reply = held.own.call(request, stop.asking, durability, deadline, budget).await;
            match refused(&request, reply) {
                Ok(reply) => return Ok(reply),
                Err(error) => way.on(&stop, error).await?,
            }
        }
    }

    async fn observed<T>(
        &mut self,
        request: Request<'_>,
        class: Class,
        operation: &'static str,
        read: impl FnOnce(Reply) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (budget, durability) = (self.redis.deadline(), self.redis.durability_of(class));
        let observed = Observed::start(operation, self.redis.to.name());
        let redis = self.redis.clone();
        let permit = match redis.permit() {
            Ok(permit) => permit,
            Err(error) => return redis.refused(&observed, error).await,
        };
        if class != Class::Read && self.redis.inner.rules.reads_only {
            return self.redis.refused(&observed, reads_only()).await;
        }
        let reply = self.call(request, durability, Instant::now() + budget, budget).await;
        if let Some(held) = &mut self.held {
            held.own.rest();
        }
        let reply = reply.and_then(read);
        if let Some(permit) = permit {
            permit.record(&reply);
        }
        observed.end(&reply, 1);
        reply.map_err(|error| error.with(self.redis.context(None, None, 1)))
    }
}

/// Keys that are being watched, and the connection that watches them. From [`Redis::watch`].
///
/// Dropping it without [`exec`](Self::exec) changes nothing, and ends the connection; so does an `exec` that is not sent.
///
/// ```no_run
/// # async fn example(redis: russet_core_conn::Redis) -> Result<(), russet_core_conn::Error> {
/// use russet_core_conn::{Cmd, Key};
///
/// let seats = Key::raw("seats:SEA:LAX");
/// let sold = loop {
///     let mut watch = redis.watch(std::slice::from_ref(&seats)).await?;
///     let left: i64 = watch.run(Cmd::read("GET").key(&seats)).await?;
///     if left == 0 {
///         break false;
///     }
///     // None: somebody else was faster, so what was read counts no more.
///     if watch.exec([Cmd::write("DECR").key(&seats)]).await?.is_some() {
///         break true;
///     }
/// };
/// # let _ = sold;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Watch {
    own: Dedicated,
}

impl Watch {
    /// Runs one command now, before the transaction. See [`Dedicated::run`].
    ///
    /// # Errors
    /// Those of [`Redis::run`].
    #[track_caller]
    pub fn run<T: FromValue>(
        &mut self,
        cmd: Cmd,
    ) -> impl Future<Output = Result<T, Error>> + Send + '_ {
        self.own.run(cmd)
    }

    /// Runs the commands as one transaction, unless a watched key has changed since it was watched: `None` then, and
    /// nothing was applied. One round trip.
    ///
    /// # Errors
    /// Those of [`Redis::transaction`].
    #[track_caller]
    pub fn exec(
        self,
        cmds: impl IntoIterator<Item = Cmd>,
    ) -> impl Future<Output = Result<Option<Vec<Value>>, Error>> + Send {
        let site = Location::caller();
        let cmds: Vec<Cmd> = cmds.into_iter().collect();
        async move {
            let mut own = self.own;
            let replies = own.exec(cmds).await;
            replies.map_err(|error| own.redis.told(error, Some("EXEC"), None, site))
        }
    }
}
