//! What one node says of the cluster.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::slot::SLOTS;
use crate::{Error, Result, Server};

/// How long a node may take to say what it sees.
const ANSWER: Duration = Duration::from_secs(1);

/// The cluster as one node sees it: `CLUSTER NODES`, with its own state. Nodes disagree for a moment after each change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct View {
    /// Whether it serves: its `cluster_state` is `ok`.
    pub is_ok: bool,
    /// Whether it is a primary, or a replica whose link to its primary is up.
    pub link_is_up: bool,
    /// All nodes that it knows, itself too.
    pub nodes: Vec<NodeView>,
}

/// One node as another, or itself, sees it: a line of `CLUSTER NODES`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeView {
    /// Its id, of 40 characters.
    pub id: String,
    /// The port that it announces to clients; 0 if it is unknown.
    pub port: u16,
    /// Whether it is the node whose view this is.
    pub is_self: bool,
    /// The id of its primary; None of a primary.
    pub primary: Option<String>,
    /// Whether it is suspected (`fail?`) or agreed (`fail`) to be down.
    pub is_failing: bool,
    /// Whether it is known in full: no handshake is under way, and its address is known.
    pub is_known: bool,
    /// Whether the link to it is up.
    pub is_connected: bool,
    /// Its configuration epoch; of a replica, that of its primary.
    pub epoch: u64,
    /// The slots that it owns, in order.
    pub slots: Vec<RangeInclusive<u16>>,
    /// The slots that it is giving away, each with the id of the node that is to have it. Only in its own view.
    pub migrating: Vec<(u16, String)>,
    /// The slots that it is about to take, each with the id of their owner. Only in its own view.
    pub importing: Vec<(u16, String)>,
}

/// What must be the same in all views: ranges with their owner, and replicas with their primary.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layout(BTreeSet<(u16, u16, String)>, BTreeSet<(String, String)>);

impl View {
    /// Asks a node.
    pub(crate) async fn of(node: &Server) -> Result<View> {
        let mut conn = node.conn().await?.with_deadline(ANSWER);
        let commands =
            [["CLUSTER", "INFO"], ["CLUSTER", "NODES"], ["INFO", "replication"]].as_slice();
        let replies = conn.demand_all(commands).await?;
        let text = |n: usize| {
            let text = replies.get(n).and_then(|reply| reply.text());
            text.ok_or_else(|| Error::Protocol("no text about the cluster".to_owned()))
        };
        let says = |text: &str, line: &str| text.lines().any(|found| found.trim_end() == line);
        Ok(View {
            is_ok: says(text(0)?, "cluster_state:ok"),
            link_is_up: says(text(2)?, "role:master") || says(text(2)?, "master_link_status:up"),
            nodes: text(1)?
                .lines()
                .map(|line| NodeView::parse(line).ok_or_else(|| Error::Protocol(line.to_owned())))
                .collect::<Result<_>>()?,
        })
    }

    /// The node that owns a slot.
    #[must_use]
    pub fn owner(&self, slot: u16) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.owns(slot))
    }

    /// The node with this id.
    #[must_use]
    pub fn node(&self, id: &str) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// What is missing until this is the view of a node of a complete cluster in which `living` live.
    pub(crate) fn flaw(&self, living: &[&str]) -> Option<String> {
        for id in living {
            let Some(node) = self.node(id) else { return Some(format!("it does not know {id}")) };
            if !node.is_known || node.is_failing || !(node.is_connected || node.is_self) {
                return Some(format!("it does not reach {}", node.port));
            }
        }
        if self.nodes.iter().any(|node| !node.is_known && !node.is_failing) {
            return Some("a handshake is under way".to_owned());
        }
        let alive = |node: &&NodeView| living.contains(&node.id.as_str());
        let served: usize = self
            .nodes
            .iter()
            .filter(alive)
            .flat_map(|node| &node.slots)
            .map(ExactSizeIterator::len)
            .sum();
        if served != usize::from(SLOTS) {
            return Some(format!("{served} slots are served"));
        }
        if !self.is_ok {
            return Some("its cluster_state is not ok".to_owned());
        }
        (!self.link_is_up).then(|| "its link to its primary is not up".to_owned())
    }

    /// Of the living ones.
    pub(crate) fn layout(&self, living: &[&str]) -> Layout {
        let nodes = || self.nodes.iter().filter(|node| living.contains(&node.id.as_str()));
        let owners = nodes().flat_map(|node| {
            node.slots.iter().map(|range| (*range.start(), *range.end(), node.id.clone()))
        });
        let replicas = nodes().filter_map(|node| Some((node.id.clone(), node.primary.clone()?)));
        Layout(owners.collect(), replicas.collect())
    }
}

