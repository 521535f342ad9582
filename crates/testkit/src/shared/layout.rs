//! Which servers there are behind one URL, by what they say themselves.

use std::ops::RangeInclusive;

use super::Topology;
use super::template::Template;
use crate::cluster::SLOTS;
use crate::{Conn, Error, Reply, Result};

/// The servers that hold data, each by a URL of its own.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    primaries: Vec<Primary>,
    replicas: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
struct Primary {
    url: String,
    slots: Vec<RangeInclusive<u16>>,
}

impl Layout {
    pub(super) async fn of(topology: Topology, url: &str) -> Result<Self> {
        match topology {
            Topology::Server => Ok(Self::only(url.to_owned(), Vec::new())),
            Topology::Sentinel => Self::by_sentinels(&Template::of(url)?).await,
            Topology::Cluster => Self::by_nodes(&Template::of(url)?).await,
        }
    }

    fn only(primary: String, replicas: Vec<String>) -> Self {
        let slots = vec![0..=SLOTS - 1];
        Self { primaries: vec![Primary { url: primary, slots }], replicas }
    }

    /// The first sentinel that answers knows all of them.
    async fn by_sentinels(template: &Template<'_>) -> Result<Self> {
        let name = template.name();
        let ask = [["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name], ["SENTINEL", "REPLICAS", name]];
        let replies = first(template.hosts().map(|host| format!("redis://{host}")), &ask).await?;
        let [primary, replicas] = replies.as_slice() else { return Err(odd(&replies)) };
        let primary = match primary.items() {
            Some([host, port]) => template.server(&place(host, port)?),
            _ => return Err(odd(primary)),
        };
        let replicas = replicas.items().ok_or_else(|| odd(replicas))?;
        let replicas = replicas.iter().map(|replica| {
            let (host, port) = (field(replica, "ip")?, field(replica, "port")?);
            Ok(template.server(&place(host, port)?))
        });
        Ok(Self::only(primary, replicas.collect::<Result<_>>()?))
    }

    /// The first node that answers knows all of them: `CLUSTER SHARDS`, since `CLUSTER SLOTS` leaves out a replica
    /// whose offset is not known yet.
    async fn by_nodes(template: &Template<'_>) -> Result<Self> {
        let nodes = template.hosts().map(|host| template.server(host));
        let replies = first(nodes, &[["CLUSTER", "SHARDS"]]).await?;
        let shards = replies.first().and_then(Reply::items).ok_or_else(|| odd(&replies))?;
        let mut layout = Self { primaries: Vec::new(), replicas: Vec::new() };
        for shard in shards {
            let slots = field(shard, "slots")?.items().unwrap_or_default().chunks_exact(2);
            let slots = slots.map(|range| match range {
                [from, to] => Ok(slot(from)?..=slot(to)?),
                _ => Err(odd(shard)),
            });
            let slots: Vec<_> = slots.collect::<Result<_>>()?;
            for node in field(shard, "nodes")?.items().unwrap_or_default() {
                let url = template.server(&place(field(node, "ip")?, field(node, "port")?)?);
                match field(node, "role")?.text() {
                    // One without slots serves nobody.
                    Some("master") if slots.is_empty() => {}
                    Some("master") => {
                        layout.primaries.push(Primary { url, slots: slots.clone() });
                    }
                    _ => layout.replicas.push(url),
                }
            }
        }
        Ok(layout)
    }

    pub(super) fn primaries(&self) -> impl Iterator<Item = &str> {
        self.primaries.iter().map(|primary| primary.url.as_str())
    }

    /// The replicas too.
    pub(super) fn all(&self) -> impl Iterator<Item = &str> {
        self.primaries().chain(self.replicas.iter().map(String::as_str))
    }

    pub(super) fn of_slot(&self, slot: u16) -> Result<&str> {
        let serves = |primary: &&Primary| primary.slots.iter().any(|slots| slots.contains(&slot));
        let primary = self.primaries.iter().find(serves).map(|primary| primary.url.as_str());
        primary.ok_or_else(|| Error::Config {
            field: "url",
            reason: format!("none of its servers has slot {slot}"),
        })
    }
}

/// What the first says that answers.
async fn first<'a, C: AsRef<[&'a str]>>(
    urls: impl Iterator<Item = String>,
    ask: &[C],
) -> Result<Vec<Reply>> {
    let mut last = Error::Config { field: "url", reason: "it names no server".to_owned() };
    for url in urls {
        let asked = async { Conn::open(&url).await?.demand_all(ask).await };
        match asked.await {
            Ok(replies) => return Ok(replies),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn odd(reply: &impl std::fmt::Debug) -> Error {
    Error::Protocol(format!("not what servers are described by: {reply:?}"))
}

fn place(host: &Reply, port: &Reply) -> Result<String> {
    let host = host.text().ok_or_else(|| odd(host))?;
    match (port.int(), port.text()) {
        (Some(port), _) => Ok(format!("{host}:{port}")),
        (_, Some(port)) => Ok(format!("{host}:{port}")),
        _ => Err(odd(port)),
    }
}

fn slot(reply: &Reply) -> Result<u16> {
    reply.int().and_then(|slot| u16::try_from(slot).ok()).ok_or_else(|| odd(reply))
}

/// A field of a flat array of names and values.
fn field<'a>(fields: &'a Reply, name: &str) -> Result<&'a Reply> {
    let pairs = fields.items().unwrap_or_default().chunks_exact(2);
    let value = pairs.filter(|pair| pair.first().and_then(Reply::text) == Some(name));
    value.filter_map(|pair| pair.get(1)).next().ok_or_else(|| odd(fields))
}
