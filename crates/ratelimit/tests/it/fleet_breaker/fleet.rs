//! What the nodes of a fleet do together, on every topology.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use russet_core_conn::BreakerState;
use russet_ratelimit::{FleetEventKind, FleetState, RefusedBy};
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use super::support::{
    HEARTBEAT, Node, becomes, fail, fleet, is_closed, is_open, joined, ms, next, node, open,
    refused, ripe,
};
use crate::support::space;

/// Longer than anything takes on a busy machine.
const OPEN_FOR: Duration = Duration::from_secs(1);

contract!(most_nodes_open_it_for_all_and_a_probe_closes_it);
async fn most_nodes_open_it_for_all_and_a_probe_closes_it(at: Topology) {
    let (redis, space) = space(at, "breaker").await;
    let build =
        |n: usize| node(&redis, &space, &format!("node-{n}")).open_for(OPEN_FOR).build().unwrap();
    let nodes: Vec<_> = (0..5).map(build).collect();
    for node in &nodes {
        joined(node).await;
    }
    // Until they have been counted.
    tokio::time::sleep(6 * HEARTBEAT).await;
    let mut events = nodes[4].events();
    // Two of five are not enough.
    fail(&nodes[0]).await;
    fail(&nodes[1]).await;
    while nodes[2].status().await.unwrap().votes < 2 {
        tokio::time::sleep(ms(5)).await;
    }
    assert_eq!(refused(&nodes[0]).await.by, RefusedBy::Node);
    nodes[4].acquire().await.unwrap().success();
    fail(&nodes[2]).await;
    for node in &nodes {
        becomes(node, is_open).await;
    }
    let told = next(&mut events).await;
    let FleetEventKind::Changed { from: FleetState::Closed, to: FleetState::Open { .. } } = told
    else {
        panic!("{told:?}")
    };
    let rejected = refused(&nodes[4]).await;
    assert_eq!(rejected.by, RefusedBy::Fleet);
    assert!(rejected.retry_after.unwrap() <= OPEN_FOR, "{rejected:?}");
    let status = nodes[4].status().await.unwrap();
    assert!(is_open(status.state) && status.opened_at == Some(status.since), "{status:?}");
    assert_eq!((status.nodes, status.quorum), (5, 3));

    // One probe, for all of them.
    ripe(&nodes[3]).await;
    let probe = nodes[3].acquire().await.unwrap();
    assert!(probe.is_probe() && probe.time_left().is_some());
    for node in &nodes {
        let rejected = refused(node).await;
        assert_eq!(rejected.by, RefusedBy::Fleet);
        assert!(rejected.retry_after.is_some());
    }
    assert_eq!(nodes[0].status().await.unwrap().probes, 1);
    probe.success();
    for node in &nodes {
        becomes(node, is_closed).await;
        // Also where its own was open.
        assert_eq!(node.state().local, BreakerState::Closed);
        node.acquire().await.unwrap().success();
    }
}

contract!(one_bad_node_of_five_never_opens_it);
async fn one_bad_node_of_five_never_opens_it(at: Topology) {
    let (redis, space) = space(at, "one-bad").await;
    let nodes = fleet(&redis, &space, 5).await;
    let mut heard: Vec<_> = nodes.iter().map(Node::events).collect();
    let until = Instant::now() + 12 * HEARTBEAT;
    let mut opened = 0;
    while Instant::now() < until {
        // It tries again whenever its own breaker lets it.
        if let Ok(permit) = nodes[0].acquire().await {
            opened += usize::from(permit.is_probe());
            permit.failure();
        }
        for node in &nodes[1..] {
            node.acquire().await.unwrap().success();
        }
        tokio::time::sleep(ms(5)).await;
    }
    assert!(opened >= 2, "it has not tried again: {opened}");
    // It is its own trouble.
    assert_eq!(refused(&nodes[0]).await.by, RefusedBy::Node);
    let status = nodes[1].status().await.unwrap();
    assert_eq!((status.state, status.nodes), (FleetState::Closed, 5));
    assert!(status.votes <= 1, "{status:?}");
    for (node, events) in nodes.iter().zip(&mut heard) {
        assert!(!node.state().alone);
        while let Ok(Some(notice)) = tokio::time::timeout(ms(1), events.next()).await {
            let text = format!("{notice:?}");
            assert!(!text.contains("Changed"), "{text}");
        }
    }
}

