use std::sync::Arc;
use std::time::Duration;

use super::{Cluster, View};
use crate::patience::Patience;
use crate::{Error, Result, Server};

/// When a replica that has won no votes gives a failover up.
const GIVEN_UP: Duration = Duration::from_secs(5);

impl Cluster {
    /// Kills the primary of a slot with SIGKILL, and returns it: it can be restarted, and then follows whoever took
    /// its place.
    ///
    /// # Errors
    /// As [`Cluster::primary_of`] and [`Server::kill`].
    pub async fn kill_primary_of(&self, slot: u16) -> Result<Arc<Server>> {
        let primary = self.primary_of(slot).await?;
        primary.kill().await?;
        Ok(primary)
    }

    /// Waits until a living node is the primary of a slot in the eyes of every living node, and they serve. With the old
    /// primary killed or paused, that is the replica that was promoted.
    ///
    /// # Errors
    /// [`Error::NotReached`] with what was missing.
    pub async fn promoted(&self, slot: u16) -> Result<Arc<Server>> {
        let what = format!("a primary of slot {slot} that all nodes see");
        Ok(self.agreed(&[slot], None, &what).await?.server)
    }

    /// Lets a replica take the place of its living primary without losing a write (`CLUSTER FAILOVER`), and waits until
    /// every living node sees it. Returns the new primary; the old one follows it.
    ///
    /// It takes some hundredths of a second, and some seconds where the same node has lost its slots to a replica within
    /// the last twice the node timeout: nobody votes for another heir of it so soon, the replica gives up without a word, and
    /// is asked again.
    ///
    /// # Errors
    /// [`Error::Config`] if no replica follows, [`Error::Refused`] if the replica does not want to, for example because
    /// its primary is down, and [`Error::NotReached`].
    pub async fn failover(&self, slot: u16) -> Result<Arc<Server>> {
        let mut heir = None;
        for replica in self.replicas_of(slot).await?.into_iter().filter(|node| node.is_living()) {
            if View::of(&replica).await.is_ok_and(|view| view.link_is_up) {
                heir = Some(replica);
                break;
            }
        }
        let heir = heir.ok_or_else(|| Error::Config {
            field: "slot",
            reason: format!("no living replica follows the primary of {slot}"),
        })?;
        let mut conn = heir.conn().await?;
        let heir = self.member(&heir)?;
        let what = format!("{} as the primary of slot {slot}", heir.server.port());
        let patience = Patience::new(self.patience);
        conn.demand(&["CLUSTER", "FAILOVER"]).await?;
        loop {
            let time = self.patience.min(GIVEN_UP);
            match self.agreed_within(time, &[slot], Some(&heir), &what).await {
                Err(Error::NotReached { seen, .. }) => patience.wait(&what, seen).await?,
                result => return Ok(result?.server),
            }
            // It refuses if it has become the primary just now, which the next look shows.
            conn.call(&["CLUSTER", "FAILOVER"]).await?;
        }
    }
}
