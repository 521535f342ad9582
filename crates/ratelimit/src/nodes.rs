//! How many nodes share the limits.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use russet_core_conn::{Cmd, Error, Key, KeySpace, Redis};

use crate::keys;
use crate::scripts;

/// A node counts for so many heartbeats.
const THERE: u32 = 3;

/// This process among the nodes that share the limits of a key space.
#[derive(Debug)]
pub(crate) struct Fleet {
    key: Key,
    node: Box<str>,
    pub(crate) heartbeat: Duration,
    /// Nobody asks.
    pub(crate) fixed: bool,
    nodes: AtomicU32,
}

impl Fleet {
    pub(crate) fn new(
        space: &KeySpace,
        node: Option<String>,
        fixed: Option<u32>,
        heartbeat: Duration,
    ) -> Self {
        static PROCESS: OnceLock<u64> = OnceLock::new();
        let node = node.unwrap_or_else(|| {
            let drawn = PROCESS.get_or_init(rand::random);
            format!("{drawn:016x}")
        });
        Self {
            key: keys::nodes(space),
            node: node.into(),
            heartbeat,
            fixed: fixed.is_some(),
            nodes: AtomicU32::new(fixed.unwrap_or(1)),
        }
    }

    /// As many as there were when Redis was last heard of; 1 before that.
    #[inline]
    pub(crate) fn nodes(&self) -> u32 {
        self.nodes.load(Relaxed)
    }

    /// Says that this one is there, and learns how many are.
    pub(crate) async fn beat(&self, redis: &Redis) -> Result<(), Error> {
        let nodes = scripts::nodes(redis, &self.key, &self.node, self.heartbeat * THERE).await?;
        self.nodes.store(nodes.max(1), Relaxed);
        #[cfg(feature = "metrics")]
        metrics::gauge!("russet_ratelimit_nodes").set(f64::from(nodes));
        Ok(())
    }

    /// Says that it is gone.
    pub(crate) async fn leave(&self, redis: &Redis) -> Result<(), Error> {
        let gone = Cmd::idempotent("ZREM").key(&self.key).arg(&*self.node);
        redis.run::<u64>(gone).await.map(drop)
    }
}
