//! What a node says of its cluster.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::cmd::Cmd;
use crate::error::{Error, ErrorKind};
use crate::info::{self, Role};
use crate::link::LinkError;
use crate::value::server_error;
use crate::{FromValue, Value};

/// The cluster as one node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listing {
    /// The newest configuration that the node has heard of.
    pub(crate) epoch: u64,
    /// Whether the node takes calls, as far as it depends on the cluster.
    pub(crate) serves: bool,
    pub(crate) nodes: Vec<Listed>,
}

/// One node of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) id: String,
    /// `None`: where whoever said it was asked.
    pub(crate) host: Option<String>,
    pub(crate) port: u16,
    pub(crate) role: Role,
    /// Whom a replica follows, by its id.
    pub(crate) follows: Option<String>,
    pub(crate) slots: Vec<RangeInclusive<u16>>,
    pub(crate) state: Standing,
    /// Whether the node that said it has a connection to it.
    pub(crate) linked: bool,
}

/// What the others think of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It is a member, and answers.
    Up,
    /// Whoever was asked suspects it of having failed (`fail?`; of a sentinel `s_down`).
    Suspected,
    /// Most primaries say that it has failed (`fail`), or most sentinels (`o_down`, of a primary only).
    Failed,
    /// It is a replica that has not got its data yet, or loads it.
    Loading,
}

/// What is asked: in one trip, so that it is of one moment.
pub(super) fn questions() -> [Cmd; 3] {
    ["CLUSTER SHARDS", "CLUSTER NODES", "CLUSTER INFO"].map(Cmd::read)
}

/// Asked where the first of them is refused.
pub(super) fn older_question() -> Cmd {
    Cmd::read("CLUSTER SLOTS")
}

type Answer = Result<Value, LinkError>;

/// The answers to [`questions`]; `None` where the first one must be asked in the older way.
pub(super) fn read(
    answers: Vec<Answer>,
    tls: bool,
) -> Result<(Option<Vec<Listed>>, Details), Error> {
    let Ok([shards, nodes, info]) = <[Answer; 3]>::try_from(answers) else {
        return Err(unexpected("three answers", "another number"));
    };
    let shards = match shards {
        Ok(value) => Some(read_shards(value, tls)?),
        // Too old for it, or denied.
        Err(LinkError::Server(_)) => None,
        Err(LinkError::Lost(reason)) => {
            return Err(Error::unknown(ErrorKind::ConnectionLost(reason)));
        }
    };
    let text = |answer: Answer| match answer {
        Ok(value) => String::from_value(value).map(Some),
        Err(LinkError::Server(words)) if words.starts_with("NOPERM") => Ok(None),
        Err(LinkError::Server(words)) => Err(server_error(&words, false)),
        Err(LinkError::Lost(reason)) => Err(Error::unknown(ErrorKind::ConnectionLost(reason))),
    };
    let (nodes, info) = (text(nodes)?.unwrap_or_default(), text(info)?.unwrap_or_default());
    let fields = info::fields(&info);
    let field = |name: &str| fields.get(name).copied();
    let details = Details {
        epoch: field("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0),
        serves: field("cluster_state") != Some("fail"),
        nodes: nodes.lines().filter_map(Detail::read).collect(),
    };
    Ok((shards, details))
}

/// What `CLUSTER INFO` and `CLUSTER NODES` add; nothing where the user may not ask.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Details {
    epoch: u64,
    serves: bool,
    nodes: HashMap<String, Detail>,
}

/// A line of `CLUSTER NODES`.
#[derive(Debug, PartialEq, Eq)]
struct Detail {
    host: Option<String>,
    port: u16,
    role: Role,
    follows: Option<String>,
    standing: Standing,
    linked: bool,
    slots: Vec<RangeInclusive<u16>>,
    /// It is known by name only, or not yet.
    stranger: bool,
}

impl Details {
    /// Who serves what is told by a node's line in `CLUSTER NODES`, where that may be asked: `CLUSTER SHARDS` gives the
    /// slots of a shard, in which a dead primary stands beside the one that has followed it.
    pub(super) fn complete(mut self, nodes: Vec<Listed>) -> Listing {
        let is_stranger = |id: &str| self.nodes.get(id).is_some_and(|detail| detail.stranger);
        let mut nodes: Vec<_> = nodes.into_iter().filter(|node| !is_stranger(&node.id)).collect();
        for node in &mut nodes {
            if let Some(detail) = self.nodes.remove(&node.id) {
                node.linked = detail.linked;
                node.role = detail.role;
                node.follows = detail.follows;
                node.slots = detail.slots;
                if detail.standing != Standing::Up {
                    node.state = detail.standing;
                }
            }
        }
        // Members that serve nothing, or can't be reached, and are missing elsewhere.
        let rest = self.nodes.into_iter().filter(|(_, detail)| !detail.stranger);
        nodes.extend(rest.map(|(id, detail)| Listed {
            id,
            host: detail.host,
            port: detail.port,
            role: detail.role,
            follows: detail.follows,
            slots: detail.slots,
            state: detail.standing,
            linked: detail.linked,
        }));
        Listing { epoch: self.epoch, serves: self.serves, nodes }
    }
}

