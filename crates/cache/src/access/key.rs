//! Keys that are told to the user.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use russet_core_conn::{Part, Segments};

/// The longest that is recorded, so that what is kept is bounded in bytes, too.
const LONGEST: usize = 512;

/// A segment that was hashed begins so, and nobody can tell what it was.
const HASHED: &[u8] = b":%sha256-";

/// A key as lookups were given it. It is the same key again where one is asked for: in a lookup, a removal, a
/// [`Warmer`](crate::Warmer).
///
/// ```
/// # fn example(key: &russet_cache::CacheKey) -> Option<(String, u64)> {
/// // Of the key ("SEA", 42):
/// let (from, number) = (key.segment(0)?, key.segment(1)?);
/// # Some((from, number)) }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheKey(Bytes);

impl CacheKey {
    /// A segment, by its place from 0, as a number or text; `None` if there is none, or none that can be read so.
    pub fn segment<T: FromStr>(&self, at: usize) -> Option<T> {
        let segment = self.parts().nth(at)?;
        std::str::from_utf8(&segment).ok()?.parse().ok()
    }

    /// Its segments, as bytes.
    pub fn segments(&self) -> impl Iterator<Item = Vec<u8>> {
        self.parts().map(Cow::into_owned)
    }

    /// Of a canonical name.
    pub(crate) fn of(name: Bytes) -> Self {
        Self(name)
    }

    /// Whether what it was can be told from its canonical name.
    pub(crate) fn can_tell(name: &[u8]) -> bool {
        name.len() <= LONGEST && !name.windows(HASHED.len()).any(|at| at == HASHED)
    }

    fn parts(&self) -> impl Iterator<Item = Cow<'_, [u8]>> {
        // Each begins with a colon; of no segments there is nothing.
        self.0.split(|byte| *byte == b':').skip(1).map(plain)
    }
}

impl Segments for CacheKey {
    fn each(&self, mut visit: impl FnMut(Part<'_>)) {
        self.parts().for_each(|segment| visit(Part::from(&*segment)));
    }
}

/// As it stands in Redis: segments joined by colons, what has a meaning there escaped.
impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.0.get(1..).unwrap_or_default()).fmt(f)
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({self})")
    }
}

/// What was escaped: `%` and two hex digits for a byte.
fn plain(escaped: &[u8]) -> Cow<'_, [u8]> {
    if !escaped.contains(&b'%') {
        return Cow::Borrowed(escaped);
    }
    let (mut bytes, mut rest) = (Vec::with_capacity(escaped.len()), escaped);
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use russet_core_conn::Canonical;

    use super::*;

    #[test]
    fn a_key_that_is_told_is_the_same_key_again() {
        let check = |canonical: Canonical| {
            let key = CacheKey::of(Bytes::copy_from_slice(canonical.as_bytes()));
            assert_eq!(Canonical::of(&key), canonical);
            key
        };
        check(Canonical::of(&()));
        check(Canonical::of(""));
        check(Canonical::of(&("", "a", "")));
        check(Canonical::of(&[&b"\xff\x00:"[..], b"%41", b"\xc3\xa9"]));
        let key = check(Canonical::of(&("a:{b}*%é", -7_i64)));
        assert_eq!(key.segment::<String>(0).as_deref(), Some("a:{b}*%é"));
        assert_eq!((key.segment::<i64>(1), key.segment::<u64>(1)), (Some(-7), None));
        assert_eq!(key.segment::<String>(2), None);
        assert_eq!(key.segments().count(), 2);
        assert_eq!(format!("{key:?}"), "CacheKey(a%3A%7Bb%7D%2A%25é:-7)");
    }

    #[test]
    fn what_was_hashed_or_is_too_long_is_not_told() {
        let long = "l".repeat(129);
        for (canonical, told) in [
            (Canonical::of("%sha256-"), true),
            (Canonical::of(&("a", 1)), true),
            (Canonical::of(long.as_str()), false),
            (Canonical::of(&("a", long.as_str())), false),
            (Canonical::of(&vec!["x".repeat(128); 4]), false),
        ] {
            assert_eq!(CacheKey::can_tell(canonical.as_bytes()), told, "{canonical:?}");
        }
    }
}
