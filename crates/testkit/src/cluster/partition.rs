use std::net::SocketAddr;

use tokio::sync::watch;

use super::gate::Cut;
use super::{Cluster, Member};
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
    /// of this cluster's.
    pub fn cut_off(&self, nodes: &[&Server], clients: Clients) -> Result<()> {
        let far = nodes.iter().map(|node| self.member(node)).collect::<Result<Vec<_>>>()?;
        let gates = far.iter().filter_map(|member| Some(member.gate.as_ref()?.source()));
        let nodes = gates.collect();
        let from_clients = clients == Clients::AreCutOffToo;
        self.wall()?.send_replace(Cut { nodes, from_clients });
        Ok(())
    }

    /// Ends what [`Cluster::cut_off`] began. What had been sent meanwhile arrives. [`Cluster::ready`] waits until all agree
    /// again.
    ///
    /// # Errors
    /// [`Error::Config`] as [`Cluster::cut_off`].
    pub fn heal(&self) -> Result<()> {
        self.wall()?.send_replace(Cut::default());
        Ok(())
    }

    /// Where clients reach a node, which is what the cluster tells them; None if it is none of its nodes. With
    /// [`ClusterBuilder::partitions`](crate::ClusterBuilder::partitions) that is not [`Server::addr`].
    #[must_use]
    pub fn addr(&self, node: &Server) -> Option<SocketAddr> {
        self.member(node).ok().map(|member| member.addr())
    }

    /// The members on the side of the others.
    pub(super) fn near(&self) -> Vec<Member> {
        let cut = self.wall.as_ref().map(|wall| wall.borrow().nodes.clone()).unwrap_or_default();
        let is_near = |member: &&Member| match &member.gate {
            Some(gate) => !cut.contains(&gate.source()),
            None => true,
        };
        self.members().iter().filter(is_near).cloned().collect()
    }

    fn wall(&self) -> Result<&watch::Sender<Cut>> {
        self.wall.as_ref().ok_or_else(|| Error::Config {
            field: "partitions",
            reason: "the cluster was not built with them".to_owned(),
        })
    }
}

impl Member {
    /// Where clients reach it.
    pub(super) fn addr(&self) -> SocketAddr {
        self.gate.as_ref().map_or_else(|| self.server.addr(), |gate| gate.client().addr())
    }
}

/// The number of the next gate: above all that nodes have now.
pub(super) fn next(members: &[Member]) -> u16 {
    let taken = members.iter().filter_map(|member| Some(member.gate.as_ref()?.source()));
    taken.max().map_or(1, |last| {
        let [_, _, high, low] = last.octets();
        u16::from_be_bytes([high, low]).saturating_add(1)
    })
}
