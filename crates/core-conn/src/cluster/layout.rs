//! Which node holds which slot's keys, by their own word: for whoever must find every key.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;

use super::Cluster;
use super::listing::range;
use crate::cmd::Cmd;
use crate::error::Error;
use crate::keyspace::SLOTS;
use crate::redis::Redis;

/// The slots of all primaries at one moment, more or less.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) parts: Vec<Part>,
}

/// What one primary holds.
#[derive(Debug)]
pub(crate) struct Part {
    /// It alone.
    pub(crate) redis: Redis,
    place: Arc<str>,
    /// Grows with each slot that it was given: one that left and came back is not the same.
    epoch: String,
    owned: HashSet<u16>,
    /// Slots on their way from here or to here, as `93-<-…` or `77->-…`.
    open: HashMap<u16, String>,
}

/// A node that has a slot: its address, its epoch, and the slot's way if it is on one.
type Holder<'a> = (&'a str, &'a str, Option<&'a str>);

impl Layout {
    pub(crate) async fn ask(cluster: &Arc<Cluster>, redis: &Redis) -> Result<Self, Error> {
        let deadline = Instant::now() + redis.deadline();
        cluster.learnt(deadline).await?;
        cluster.ready(deadline).await?;
        let map = cluster.map();
        // Also those that serve nothing yet: a slot may be on its way there.
        let asked = map.primaries().map(async |member| {
            let pinned = redis.pinned(&member.calls);
            let nodes = match pinned.run::<String>(Cmd::read("CLUSTER NODES")).await {
                Ok(nodes) => nodes,
                Err(_) if !map.owners().iter().any(|owner| Arc::ptr_eq(owner, member)) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
            let myself = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
            let mut words = myself.split_ascii_whitespace().skip(6);
            let mut part = Part {
                redis: pinned,
                place: member.place.clone(),
                epoch: words.next().unwrap_or_default().to_owned(),
                owned: HashSet::new(),
                open: HashMap::new(),
            };
            words.skip(1).for_each(|word| part.read(word));
            Ok(Some(part))
        });
        let parts: Result<Vec<_>, Error> = join_all(asked).await.into_iter().collect();
        Ok(Self { parts: parts?.into_iter().flatten().collect() })
    }

    /// The slots that may have been in two places since `before`, or are.
    pub(crate) fn unsettled(&self, before: &Self) -> HashSet<u16> {
        let open = |layout: &Self| {
            layout.parts.iter().flat_map(|part| part.open.keys().copied()).collect::<Vec<_>>()
        };
        let mut slots = self.changed(before);
        slots.extend(open(before));
        slots.extend(open(self));
        slots
    }

    /// The slots that had another owner, or another way to go, and those that nobody has.
    pub(crate) fn changed(&self, before: &Self) -> HashSet<u16> {
        let (now, then) = (self.states(), before.states());
        let is_settled = |slot: &u16| now.contains_key(slot) && now.get(slot) == then.get(slot);
        (0..SLOTS).filter(|slot| !is_settled(slot)).collect()
    }

    fn states(&self) -> HashMap<u16, Vec<Holder<'_>>> {
        let mut states: HashMap<u16, Vec<_>> = HashMap::new();
        for part in &self.parts {
            for &slot in part.owned.iter().chain(part.open.keys()) {
                let open = part.open.get(&slot).map(String::as_str);
                states.entry(slot).or_default().push((&*part.place, &*part.epoch, open));
            }
        }
        states.values_mut().for_each(|holders| holders.sort_unstable());
        states
    }
}

impl Part {
    /// `7`, `0-5460`, `[93-<-id]` or `[77->-id]`.
    fn read(&mut self, word: &str) {
        if let Some(open) = word.strip_prefix('[') {
            let (slot, way) = open.trim_end_matches(']').split_once('-').unwrap_or((open, ""));
            self.open.extend(slot.parse().ok().map(|slot| (slot, way.to_owned())));
            return;
        }
        self.owned.extend(range(word).into_iter().flatten());
    }

    /// Whether keys of these slots may be there.
    pub(crate) fn holds(&self, slots: &HashSet<u16>) -> bool {
        slots.iter().any(|slot| self.owned.contains(slot) || self.open.contains_key(slot))
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = u16> {
        self.owned.iter().chain(self.open.keys()).copied()
    }
}
