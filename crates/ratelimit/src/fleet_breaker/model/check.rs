//! The protocol of a breaker, every interleaving of it: nodes that see failures, vote, probe and tell how that ended; late
//! and lost answers, crashes, an outage of Redis.
//!
//! | step | what it stands for |
//! |---|---|
//! | `Fail`, `Mend` | a node's own breaker opens, and closes |
//! | `Beat`, `Hear` | `breaker_beat.lua`, and the answer to it; one that is lost is replaced by the next |
//! | `Ask`, `Answer`, `Lose` | `breaker_probe.lua`, the answer to it, and that it does not come |
//! | `End`, `Report` | a probe's call ends, early or late; `breaker_report.lua` |
//! | `Crash` | a node ends, and is started again under its name |
//! | `Tick`, `Outage` | true time: a heartbeat, and longer than a node counts |
//!
//! The scripts are those of [`model`](super), and what a node makes of an answer is [`View`](super::super::view::View).

use std::collections::BTreeSet;
use std::time::Instant;

use russet_testkit::soak;
use stateright::{Checker, HasDiscoveries, Model};

use self::protocol::{Bug, CLOSES, GIVEN, IGNORED, LATE, MOST, OPENS, Protocol, QUORUM, STUCK};

mod protocol;
mod world;

/// Looks at all of it, and sees what it must.
fn holds(name: &str, protocol: Protocol, shown: &[&'static str]) -> u64 {
    let never = HasDiscoveries::AllOf(BTreeSet::from(["nothing is called so"]));
    let checker = protocol.checker().threads(2).finish_when(never).spawn_dfs().join();
    assert!(checker.is_done());
    for (found, path) in checker.discoveries() {
        assert!(shown.contains(&found), "{name}: {found}: {:?}", path.into_actions());
    }
    // Nothing is true for want of anything that happens.
    let found: BTreeSet<_> = checker.discoveries().into_keys().collect();
    assert_eq!(found, shown.iter().copied().collect(), "{name}");
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

/// Two of three nodes see failures: they open it, and close it again.
fn votes() -> Protocol {
    Protocol {
        nodes: 3,
        bad: 2,
        callers: 1,
        asks: 1,
        close_after: 1,
        ticks: 3,
        crashes: 0,
        outages: 0,
        late: false,
        bug: None,
        base: Instant::now(),
    }
}

/// One of three, that crashes, and Redis that is away.
fn one_bad() -> Protocol {
    Protocol { bad: 1, callers: 0, ticks: 3, crashes: 1, outages: 1, late: true, ..votes() }
}

/// Both nodes see failures and make calls, and one of them crashes.
fn probes() -> Protocol {
    Protocol { nodes: 2, bad: 2, callers: 2, asks: 1, ticks: 4, crashes: 1, ..votes() }
}

#[test]
fn most_nodes_open_it_and_no_probe_holds_it_half_open() {
    let all = [OPENS, CLOSES, IGNORED, GIVEN];
    let mut states = holds("votes", votes(), &[OPENS, CLOSES]);
    states += holds("one bad", one_bad(), &[]);
    states += holds("probes", probes(), &all);
    println!("{states} states in all");
}

#[test]
fn each_planted_bug_of_the_breaker_is_found() {
    for (protocol, bug, fault) in [
        (Protocol { ticks: 5, late: true, ..votes() }, Bug::VoteForAny, QUORUM),
        (one_bad(), Bug::NeverSettle, QUORUM),
        (one_bad(), Bug::OneVote, QUORUM),
        (probes(), Bug::CountLate, LATE),
        (Protocol { close_after: 2, asks: 2, ..probes() }, Bug::ClearPermits, MOST),
        (probes(), Bug::PermitsForEver, STUCK),
    ] {
        finds(Protocol { bug: Some(bug), ..protocol }, fault);
    }
}

/// More of each.
#[test]
#[ignore = "soak"]
fn soak_breaker_protocol() {
    let all = [OPENS, CLOSES, IGNORED, GIVEN];
    let mut states = holds("votes, late", Protocol { late: true, ..votes() }, &[OPENS, CLOSES]);
    states += holds("one bad, longer", Protocol { ticks: 4, ..one_bad() }, &[]);
    states += holds("probes again", Protocol { asks: 2, ..probes() }, &all);
    states += holds("two successes", Protocol { close_after: 2, asks: 2, ..probes() }, &all);
    states += holds("late probes", Protocol { late: true, ..probes() }, &all);
    soak::record("breaker_protocol", "none", &[("states", states)], &[], &[]);
}
