//! Replicas of a server.

use std::time::{Duration, Instant};

use crate::builder::{Builder, quoted};
use crate::{Error, Result, Server};

/// How often replicas are asked whether they follow.
const ASK_EVERY: Duration = Duration::from_millis(5);

impl Server {
    /// Starts a server with that many replicas, which follow it when this returns. See [`Builder::replicas`].
    ///
    /// # Errors
    /// See [`Builder::start`].
    pub async fn start_with_replicas(count: usize) -> Result<Server> {
        Server::builder().replicas(count).start().await
    }

    /// Its replicas, each a server by itself: it can be paused, killed, restarted and asked like any other.
    #[must_use]
    pub fn replicas(&self) -> &[Server] {
        &self.replicas
    }

    /// Waits until each replica that runs follows this server: its link is up, and this server streams to it. For
    /// after a restart of either; a replica tries again once a second.
    ///
    /// # Errors
    /// [`Error::NotReady`] with the end of a replica's log, [`Error::NotRunning`].
    pub async fn replicas_follow(&self) -> Result<()> {
        let begun = Instant::now();
        let running = || self.replicas.iter().filter(|replica| replica.is_running());
        loop {
            if !self.is_running() {
                return Err(Error::NotRunning);
            }
            let mut late = None;
            for replica in running() {
                if !replica.says("master_link_status:up").await {
                    late = Some(replica);
                }
            }
            let online = self.online().await;
            if late.is_none() && online >= running().count() {
                return Ok(());
            }
            if begun.elapsed() > self.patience {
                let log = late.unwrap_or(self).log_end();
                return Err(Error::NotReady { after: self.patience, log });
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Whether INFO replication has this line.
    pub(crate) async fn says(&self, line: &str) -> bool {
        self.replication().await.lines().any(|found| found.trim_end() == line)
    }

    /// How many replicas it streams to.
    async fn online(&self) -> usize {
        let replication = self.replication().await;
        let replicas = replication.lines().filter(|line| line.starts_with("slave"));
        replicas.filter(|line| line.contains(",state=online,")).count()
    }

    /// Nothing from one that does not answer.
    async fn replication(&self) -> String {
        let Ok(conn) = self.conn().await else { return String::new() };
        let info = conn.with_deadline(Duration::from_secs(1)).call(&["INFO", "replication"]).await;
        info.ok().and_then(|info| info.text().map(str::to_owned)).unwrap_or_default()
    }
}

/// Starts what follows this server, with the same options.
pub(crate) async fn start(
    builder: &Builder,
    count: usize,
    primary: &Server,
) -> Result<Vec<Server>> {
    let mut replica =
        builder.of_replica().config("replicaof", format!("127.0.0.1 {}", primary.port()));
    if let Some(password) = &primary.password {
        replica = replica.config("masterauth", quoted(&password.0));
    }
    let mut replicas = Vec::with_capacity(count);
    for _ in 0..count {
        replicas.push(Box::pin(replica.clone().start()).await?);
    }
    Ok(replicas)
}
