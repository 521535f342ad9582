use std::sync::Arc;

use super::builder::{at, meet, place};
use super::partition::next;
use super::{Cluster, Member, View};
use crate::patience::Patience;
use crate::{Error, Result, Server};

impl Cluster {
    /// Starts a node that joins as a primary without slots, and waits until every living node knows it.
    ///
    /// # Errors
    /// See [`ClusterBuilder::start`](crate::ClusterBuilder::start).
    pub async fn add_node(&self) -> Result<Arc<Server>> {
        self.join(None).await
    }

    /// Starts a node that joins as a replica, and waits until it follows and every living node knows it.
    ///
    /// # Errors
    /// [`Error::Config`] if the primary is none of this cluster's nodes, and as [`Cluster::add_node`].
    pub async fn add_replica(&self, primary: &Server) -> Result<Arc<Server>> {
        let primary = self.member(primary)?;
        self.join(Some(&primary)).await
    }

    /// Ends a node, and makes every living one forget it. It may be dead already.
    ///
    /// # Errors
    /// [`Error::Config`] if it still owns slots or has replicas, in which case nothing was done, or is none of the
    /// cluster's nodes; [`Error::NotReached`] if another still knows it.
    pub async fn remove_node(&self, node: &Server) -> Result<()> {
        let leaver = self.member(node)?;
        let stayers: Vec<_> =
            self.living().into_iter().filter(|member| member.id != leaver.id).collect();
        for member in &stayers {
            let view = View::of(&member.server).await?;
            if let Some(reason) = needed(&view, &leaver.id) {
                return Err(Error::Config { field: "node", reason });
            }
        }
        if node.is_living() {
            // Restarted, it is a node by itself. It may refuse, for example when it has keys: the others matter more.
            node.conn().await?.call(&["CLUSTER", "RESET"]).await?;
        }
        // Before it is forgotten, so that it introduces itself to nobody again.
        node.kill().await?;
        for member in &stayers {
            let mut conn = member.server.conn().await?;
            match conn.demand(&["CLUSTER", "FORGET", &leaver.id]).await {
                // The news may have been faster than we are.
                Err(Error::Refused(reason)) if reason.contains("Unknown node") => {}
                result => drop(result?),
            }
        }
        self.members().retain(|member| member.id != leaver.id);
        let patience = Patience::new(self.patience);
        for member in &stayers {
            while View::of(&member.server).await?.node(&leaver.id).is_some() {
                let seen = format!("node {} knows it", member.server.port());
                patience.wait("a node that everybody has forgotten", seen).await?;
            }
        }
        Ok(())
    }

    async fn join(&self, primary: Option<&Member>) -> Result<Arc<Server>> {
        let n = next(&self.members());
        let place = place(usize::from(n), self.wall.as_ref()).await?;
        let server = at(&self.node, place.as_ref()).start().await?;
        let new = Member::new(server, place).await?;
        let server = Arc::clone(&new.server);
        meet(&server, self.living().iter()).await?;
        if let Some(primary) = primary {
            self.follow(&new, primary).await?;
        }
        self.members().push(new);
        self.ready().await?;
        Ok(server)
    }
}

/// Why a node cannot be done without.
fn needed(view: &View, id: &str) -> Option<String> {
    let slots: usize =
        view.node(id).iter().flat_map(|node| &node.slots).map(ExactSizeIterator::len).sum();
    if slots > 0 {
        return Some(format!("it still owns {slots} slots; move them first"));
    }
    let replica = view.nodes.iter().find(|node| node.primary.as_deref() == Some(id));
    replica.map(|replica| format!("{} still follows it; remove that first", replica.port))
}
