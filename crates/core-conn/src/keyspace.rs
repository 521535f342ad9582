//! Keys: a prefix, a partition, and segments that nobody can break out of.

mod encode;
mod error;
mod key;
mod partition;
mod segments;
mod slot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

pub use self::encode::Canonical;
pub use self::error::KeyError;
pub use self::key::Key;
pub use self::partition::{InPartition, Partition};
pub use self::segments::{Part, Segment, Segments};

use self::encode::Head;
pub(crate) use self::slot::{SLOTS, of as slot_of};

/// The version of the key layout that [`KeySpace`] writes.
///
/// It is kept in Redis under [`KeySpace::layout_key`], so that two releases of a program that run
/// side by side can tell whether they find each other's keys. It changes with anything that moves a
/// key: the table below, the escape rule, the hash of long segments, the hash that chooses the
/// partition.
pub const LAYOUT_VERSION: u32 = 1;

const DEFAULT_PARTITIONS: NonZeroU16 = NonZeroU16::new(128).unwrap();
const LONGEST_PREFIX: usize = 64;

/// Every key of one application: a prefix, then segments, in one of a fixed number of partitions.
///
/// A segment is text, a number or bytes, and may come straight from a user: it is escaped, so that
/// distinct segments give distinct keys and no input can reach another key, another hash slot or a
/// glob.
///
/// ```
/// use russet_core_conn::{KeyError, KeySpace};
///
/// let keys = KeySpace::new("shop")?;
///
/// // A value and its lease: both keys lie in the partition of their segments, so one script may touch both.
/// let partition = keys.partition_of(("SEA", "LAX"));
/// let home = keys.in_partition(partition);
/// assert_eq!(home.key("v", ("SEA", "LAX")).as_bytes(), b"{shop:118}:v:SEA:LAX");
/// assert_eq!(home.key("lease", ("SEA", "LAX")).as_bytes(), b"{shop:118}:lease:SEA:LAX");
/// assert_eq!(keys.key("v", ("SEA", "LAX")), home.key("v", ("SEA", "LAX")));
///
/// // The log of that partition, and a key of the whole application.
/// assert_eq!(home.key("log", ()).as_bytes(), b"{shop:118}:log");
/// assert_eq!(keys.global("stats", 2026).as_bytes(), b"{shop}:stats:2026");
///
/// // What a user typed stays one segment.
/// assert_eq!(home.key("v", "a:{b}*").as_bytes(), b"{shop:118}:v:a%3A%7Bb%7D%2A");
/// # Ok::<(), KeyError>(())
/// ```
///
/// # Layout
///
/// | Key | Built by | Lies in |
/// |---|---|---|
/// | `{prefix:p}:kind:segment:…` | [`key`](Self::key) | the partition of the segments |
/// | `{prefix:p}:kind:segment:…` | [`in_partition(p)`](Self::in_partition)[`.key`](InPartition::key) | partition `p` |
/// | `{prefix}:kind:segment:…` | [`global`](Self::global) | one slot for the whole prefix |
/// | `{prefix}:layout` | [`layout_key`](Self::layout_key) | the same slot |
///
/// The braces are the hash tag: Redis Cluster hashes only what stands between them, so all keys of
/// a partition share one slot. `kind` says what the key is for; it is escaped like a segment.
/// Segments follow as they are given:
///
/// | A segment of | becomes |
/// |---|---|
/// | at most 128 bytes | its bytes; `: { } * ? [ ] \ %`, control characters (NUL, DEL and U+0080 to U+009F among them) and bytes that are not UTF-8 as `%` and two upper-case hex digits a byte |
/// | more than 128 bytes | `%sha256-` and 64 lower-case hex digits of its SHA-256 |
/// | no bytes | nothing: `("a", "")` ends with a colon and differs from `"a"` |
///
/// No escaped segment begins with `%s`, so a user can't write a segment that passes for a hashed
/// one. A number is its decimal text: `42`, `42u64` and `"42"` are the same segment.
///
/// # Limits
///
/// - The prefix has 1 to 64 characters of `A-Z a-z 0-9 . _ - /`.
/// - A segment takes at most 384 bytes of a key (128 bytes, each escaped). A tuple has at most six;
///   arrays and slices have as many as they have, and their length is the caller's to bound.
/// - A pattern (`SCAN MATCH`) can match by kind and by segments of at most 128 bytes. What was
///   hashed cannot be matched by its beginning nor be read back from its key: keep it in the value
///   if it is needed.
/// - Two segments that were hashed share a key if their SHA-256 collide.
///
/// # Partitions
///
/// What one decision or one log touches must share a slot, and what an application holds must not:
/// a single hash tag would put it all on one node. So keys are spread over a fixed number of tags.
/// The number is the same on one server and on a cluster, so that the URL can change without moving
/// a key; and it must never change while keys are in use, because every key would be looked for
/// elsewhere.
///
/// The default is 128: each of twelve primaries then serves about eleven partitions, and what
/// concerns them all (a tag, a namespace) is 128 small writes. More partitions spread a large
/// cluster more evenly and make those writes dearer; beyond 16,384, the number of slots, they gain
/// nothing.
#[derive(Clone)]
pub struct KeySpace {
    /// Shared, because every pattern of an application holds a copy.
    prefix: Arc<str>,
    partitions: NonZeroU16,
}

