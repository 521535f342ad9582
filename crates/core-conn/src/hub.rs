//! Subscriptions: many subscribers on one connection.

use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

pub use self::builder::HubBuilder;
pub use self::delivery::{Delivery, Gap, Message};
use self::homes::Homes;
use self::mailbox::{Mailbox, Standing};
use self::state::Settings;
pub use self::subscription::Subscription;
pub use self::topic::Topic;
use self::wire::frame::NAME;
use crate::error::{Error, ErrorKind};
use crate::metrics::Observed;
use crate::nodes::Nodes;
use crate::redis::Redis;

mod board;
mod builder;
mod delivery;
mod heartbeat;
mod homes;
mod keeper;
mod mailbox;
mod run;
mod session;
mod state;
mod subscription;
mod talk;
mod topic;
mod wire;

/// Subscriptions to channels, patterns and sharded channels: any number of subscribers on one connection. Cheap to
/// clone.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use russet_core_conn::{Delivery, Redis, Topic};
///
/// let redis = Redis::connect("redis://localhost").await?;
/// let mut news = redis.hub().subscribe(Topic::pattern("news.*")).await?;
/// while let Some(delivery) = news.next().await {
///     match delivery {
///         Delivery::Message(message) => println!("{} bytes", message.payload().len()),
///         Delivery::Missed(count) => println!("too slow for {count} messages"),
///         Delivery::Gap(gap) => println!("perhaps more was published in {:?}", gap.duration()),
///         _ => {}
///     }
/// }
/// # Ok(()) }
/// ```
///
/// **Pub/sub wakes; the truth is in keys.** The server keeps no message for anybody: one that is published while the
/// connection is away is gone. So a message should say that something changed, and whoever hears it, or hears of a
/// [`Gap`](Delivery::Gap), should read the key or the stream that says what. What must arrive belongs in a stream.
///
/// # What you can rely on
///
/// 1. **[`subscribe`](Self::subscribe) resolves when the server has confirmed**: what is published after that arrives.
///    Where others had subscribed to it here before, what was published a moment earlier may arrive, too.
/// 2. **Messages of one topic arrive in order and once.** One that is published to a channel and matches a pattern,
///    too, arrives by each.
/// 3. **A slow subscriber is in nobody's way.** At most [`queue`](HubBuilder::queue) messages and
///    [`queue_bytes`](HubBuilder::queue_bytes) wait for it; beyond, its oldest messages are dropped, and
///    [`Missed`](Delivery::Missed) tells it how many, exactly, before the next one that is left. The oldest and not the
///    newest, because what is newest is true the longest.
/// 4. **Every loss of the connection is told to every subscriber**: [`Away`](Delivery::Away) when it is noticed,
///    [`Gap`](Delivery::Gap) when the server has confirmed the subscription again.
/// 5. **A deaf or hung connection is found.** Each [`interval`](HubBuilder::heartbeat) the server is asked for a random
///    number and for how many subscriptions it has (`CLIENT INFO`). Another number, another count, or no answer within
///    the timeout ends the connection. Where the user may not call `CLIENT INFO`, only the number is asked for, and
///    the event [`Ready`](crate::EventKind::Ready) says so by [`ReadyCheck::Ping`](crate::ReadyCheck::Ping).
/// 6. **Memory is bounded**: by the bounds of the queues times the subscribers, and one message of
///    [`max_message`](HubBuilder::max_message) on its way. All subscribers share one copy of a message, so that it is
///    far less where they are slow together.
///
/// # Connection
///
/// It is opened by the first `subscribe`, and kept. After a loss the next one is opened as the handle's
/// [`Backoff`](crate::Backoff) says, and everything is subscribed again in one pipeline. [`Redis::events`] tells of it
/// with [`Purpose::Subscriptions`](crate::Purpose::Subscriptions). Once it has given up, `subscribe` fails at once
/// until [`Redis::reconnect`]; subscribers wait on.
///
/// The server ends a connection that does not take what it is sent (`client-output-buffer-limit pubsub`). The hub
/// reads whenever it may run, and leaves slowness to the queues.
///
/// # Its end
///
/// [`Redis::hub`] gives the hub that all clones of a handle share; it ends with the handle. [`Hub::builder`] makes
/// another one, with a connection of its own, which ends when its clones and subscriptions are dropped, or with the
/// handle. A hub and a subscription keep the handle alive. Its task runs where the first `subscribe` was made, and a
/// hub ends with that runtime. [`Redis::close`] ends all hubs of the handle: what is
/// queued can still be read, then [`next`](Subscription::next) gives `None`.
#[derive(Clone)]
pub struct Hub {
    redis: Redis,
    pub(crate) shared: Arc<Shared>,
}

