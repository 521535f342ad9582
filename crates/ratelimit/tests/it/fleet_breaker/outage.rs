//! Redis that is away, hangs, or has lost everything.

use std::time::{Duration, Instant};

use russet_core_conn::{BreakerState, Redis};
use russet_ratelimit::{FleetEventKind, FleetState, RefusedBy};
use russet_testkit::Server;

use super::support::{
    HEARTBEAT, Node, becomes, fail, fleet, is_closed, is_open, joined, ms, next, node, open,
    refused, ripe,
};
use crate::support::Space;

fn space(server: &Server) -> Space {
    Space::own([server], "outage")
}

fn quick(server: &Server) -> Redis {
    Redis::builder(&server.url()).build().unwrap()
}

async fn alone(node: &Node) {
    let mut events = node.events();
    while !node.state().alone {
        next(&mut events).await;
    }
}

/// Whether calls are refused by the node's own breaker, opened by its own failures.
async fn goes_by_its_own(node: &Node) {
    node.acquire().await.unwrap().success();
    fail(node).await;
    assert_eq!(refused(node).await.by, RefusedBy::Node);
    assert!(matches!(node.state().local, BreakerState::Open { .. }));
    let begun = Instant::now();
    loop {
        if let Ok(permit) = node.acquire().await {
            assert!(permit.is_probe());
            break permit.success();
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(ms(5)).await;
    }
    assert_eq!(node.state().local, BreakerState::Closed);
}

#[tokio::test]
async fn where_redis_is_killed_each_node_goes_by_its_own_and_joins_again() {
    let server = Server::start().await.unwrap();
    let (space, redis) = (space(&server), quick(&server));
    let nodes = fleet(&redis, &space, 3).await;
    let mut events = nodes[0].events();
    server.kill().await.unwrap();
    for node in &nodes {
        alone(node).await;
        goes_by_its_own(node).await;
    }
    assert_eq!(next(&mut events).await, FleetEventKind::Alone);
    assert!(nodes[0].status().await.unwrap_err().is_retryable());
    nodes[0].force_open().await.unwrap_err();
    server.restart().await.unwrap();
    for node in &nodes {
        joined(node).await;
    }
    assert_eq!(next(&mut events).await, FleetEventKind::Joined);
    open(&nodes).await;
}

#[tokio::test]
async fn where_redis_hangs_no_call_waits_longer_than_its_budget() {
    let server = Server::start().await.unwrap();
    let (space, redis) = (space(&server), quick(&server));
    let nodes =
        ["a", "b", "c"].map(|name| node(&redis, &space, name).budget(ms(50)).build().unwrap());
    for node in &nodes {
        joined(node).await;
    }
    open(&nodes).await;
    // One that saw no failure itself.
    let [_, _, breaker] = nodes;
    server.pause().await.unwrap();
    ripe(&breaker).await;
    // Nobody can give leave for a probe, and it is not known yet that nobody will.
    let begun = Instant::now();
    let rejected = refused(&breaker).await;
    assert!(begun.elapsed() >= ms(50) && begun.elapsed() < ms(500), "{:?}", begun.elapsed());
    assert_eq!((rejected.by, rejected.retry_after), (RefusedBy::Fleet, Some(HEARTBEAT)));
    alone(&breaker).await;
    // Its own was opened with the fleet's, and lets one through.
    let probe = loop {
        match breaker.acquire().await {
            Ok(permit) => break permit,
            Err(_) => tokio::time::sleep(ms(5)).await,
        }
    };
    assert!(probe.is_probe() && probe.time_left().is_none());
    assert_eq!(refused(&breaker).await.by, RefusedBy::Node);
    probe.success();
    breaker.acquire().await.unwrap().success();
    assert!(is_open(breaker.state().fleet));
    server.resume().await.unwrap();
    joined(&breaker).await;
    // It is the fleet's again.
    let probe = loop {
        match breaker.acquire().await {
            Ok(permit) => break permit,
            Err(_) => tokio::time::sleep(ms(5)).await,
        }
    };
    assert!(probe.time_left().is_some());
    probe.success();
    becomes(&breaker, is_closed).await;
}

#[tokio::test]
async fn what_somebody_forced_holds_while_redis_is_away() {
    let server = Server::start().await.unwrap();
    let (space, redis) = (space(&server), quick(&server));
    let breaker = node(&redis, &space, "a").build().unwrap();
    joined(&breaker).await;
    breaker.force_open().await.unwrap();
    space.hygiene().await;
    server.kill().await.unwrap();
    alone(&breaker).await;
    let rejected = refused(&breaker).await;
    assert_eq!((rejected.by, rejected.retry_after), (RefusedBy::Fleet, None));
}

#[tokio::test]
async fn after_an_outage_whoever_is_back_first_is_not_most_of_the_nodes() {
    let server = Server::start().await.unwrap();
    let (space, redis) = (space(&server), quick(&server));
    let nodes = fleet(&redis, &space, 4).await;
    server.kill().await.unwrap();
    for node in &nodes {
        alone(node).await;
    }
    // All that was known of the nodes is lost, and the one that sees failures is the first to be back.
    server.restart().await.unwrap();
    let bad = node(&redis, &space, "bad").build().unwrap();
    joined(&bad).await;
    fail(&bad).await;
    let begun = Instant::now();
    while begun.elapsed() < 8 * HEARTBEAT {
        if let Ok(permit) = bad.acquire().await {
            permit.failure();
        }
        assert_eq!(bad.status().await.unwrap().state, FleetState::Closed);
        tokio::time::sleep(ms(10)).await;
    }
    for node in &nodes {
        joined(node).await;
        assert_eq!(node.state().fleet, FleetState::Closed);
    }
    assert_eq!(bad.status().await.unwrap().nodes, 5);
}

#[tokio::test]
async fn where_no_message_comes_a_change_is_known_within_a_heartbeat() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let deaf = ["ACL", "SETUSER", "deaf", "on", ">secret", "~*", "&*", "+@all", "-subscribe"];
    assert!(conn.call(&deaf).await.unwrap().is_ok());
    let space = space(&server);
    let redis = Redis::builder(&format!("redis://deaf:secret@{}", server.addr())).build().unwrap();
    let [one, other] = ["a", "b"].map(|name| node(&redis, &space, name).build().unwrap());
    for node in [&one, &other] {
        joined(node).await;
    }
    let begun = Instant::now();
    one.force_open().await.unwrap();
    becomes(&other, |state| state == FleetState::ForcedOpen).await;
    assert!(begun.elapsed() < 10 * HEARTBEAT, "{:?}", begun.elapsed());
    drop((one, other));
}

