use std::fmt;
use std::num::NonZeroU16;

use super::encode::{self, Canonical, Head};
use super::{Key, KeySpace, Segments};

/// One of the partitions of a [`KeySpace`]. Displays as its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u16);

impl Partition {
    /// Its number, from 0.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    pub(super) fn new(number: u16) -> Self {
        Self(number)
    }

    #[inline]
    pub(super) fn choose(hash: u64, partitions: NonZeroU16) -> Self {
        // The remainder is below `partitions`, so that nothing is cut off.
        Self((hash % u64::from(partitions.get())) as u16)
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The keys of one partition: all of them share one slot. From [`KeySpace::in_partition`].
#[derive(Debug, Clone, Copy)]
pub struct InPartition<'a> {
    keys: &'a KeySpace,
    partition: Partition,
}

impl<'a> InPartition<'a> {
    /// The key of `kind` for these segments, in this partition, whichever the segments would choose
    /// themselves.
    #[must_use]
    pub fn key(&self, kind: &str, segments: impl Segments) -> Key {
        self.key_of_canonical(kind, &Canonical::of(&segments))
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// What stands between the braces of each key of this partition: `prefix:p`.
    #[must_use]
    pub fn hash_tag(&self) -> String {
        format!("{}:{}", self.keys.prefix, self.partition)
    }

    pub(super) fn new(keys: &'a KeySpace, partition: Partition) -> Self {
        Self { keys, partition }
    }

    #[inline]
    pub(super) fn key_of_canonical(&self, kind: &str, segments: &Canonical) -> Key {
        let prefix = &self.keys.prefix;
        encode::key(&Head { prefix, partition: Some(self.partition.0), kind }, segments)
    }
}
