//! The buffer: what is pending of all sorts of entities, in its lanes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use russet_core_conn::{Agreed, Codec, Key, KeySpace, Leases, Redis, Role, ServerInfo, Topology};

use super::builder::{Options, WriteBehindBuilder};
use super::counters::Counters;
use super::entities::Entities;
use super::error::BehindError;
use super::worker::WorkerBuilder;
use crate::keys::{LANES, Lane};
use crate::scripts::behind::{Corpse, OnLane};

#[doc = include_str!("guide.md")]
#[derive(Debug, Clone)]
pub struct WriteBehind {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) redis: Redis,
    pub(super) space: KeySpace,
    pub(super) name: Box<str>,
    pub(super) lanes: [Lane; LANES],
    pub(super) channel: Key,
    pub(super) workers: Key,
    pub(super) options: Options,
    pub(super) leases: Leases,
    pub(super) codec: Codec,
    pub(super) counters: Counters,
    agreed: Agreed,
    /// The server was seen not to throw anything away.
    keeps: AtomicBool,
}

/// What a buffer holds, and has done since it is there: in all processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BehindStats {
    /// Entities that wait to be committed for the first time since they were written.
    pub pending: u64,
    /// Entities that could not be committed, and are tried again.
    pub retrying: u64,
    /// Entities that nobody tries any more.
    pub dead: u64,
    /// Since the first write of an entity that is pending or tried again, and has not been committed since; a dead one counts
    /// from when it was redriven. 0 where there is none.
    pub oldest: Duration,
    /// Entities committed.
    pub committed: u64,
    /// Times that one could not be, and was put off.
    pub retries: u64,
}

/// An entity that could not be committed, and that nobody tries any more. Everything that was written of it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dead {
    /// Which sort of entity.
    pub kind: String,
    /// Its key, as it stands in keys of Redis.
    pub key: String,
    /// The version that could not be committed.
    pub version: u64,
    /// For how long it is dead.
    pub since: Duration,
    /// How often it was tried.
    pub tries: u32,
    /// Why it could not be committed the last time.
    pub reason: String,
    pub(super) lane: usize,
    pub(super) entity: Bytes,
    pub(super) name: Bytes,
}

impl WriteBehind {
    /// A buffer with default options.
    ///
    /// # Errors
    /// [`BehindError::Config`] for a name that can't be: it has 1 to 64 bytes.
    pub fn new(redis: &Redis, space: &KeySpace, name: &str) -> Result<Self, BehindError> {
        Self::builder(redis, space, name).build()
    }

    /// Options for a buffer: what is pending is kept in this key space under this name. Writes count as taken when they are
    /// as safe as the handle's [durability](Redis::with_durability) asks for.
    pub fn builder(redis: &Redis, space: &KeySpace, name: &str) -> WriteBehindBuilder {
        WriteBehindBuilder::new(redis, space, name)
    }

    pub(super) fn assemble(
        redis: Redis,
        space: KeySpace,
        name: &str,
        options: Options,
        leases: Leases,
        codec: Codec,
    ) -> Self {
        let inner = Inner {
            lanes: std::array::from_fn(|lane| Lane::of(&space, name, lane)),
            channel: Lane::channel(&space, name),
            workers: Lane::workers(&space, name),
            counters: Counters::new(name),
            redis,
            space,
            name: name.into(),
            options,
            leases,
            codec,
            agreed: Agreed::default(),
            keeps: AtomicBool::new(false),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The entities of one sort, by their keys: `kind` is the name under which a worker has a [sink](WorkerBuilder::sink)
    /// for them, 1 to 64 bytes.
    ///
    /// # Errors
    /// [`BehindError::Config`] for a kind that can't be.
    pub fn entities<K, V>(&self, kind: &str) -> Result<Entities<K, V>, BehindError> {
        Entities::new(self, kind)
    }

    /// Options for a worker, which commits what is pending.
    pub fn worker(&self) -> WorkerBuilder {
        WorkerBuilder::new(self)
    }

    /// What it holds, and has done. 16 round trips at once.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn stats(&self) -> Result<BehindStats, BehindError> {
        self.ready().await?;
        let counts = try_join_all((0..LANES).map(async |lane| self.on(lane).count().await)).await?;
        Ok(counts.into_iter().fold(BehindStats::default(), |all, lane| BehindStats {
            pending: all.pending + lane.waiting,
            retrying: all.retrying + lane.retrying,
            dead: all.dead + lane.dead,
            oldest: all.oldest.max(lane.oldest),
            committed: all.committed + lane.committed,
            retries: all.retries + lane.retries,
        }))
    }

    /// Up to so many entities that nobody tries any more, the longest dead first; at most 1,000. 16 round trips at once.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn dead(&self, most: u64) -> Result<Vec<Dead>, BehindError> {
        self.ready().await?;
        let most = most.min(1_000);
        let lanes = (0..LANES).map(async |lane| {
            let found = self.on(lane).dead(most).await?;
            Ok::<_, BehindError>(found.into_iter().map(move |corpse| Dead::of(lane, corpse)))
        });
        let mut all: Vec<Dead> = try_join_all(lanes).await?.into_iter().flatten().collect();
        all.sort_by_key(|dead| std::cmp::Reverse(dead.since));
        all.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(all)
    }

