//! A fleet in one process: each node is a breaker of its own.

use std::time::{Duration, Instant};

use russet_core_conn::{Events, KeySpace, Notice, Redis, Trip};
use russet_ratelimit::{
    FleetBreaker, FleetBreakerBuilder, FleetEvent, FleetEventKind, FleetState, Rejected,
};

pub(crate) const HEARTBEAT: Duration = Duration::from_millis(200);

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Down;

pub(crate) type Node = FleetBreaker<Down>;

/// Opens after three failures in a row, for 300 ms.
pub(crate) fn node(redis: &Redis, space: &KeySpace, node: &str) -> FleetBreakerBuilder<Down> {
    FleetBreaker::builder(redis, space, "payments", node)
        .trips([Trip::Consecutive(3)])
        .open_for(ms(300))
        .heartbeat(HEARTBEAT)
        .budget(Duration::from_secs(5))
}

pub(crate) async fn fleet(redis: &Redis, space: &KeySpace, size: usize) -> Vec<Node> {
    let nodes: Vec<_> =
        (0..size).map(|at| node(redis, space, &format!("node-{at}")).build().unwrap()).collect();
    for node in &nodes {
        joined(node).await;
    }
    nodes
}

/// Waits until the fleet is known.
pub(crate) async fn joined(node: &Node) {
    let mut events = node.events();
    while node.state().alone {
        next(&mut events).await;
    }
}

pub(crate) async fn next(events: &mut Events<FleetEvent>) -> FleetEventKind {
    let next = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
    match next {
        Ok(Some(Notice::Event(event))) => event.kind,
        other => panic!("{other:?}"),
    }
}

/// Waits until a node knows the fleet's breaker to be so.
pub(crate) async fn becomes(node: &Node, is: impl Fn(FleetState) -> bool) {
    let mut events = node.events();
    while !is(node.state().fleet) {
        next(&mut events).await;
    }
}

pub(crate) fn is_open(state: FleetState) -> bool {
    matches!(state, FleetState::Open { .. })
}

pub(crate) fn is_closed(state: FleetState) -> bool {
    state == FleetState::Closed
}

/// Calls that fail, until the node's own breaker is open.
pub(crate) async fn fail(node: &Node) {
    while let Ok(permit) = node.acquire().await {
        permit.failure();
    }
}

/// Most nodes see failures, until the fleet's breaker is open for all of them.
pub(crate) async fn open(nodes: &[Node]) {
    let begun = Instant::now();
    // Until they have been counted, each is its own.
    while !nodes.iter().all(|node| is_open(node.state().fleet)) {
        for node in &nodes[..nodes.len() / 2 + 1] {
            if node.state().fleet == FleetState::Closed {
                fail(node).await;
            }
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(ms(5)).await;
    }
}

/// Waits until the fleet's breaker would let a probe through.
pub(crate) async fn ripe(node: &Node) {
    while let FleetState::Open { retry_after } = node.state().fleet
        && !retry_after.is_zero()
    {
        tokio::time::sleep(retry_after).await;
    }
}

pub(crate) async fn refused(node: &Node) -> Rejected {
    node.acquire().await.map(drop).unwrap_err()
}
