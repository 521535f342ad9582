#[cfg(all(feature = "lz4", feature = "zstd", target_os = "linux"))]
mod bombs;
mod caps;
mod corrupt;
mod round_trip;

use super::{Codec, CodecError, Compression, Format};

/// A codec for each format and compression that is compiled in; all of them compress what they can.
fn codecs() -> Vec<Codec> {
    let compressions = [Compression::None, Compression::Lz4, Compression::Zstd { level: 3 }];
    let built: Vec<_> = [Format::MessagePack, Format::Json]
        .into_iter()
        .flat_map(|format| compressions.map(|compression| (format, compression)))
        .filter_map(|(format, compression)| {
            let codec = Codec::builder().format(format).compression(compression).threshold(0);
            match codec.build() {
                Ok(codec) => Some(codec),
                Err(CodecError::Unsupported { .. }) => None,
                Err(error) => panic!("{format:?}, {compression:?}: {error}"),
            }
        })
        .collect();
    let formats = 1 + usize::from(cfg!(feature = "json"));
    let packings = 1 + usize::from(cfg!(feature = "lz4")) + usize::from(cfg!(feature = "zstd"));
    assert_eq!(built.len(), formats * packings);
    built
}

#[test]
fn bad_settings_are_named() {
    let refused = |builder: super::CodecBuilder| match builder.build().unwrap_err() {
        CodecError::Setting { field, .. } => field,
        other => panic!("{other}"),
    };
    assert_eq!(refused(Codec::builder().max_decoded(0)), "max_decoded");
    assert_eq!(refused(Codec::builder().max_decoded((512 << 20) + 1)), "max_decoded");
    assert_eq!(refused(Codec::builder().threshold(5).max_decoded(4)), "threshold");
    for level in [0, -1, 23] {
        let zstd = Compression::Zstd { level };
        assert_eq!(refused(Codec::builder().compression(zstd)), "compression");
    }
    let shown = Codec::builder().max_decoded(0).build().unwrap_err().to_string();
    assert_eq!(shown, "max_decoded: 0; allowed is 1 byte to 512 MiB");
    assert_eq!(Codec::builder().build().unwrap(), Codec::default());
}

#[test]
fn what_is_not_compiled_in_is_unsupported() {
    for (second, feature, compiled) in [
        (0x02, "json", cfg!(feature = "json")),
        (0x11, "lz4", cfg!(feature = "lz4")),
        (0x21, "zstd", cfg!(feature = "zstd")),
    ] {
        let read = Codec::default().decode::<u8>(&[0xC1, second, 0xFF, 0xFF]);
        let unsupported = matches!(read, Err(CodecError::Unsupported { what }) if what == feature);
        assert_eq!(unsupported, !compiled, "{feature}: {read:?}");
    }
}

/// These bytes lie in Redis: a later release must read them.
#[test]
fn the_envelope_is_pinned() {
    let value = ("ab", 7);
    assert_eq!(Codec::default().encode(&value).unwrap(), &b"\xC1\x01\x92\xA2ab\x07"[..]);
    let pinned: [(&[u8], bool); 4] = [
        (b"\xC1\x01\x92\xA2ab\x07", true),
        (b"\xC1\x02[\"ab\",7]", cfg!(feature = "json")),
        (b"\xC1\x11\x05\0\0\0\x50\x92\xA2ab\x07", cfg!(feature = "lz4")),
        (b"\xC1\x21\x28\xB5\x2F\xFD\x20\x05\x29\0\0\x92\xA2ab\x07", cfg!(feature = "zstd")),
    ];
    for (bytes, readable) in pinned {
        if readable {
            let read: (String, u8) = Codec::default().decode(bytes).unwrap();
            assert_eq!(read, ("ab".into(), 7));
        }
    }
}

#[test]
fn only_what_gets_smaller_is_kept_compressed() {
    for codec in codecs() {
        let small = codec.encode("ab").unwrap();
        assert_eq!(small[1] >> 4, 0, "{codec:?}");
        let large = codec.encode(&"ab".repeat(500)).unwrap();
        assert_eq!(large[1] >> 4 == 0, codec.compression == Compression::None, "{codec:?}");
        let lazy = Codec { threshold: 2000, ..codec };
        assert_eq!(lazy.encode(&"ab".repeat(500)).unwrap()[1] >> 4, 0);
    }
}

#[test]
fn encoding_appends_or_leaves_as_it_was() {
    use bytes::BytesMut;

    for codec in codecs() {
        let mut out = BytesMut::from(&b"header"[..]);
        codec.encode_into(&"ab".repeat(900), &mut out).unwrap();
        assert_eq!(&out[6..], codec.encode(&"ab".repeat(900)).unwrap());
        let before = out.clone();
        let small = Codec { max_decoded: 1000, ..codec };
        let refused = small.encode_into(&"ab".repeat(900), &mut out);
        assert!(matches!(refused, Err(CodecError::TooLarge { cap: 1000 })), "{refused:?}");
        assert_eq!(out, before);
    }
}
