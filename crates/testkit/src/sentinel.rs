//! Servers under Sentinel.

use std::net::SocketAddr;
use std::time::Duration;

use crate::builder::Secret;
use crate::patience::Patience;
#[cfg(feature = "tls")]
use crate::tls::Certificates;
use crate::{Error, Result, Server, url};

mod builder;
mod watch;

pub use builder::SentinelBuilder;

/// The name by which sentinels know the primary.
const NAME: &str = "mymaster";

/// A real primary with replicas, watched by real sentinels, all on 127.0.0.1 and private to whoever holds them.
///
/// When [`Sentinel::start`] returns, every sentinel knows all replicas and all other sentinels, agrees that a failover
/// could be authorized, and every replica follows. The name of the primary is `mymaster`. Each process is a [`Server`]
/// that can be paused, resumed, killed and restarted, and ends with this value.
///
/// ```no_run
/// # async fn run() -> russet_testkit::Result<()> {
/// use russet_testkit::Sentinel;
///
/// let sentinel = Sentinel::start(2, 3).await?;
/// // Here the code under test connects to sentinel.url().
/// let dead = sentinel.kill_primary().await?;
/// let new = sentinel.promoted().await?;
/// assert_ne!(new.port(), dead.port());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Sentinel {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
    password: Option<Secret>,
    patience: Duration,
}

impl Sentinel {
    /// Starts a primary with that many replicas, and that many sentinels, with the defaults of [`SentinelBuilder`].
    ///
    /// # Errors
    /// See [`SentinelBuilder::start`].
    pub async fn start(replicas: usize, sentinels: usize) -> Result<Sentinel> {
        Sentinel::builder().replicas(replicas).sentinels(sentinels).start().await
    }

    /// Servers under Sentinel, with options.
    pub fn builder() -> SentinelBuilder {
        SentinelBuilder::new()
    }

    /// `redis-sentinel://127.0.0.1:port,127.0.0.1:port,…/mymaster`: the sentinels, and the name of the primary. A
    /// password in it is that of the data: `redis-sentinel://:password@127.0.0.1:…`. That of the sentinels is given by
    /// [`Sentinel::sentinel_password`].
    ///
    /// With TLS it is `rediss-sentinel://…`, and the ports are those for TLS: the ones that sentinels name are, too.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.speaks_tls() { "rediss-sentinel" } else { "redis-sentinel" };
        let sentinels =
            url::of_many(scheme, self.password.as_ref(), self.sentinels.iter().map(addr));
        format!("{sentinels}/{NAME}")
    }

    /// The name by which sentinels know the primary: `mymaster`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// The password that the sentinels ask for, if there is one.
    #[must_use]
    pub fn sentinel_password(&self) -> Option<&str> {
        let password = self.sentinels.first()?.password.as_ref();
        password.map(|password| password.0.as_str())
    }

    /// The CA that has signed for all servers and sentinels, and a certificate for clients of them all; None without
    /// TLS. What a server shows is in here that of the first.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.servers.first()?.certificates()
    }

    fn speaks_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.certificates().is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// The servers that hold data; the first is the one that was the primary at the start.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The sentinels, each a process by itself.
    #[must_use]
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// The server that most of all sentinels name as the primary now. When it has just died, it stays that until
    /// another is promoted: see [`Sentinel::promoted`].
    ///
    /// # Errors
    /// [`Error::NotReached`] if no majority names one and the same.
    pub async fn primary(&self) -> Result<&Server> {
        let patience = Patience::new(self.patience);
        loop {
            match self.named().await {
                Ok(primary) => return Ok(primary),
                Err(seen) => patience.wait("a primary that most sentinels name", seen).await?,
            }
        }
    }

    /// The servers that are not the primary, dead ones too.
    ///
    /// # Errors
    /// As [`Sentinel::primary`].
    pub async fn replicas(&self) -> Result<Vec<&Server>> {
        let primary = self.primary().await?.port();
        Ok(self.servers.iter().filter(|server| server.port() != primary).collect())
    }

    /// Kills the primary with SIGKILL, and returns it: it can be restarted, and is then made a replica.
    ///
    /// # Errors
    /// As [`Sentinel::primary`] and [`Server::kill`].
    pub async fn kill_primary(&self) -> Result<&Server> {
        let primary = self.primary().await?;
        primary.kill().await?;
        Ok(primary)
    }

    /// Waits until every living sentinel names the same living server, and that says itself that it is the primary. With
    /// the old primary killed or paused, that is the replica that was promoted.
    ///
    /// # Errors
    /// [`Error::NotReached`] with what was missing.
    pub async fn promoted(&self) -> Result<&Server> {
        self.agreed(None).await
    }

    /// Lets a replica take the place of the primary (`SENTINEL FAILOVER`), and waits until every living sentinel names it
    /// and it says itself that it is the primary. The old one is made a replica: [`Sentinel::ready`] waits for that.
    ///
    /// What was written to the old primary and had not reached the new one is lost: sentinels do not wait for it.
    ///
    /// # Errors
    /// [`Error::NotReached`] with what was missing, for example a replica to promote.
    pub async fn failover(&self) -> Result<&Server> {
        let old = port_of(self.primary().await?);
        let patience = Patience::new(self.patience);
        loop {
            let living = self.sentinels.iter().find(|sentinel| sentinel.is_living());
            let sentinel = living.ok_or(Error::NotRunning)?;
            match sentinel.conn().await?.demand(&["SENTINEL", "FAILOVER", NAME]).await {
                Ok(_) => return self.agreed(Some(old)).await,
                // One is under way, or no replica has been heard of for long enough.
                Err(Error::Refused(reason)) => {
                    patience.wait("a failover that Sentinel begins", reason).await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until everything that lives is as at the start: every sentinel knows the living replicas and the other
    /// living sentinels and has a quorum, all name the same primary, and every living replica follows it.
    ///
    /// # Errors
    /// [`Error::NotReached`] with what was missing.
    pub async fn ready(&self) -> Result<()> {
        // One that was restarted takes its time again.
        for sentinel in self.living_sentinels() {
            builder::hurry(sentinel).await?;
        }
        let patience = Patience::new(self.patience);
        while let Some(seen) = self.flaw().await {
            patience.wait("sentinels that know their servers and each other", seen).await?;
        }
        Ok(())
    }
}

/// Where the others reach it, and by which they know it: the TLS port, if it has one.
fn addr(server: &Server) -> SocketAddr {
    #[cfg(feature = "tls")]
    if let Some(addr) = server.tls_addr() {
        return addr;
    }
    server.addr()
}

fn port_of(server: &Server) -> u16 {
    addr(server).port()
}