/// What the clones of a hub own together.
pub(crate) struct Shared {
    homes: Homes,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.homes.end();
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl Shared {
    fn new(nodes: &Nodes, settings: Settings) -> Arc<Self> {
        Arc::new(Self { homes: Homes::new(nodes, settings) })
    }

    /// The one that a handle's clones share.
    pub(crate) fn of(nodes: &Nodes) -> Arc<Self> {
        Self::new(nodes, builder::defaults(nodes.settings()))
    }
}

impl Hub {
    /// Options for a hub with a connection of its own.
    pub fn builder(redis: &Redis) -> HubBuilder {
        HubBuilder::new(redis)
    }

    pub(crate) fn new(redis: Redis, shared: Arc<Shared>) -> Self {
        Self { redis, shared }
    }

    /// Subscribes, and waits until the server has confirmed: at most for the handle's deadline. One round trip; none
    /// if somebody in this process has subscribed to it on this hub.
    ///
    /// A connection that is lost meanwhile is waited for, and the server is asked again. A handle
    /// [`without_waiting`](Redis::without_waiting) fails at once where it is known that there is none. Dropping the
    /// future takes everything back.
    ///
    /// # Errors
    /// [`Server`](ErrorKind::Server) with `NOPERM` if the user may not; [`NotConnected`](ErrorKind::NotConnected),
    /// [`Deadline`](ErrorKind::Deadline), [`GaveUp`](ErrorKind::GaveUp), [`Closed`](ErrorKind::Closed);
    /// [`Refused`](ErrorKind::Refused) for a name of more than 64 KiB. Where the outcome is unknown the server
    /// had been asked; whatever it answers, nothing stays subscribed.
    #[track_caller]
    pub fn subscribe(
        &self,
        topic: Topic,
    ) -> impl Future<Output = Result<Subscription, Error>> + Send + 'static {
        let (hub, site) = (self.clone(), Location::caller());
        async move {
            let (operation, redis) = (topic.kind.subscribe(), hub.redis.clone());
            let observed = Observed::start(operation, redis.inner.nodes.name());
            let subscribed = hub.join(topic).await;
            observed.end(&subscribed, 1);
            subscribed.map_err(|error| redis.told(error, Some(operation), None, site))
        }
    }

    async fn join(self, topic: Topic) -> Result<Subscription, Error> {
        let (budget, patient) = (self.redis.deadline(), self.redis.wait);
        let deadline = Instant::now() + budget;
        let shared = self.shared.clone();
        let homes = &shared.homes;
        if homes.main.node.gate.is_closed() {
            return Err(Error::not_sent(ErrorKind::Closed));
        }
        if topic.name.len() > NAME {
            let why = format!("a name of {} bytes; allowed: at most {NAME}", topic.name.len());
            return Err(Error::not_sent(ErrorKind::Refused(why)));
        }
        let mailbox = Arc::new(Mailbox::new(homes.main.settings.limits, patient));
        // Takes everything back when it is dropped.
        let subscription = Subscription { hub: self, topic, mailbox };
        let mailbox = &subscription.mailbox;
        homes.join(&subscription.topic, mailbox, deadline, patient).await?;
        let joined = || poll_fn(|cx| mailbox.poll_joined(cx));
        match tokio::time::timeout_at(deadline.into(), joined()).await {
            Ok(joined) => joined?,
            Err(_) => match mailbox.standing() {
                Standing::Joining { asked } => {
                    let state = homes.state_of(&subscription.topic);
                    return Err(state.board(|board| board.in_vain(asked, budget)));
                }
                // At the last moment: that it joined, or that it can't.
                Standing::Joined { .. } | Standing::Done => joined().await?,
            },
        }
        Ok(subscription)
    }

    /// Ends the hub and all of its clones: subscribers read what is queued, and then `None`; subscriptions that wait
    /// for the server, and later ones, fail as [`Closed`](ErrorKind::Closed); the connection is closed. It waits for
    /// nobody. Calling it again gives the same report.
    pub async fn shutdown(&self) -> HubReport {
        self.shared.homes.shut_down().await
    }
}

/// What ending a hub left undone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubReport {
    /// Subscribers that were left.
    pub subscribers: u64,
    /// Messages that were queued for them. They can still be read.
    pub unread: u64,
    /// Calls of `subscribe` that waited, of which the server was never asked.
    pub not_sent: u64,
    /// Calls of `subscribe` that waited for the server's answer.
    pub unknown: u64,
}