impl KeySpace {
    /// A key space under `prefix`, with 128 partitions.
    ///
    /// # Errors
    ///
    /// If the prefix is empty, longer than 64 characters, or has a character other than `A-Z a-z
    /// 0-9 . _ - /`.
    pub fn new(prefix: impl AsRef<str>) -> Result<Self, KeyError> {
        let prefix = prefix.as_ref();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
        if let Some((at, found)) = prefix.char_indices().find(|(_, c)| !allowed(*c)) {
            return Err(KeyError::PrefixCharacter { found, at });
        }
        if prefix.is_empty() || prefix.len() > LONGEST_PREFIX {
            return Err(KeyError::PrefixLength { found: prefix.len() });
        }
        Ok(Self { prefix: prefix.into(), partitions: DEFAULT_PARTITIONS })
    }

    /// The same prefix with another number of partitions, which must never change while keys are in
    /// use.
    #[must_use]
    pub fn partitions(self, count: NonZeroU16) -> Self {
        Self { partitions: count, ..self }
    }

    /// The key of `kind` for these segments, in the partition of the segments.
    ///
    /// Kinds of the same segments lie in the same partition. Costs one allocation.
    #[must_use]
    pub fn key(&self, kind: &str, segments: impl Segments) -> Key {
        self.key_of(kind, &Canonical::of(&segments))
    }

    /// [`key`](Self::key) of segments in their canonical form.
    #[must_use]
    pub fn key_of(&self, kind: &str, segments: &Canonical) -> Key {
        self.in_partition(self.partition_of_canonical(segments)).key_of_canonical(kind, segments)
    }

    /// The partition of these segments: XXH3 of their encoding in the key, modulo the number of
    /// partitions.
    #[must_use]
    pub fn partition_of(&self, segments: impl Segments) -> Partition {
        self.partition_of_canonical(&Canonical::of(&segments))
    }

    /// The keys of one partition.
    #[must_use]
    pub fn in_partition(&self, partition: Partition) -> InPartition<'_> {
        InPartition::new(self, partition)
    }

    /// All partitions, from the first to the last.
    pub fn all_partitions(&self) -> impl ExactSizeIterator<Item = Partition> + use<> {
        (0..self.partitions.get()).map(Partition::new)
    }

    /// A key of the whole application, in no partition: all such keys share one slot, so only what
    /// is small and rarely written belongs there.
    #[must_use]
    pub fn global(&self, kind: &str, segments: impl Segments) -> Key {
        let head = Head { prefix: &self.prefix, partition: None, kind };
        encode::key(&head, &Canonical::of(&segments))
    }

    /// Where the layout is kept in Redis: `{prefix}:layout`. No other use of that key.
    #[must_use]
    pub fn layout_key(&self) -> Key {
        self.global("layout", ())
    }

    /// The prefix, as given.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// How many partitions there are.
    #[must_use]
    pub fn partition_count(&self) -> NonZeroU16 {
        self.partitions
    }

    #[inline]
    fn partition_of_canonical(&self, segments: &Canonical) -> Partition {
        Partition::choose(segments.hash(), self.partitions)
    }
}

impl fmt::Debug for KeySpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySpace({{{}:0..{}}})", self.prefix, self.partitions)
    }
}
