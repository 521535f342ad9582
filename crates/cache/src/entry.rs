//! What stands in Redis under one key.
//!
//! | first byte | what follows |
//! |---|---|
//! | 0 | nothing: it is known that there is no value |
//! | 1 | the codec's envelope |
//! | 2 | somebody loads it: the token of the lease (8 bytes), whether anybody waits (1) |
//! | 3 | the same, then until when the lease is held, the value is fresh, it may be used (8 each, ms since the epoch), its time to live (8, ms), how long it took to load (4, ms); then what stands there by the others |
//! | 5 | a version (8), then what stands there by 0 or 1 |
//! | 4 | a [seal](crate::seal), then what stands there by 0, 1 or 5: a value or its absence in a cache with a journal |
//!
//! What begins with 0, 1, 4 or 5 is fresh as long as it is there. The scripts read and write the rest, by the server's clock.

use bytes::{BufMut, Bytes, BytesMut};
use russet_core_conn::{Codec, CodecError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::seal::Seal;

const ABSENT: u8 = 0;
const VALUE: u8 = 1;
pub(crate) const PENDING: u8 = 2;
pub(crate) const TIMED: u8 = 3;
pub(crate) const VERSIONED: u8 = 5;

/// The lengths of what the scripts write.
const PENDING_BYTES: usize = 10;
pub(crate) const TIMED_HEAD: usize = 46;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A value or its absence: fresh.
    Payload,
    /// Somebody loads it.
    Pending,
    /// Only the server's clock can say what it is worth.
    Timed,
}

/// The payload of a value or of its absence.
pub(crate) fn encode<V: Serialize>(
    codec: &Codec,
    value: Option<&V>,
    version: Option<u64>,
    seal: Option<&Seal>,
) -> Result<Bytes, CodecError> {
    if value.is_none() && version.is_none() && seal.is_none() {
        return Ok(Bytes::from_static(&[ABSENT]));
    }
    let mut bytes = BytesMut::with_capacity(256);
    if let Some(seal) = seal {
        seal.put(&mut bytes);
    }
    if let Some(version) = version {
        bytes.put_u8(VERSIONED);
        bytes.put_u64(version);
    }
    match value {
        Some(value) => {
            bytes.put_u8(VALUE);
            codec.encode_into(value, &mut bytes)?;
        }
        None => bytes.put_u8(ABSENT),
    }
    Ok(bytes.freeze())
}

/// The whole of an entry.
pub(crate) fn read(bytes: &[u8]) -> Entry {
    match bytes {
        [PENDING, ..] if bytes.len() == PENDING_BYTES => Entry::Pending,
        [TIMED, ..] if bytes.len() > TIMED_HEAD => Entry::Timed,
        _ => Entry::Payload,
    }
}

/// The value or its absence, and its version; an error for anything that is not one of this type.
pub(crate) fn decode<V: DeserializeOwned>(
    codec: &Codec,
    bytes: &[u8],
) -> Result<(Option<V>, Option<u64>), CodecError> {
    let (version, bytes) = match bytes {
        [VERSIONED, rest @ ..] => match rest.split_first_chunk() {
            Some((version, rest)) => (Some(u64::from_be_bytes(*version)), rest),
            None => (None, bytes),
        },
        _ => (None, bytes),
    };
    let value = match bytes {
        [] => return Err(CodecError::Empty),
        [ABSENT] => None,
        [VALUE, envelope @ ..] => Some(codec.decode(envelope)?),
        [found, ..] => return Err(CodecError::ForeignVersion { found: *found }),
    };
    Ok((value, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_is_not_a_value_that_is_none() {
        let codec = Codec::default();
        let absent = encode::<Option<u8>>(&codec, None, None, None).unwrap();
        let none = encode(&codec, Some(&None::<u8>), None, None).unwrap();
        assert_eq!(decode::<Option<u8>>(&codec, &absent).unwrap(), (None, None));
        for value in [None, Some(&7)] {
            let versioned = encode::<u8>(&codec, value, Some(1), None).unwrap();
            assert_eq!(decode::<u8>(&codec, &versioned).unwrap(), (value.copied(), Some(1)));
        }
        assert_eq!(decode::<Option<u8>>(&codec, &none).unwrap(), (Some(None), None));
    }

    #[test]
    fn what_is_no_entry_is_an_error() {
        let codec = Codec::default();
        for bytes in [
            &b""[..],
            b"\x00x",
            b"\x01",
            b"\x02abc",
            b"\x03abc",
            b"\x04abc",
            b"hello",
            b"\x05abcdefgh",
            b"\x05abcdefgh\x05abcdefgh\0",
        ] {
            assert_eq!(read(bytes), Entry::Payload);
            assert!(decode::<String>(&codec, bytes).is_err(), "{bytes:?}");
        }
    }
}
