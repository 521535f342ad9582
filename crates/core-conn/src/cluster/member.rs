//! One node of a cluster, and the connections to it.

use std::sync::{Arc, OnceLock};

use crate::event::Announcer;
use crate::node::{Node, Settings};
use crate::target::{Endpoint, Site};

#[derive(Debug)]
pub(crate) struct Member {
    /// `host:port`, which is what it is known by.
    pub(crate) place: Arc<str>,
    pub(crate) endpoint: Endpoint,
    /// For what belongs to it as a primary: a replica there says where that is.
    pub(crate) calls: Arc<Node>,
    /// For what a replica may answer.
    reads: OnceLock<Arc<Node>>,
}

impl Member {
    pub(super) fn new(endpoint: Endpoint, settings: &Settings, announcer: &Announcer) -> Arc<Self> {
        let settings = Settings { site: Site::At(endpoint.clone()), ..settings.clone() };
        Arc::new(Self {
            place: endpoint.to_string().into(),
            endpoint,
            calls: Node::new(settings, announcer.clone()),
            reads: OnceLock::new(),
        })
    }

    pub(crate) fn reads(&self) -> &Arc<Node> {
        self.reads.get_or_init(|| {
            let mut settings = self.calls.settings().clone();
            settings.access.stale_reads = true;
            Node::new(settings, self.calls.announcer().clone())
        })
    }

    /// All that is open to it.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        [&self.calls].into_iter().chain(self.reads.get())
    }
}
