//! The keys that this crate keeps for itself, beside the layout of a key space ([`KeySpace::layout_key`]).
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `{prefix:p}:lease:<segment>:…` | hash | one lease: `owner` (the token of who had it last), `fence`, `until` (µs of the server's clock; 0 once given back) | by its TTL, a day after the lease unless told otherwise |
//! | `{prefix:p}:lease:<segment>:…` | channel | an empty message when that lease is given back, by `SPUBLISH` | |
//!
//! `p` is the partition of the segments. The channel has the key's own name: so it lies in the key's slot, the scripts
//! need no second key, which would meet `TRYAGAIN` while its slot is being moved, and an ACL pattern covers both.

use crate::{Key, KeySpace, Segments};

/// `{prefix:p}:lease:<segment>:…`, the hash and the channel.
pub(crate) fn lease(space: &KeySpace, name: impl Segments) -> Key {
    space.key("lease", name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_one_of_the_table() {
        let space = KeySpace::new("shop").unwrap();
        assert_eq!(lease(&space, ("SEA", "LAX")).as_bytes(), b"{shop:118}:lease:SEA:LAX");
    }
}
