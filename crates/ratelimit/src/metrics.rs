//! Counters by the `metrics` facade, with the feature of that name.

use crate::decide::Outcome;
use crate::error::Error;

/// Counts a decision, by the limit that denied it or has the least left.
#[cfg(feature = "metrics")]
pub(crate) fn decided(outcome: &Result<Outcome, Error>) {
    use crate::decision::Reason;
    use std::sync::Arc;

    let (policy, result) = match outcome {
        Ok(Outcome { decision, .. }) => {
            let result = match decision.reason {
                Reason::Fits | Reason::Allowed if decision.shadow => "shadow",
                Reason::Fits | Reason::Allowed => "admitted",
                Reason::Shed => "shed",
                Reason::OverLimit | Reason::Blocked | Reason::Denied => "denied",
            };
            (decision.policy.clone(), result)
        }
        Err(Error::Redis(_)) => (Arc::from(""), "error"),
        Err(_) => return,
    };
    metrics::counter!("russet_ratelimit_decisions_total", "policy" => policy, "result" => result)
        .increment(1);
}

#[cfg(not(feature = "metrics"))]
pub(crate) fn decided(_: &Result<Outcome, Error>) {}
