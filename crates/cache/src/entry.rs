//! What stands in Redis under one key: a value, or the knowledge that there is none.

use bytes::{BufMut, Bytes, BytesMut};
use russet_core_conn::{Codec, CodecError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// `0`: there is none. `1`: the codec's envelope follows.
const ABSENT: u8 = 0;
const VALUE: u8 = 1;

pub(crate) fn encode<V: Serialize>(codec: &Codec, value: Option<&V>) -> Result<Bytes, CodecError> {
    let Some(value) = value else { return Ok(Bytes::from_static(&[ABSENT])) };
    let mut bytes = BytesMut::with_capacity(256);
    bytes.put_u8(VALUE);
    codec.encode_into(value, &mut bytes)?;
    Ok(bytes.freeze())
}

/// The value or its absence; an error for anything that is not an entry of this type.
pub(crate) fn decode<V: DeserializeOwned>(
    codec: &Codec,
    bytes: &[u8],
) -> Result<Option<V>, CodecError> {
    match bytes {
        [] => Err(CodecError::Empty),
        [ABSENT] => Ok(None),
        [VALUE, envelope @ ..] => codec.decode(envelope).map(Some),
        [found, ..] => Err(CodecError::ForeignVersion { found: *found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absence_is_not_a_value_that_is_none() {
        let codec = Codec::default();
        let absent = encode::<Option<u8>>(&codec, None).unwrap();
        let none = encode(&codec, Some(&None::<u8>)).unwrap();
        assert_eq!(decode::<Option<u8>>(&codec, &absent).unwrap(), None);
        assert_eq!(decode::<Option<u8>>(&codec, &none).unwrap(), Some(None));
    }

    #[test]
    fn what_is_no_entry_is_an_error() {
        let codec = Codec::default();
        for bytes in [&b""[..], b"\x00x", b"\x01", b"\x02abc", b"hello"] {
            assert!(decode::<String>(&codec, bytes).is_err(), "{bytes:?}");
        }
    }
}
