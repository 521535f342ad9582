//! What a value has on it where its cache keeps a journal: the version that was known before it was loaded, and its tags.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 4 |
//! | 8 | the journal's incarnation |
//! | 8 | the version |
//! | 1 | how many tags |
//! | 1 + n, for each | a tag |

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The first byte of what is sealed.
pub(crate) const SEALED: u8 = 4;

/// The most tags of one value, and the most bytes of a tag.
pub(crate) const MOST_TAGS: usize = 64;
pub(crate) const LONGEST_TAG: usize = 128;

/// A place in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub(crate) incarnation: u64,
    pub(crate) version: u64,
}

impl Stamp {
    /// Of what nothing vouches for: it is never valid.
    pub(crate) const NEVER: Self = Self { incarnation: 0, version: 0 };
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Seal {
    pub(crate) stamp: Stamp,
    pub(crate) tags: Vec<Bytes>,
}

impl Seal {
    /// Each tag has at most [`LONGEST_TAG`] bytes, and there are at most [`MOST_TAGS`].
    pub(crate) fn put(&self, bytes: &mut BytesMut) {
        bytes.put_u8(SEALED);
        bytes.put_u64(self.stamp.incarnation);
        bytes.put_u64(self.stamp.version);
        bytes.put_u8(u8::try_from(self.tags.len()).unwrap_or(u8::MAX));
        for tag in &self.tags {
            bytes.put_u8(u8::try_from(tag.len()).unwrap_or(u8::MAX));
            bytes.put_slice(tag);
        }
    }

    /// And what is sealed; `None` where that is not whole.
    pub(crate) fn split(payload: &Bytes) -> Option<(Self, Bytes)> {
        let mut rest = payload.clone();
        if rest.try_get_u8().ok()? != SEALED {
            return None;
        }
        let stamp =
            Stamp { incarnation: rest.try_get_u64().ok()?, version: rest.try_get_u64().ok()? };
        let count = rest.try_get_u8().ok()?;
        let mut tags = Vec::with_capacity(count.into());
        for _ in 0..count {
            let length = usize::from(rest.try_get_u8().ok()?);
            if length > rest.len() {
                return None;
            }
            tags.push(rest.split_to(length));
        }
        Some((Self { stamp, tags }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_read_as_it_was_put() {
        let stamp = Stamp { incarnation: 7, version: 1_700_000_000_000_000 };
        let tags = vec![Bytes::from_static(b"a"), Bytes::from(vec![b'x'; LONGEST_TAG])];
        let mut bytes = BytesMut::new();
        Seal { stamp, tags: tags.clone() }.put(&mut bytes);
        bytes.put_slice(b"payload");
        let bytes = bytes.freeze();
        let (seal, rest) = Seal::split(&bytes).unwrap();
        assert_eq!((seal, &rest[..]), (Seal { stamp, tags }, &b"payload"[..]));
        let head = bytes.len() - rest.len();
        assert!((0..head).all(|length| Seal::split(&bytes.slice(..length)).is_none()));
    }
}
