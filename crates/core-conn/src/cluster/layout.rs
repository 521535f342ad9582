//! Which node holds which slot's keys, by their own word: for whoever must find every key.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Cluster;
use crate::cmd::Cmd;
use crate::error::Error;
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
    owned: HashSet<u16>,
    /// Slots on their way from here or to here, as `93-<-…` or `77->-…`.
    open: HashMap<u16, String>,
}

impl Layout {
    pub(crate) async fn ask(cluster: &Arc<Cluster>, redis: &Redis) -> Result<Self, Error> {
        cluster.ready(std::time::Instant::now() + redis.deadline()).await?;
        let mut parts = Vec::new();
        for member in cluster.map().owners() {
            let pinned = redis.pinned(&member.calls);
            let nodes: String = pinned.run(Cmd::read("CLUSTER NODES")).await?;
            let myself = nodes.lines().find(|line| line.contains("myself")).unwrap_or_default();
            let mut part = Part {
                redis: pinned,
                place: member.place.clone(),
                owned: HashSet::new(),
                open: HashMap::new(),
            };
            myself.split_ascii_whitespace().skip(8).for_each(|word| part.read(word));
            parts.push(part);
        }
        Ok(Self { parts })
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

    /// The slots that had another owner, or another way to go.
    pub(crate) fn changed(&self, before: &Self) -> HashSet<u16> {
        let (now, then) = (self.states(), before.states());
        let slots: HashSet<u16> = now.keys().chain(then.keys()).copied().collect();
        slots.into_iter().filter(|slot| now.get(slot) != then.get(slot)).collect()
    }

    fn states(&self) -> HashMap<u16, Vec<(&str, Option<&str>)>> {
        let mut states: HashMap<u16, Vec<_>> = HashMap::new();
        for part in &self.parts {
            for &slot in part.owned.iter().chain(part.open.keys()) {
                let open = part.open.get(&slot).map(String::as_str);
                states.entry(slot).or_default().push((&*part.place, open));
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
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            self.owned.extend(first..=last);
        }
    }

    /// Whether keys of these slots may be there.
    pub(crate) fn holds(&self, slots: &HashSet<u16>) -> bool {
        slots.iter().any(|slot| self.owned.contains(slot) || self.open.contains_key(slot))
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = u16> {
        self.owned.iter().chain(self.open.keys()).copied()
    }
}
