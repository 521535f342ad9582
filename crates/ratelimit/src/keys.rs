//! Every key that this crate touches.
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `{prefix:p}:limit.<name>:<segment>:…` | string | the state of one subject under one limit; a hash or a zset where its algorithm needs more | when it is as if it were not there |
//!
//! `p` is the partition of the segments.

use russet_core_conn::{Canonical, Key, KeySpace};

/// The keys of one limit.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    space: KeySpace,
    kind: Box<str>,
}

impl Keys {
    pub(crate) fn new(space: &KeySpace, name: &str) -> Self {
        Self { space: space.clone(), kind: format!("limit.{name}").into() }
    }

    /// `{prefix:p}:limit.<name>:<segment>:…`
    pub(crate) fn subject(&self, segments: &Canonical) -> Key {
        self.space.key_of(&self.kind, segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_one_of_the_table() {
        let keys = Keys::new(&KeySpace::new("shop").unwrap(), "api");
        let subject = keys.subject(&Canonical::of(&("SEA", "LAX")));
        assert_eq!(subject.as_bytes(), b"{shop:118}:limit.api:SEA:LAX");
    }
}
