//! What can be seen of a node without asking it anything.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Lane, Node, State};
use crate::LinkState;
use crate::error::{Error, ErrorKind};

impl Node {
    /// Whether a call would find a connection now.
    pub(crate) fn is_connected(&self) -> bool {
        self.lanes.iter().any(Lane::is_connected)
    }

    /// Why a call would find none, if that is known: the last attempt to connect has failed, or there will be no more.
    pub(crate) fn away(&self) -> Option<Error> {
        if self.is_connected() && !self.gate.is_closed() {
            return None;
        }
        away(self.lanes.iter())
    }

    /// Whether a probe has found that it hangs, and none was answered since.
    pub(crate) fn is_hung(&self) -> bool {
        self.hung.load(Relaxed)
    }

    /// The best of its connections.
    pub(crate) fn link_state(&self) -> LinkState {
        link_state(&Vec::from_iter(&self.lanes))
    }

    /// The best of those that lead to this place, or led there last.
    pub(crate) fn link_state_at(&self, place: &str) -> LinkState {
        let there = self.lanes.iter().filter(|lane| **lane.place() == *place);
        link_state(&Vec::from_iter(there))
    }

    /// Where it leads, as whom and how, for people; never with a secret.
    pub(crate) fn description(&self) -> String {
        format!("{}, {:?}", self.name, self.settings)
    }
}

fn link_state(lanes: &[&Lane]) -> LinkState {
    let since = lanes.iter().map(|lane| lane.changed.load().elapsed());
    if lanes.iter().any(|lane| lane.is_connected()) {
        let last_error = lanes.iter().find_map(|lane| lane.last_error.load_full());
        return LinkState::Connected {
            since: since.max().unwrap_or_default(),
            last_error: last_error.map(Arc::unwrap_or_clone),
        };
    }
    match away(lanes.iter().copied()) {
        Some(error) => LinkState::Away { error, since: since.min().unwrap_or_default() },
        None => LinkState::Unused,
    }
}

/// Why none of them is connected, if that is known of all.
fn away<'a>(lanes: impl Iterator<Item = &'a Lane>) -> Option<Error> {
    let reasons = lanes.map(|lane| match &*lane.state.borrow() {
        State::Connecting(Some(last)) => {
            let kind = ErrorKind::NotConnected(last.kind().to_string());
            Some(Error::not_sent(kind).caused_by(last.kind()))
        }
        State::GaveUp(error) => Some(error.clone()),
        State::Ended => Some(Error::not_sent(ErrorKind::Closed)),
        State::Connecting(None) | State::Ready => None,
    });
    // One that may still come is enough.
    let reasons: Option<Vec<_>> = reasons.collect();
    reasons.and_then(|reasons| reasons.into_iter().next())
}
