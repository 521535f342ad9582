//! The script of access insight.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use russet_core_conn::{Error, Key, Script};

use super::{Answer, millis};
use crate::store::Store;

static MERGE: LazyLock<Script> = LazyLock::new(|| {
    Script::new("cache_access_merge", include_str!("../scripts/access_merge.lua"))
});

/// What is added to what the fleet has seen.
#[derive(Debug, Default)]
pub(crate) struct Merge {
    pub(crate) stats: Vec<(String, u64)>,
    pub(crate) hot: Vec<(Bytes, u64)>,
    pub(crate) missed: Vec<(Bytes, u64)>,
    /// How many µs ago.
    pub(crate) recent: Vec<(Bytes, u64)>,
}

/// What holds for all of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    pub(crate) most: usize,
    pub(crate) ttl: Duration,
    pub(crate) half_life: Duration,
}

/// How often the whole fleet has asked for each of the keys in `hot`.
pub(crate) async fn merge(
    redis: &Store,
    keys: &[Key; 4],
    kept: Kept,
    merge: Merge,
) -> Result<Vec<u64>, Error> {
    let [hot, missed, recent, stats] = keys;
    let call = MERGE.key(hot).key(missed).key(recent).key(stats);
    let call = call.arg(kept.most).arg(millis(kept.ttl)).arg(millis(kept.half_life));
    let mut call = call.arg(merge.stats.len()).arg(merge.hot.len()).arg(merge.missed.len());
    for (field, grown) in merge.stats {
        call = call.arg(field).arg(grown);
    }
    for (name, number) in merge.hot.into_iter().chain(merge.missed).chain(merge.recent) {
        call = call.arg(name).arg(number);
    }
    redis.script::<Answer>(call).await?.next()
}
