//! What is called, and when.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use crate::invalidation::What;
use crate::scripts::{Bad, Due, Fill, Token};
use crate::seal::{Seal, Stamp};

#[derive(Debug, Clone)]
pub(super) struct Step {
    /// In µs, since the one before.
    pub(super) after: u64,
    pub(super) call: Call,
}

/// Of one of two keys.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Entry(usize, OfEntry),
    Write(What, Vec<Bytes>),
    /// What came after one of the places that were told so far, in pieces of so many.
    Since(prop::sample::Index, usize),
    Tags(Vec<Bytes>),
    LoseJournal,
    LoseLog(usize),
}

#[derive(Debug, Clone)]
pub(super) enum OfEntry {
    Get,
    Set(Bytes, Duration),
    Unlink,
    Read,
    Claim(Token, Duration, Due, Bad),
    Fill(Option<Token>, Fill),
    Renew(Token, Duration),
    Release(Token, Duration),
    Seize(Token, Duration),
    Update(u64, Fill),
    Expire,
}

/// Of one entry, of the journal, or of all.
pub(super) fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let entry = || of_entry().prop_map(|call| Call::Entry(0, call)).boxed();
    let any = prop_oneof![
        3 => (0_usize..2, of_entry()).prop_map(|(key, call)| Call::Entry(key, call)),
        1 => of_journal(),
    ];
    let sorts = prop::sample::select(vec![entry(), entry(), of_journal().boxed(), any.boxed()]);
    sorts.prop_flat_map(move |call| {
        let step = (after(), call).prop_map(|(after, call)| Step { after, call });
        prop::collection::vec(step, 1..most)
    })
}

/// Often whole milliseconds, so that ends are met.
fn after() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(0),
        5 => (1_u64..12).prop_map(|ms| ms * 1_000),
        2 => 0_u64..12_000,
        1 => (12_u64..60).prop_map(|ms| ms * 1_000),
    ]
}

fn of_journal() -> impl Strategy<Value = Call> {
    let names = || prop::collection::btree_set(tag(), 1..4).prop_map(Vec::from_iter);
    let what = prop_oneof![
        Just(What::Removed),
        Just(What::Written),
        Just(What::Expired),
        Just(What::Tags),
        Just(What::Tags),
        Just(What::Tags),
        Just(What::All),
    ];
    prop_oneof![
        8 => (what, names()).prop_map(|(what, of)| match what {
            What::All => Call::Write(what, Vec::new()),
            _ => Call::Write(what, of),
        }),
        5 => (any::<prop::sample::Index>(), prop_oneof![3 => Just(100_usize), 1 => 1_usize..3])
            .prop_map(|(place, most)| Call::Since(place, most)),
        3 => names().prop_map(Call::Tags),
        1 => prop_oneof![Just(Call::LoseJournal), (0_usize..3).prop_map(Call::LoseLog)],
    ]
}

fn of_entry() -> impl Strategy<Value = OfEntry> {
    let due = prop_oneof![
        2 => Just(Due::default()),
        2 => (0_u64..=1_000).prop_map(|ahead| Due { ahead, roll: 0 }),
        1 => (0_u64..5_000).prop_map(|roll| Due { ahead: 0, roll }),
    ];
    prop_oneof![
        2 => Just(OfEntry::Get),
        3 => (payload(), time()).prop_map(|(bytes, ttl)| OfEntry::Set(bytes, ttl)),
        1 => Just(OfEntry::Unlink),
        3 => Just(OfEntry::Read),
        15 => (token(), time(), due, bad()).prop_map(|(a, b, c, d)| OfEntry::Claim(a, b, c, d)),
        6 => (prop::option::weighted(0.8, token()), fill()).prop_map(|(a, b)| OfEntry::Fill(a, b)),
        3 => (token(), time()).prop_map(|(token, lease)| OfEntry::Renew(token, lease)),
        4 => (token(), prop_oneof![time(), long()])
            .prop_map(|(token, pause)| OfEntry::Release(token, pause)),
        2 => (token(), time()).prop_map(|(token, lease)| OfEntry::Seize(token, lease)),
        3 => (0_u64..4, fill()).prop_map(|(version, fill)| OfEntry::Update(version, fill)),
        2 => Just(OfEntry::Expire),
    ]
}

fn token() -> impl Strategy<Value = Token> {
    (1_u64..4).prop_map(|token| Token(Bytes::copy_from_slice(&token.to_be_bytes())))
}

fn tag() -> impl Strategy<Value = Bytes> {
    (b'a'..b'i').prop_map(|tag| Bytes::copy_from_slice(&[tag]))
}

fn time() -> impl Strategy<Value = Duration> {
    (1_u64..30).prop_map(Duration::from_millis)
}

fn long() -> impl Strategy<Value = Duration> {
    (50_u64..150).prop_map(Duration::from_millis)
}

fn bad() -> impl Strategy<Value = Bad> {
    prop_oneof![
        8 => Just(Bad::Nothing),
        4 => payload().prop_map(Bad::Unreadable),
        2 => (0_u64..3).prop_map(|version| Bad::Invalid(seal(version))),
        1 => Just(Bad::Type),
    ]
}

fn fill() -> impl Strategy<Value = Fill> {
    let grace = prop_oneof![
        1 => Just(Duration::ZERO),
        1 => time(),
        // For several leases.
        1 => long(),
    ];
    let times = (time(), grace, any::<bool>(), time());
    // No cache writes nothing.
    let payload = payload().prop_filter("a payload", |payload| !payload.is_empty());
    (payload, times).prop_map(|(payload, (ttl, grace, timed, took))| Fill {
        payload,
        seal: None,
        ttl,
        grace: if timed { grace } else { Duration::ZERO },
        timed,
        took,
    })
}

/// What a cache writes, and what it does not.
fn payload() -> impl Strategy<Value = Bytes> {
    let versioned = |version: u64| [&[5][..], &version.to_be_bytes(), &[1, 9]].concat();
    let sealed = |version: u64, rest: &[u8]| Bytes::from([&seal(version)[..], rest].concat());
    let garbage: [&'static [u8]; 9] = [
        b"",
        b"hello",
        b"\x02abc",
        b"\x03abc",
        b"\x04abc",
        b"\x05abc",
        b"\x02\0\0\0\0\0\0\0\x09\0longer",
        b"\x03\0\0\0\0\0\0\0\x09\0shorter",
        b"\x04\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\x03\x01a",
    ];
    prop_oneof![
        2 => Just(Bytes::from_static(b"\0")),
        2 => Just(Bytes::from_static(b"\x01v")),
        3 => (0_u64..4).prop_map(move |version| versioned(version).into()),
        2 => (0_u64..3).prop_map(move |version| sealed(version, b"\x01v")),
        3 => (0_u64..3, 0_u64..4).prop_map(move |(seal, version)| sealed(seal, &versioned(version))),
        1 => (0_u64..3).prop_map(move |version| sealed(version, b"\x05abc")),
        4 => prop::sample::select(garbage.to_vec()).prop_map(Bytes::from_static),
    ]
}

fn seal(version: u64) -> Bytes {
    let mut bytes = BytesMut::new();
    let tags = (0..version).map(|tag| Bytes::from(vec![b'a'; 1 + usize::from(tag > 0)])).collect();
    Seal { stamp: Stamp { incarnation: 1, version }, tags }.put(&mut bytes);
    bytes.freeze()
}
