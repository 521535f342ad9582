//! A cluster of real servers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::patience::Patience;
use crate::{Builder, Error, Result, Server, url};

mod atomic;
mod builder;
mod faults;
mod gate;
mod members;
mod open;
mod partition;
mod place;
mod slot;
mod view;

pub use builder::ClusterBuilder;
pub use open::OpenSlots;
pub use partition::Clients;
pub use slot::slot_of;
pub use view::{NodeView, View};

use place::{Place, Wall};
pub(crate) use slot::SLOTS;

/// A real cluster on 127.0.0.1, each node a [`Server`] of its own, private to whoever holds it.
///
/// When [`Cluster::start`] returns, every node sees the same complete cluster, and every replica follows its primary.
/// Nodes are handed out as `Arc<Server>`: each can be paused, resumed, killed, restarted and asked like any other
/// server. What changes the cluster (a failover, slots that move, nodes that come and go) returns when every node that
/// lives has seen it. The nodes end when the cluster is dropped and nobody else holds them, and always with the process.
///
/// ```no_run
/// # async fn run() -> russet_testkit::Result<()> {
/// use russet_testkit::{Cluster, slot_of};
///
/// let cluster = Cluster::start(3, 1).await?;
/// // Here the code under test connects to cluster.url().
/// let slot = slot_of("user:1");
/// let dead = cluster.kill_primary_of(slot).await?;
/// let new = cluster.promoted(slot).await?;
/// assert_ne!(new.port(), dead.port());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Cluster {
    members: Mutex<Vec<Member>>,
    /// What a node that is added is to be.
    node: Builder,
    patience: Duration,
    /// Who is cut off; None if nobody can be.
    wall: Option<Wall>,
}

#[derive(Clone, Debug)]
struct Member {
    id: String,
    server: Arc<Server>,
    place: Option<Place>,
}

impl Cluster {
    /// Starts that many primaries, each with that many replicas, with the defaults of [`ClusterBuilder`].
    ///
    /// # Errors
    /// See [`ClusterBuilder::start`].
    pub async fn start(primaries: usize, replicas: usize) -> Result<Cluster> {
        Cluster::builder().primaries(primaries).replicas(replicas).start().await
    }

