use std::time::{Duration, Instant};

use super::*;
use crate::cluster::Standing;
use crate::event::Announcer;
use crate::node::Settings;
use crate::target::{Endpoint, Site};
use crate::{Key, Redis};

fn settings() -> Settings {
    Redis::builder("redis://h").build().unwrap().to.settings().clone()
}

fn member(port: u16, settings: &Settings) -> Arc<Member> {
    let Site::At(endpoint) = &settings.site else { unreachable!() };
    let endpoint: Endpoint = endpoint.elsewhere(("h".into(), port));
    Member::new(endpoint, settings, &Announcer::new())
}

fn listed(id: &str, follows: Option<&str>, slots: &[std::ops::RangeInclusive<u16>]) -> Listed {
    Listed {
        id: id.to_owned(),
        host: None,
        port: 1,
        role: if follows.is_some() { Role::Replica } else { Role::Primary },
        follows: follows.map(str::to_owned),
        slots: slots.to_vec(),
        state: Standing::Up,
        linked: true,
    }
}

fn three() -> (Map, [Arc<Member>; 3]) {
    let settings = settings();
    let members = [1, 2, 3].map(|port| member(port, &settings));
    let listed = [
        listed("a", None, &[0..=8_191]),
        listed("b", None, &[8_192..=16_382]),
        listed("c", Some("a"), &[]),
    ];
    let pairs: Vec<_> = members.iter().cloned().zip(listed).collect();
    (Map::new(1, true, &pairs), members)
}

#[test]
fn each_slot_has_the_owner_that_was_listed() {
    let (map, [a, b, c]) = three();
    let owner = |slot| map.owner(slot).map(|seat| seat.member.place.clone());
    assert_eq!(owner(0), Some(a.place.clone()));
    assert_eq!(owner(8_191), Some(a.place.clone()));
    assert_eq!(owner(8_192), Some(b.place.clone()));
    assert_eq!((owner(16_383), map.unserved()), (None, Some(16_383)));
    assert_eq!(map.owners().len(), 2);
    assert_eq!(map.primaries().count(), 2);
    let seat = map.owner(0).unwrap();
    let replicas: Vec<_> = map.replicas(seat, &Turn::default()).collect();
    assert!(replicas.len() == 1 && Arc::ptr_eq(replicas[0], &c));
}

#[test]
fn one_slot_is_mended_and_the_others_stay() {
    let (map, [a, b, _]) = three();
    let last = map.with(Some(16_383), &a);
    assert_eq!((last.unserved(), last.moved(&map)), (None, 1));
    let settings = settings();
    let stranger = member(9, &settings);
    let known = map.with(None, &stranger);
    assert!(known.find(&stranger.place).is_some());
    assert_eq!((known.owners().len(), known.moved(&map)), (2, 0));
    let served = known.with(Some(0), &stranger);
    assert_eq!((served.owners().len(), served.moved(&map)), (3, 1));
    let mut all = served;
    for slot in 8_192..16_383 {
        all = all.with(Some(slot), &a);
    }
    assert!(all.owners().iter().all(|owner| !Arc::ptr_eq(owner, &b)));
}

/// What a cluster costs a call before it is sent.
#[test]
#[ignore = "soak"]
fn soak_a_slot_is_found_in_no_time() {
    const ROUNDS: u32 = 20_000_000;
    let (map, _) = three();
    let map = arc_swap::ArcSwap::from_pointee(map);
    let keys: Vec<Key> = (0..1_000).map(|n| Key::raw(format!("shop:fare:{n}"))).collect();
    let begun = Instant::now();
    let mut found = 0_u32;
    for round in 0..ROUNDS {
        let key = std::hint::black_box(&keys[round as usize % keys.len()]);
        found += u32::from(map.load().owner(key.slot()).is_some());
    }
    let each = begun.elapsed() / ROUNDS;
    assert!(found > ROUNDS / 2);
    println!("{each:?} a slot");
    assert!(each <= Duration::from_nanos(50), "{each:?}");
}
