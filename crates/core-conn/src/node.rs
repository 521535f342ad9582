//! One node: its connections, generation after generation, and how one call gets through one of them.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::{select_ok, try_join_all};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::gate::Gate;
use self::generation::Generation;
use self::guide::Guide;
use self::lane::{Lane, State};
use self::own::Idle;
pub(crate) use self::own::Own;
pub(crate) use self::queue::{Queue, Waiting};

use crate::Backoff;
use crate::cluster::Cluster;
use crate::error::{Error, ErrorKind};
use crate::event::{Announcer, Event, EventKind, Purpose};
use crate::flight::{Cut, Place};
use crate::info::Known;
use crate::link::{Reply, Request};
use crate::target::{Access, Site};

mod gate;
mod generation;
mod guide;
mod lane;
mod login;
mod look;
mod own;
mod queue;
mod supervise;

pub(crate) use self::guide::LEFT;
pub(crate) use self::supervise::nonce;

/// What a node is told when it is made.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) site: Site,
    pub(crate) access: Access,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) queue: usize,
    pub(crate) dedicated: usize,
    pub(crate) backoff: Backoff,
    pub(crate) ready_check: bool,
    pub(crate) probe_interval: Duration,
    pub(crate) probe_timeout: Duration,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    /// Of the server, or under sentinels that of the primary.
    pub(crate) name: Arc<str>,
    /// Where the last connection was opened, or was to be.
    place: ArcSwap<Arc<str>>,
    guide: Guide,
    pub(crate) settings: Settings,
    lanes: Box<[Lane]>,
    turn: AtomicUsize,
    /// Whether the last probe was not answered in time.
    hung: AtomicBool,
    /// Whether all lanes are known to have their tasks.
    started: AtomicBool,
    /// Calls that wait, for a connection or for a place on one.
    waiting: Queue,
    /// Places for connections of a caller's own, open or idle.
    dedicated: Arc<Semaphore>,
    /// One for each of these places, taken while a call is under way there.
    busy: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    announcer: Announcer,
    pub(crate) known: Known,
    /// The process of the server that was met last, by its `run_id`.
    run: Mutex<Option<String>>,
    /// The tasks of the hubs, each with one connection.
    pub(crate) hubs: TaskTracker,
    /// Lanes and hubs.
    numbered: AtomicUsize,
    /// Cuts a hub's wait before the next attempt.
    pub(crate) hurry: Notify,
    /// No further call is taken.
    pub(crate) gate: Gate,
    /// Everything ends.
    pub(crate) ended: CancellationToken,
}

/// How long a task that has been told to end may take, where its runtime runs at all.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

impl Node {
    pub(crate) fn new(settings: Settings, announcer: Announcer) -> Arc<Self> {
        let guide = Guide::new(&settings.site, &settings.access);
        Self::guided(settings, announcer, guide)
    }

    /// One that is wherever in its cluster a connection can be had.
    pub(crate) fn led(settings: Settings, announcer: Announcer, by: Weak<Cluster>) -> Arc<Self> {
        Self::guided(settings, announcer, Guide::Within(by))
    }

    fn guided(settings: Settings, announcer: Announcer, guide: Guide) -> Arc<Self> {
        let name: Arc<str> = settings.site.to_string().into();
        let lanes = (0..settings.connections).map(|_| Lane::new(name.clone())).collect();
        Arc::new(Self {
            name: name.clone(),
            place: ArcSwap::from_pointee(name),
            guide,
            lanes,
            turn: AtomicUsize::new(0),
            hung: AtomicBool::new(false),
            started: AtomicBool::new(false),
            waiting: Queue::new(settings.queue),
            dedicated: Arc::new(Semaphore::new(settings.dedicated)),
            busy: Arc::new(Semaphore::new(settings.dedicated)),
            idle: Mutex::default(),
            announcer,
            known: Known::default(),
            run: Mutex::default(),
            hubs: TaskTracker::new(),
            numbered: AtomicUsize::new(settings.connections),
            hurry: Notify::new(),
            gate: Gate::default(),
            ended: CancellationToken::new(),
            settings,
        })
    }

