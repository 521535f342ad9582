//! Every key that this crate touches.
//!
//! | key | type | holds | ends |
//! |---|---|---|---|
//! | `{prefix:p}:cache.<name>:<segment>:…` | string | one entry: a value or its absence, the lease on loading it, or both | by its TTL |
//! | `{prefix:q}:cache-journal:<name>` | hash | the journal's incarnation, its version, and what is invalid altogether | with the cache |
//! | `{prefix:q}:cache-tags:<name>` | zset | the tags, by the version that made them invalid; bounded | with the cache |
//! | `{prefix:q}:cache-log:<name>` | stream | the last invalidations; bounded | with the cache |
//! | `{prefix:r}:cache-behind:<name>:<lane>` | hash | what is pending, by entity, and the lane's clock, fence and counts; bounded | with the buffer |
//! | `{prefix:r}:cache-fresh:<name>:<lane>` | zset | the entities that wait to be committed, by when the first write came (µs) | when they are |
//! | `{prefix:r}:cache-retry:<name>:<lane>` | zset | those that are tried again, by when (µs) | when they are committed |
//! | `{prefix:r}:cache-since:<name>:<lane>` | zset | those that are tried again, by when the first write came (µs) | when they are committed |
//! | `{prefix:r}:cache-dead:<name>:<lane>` | zset | those that nobody tries any more, by since when (µs) | when they are redriven or discarded |
//! | `{prefix:q}:cache-workers:<name>` | hash | the workers of a buffer, by until when each counts as there (µs) | with the last worker: by its TTL, that of a lease |
//! | `{prefix:q}:cache-hot:<name>` | zset | keys that are asked for, by how often; bounded | after seven half-lives |
//! | `{prefix:q}:cache-missed:<name>` | zset | keys that were not cached, by how often; bounded | after seven half-lives |
//! | `{prefix:q}:cache-recent:<name>` | zset | keys, by when they were asked for last; bounded | after seven half-lives |
//! | `{prefix:q}:cache-stats:<name>` | hash | statistics of all processes, and when counts were decayed | after seven half-lives |
//!
//! `p` is the partition of the segments, so that what belongs to an entry can be decided in one script, `q` that of
//! the name, and `r` that of the name and the lane, of which a write-behind buffer has 16. The channel
//! `{prefix}:cache.<name>` wakes those who wait for a load, `{prefix}:cache-log.<name>` tells of invalidations, and
//! `{prefix}:cache-behind.<name>` of lanes with a whole batch or without an owner, and of workers who come and go. The lease on a lane is the core's, of the name
//! `cache-behind`, the buffer's and the lane's.

use bytes::Bytes;
use russet_core_conn::{Canonical, Key, KeySpace};

/// The keys of one cache.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    space: KeySpace,
    name: Box<str>,
    kind: Box<str>,
}

impl Keys {
    pub(crate) fn new(space: &KeySpace, name: &str) -> Self {
        Self { space: space.clone(), name: name.into(), kind: format!("cache.{name}").into() }
    }

    pub(crate) fn space(&self) -> &KeySpace {
        &self.space
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// `{prefix:p}:cache.<name>:<segment>:…`
    pub(crate) fn entry(&self, segments: &Canonical) -> Key {
        self.space.key_of(&self.kind, segments)
    }

    /// What matches the keys of entries whose segments match a glob.
    pub(crate) fn pattern(&self, segments: &str) -> String {
        let any = self.space.global(&self.kind, ());
        let any = String::from_utf8_lossy(any.as_bytes()).replacen('}', ":*}", 1);
        format!("{any}:{segments}")
    }

    /// What stands before the partition of the key of an entry, and what behind it.
    pub(crate) fn around(&self) -> (String, String) {
        let any = self.space.global(&self.kind, ());
        let any = String::from_utf8_lossy(any.as_bytes()).into_owned();
        let (head, kind) = any.split_at(any.find('}').unwrap_or(any.len()));
        (format!("{head}:"), kind.to_owned())
    }

    /// The segments of the key of an entry, as they stand in it.
    pub(crate) fn name_of(entry: &Bytes) -> Bytes {
        // Neither the hash tag nor the kind has a brace or colon but these.
        let tag = entry.iter().position(|byte| *byte == b'}').map_or(0, |at| at + 2);
        let kind = entry.iter().skip(tag).position(|byte| *byte == b':');
        entry.slice(kind.map_or(entry.len(), |at| tag + at)..)
    }

    /// `{prefix}:cache.<name>`, a channel.
    pub(crate) fn channel(&self) -> Key {
        self.space.global(&self.kind, ())
    }

    /// `{prefix:q}:cache-journal:<name>`, `{prefix:q}:cache-tags:<name>` and `{prefix:q}:cache-log:<name>`
    pub(crate) fn journal(&self) -> [Key; 3] {
        ["cache-journal", "cache-tags", "cache-log"].map(|kind| self.space.key(kind, &*self.name))
    }

    /// `{prefix:q}:cache-hot:<name>`, `{prefix:q}:cache-missed:<name>`, `{prefix:q}:cache-recent:<name>` and
    /// `{prefix:q}:cache-stats:<name>`
    pub(crate) fn access(&self) -> [Key; 4] {
        let kinds = ["cache-hot", "cache-missed", "cache-recent", "cache-stats"];
        kinds.map(|kind| self.space.key(kind, &*self.name))
    }

    /// `{prefix}:cache-log.<name>`, a channel.
    pub(crate) fn journal_channel(&self) -> Key {
        self.space.global(&format!("cache-log.{}", self.name), ())
    }
}

/// How many lanes a write-behind buffer has. An entity's order is kept by its lane, so this must never change: it is a
/// part of the layout.
pub(crate) const LANES: usize = 16;

/// The keys of a lane of a write-behind buffer.
#[derive(Debug, Clone)]
pub(crate) struct Lane {
    pub(crate) pending: Key,
    pub(crate) fresh: Key,
    pub(crate) retry: Key,
    pub(crate) dead: Key,
    pub(crate) since: Key,
}

impl Lane {
    /// `{prefix:r}:cache-behind:<name>:<lane>` and the like
    pub(crate) fn of(space: &KeySpace, name: &str, lane: usize) -> Self {
        let key = |kind| space.key(kind, (name, lane));
        let kinds = ["cache-behind", "cache-fresh", "cache-retry", "cache-dead", "cache-since"];
        let [pending, fresh, retry, dead, since] = kinds.map(key);
        Self { pending, fresh, retry, dead, since }
    }

