//! The nodes behind a handle, one by one.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Standing};
use crate::cmd::Cmd;
use crate::error::{Error, ErrorKind};
use crate::info::{self, Role};
use crate::node::Node;
use crate::nodes::Nodes;
use crate::redis::Redis;
use crate::target::Endpoint;

/// A node, as [`Redis::nodes`] tells of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeInfo {
    /// By which the members of a cluster know it; `None` outside of one.
    pub id: Option<String>,
    /// The host, as it is reached from here. Of a unix socket the path.
    pub host: String,
    /// The port; 0 of a unix socket.
    pub port: u16,
    /// Which side of replication it is on.
    pub role: Role,
    /// The id of the primary that a replica follows; outside of a cluster its address.
    pub follows: Option<String>,
    /// The slots that it serves.
    pub slots: Vec<RangeInclusive<u16>>,
    /// What the other nodes think of it.
    pub standing: Standing,
    /// Whether the node that told of it has a connection to it.
    pub linked: bool,
    /// This handle's connection for calls to it.
    pub link: LinkState,
}

/// A handle's connection to a node.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum LinkState {
    /// It was never needed, or is being opened for the first time.
    Unused,
    /// Calls go out.
    Connected {
        /// For how long.
        since: Duration,
    },
    /// The last attempt to open it has failed, or it was lost.
    Away {
        /// Why.
        error: Error,
        /// For how long.
        since: Duration,
    },
}

impl NodeInfo {
    fn endpoint(&self) -> String {
        if self.port == 0 { self.host.clone() } else { Endpoint::place(&self.host, self.port) }
    }
}

impl Redis {
    /// The nodes of this role, or all of them for `None`: of a cluster all members, also those that can't be reached, and
    /// primaries without slots; else the server and the replicas that it tells of.
    ///
    /// One round trip. Where no node of a cluster answers within the deadline it is what was last known.
    ///
    /// # Errors
    /// Any error of a call.
    pub async fn nodes(&self, role: impl Into<Option<Role>>) -> Result<Vec<NodeInfo>, Error> {
        let role = role.into();
        let mut nodes = match &self.to {
            Nodes::One(node) => self.followed(node).await?,
            Nodes::Cluster(cluster) => {
                let learnt = cluster.learnt(Instant::now() + self.deadline()).await;
                learnt.map_err(|error| error.with(self.context(None, None, 0)))?;
                members(cluster)
            }
        };
        nodes.retain(|node| role.is_none_or(|role| node.role == role));
        Ok(nodes)
    }

    /// The same handle, but that its calls go to this node, whatever their keys: none is sent on, and no other node
    /// answers instead. In a cluster a replica answers reads of the slots that its primary serves.
    ///
    /// # Errors
    /// [`Refused`](ErrorKind::Refused) if the handle knows no such node (any more).
    pub fn on(&self, node: &NodeInfo) -> Result<Self, Error> {
        let place = node.endpoint();
        let unknown = || {
            let why =
                format!("{place} is no node of this handle; allowed: those of `Redis::nodes`");
            Error::not_sent(ErrorKind::Refused(why))
        };
        match &self.inner.nodes {
            Nodes::Cluster(cluster) => {
                let map = cluster.map();
                let member =
                    map.members().find(|member| *member.place == *place).ok_or_else(unknown)?;
                let replica = node.role == Role::Replica;
                Ok(self.pinned(if replica { member.reads() } else { &member.calls }))
            }
            Nodes::One(one) if *one.place() == *place => Ok(self.pinned(one)),
            Nodes::One(one) => {
                self.inner.other(one, node).map(|node| self.pinned(&node)).ok_or_else(unknown)
            }
        }
    }

    /// The server, and the replicas that it tells of.
    async fn followed(&self, node: &Arc<Node>) -> Result<Vec<NodeInfo>, Error> {
        let role = self.info().await?.role.unwrap_or(Role::Primary);
        let told = self.run::<String>(Cmd::read("INFO").arg("replication")).await;
        let told = match told {
            Ok(told) => told,
            // Who may not ask sees the server itself.
            Err(error) if error.server().is_some() => String::new(),
            Err(error) => return Err(error),
        };
        let fields = info::fields(&told);
        let field = |name: &str| fields.get(name).copied();
        let (host, port) = split(&node.place());
        let follows = match (field("master_host"), field("master_port")) {
            (Some(host), Some(port)) => Some(format!("{host}:{port}")),
            _ => None,
        };
        let own = NodeInfo {
            id: None,
            host,
            port,
            role,
            follows,
            slots: Vec::new(),
            standing: Standing::Up,
            linked: true,
            link: node.link_state(),
        };
        let replicas =
            (0..).map_while(|number| field(&format!("slave{number}"))).filter_map(|line| {
                let field = |name: &str| {
                    line.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
                };
                let online = field("state") == Some("online");
                let (host, port) = (field("ip")?.to_owned(), field("port")?.parse().ok()?);
                let link = self.inner.link_state(&Endpoint::place(&host, port));
                Some(NodeInfo {
                    host,
                    port,
                    role: Role::Replica,
                    follows: Some(node.place().to_string()),
                    standing: if online { Standing::Up } else { Standing::Loading },
                    linked: online,
                    link,
                    ..own.clone()
                })
            });
        let replicas: Vec<_> = replicas.collect();
        Ok([own].into_iter().chain(replicas).collect())
    }
}

fn members(cluster: &Cluster) -> Vec<NodeInfo> {
    let map = cluster.map();
    let listed = map.seats.iter().filter_map(|seat| Some((&seat.member, seat.listed.as_ref()?)));
    let told = listed.map(|(member, listed)| {
        let (host, port) = split(&member.place);
        NodeInfo {
            id: Some(listed.id.clone()),
            host,
            port,
            role: listed.role,
            follows: listed.follows.clone(),
            slots: listed.slots.clone(),
            standing: listed.state,
            linked: listed.linked,
            link: member.link_state(),
        }
    });
    told.collect()
}

fn split(place: &str) -> (String, u16) {
    let parts = place.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    parts.map_or_else(|| (place.to_owned(), 0), |(host, port)| (host.to_owned(), port))
}
