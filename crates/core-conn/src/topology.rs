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
use crate::sentinel::Told;
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
        /// What ended the one before, or an attempt to open it, if anything did.
        last_error: Option<Error>,
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
    pub(crate) fn endpoint(&self) -> String {
        if self.port == 0 { self.host.clone() } else { Endpoint::place(&self.host, self.port) }
    }
}

impl Redis {
    /// The nodes of this role, or all of them for `None`, also those that can't be reached: of a cluster all members, and
    /// primaries without slots too; under Sentinel all servers that more than half of the sentinels know of, each as one of
    /// them sees it, whatever the role of the handle; else the server and the replicas that it tells of.
    ///
    /// One round trip. Where nobody answers within the deadline it is what is known without: of a cluster the members as
    /// they were, else the server itself. Under Sentinel without a majority of them it is what the connected server
    /// tells.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed); where nothing is known yet of the cluster, or of a server that sentinels were to
    /// name, why.
    pub async fn nodes(&self, role: impl Into<Option<Role>>) -> Result<Vec<NodeInfo>, Error> {
        let role = role.into();
        let mut nodes = match &self.to {
            Nodes::One(node) => self.servers(node).await?,
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
    /// answers instead, whatever becomes of its role. In a cluster a replica answers reads of the slots that its primary
    /// serves.
    ///
    /// Where the handle has no connection to it that stays there, it is opened by the first call: under Sentinel for each
    /// node, also for the primary, until [`nodes`](Self::nodes) finds that the sentinels know it no more; beside one
    /// server for its replicas.
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
            // One that is led goes to another server after a failover.
            Nodes::One(one) if one.sentinels().is_none() && *one.place() == *place => {
                Ok(self.pinned(one))
            }
            Nodes::One(one) => {
                self.inner.other(one, node).map(|node| self.pinned(&node)).ok_or_else(unknown)
            }
        }
    }

    /// Under sentinels the servers that they know of, else the server and the replicas that it tells of.
    async fn servers(&self, node: &Arc<Node>) -> Result<Vec<NodeInfo>, Error> {
        let Some(sentinels) = node.sentinels() else { return self.followed(node).await };
        // The other half is for the server, where they don't answer.
        let half = self.deadline() / 2;
        match tokio::time::timeout(half, sentinels.servers()).await {
            Ok(Ok((primary, told))) => {
                let nodes = told.into_iter().map(|told| self.watched(node, &primary, told));
                let nodes: Vec<_> = nodes.collect();
                self.inner.forget_others(&nodes);
                Ok(nodes)
            }
            _ => self.with_deadline(half).followed(node).await,
        }
    }

    /// A server, as sentinels tell of it.
    fn watched(&self, node: &Node, primary: &Endpoint, told: Told) -> NodeInfo {
        let Told { place: (host, port), follows, standing, linked, .. } = told;
        let (place, primary) = (Endpoint::place(&host, port), primary.to_string());
        let role = if place == primary { Role::Primary } else { Role::Replica };
        let follows = follows.map_or(primary, |(host, port)| Endpoint::place(&host, port));
        let link = self.link_to(node, &place);
        NodeInfo {
            id: None,
            host,
            port,
            role,
            follows: (role == Role::Replica).then_some(follows),
            slots: Vec::new(),
            standing,
            linked,
            link,
        }
    }

    /// The connection for calls, where that leads there; else the one beside it.
    fn link_to(&self, node: &Node, place: &str) -> LinkState {
        match node.link_state_at(place) {
            LinkState::Unused => self.inner.link_state(place),
            state => state,
        }
    }

    /// The server, and the replicas that it tells of; itself alone where it does not answer.
    async fn followed(&self, node: &Arc<Node>) -> Result<Vec<NodeInfo>, Error> {
        let told = self.run::<String>(Cmd::read("INFO").arg("replication")).await;
        let (told, linked) = match told {
            Ok(told) => (told, true),
            Err(error) if matches!(error.kind(), ErrorKind::Closed) => return Err(error),
            // The sentinels have not named it yet.
            Err(error) if node.sentinels().is_some() && node.place() == node.name => {
                return Err(error);
            }
            // Who may not ask sees the server itself.
            Err(error) => (String::new(), error.server().is_some()),
        };
        let fields = info::fields(&told);
        let field = |name: &str| fields.get(name).copied();
        let role = match field("role").and_then(Role::named) {
            None if linked => self.info().await?.role,
            None => self.to.known().role(),
            role => role,
        };
        let (host, port) = split(&node.place());
        let follows = match (field("master_host"), field("master_port")) {
            (Some(host), Some(port)) => Some(format!("{host}:{port}")),
            _ => None,
        };
        let own = NodeInfo {
            id: None,
            host,
            port,
            role: role.unwrap_or(Role::Primary),
            follows,
            slots: Vec::new(),
            standing: Standing::Up,
            linked,
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