contract!(a_node_that_starts_again_and_again_has_one_vote);
async fn a_node_that_starts_again_and_again_has_one_vote(at: Topology) {
    let (redis, space) = space(at, "crash-loop").await;
    let nodes = fleet(&redis, &space, 3).await;
    tokio::time::sleep(6 * HEARTBEAT).await;
    for _ in 0..5 {
        let looping = node(&redis, &space, "node-0").build().unwrap();
        joined(&looping).await;
        let mut events = looping.events();
        fail(&looping).await;
        while next(&mut events).await != FleetEventKind::Voted {}
        let status = nodes[1].status().await.unwrap();
        assert_eq!((status.state, status.nodes), (FleetState::Closed, 3));
        assert!(status.votes <= 1, "{status:?}");
        // As a process that is killed: it says nothing.
        std::mem::forget(looping);
    }
}

contract!(a_vote_lasts_no_longer_than_the_breaker_that_it_is_for);
async fn a_vote_lasts_no_longer_than_the_breaker_that_it_is_for(at: Topology) {
    let (redis, space) = space(at, "old-vote").await;
    let nodes = fleet(&redis, &space, 3).await;
    let mut events = nodes[0].events();
    fail(&nodes[0]).await;
    while next(&mut events).await != FleetEventKind::Voted {}
    // Nobody calls any more, and nobody knows.
    while next(&mut events).await != FleetEventKind::Withdrawn {}
    assert_eq!(nodes[1].status().await.unwrap().votes, 0);
    assert!(matches!(nodes[0].state().local, BreakerState::Open { .. }));
}

contract!(a_failed_probe_opens_it_again_with_fresh_permits);
async fn a_failed_probe_opens_it_again_with_fresh_permits(at: Topology) {
    let (redis, space) = space(at, "failed-probe").await;
    let two = |name: &str| node(&redis, &space, name).probes(2).close_after(2).build().unwrap();
    let nodes = [two("a"), two("b")];
    for node in &nodes {
        joined(node).await;
    }
    open(&nodes).await;
    ripe(&nodes[0]).await;
    let failing = nodes[0].acquire().await.unwrap();
    let late = nodes[1].acquire().await.unwrap();
    assert!(failing.is_probe() && late.is_probe());
    let generation = nodes[0].state().generation;
    failing.failure();
    becomes(&nodes[1], is_open).await;
    becomes(&nodes[0], is_open).await;
    assert_ne!(nodes[0].state().generation, generation);
    ripe(&nodes[0]).await;
    ripe(&nodes[1]).await;
    // Both places are free again, although one of the last stay's probes has not ended.
    let fresh = [nodes[0].acquire().await.unwrap(), nodes[0].acquire().await.unwrap()];
    assert!(refused(&nodes[1]).await.by == RefusedBy::Fleet);
    late.success();
    let [one, other] = fresh;
    one.success();
    // One of this stay, and one of the last: that is not two.
    while nodes[0].status().await.unwrap().successes < 1 {
        tokio::time::sleep(ms(5)).await;
    }
    tokio::time::sleep(ms(50)).await;
    assert_eq!(nodes[1].status().await.unwrap().state, FleetState::HalfOpen);
    other.success();
    for node in &nodes {
        becomes(node, is_closed).await;
    }
}

