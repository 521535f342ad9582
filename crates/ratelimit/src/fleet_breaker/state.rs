//! What a fleet's breaker is, and what it became.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use russet_core_conn::BreakerState;

use super::script::{Kind, Status};

/// What a fleet's breaker does with the next call of any node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FleetState {
    /// Lets it through, unless the node's own breaker is open.
    Closed,
    /// Refuses it.
    Open {
        /// After this time a call will be a probe. Zero once it is over, and no call has come yet.
        retry_after: Duration,
    },
    /// Lets it through as a probe while there is a permit left in the fleet, and refuses it otherwise.
    HalfOpen,
    /// Refuses it, until [`reset`](crate::FleetBreaker::reset).
    ForcedOpen,
    /// Lets it through and counts nothing, until [`reset`](crate::FleetBreaker::reset).
    Disabled,
    /// Lets it through and counts it: nodes vote, and nothing comes of it, until [`reset`](crate::FleetBreaker::reset).
    MetricsOnly,
}

impl FleetState {
    fn of(kind: Kind, left: Duration) -> Self {
        match kind {
            Kind::Closed => Self::Closed,
            Kind::Open => Self::Open { retry_after: left },
            Kind::HalfOpen => Self::HalfOpen,
            Kind::ForcedOpen => Self::ForcedOpen,
            Kind::Disabled => Self::Disabled,
            Kind::MetricsOnly => Self::MetricsOnly,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen => "half-open",
            Self::ForcedOpen => "forced-open",
            Self::Disabled => "disabled",
            Self::MetricsOnly => "metrics-only",
        }
    }
}

impl fmt::Display for FleetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What one node knows; of [`FleetBreaker::state`](crate::FleetBreaker::state).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Standing {
    /// The fleet's breaker, as it was last heard of.
    pub fleet: FleetState,
    /// This node's own. It has a say where the fleet's is closed, and where this node is alone.
    pub local: BreakerState,
    /// Redis has not answered for three heartbeats, or not yet: this node goes by its own breaker.
    pub alone: bool,
    /// Of the fleet's state: drawn by chance at each change. Zero before it was ever known.
    pub generation: u64,
}

/// All that Redis has to tell of a breaker; of [`FleetBreaker::status`](crate::FleetBreaker::status).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetStatus {
    /// What it is.
    pub state: FleetState,
    /// Since when it is that, by the server's clock.
    pub since: SystemTime,
    /// When it opened, if it is open.
    pub opened_at: Option<SystemTime>,
    /// Nodes that count: those that have spoken in the last 60 heartbeats, and have not left.
    pub nodes: u64,
    /// Nodes whose own breaker is open, and that say so.
    pub votes: u64,
    /// Votes that open it.
    pub quorum: u64,
    /// Failed calls since the last change, of all nodes, as of their last heartbeats.
    pub failures: u64,
    /// Probes under way.
    pub probes: u64,
    /// Probes that have ended well, of this stay in half-open.
    pub successes: u64,
}

impl FleetStatus {
    /// Of what Redis told at this time, or that nobody knows of the breaker.
    pub(super) fn of(status: Option<Status>, now: SystemTime) -> Self {
        let Some(status) = status else {
            return Self {
                state: FleetState::Closed,
                since: now,
                opened_at: None,
                nodes: 0,
                votes: 0,
                quorum: 1,
                failures: 0,
                probes: 0,
                successes: 0,
            };
        };
        let since = SystemTime::UNIX_EPOCH + Duration::from_micros(status.since);
        let left = Duration::from_micros(status.said.left);
        let state = FleetState::of(status.said.kind, left);
        Self {
            state,
            since,
            opened_at: matches!(state, FleetState::Open { .. }).then_some(since),
            nodes: status.nodes,
            votes: status.votes,
            quorum: status.nodes / 2 + 1,
            failures: status.failures,
            probes: status.permits,
            successes: status.successes,
        }
    }
}

/// Something that happened to a fleet's breaker, as one node saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetEvent {
    /// The breaker's name.
    pub breaker: Arc<str>,
    /// What happened.
    pub kind: FleetEventKind,
}

/// What happened to a fleet's breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FleetEventKind {
    /// It became something else. What was between, for less than a heartbeat, may not be told.
    Changed {
        /// What it was.
        from: FleetState,
        /// What it is.
        to: FleetState,
    },
    /// This node's own breaker is open, and the fleet was told so.
    Voted,
    /// It is not any more, or its time is over, and the fleet was told so.
    Withdrawn,
    /// Redis does not answer: this node goes by its own breaker.
    Alone,
    /// Redis answers.
    Joined,
}