    /// How many connections have been opened: another number, another server perhaps.
    pub(crate) fn generations(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.generations.load(Relaxed)).sum()
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Starts the tasks that connect, where there is none or its runtime has ended. Needs a runtime.
    pub(crate) fn start(self: &Arc<Self>) {
        if !self.started.load(SeqCst) && !self.started.swap(true, SeqCst) {
            for (connection, lane) in self.lanes.iter().enumerate() {
                if !lane.running.swap(true, SeqCst) {
                    tokio::spawn(supervise::run(self.clone(), connection));
                }
            }
        }
    }

    /// Waits until every connection is ready.
    pub(crate) async fn ready(self: &Arc<Self>, deadline: Instant) -> Result<(), Error> {
        if self.gate.is_closed() {
            return Err(Error::not_sent(ErrorKind::Closed));
        }
        // It is no call, and is not counted among those that wait or are turned away.
        let lanes = self.lanes.iter().map(|lane| lane.ready(deadline, true, || self.start()));
        let all = try_join_all(lanes);
        tokio::select! {
            biased;
            () = self.gate.closed() => Err(Error::not_sent(ErrorKind::Closed)),
            ready = all => ready.map(drop),
        }
    }

    /// One attempt. `NotSent` means that the link never saw the request.
    pub(crate) async fn attempt(
        self: &Arc<Self>,
        request: &Request<'_>,
        deadline: Instant,
        budget: Duration,
        wait: bool,
    ) -> Result<Reply, Error> {
        loop {
            if self.gate.is_closed() {
                return Err(Error::not_sent(ErrorKind::Closed));
            }
            // Boxed, both: the slow way must not make every call's future larger.
            let generation = match self.living() {
                Some(generation) => generation,
                None => Box::pin(self.next_living(deadline, wait)).await?,
            };
            self.check_owed(&generation)?;
            let entered = match generation.slab.try_enter(deadline) {
                Some(entered) => entered,
                None => Box::pin(self.wait_to_enter(&generation, deadline)).await?,
            };
            match entered {
                Ok(place) => return generation.call(request, place, budget).await,
                // It ended before this call got to it: nothing was sent, so the next one is as good.
                Err(Cut::Lost) => {}
                Err(Cut::Deadline) => return Err(Error::not_sent(ErrorKind::Deadline(budget))),
            }
        }
    }

    /// A living generation, if there is one: of each lane in turn.
    #[inline]
    fn living(&self) -> Option<Arc<Generation>> {
        let first = if self.lanes.len() == 1 { 0 } else { self.turn.fetch_add(1, Relaxed) };
        (0..self.lanes.len()).find_map(|offset| {
            let lane = &self.lanes[first.wrapping_add(offset) % self.lanes.len()];
            lane.current.load_full().filter(|generation| !generation.slab.is_lost())
        })
    }

    /// Waits, among the calls that wait, until a connection is there.
    pub(crate) async fn connected(
        self: &Arc<Self>,
        deadline: Instant,
        wait: bool,
    ) -> Result<(), Error> {
        self.next_living(deadline, wait).await.map(drop)
    }

    /// Waits for a living generation.
    async fn next_living(
        self: &Arc<Self>,
        deadline: Instant,
        wait: bool,
    ) -> Result<Arc<Generation>, Error> {
        loop {
            self.any_ready(deadline, wait).await?;
            // The lane says ready a moment before its loss is noticed: let the supervisor run.
            tokio::task::yield_now().await;
            if Instant::now() >= deadline {
                return Err(Error::not_sent(ErrorKind::NotConnected("lost while waiting".into())));
            }
            if let Some(generation) = self.living() {
                return Ok(generation);
            }
        }
    }

    /// Waits until a lane is ready. One that may still come is enough.
    async fn any_ready(self: &Arc<Self>, deadline: Instant, wait: bool) -> Result<(), Error> {
        let waiting = self.queue()?;
        let start = || self.start();
        let lanes = self.lanes.iter().map(|lane| Box::pin(lane.ready(deadline, wait, start)));
        tokio::select! {
            biased;
            () = self.gate.closed() => Err(waiting.turn_away()),
            ready = select_ok(lanes) => ready.map(drop),
        }
    }

    /// Whether the server owes this generation too many replies that nobody waits for any more.
    #[inline]
    fn check_owed(&self, generation: &Generation) -> Result<(), Error> {
        let most = 8 * self.settings.in_flight;
        if generation.abandoned.load(Relaxed) > most {
            return Err(Error::not_sent(ErrorKind::Backpressure { waiting: most }));
        }
        Ok(())
    }

