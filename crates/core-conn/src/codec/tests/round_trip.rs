use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::codecs;
use crate::codec::{Codec, Format};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Everything {
    flag: bool,
    small: (i8, u8, i16, u16),
    large: (i64, u64, i128, u128),
    letter: char,
    text: String,
    list: Vec<String>,
    #[serde(with = "serde_bytes")]
    blob: Vec<u8>,
    map: BTreeMap<String, Option<i32>>,
    numbered: BTreeMap<u32, bool>,
    nothing: Option<u64>,
    unit: (),
    tree: Tree,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf,
    Number(i64),
    Pair(String, u8),
    Node { name: String, children: Vec<Tree> },
    Boxed(Box<Tree>),
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        Just(Tree::Leaf),
        any::<i64>().prop_map(Tree::Number),
        any::<(String, u8)>().prop_map(|(text, number)| Tree::Pair(text, number)),
    ];
    leaf.prop_recursive(6, 24, 4, |inner| {
        prop_oneof![
            (any::<String>(), vec(inner.clone(), 0..4))
                .prop_map(|(name, children)| Tree::Node { name, children }),
            inner.prop_map(|tree| Tree::Boxed(Box::new(tree))),
        ]
    })
}

fn everything() -> impl Strategy<Value = Everything> {
    let scalars = any::<(bool, (i8, u8, i16, u16), (i64, u64, i128, u128), char, String)>();
    let lists = (vec(any::<String>(), 0..4), vec(any::<u8>(), 0..600));
    let maps = (
        btree_map(any::<String>(), any::<Option<i32>>(), 0..4),
        btree_map(any::<u32>(), any::<bool>(), 0..4),
    );
    (scalars, lists, maps, any::<Option<u64>>(), trees()).prop_map(
        |((flag, small, large, letter, text), (list, blob), (map, numbered), nothing, tree)| {
            let unit = ();
            Everything {
                flag,
                small,
                large,
                letter,
                text,
                list,
                blob,
                map,
                numbered,
                nothing,
                unit,
                tree,
            }
        },
    )
}

fn there_and_back<T: Serialize + DeserializeOwned>(codec: &Codec, value: &T) -> T {
    let bytes = codec.encode(value).unwrap();
    // The reader needs no options of the writer.
    Codec::default().decode(&bytes).unwrap_or_else(|error| panic!("{codec:?}: {error:?}"))
}

proptest! {
    #[test]
    fn values_come_back(value in everything()) {
        for codec in codecs() {
            prop_assert_eq!(&there_and_back(&codec, &value), &value);
        }
    }

    #[test]
    fn floats_come_back_to_the_bit(bits in any::<u64>(), narrow in any::<u32>()) {
        let (wide, narrow) = (f64::from_bits(bits), f32::from_bits(narrow));
        for codec in codecs() {
            if codec.format == Format::MessagePack || wide.is_finite() {
                prop_assert_eq!(there_and_back(&codec, &wide).to_bits(), bits);
            }
            if codec.format == Format::MessagePack || narrow.is_finite() {
                prop_assert_eq!(there_and_back(&codec, &narrow).to_bits(), narrow.to_bits());
            }
        }
    }

    #[test]
    fn releases_read_each_other(origin in any::<String>(), cents in any::<u64>()) {
        #[derive(Serialize, Deserialize)]
        struct Old { origin: String, cents: u64 }
        #[derive(Serialize, Deserialize)]
        struct New { cents: u64, #[serde(default)] seats: Option<u16>, origin: String }

        for codec in codecs() {
            let new: New = codec.decode(&codec.encode(&Old { origin: origin.clone(), cents }).unwrap()).unwrap();
            prop_assert_eq!((&new.origin, new.cents, new.seats), (&origin, cents, None));
            let new = New { seats: Some(3), ..new };
            let old: Old = codec.decode(&codec.encode(&new).unwrap()).unwrap();
            prop_assert_eq!((&old.origin, old.cents), (&origin, cents));
        }
    }
}
