use std::num::NonZeroU16;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::{prop_assert_eq, prop_assert_ne, proptest};

use super::slot::crc16;
use super::{Key, KeyError, KeySpace, Partition};

fn shop() -> KeySpace {
    KeySpace::new("shop").unwrap()
}

fn text(key: &Key) -> &str {
    str::from_utf8(key.as_bytes()).unwrap()
}

#[test]
fn prefixes_are_parsed() {
    for good in ["a", "shop", "shop/eu-1.v2_x", &"p".repeat(64)] {
        assert_eq!(KeySpace::new(good).unwrap().prefix(), good);
    }
    assert_eq!(KeySpace::new("").unwrap_err(), KeyError::PrefixLength { found: 0 });
    assert_eq!(KeySpace::new("p".repeat(65)).unwrap_err(), KeyError::PrefixLength { found: 65 });
    for (bad, at) in
        [("a:b", 1), ("{a", 0), ("a}", 1), ("ab cd", 2), ("né", 1), ("a\0", 1), ("a*", 1)]
    {
        let found = bad[at..].chars().next().unwrap();
        assert_eq!(KeySpace::new(bad).unwrap_err(), KeyError::PrefixCharacter { found, at });
    }
    assert_eq!(
        KeySpace::new("a:").unwrap_err().to_string(),
        "prefix: ':' at 1; allowed are A-Z a-z 0-9 . _ - /"
    );
}

#[test]
fn layout_is_pinned() {
    let keys = shop();
    assert_eq!(text(&keys.layout_key()), "{shop}:layout");
    assert_eq!(text(&keys.global("stats", ("a", 7))), "{shop}:stats:a:7");
    let home = keys.in_partition(Partition::new(17));
    assert_eq!(home.hash_tag(), "shop:17");
    assert_eq!(text(&home.key("log", ())), "{shop:17}:log");
    assert_eq!(text(&home.key("v", "")), "{shop:17}:v:");
    assert_eq!(text(&home.key("v", ("a", ""))), "{shop:17}:v:a:");
    assert_eq!(
        text(&home.key("v", (1u16, -2i8, u128::MAX))),
        "{shop:17}:v:1:-2:340282366920938463463374607431768211455"
    );
    assert_eq!(text(&home.key("v", [i64::MIN, 0])), "{shop:17}:v:-9223372036854775808:0");
    assert_eq!(text(&home.key("v", b"a\xff\xc3\xa9\x00")), "{shop:17}:v:a%FFé%00");
    assert_eq!(
        text(&home.key("v", ":{}*?[]\\%\n\x7f\u{9b}é\"' ")),
        "{shop:17}:v:%3A%7B%7D%2A%3F%5B%5D%5C%25%0A%7F%C2%9Bé\"' "
    );
    assert_eq!(text(&home.key("v", "x".repeat(128))), format!("{{shop:17}}:v:{}", "x".repeat(128)));
    assert_eq!(
        text(&home.key("v", "x".repeat(129))),
        "{shop:17}:v:%sha256-0ec9eb33e74510bcdd1f2ea55206e82f21649c5c2becbf2b433eb475b34c01bd"
    );
}