impl NodeView {
    /// Whether it is a primary, with slots or without.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.primary.is_none()
    }

    /// Whether it owns a slot.
    #[must_use]
    pub fn owns(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| range.contains(&slot))
    }

    /// Reads `id ip:port@bus[,host[,more]] flags primary ping pong epoch link slots…`.
    fn parse(line: &str) -> Option<NodeView> {
        let mut words = line.split_whitespace();
        let id = words.next()?.to_owned();
        let (addr, _) = words.next()?.split_once('@')?;
        let port = addr.rsplit_once(':')?.1.parse().ok()?;
        let flags: Vec<&str> = words.next()?.split(',').collect();
        let primary = words.next().filter(|id| *id != "-").map(str::to_owned);
        let epoch = words.nth(2)?.parse().ok()?;
        let is_connected = words.next()? == "connected";
        let mut node = NodeView {
            id,
            port,
            is_self: flags.contains(&"myself"),
            primary,
            is_failing: flags.contains(&"fail") || flags.contains(&"fail?"),
            is_known: !flags.contains(&"handshake") && !flags.contains(&"noaddr"),
            is_connected,
            epoch,
            slots: Vec::new(),
            migrating: Vec::new(),
            importing: Vec::new(),
        };
        words.try_for_each(|word| node.add(word))?;
        Some(node)
    }

    /// `5`, `0-99`, `[7->-id]` or `[7-<-id]`.
    fn add(&mut self, word: &str) -> Option<()> {
        if let Some(open) = word.strip_prefix('[').and_then(|open| open.strip_suffix(']')) {
            let (slot, direction, id) = match open.split_once("->-") {
                Some((slot, id)) => (slot, &mut self.migrating, id),
                None => {
                    let (slot, id) = open.split_once("-<-")?;
                    (slot, &mut self.importing, id)
                }
            };
            direction.push((slot.parse().ok()?, id.to_owned()));
        } else {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            self.slots.push(first.parse().ok()?..=last.parse().ok()?);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let line = "07c3 127.0.0.1:30004@31004,host,shard-id=6942 myself,master - 0 14265 4 connected \
                    0 5-9 [7->-2923] [93-<-2924]";
        let node = NodeView::parse(line).unwrap();
        assert_eq!((node.id.as_str(), node.port, node.epoch), ("07c3", 30004, 4));
        assert!(node.is_self && node.is_primary() && node.is_connected && node.is_known);
        assert_eq!(node.slots, [0..=0, 5..=9]);
        assert!(node.owns(0) && node.owns(9) && !node.owns(1));
        assert_eq!(node.migrating, [(7, "2923".to_owned())]);
        assert_eq!(node.importing, [(93, "2924".to_owned())]);

        let line = "67ed :0@0 slave,fail?,noaddr 07c3 1 2 3 disconnected";
        let node = NodeView::parse(line).unwrap();
        assert!(node.is_failing && !node.is_known && !node.is_connected && !node.is_primary());
        assert_eq!(NodeView::parse("67ed 127.0.0.1:1@2 master - 0"), None);
    }

    #[test]
    fn a_view_is_complete_or_says_why_not() {
        let line = |id: &str, flags: &str, slots: &str| {
            NodeView::parse(&format!("{id} h:1@2 {flags} - 0 0 1 connected {slots}")).unwrap()
        };
        let nodes = vec![line("a", "myself,master", "0-8191"), line("b", "master", "8192-16383")];
        let view = View { is_ok: true, link_is_up: true, nodes };
        assert_eq!(view.flaw(&["a", "b"]), None);
        assert_eq!(view.flaw(&["a", "b", "c"]).unwrap(), "it does not know c");
        assert_eq!(view.flaw(&["a"]).unwrap(), "8192 slots are served");
        assert!(view.layout(&["a"]) != view.layout(&["a", "b"]));
        let mut failing = view.clone();
        failing.nodes[1] = line("b", "master,fail?", "8192-16383");
        assert_eq!(failing.flaw(&["a", "b"]).unwrap(), "it does not reach 1");
        let behind = View { link_is_up: false, ..view };
        assert_eq!(behind.flaw(&["a", "b"]).unwrap(), "its link to its primary is not up");
    }
}
