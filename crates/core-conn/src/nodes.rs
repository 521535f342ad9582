//! What a handle's calls go to: one node, or those of a cluster.

use std::sync::Arc;
use std::time::Instant;

use crate::cluster::Cluster;
use crate::error::Error;
use crate::event::Announcer;
use crate::info::Known;
use crate::node::{Node, Settings};
use crate::target::Site;

#[derive(Debug, Clone)]
pub(crate) enum Nodes {
    One(Arc<Node>),
    Cluster(Arc<Cluster>),
}

impl Nodes {
    pub(crate) fn new(settings: Settings, announcer: Announcer) -> Self {
        match settings.site.clone() {
            Site::Cluster(sites) => Self::Cluster(Cluster::new(sites, settings, announcer)),
            Site::At(_) | Site::Under(_) => Self::One(Node::new(settings, announcer)),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        match self {
            Self::One(node) => node.settings(),
            Self::Cluster(cluster) => cluster.settings(),
        }
    }

    /// For spans and for people.
    #[inline]
    pub(crate) fn name(&self) -> &Arc<str> {
        match self {
            Self::One(node) => &node.name,
            Self::Cluster(cluster) => &cluster.name,
        }
    }

    /// Where a call goes, if they all go there.
    pub(crate) fn place(&self) -> Option<Arc<str>> {
        match self {
            Self::One(node) => Some(node.place()),
            Self::Cluster(_) => None,
        }
    }

    /// Waits until all that calls may need is connected.
    pub(crate) async fn ready(&self, deadline: Instant) -> Result<(), Error> {
        match self {
            Self::One(node) => node.ready(deadline).await,
            Self::Cluster(cluster) => cluster.ready(deadline).await,
        }
    }

    pub(crate) fn reconnect(&self) {
        match self {
            Self::One(node) => node.reconnect(),
            Self::Cluster(cluster) => cluster.reconnect(),
        }
    }

    /// Lets what is in flight finish. Answers how many calls were waiting and how many had to be cut.
    pub(crate) async fn drain(&self, deadline: Instant) -> (u64, usize) {
        match self {
            Self::One(node) => node.drain(deadline).await,
            Self::Cluster(cluster) => cluster.drain(deadline).await,
        }
    }

    /// Ends everything at once.
    pub(crate) fn end(&self) {
        match self {
            Self::One(node) => node.end(),
            Self::Cluster(cluster) => cluster.end(),
        }
    }

    /// How many connections have been opened: another number, another server perhaps.
    pub(crate) fn generations(&self) -> u64 {
        match self {
            Self::One(node) => node.generations(),
            Self::Cluster(cluster) => cluster.generations(),
        }
    }

    /// What was learned last of the server.
    pub(crate) fn known(&self) -> &Known {
        match self {
            Self::One(node) => &node.known,
            Self::Cluster(cluster) => &cluster.known,
        }
    }

    /// Whether a call would find a connection now.
    pub(crate) fn is_connected(&self) -> bool {
        match self {
            Self::One(node) => node.is_connected(),
            Self::Cluster(cluster) => cluster.is_connected(),
        }
    }

    /// Whether no further call is taken.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::One(node) => node.gate.is_closed(),
            Self::Cluster(cluster) => cluster.gate.is_closed(),
        }
    }

    /// Why a call would find none, if that is known.
    pub(crate) fn away(&self) -> Option<Error> {
        match self {
            Self::One(node) => node.away(),
            Self::Cluster(cluster) => cluster.away(),
        }
    }

    /// Whether what a server refuses for its role belongs on another, which the sentinels know.
    pub(crate) fn is_led(&self) -> bool {
        matches!(self, Self::One(node) if node.is_led())
    }

    /// Where it leads, as whom and how, for people; never with a secret.
    pub(crate) fn description(&self) -> String {
        match self {
            Self::One(node) => node.description(),
            Self::Cluster(cluster) => cluster.description(),
        }
    }

    /// The one by which channels and patterns are subscribed to: in a cluster any node hears of every message.
    pub(crate) fn home(&self) -> Arc<Node> {
        match self {
            Self::One(node) => node.clone(),
            Self::Cluster(cluster) => cluster.home().clone(),
        }
    }
}
