use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::place::{Place, Wall};
use super::slot::SLOTS;
use super::{Cluster, Member};
use crate::builder::{Kind, quoted};
use crate::many::start_many;
use crate::patience::Patience;
use crate::{Builder, Error, Network, Result, Server};

/// How a cluster is to be; made by [`Cluster::builder`].
///
/// Slots are spread evenly over the primaries. Replicas stay with the primary that they were given
/// (`cluster-allow-replica-migration no`), so that a test finds them where it left them.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClusterBuilder {
    primaries: usize,
    replicas: usize,
    node_timeout: Duration,
    full_coverage: bool,
    partitions: bool,
    network: Option<Arc<Network>>,
    patience: Duration,
    server: Builder,
}

impl ClusterBuilder {
    pub(crate) fn new() -> ClusterBuilder {
        ClusterBuilder {
            primaries: 3,
            replicas: 0,
            node_timeout: Duration::from_millis(1500),
            full_coverage: true,
            partitions: false,
            network: None,
            patience: Duration::from_secs(20),
            server: Builder::new(),
        }
    }

    /// How many primaries (3 by default). Fewer than three promote nobody when one dies: that needs a majority of them.
    pub fn primaries(mut self, count: usize) -> ClusterBuilder {
        self.primaries = count;
        self
    }

    /// How many replicas each primary has (0 by default).
    pub fn replicas(mut self, each: usize) -> ClusterBuilder {
        self.replicas = each;
        self
    }

    /// After which silence a node is taken for dead (`cluster-node-timeout`) [1.5 s].
    ///
    /// The default is a tenth of the server's own: a test sees a replica promoted after about 3 s. Shorter ones
    /// take a busy machine's nodes for dead.
    pub fn node_timeout(mut self, timeout: Duration) -> ClusterBuilder {
        self.node_timeout = timeout;
        self
    }

    /// Whether no slot is served while one has no owner (`cluster-require-full-coverage`) [true, as the server has it].
    pub fn full_coverage(mut self, required: bool) -> ClusterBuilder {
        self.full_coverage = required;
        self
    }

    /// Allows [`Cluster::cut_off`]. Linux only.
    ///
    /// Nodes then announce ports of gates, and reach each other through them, each from a loopback address of its own;
    /// clients that follow what the cluster says go through them too. [`Cluster::url`] and [`NodeView::port`](crate::NodeView)
    /// have these ports, [`Server::url`] and [`Server::conn`] of a node pass them by. The gates are tasks of the runtime
    /// in which the cluster was started, and cost each request a hop.
    pub fn partitions(mut self) -> ClusterBuilder {
        self.partitions = true;
        self
    }

    /// As [`ClusterBuilder::partitions`], but the system loses the packets, as it happens outside: who connects waits,
    /// and what was sent is sent again, at longer and longer intervals. For one cluster, and for those who may make a
    /// network: see [`Network::enter`].
    ///
    /// Nodes then announce loopback addresses of their own, and the same ports as those of [`Server::addr`].
    pub fn partitions_in(mut self, network: Network) -> ClusterBuilder {
        self.network = Some(Arc::new(network));
        self.partitions()
    }

    /// Asks for a password on every node, also among the nodes themselves.
    pub fn password(mut self, password: impl Into<String>) -> ClusterBuilder {
        self.server = self.server.password(password);
        self
    }

    /// Any other directive, for every node: see [`Builder::config`].
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> ClusterBuilder {
        self.server = self.server.config(key, value);
        self
    }

    /// All that a server can be, for every node, in place of what was said before: binary, memory limit, append-only
    /// file, ACL file (which must leave the default user open), password, directives.
    pub fn server(mut self, server: Builder) -> ClusterBuilder {
        self.server = server;
        self
    }

    /// How long the cluster may take until it is ready, and how long each later wait may last [20 s].
    pub fn ready_within(mut self, patience: Duration) -> ClusterBuilder {
        self.patience = patience;
        self
    }

    /// Starts the nodes, makes a cluster of them, and waits until it is complete: see [`Cluster::ready`].
    ///
    /// It takes about 2.5 s, because a primary does not serve within the first 2 s.
    ///
    /// # Errors
    /// Those of [`Builder::start`], [`Error::Config`] about an option, and [`Error::NotReached`] with what was missing.
    pub async fn start(self) -> Result<Cluster> {
        let node = self.node()?;
        let count = self.primaries * (1 + self.replicas);
        let wall = self.partitions.then(|| Wall::new(self.network.clone()));
        let (mut places, mut nodes) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for n in 0..count {
            let place = place(n + 1, wall.as_ref()).await?;
            nodes.push(at(&node, place.as_ref()));
            places.push(place);
        }
        let mut members = Vec::with_capacity(count);
        for (server, place) in start_many(nodes).await?.into_iter().zip(places) {
            members.push(Member::new(server, place).await?);
        }
        let members = Mutex::new(members);
        let cluster = Cluster { members, node, patience: self.patience, wall };
        self.join(&cluster).await?;
        cluster.ready().await?;
        Ok(cluster)
    }

