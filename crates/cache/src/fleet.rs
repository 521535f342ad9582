//! What all processes have done, and how much there is in Redis.

use std::collections::HashMap;
use std::sync::LazyLock;

use futures_util::future::try_join_all;
use russet_core_conn::{Cmd, FromValue, Key, Redis, Role, Script};

use crate::cache::Cache;
use crate::error::Error;
use crate::scripts::Answer;
use crate::stats::Stats;

static SAMPLE: LazyLock<Script> =
    LazyLock::new(|| Script::new("cache_sample", include_str!("scripts/sample.lua")));

/// How many keys of a server are looked at in one step, so that none holds it up.
const STEP: usize = 500;

/// Of so many keys that are the cache's it is asked how large they are.
const WEIGHED: usize = 100;

/// How much a cache has in Redis: estimates, from keys that were drawn by chance.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[non_exhaustive]
pub struct Size {
    /// Entries, also leases on loads under way.
    pub keys: u64,
    /// Bytes of memory, with their keys and what the server needs for each.
    pub bytes: u64,
    /// The standard error of `keys`, as a share of it: in two of three cases it is off by no more. `None` where none of
    /// the cache's keys was drawn.
    pub error: Option<f64>,
    /// The share of all keys that are on these servers, whoever they belong to; 0 to 1.
    pub share: f64,
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// What all processes have done with this cache that have [`access`](crate::CacheBuilder::access) insight: sums since
    /// the first merge, and neither what they keep nor what they owe. Two round trips: what this process has done is merged first; what others have is as old as their
    /// last merge. A server that evicts keys may evict these sums, too: they begin anew then.
    ///
    /// # Errors
    /// [`Error::NoAccess`]; those of Redis.
    pub async fn fleet_stats(&self) -> Result<Stats, Error> {
        self.insight("fleet-wide statistics")?;
        let [.., stats] = self.inner.keys.access();
        self.inner.merge().await?;
        let found: HashMap<String, u64> =
            self.inner.redis.run(Cmd::read("HGETALL").key(&stats)).await?;
        Ok(Stats::of_sums(found))
    }

    /// How much this cache has in Redis, estimated: of each primary up to `sample` keys are drawn by chance, and up to 100
    /// of those that are the cache's are weighed. The work is bounded, however much there is: a round trip for 500 keys,
    /// which takes the server below a millisecond. For administration: it needs the rights to `DBSIZE`, `RANDOMKEY` and
    /// `MEMORY USAGE`.
    ///
    /// The smaller a share of a server's keys are the cache's, the less it is told by a sample: with 2,000 of one server,
    /// the number of keys is off by about 2% where half of them are, 7% where a tenth is, and 22% where a hundredth is.
    /// [`Size::error`] has it for what was found. The bytes are off by more, as far as entries differ in size.
    ///
    /// # Errors
    /// Those of Redis.
    pub async fn size(&self, sample: usize) -> Result<Size, Error> {
        let inner = &self.inner;
        inner.agree(&inner.redis).await?;
        let redis = inner.redis.needed("size")?;
        let primaries = redis.nodes(Role::Primary).await?;
        let parts = primaries.iter().map(async |node| self.sampled(&redis.on(node)?, sample).await);
        let parts = try_join_all(parts).await?;
        let (all, share_of) = parts
            .iter()
            .fold((0.0, 0.0), |(all, of), part| (all + part.size, of + part.size * part.share()));
        // Each primary is a stratum of its own.
        let variance = parts.iter().map(|part| {
            let share = part.share();
            part.size.powi(2) * share * (1.0 - share) / part.seen.max(1.0)
        });
        let error = variance.sum::<f64>().sqrt();
        let weights: Vec<f64> = parts.iter().flat_map(|part| &part.weights).copied().collect();
        #[expect(clippy::cast_precision_loss, reason = "an estimate needs no more")]
        let mean = weights.iter().sum::<f64>() / weights.len().max(1) as f64;
        Ok(Size {
            keys: crate::access::whole(share_of),
            bytes: crate::access::whole(share_of * mean),
            error: (share_of > 0.0).then(|| error / share_of),
            share: if all > 0.0 { share_of / all } else { 0.0 },
        })
    }

    async fn sampled(&self, node: &Redis, sample: usize) -> Result<Part, Error> {
        let (head, kind) = self.inner.keys.around();
        let (mut part, mut ours) = (Part::default(), Vec::new());
        let mut left = sample;
        while left > 0 {
            let step = left.min(STEP);
            left -= step;
            let call = SAMPLE.call().arg(step).arg(&head).arg(&kind);
            let mut answer: Answer = node.script(call).await?;
            let [size, seen] = [answer.next::<f64>()?, answer.next::<f64>()?];
            let found: Vec<bytes::Bytes> = answer.next()?;
            part.size = size;
            part.seen += seen;
            #[expect(clippy::cast_precision_loss, reason = "no more than were drawn")]
            let count = found.len() as f64;
            part.ours += count;
            ours.extend(found.into_iter().take(WEIGHED - ours.len().min(WEIGHED)));
        }
        let keys: Vec<Key> = ours.into_iter().map(Key::raw).collect();
        let weigh = keys.iter().map(|key| Cmd::read("MEMORY USAGE").key(key));
        for weight in node.pipeline(weigh).await {
            // One that is gone meanwhile weighs nothing.
            part.weights.extend(Option::<f64>::from_value(weight?)?);
        }
        Ok(part)
    }
}

/// What was found on one server.
#[derive(Debug, Default)]
struct Part {
    size: f64,
    seen: f64,
    ours: f64,
    weights: Vec<f64>,
}

impl Part {
    fn share(&self) -> f64 {
        if self.seen > 0.0 { self.ours / self.seen } else { 0.0 }
    }
}
