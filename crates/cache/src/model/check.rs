//! The protocol of a cache with a journal and memories of its own, every interleaving of it: two processes that look up
//! and load, and in each of them one that changes the origin and says so; late replies, lost messages, a crash, a failover
//! that forgets.
//!
//! | step | what it stands for |
//! |---|---|
//! | `Look` | a lookup: the memory, or `claim.lua` |
//! | `Again` | who waits is woken or looks by itself: `claim.lua` |
//! | `Load`, `Fill` | whoever has the lease: what is known, and then the origin, is read; `fill.lua` |
//! | `Arrive` | the reply to a claim or a fill: what is known of it (`journal_tags.lua`), and what is kept |
//! | `Ask`, `Answer` | `journal_read.lua`, and its reply |
//! | `Hear` | a message that tells of news (`journal_read.lua`); one that is lost is never heard |
//! | `Say` | the origin is changed, and the key removed by `UNLINK`; `journal_write.lua` |
//! | `Noted` | its reply: the invalidation is acknowledged as soon as that may be |
//! | `Tick` | true time, of all clocks |
//! | `Crash` | a process ends, and another is started |
//! | `Sync`, `FailOver` | what the replica has, and that it is promoted, a tick later |
//!
//! What is done by one process alone is done as late as may be where it vouches for something, and as early where it owes
//! something: the seal is made just before the origin is read, the origin changed just before it is said.
//!
//! The scripts are those of [`model`](super), and what a process knows of the journal is [`Known`](crate::journal::Known).

use std::collections::BTreeSet;

use russet_testkit::soak;
use stateright::{Checker, HasDiscoveries, Model};

use self::protocol::{
    BOTH, Bug, DONE, FILL, Fault, LOCAL, Late, Protocol, REDIS, REFUSED, STUCK, WAITS,
};

mod protocol;
mod steps;
mod world;

/// Looks at all of it.
fn holds(name: &str, protocol: Protocol) -> u64 {
    let never = HasDiscoveries::AllOf(BTreeSet::from(["nothing is called so"]));
    let checker = protocol.checker().threads(2).finish_when(never).spawn_dfs().join();
    assert!(checker.is_done());
    let mut shown = BTreeSet::from([BOTH, DONE, WAITS]);
    if protocol.late.replies {
        shown.insert(REFUSED);
    }
    for (found, path) in checker.discoveries() {
        assert!(shown.contains(found), "{name}: {found}: {:?}", path.into_actions());
    }
    // Nothing is true for want of anything that happens.
    assert_eq!(checker.discoveries().into_keys().collect::<BTreeSet<_>>(), shown, "{name}");
    let states = checker.unique_state_count() as u64;
    println!("{name}: {states} states");
    states
}

/// Looks until it is found.
fn finds(protocol: Protocol, fault: &'static str) {
    let found = HasDiscoveries::AllOf(BTreeSet::from([fault]));
    let checker = protocol.checker().threads(2).finish_when(found).spawn_bfs().join();
    let discoveries = checker.discoveries();
    let path = discoveries.get(fault).unwrap_or_else(|| panic!("{:?}: {fault}", protocol.bug));
    let states = checker.unique_state_count();
    println!("{states} states: {:?}: {:?}", protocol.bug, path.clone().into_actions());
}

const IN_TIME: Late = Late { replies: false, answers: false, notes: false };

const STEADY: Protocol = Protocol {
    by_tag: [false, true],
    tick: 2,
    until: 2,
    asks: [1, 1],
    late: IN_TIME,
    messages: true,
    crash: false,
    failover: false,
    bug: None,
};
const REPLIES: Protocol = Protocol { late: Late { replies: true, ..IN_TIME }, ..STEADY };
const ANSWERS: Protocol =
    Protocol { late: Late { answers: true, ..IN_TIME }, messages: false, ..STEADY };
const NOTES: Protocol = Protocol {
    late: Late { notes: true, ..IN_TIME },
    by_tag: [true; 2],
    messages: false,
    ..STEADY
};
const CRASH: Protocol = Protocol { crash: true, messages: false, ..STEADY };
const FAILOVER: Protocol =
    Protocol { failover: true, by_tag: [true; 2], messages: false, ..STEADY };

/// One sort of trouble at a time: all at once are too many states to look at.
const ALL: [(&str, Protocol); 6] = [
    ("steady", STEADY),
    ("late replies", REPLIES),
    ("late answers", ANSWERS),
    ("late notes", NOTES),
    ("crash", CRASH),
    ("failover", FAILOVER),
];

#[test]
fn nothing_is_stale_and_nobody_waits_for_ever() {
    let states: u64 = ALL.into_iter().map(|(name, protocol)| holds(name, protocol)).sum();
    println!("{states} states in all");
}

#[test]
fn each_planted_bug_is_found() {
    for (protocol, bug, fault) in [
        (STEADY, Bug::FillWithoutLease, FILL),
        (STEADY, Bug::SealAfterLoad, REDIS),
        (STEADY, Bug::IgnoreLostMessage, LOCAL),
        (Protocol { until: 4, ..ANSWERS }, Bug::AgeOfAnswer, LOCAL),
        (REPLIES, Bug::KeepWhatWasDropped, LOCAL),
        (STEADY, Bug::ForgetOwn, LOCAL),
        (STEADY, Bug::WaitForMessage, STUCK),
        (FAILOVER, Bug::IgnoreHole, LOCAL),
    ] {
        finds(Protocol { bug: Some(bug), ..protocol }, fault);
    }
}

/// By single ticks, and more of each.
#[test]
#[ignore = "soak"]
fn soak_cache_protocol() {
    let fine = |protocol: Protocol| Protocol { tick: 1, ..protocol };
    let mut states = 0;
    for (name, protocol) in ALL {
        states += holds(name, fine(protocol));
    }
    states += holds("steady, again", Protocol { asks: [2, 2], ..STEADY });
    states += holds("failover, by key", Protocol { by_tag: [false, true], ..FAILOVER });
    soak::record("cache_protocol", "none", &[("states", states)], &[], &[]);
}
