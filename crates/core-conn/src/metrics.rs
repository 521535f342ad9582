//! What is measured of each call: by `metrics` (feature `metrics`) and `tracing`. Never keys or values.
//!
//! | metric | kind | labels |
//! |---|---|---|
//! | `russet_redis_calls_total` | counter | `operation`, `outcome`: `ok`, `not_sent`, `rejected`, `unknown` |
//! | `russet_redis_call_seconds` | histogram | `operation` |
//! | `russet_redis_attempts_total` | counter | `operation`: attempts beyond the first |
//!
//! Each call is a `tracing` span `redis.call` at debug level, with `operation`, `node`, `outcome` and `attempts`.

#[cfg(feature = "metrics")]
use std::time::Instant;

use tracing::Span;
use tracing::field::Empty;

use crate::error::{Error, SendOutcome};

pub(crate) struct Observed {
    span: Span,
    #[cfg(feature = "metrics")]
    operation: &'static str,
    #[cfg(feature = "metrics")]
    started: Instant,
}

impl Observed {
    #[inline]
    pub(crate) fn start(operation: &'static str, node: &str) -> Self {
        Self {
            span: tracing::debug_span!(
                "redis.call",
                operation,
                node,
                outcome = Empty,
                attempts = Empty
            ),
            #[cfg(feature = "metrics")]
            operation,
            #[cfg(feature = "metrics")]
            started: Instant::now(),
        }
    }

    #[inline]
    pub(crate) fn end<T>(&self, result: &Result<T, Error>, attempts: u32) {
        let outcome = match result {
            Ok(_) => "ok",
            Err(error) => match error.outcome() {
                SendOutcome::NotSent => "not_sent",
                SendOutcome::Rejected => "rejected",
                SendOutcome::Unknown => "unknown",
            },
        };
        if !self.span.is_disabled() {
            self.span.record("outcome", outcome);
            self.span.record("attempts", attempts);
        }
        #[cfg(feature = "metrics")]
        {
            metrics::counter!("russet_redis_calls_total", "operation" => self.operation, "outcome" => outcome)
                .increment(1);
            metrics::histogram!("russet_redis_call_seconds", "operation" => self.operation)
                .record(self.started.elapsed().as_secs_f64());
            if attempts > 1 {
                metrics::counter!("russet_redis_attempts_total", "operation" => self.operation)
                    .increment(u64::from(attempts - 1));
            }
        }
    }
}
