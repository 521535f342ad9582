//! How segments stand in a key: escaped if short, hashed if long, each behind a colon.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use super::segments::Content;
use super::{Key, Part, Segments};

const LONGEST_RAW: usize = 128;

/// `%` and a letter that is no hex digit: no escaped segment begins like this.
const HASHED: &[u8] = b"%sha256-";

/// On the stack for nearly every key.
type Buffer = SmallVec<[u8; 128]>;

/// The bytes of nearly every key, which lie behind one pointer, together with the count of its clones.
struct Name {
    bytes: [u8; SHORT],
    length: usize,
}

const SHORT: usize = 64;

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const ESCAPE_HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Segments as they stand in a key: `:` and the encoded segment, for each. Distinct segments differ here. Makes no
/// allocation for up to 128 bytes.
///
/// For what is kept in the process beside what is kept in Redis; [`KeySpace::key_of`](super::KeySpace::key_of) makes the
/// key of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Canonical(Buffer);

impl Canonical {
    /// The canonical form of these segments.
    #[must_use]
    pub fn of(segments: &(impl Segments + ?Sized)) -> Self {
        let mut canonical = Self(Buffer::new());
        segments.each(|part| push(&mut canonical.0, part));
        canonical
    }

    /// Its bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// XXH3 of its bytes: the same in each process.
    #[must_use]
    #[inline]
    pub fn hash(&self) -> u64 {
        xxh3_64(&self.0)
    }
}

impl fmt::Debug for Canonical {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Canonical({})", self.0.escape_ascii())
    }
}

/// What stands before the segments: `{prefix}` or `{prefix:p}`, and the kind.
pub(super) struct Head<'a> {
    pub(super) prefix: &'a str,
    pub(super) partition: Option<u16>,
    pub(super) kind: &'a str,
}

/// The key of the head and the segments, in one allocation.
pub(super) fn key(head: &Head<'_>, segments: &Canonical) -> Key {
    let mut buffer = itoa::Buffer::new();
    let digits = head.partition.map_or("", |partition| buffer.format(partition)).as_bytes();
    let colon: &[u8] = if digits.is_empty() { b"" } else { b":" };
    if head.kind.len() > LONGEST_RAW || !head.kind.bytes().all(is_plain) {
        return key_of_odd_kind([head.prefix.as_bytes(), colon, digits], head.kind, segments);
    }
    join([b"{", head.prefix.as_bytes(), colon, digits, b"}:", head.kind.as_bytes(), &segments.0])
}

#[cold]
fn key_of_odd_kind(tag: [&[u8]; 3], kind: &str, segments: &Canonical) -> Key {
    let [prefix, colon, digits] = tag;
    let mut escaped = Buffer::new();
    push(&mut escaped, kind.into());
    join([b"{", prefix, colon, digits, b"}", &escaped, &segments.0])
}

#[inline]
fn join(pieces: [&[u8]; 7]) -> Key {
    let length = pieces.iter().map(|piece| piece.len()).sum();
    if length > SHORT {
        return Key::raw(pieces.concat());
    }
    let (mut bytes, mut at) = ([0; SHORT], 0);
    for piece in pieces {
        bytes[at..at + piece.len()].copy_from_slice(piece);
        at += piece.len();
    }
    Key::raw(Bytes::from_owner(Name { bytes, length }))
}

/// A number in decimal.
#[inline]
fn decimal(buffer: &mut itoa::Buffer, number: u128) -> &[u8] {
    // Division of 128 bits is slow, and hardly a number needs it.
    let digits = match u64::try_from(number) {
        Ok(number) => buffer.format(number),
        Err(_) => buffer.format(number),
    };
    digits.as_bytes()
}

#[inline]
fn push(out: &mut Buffer, part: Part<'_>) {
    out.push(b':');
    match part.0 {
        Content::Text(text) if text.len() <= LONGEST_RAW => push_text(out, text),
        Content::Text(text) => push_hashed(out, text.as_bytes()),
        Content::Bytes(bytes) if bytes.len() <= LONGEST_RAW => push_bytes(out, bytes),
        Content::Bytes(bytes) => push_hashed(out, bytes),
        Content::Unsigned(number) => {
            out.extend_from_slice(decimal(&mut itoa::Buffer::new(), number));
        }
        Content::Signed(number) => {
            if number < 0 {
                out.push(b'-');
            }
            out.extend_from_slice(decimal(&mut itoa::Buffer::new(), number.unsigned_abs()));
        }
    }
}

fn push_text(out: &mut Buffer, text: &str) {
    if text.bytes().all(is_plain) {
        return out.extend_from_slice(text.as_bytes());
    }
    for c in text.chars() {
        let mut utf8 = [0; 4];
        let bytes = c.encode_utf8(&mut utf8).as_bytes();
        if c.is_control() || (c.is_ascii() && !is_plain(c as u8)) {
            bytes.iter().for_each(|byte| push_escaped(out, *byte));
        } else {
            out.extend_from_slice(bytes);
        }
    }
}

fn push_bytes(out: &mut Buffer, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        push_text(out, chunk.valid());
        chunk.invalid().iter().for_each(|byte| push_escaped(out, *byte));
    }
}

/// Printable ASCII without a meaning in keys, hash tags, globs or our own escapes.
fn is_plain(byte: u8) -> bool {
    static PLAIN: [bool; 256] = {
        let mut plain = [false; 256];
        let mut byte = b' ';
        while byte < 0x7F {
            plain[byte as usize] =
                !matches!(byte, b':' | b'{' | b'}' | b'*' | b'?' | b'[' | b']' | b'\\' | b'%');
            byte += 1;
        }
        plain
    };
    PLAIN[usize::from(byte)]
}

fn push_escaped(out: &mut Buffer, byte: u8) {
    out.push(b'%');
    out.push(ESCAPE_HEX[usize::from(byte >> 4)]);
    out.push(ESCAPE_HEX[usize::from(byte & 15)]);
}

#[cold]
fn push_hashed(out: &mut Buffer, raw: &[u8]) {
    out.extend_from_slice(HASHED);
    for byte in Sha256::digest(raw) {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}
