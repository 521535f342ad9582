use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::codecs;
use crate::codec::payload::MAX_DEPTH;
use crate::codec::{Codec, CodecError, Compression, Format};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Fare {
    route: (String, String),
    cents: u64,
    seats: Option<u16>,
    tags: Vec<String>,
    kind: Kind,
    more: BTreeMap<String, f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Kind {
    Direct,
    Via { stops: Vec<String> },
}

#[derive(Debug, Serialize, Deserialize)]
enum Chain {
    End,
    Link(Box<Chain>),
}

fn fare() -> Fare {
    Fare {
        route: ("SEA".into(), "LAX".into()),
        cents: 12_900,
        seats: Some(4),
        tags: vec!["early".into(); 12],
        kind: Kind::Via { stops: vec!["SFO".into(), "OAK".into()] },
        more: [("distance".to_owned(), 954.5)].into(),
    }
}

#[test]
fn every_cut_is_an_error() {
    for codec in codecs() {
        let whole = codec.encode(&fare()).unwrap();
        for length in 0..whole.len() {
            let read = Codec::default().decode::<Fare>(&whole[..length]);
            match read.unwrap_err() {
                CodecError::Empty => assert_eq!(length, 0),
                CodecError::Truncated => assert!(length > 0),
                // A block of LZ4 has no mark at its end.
                CodecError::Corrupt { .. } => assert_eq!(codec.compression, Compression::Lz4),
                other => panic!("{codec:?}, {length} bytes: {other:?}"),
            }
        }
    }
}

#[test]
fn no_flipped_bit_panics() {
    for codec in codecs() {
        let whole = codec.encode(&fare()).unwrap();
        let mut refused = 0;
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = Codec::default().decode::<Fare>(&bytes);
            refused += usize::from(read.is_err());
            if bit < 8 {
                assert!(matches!(read, Err(CodecError::ForeignVersion { .. })), "{read:?}");
            }
        }
        assert!(refused > whole.len(), "{codec:?}: only {refused} flips were noticed");
    }
}

#[test]
fn trailing_bytes_are_corrupt() {
    for codec in codecs() {
        for more in [&b"\0"[..], b" x", b"\xC1", b"\x93\x01\x02\x03", b"]", b"\x28\xB5\x2F\xFD"] {
            let bytes = [&*codec.encode(&fare()).unwrap(), more].concat();
            let read = Codec::default().decode::<Fare>(&bytes);
            assert!(
                matches!(read, Err(CodecError::Corrupt { .. })),
                "{codec:?}, {more:?}: {read:?}"
            );
        }
        // Behind the value, inside the compressed payload.
        let mut payload = Vec::new();
        crate::codec::payload::write(codec.format, &fare(), &mut payload, 1 << 20).unwrap();
        payload.extend_from_slice(b"[]");
        let packed = crate::codec::compress::shrink(codec.compression, &payload).unwrap();
        let second = crate::codec::envelope::second_byte(codec.format, codec.compression.into());
        let bytes = [&[0xC1, second][..], &packed.unwrap_or(payload)].concat();
        let read = Codec::default().decode::<Fare>(&bytes);
        assert!(matches!(read, Err(CodecError::Corrupt { .. })), "{codec:?}: {read:?}");
    }
}

#[test]
fn foreign_bytes_are_typed() {
    let read = |bytes: &[u8]| Codec::default().decode::<Fare>(bytes).unwrap_err();
    assert!(matches!(read(b""), CodecError::Empty));
    assert!(matches!(read(b"\xC1"), CodecError::Truncated));
    assert!(matches!(read(b"{\"a\":1}"), CodecError::ForeignVersion { found: b'{' }));
    assert!(matches!(read(b"\xC2\x01\x80"), CodecError::ForeignVersion { found: 0xC2 }));
    for second in [0x00, 0x03, 0x0F, 0x31, 0xF1, 0x20] {
        let found = read(&[0xC1, second, 0x80]);
        assert!(
            matches!(found, CodecError::UnknownFormat { found } if found == second),
            "{found:?}"
        );
    }
    let other = Codec::default().encode(&[1, 2, 3]).unwrap();
    assert!(matches!(read(&other), CodecError::Corrupt { .. }));
}

