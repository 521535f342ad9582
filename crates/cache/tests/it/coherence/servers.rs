//! The servers of a run, and how the processes reach them.

use russet_testkit::{Cluster, Proxy, Sentinel, Server};

use crate::support::{url, users};

pub(super) const SPACE: &str = "coherence";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Behind a proxy for each process: what strikes one may leave the others well.
    One,
    Sentinel,
    Cluster,
}

pub(super) enum Servers {
    One { server: Box<Server>, proxies: Vec<Proxy> },
    Sentinel(Sentinel),
    Cluster(Cluster),
}

impl Servers {
    pub(super) async fn start(kind: Kind, processes: usize) -> Self {
        // Whoever asks for the acknowledgement of replicas needs one right more.
        let users = users(SPACE).replace("-@all", "-@all +wait");
        let server = Server::builder().acl_file(users);
        match kind {
            Kind::One => {
                let server = Box::new(server.start().await.unwrap());
                let mut proxies = Vec::new();
                for _ in 0..processes {
                    proxies.push(Proxy::start(server.addr()).await.unwrap());
                }
                Self::One { server, proxies }
            }
            Kind::Sentinel => {
                Self::Sentinel(Sentinel::builder().server(server).start().await.unwrap())
            }
            Kind::Cluster => {
                Self::Cluster(Cluster::builder().server(server).replicas(1).start().await.unwrap())
            }
        }
    }

    pub(super) fn url(&self, process: usize) -> String {
        let as_user = |url: String| url.replacen("://", "://russet-cache:secret@", 1);
        match self {
            Self::One { proxies, .. } => url(proxies[process].addr()),
            Self::Sentinel(sentinel) => as_user(sentinel.url()),
            Self::Cluster(cluster) => as_user(cluster.url()),
        }
    }

    pub(super) async fn version(&self) -> String {
        let mut conn = match self {
            Self::One { server, .. } => server.conn().await,
            Self::Sentinel(sentinel) => sentinel.primary().await.unwrap().conn().await,
            Self::Cluster(cluster) => cluster.primary_of(0).await.unwrap().conn().await,
        }
        .unwrap();
        let info = conn.call(&["INFO", "server"]).await.unwrap();
        let info = info.text().unwrap();
        info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap().to_owned()
    }
}
