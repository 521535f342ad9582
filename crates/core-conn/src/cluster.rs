//! A cluster: which of its nodes a call belongs to.
//!
//! The [`Map`] says who serves which slot. It is replaced as a whole by each refresh (`refresh.rs`), and slot by slot by
//! each `MOVED`. A call finds its way by it, and along what the servers answer (`way.rs`); the connections are those of
//! the members, each a [`Node`] like any other.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

pub use self::listing::Standing;
use self::map::Map;
pub(crate) use self::member::Member;
use crate::Class;
use crate::error::{Error, ErrorKind, ServerError};
use crate::event::Announcer;
use crate::info::Known;
use crate::node::{Gate, Node, Queue, Settings, Waiting};
use crate::target::{Endpoint, Site};

mod change;
mod lag;
mod layout;
mod listing;
mod map;
mod member;
mod refresh;
mod sites;
mod turn;
mod way;

pub(crate) use self::layout::Layout;
pub use self::sites::ReplicaReads;
pub(crate) use self::sites::Sites;
pub(crate) use self::turn::Turn;
pub(crate) use self::way::{Stop, Way};

/// A cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) name: Arc<str>,
    /// Of each member, but for its site.
    settings: Settings,
    sites: Sites,
    announcer: Announcer,
    map: ArcSwap<Map>,
    /// The map that was last told of; held while another one is made.
    told: Mutex<Arc<Map>>,
    news: watch::Sender<News>,
    /// Members that the map names no more, until their last call is answered.
    leaving: Mutex<Vec<Arc<Member>>>,
    turn: Turn,
    /// Somebody found the map wrong, and can't go on without another.
    stale: Notify,
    /// A slot was found elsewhere, and is known to be there since.
    mended: Notify,
    /// Somebody does not want to wait for the next attempt.
    hurry: Notify,
    /// Whether there is a task that learns the map.
    learning: AtomicBool,
    waiting: Queue,
    pub(crate) known: Known,
    /// For channels and patterns, of which any node hears.
    home: OnceLock<Arc<Node>>,
    /// For sharded channels: they outlive the members, whose channels go elsewhere first.
    extras: Mutex<Vec<Arc<Node>>>,
    pub(crate) gate: Gate,
    pub(crate) ended: CancellationToken,
}

/// What those who wait for another map are told.
#[derive(Debug, Clone, Default)]
struct News {
    /// Grows with each map.
    version: u64,
    /// Grows with each answer of a node that was asked for it.
    answers: u64,
    /// Why the last attempt to learn it failed, if it did.
    failed: Option<Error>,
}

