//! Every key that this crate touches.
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `{prefix:p}:cache.<name>:<segment>:…` | string | one entry: a value or its absence, the lease on loading it, or both | by its TTL |
//!
//! `p` is the partition of the segments, so that what belongs to an entry can be decided in one script. The channel
//! `{prefix}:cache.<name>` wakes those who wait for a load.

use russet_core_conn::{Key, KeySpace, Segments};

/// The keys of one cache.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    space: KeySpace,
    kind: Box<str>,
}

impl Keys {
    pub(crate) fn new(space: &KeySpace, name: &str) -> Self {
        Self { space: space.clone(), kind: format!("cache.{name}").into() }
    }

    pub(crate) fn space(&self) -> &KeySpace {
        &self.space
    }

    /// `{prefix:p}:cache.<name>:<segment>:…`
    pub(crate) fn entry(&self, segments: impl Segments) -> Key {
        self.space.key(&self.kind, segments)
    }

    /// `{prefix}:cache.<name>`, a channel.
    pub(crate) fn channel(&self) -> Key {
        self.space.global(&self.kind, ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_one_of_the_table() {
        let keys = Keys::new(&KeySpace::new("shop").unwrap(), "route");
        assert_eq!(keys.entry(("SEA", "LAX")).as_bytes(), b"{shop:118}:cache.route:SEA:LAX");
        assert_eq!(keys.channel().as_bytes(), b"{shop}:cache.route");
    }
}