    /// A cluster with options.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::new()
    }

    /// `redis-cluster://127.0.0.1:port,127.0.0.1:port,…`, with the password if there is one, and every node that the
    /// cluster has now.
    #[must_use]
    pub fn url(&self) -> String {
        url::of_many("redis-cluster", self.node.secret(), self.members().iter().map(Member::addr))
    }

    /// The nodes that it has now: at first the primaries in the order of their slots, then their replicas.
    #[must_use]
    pub fn nodes(&self) -> Vec<Arc<Server>> {
        self.members().iter().map(|member| Arc::clone(&member.server)).collect()
    }

    /// The id of a node in the cluster; None if it is none of its nodes.
    #[must_use]
    pub fn id(&self, node: &Server) -> Option<String> {
        self.member(node).ok().map(|member| member.id)
    }

    /// The primary of a slot, after the newest configuration that any living node knows. When it has just died, it
    /// stays that until another is promoted: see [`Cluster::promoted`].
    ///
    /// # Errors
    /// [`Error::Config`] if no living node knows an owner of the slot.
    pub async fn primary_of(&self, slot: u16) -> Result<Arc<Server>> {
        self.owner(slot).await.map(|(primary, _)| primary.server)
    }

    /// The replicas of a slot's primary, dead ones too.
    ///
    /// # Errors
    /// As [`Cluster::primary_of`].
    pub async fn replicas_of(&self, slot: u16) -> Result<Vec<Arc<Server>>> {
        let (primary, view) = self.owner(slot).await?;
        let follows = |member: &Member| {
            view.node(&member.id).is_some_and(|node| node.primary.as_ref() == Some(&primary.id))
        };
        let members = self.members();
        let replicas = members.iter().filter(|member| follows(member));
        Ok(replicas.map(|member| Arc::clone(&member.server)).collect())
    }

    /// The cluster as one node sees it.
    ///
    /// # Errors
    /// [`Error::Config`] if it is none of the cluster's nodes, and as [`Conn::call`](crate::Conn::call).
    pub async fn view(&self, node: &Server) -> Result<View> {
        View::of(&self.member(node)?.server).await
    }

    /// Waits until every living node sees the same complete cluster: each slot has a living owner, no living node is
    /// suspected, each serves, and each living replica follows. Nodes that are dead, paused or cut off are not expected to.
    ///
    /// # Errors
    /// [`Error::NotReached`] with what was missing.
    pub async fn ready(&self) -> Result<()> {
        let patience = Patience::new(self.patience);
        while let Some(seen) = self.flaw().await {
            patience.wait("a cluster that is complete in the eyes of all its nodes", seen).await?;
        }
        Ok(())
    }

    /// What is missing until the cluster is ready.
    async fn flaw(&self) -> Option<String> {
        let members = self.living();
        let living: Vec<&str> = members.iter().map(|member| member.id.as_str()).collect();
        let mut first = None;
        for member in &members {
            let port = member.server.port();
            let view = match View::of(&member.server).await {
                Ok(view) => view,
                Err(error) => return Some(format!("node {port}: {error}")),
            };
            if let Some(flaw) = view.flaw(&living) {
                return Some(format!("node {port}: {flaw}"));
            }
            let (other, layout) = first.get_or_insert_with(|| (port, view.layout(&living)));
            if *layout != view.layout(&living) {
                return Some(format!("nodes {other} and {port} disagree"));
            }
        }
        members.is_empty().then(|| "no node lives".to_owned())
    }

    /// Waits until a living node is the primary of these slots in the eyes of every living node, and serves.
    async fn agreed(&self, slots: &[u16], wanted: Option<&Member>, what: &str) -> Result<Member> {
        self.agreed_within(self.patience, slots, wanted, what).await
    }

    async fn agreed_within(
        &self,
        time: Duration,
        slots: &[u16],
        wanted: Option<&Member>,
        what: &str,
    ) -> Result<Member> {
        let patience = Patience::new(time);
        loop {
            match self.agreement(slots).await {
                Ok(found) if wanted.is_none_or(|wanted| wanted.id == found.id) => return Ok(found),
                Ok(other) => {
                    let seen = format!("{} is the primary", other.server.port());
                    patience.wait(what, seen).await?;
                }
                Err(seen) => patience.wait(what, seen).await?,
            }
        }
    }

    async fn agreement(&self, slots: &[u16]) -> Result<Member, String> {
        let living = self.living();
        let mut found: Option<&Member> = None;
        for member in &living {
            let port = member.server.port();
            let view =
                View::of(&member.server).await.map_err(|error| format!("node {port}: {error}"))?;
            for slot in slots {
                let owner = view.owner(*slot).map(|owner| owner.id.as_str());
                let owner = living.iter().find(|living| Some(living.id.as_str()) == owner);
                let owner = owner
                    .ok_or_else(|| format!("node {port} knows no living primary of {slot}"))?;
                if owner.id != found.get_or_insert(owner).id {
                    return Err(format!("node {port} sees {} as primary", owner.server.port()));
                }
            }
            if !view.is_ok {
                return Err(format!("node {port}: its cluster_state is not ok"));
            }
        }
        found.cloned().ok_or_else(|| "no node lives".to_owned())
    }

    /// The owner of a slot, and the view that says so.
    async fn owner(&self, slot: u16) -> Result<(Member, View)> {
        let mut newest: Option<(u64, Member, View)> = None;
        for member in self.living() {
            // One that does not answer has no say.
            let Ok(view) = View::of(&member.server).await else { continue };
            let Some(owner) = view.owner(slot) else { continue };
            let known = self.members().iter().find(|known| known.id == owner.id).cloned();
            if let Some(known) = known
                && newest.as_ref().is_none_or(|(epoch, ..)| owner.epoch > *epoch)
            {
                newest = Some((owner.epoch, known, view));
            }
        }
        let (_, owner, view) = newest.ok_or_else(|| {
            let reason = format!("no living node knows who owns {slot}; there are {SLOTS}");
            Error::Config { field: "slot", reason }
        })?;
        Ok((owner, view))
    }

    fn member(&self, node: &Server) -> Result<Member> {
        let members = self.members();
        let found = members.iter().find(|member| std::ptr::eq(member.server.as_ref(), node));
        found.cloned().ok_or_else(|| Error::Config {
            field: "node",
            reason: format!("{} is no node of this cluster", node.port()),
        })
    }

    fn living(&self) -> Vec<Member> {
        self.near().into_iter().filter(|member| member.server.is_living()).collect()
    }

    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
