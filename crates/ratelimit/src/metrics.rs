//! Counters by the `metrics` facade, with the feature of that name.

use crate::decide::Outcome;
use crate::decision::Decision;
use crate::error::Error;

/// Counts a decision, by the limit that denied it or has the least left.
#[cfg(feature = "metrics")]
pub(crate) fn decided(outcome: &Result<Outcome, Error>) {
    match outcome {
        Ok(Outcome { decision, .. }) => made(decision),
        Err(Error::Redis(_)) => metrics::counter!("russet_ratelimit_decisions_total", "policy" => "", "result" => "error", "source" => "redis")
            .increment(1),
        Err(_) => {}
    }
}

/// Counts a decision, whoever made it.
#[cfg(feature = "metrics")]
pub(crate) fn made(decision: &Decision) {
    use crate::decision::{Reason, Source};

    let result = match decision.reason {
        Reason::Fits | Reason::Allowed if decision.shadow => "shadow",
        Reason::Fits | Reason::Allowed => "admitted",
        Reason::Shed => "shed",
        Reason::OverLimit | Reason::Blocked | Reason::Denied | Reason::Outage | Reason::Open => {
            "denied"
        }
    };
    let source = match decision.source {
        Source::Redis => "redis",
        Source::List => "list",
        Source::Breaker => "breaker",
        Source::DenyCache => "deny_cache",
        Source::Lease => "lease",
        Source::Fallback => "fallback",
    };
    let policy = decision.policy.clone();
    metrics::counter!("russet_ratelimit_decisions_total", "policy" => policy, "result" => result, "source" => source)
        .increment(1);
}

#[cfg(not(feature = "metrics"))]
#[inline]
pub(crate) fn made(_: &Decision) {}

#[cfg(not(feature = "metrics"))]
pub(crate) fn decided(_: &Result<Outcome, Error>) {}
