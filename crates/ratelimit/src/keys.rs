//! Every key that this crate touches.
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `{prefix:p}:limit-bucket.<name>:<segment>:…` | string | the time at which a bucket, a meter or a queue is as new, and how many refunds there were | twice the time that it takes to fill after it was used |
//! | `{prefix:p}:limit-window.<name>:<segment>:…` | string | what is spent in a window, and its end | twice its period after it was used |
//! | `{prefix:p}:limit-counter.<name>:<segment>:…` | string | the start and length of a window, what is spent in it and in the last one | two windows after it was used |
//! | `{prefix:p}:limit-strict.<name>:<segment>:…` | string | the newest part's number, a part's length, and what is spent in each | a window and a part after it was used |
//! | `{prefix:p}:limit-log.<name>:<segment>:…` | zset | what is spent, unit by unit, by its end; bounded by twice the limit | a window after it was used |
//! | `{prefix:p}:limit-permits.<name>:<segment>:…` | zset | the permits that are held, by their end; bounded by the limit | with the last permit |
//! | `{prefix:p}:limit-block.<name>:<segment>:…` | string | until when a subject is blocked | then |
//! | `{prefix}:limit-nodes` | zset | the nodes that share the limits, by their last word | three heartbeats after the last of them |
//! | `{prefix:q}:breaker:<name>` | hash | a fleet's breaker: its state, its nodes and their votes, the permits of its probes | seven days after the last word of a node |
//!
//! `p` is the partition of the segments, `q` that of the name. Times are ticks of 125 ns since 2024, little-endian doubles; parts are integers
//! of 32 bits.
//!
//! The channel `{prefix}:breaker.<name>` tells the nodes of a breaker that it has changed.

use russet_core_conn::{Canonical, Key, KeySpace};

use crate::rule::Rule;

/// The keys of one limit.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    space: KeySpace,
    name: Box<str>,
}

impl Keys {
    pub(crate) fn new(space: &KeySpace, name: &str) -> Self {
        Self { space: space.clone(), name: name.into() }
    }

    /// The state of a subject under this algorithm: no algorithm finds another's.
    pub(crate) fn state(&self, rule: &Rule, subject: &Canonical) -> Key {
        let kind = match rule {
            Rule::Bucket { .. } | Rule::Queue { .. } => "limit-bucket",
            Rule::Window { .. } => "limit-window",
            Rule::Counter { .. } => "limit-counter",
            Rule::Strict { .. } => "limit-strict",
            Rule::Log { .. } => "limit-log",
            Rule::Permits { .. } => "limit-permits",
        };
        self.of(kind, subject)
    }

    /// `{prefix:p}:limit-block.<name>:<segment>:…`
    pub(crate) fn block(&self, subject: &Canonical) -> Key {
        self.of("limit-block", subject)
    }

    fn of(&self, kind: &str, subject: &Canonical) -> Key {
        // On the stack: this is made for each decision.
        let mut named = smallvec::SmallVec::<[u8; 96]>::from_slice(kind.as_bytes());
        named.push(b'.');
        named.extend_from_slice(self.name.as_bytes());
        let named = std::str::from_utf8(&named).unwrap_or(kind);
        self.space.key_of(named, subject)
    }
}

/// `{prefix}:limit-nodes`
pub(crate) fn nodes(space: &KeySpace) -> Key {
    space.global("limit-nodes", ())
}

/// `{prefix:q}:breaker:<name>`, and `{prefix}:breaker.<name>`, a channel.
pub(crate) fn breaker(space: &KeySpace, name: &str) -> [Key; 2] {
    [space.key("breaker", name), space.global(&format!("breaker.{name}"), ())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quota;

    #[test]
    fn the_layout_is_the_one_of_the_table() {
        let keys = Keys::new(&KeySpace::new("shop").unwrap(), "api");
        let minute = std::time::Duration::from_secs(60);
        let subject = Canonical::of(&("SEA", "LAX"));
        for (quota, kind) in [
            (Quota::gcra(1, minute, 1), "bucket"),
            (Quota::queue(1, 1, minute, minute), "bucket"),
            (Quota::fixed(1, minute), "window"),
            (Quota::counter(1, minute), "counter"),
            (Quota::strict(1, minute), "strict"),
            (Quota::log(1, minute), "log"),
            (Quota::permits(1, minute), "permits"),
        ] {
            let key = keys.state(&quota.unwrap().0, &subject);
            let expected = format!("{{shop:118}}:limit-{kind}.api:SEA:LAX");
            assert_eq!(key.as_bytes(), expected.as_bytes());
        }
        assert_eq!(keys.block(&subject).as_bytes(), b"{shop:118}:limit-block.api:SEA:LAX");
        assert_eq!(nodes(&KeySpace::new("shop").unwrap()).as_bytes(), b"{shop}:limit-nodes");
        let [breaker, channel] = breaker(&KeySpace::new("shop").unwrap(), "payments");
        assert_eq!(breaker.as_bytes(), b"{shop:98}:breaker:payments");
        assert_eq!(channel.as_bytes(), b"{shop}:breaker.payments");
    }
}
