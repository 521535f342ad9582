use std::net::SocketAddr;

use super::place::{Cut, Wall};
use super::{Cluster, Member};
use crate::port::TO_BUS;
use crate::{Error, Result, Server};

/// Whether clients reach nodes that are cut off from the others: see [`Cluster::cut_off`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// They reach both sides, and can write to two primaries of one slot for a while.
    Reach,
    /// They are on the side of the others.
    AreCutOffToo,
}

impl Cluster {
    /// Cuts these nodes off from all others, not from each other: nothing passes any more, neither on the bus nor for
    /// replication, connections stay and nobody is told. A cluster can be cut in two, and a second call says anew where.
    ///
    /// Until [`Cluster::heal`], what waits for all living nodes ([`Cluster::promoted`], [`Cluster::ready`], …), and
    /// what asks who owns a slot, looks at the others only. [`Server::conn`] passes by the cut, so a test can see
    /// both sides.
    ///
    /// # Errors
    /// [`Error::Config`] without [`ClusterBuilder::partitions`](crate::ClusterBuilder::partitions), or if a node is none
    /// of this cluster's. [`Error::Network`] from a thread that is not in the cluster's network.
    pub fn cut_off(&self, nodes: &[&Server], clients: Clients) -> Result<()> {
        let far = nodes.iter().map(|node| self.member(node)).collect::<Result<Vec<_>>>()?;
        let nodes = far.iter().filter_map(|member| Some(member.place.as_ref()?.source()));
        let (nodes, from_clients) = (nodes.collect(), clients == Clients::AreCutOffToo);
        self.wall()?.set(Cut { nodes, from_clients })
    }

    /// Ends what [`Cluster::cut_off`] began. What had been sent meanwhile arrives. [`Cluster::ready`] waits until all agree
    /// again.
    ///
    /// # Errors
    /// As [`Cluster::cut_off`].
    pub fn heal(&self) -> Result<()> {
        self.wall()?.set(Cut::default())
    }

    /// Where clients reach a node, which is what the cluster tells them; None if it is none of its nodes. With
    /// [`ClusterBuilder::partitions`](crate::ClusterBuilder::partitions) that is not [`Server::addr`].
    #[must_use]
    pub fn addr(&self, node: &Server) -> Option<SocketAddr> {
        self.member(node).ok().map(|member| member.addr())
    }

    /// The members on the side of the others.
    pub(super) fn near(&self) -> Vec<Member> {
        let far = self.wall.as_ref().map(Wall::far).unwrap_or_default();
        let is_near = |member: &&Member| match &member.place {
            Some(place) => !far.contains(&place.source()),
            None => true,
        };
        self.members().iter().filter(is_near).cloned().collect()
    }

    fn wall(&self) -> Result<&Wall> {
        self.wall.as_ref().ok_or_else(|| Error::Config {
            field: "partitions",
            reason: "the cluster was not built with them".to_owned(),
        })
    }
}

impl Member {
    /// Where clients reach it.
    pub(super) fn addr(&self) -> SocketAddr {
        self.place.as_ref().map_or_else(|| self.server.addr(), |place| place.addr(&self.server))
    }

    /// The port by which other nodes reach it.
    pub(super) fn bus(&self) -> u16 {
        let own = || self.server.port() + TO_BUS;
        self.place.as_ref().map_or_else(own, |place| place.bus(&self.server))
    }
}

/// The number of the next place: above all that nodes have now.
pub(super) fn next(members: &[Member]) -> u16 {
    let taken = members.iter().filter_map(|member| Some(member.place.as_ref()?.source()));
    taken.max().map_or(1, |last| {
        let [_, _, high, low] = last.octets();
        u16::from_be_bytes([high, low]).saturating_add(1)
    })
}
