//! The cap on size, to the byte.

use super::codecs;
use crate::codec::{Codec, CodecError};

#[test]
fn the_cap_is_exact_both_ways() {
    // The text and its length: five bytes more in MessagePack, two quotes in JSON.
    let text = "a".repeat(100_000);
    for codec in codecs() {
        let written = codec.encode(&text).unwrap();
        let plain = Codec { compression: Default::default(), ..codec }.encode(&text).unwrap();
        let size = plain.len() - 2;
        let at = |max_decoded| Codec { max_decoded, ..codec };
        assert_eq!(at(size).decode::<String>(&written).unwrap(), text);
        assert_eq!(at(size).encode(&text).unwrap(), written);
        let cap = size - 1;
        let read = at(cap).decode::<String>(&written).map(drop);
        assert!(
            matches!(read, Err(CodecError::TooLarge { cap: c }) if c == cap),
            "{codec:?}: {read:?}"
        );
        let refused = at(cap).encode(&text);
        assert!(matches!(refused, Err(CodecError::TooLarge { cap: c }) if c == cap), "{refused:?}");
    }
}

/// A value that has no end must not become a buffer without end.
#[test]
fn endless_values_are_refused_while_they_are_written() {
    use serde::ser::{Serialize, SerializeSeq, Serializer};

    struct Endless;
    impl Serialize for Endless {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut list = serializer.serialize_seq(Some(usize::MAX))?;
            loop {
                list.serialize_element("again")?;
            }
        }
    }
    for codec in codecs() {
        let codec = Codec { max_decoded: 1 << 20, ..codec };
        assert!(matches!(codec.encode(&Endless), Err(CodecError::TooLarge { .. })));
    }
}
