//! Servers for a whole suite: one, some under Sentinel, and a cluster.
//!
//! Their keys are shared too: begin each with a [`prefix`] of the test's own, and never flush. Nobody kills, pauses or
//! moves anything of them either: a test that does starts its own.
//!
//! A test that is to hold on each [`Topology`] is written once, and made three by [`contract!`](crate::contract):
//!
//! ```no_run
//! use russet_testkit::{contract, shared::Topology};
//!
//! contract!(what_is_set_is_there);
//! async fn what_is_set_is_there(at: Topology) {
//!     let key = russet_testkit::prefix("set");
//!     // Here the code under test connects to at.url(), and sets the key.
//!     let mut conn = at.conn(&key).await.unwrap();
//!     assert_eq!(conn.call(&["GET", &key]).await.unwrap().text(), Some("v"));
//! }
//! # fn main() {}
//! ```

use std::fmt;
use std::time::Duration;

use tokio::sync::OnceCell;

use crate::port::random;
use crate::url::escape;
use crate::{Builder, Cluster, Conn, Error, Reply, Result, Sentinel, Server};

mod contract;
mod layout;
mod template;

use layout::Layout;
use template::Template;

/// How the servers that a suite shares are arranged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topology {
    /// One server.
    Server,
    /// A primary and a replica, watched by sentinels.
    Sentinel,
    /// A cluster of three primaries, each with a replica.
    Cluster,
}

/// Never dropped: the guardians end the servers when the process ends.
static STARTED: [OnceCell<Started>; 3] =
    [OnceCell::const_new(), OnceCell::const_new(), OnceCell::const_new()];

/// Of sentinels and nodes that nobody kills: one that a busy machine does not let answer in time is not dead.
const SILENCE: Duration = Duration::from_secs(20);

impl Topology {
    /// All of them.
    pub const ALL: [Topology; 3] = [Topology::Server, Topology::Sentinel, Topology::Cluster];

