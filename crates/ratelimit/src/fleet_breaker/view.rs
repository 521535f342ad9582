//! What a node knows of the fleet's breaker.

use std::time::{Duration, Instant};

use super::script::{Kind, Said};
use super::state::FleetState;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub(super) fleet: Fleet,
    pub(super) generation: u64,
    pub(super) alone: bool,
    /// The number of the question that this is the answer to.
    pub(super) question: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Fleet {
    Closed,
    Open { until: Instant },
    HalfOpen,
    ForcedOpen,
    Disabled,
    MetricsOnly,
}

#[cfg(feature = "metrics")]
impl Fleet {
    /// For a gauge.
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Open { .. } => 1,
            Self::HalfOpen => 2,
            Self::ForcedOpen => 3,
            Self::Disabled => 4,
            Self::MetricsOnly => 5,
        }
    }
}

/// What becomes of the node's own breaker with a change of the fleet's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    Stays,
    /// Opens, so that it lets one probe through should Redis be gone when the time is over.
    Trips,
    /// Closes, with nothing counted: what was counted was for another generation.
    Resets,
}

impl View {
    /// Before anything is known.
    pub(super) fn new() -> Self {
        Self { fleet: Fleet::Closed, generation: 0, alone: true, question: 0 }
    }

    /// What is known after this answer, and what becomes of the node's own breaker. `None` where a later question has
    /// been answered already.
    pub(super) fn after(&self, question: u64, said: &Said, now: Instant) -> Option<(Self, Own)> {
        if question <= self.question {
            return None;
        }
        let until = now + Duration::from_micros(said.left);
        let fleet = match said.kind {
            Kind::Closed => Fleet::Closed,
            Kind::Open => Fleet::Open { until },
            Kind::HalfOpen => Fleet::HalfOpen,
            Kind::ForcedOpen => Fleet::ForcedOpen,
            Kind::Disabled => Fleet::Disabled,
            Kind::MetricsOnly => Fleet::MetricsOnly,
        };
        let own = match fleet {
            _ if self.generation == said.generation => Own::Stays,
            Fleet::Open { .. } | Fleet::HalfOpen => Own::Trips,
            // One that was alone knows better what it has seen than those who were not.
            Fleet::Closed | Fleet::MetricsOnly if !self.alone => Own::Resets,
            _ => Own::Stays,
        };
        Some((Self { fleet, generation: said.generation, alone: false, question }, own))
    }

    /// Whether what the node's own breaker says is a vote.
    pub(super) fn is_voted_on(&self) -> bool {
        matches!(self.fleet, Fleet::Closed | Fleet::MetricsOnly)
    }

    pub(super) fn state(&self, now: Instant) -> FleetState {
        match self.fleet {
            Fleet::Closed => FleetState::Closed,
            Fleet::Open { until } => {
                FleetState::Open { retry_after: until.saturating_duration_since(now) }
            }
            Fleet::HalfOpen => FleetState::HalfOpen,
            Fleet::ForcedOpen => FleetState::ForcedOpen,
            Fleet::Disabled => FleetState::Disabled,
            Fleet::MetricsOnly => FleetState::MetricsOnly,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(kind: Kind, generation: u64) -> Said {
        Said { kind, generation, age: 0, left: 7_000 }
    }

    #[test]
    fn an_answer_to_an_earlier_question_says_nothing() {
        let now = Instant::now();
        let (open, own) = View::new().after(2, &said(Kind::Open, 5), now).unwrap();
        assert_eq!(own, Own::Trips);
        assert_eq!(open.fleet, Fleet::Open { until: now + Duration::from_millis(7) });
        assert!(open.after(1, &said(Kind::Closed, 4), now).is_none());
        assert!(open.after(2, &said(Kind::Closed, 4), now).is_none());
    }

    #[test]
    fn ones_own_breaker_begins_anew_with_a_generation() {
        let now = Instant::now();
        let own =
            |view: &View, kind, generation| view.after(9, &said(kind, generation), now).unwrap().1;
        let known = |fleet, alone| View { fleet, generation: 5, alone, question: 1 };
        let closed = known(Fleet::Closed, false);
        assert_eq!(own(&closed, Kind::Closed, 5), Own::Stays);
        assert_eq!(own(&closed, Kind::Closed, 6), Own::Resets);
        assert_eq!(own(&closed, Kind::Open, 6), Own::Trips);
        assert_eq!(own(&closed, Kind::HalfOpen, 7), Own::Trips);
        assert_eq!(own(&closed, Kind::Disabled, 6), Own::Stays);
        assert_eq!(own(&known(Fleet::HalfOpen, false), Kind::Closed, 6), Own::Resets);
        assert_eq!(own(&known(Fleet::Closed, true), Kind::Closed, 6), Own::Stays);
    }
}