    /// What each node is to be.
    fn node(&self) -> Result<Builder> {
        if self.primaries == 0 || self.primaries > usize::from(SLOTS) {
            let reason = format!("{} of them; 1 to {SLOTS} can share the slots", self.primaries);
            return Err(Error::Config { field: "primaries", reason });
        }
        self.server.check_shared()?;
        if !self.server.is_plain() {
            let reason = "nodes reach each other by the plain port, and there is none".to_owned();
            return Err(Error::Config { field: "server", reason });
        }
        if self.partitions && !cfg!(target_os = "linux") {
            let reason = "only Linux has loopback addresses for each node".to_owned();
            return Err(Error::Config { field: "partitions", reason });
        }
        let yes_or_no = if self.full_coverage { "yes" } else { "no" };
        let mut directives = vec![
            ("cluster-node-timeout", self.node_timeout.as_millis().to_string()),
            ("cluster-require-full-coverage", yes_or_no.to_owned()),
            ("cluster-allow-replica-migration", "no".to_owned()),
        ];
        if let Some(password) = self.server.secret() {
            directives.push(("masterauth", quoted(&password.0)));
        }
        Ok(self.server.of_kind(Kind::Node, directives))
    }

    /// Shares out the slots, and makes the nodes known to each other.
    async fn join(&self, cluster: &Cluster) -> Result<()> {
        let members = cluster.members().clone();
        for (n, member) in members.iter().enumerate() {
            let mut conn = member.server.conn().await?;
            // Distinct from the start, so that no two primaries must settle who is newer.
            let epoch = (n + 1).to_string();
            conn.demand(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
            if n < self.primaries {
                let first = |n: usize| n * usize::from(SLOTS) / self.primaries;
                let (from, to) = (first(n).to_string(), (first(n + 1) - 1).to_string());
                conn.demand(&["CLUSTER", "ADDSLOTSRANGE", &from, &to]).await?;
            }
            meet(&member.server, members.iter().take(n)).await?;
        }
        for (n, replica) in members.iter().enumerate().skip(self.primaries) {
            if let Some(primary) = members.get(n % self.primaries) {
                cluster.follow(replica, primary).await?;
            }
        }
        Ok(())
    }
}

impl Cluster {
    /// Makes a node a replica as soon as it knows its primary.
    pub(super) async fn follow(&self, replica: &Member, primary: &Member) -> Result<()> {
        let mut conn = replica.server.conn().await?;
        let patience = Patience::new(self.patience);
        loop {
            match conn.demand(&["CLUSTER", "REPLICATE", &primary.id]).await {
                Ok(_) => return Ok(()),
                Err(Error::Refused(reason)) => {
                    patience.wait("a replica that knows its primary", reason).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Introduces a node to others.
pub(super) async fn meet(node: &Server, others: impl Iterator<Item = &Member>) -> Result<()> {
    let meets = others.map(|other| {
        let (addr, bus) = (other.addr(), other.bus());
        let [host, port, bus] = [addr.ip().to_string(), addr.port().to_string(), bus.to_string()];
        ["CLUSTER", "MEET", &host, &port, &bus].map(str::to_owned)
    });
    let meets: Vec<_> = meets.collect();
    node.conn().await?.demand_all(&meets).await.map(drop)
}

/// That of the nth node; None if nobody can be cut off.
pub(super) async fn place(n: usize, wall: Option<&Wall>) -> Result<Option<Place>> {
    match wall {
        Some(wall) => wall.place(n).await.map(Some),
        None => Ok(None),
    }
}

/// What a node at this place is to be.
pub(super) fn at(node: &Builder, place: Option<&Place>) -> Builder {
    node.of_kind(Kind::Node, place.map(Place::directives).unwrap_or_default())
}

impl Member {
    pub(super) async fn new(server: Server, place: Option<Place>) -> Result<Member> {
        let id = server.conn().await?.demand(&["CLUSTER", "MYID"]).await?;
        let id = id.text().ok_or_else(|| Error::Protocol(format!("no id: {id:?}")))?.to_owned();
        if let Some(place) = &place {
            place.lead_to(server.port());
        }
        Ok(Member { id, server: Arc::new(server), place })
    }
}