    /// The variable of the environment that names servers to share with other processes: `RUSSET_TEST_URL`,
    /// `RUSSET_TEST_SENTINEL_URL` or `RUSSET_TEST_CLUSTER_URL`.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Topology::Server => "RUSSET_TEST_URL",
            Topology::Sentinel => "RUSSET_TEST_SENTINEL_URL",
            Topology::Cluster => "RUSSET_TEST_CLUSTER_URL",
        }
    }

    /// The URL of the servers that the suite shares: what [`variable`](Self::variable) says if that is set, else that of
    /// servers of this process, started by the first caller and kept until the process ends.
    ///
    /// # Errors
    /// Those of [`start`](Self::start). The next caller tries again.
    pub async fn url(self) -> Result<String> {
        if let Some(url) = std::env::var(self.variable()).ok().filter(|url| !url.is_empty()) {
            return Ok(url);
        }
        // Large, and awaited by every test.
        let start = || Box::pin(self.start(Server::builder()));
        let started = STARTED.get(self as usize).map(|started| started.get_or_try_init(start));
        match started {
            Some(started) => Ok(started.await?.url()),
            None => Err(Error::NotRunning),
        }
    }

    /// Starts servers for a suite to share, each with these options.
    ///
    /// # Errors
    /// Those of [`Builder::start`], [`SentinelBuilder::start`](crate::SentinelBuilder::start) and
    /// [`ClusterBuilder::start`](crate::ClusterBuilder::start).
    pub async fn start(self, server: Builder) -> Result<Started> {
        Ok(Started(match self {
            Topology::Server => Kind::Server(Box::new(server.start().await?)),
            Topology::Sentinel => {
                let sentinel = Sentinel::builder().server(server).down_after(SILENCE);
                Kind::Sentinel(sentinel.start().await?)
            }
            Topology::Cluster => {
                let cluster = Cluster::builder().server(server).replicas(1).node_timeout(SILENCE);
                Kind::Cluster(cluster.start().await?)
            }
        }))
    }

    /// The URL of the shared servers for a user of the caller's own, who has on each of them the rights of a line of an
    /// ACL file, and `more` of them. So a suite finds out whether the rights that it asks its users for are enough.
    ///
    /// The line is a template: `PASSWORD` stands for a password, which is drawn, and `PREFIX` for the prefix of the
    /// keys, of which the user's name becomes a part.
    ///
    /// ```no_run
    /// # async fn run() -> russet_testkit::Result<()> {
    /// use russet_testkit::{prefix, shared::Topology};
    ///
    /// let line = "user shop on >PASSWORD ~PREFIX:* -@all +get +set";
    /// let url = Topology::Server.url_as(line, &prefix("orders"), &["+acl|whoami"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for what is no such line or no URL of TCP servers, [`Error::Refused`] when a server does not
    /// know one of the rights; and as [`conn`](Self::conn).
    pub async fn url_as(self, line: &str, prefix: &str, more: &[&str]) -> Result<String> {
        let wrong = |reason: &str| Error::Config { field: "line", reason: reason.to_owned() };
        let password = format!("{:016x}{:016x}", random(), random());
        let line = line.trim().replace("PASSWORD", &password).replace("PREFIX", prefix);
        let mut words = line.split_whitespace();
        let (Some("user"), Some(name)) = (words.next(), words.next()) else {
            return Err(wrong("it does not begin with `user` and a name"));
        };
        let url = self.url().await?;
        let name = format!("{name}-{prefix}");
        let command: Vec<&str> = ["ACL", "SETUSER", &name]
            .into_iter()
            .chain(words)
            .chain(more.iter().copied())
            .collect();
        for server in Layout::of(self, &url).await?.all() {
            if let Reply::Error(message) = Conn::open(server).await?.call(&command).await? {
                return Err(Error::Refused(message));
            }
        }
        Ok(Template::of(&url)?.for_user(&format!("{}:{password}", escape(&name))))
    }

    /// A new connection to the primary that has this key.
    ///
    /// # Errors
    /// As [`url`](Self::url) and [`Conn::open`]; [`Error::NotReached`] if no primary is known.
    pub async fn conn(self, key: impl AsRef<[u8]>) -> Result<Conn> {
        let url = self.url().await?;
        let layout = Layout::of(self, &url).await?;
        Conn::open(layout.of_slot(crate::slot_of(key))?).await
    }

    /// A new connection to each primary.
    ///
    /// # Errors
    /// As [`conn`](Self::conn).
    pub async fn primaries(self) -> Result<Vec<Conn>> {
        let url = self.url().await?;
        let mut conns = Vec::new();
        for primary in Layout::of(self, &url).await?.primaries() {
            conns.push(Conn::open(primary).await?);
        }
        Ok(conns)
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Topology::Server => "one server",
            Topology::Sentinel => "sentinel",
            Topology::Cluster => "cluster",
        })
    }
}

/// Servers for a suite to share; they end when it is dropped.
#[derive(Debug)]
pub struct Started(Kind);

#[derive(Debug)]
enum Kind {
    Server(Box<Server>),
    Sentinel(Sentinel),
    Cluster(Cluster),
}

impl Started {
    /// One URL for all of them.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.0 {
            Kind::Server(server) => server.url(),
            Kind::Sentinel(sentinel) => sentinel.url(),
            Kind::Cluster(cluster) => cluster.url(),
        }
    }
}

/// [`Topology::url`] of one server.
///
/// # Errors
/// As that.
pub async fn url() -> Result<String> {
    Topology::Server.url().await
}

/// [`Topology::url_as`] of one server.
///
/// # Errors
/// As that.
pub async fn url_as(line: &str, prefix: &str, more: &[&str]) -> Result<String> {
    Topology::Server.url_as(line, prefix, more).await
}

/// A new connection to the server at [`url`].
///
/// # Errors
/// As [`url`] and [`Conn::open`].
pub async fn conn() -> Result<Conn> {
    Conn::open(&url().await?).await
}

/// A key prefix that no other call gives, in this process or another: `name-1f0c…`.
#[must_use]
pub fn prefix(name: &str) -> String {
    format!("{name}-{:016x}", random())
}
