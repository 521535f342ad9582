//! How far replicas are behind.
//!
//! A replica that has applied all that its primary had written by some moment is behind by the time since that moment,
//! at the most, whatever happens to either of them after it was asked. So the primary is asked for its offset first,
//! its replicas for theirs second, and what they have reached of the first tells the moment.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::{Cluster, Member, ReplicaReads};
use crate::FromValue;
use crate::cmd::Cmd;
use crate::info;
use crate::link::Request;
use crate::node::Node;

/// The last moment of whose writes a replica is known to have all.
#[derive(Debug)]
pub(super) struct Abreast {
    start: Instant,
    /// In microseconds after the start, and one more; 0 if there was none.
    at: AtomicU64,
}

impl Default for Abreast {
    fn default() -> Self {
        Self { start: Instant::now(), at: AtomicU64::new(0) }
    }
}

impl Abreast {
    fn store(&self, moment: Instant) {
        let at = moment.saturating_duration_since(self.start).as_micros();
        self.at.fetch_max(u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1), Relaxed);
    }

    /// It follows another primary, of whose writes nothing is known.
    pub(super) fn reset(&self) {
        self.at.store(0, Relaxed);
    }

    /// Whether it has all that was written until so long ago.
    pub(super) fn is_within(&self, bound: Duration) -> bool {
        match self.at.load(Relaxed).checked_sub(1) {
            Some(at) => self.start.elapsed().saturating_sub(Duration::from_micros(at)) <= bound,
            None => false,
        }
    }
}

/// What a node says of the stream of writes.
struct Offset {
    /// Of which stream.
    id: String,
    at: u64,
}

impl Offset {
    /// `of`: the field that counts, which is another one on a replica.
    async fn ask(node: &Arc<Node>, of: &str, within: Duration) -> Option<Self> {
        let asked = Cmd::read("INFO").arg("replication");
        let deadline = Instant::now() + within;
        let reply = node.attempt(&Request::Cmd(&asked), deadline, within, true).await.ok()?;
        let told = String::from_value(reply.one().ok()?).ok()?;
        let fields = info::fields(&told);
        Some(Self {
            id: (*fields.get("master_replid")?).to_owned(),
            at: fields.get(of)?.parse().ok()?,
        })
    }
}

/// What a primary had written by when.
#[derive(Default)]
struct Past {
    id: String,
    offsets: VecDeque<(Instant, u64)>,
}

impl Past {
    fn note(&mut self, moment: Instant, offset: Offset) {
        if self.id != offset.id {
            *self = Self { id: offset.id, offsets: VecDeque::new() };
        }
        self.offsets.push_back((moment, offset.at));
        if self.offsets.len() > MOMENTS {
            self.offsets.pop_front();
        }
    }

    /// The last moment of whose writes this one has all.
    fn reached(&self, offset: &Offset) -> Option<Instant> {
        let mut known = self.offsets.iter().rev().filter(|_| self.id == offset.id);
        known.find(|(_, written)| *written <= offset.at).map(|(moment, _)| *moment)
    }
}

/// How many of a primary's offsets are kept: of twice the bound.
const MOMENTS: usize = 8;

/// Asks all shards, as long as it is polled, where replicas are read from.
pub(super) async fn watch(cluster: &Arc<Cluster>) {
    if cluster.sites.replica_reads == ReplicaReads::Never {
        return std::future::pending().await;
    }
    let within = cluster.sites.replica_lag / 4;
    let mut pasts: HashMap<Arc<str>, Past> = HashMap::new();
    let mut news = cluster.news();
    loop {
        let next = Instant::now() + within;
        let map = cluster.map();
        if map.shards().next().is_none() {
            news.changed().await;
            continue;
        }
        pasts.retain(|place, _| map.find(place).is_some());
        let shards = map.shards().map(|(primary, replicas)| {
            let past = pasts.remove(&primary.place).unwrap_or_default();
            async move {
                let past = look(cluster, past, primary, replicas, within).await;
                (primary.place.clone(), past)
            }
        });
        // One that hangs is given up before the next round, and keeps nobody.
        let shards = join_all(shards.collect::<Vec<_>>()).await;
        pasts.extend(shards);
        tokio::time::sleep_until(next.into()).await;
    }
}

/// One shard's part of a round.
async fn look(
    cluster: &Cluster,
    mut past: Past,
    primary: &Arc<Member>,
    replicas: Vec<&Arc<Member>>,
    within: Duration,
) -> Past {
    let moment = Instant::now();
    if let Some(offset) = Offset::ask(&primary.calls, "master_repl_offset", within).await {
        past.note(moment, offset);
    }
    let replicas = replicas.into_iter().map(async |member| {
        let offset = Offset::ask(member.reads(), "slave_repl_offset", within).await;
        (member, offset)
    });
    for (member, offset) in join_all(replicas).await {
        let Some(offset) = offset else { continue };
        if offset.id != past.id {
            member.abreast.reset();
        }
        let Some(moment) = past.reached(&offset) else { continue };
        let was = member.abreast.is_within(cluster.sites.replica_lag);
        member.abreast.store(moment);
        // Somebody may wait for one that can be read from.
        if !was {
            cluster.news.send_modify(|_| {});
        }
    }
    past
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_is_the_last_one_that_was_reached_of_the_same_stream() {
        let offset = |id: &str, at| Offset { id: id.into(), at };
        let start = Instant::now();
        let moment = |second| start + Duration::from_secs(second);
        let mut past = Past::default();
        for (second, at) in [(1, 10), (2, 20), (3, 20), (4, 50)] {
            past.note(moment(second), offset("a", at));
        }
        for (at, reached) in [(9, None), (10, Some(1)), (20, Some(3)), (49, Some(3)), (60, Some(4))]
        {
            assert_eq!(past.reached(&offset("a", at)), reached.map(moment), "{at}");
        }
        assert_eq!(past.reached(&offset("b", 60)), None);
        // Another primary's stream begins anew.
        past.note(moment(5), offset("b", 5));
        assert_eq!(past.reached(&offset("a", 60)), None);
        assert_eq!(past.reached(&offset("b", 5)), Some(moment(5)));
        (6..100).for_each(|second| past.note(moment(second), offset("b", second)));
        assert_eq!(past.offsets.len(), MOMENTS);
    }

    #[test]
    fn it_is_within_the_bound_until_the_bound_has_passed() {
        let abreast = Abreast::default();
        assert!(!abreast.is_within(Duration::MAX));
        abreast.store(abreast.start);
        assert!(abreast.is_within(Duration::from_secs(60)));
        assert!(!abreast.is_within(Duration::ZERO));
    }
}
