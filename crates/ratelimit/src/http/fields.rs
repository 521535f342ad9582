//! What an answer tells of limits.

use std::borrow::Cow;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};
use sfv::{Integer, KeyRef, ListSerializer, StringRef};

use crate::{Decision, Level};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Which fields tell clients of limits, beside `Retry-After`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Headers {
    /// Those of the IETF's draft: `RateLimit-Policy` and `RateLimit`. The default.
    #[default]
    Draft,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining`, and `X-RateLimit-Reset` in seconds from now: of one limit, that which
    /// denies or has the least left. There is no standard for them, and others mean a date by the last.
    Legacy,
    /// Both.
    Both,
    /// Neither.
    None,
}

impl Headers {
    /// Tells how `decision` over these levels stands. What an inner layer has said is kept: fields of the draft are
    /// lists, of which each layer has its members, and of the older ones that of the inner layer stays.
    pub(super) fn write(self, to: &mut HeaderMap, levels: &[Level], decision: &Decision) {
        if matches!(self, Self::Draft | Self::Both) {
            let (policies, limits) = draft(levels, decision);
            let fields = [(POLICY, policies), (LIMIT, limits)];
            for (name, value) in fields {
                if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                    to.append(name, value);
                }
            }
        }
        if matches!(self, Self::Legacy | Self::Both) {
            let reset = match decision.retry_after {
                Some(wait) if !decision.is_allowed() => wait,
                _ => decision.reset_after,
            };
            let legacy = [
                ("x-ratelimit-limit", decision.limit),
                ("x-ratelimit-remaining", decision.remaining),
                ("x-ratelimit-reset", seconds(reset)),
            ];
            for (name, value) in legacy {
                to.entry(name).or_insert_with(|| HeaderValue::from(value));
            }
        }
        if !decision.is_allowed()
            && let Some(wait) = decision.retry_after
        {
            to.entry(RETRY_AFTER).or_insert_with(|| HeaderValue::from(seconds(wait).max(1)));
        }
    }
}

/// `RateLimit-Policy` and `RateLimit`.
fn draft(levels: &[Level], decision: &Decision) -> (Option<String>, Option<String>) {
    let [quota, window] = ["q", "w"].map(KeyRef::constant);
    let [remaining, time] = ["r", "t"].map(KeyRef::constant);
    let (mut policies, mut limits) = (ListSerializer::new(), ListSerializer::new());
    let allowed = decision.is_allowed();
    for (level, said) in levels.iter().zip(decision.levels.iter()) {
        let name = printable(&said.name);
        let Ok(name) = StringRef::from_str(&name) else { continue };
        if said.shadow {
            continue;
        }
        let policy = policies.bare_item(name).parameter(quota, integer(said.limit));
        // Whole seconds are all that there is: a shorter window is not told, or the rate would seem lower than it is.
        let period = level.limit.rule().window();
        if period >= Duration::from_secs(1) {
            policy.parameter(window, integer(seconds(period)));
        }
        if !allowed && !said.denies {
            continue;
        }
        let limit = limits.bare_item(name).parameter(remaining, integer(said.remaining));
        let until = if allowed { Some(said.reset_after) } else { said.retry_after };
        if let Some(until) = until {
            limit.parameter(time, integer(seconds(until)));
        }
    }
    (policies.finish(), limits.finish())
}

/// Not fewer.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

fn integer(number: u64) -> Integer {
    Integer::try_from(number).unwrap_or(Integer::MAX)
}

/// A name as a string of structured fields, which has no others than those of ASCII that can be printed.
fn printable(name: &str) -> Cow<'_, str> {
    let prints = |c: char| c == ' ' || c.is_ascii_graphic();
    if name.chars().all(prints) {
        return name.into();
    }
    name.chars().map(|c| if prints(c) { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_never_too_few() {
        let nanos = Duration::from_nanos;
        assert_eq!(seconds(nanos(0)), 0);
        assert_eq!(seconds(nanos(1)), 1);
        assert_eq!(seconds(nanos(1_000_000_000)), 1);
        assert_eq!(seconds(nanos(1_000_000_125)), 2);
    }

    #[test]
    fn names_can_be_sent() {
        assert_eq!(printable("api.\"v1\" \\ x"), "api.\"v1\" \\ x");
        assert_eq!(printable("café\n"), "caf??");
        assert!(StringRef::from_str(&printable("é\u{7f}\0")).is_ok());
    }
}