impl Detail {
    /// `id ip:port@bus[,hostname] flags primary ping pong epoch link slot…`
    fn read(line: &str) -> Option<(String, Self)> {
        let mut words = line.split_ascii_whitespace();
        let (id, address, flags, primary) =
            (words.next()?, words.next()?, words.next()?, words.next()?);
        let link = words.nth(3)?;
        // Those that are on their way somewhere stand behind, in brackets.
        let slots = words.map_while(range).collect();
        let (address, name) = address.split_once(',').unwrap_or((address, ""));
        let (host, port) = address.split('@').next()?.rsplit_once(':')?;
        let name = name.split(',').next().filter(|name| !name.is_empty());
        let has = |flag: &str| flags.split(',').any(|given| given == flag);
        let detail = Self {
            host: name.or(Some(host)).filter(|host| !host.is_empty()).map(str::to_owned),
            port: port.parse().ok()?,
            role: if has("master") { Role::Primary } else { Role::Replica },
            follows: (primary != "-").then(|| primary.to_owned()),
            standing: match () {
                () if has("fail") => Standing::Failed,
                () if has("fail?") => Standing::Suspected,
                () => Standing::Up,
            },
            linked: link == "connected",
            slots,
            stranger: has("handshake") || has("noaddr"),
        };
        Some((id.to_owned(), detail))
    }
}

/// `7` or `0-5460`.
pub(super) fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

/// `CLUSTER SHARDS`: an array of maps with `slots` and `nodes`.
fn read_shards(value: Value, tls: bool) -> Result<Vec<Listed>, Error> {
    let mut listed = Vec::new();
    for shard in array(value)? {
        let mut shard = Fields::of(shard)?;
        let bounds = Vec::<u16>::from_value(shard.demand("slots")?)?;
        let slots = bounds.chunks_exact(2).map(|pair| pair[0]..=pair[1]).collect::<Vec<_>>();
        let first = listed.len();
        for node in array(shard.demand("nodes")?)? {
            let mut node = Fields::of(node)?;
            let port =
                node.take(if tls { "tls-port" } else { "port" }).or_else(|| node.take("port"));
            // One without an address is known by its name only.
            let Some(port) = port else { continue };
            let role = String::from_value(node.demand("role")?)?;
            let health = node.take("health").map(String::from_value).transpose()?;
            let is_primary = role == "master" || role == "primary";
            listed.push(Listed {
                id: String::from_value(node.demand("id")?)?,
                host: host(node.take("endpoint"))?,
                port: u16::from_value(port)?,
                role: if is_primary { Role::Primary } else { Role::Replica },
                follows: None,
                slots: Vec::new(),
                state: match health.as_deref() {
                    Some("fail" | "failed") => Standing::Failed,
                    Some("loading") => Standing::Loading,
                    _ => Standing::Up,
                },
                linked: true,
            });
        }
        let primaries = || listed[first..].iter().filter(|node| node.role == Role::Primary);
        let living = primaries().position(|node| node.state != Standing::Failed);
        let place = living.unwrap_or(0);
        let mut primaries = listed[first..].iter_mut().filter(|node| node.role == Role::Primary);
        if let Some(primary) = primaries.nth(place) {
            primary.slots = slots;
        }
        follow(&mut listed[first..]);
    }
    Ok(listed)
}

/// `CLUSTER SLOTS`: an array of `[first, last, primary, replica…]`, a node `[host, port, id, …]`.
pub(super) fn read_slots(value: Value) -> Result<Vec<Listed>, Error> {
    let mut listed: Vec<Listed> = Vec::new();
    for range in array(value)? {
        let mut range = array(range)?.into_iter();
        let mut bound = || u16::from_value(range.next().unwrap_or(Value::Nil));
        let slots = bound()?..=bound()?;
        let mut shard = Vec::new();
        for (place, node) in range.enumerate() {
            let mut node = array(node)?.into_iter();
            let mut next = || node.next().unwrap_or(Value::Nil);
            shard.push(Listed {
                host: host(Some(next()))?,
                port: u16::from_value(next())?,
                id: String::from_value(next())?,
                role: if place == 0 { Role::Primary } else { Role::Replica },
                follows: None,
                slots: if place == 0 { vec![slots.clone()] } else { Vec::new() },
                state: Standing::Up,
                linked: true,
            });
        }
        follow(&mut shard);
        for node in shard {
            match listed.iter_mut().find(|known| known.id == node.id) {
                Some(known) => known.slots.extend(node.slots),
                None => listed.push(node),
            }
        }
    }
    Ok(listed)
}

/// Replicas of one shard follow its primary.
fn follow(shard: &mut [Listed]) {
    let primaries = shard.iter().filter(|node| node.role == Role::Primary);
    let primary = primaries.min_by_key(|node| node.state == Standing::Failed);
    let primary = primary.map(|node| node.id.clone());
    for replica in shard.iter_mut().filter(|node| node.role == Role::Replica) {
        replica.follows.clone_from(&primary);
    }
}

/// Nothing, `?` and an empty name all stand for the host that was asked.
fn host(value: Option<Value>) -> Result<Option<String>, Error> {
    let name = value.filter(|value| *value != Value::Nil).map(String::from_value).transpose()?;
    Ok(name.filter(|name| !name.is_empty() && name != "?"))
}

fn array(value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::Array(items) => Ok(items),
        other => Err(unexpected("an array", &other.describe())),
    }
}

struct Fields(HashMap<String, Value>);

impl Fields {
    fn of(value: Value) -> Result<Self, Error> {
        HashMap::from_value(value).map(Self)
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    fn demand(&mut self, name: &'static str) -> Result<Value, Error> {
        self.take(name).ok_or_else(|| unexpected(name, "no such field"))
    }
}

fn unexpected(expected: &'static str, found: &str) -> Error {
    Error::unknown(ErrorKind::Unexpected { expected, found: found.to_owned() })
}

#[cfg(test)]
mod tests;
