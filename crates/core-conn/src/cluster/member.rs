//! One node of a cluster, and the connections to it.

use std::sync::{Arc, OnceLock};

use super::lag::Abreast;
use crate::LinkState;
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
    /// Of a replica: how far it is behind.
    pub(super) abreast: Abreast,
}

impl Member {
    pub(super) fn new(endpoint: Endpoint, settings: &Settings, announcer: &Announcer) -> Arc<Self> {
        let settings = Settings { site: Site::At(endpoint.clone()), ..settings.clone() };
        Arc::new(Self {
            place: endpoint.to_string().into(),
            endpoint,
            calls: Node::new(settings, announcer.clone()),
            reads: OnceLock::new(),
            abreast: Abreast::default(),
        })
    }

    pub(crate) fn reads(&self) -> &Arc<Node> {
        let reads = self.reads.get_or_init(|| {
            let mut settings = self.calls.settings().clone();
            settings.access.stale_reads = true;
            Node::new(settings, self.calls.announcer().clone())
        });
        // Whoever dismisses a member closes its calls first, and looks for these second.
        if self.calls.gate.is_closed() {
            reads.end();
        }
        reads
    }

    /// Of the connection for calls; of one that is only read from the one for that.
    pub(crate) fn link_state(&self) -> LinkState {
        match (self.calls.link_state(), self.reads.get()) {
            (LinkState::Unused, Some(reads)) => reads.link_state(),
            (state, _) => state,
        }
    }

    /// All that is open to it.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        [&self.calls].into_iter().chain(self.reads.get())
    }
}