impl Cluster {
    pub(crate) fn new(sites: Sites, settings: Settings, announcer: Announcer) -> Arc<Self> {
        Arc::new(Self {
            name: sites.to_string().into(),
            waiting: Queue::new(settings.queue),
            settings,
            sites,
            announcer,
            map: ArcSwap::from_pointee(Map::empty()),
            told: Mutex::new(Arc::new(Map::empty())),
            news: watch::Sender::default(),
            leaving: Mutex::default(),
            turn: Turn::default(),
            stale: Notify::new(),
            mended: Notify::new(),
            hurry: Notify::new(),
            learning: AtomicBool::new(false),
            known: Known::default(),
            home: OnceLock::new(),
            extras: Mutex::default(),
            gate: Gate::default(),
            ended: CancellationToken::new(),
        })
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn map(&self) -> Arc<Map> {
        self.map.load_full()
    }

    /// Starts the task that learns the map, where there is none or its runtime has ended. Needs a runtime.
    fn start(self: &Arc<Self>) {
        if !self.learning.load(SeqCst) && !self.learning.swap(true, SeqCst) {
            tokio::spawn(refresh::run(self.clone()));
        }
    }

    /// Asks for another map soon: this one led astray.
    pub(crate) fn doubt(self: &Arc<Self>) {
        self.start();
        self.stale.notify_one();
    }

    /// Whether any node has told the map yet.
    pub(crate) fn is_learnt(&self) -> bool {
        self.news.borrow().version > 0
    }

    /// Waits for a map that is newer than this call. The last one will do where nobody answers.
    pub(crate) async fn learnt(self: &Arc<Self>, deadline: Instant) -> Result<(), Error> {
        if self.gate.is_closed() {
            return Err(Error::not_sent(ErrorKind::Closed));
        }
        let mut news = self.news.subscribe();
        let known = news.borrow_and_update().answers;
        self.doubt();
        let learnt = async {
            let is_new = |news: &News| news.answers > known || (known > 0 && news.failed.is_some());
            while !is_new(&news.borrow_and_update()) {
                self.start();
                if news.changed().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            () = self.gate.closed() => Err(Error::not_sent(ErrorKind::Closed)),
            () = learnt => Ok(()),
            () = tokio::time::sleep_until(deadline.into()) => match known {
                0 => Err(unlearnt(self.news.borrow().failed.clone())),
                _ => Ok(()),
            },
        }
    }

    /// Waits until every node that serves slots is connected.
    pub(crate) async fn ready(self: &Arc<Self>, deadline: Instant) -> Result<(), Error> {
        if self.gate.is_closed() {
            return Err(Error::not_sent(ErrorKind::Closed));
        }
        let mut news = self.news.subscribe();
        let ready = async {
            loop {
                self.start();
                let seen = news.borrow_and_update().clone();
                let map = self.map();
                let owners = map.owners().iter().map(|member| member.calls.ready(deadline));
                let is_whole = map.unserved().is_none() && map.serves;
                let all = async {
                    match is_whole {
                        true => join_all(owners).await.into_iter().collect::<Result<Vec<()>, _>>(),
                        false => std::future::pending().await,
                    }
                };
                tokio::select! {
                    biased;
                    () = self.gate.closed() => return Err(Error::not_sent(ErrorKind::Closed)),
                    changed = news.changed() => changed.map_err(|_| Error::not_sent(ErrorKind::Closed))?,
                    all = all => return all.map(drop),
                    () = tokio::time::sleep_until(deadline.into()) => {
                        return Err(match (seen.answers, map.unserved()) {
                            (0, _) => unlearnt(seen.failed),
                            (_, Some(slot)) => Error::not_sent(ErrorKind::Unserved { slot: Some(slot) }),
                            (_, None) => Error::not_sent(ErrorKind::NotConnected(DOWN.into())),
                        });
                    }
                }
            }
        };
        ready.await
    }

    /// The node without calls by which channels and patterns are subscribed to.
    pub(crate) fn home(self: &Arc<Self>) -> &Arc<Node> {
        let home = self.home.get_or_init(|| {
            Node::led(self.settings.clone(), self.announcer.clone(), Arc::downgrade(self))
        });
        // Whoever closes says so first, and looks for it second.
        if self.gate.is_closed() {
            home.end();
        }
        home
    }

    fn extras(&self) -> MutexGuard<'_, Vec<Arc<Node>>> {
        self.extras.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node without calls, for a connection of another kind to this address.
    pub(crate) fn extra(&self, endpoint: &Endpoint) -> Arc<Node> {
        let site = Site::At(endpoint.clone());
        let settings = Settings { site, ..self.settings.clone() };
        let node = Node::new(settings, self.announcer.clone());
        self.extras().push(node.clone());
        // Whoever closes says so first, and looks for them second.
        if self.gate.is_closed() {
            node.end();
        }
        node
    }

    pub(crate) fn no_extra(&self, node: &Arc<Node>) {
        self.extras().retain(|other| !Arc::ptr_eq(other, node));
        node.end();
    }

    /// Tells of each other map.
    pub(crate) fn news(&self) -> Changes {
        Changes(self.news.subscribe())
    }

    /// A node has said of this slot that it is elsewhere.
    pub(crate) fn heed(self: &Arc<Self>, slot: u16, error: &Error, from: &str) {
        let map = self.map();
        match (error.server(), map.find(from)) {
            (Some(ServerError::Moved { node, .. }), Some(from)) => {
                self.redirect(Some(slot), node, &from.endpoint);
            }
            _ => self.doubt(),
        }
    }

    /// A node that hears of every message: one that is connected, in turn.
    pub(crate) async fn somewhere(self: &Arc<Self>) -> Result<Endpoint, Error> {
        let now = Instant::now();
        let within = self.settings.access.connect_timeout;
        let stop = self.way(None, Class::Read, now + within, within, true).stop().await?;
        Ok(stop.endpoint().clone())
    }

    /// Resolves when the map names no such node any more.
    pub(crate) async fn left(&self, place: &str) {
        let mut news = self.news.subscribe();
        // Its sender is this.
        while self.map().find(place).is_some() && news.changed().await.is_ok() {}
    }

    fn queue(&self) -> Result<Waiting<'_>, Error> {
        self.waiting.enter()
    }

    fn change(&self) -> MutexGuard<'_, Arc<Map>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leaving(&self) -> MutexGuard<'_, Vec<Arc<Member>>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        let mut members = self.leaving().clone();
        members.extend(self.map().members().cloned());
        let nodes = members.iter().flat_map(|member| member.nodes());
        let mut nodes: Vec<_> = nodes.chain(self.home.get()).cloned().collect();
        nodes.extend(self.extras().iter().cloned());
        nodes
    }