    /// Waits for a place on this generation.
    async fn wait_to_enter<'a>(
        &self,
        generation: &'a Generation,
        deadline: Instant,
    ) -> Result<Result<Place<'a>, Cut>, Error> {
        let waiting = self.queue()?;
        tokio::select! {
            biased;
            () = self.gate.closed() => Err(waiting.turn_away()),
            entered = generation.slab.enter(deadline) => Ok(entered),
        }
    }

    fn queue(&self) -> Result<Waiting<'_>, Error> {
        self.waiting.enter()
    }

    /// Tries again now, also after the maximum of attempts.
    pub(crate) fn reconnect(self: &Arc<Self>) {
        if let Guide::Under(sentinels) = &self.guide {
            sentinels.reconnect();
        }
        self.hurry.notify_waiters();
        self.revive();
        self.lanes.iter().for_each(|lane| lane.hurry.notify_waiters());
    }

    /// Tries again, if the maximum of attempts was made.
    pub(crate) fn revive(self: &Arc<Self>) {
        for (connection, lane) in self.lanes.iter().enumerate() {
            let revived = lane.state.send_if_modified(|state| {
                let gave_up = matches!(state, State::GaveUp(_));
                if gave_up {
                    *state = State::Connecting(None);
                }
                gave_up
            });
            if revived {
                tokio::spawn(supervise::run(self.clone(), connection));
            }
        }
    }

    /// Lets what is in flight finish, then says goodbye. Answers how many calls were waiting and
    /// how many had to be cut.
    pub(crate) async fn drain(&self, deadline: Instant) -> (u64, usize) {
        self.gate.close();
        let generations = Vec::from_iter(self.lanes.iter().flat_map(Lane::all));
        let all = async {
            let mut places = Vec::new();
            for generation in &generations {
                places.extend(generation.slab.drained().await);
            }
            let all = u32::try_from(self.settings.dedicated).unwrap_or(u32::MAX);
            places.extend(self.busy.acquire_many(all).await);
            places
        };
        // Kept to the end, so that no call gets in any more.
        let places = tokio::time::timeout_at(deadline.into(), all).await;
        let cut = if places.is_ok() {
            0
        } else {
            let alone = self.settings.dedicated - self.busy.available_permits();
            generations.iter().map(|generation| generation.slab.in_flight()).sum::<usize>() + alone
        };
        for generation in &generations {
            // A server that does not take the goodbye is left without one.
            let _ = tokio::time::timeout_at(deadline.into(), generation.link.quit()).await;
        }
        self.ended.cancel();
        self.end_idle();
        // They ended with the gate, and wait for nobody.
        self.hubs.close();
        let tasks = async {
            self.hubs.wait().await;
            for lane in self.lanes.iter().filter(|lane| lane.running.load(SeqCst)) {
                let over = |state: &State| matches!(state, State::Ended | State::GaveUp(_));
                // Fails only without a sender, and that is the lane itself.
                let _ = lane.state.subscribe().wait_for(over).await;
            }
        };
        // Their runtime may be one that nobody drives any more.
        let _ = tokio::time::timeout(GRACE, tasks).await;
        if let Guide::Under(sentinels) = &self.guide {
            sentinels.close().await;
        }
        (self.waiting.left(), cut)
    }

    /// Ends everything at once.
    pub(crate) fn end(&self) {
        self.gate.close();
        self.ended.cancel();
    }

    /// The number of another connection than the lanes.
    pub(crate) fn one_more_connection(&self) -> usize {
        self.numbered.fetch_add(1, Relaxed)
    }

    fn announce(&self, connection: usize, kind: EventKind) {
        let generation = self.lanes[connection].generations.load(Relaxed);
        let node = self.lanes[connection].place().clone();
        self.announcer.announce(Event {
            node,
            purpose: Purpose::Calls,
            connection,
            generation,
            kind,
        });
    }

    /// It is this process of the server that calls go to from here on.
    fn meet(&self, connection: usize, run: &str) {
        // Kept until it is told: no other connection is ready before.
        let mut met = self.run.lock().unwrap_or_else(PoisonError::into_inner);
        if met.as_ref().is_some_and(|met| met != run) {
            self.announce(connection, EventKind::Replaced);
        }
        *met = Some(run.to_owned());
    }

    pub(crate) fn announcer(&self) -> &Announcer {
        &self.announcer
    }
}
