//! What server this is, and what it can do.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

pub use self::version::{Feature, Product, ServerVersion};
use crate::cmd::{Class, Cmd};
use crate::error::{Error, ErrorKind};
use crate::link::{LinkError, Reply, Request};
use crate::value::server_error;
use crate::{FromValue, Redis, ServerError, Value};

mod version;

/// What a server tells of itself. What it does not tell this user is `None`, and nothing is guessed.
///
/// From `HELLO`, which every user may call, and from `INFO`, which some may not; `CONFIG` is not needed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerInfo {
    /// Redis, Valkey or another.
    pub product: Product,
    /// The product's own version; of Valkey not the version of Redis that it stands for.
    pub version: Option<ServerVersion>,
    /// How it was started. A server behind Sentinel is [`Standalone`](Topology::Standalone).
    pub topology: Option<Topology>,
    /// Whether it took writes when it was asked.
    pub role: Option<Role>,
    /// The loaded modules, in the server's order.
    pub modules: Option<Vec<Module>>,
    /// 40 hex digits that each start of a server draws anew. Needs `INFO`.
    pub run_id: Option<String>,
    /// The most memory that data may use, in bytes; 0 for no limit. Needs `INFO`.
    pub max_memory: Option<u64>,
    /// What happens at that limit, as `noeviction` or `allkeys-lru`. Needs `INFO`.
    pub eviction: Option<String>,
}

/// How a server was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Topology {
    /// On its own, or followed by replicas.
    Standalone,
    /// As a node of a cluster.
    Cluster,
    /// As a Sentinel, which holds no data.
    Sentinel,
}

/// Which side of replication a server is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows a primary.
    Replica,
}