#[test]
fn depth_is_bounded_for_writers_and_readers() {
    let chain = |links: usize| (0..links).fold(Chain::End, |chain, _| Chain::Link(Box::new(chain)));
    for codec in codecs() {
        let deepest = codec.encode(&chain(MAX_DEPTH)).unwrap();
        codec.decode::<Chain>(&deepest).unwrap();
        let refused = codec.encode(&chain(MAX_DEPTH + 1));
        assert!(matches!(refused, Err(CodecError::TooDeep { cap: MAX_DEPTH })), "{refused:?}");
        // Many values side by side are not deep, whatever their texts hold.
        let wide = vec![vec!["[[{{\"\\".to_owned()]; 1000];
        let wide_back: Vec<Vec<String>> = codec.decode(&codec.encode(&wide).unwrap()).unwrap();
        assert_eq!(wide_back, wide);
    }
}

/// Each of these would overflow the stack, which no test can catch: it would end the process.
#[test]
fn crafted_depth_overflows_nothing() {
    let message_pack = |level: &[u8]| [b"\xC1\x01", &level.repeat(1_000_000)[..]].concat();
    let json = |level: &[u8]| [b"\xC1\x02", &level.repeat(1_000_000)[..]].concat();
    let mut bombs = vec![
        // Variants by name and by number, the same as arrays, lists of lists, extensions.
        message_pack(b"\x81\xA4Link"),
        message_pack(b"\x91\xA4Link"),
        message_pack(b"\x91"),
        message_pack(b"\x81\x01"),
        message_pack(b"\xC7\x01\x01"),
    ];
    if cfg!(feature = "json") {
        bombs.extend([json(b"{\"Link\":"), json(b"["), json(b"{\"a\":")]);
    }
    #[derive(Debug, Deserialize)]
    struct Nested(#[expect(dead_code, reason = "only its type matters")] Vec<Nested>);
    for bomb in bombs {
        assert!(Codec::default().decode::<Chain>(&bomb).is_err());
        assert!(Codec::default().decode::<Nested>(&bomb).is_err());
        assert!(Codec::default().decode::<serde::de::IgnoredAny>(&bomb).is_err());
    }
    let read = Codec::default().decode::<Chain>(&message_pack(b"\x81\x01"));
    assert!(matches!(read, Err(CodecError::TooDeep { cap: MAX_DEPTH })), "{read:?}");
}

#[test]
fn what_a_format_cannot_write_is_an_error() {
    for codec in codecs().into_iter().filter(|codec| codec.format == Format::Json) {
        let refused = codec.encode(&BTreeMap::from([((1, 2), 3)]));
        assert!(matches!(refused, Err(CodecError::Encode { .. })), "{refused:?}");
    }
}

/// Bytes that get past the envelope: of ours, spoiled, or made up.
fn spoiled() -> impl Strategy<Value = Vec<u8>> {
    let ours = (0..codecs().len(), vec((any::<prop::sample::Index>(), any::<u8>()), 0..6));
    let second = prop::sample::select(vec![0x01, 0x02, 0x11, 0x12, 0x21, 0x22]);
    prop_oneof![
        ours.prop_map(|(codec, spoils)| {
            let mut bytes = codecs()[codec].encode(&fare()).unwrap().to_vec();
            for (at, byte) in spoils {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes
        }),
        (second, vec(any::<u8>(), 0..300))
            .prop_map(|(second, rest)| [&[0xC1, second][..], &rest].concat()),
        vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in spoiled()) {
        let codec = Codec::default();
        if let Ok(read) = codec.decode::<Fare>(&bytes) {
            // Whatever is read can be written. (Floats may be NaN, so that equality would not do.)
            prop_assert!(codec.encode(&read).is_ok());
        }
        _ = codec.decode::<Chain>(&bytes);
        _ = codec.decode::<serde::de::IgnoredAny>(&bytes);
        _ = codec.decode::<Vec<u128>>(&bytes);
    }
}