/// These must hold for ever: a change would look for every key elsewhere.
#[test]
fn partitions_are_pinned() {
    let keys = shop();
    assert_eq!(keys.partition_count().get(), 128);
    let found = [
        keys.partition_of(()),
        keys.partition_of(""),
        keys.partition_of("abc"),
        keys.partition_of(42u64),
        keys.partition_of(("SEA", "LAX")),
        keys.partition_of("x".repeat(1000)),
        keys.partition_of(("a:b", b"\xff")),
    ];
    assert_eq!(found.map(Partition::number), [66, 76, 23, 31, 118, 23, 93]);
    let three = shop().partitions(NonZeroU16::new(3).unwrap());
    assert_eq!(three.partition_of("abc").number(), 1);
    assert_eq!(three.all_partitions().map(Partition::number).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn one_meaning_has_one_key() {
    let keys = shop();
    let plain = keys.key("v", "42");
    assert_eq!(keys.key("v", 42u64), plain);
    assert_eq!(keys.key("v", 42i32), plain);
    assert_eq!(keys.key("v", b"42"), plain);
    assert_eq!(keys.key("v", (String::from("42"),)), plain);
    assert_eq!(keys.key("v", ["42"]), plain);
    assert_eq!(keys.key("v", vec![42usize]), plain);
    assert_eq!(keys.key("v", &vec!["42"][..]), plain);
    assert_eq!(keys.key("v", bytes::Bytes::from_static(b"42")), plain);
    let held = (String::from("42"), 7u32);
    assert_eq!(keys.key("v", &held), keys.key("v", ("42", 7)));
    assert_eq!(keys.key("v", held), keys.key("v", ["42", "7"]));
}

#[test]
fn slots_follow_the_cluster_specification() {
    assert_eq!(crc16(b"123456789"), 0x31C3);
    assert_eq!(crc16(b""), 0);
    for (key, slot) in [
        ("123456789", 0x31C3),
        ("foo", 12182),
        ("bar", 5061),
        ("{user1000}.following", crc16(b"user1000") % 16384),
        ("{user1000}.followers", crc16(b"user1000") % 16384),
        ("foo{}{bar}", crc16(b"foo{}{bar}") % 16384),
        ("foo{{bar}}zap", crc16(b"{bar") % 16384),
        ("foo{bar}{zap}", 5061),
        ("foo{bar", crc16(b"foo{bar") % 16384),
        ("foo}bar{", crc16(b"foo}bar{") % 16384),
    ] {
        assert_eq!(Key::raw(key).slot(), slot, "{key}");
    }
}

#[test]
fn debug_is_printable() {
    assert_eq!(format!("{:?}", Key::raw(&b"a\0\"\n\xff\xc3\xa9"[..])), r#"Key("a\0\"\n\xffé")"#);
    assert_eq!(format!("{:?}", shop()), "KeySpace({shop:0..128})");
}

/// Text that tries to break out: separators, braces, globs, escapes, markers, NUL, any Unicode, up
/// to 10 KB.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => "[:{}*?\\[\\]\\\\%\\x00\\x7fsha256\\-0-9A-F]{0,12}".prop_map(String::into_bytes),
        2 => "\\PC{0,40}".prop_map(String::into_bytes),
        2 => any::<String>().prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..140),
        1 => (any::<u8>(), 100..10_240usize).prop_map(|(byte, length)| vec![byte; length]),
        1 => Just(b"%sha256-0ec9eb33e74510bcdd1f2ea55206e82f21649c5c2becbf2b433eb475b34c01bd".to_vec()),
    ]
}

/// Two lists of segments that are likely to be confused: the second is the first, changed a little.
fn neighbours() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<Vec<u8>>)> {
    (vec(hostile(), 0..5), vec(hostile(), 0..5), 0..5u8).prop_map(|(a, other, change)| {
        let mut b = a.clone();
        match change {
            0 => b = other,
            1 => b.push(Vec::new()),
            2 => b = vec![a.join(&b':')],
            3 if !b.is_empty() => b = b.iter().map(|s| escape_by_hand(s)).collect(),
            _ => b.reverse(),
        }
        (a, b)
    })
}

fn escape_by_hand(segment: &[u8]) -> Vec<u8> {
    let keys = shop();
    let key = keys.in_partition(Partition::new(0)).key("v", segment);
    key.as_bytes()["{shop:0}:v:".len()..].to_vec()
}

