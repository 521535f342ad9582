//! Where a hub's topics live: all on one connection, but for the sharded channels of a cluster, each of which is where its
//! slot is, and goes along when that moves.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use futures_util::future::join_all;
use tokio::sync::Notify;

use super::HubReport;
use super::mailbox::Mailbox;
use super::state::{Settings, State};
use super::topic::{Kind, Topic};
use crate::cluster::{Cluster, Member};
use crate::cmd::Class;
use crate::error::Error;
use crate::keyspace::slot_of;
use crate::nodes::Nodes;

pub(super) struct Homes {
    pub(super) main: Arc<State>,
    sharded: Option<Arc<Sharded>>,
}

/// The connections of sharded channels, by the address of the node.
pub(super) struct Sharded {
    cluster: Arc<Cluster>,
    settings: Settings,
    states: Mutex<HashMap<Arc<str>, Arc<State>>>,
    /// A node said that a channel is not its own.
    astray: Notify,
    following: AtomicBool,
}

impl Homes {
    pub(super) fn new(nodes: &Nodes, settings: Settings) -> Self {
        let sharded = match nodes {
            Nodes::One(_) => None,
            Nodes::Cluster(cluster) => Some(Arc::new(Sharded {
                cluster: cluster.clone(),
                settings,
                states: Mutex::default(),
                astray: Notify::new(),
                following: AtomicBool::new(false),
            })),
        };
        Self { main: State::new(nodes.home(), settings, None), sharded }
    }

    /// Adds a subscriber where the topic lives.
    pub(super) async fn join(
        &self,
        topic: &Topic,
        mailbox: &Arc<Mailbox>,
        deadline: Instant,
        patient: bool,
    ) -> Result<(), Error> {
        let Some(sharded) = self.sharded.as_ref().filter(|_| topic.kind == Kind::Sharded) else {
            return self.main.join(topic, mailbox, patient);
        };
        let budget = deadline.saturating_duration_since(Instant::now());
        let slot = Some(slot_of(&topic.name));
        let mut way = sharded.cluster.way(slot, Class::Write, deadline, budget, patient);
        let stop = way.stop().await?;
        if !sharded.following.swap(true, SeqCst) {
            self.main.node.hubs.spawn(follow(Arc::downgrade(sharded), self.main.clone()));
        }
        let mut states = sharded.states();
        // Whoever ends the hub says so first, and looks for these second.
        if self.main.ended.is_cancelled() {
            return self.main.join(topic, mailbox, patient);
        }
        sharded.state(&mut states, stop.member()).join(topic, mailbox, patient)
    }

    /// Takes a subscriber off, wherever it is by now.
    pub(super) fn leave(&self, topic: &Topic, mailbox: &Arc<Mailbox>) {
        let Some(sharded) = self.sharded.as_ref().filter(|_| topic.kind == Kind::Sharded) else {
            return self.main.leave(topic, mailbox);
        };
        // None is between two homes as long as this is locked.
        sharded.states().values().for_each(|state| state.leave(topic, mailbox));
    }

    /// What to tell a subscriber that waited in vain.
    pub(super) fn state_of(&self, topic: &Topic) -> Arc<State> {
        let sharded = self.sharded.as_ref().filter(|_| topic.kind == Kind::Sharded);
        let found = sharded.and_then(|sharded| {
            let map = sharded.cluster.map();
            let seat = map.owner(slot_of(&topic.name))?;
            sharded.states().get(&seat.member.place).cloned()
        });
        found.unwrap_or_else(|| self.main.clone())
    }

    fn all(&self) -> Vec<Arc<State>> {
        let mut all = vec![self.main.clone()];
        if let Some(sharded) = &self.sharded {
            all.extend(sharded.states().values().cloned());
        }
        all
    }

    pub(super) fn end(&self) {
        // It first, so that no other is added any more.
        self.main.end();
        for state in self.all() {
            state.end();
        }
        self.leave_nodes();
    }

    /// The nodes that were only this hub's.
    fn leave_nodes(&self) {
        if let Some(sharded) = &self.sharded {
            sharded.states().values().for_each(|state| sharded.cluster.no_extra(&state.node));
        }
    }

    pub(super) async fn shut_down(&self) -> HubReport {
        self.main.end();
        let all = self.all();
        let reports = join_all(all.iter().map(|state| state.shut_down())).await;
        self.leave_nodes();
        reports.into_iter().fold(HubReport::default(), |sum, one| HubReport {
            subscribers: sum.subscribers + one.subscribers,
            unread: sum.unread + one.unread,
            not_sent: sum.not_sent + one.not_sent,
            unknown: sum.unknown + one.unknown,
        })
    }
}

impl Sharded {
    fn states(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<State>>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(
        self: &Arc<Self>,
        states: &mut HashMap<Arc<str>, Arc<State>>,
        member: &Member,
    ) -> Arc<State> {
        let make = || {
            let node = self.cluster.extra(&member.endpoint);
            State::new(node, self.settings, Some(Arc::downgrade(self)))
        };
        states.entry(member.place.clone()).or_insert_with(make).clone()
    }

    /// The server's word that a channel lives elsewhere.
    pub(super) fn refer(self: &Arc<Self>, topic: &Topic, error: &Error, from: &str) {
        self.cluster.heed(slot_of(&topic.name), error, from);
        self.astray.notify_one();
    }

    /// A node does not serve a channel any more.
    pub(super) fn doubt(self: &Arc<Self>) {
        self.cluster.doubt();
        self.astray.notify_one();
    }

    /// Takes each channel to where its slot is now.
    fn rehome(self: &Arc<Self>, main: &State) {
        let map = self.cluster.map();
        let mut states = self.states();
        if main.ended.is_cancelled() {
            return;
        }
        let mut moved = Vec::new();
        for (place, state) in &*states {
            let leaves = |name: &[u8]| {
                map.owner(slot_of(name)).is_some_and(|seat| seat.member.place != *place)
            };
            moved.extend(state.take(leaves));
        }
        for (topic, mailboxes) in moved {
            if let Some(seat) = map.owner(slot_of(&topic.name)) {
                self.state(&mut states, &seat.member).adopt(&topic, mailboxes);
            }
        }
        states.retain(|place, state| {
            // Of a slot that nobody serves the channel stays, until somebody does.
            let stays = map.members().any(|member| member.place == *place)
                || state.board(|board| board.is_used());
            if !stays {
                state.end();
                self.cluster.no_extra(&state.node);
            }
            stays
        });
    }
}

async fn follow(sharded: Weak<Sharded>, main: Arc<State>) {
    let Some(mut news) = sharded.upgrade().map(|sharded| sharded.cluster.news()) else { return };
    loop {
        let Some(sharded) = sharded.upgrade() else { return };
        sharded.rehome(&main);
        tokio::select! {
            () = main.ended.cancelled() => return,
            () = main.node.gate.closed() => return,
            () = sharded.astray.notified() => {}
            () = news.changed() => {}
        }
    }
}