    /// Has these entities tried again at once, and anew as often, with all that was written of them since. What is newer
    /// is not overtaken: an entity has one state, into which all of its writes have been merged in their order. Answers how
    /// many were dead still. One round trip a lane, at once.
    ///
    /// # Errors
    /// Those of Redis; it may be repeated.
    pub async fn redrive(&self, dead: &[Dead]) -> Result<u64, BehindError> {
        self.ready().await?;
        let mut lanes: HashMap<usize, Vec<Bytes>> = HashMap::new();
        for one in dead {
            lanes.entry(one.lane).or_default().push(one.entity.clone());
        }
        let revived = join_all(lanes.into_iter().map(async |(lane, entities)| {
            self.on(lane).redrive(entities, (&self.inner.channel, lane)).await
        }));
        let mut sum = 0;
        for revived in revived.await {
            sum += revived?;
        }
        Ok(sum)
    }

    /// Before the first write: is the key space laid out as we think, and does the server keep what it is given?
    pub(super) async fn ready(&self) -> Result<(), BehindError> {
        let inner = &self.inner;
        inner.agreed.check(&inner.redis, &inner.space).await?;
        if inner.options.allow_eviction || inner.keeps.load(Acquire) {
            return Ok(());
        }
        Box::pin(self.check_policy()).await?;
        inner.keeps.store(true, Release);
        Ok(())
    }

    /// On each primary of a cluster.
    async fn check_policy(&self) -> Result<(), BehindError> {
        let redis = &self.inner.redis;
        let info = redis.info().await?;
        if info.topology != Some(Topology::Cluster) {
            return check(&info);
        }
        for node in redis.nodes(Role::Primary).await? {
            if !node.slots.is_empty() {
                check(&*redis.on(&node)?.info().await?)?;
            }
        }
        Ok(())
    }

    pub(super) fn on(&self, lane: usize) -> OnLane<'_> {
        OnLane { redis: &self.inner.redis, lane: &self.inner.lanes[lane], at: None }
    }
}

fn check(info: &ServerInfo) -> Result<(), BehindError> {
    match info.eviction.as_deref() {
        // What is pending has no TTL, so the policies that look at that leave it.
        Some(policy) if policy.starts_with("allkeys") => {
            Err(BehindError::Evicts { policy: policy.to_owned() })
        }
        Some(_) => Ok(()),
        None => Err(BehindError::PolicyUnknown),
    }
}

impl Dead {
    fn of(lane: usize, corpse: Corpse) -> Self {
        let Corpse { entity, version, since, tries, reason, name } = corpse;
        let text = String::from_utf8_lossy(&entity);
        // A colon stands before the kind, and before each segment of the key.
        let text = text.strip_prefix(':').unwrap_or(&text);
        let (kind, key) = text.split_once(':').unwrap_or((text, ""));
        let (kind, key) = (kind.to_owned(), key.to_owned());
        Self { kind, key, version, since, tries, reason, lane, entity, name }
    }
}