/// What a reader of a key would do, written apart from the writer: `None` for a segment that was
/// hashed.
fn decode(key: &[u8]) -> (Vec<u8>, Vec<Option<Vec<u8>>>) {
    let close = key.iter().position(|b| *b == b'}').unwrap();
    assert_eq!(key[0], b'{');
    let rest = key[close + 1..].strip_prefix(b":").unwrap();
    let segments = rest.split(|b| *b == b':').skip(1).map(|segment| {
        if segment.starts_with(b"%sha256-") {
            return None;
        }
        let mut raw = Vec::new();
        let mut bytes = segment.iter();
        while let Some(byte) = bytes.next() {
            raw.push(if *byte == b'%' {
                let hex = [*bytes.next().unwrap(), *bytes.next().unwrap()];
                u8::from_str_radix(str::from_utf8(&hex).unwrap(), 16).unwrap()
            } else {
                *byte
            });
        }
        Some(raw)
    });
    (key[1..close].to_vec(), segments.collect())
}

/// Eight times the usual 256, or eight times what `PROPTEST_CASES` says.
fn many() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases * 8, ..usual }
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn distinct_segments_give_distinct_keys((a, b) in neighbours()) {
        let keys = shop();
        let home = keys.in_partition(Partition::new(5));
        prop_assert_eq!(home.key("v", &a) == home.key("v", &b), a == b);
        prop_assert_eq!(keys.key("v", &a) == keys.key("v", &b), a == b);
    }

    #[test]
    fn distinct_pairs_give_distinct_keys(a in hostile(), b in hostile(), c in hostile()) {
        let home = shop();
        if (&a, &b) != (&b, &c) {
            prop_assert_ne!(home.key("v", (&a, &b)), home.key("v", (&b, &c)));
        }
        prop_assert_ne!(home.key("v", (&a, &b)), home.key("v", &a));
    }

    #[test]
    fn keys_decode_to_their_segments(segments in vec(hostile(), 0..5), p in 0..128u16) {
        let keys = shop();
        let key = keys.in_partition(Partition::new(p)).key("v", &segments);
        let expected: Vec<_> = segments.into_iter().map(|s| (s.len() <= 128).then_some(s)).collect();
        prop_assert_eq!(decode(key.as_bytes()), (format!("shop:{p}").into_bytes(), expected));
    }

    #[test]
    fn the_checksum_is_the_remainder(bytes in vec(any::<u8>(), 0..40)) {
        let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit) & 1));
        let remainder = bits.fold(0_u16, |crc, bit| (crc << 1) ^ if (crc >> 15) ^ bit == 1 { 0x1021 } else { 0 });
        prop_assert_eq!(crc16(&bytes), remainder);
    }

    #[test]
    fn the_hash_tag_is_intact(kind in any::<String>(), a in hostile(), b in hostile(), p in 0..128u16) {
        let keys = shop();
        let home = keys.in_partition(Partition::new(p));
        let key = home.key(&kind, (&a, &b));
        let tag = home.hash_tag();
        prop_assert_eq!(key.slot(), crc16(tag.as_bytes()) % 16384);
        prop_assert_eq!(key.slot(), home.key("log", ()).slot());
        prop_assert_eq!(keys.key("v", &a).slot(), keys.key("lease", &a).slot());
        prop_assert_eq!(keys.global(&kind, (&a, &b)).slot(), keys.layout_key().slot());
        let braces = key.as_bytes().iter().filter(|b| matches!(b, b'{' | b'}')).count();
        prop_assert_eq!(braces, 2);
    }

    #[test]
    fn keys_hold_nothing_that_a_glob_or_a_terminal_reads(segment in hostile()) {
        let key = shop().key("v", &segment);
        let text = text(&key);
        prop_assert!(!text.contains(|c: char| c.is_control() || "*?[]\\".contains(c)), "{}", text);
    }

    #[test]
    fn text_and_its_bytes_are_one_segment(segment in any::<String>(), number in any::<i128>(), count in any::<u128>()) {
        let keys = shop();
        prop_assert_eq!(keys.key("v", &segment), keys.key("v", segment.as_bytes()));
        prop_assert_eq!(keys.key("v", number), keys.key("v", number.to_string()));
        for number in [count, count >> 64] {
            prop_assert_eq!(keys.key("v", number), keys.key("v", number.to_string()));
        }
    }
}
