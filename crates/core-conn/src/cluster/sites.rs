//! What is told of a cluster when its handle is built.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::Backoff;
use crate::target::Endpoint;

/// What is told of a cluster at `build()`.
#[derive(Debug, Clone)]
pub(crate) struct Sites {
    pub(crate) listed: Vec<Endpoint>,
    /// Where to go instead, by what the nodes announce.
    pub(crate) translated: Arc<[(String, (String, u16))]>,
    pub(crate) replica_reads: ReplicaReads,
    /// How far a replica that is read from may be behind.
    pub(crate) replica_lag: Duration,
    /// Between attempts to learn the map.
    pub(crate) backoff: Backoff,
}

impl fmt::Display for Sites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, endpoint) in self.listed.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{endpoint}")?;
        }
        Ok(())
    }
}

/// Whether replicas of a cluster answer what has the class [`Read`](crate::Class::Read).
///
/// While a slot is being moved key by key, a replica of the node that it leaves says of a key which has left that there
/// is none, for it does not know of the move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplicaReads {
    /// Never: what was written is read. The default, because a replica is behind its primary by an unknown time, and
    /// whoever reads there what it has just written may not find it.
    #[default]
    Never,
    /// A replica in turn, and the primary where none can be used: none is connected, or is known to be within
    /// [`replica_lag`](crate::RedisBuilder::replica_lag).
    Prefer,
    /// A replica in turn, and no answer where none can be used.
    Only,
}
