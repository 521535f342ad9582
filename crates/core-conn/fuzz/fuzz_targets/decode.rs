//! No bytes make the decoder panic, overflow the stack or take more memory than its cap; and what
//! it reads can be written and read again.
//!
//! `cargo fuzz run decode -- -max_total_time=60` in the folder above.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use russet_core_conn::{Codec, Compression, Format};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    text: String,
    list: Vec<u8>,
    map: BTreeMap<String, Option<i32>>,
    numbers: Option<(i8, u64, i128)>,
    #[serde(default)]
    tree: Tree,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
enum Tree {
    #[default]
    Leaf,
    Pair(bool, char),
    Node {
        name: String,
        children: Vec<Tree>,
    },
    Boxed(Box<Tree>),
}

fuzz_target!(|input: &[u8]| {
    // Small enough that a breach of the cap is met by inputs of the fuzzer's size.
    let Ok(codec) = Codec::builder().max_decoded(64 << 10).build() else { return };
    let mut bytes = input.to_vec();
    // Each input is read as it is, and behind each of the envelopes.
    for second in [None, Some(0x01), Some(0x02), Some(0x11), Some(0x12), Some(0x21), Some(0x22)] {
        if let Some(second) = second {
            bytes = [&[0xC1, second][..], input].concat();
        }
        check::<Everything>(&codec, &bytes);
        check::<Tree>(&codec, &bytes);
        check::<Vec<String>>(&codec, &bytes);
        check::<BTreeMap<u64, Vec<u16>>>(&codec, &bytes);
        _ = codec.decode::<IgnoredAny>(&bytes);
    }
});

fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    codec: &Codec,
    bytes: &[u8],
) {
    let Ok(value) = codec.decode::<T>(bytes) else { return };
    for (format, compression) in [
        (Format::MessagePack, Compression::None),
        (Format::Json, Compression::None),
        (Format::MessagePack, Compression::Lz4),
        (Format::Json, Compression::Zstd { level: 1 }),
    ] {
        let writer = Codec::builder().format(format).compression(compression).threshold(0);
        let written = writer.build().and_then(|writer| writer.encode(&value));
        let Ok(written) = written else { panic!("not written: {written:?}") };
        let read = Codec::default().decode::<T>(&written);
        assert_eq!(read.as_ref().ok(), Some(&value), "{read:?}");
    }
}