#[tokio::test]
async fn messages_tell_of_each_change_at_once() {
    let server = Server::start().await.unwrap();
    let (space, redis) = (space(&server), quick(&server));
    let seldom = |name| {
        let builder = node(&redis, &space, name).heartbeat(Duration::from_secs(30));
        builder.close_after(2).open_for(ms(100)).build().unwrap()
    };
    let [one, other] = ["a", "b"].map(seldom);
    for node in [&one, &other] {
        joined(node).await;
    }
    let mut conn = server.conn().await.unwrap();
    loop {
        let heard = conn.call(&["PUBSUB", "NUMSUB", "{outage}:breaker.payments"]).await.unwrap();
        if heard.items().unwrap()[1].int() == Some(1) {
            break;
        }
        tokio::time::sleep(ms(2)).await;
    }
    let begun = Instant::now();
    let knows = async |state: FleetState| {
        becomes(&other, |fleet| std::mem::discriminant(&fleet) == std::mem::discriminant(&state))
            .await;
    };
    one.force_open().await.unwrap();
    knows(FleetState::ForcedOpen).await;
    // As if it had opened by itself.
    let open = "redis.call('HSET', KEYS[1], 'state', 1, 'generation', 5, 'until', 0) redis.call('PUBLISH', ARGV[1], 1)";
    let key = space.key("breaker", "payments");
    let key = std::str::from_utf8(key.as_bytes()).unwrap();
    let call = ["EVAL", open, "1", key, "{outage}:breaker.payments"];
    conn.call(&call).await.unwrap();
    knows(FleetState::Open { retry_after: Duration::ZERO }).await;
    becomes(&one, is_open).await;
    let probe = one.acquire().await.unwrap();
    knows(FleetState::HalfOpen).await;
    refused(&other).await;
    probe.ignore();
    // It was given back, and the other need not wait for a heartbeat.
    let probe = loop {
        match other.acquire().await {
            Ok(permit) => break permit,
            Err(_) => tokio::time::sleep(ms(2)).await,
        }
    };
    probe.success();
    let probe = loop {
        match one.acquire().await {
            Ok(permit) => break permit,
            Err(_) => tokio::time::sleep(ms(2)).await,
        }
    };
    probe.success();
    becomes(&one, is_closed).await;
    knows(FleetState::Closed).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
