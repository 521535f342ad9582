//! What can be seen of a node without asking it anything.

use super::{Node, State};
use crate::LinkState;
use crate::error::{Error, ErrorKind};

impl Node {
    /// Whether a call would find a connection now.
    pub(crate) fn is_connected(&self) -> bool {
        self.lanes.iter().any(|lane| {
            lane.current.load().as_ref().is_some_and(|generation| !generation.slab.is_lost())
        })
    }

    /// Why a call would find none, if that is known: the last attempt to connect has failed, or there will be no more.
    pub(crate) fn away(&self) -> Option<Error> {
        if self.is_connected() && !self.gate.is_closed() {
            return None;
        }
        let reasons = self.lanes.iter().map(|lane| match &*lane.state.borrow() {
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

    /// The best of its connections.
    pub(crate) fn link_state(&self) -> LinkState {
        let since = self.lanes.iter().map(|lane| lane.changed.load().elapsed());
        if self.is_connected() {
            return LinkState::Connected { since: since.max().unwrap_or_default() };
        }
        match self.away() {
            Some(error) => LinkState::Away { error, since: since.min().unwrap_or_default() },
            None => LinkState::Unused,
        }
    }

    /// Where it leads, as whom and how, for people; never with a secret.
    pub(crate) fn description(&self) -> String {
        format!("{}, {:?}", self.name, self.settings)
    }
}