    /// `{prefix}:cache-behind.<name>`, a channel.
    pub(crate) fn channel(space: &KeySpace, name: &str) -> Key {
        space.global(&format!("cache-behind.{name}"), ())
    }

    /// `{prefix:q}:cache-workers:<name>`
    pub(crate) fn workers(space: &KeySpace, name: &str) -> Key {
        space.key("cache-workers", name)
    }

    /// Of the lease on it.
    pub(crate) fn lease(name: &str, lane: usize) -> (&'static str, &str, usize) {
        ("cache-behind", name, lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_entry_is_what_stands_behind_its_kind() {
        for (kind, segments) in
            [("c", ""), ("a:b{}", "x"), ("odd\u{7f}", "a:b"), ("c", &"l".repeat(500))]
        {
            let (space, name) = (KeySpace::new("shop").unwrap(), Canonical::of(segments));
            let entry = Keys::new(&space, kind).entry(&name);
            assert_eq!(Keys::name_of(&entry.to_bytes()), name.as_bytes());
        }
        let entry = Keys::new(&KeySpace::new("shop").unwrap(), "c").entry(&Canonical::of(&()));
        assert_eq!(Keys::name_of(&entry.to_bytes()), "");
    }

    #[test]
    fn the_layout_is_the_one_of_the_table() {
        let keys = Keys::new(&KeySpace::new("shop").unwrap(), "route");
        let entry = keys.entry(&Canonical::of(&("SEA", "LAX")));
        assert_eq!(entry.as_bytes(), b"{shop:118}:cache.route:SEA:LAX");
        assert_eq!(Keys::name_of(&entry.to_bytes()), ":SEA:LAX");
        assert_eq!(keys.pattern("SEA:*"), "{shop:*}:cache.route:SEA:*");
        assert_eq!(keys.around(), ("{shop:".to_owned(), "}:cache.route".to_owned()));
        assert_eq!(keys.channel().as_bytes(), b"{shop}:cache.route");
        let [journal, tags, log] =
            keys.journal().map(|key| String::from_utf8(key.to_bytes().to_vec()).unwrap());
        assert_eq!(journal, "{shop:102}:cache-journal:route");
        assert_eq!(tags, "{shop:102}:cache-tags:route");
        assert_eq!(log, "{shop:102}:cache-log:route");
        let access = keys.access().map(|key| String::from_utf8(key.to_bytes().to_vec()).unwrap());
        assert_eq!(access[0], "{shop:102}:cache-hot:route");
        assert_eq!(access[1], "{shop:102}:cache-missed:route");
        assert_eq!(access[2], "{shop:102}:cache-recent:route");
        assert_eq!(access[3], "{shop:102}:cache-stats:route");
        assert_eq!(keys.journal_channel().as_bytes(), b"{shop}:cache-log.route");
        let space = KeySpace::new("shop").unwrap();
        let Lane { pending, fresh, retry, dead, since } = Lane::of(&space, "orders", 7);
        let lane = [pending, fresh, retry, dead, since]
            .map(|key| key.as_bytes().escape_ascii().to_string());
        assert_eq!(
            lane,
            ["behind", "fresh", "retry", "dead", "since"]
                .map(|kind| format!("{{shop:8}}:cache-{kind}:orders:7"))
        );
        assert_eq!(Lane::channel(&space, "orders").as_bytes(), b"{shop}:cache-behind.orders");
        assert_eq!(Lane::workers(&space, "route").as_bytes(), b"{shop:102}:cache-workers:route");
    }
}
