//! What sentinels say.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{NAME, Sentinel, port_of};
use crate::patience::Patience;
use crate::{Conn, Reply, Result, Server};

/// How long a process may take to say what it sees.
const ANSWER: Duration = Duration::from_secs(1);

impl Sentinel {
    /// The server that most sentinels name, or why there is none.
    pub(super) async fn named(&self) -> Result<&Server, String> {
        let mut names = Vec::new();
        for sentinel in self.living_sentinels() {
            // One that does not answer has no say.
            names.extend(name(sentinel).await.ok().flatten());
        }
        let votes = |port: u16| names.iter().filter(|name| **name == port).count();
        let most =
            self.servers.iter().find(|server| votes(port_of(server)) * 2 > self.sentinels.len());
        most.ok_or_else(|| {
            format!("of {} sentinels these are named: {names:?}", self.sentinels.len())
        })
    }

    /// Waits until all living sentinels name one living primary, and not `old`.
    pub(super) async fn agreed(&self, old: Option<u16>) -> Result<&Server> {
        let patience = Patience::new(self.patience);
        loop {
            match self.agreement().await {
                Ok(primary) if Some(port_of(primary)) != old => return Ok(primary),
                Ok(old) => {
                    let seen = format!("{} is the primary", port_of(old));
                    patience.wait("another primary that all sentinels name", seen).await?;
                }
                Err(seen) => patience.wait("a primary that all sentinels name", seen).await?,
            }
        }
    }

    async fn agreement(&self) -> Result<&Server, String> {
        let mut found = None;
        for sentinel in self.living_sentinels() {
            let port = port_of(sentinel);
            let named =
                name(sentinel).await.map_err(|error| format!("sentinel {port}: {error}"))?;
            if named != *found.get_or_insert(named) {
                return Err(format!("sentinel {port} names {named:?}, and another {found:?}"));
            }
        }
        let named = found.flatten();
        let living = self.living_servers().find(|server| Some(port_of(server)) == named);
        let primary = living.ok_or_else(|| format!("named is {named:?}, which does not live"))?;
        let role = primary.says("role:master").await;
        role.then_some(primary).ok_or_else(|| format!("{} is no primary", port_of(primary)))
    }

    /// What is missing until all that lives is ready.
    pub(super) async fn flaw(&self) -> Option<String> {
        let primary = match self.agreement().await {
            Ok(primary) => port_of(primary),
            Err(seen) => return Some(seen),
        };
        let replicas = || self.living_servers().filter(|server| port_of(server) != primary);
        for replica in replicas() {
            if !replica.says("master_link_status:up").await
                || !replica.says(&format!("master_port:{primary}")).await
            {
                return Some(format!("{} does not follow {primary}", port_of(replica)));
            }
        }
        for sentinel in self.living_sentinels() {
            let port = port_of(sentinel);
            let others = self.living_sentinels().filter(|other| port_of(other) != port);
            let flaw = blind(sentinel, replicas(), others).await;
            match flaw {
                Ok(None) => {}
                Ok(Some(flaw)) => return Some(format!("sentinel {port}: {flaw}")),
                Err(error) => return Some(format!("sentinel {port}: {error}")),
            }
        }
        None
    }

    fn living_servers(&self) -> impl Iterator<Item = &Server> {
        self.servers.iter().filter(|server| server.is_living())
    }

    pub(super) fn living_sentinels(&self) -> impl Iterator<Item = &Server> {
        self.sentinels.iter().filter(|sentinel| sentinel.is_living())
    }
}

/// What a sentinel does not see of what is there.
async fn blind(
    sentinel: &Server,
    replicas: impl Iterator<Item = &Server>,
    others: impl Iterator<Item = &Server>,
) -> Result<Option<String>> {
    let mut conn = conn(sentinel).await?;
    let known = up(&conn.demand(&["SENTINEL", "REPLICAS", NAME]).await?);
    if let Some(unknown) = replicas.map(port_of).find(|port| !known.contains(port)) {
        return Ok(Some(format!("it does not see the replica {unknown}")));
    }
    let known = up(&conn.demand(&["SENTINEL", "SENTINELS", NAME]).await?);
    if let Some(unknown) = others.map(port_of).find(|port| !known.contains(port)) {
        return Ok(Some(format!("it does not see the sentinel {unknown}")));
    }
    let quorum = conn.call(&["SENTINEL", "CKQUORUM", NAME]).await?;
    Ok(quorum.error().map(str::to_owned))
}

/// The ports of those in the list that are not down, and with which the sentinel has talked. Of servers: that it has
/// seen to be replicas, for it takes one that was restarted as a primary, and promoted soon after, to be one still.
fn up(list: &Reply) -> BTreeSet<u16> {
    let entries = list.items().unwrap_or_default().iter().filter_map(Reply::items);
    let field = |entry: &[Reply], name: &str| {
        let pairs = entry.chunks(2);
        pairs
            .filter(|pair| pair.first().and_then(Reply::text) == Some(name))
            .find_map(|pair| pair.get(1).and_then(Reply::text).map(str::to_owned))
    };
    entries
        .filter(|entry| {
            let flags = field(entry, "flags").unwrap_or_default();
            // `master_down` is no state of its own, but what it last said of the primary.
            !flags.split(',').any(|flag| ["s_down", "o_down", "disconnected"].contains(&flag))
                && field(entry, "role-reported").is_none_or(|role| role == "slave")
        })
        .filter_map(|entry| field(entry, "port")?.parse().ok())
        .collect()
}

/// The port of the primary that a sentinel names.
async fn name(sentinel: &Server) -> Result<Option<u16>> {
    let addr = conn(sentinel).await?.demand(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]).await?;
    let port = addr.items().and_then(|addr| addr.get(1)).and_then(Reply::text);
    Ok(port.and_then(|port| port.parse().ok()))
}

async fn conn(process: &Server) -> Result<Conn> {
    Ok(process.conn().await?.with_deadline(ANSWER))
}