contract!(a_permit_comes_back_from_one_that_gives_up_and_from_one_that_dies);
async fn a_permit_comes_back_from_one_that_gives_up_and_from_one_that_dies(at: Topology) {
    let (redis, space) = space(at, "comes-back").await;
    let build = |name: &str| node(&redis, &space, name).probe_within(ms(400)).build().unwrap();
    let nodes = [build("a"), build("b"), build("c")];
    for node in &nodes {
        joined(node).await;
    }
    open(&nodes).await;
    ripe(&nodes[0]).await;
    let given_up = nodes[0].acquire().await.unwrap();
    assert!(refused(&nodes[1]).await.retry_after.unwrap() <= ms(400) + 2 * HEARTBEAT);
    drop(given_up);
    let begun = Instant::now();
    let dies = loop {
        if let Ok(permit) = nodes[1].acquire().await {
            break permit;
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(ms(2)).await;
    };
    // It says nothing.
    std::mem::forget(dies);
    let begun = Instant::now();
    let rejected = refused(&nodes[2]).await;
    tokio::time::sleep(rejected.retry_after.unwrap()).await;
    let probe = loop {
        match nodes[2].acquire().await {
            Ok(permit) => break permit,
            Err(rejected) => tokio::time::sleep(rejected.retry_after.unwrap()).await,
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
    };
    assert!(begun.elapsed() >= ms(400), "{:?}", begun.elapsed());
    probe.success();
    for node in &nodes {
        becomes(node, is_closed).await;
    }
}

contract!(what_somebody_says_holds_until_it_is_taken_back);
async fn what_somebody_says_holds_until_it_is_taken_back(at: Topology) {
    let (redis, space) = space(at, "forced").await;
    let build = |n: usize| {
        let builder = node(&redis, &space, &format!("node-{n}"));
        builder.open_for(Duration::from_secs(60)).build().unwrap()
    };
    let nodes: Vec<_> = (0..3).map(build).collect();
    for node in &nodes {
        joined(node).await;
    }
    let [one, other] = [&nodes[0], &nodes[1]];
    one.force_open().await.unwrap();
    becomes(other, |state| state == FleetState::ForcedOpen).await;
    let rejected = refused(other).await;
    assert_eq!((rejected.by, rejected.retry_after), (RefusedBy::Fleet, None));
    assert_eq!(one.state().fleet, FleetState::ForcedOpen);

    other.disable().await.unwrap();
    becomes(one, |state| state == FleetState::Disabled).await;
    for _ in 0..10 {
        one.acquire().await.unwrap().failure();
    }
    assert_eq!(one.state().local, BreakerState::Closed);

    other.metrics_only().await.unwrap();
    for node in &nodes {
        becomes(node, |state| state == FleetState::MetricsOnly).await;
        for _ in 0..10 {
            node.acquire().await.unwrap().failure();
        }
    }
    loop {
        let status = one.status().await.unwrap();
        assert_eq!(status.state, FleetState::MetricsOnly);
        if status.votes == 3 && status.failures == 9 {
            break;
        }
        tokio::time::sleep(ms(5)).await;
    }
    one.reset().await.unwrap();
    becomes(other, is_closed).await;
    assert_eq!(other.state().local, BreakerState::Closed);
    other.acquire().await.unwrap().success();
    let status = one.status().await.unwrap();
    assert_eq!((status.votes, status.failures, status.state), (0, 0, FleetState::Closed));
}

contract!(threads, no_more_probes_at_once_than_it_says);
async fn no_more_probes_at_once_than_it_says(at: Topology) {
    let (redis, space) = space(at, "probes").await;
    let build = |n: usize| {
        let builder = node(&redis, &space, &format!("node-{n}")).probes(3).close_after(50);
        builder.build().unwrap()
    };
    let nodes: Vec<_> = (0..4).map(build).collect();
    for node in &nodes {
        joined(node).await;
    }
    open(&nodes).await;
    ripe(&nodes[0]).await;
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let tasks = (0..64).map(|n| {
        let (node, inside, most) = (nodes[n % 4].clone(), inside.clone(), most.clone());
        tokio::spawn(async move {
            let mut probes = 0;
            while !is_closed(node.state().fleet) {
                let Ok(permit) = node.acquire().await else {
                    tokio::time::sleep(ms(1)).await;
                    continue;
                };
                if !permit.is_probe() {
                    break;
                }
                probes += 1;
                most.fetch_max(inside.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::time::sleep(ms(2)).await;
                inside.fetch_sub(1, SeqCst);
                permit.success();
            }
            probes
        })
    });
    let mut probes = 0;
    for task in Vec::from_iter(tasks) {
        probes += task.await.unwrap();
    }
    assert!(probes >= 50, "{probes}");
    assert_eq!(most.load(SeqCst), 3);
}

contract!(whoever_shuts_down_counts_no_more_and_tells_what_it_knows);
async fn whoever_shuts_down_counts_no_more_and_tells_what_it_knows(at: Topology) {
    let (redis, space) = space(at, "leaves").await;
    let nodes = fleet(&redis, &space, 3).await;
    open(&nodes).await;
    ripe(&nodes[0]).await;
    nodes[0].acquire().await.unwrap().success();
    nodes[0].shutdown().await.unwrap();
    nodes[0].shutdown().await.unwrap();
    // What the probe found was told before.
    let status = nodes[1].status().await.unwrap();
    assert_eq!((status.state, status.nodes), (FleetState::Closed, 2));
    assert!(nodes[0].state().alone);
    // It goes by its own.
    nodes[0].reset().await.unwrap();
    fail(&nodes[0]).await;
    assert_eq!(refused(&nodes[0]).await.by, RefusedBy::Node);
    // One that is dropped says so, too.
    drop(nodes);
    let last = node(&redis, &space, "last").build().unwrap();
    while last.status().await.unwrap().nodes != 1 {
        tokio::time::sleep(ms(5)).await;
    }
}
