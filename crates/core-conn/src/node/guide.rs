//! Where connections go, and when they should go elsewhere.

use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::{Node, supervise};
use crate::cluster::Cluster;
use crate::cmd::Cmd;
use crate::error::{Error, ErrorKind, SentinelError};
use crate::info::Role;
use crate::link::{Link, Opened};
use crate::sentinel::Sentinels;
use crate::target::{Access, Endpoint, Site, Target};

#[derive(Debug)]
pub(super) enum Guide {
    At(Endpoint),
    Under(Box<Sentinels>),
    /// Any node of this cluster will do.
    Within(Weak<Cluster>),
}

impl Guide {
    pub(super) fn new(site: &Site, access: &Access) -> Self {
        match site {
            Site::At(endpoint) => Self::At(endpoint.clone()),
            Site::Under(watched) => Self::Under(Box::new(Sentinels::new(watched, access))),
            // Who makes one for it says which.
            Site::Cluster(_) => Self::Within(Weak::new()),
        }
    }
}

/// Why a connection must end.
pub(crate) const LEFT: &str = "another server has taken its place";

impl Node {
    /// Where the next connection goes. Needs a runtime.
    pub(crate) async fn target(&self) -> Result<Target, Error> {
        let endpoint = match &self.guide {
            Guide::At(endpoint) => endpoint.clone(),
            Guide::Under(sentinels) => {
                let endpoint = sentinels.find().await?;
                self.place.store(Arc::new(endpoint.to_string().into()));
                endpoint
            }
            Guide::Within(cluster) => {
                let closed = || Error::not_sent(ErrorKind::Closed);
                let endpoint = cluster.upgrade().ok_or_else(closed)?.somewhere().await?;
                self.place.store(Arc::new(endpoint.to_string().into()));
                endpoint
            }
        };
        Ok(Target { endpoint, access: self.settings.access.clone() })
    }

    /// How its servers are spoken to.
    pub(crate) fn template(&self) -> Endpoint {
        match &self.settings.site {
            Site::At(endpoint) => endpoint.clone(),
            Site::Under(watched) => watched.listed[0].clone(),
            Site::Cluster(sites) => sites.listed[0].clone(),
        }
    }

    /// Opens a connection to a server of the right role.
    pub(super) async fn open(&self) -> Result<Opened, Error> {
        let Guide::Under(sentinels) = &self.guide else {
            return Link::open(&self.target().await?).await;
        };
        let open = async {
            let target = self.target().await?;
            let demanded = sentinels.demanded();
            self.unless_left(&target.endpoint.to_string(), self.open_as(&target, demanded)).await
        };
        match tokio::time::timeout(self.settings.access.connect_timeout, open).await {
            Ok(opened) => opened,
            Err(_) => Err(self.settings.access.no_answer()),
        }
    }

    async fn open_as(&self, target: &Target, demanded: Option<Role>) -> Result<Opened, Error> {
        let mut opened = Link::open(target).await?;
        let Some(demanded) = demanded else { return Ok(opened) };
        let answer = supervise::bounded(self, &mut opened, &Cmd::read("HELLO")).await?;
        let is = answer.ok().and_then(Role::said_by);
        match is.filter(|&is| is != demanded) {
            None => Ok(opened),
            Some(is) => {
                let other = SentinelError::OtherRole {
                    node: target.endpoint.to_string().into(),
                    said: demanded.name(),
                    is: is.name(),
                };
                Err(Error::not_sent(ErrorKind::Sentinel(other)))
            }
        }
    }

    /// Resolves when the server at this place is no longer the one to be connected to.
    pub(crate) async fn left(&self, place: &str) {
        match &self.guide {
            Guide::At(_) => std::future::pending().await,
            Guide::Under(sentinels) => sentinels.left(place).await,
            Guide::Within(cluster) => {
                if let Some(cluster) = cluster.upgrade() {
                    cluster.left(place).await;
                }
            }
        }
    }

    /// Whether it is not by now.
    pub(crate) fn is_left(&self, place: &str) -> bool {
        match &self.guide {
            Guide::At(_) => false,
            Guide::Under(sentinels) => sentinels.is_left(place),
            Guide::Within(cluster) => cluster.upgrade().is_none_or(|cluster| {
                cluster.map().members().all(|member| *member.place != *place)
            }),
        }
    }

    /// What is done there, as long as that server is the one to be connected to.
    pub(crate) async fn unless_left<T>(
        &self,
        place: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.left(place) => Err(Error::not_sent(ErrorKind::Connect(LEFT.into()))),
            done = work => done,
        }
    }

    /// Those that say where it leads, if it is led.
    pub(crate) fn sentinels(&self) -> Option<&Sentinels> {
        match &self.guide {
            Guide::Under(sentinels) => Some(sentinels),
            Guide::At(_) | Guide::Within(_) => None,
        }
    }

    /// Whether what a server refuses for its role belongs on another, which the sentinels know.
    pub(crate) fn is_led(&self) -> bool {
        matches!(&self.guide, Guide::Under(sentinels) if sentinels.leads_writes())
    }

    /// Hears that the next attempt need not wait.
    pub(crate) fn news(&self) -> News {
        News(match &self.guide {
            Guide::At(_) | Guide::Within(_) => None,
            Guide::Under(sentinels) => Some(sentinels.news()),
        })
    }

    /// Where the last connection was opened, or was to be: for people.
    pub(crate) fn place(&self) -> Arc<str> {
        Arc::clone(&self.place.load())
    }
}

pub(crate) struct News(Option<watch::Receiver<Option<Arc<str>>>>);

impl News {
    /// Resolves when another server than before is the one to go to, since this was made or last resolved.
    pub(crate) async fn heard(&mut self) {
        let heard = match &mut self.0 {
            Some(primary) => primary.changed().await.is_ok(),
            None => false,
        };
        if !heard {
            std::future::pending::<()>().await;
        }
    }
}
