//! Where connections go, and when they should go elsewhere.

use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Node, supervise};
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
}

impl Guide {
    pub(super) fn new(site: &Site, access: &Access) -> Self {
        match site {
            Site::At(endpoint) => Self::At(endpoint.clone()),
            Site::Under(watched) => Self::Under(Box::new(Sentinels::new(watched, access))),
        }
    }
}

impl Node {
    /// Where the next connection goes. Needs a runtime.
    pub(crate) async fn target(&self) -> Result<Target, Error> {
        let endpoint = match &self.guide {
            Guide::At(endpoint) => endpoint.clone(),
            Guide::Under(sentinels) => {
                let endpoint = sentinels.find().await?;
                *self.last_place() = endpoint.to_string().into();
                endpoint
            }
        };
        Ok(Target { endpoint, access: self.settings.access.clone() })
    }

    /// Opens a connection to a server of the right role.
    pub(super) async fn open(&self) -> Result<Opened, Error> {
        let target = self.target().await?;
        let mut opened = Link::open(&target).await?;
        if let Guide::Under(sentinels) = &self.guide
            && let Some(demanded) = sentinels.demanded()
        {
            let hello = Cmd::read("HELLO");
            let answer = supervise::bounded(self, &mut opened, &hello).await?;
            let is = answer.ok().and_then(Role::said_by);
            if let Some(is) = is.filter(|&is| is != demanded) {
                let other = SentinelError::OtherRole {
                    node: target.endpoint.to_string().into(),
                    said: demanded.name(),
                    is: is.name(),
                };
                return Err(Error::not_sent(ErrorKind::Sentinel(other)));
            }
        }
        Ok(opened)
    }

    /// Resolves when the server at this place is no longer the one to be connected to.
    pub(crate) async fn left(&self, place: &str) {
        match &self.guide {
            Guide::At(_) => std::future::pending().await,
            Guide::Under(sentinels) => sentinels.left(place).await,
        }
    }

    /// Whether sentinels say where to go: what one server refuses for its role, another may take.
    pub(crate) fn is_led(&self) -> bool {
        matches!(self.guide, Guide::Under(_))
    }

    /// Hears that the next attempt need not wait.
    pub(crate) fn news(&self) -> News {
        News(match &self.guide {
            Guide::At(_) => None,
            Guide::Under(sentinels) => Some(sentinels.news()),
        })
    }

    fn last_place(&self) -> MutexGuard<'_, Arc<str>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the last connection was opened, or was to be: for people.
    pub(crate) fn place(&self) -> Arc<str> {
        self.last_place().clone()
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
