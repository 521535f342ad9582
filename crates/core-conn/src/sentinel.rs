//! Finding a server by asking its sentinels.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use self::ask::Asked;
use crate::credentials::Login;
use crate::error::{Error, ErrorKind, SentinelError};
use crate::info::Role;
use crate::node::Settings;
use crate::redis::Rules;
use crate::target::{Access, Endpoint, Site};
use crate::{Backoff, Redis};

mod ask;
mod listen;
mod told;

pub(crate) use self::told::Told;

/// Which of the servers that the sentinels watch a handle connects to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SentinelRole {
    /// The primary. The default, and the only role whose handle takes writes.
    #[default]
    Primary,
    /// A replica; [`SentinelError::NoReplica`] as long as none can be used.
    Replica,
    /// A replica, and the primary where there is none. It stays there until that connection ends.
    PreferReplica,
    /// Whatever comes next in turn, the primary among them: the most servers to read from.
    Any,
}

/// What is told of sentinels at `build()`.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) listed: Vec<Endpoint>,
    /// The name by which they know the primary.
    pub(crate) primary: Arc<str>,
    pub(crate) role: SentinelRole,
    /// As whom we come to the sentinels.
    pub(crate) login: Login,
    pub(crate) backoff: Backoff,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.primary)
    }
}

/// The sentinels of one node.
#[derive(Debug)]
pub(crate) struct Sentinels {
    asked: Arc<Asked>,
    role: SentinelRole,
    /// Whose turn it is among replicas.
    turn: AtomicUsize,
    /// Listens for changes, where its runtime lives.
    listener: Mutex<Option<AbortHandle>>,
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        if let Some(listener) = self.listener().take() {
            listener.abort();
        }
    }
}

impl Sentinels {
    /// `access` is how the servers with the data are connected to, and holds for the sentinels but for the login.
    pub(crate) fn new(watched: &Watched, access: &Access) -> Self {
        let access = Access { login: watched.login.clone(), database: None, ..access.clone() };
        let handle = |endpoint: &Endpoint| handle(endpoint, &access, &watched.backoff);
        let asked = Asked {
            sentinels: watched.listed.iter().map(handle).collect(),
            name: watched.primary.clone(),
            primary: watch::Sender::new(None),
            asks: AtomicU64::new(0),
            elected: AtomicU64::new(0),
            template: watched.listed[0].clone(),
        };
        Self {
            asked: Arc::new(asked),
            role: watched.role,
            turn: AtomicUsize::new(0),
            listener: Mutex::default(),
        }
    }

    fn listener(&self) -> std::sync::MutexGuard<'_, Option<AbortHandle>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the next connection goes. Needs a runtime.
    pub(crate) async fn find(&self) -> Result<Endpoint, Error> {
        self.listen();
        let primary = self.asked.primary().await?;
        let replicas = match self.role {
            SentinelRole::Primary => return Ok(primary),
            _ => self.asked.replicas().await,
        };
        let candidates = match self.role {
            SentinelRole::Any => replicas.into_iter().chain([primary]).collect(),
            SentinelRole::PreferReplica if replicas.is_empty() => vec![primary],
            _ => replicas,
        };
        if candidates.is_empty() {
            let none = SentinelError::NoReplica((*self.asked.name).into());
            return Err(Error::not_sent(ErrorKind::Sentinel(none)));
        }
        Ok(candidates[self.turn.fetch_add(1, Relaxed) % candidates.len()].clone())
    }

    /// The primary, and all servers that most of them know of.
    pub(crate) async fn servers(&self) -> Result<(Endpoint, Vec<Told>), Error> {
        self.asked.servers().await
    }

    fn listen(&self) {
        let mut listener = self.listener();
        if listener.as_ref().is_none_or(AbortHandle::is_finished) {
            let task = tokio::spawn(listen::run(self.asked.clone()));
            *listener = Some(task.abort_handle());
        }
    }

    /// Whether what a server refuses for its role belongs on another.
    pub(crate) fn leads_writes(&self) -> bool {
        self.role == SentinelRole::Primary
    }

    /// Which role a server must say that it has.
    pub(crate) fn demanded(&self) -> Option<Role> {
        match self.role {
            SentinelRole::Primary => Some(Role::Primary),
            SentinelRole::Replica => Some(Role::Replica),
            SentinelRole::PreferReplica | SentinelRole::Any => None,
        }
    }

    /// Resolves when the server at this place is not what it was chosen for any more.
    pub(crate) async fn left(&self, place: &str) {
        let is_left = |primary: &Option<_>| self.is_wrong(place, primary);
        if self.asked.primary.subscribe().wait_for(is_left).await.is_err() {
            // Its sender is this.
            std::future::pending::<()>().await;
        }
    }

    /// Whether it is not by now.
    pub(crate) fn is_left(&self, place: &str) -> bool {
        self.is_wrong(place, &self.asked.primary.borrow())
    }

    fn is_wrong(&self, place: &str, primary: &Option<Arc<str>>) -> bool {
        let is_primary = primary.as_deref().map(|primary| primary == place);
        match self.role {
            SentinelRole::Primary => is_primary == Some(false),
            SentinelRole::Replica => is_primary == Some(true),
            SentinelRole::PreferReplica | SentinelRole::Any => false,
        }
    }

    /// Tries now to connect to those that are away, also after the maximum of attempts.
    pub(crate) fn reconnect(&self) {
        self.asked.sentinels.iter().for_each(Redis::reconnect);
    }

    /// Tells of each other primary from here on.
    pub(crate) fn news(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.asked.primary.subscribe()
    }

    /// Waits for no sentinel: nothing is in flight there that matters.
    pub(crate) async fn close(&self) {
        if let Some(listener) = self.listener().take() {
            listener.abort();
        }
        let now = Duration::ZERO;
        join_all(self.asked.sentinels.iter().map(|sentinel| sentinel.close_within(now))).await;
    }
}

/// For one sentinel. It fails at once while that is known to be away: the others are asked, too.
fn handle(endpoint: &Endpoint, access: &Access, backoff: &Backoff) -> Redis {
    let settings = Settings {
        site: Site::At(endpoint.clone()),
        access: access.clone(),
        connections: 1,
        in_flight: 64,
        queue: 64,
        dedicated: 1,
        backoff: backoff.clone(),
        // It has no data to load.
        ready_check: false,
        probe_interval: Duration::from_secs(1),
        probe_timeout: Duration::from_secs(2),
    };
    // Half of what opening a connection may take: the other half is for the server that is named.
    Redis::new(settings, Rules::default(), access.connect_timeout / 2).without_waiting()
}
