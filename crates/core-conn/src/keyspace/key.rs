use std::fmt::{self, Write as _};

use bytes::Bytes;

use super::slot;

/// The name of a key, exactly as Redis gets it. A clone shares the bytes.
///
/// ```
/// use russet_core_conn::Key;
///
/// let key = Key::raw("user:{7}:name");
/// assert_eq!(key.slot(), Key::raw("{7}").slot());
/// assert_eq!(format!("{:?}", Key::raw(&b"a\0\xff"[..])), r#"Key("a\0\xff")"#);
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Bytes);

impl Key {
    /// A key that no [`KeySpace`](super::KeySpace) built: its bytes are taken as they are.
    ///
    /// Braces in it choose its slot, and nothing keeps it apart from other keys.
    #[must_use]
    pub fn raw(name: impl Into<Bytes>) -> Self {
        Self(name.into())
    }

    /// The bytes that Redis gets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The same bytes, shared.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }

    /// The hash slot of the key, 0 to 16,383: CRC16 of its hash tag, if it has one that is not
    /// empty, else of all of it.
    #[must_use]
    pub fn slot(&self) -> u16 {
        slot::of(&self.0)
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Key> for Bytes {
    fn from(key: Key) -> Self {
        key.0
    }
}

/// Printable text as it is; control characters, quotes and bytes that are not UTF-8 escaped.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(\"")?;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars().flat_map(char::escape_debug) {
                f.write_char(c)?;
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str("\")")
    }
}