    /// Tries again now to reach whoever is away, also after the maximum of attempts.
    pub(crate) fn reconnect(self: &Arc<Self>) {
        self.doubt();
        self.hurry.notify_one();
        self.nodes().iter().for_each(Node::reconnect);
    }

    /// As [`Node::drain`], for all members at once.
    pub(crate) async fn drain(&self, deadline: Instant) -> (u64, usize) {
        {
            let _changing = self.change();
            self.gate.close();
        }
        let drained = join_all(self.nodes().iter().map(|node| node.drain(deadline))).await;
        self.end();
        let (waiting, cut) =
            drained.into_iter().fold((0, 0), |(all, more), (one, cut)| (all + one, more + cut));
        (waiting + self.waiting.left(), cut)
    }

    /// Ends everything at once.
    pub(crate) fn end(&self) {
        {
            // Whoever makes another map has started its members by then, or starts none.
            let _changing = self.change();
            self.gate.close();
        }
        self.ended.cancel();
        self.nodes().iter().for_each(|node| node.end());
    }

    /// How often connections have been opened, and maps drawn: another number, other servers perhaps.
    pub(crate) fn generations(&self) -> u64 {
        let opened: u64 = self.nodes().iter().map(|node| node.generations()).sum();
        opened + self.news.borrow().version
    }

    /// Whether a call would find a connection now.
    pub(crate) fn is_connected(&self) -> bool {
        self.map().owners().iter().any(|member| member.calls.is_connected())
    }

    /// Why a call would find none, if that is known.
    pub(crate) fn away(&self) -> Option<Error> {
        if self.gate.is_closed() {
            return Some(Error::not_sent(ErrorKind::Closed));
        }
        let map = self.map();
        if map.owners().is_empty() {
            let failed = self.news.borrow().failed.clone();
            return failed.map(|failed| unlearnt(Some(failed)));
        }
        let reasons = map.owners().iter().map(|member| member.calls.away());
        let reasons: Option<Vec<_>> = reasons.collect();
        reasons.and_then(|reasons| reasons.into_iter().next())
    }

    /// Where it leads, as whom and how, for people; never with a secret.
    pub(crate) fn description(&self) -> String {
        format!("{}, {:?}", self.name, self.settings)
    }
}

/// Hears of each other map.
pub(crate) struct Changes(watch::Receiver<News>);

impl Changes {
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Nothing is known of the cluster yet.
fn unlearnt(failed: Option<Error>) -> Error {
    let Some(failed) = failed else {
        return Error::not_sent(ErrorKind::NotConnected("still learning the cluster's map".into()));
    };
    let reason = format!("no listed node tells the cluster's map: {}", failed.kind());
    Error::not_sent(ErrorKind::NotConnected(reason)).caused_by(failed.kind())
}

/// Why no slot is served.
const DOWN: &str = "the cluster says that it is down";

/// How long the map may be taken for right without being asked for again.
const REFRESH: Duration = Duration::from_secs(10);