impl Role {
    /// What a reply to `HELLO` says.
    pub(crate) fn said_by(hello: Value) -> Option<Self> {
        let mut hello: HashMap<String, Value> = HashMap::from_value(hello).ok()?;
        Self::named(&String::from_value(hello.remove("role")?).ok()?)
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        match name {
            "master" => Some(Self::Primary),
            "replica" | "slave" => Some(Self::Replica),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

/// A module that a server has loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Module {
    /// Its name, as `search` or `ReJSON`.
    pub name: String,
    /// Its version, as the module numbers them.
    pub version: u64,
}

impl ServerInfo {
    /// Whether this server is known to have the feature. No, if its version is not known.
    pub fn supports(&self, feature: Feature) -> bool {
        self.version.is_some_and(|version| feature.is_in(&self.product, version))
    }

    /// Whether it has loaded a module of this name, in whatever case; `None` if it does not tell.
    pub fn has_module(&self, name: &str) -> Option<bool> {
        let modules = self.modules.as_ref()?;
        Some(modules.iter().any(|module| module.name.eq_ignore_ascii_case(name)))
    }

    /// Whether it may remove keys by itself before their end, for want of memory; `None` if it does not tell. State
    /// (tokens, queues, leases) belongs on a server that never does.
    pub fn evicts(&self) -> Option<bool> {
        Some(self.eviction.as_ref()? != "noeviction")
    }

    fn read(hello: Option<Value>, info: Option<&str>) -> Self {
        let hello: HashMap<String, Value> =
            hello.and_then(|hello| HashMap::from_value(hello).ok()).unwrap_or_default();
        let info = info.map(fields).unwrap_or_default();
        let said = |name: &str| hello.get(name).cloned().and_then(|v| String::from_value(v).ok());
        let field = |name: &str| info.get(name).map(|&value| value.to_owned());
        let (product, version) = match field("valkey_version") {
            Some(version) => (Product::Valkey, Some(version)),
            None => (
                said("server").map_or(Product::Unknown, Product::named),
                said("version").or_else(|| field("redis_version")),
            ),
        };
        Self {
            product,
            version: version.and_then(|version| version.parse().ok()),
            topology: said("mode").and_then(|mode| match mode.as_str() {
                "standalone" => Some(Topology::Standalone),
                "cluster" => Some(Topology::Cluster),
                "sentinel" => Some(Topology::Sentinel),
                _ => None,
            }),
            role: said("role").and_then(|role| Role::named(&role)),
            modules: hello.get("modules").cloned().and_then(modules),
            run_id: field("run_id"),
            max_memory: field("maxmemory").and_then(|bytes| bytes.parse().ok()),
            eviction: field("maxmemory_policy"),
        }
    }
}

/// The lines `name:value` of INFO.
pub(crate) fn fields(info: &str) -> HashMap<&str, &str> {
    info.lines().filter_map(|line| line.trim_end().split_once(':')).collect()
}

fn modules(value: Value) -> Option<Vec<Module>> {
    let modules = Vec::<HashMap<String, Value>>::from_value(value).ok()?;
    let module = |mut module: HashMap<String, Value>| {
        let mut take = |field| module.remove(field);
        Some(Module {
            name: String::from_value(take("name")?).ok()?,
            version: u64::from_value(take("ver")?).ok()?,
        })
    };
    modules.into_iter().map(module).collect()
}

/// What was learned last, and in which of the node's generations.
#[derive(Debug, Default)]
pub(crate) struct Known(ArcSwapOption<(u64, Arc<ServerInfo>)>);

impl Known {
    pub(crate) fn role(&self) -> Option<Role> {
        self.0.load().as_ref().and_then(|known| known.1.role)
    }
}

impl Redis {
    /// What server this is. One round trip, and none again until a connection is opened anew: behind an address there
    /// may be another server then. What can change without that, role and memory, is as it was when it was asked.
    ///
    /// # Errors
    /// Any error of a call. That the user may not call `INFO` is none.
    #[track_caller]
    pub fn info(&self) -> impl Future<Output = Result<Arc<ServerInfo>, Error>> + Send + '_ {
        let site = Location::caller();
        async move {
            let generation = self.to.generations();
            if let Some(known) = &*self.to.known().0.load()
                && known.0 == generation
            {
                return Ok(known.1.clone());
            }
            let info = Box::pin(self.ask()).await;
            let info = info.map_err(|error| self.told(error, Some("INFO"), None, site))?;
            let known = (generation, Arc::new(info));
            let info = known.1.clone();
            self.to.known().0.store(Some(Arc::new(known)));
            Ok(info)
        }
    }

    async fn ask(&self) -> Result<ServerInfo, Error> {
        // Bare `HELLO` only tells: it is free to everybody, and changes nothing.
        let asked = [Cmd::read("HELLO"), Cmd::read("INFO").args(["server", "memory"])];
        let request = Request::Batch(&asked);
        let send = |deadline| self.attempt(Class::Read, &request, deadline);
        let replies = match self.repeat(Class::Read, "INFO", send).await? {
            Reply::Many(replies) => replies,
            Reply::One(value) => {
                let kind =
                    ErrorKind::Unexpected { expected: "a reply each", found: value.describe() };
                return Err(Error::unknown(kind));
            }
        };
        let mut replies = replies.into_iter().map(told);
        let (hello, info) = (replies.next().transpose()?, replies.next().transpose()?);
        let info = info.flatten().map(String::from_value).transpose()?;
        Ok(ServerInfo::read(hello.flatten(), info.as_deref()))
    }
}

/// What was answered, or nothing if the user may not ask.
fn told(reply: Result<Value, LinkError>) -> Result<Option<Value>, Error> {
    match reply {
        Ok(value) => Ok(Some(value)),
        Err(LinkError::Lost(reason)) => Err(Error::unknown(ErrorKind::ConnectionLost(reason))),
        Err(LinkError::Server(words)) => match server_error(&words, false) {
            // Denied, or renamed away.
            error
                if matches!(
                    error.server(),
                    Some(ServerError::NoPerm(_) | ServerError::Other(_))
                ) =>
            {
                Ok(None)
            }
            error => Err(error),
        },
    }
}

#[cfg(test)]
mod tests;
