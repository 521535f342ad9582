//! Why a call was not made.

use std::sync::Arc;
use std::time::Duration;

/// The call was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the breaker {breaker:?} is open")]
#[non_exhaustive]
pub struct Rejected {
    /// The breaker's name.
    pub breaker: Arc<str>,
    /// Whose breaker refused it.
    pub by: RefusedBy,
    /// After what time to try again: a call may then be let through, as a probe or because the breaker has closed. `None`
    /// where nobody knows: it was [forced open](crate::FleetBreaker::force_open), or a probe of the node's own breaker is
    /// under way.
    pub retry_after: Option<Duration>,
}

/// Whose breaker refused a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedBy {
    /// The fleet's.
    Fleet,
    /// The node's own: the fleet's is closed, or the node is alone.
    Node,
}

/// Why [`FleetBreaker::execute`](crate::FleetBreaker::execute) has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FleetBreakerError<E> {
    /// The call was not made.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The call's own error.
    #[error("{0}")]
    Call(E),
}
