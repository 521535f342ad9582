//! What one node does with its calls.

use std::time::{Duration, Instant};

use russet_core_conn::{BreakerState, KeySpace, Redis, Trip, Verdict};
use russet_ratelimit::{
    Error, FleetBreaker, FleetBreakerBuilder, FleetBreakerError, FleetPermit, FleetState, RefusedBy,
};
use russet_testkit::{Proxy, Server};

use super::support::{Down, becomes, is_closed, is_open, joined, ms, node, open, ripe};
use crate::support::{Space, patient};

fn shop() -> KeySpace {
    KeySpace::new("shop").unwrap()
}

fn nowhere() -> Redis {
    Redis::builder("redis://127.0.0.1:1").build().unwrap()
}

#[tokio::test]
async fn while_it_is_closed_or_open_redis_is_asked_nothing() {
    let server = Server::start().await.unwrap();
    let shop = Space::own([&server], "shop");
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = patient(&proxy.url());
    let minute = Duration::from_secs(60);
    let seldom = |name| node(&redis, &shop, name).heartbeat(minute).open_for(minute);
    let breaker = seldom("a").build().unwrap();
    joined(&breaker).await;
    // The subscription's news make for one more beat.
    proxy.until(|seen| seen.requests("EVALSHA") + seen.requests("EVAL") >= 3).await.unwrap();
    proxy.reset_counters();
    for turn in 0..10_000 {
        let result = breaker.execute(async { if turn % 3 > 0 { Err(Down) } else { Ok(()) } }).await;
        assert!(!matches!(result, Err(FleetBreakerError::Rejected(_))));
    }
    let scripts = proxy.requests("EVALSHA") + proxy.requests("EVAL");
    assert_eq!(scripts, 0);
    breaker.force_open().await.unwrap();
    proxy.reset_counters();
    for _ in 0..1_000 {
        breaker.execute(async { Ok::<_, Down>(()) }).await.unwrap_err();
    }
    // But for the beat after the message of the change.
    assert!(proxy.requests("EVALSHA") <= 2, "{:?}", proxy.counters());
}

#[tokio::test]
async fn who_finds_it_half_open_does_not_ask_all_the_time() {
    let server = Server::start().await.unwrap();
    let shop = Space::own([&server], "shop");
    let redis = patient(&server.url());
    let breaker = node(&redis, &shop, "a").heartbeat(ms(500)).build().unwrap();
    joined(&breaker).await;
    open(std::slice::from_ref(&breaker)).await;
    ripe(&breaker).await;
    let probe = breaker.acquire().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    assert!(conn.call(&["CONFIG", "RESETSTAT"]).await.unwrap().is_ok());
    let (begun, mut refused) = (Instant::now(), 0_u32);
    while begun.elapsed() < ms(400) {
        breaker.acquire().await.map(drop).unwrap_err();
        refused += 1;
    }
    let stats = conn.call(&["INFO", "commandstats"]).await.unwrap();
    let stats = stats.text().unwrap();
    let calls = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_eval")).map(|line| {
        let calls = line.split_once("calls=").unwrap().1.split_once(',').unwrap().0;
        calls.parse::<u32>().unwrap()
    });
    let calls: u32 = calls.sum();
    assert!(refused > 1_000 && calls <= 5, "{calls} for {refused}");
    probe.success();
    becomes(&breaker, is_closed).await;
}

#[tokio::test]
async fn a_probe_that_takes_too_long_has_failed_and_is_waited_for() {
    let server = Server::start().await.unwrap();
    let shop = Space::own([&server], "shop");
    let redis = patient(&server.url());
    let breaker = node(&redis, &shop, "a").probe_within(ms(150)).build().unwrap();
    joined(&breaker).await;
    open(std::slice::from_ref(&breaker)).await;
    ripe(&breaker).await;
    let (end, ended) = tokio::sync::oneshot::channel();
    let hanging = {
        let breaker = breaker.clone();
        tokio::spawn(async move { breaker.execute(async { ended.await.map_err(|_| Down) }).await })
    };
    becomes(&breaker, |state| state == FleetState::HalfOpen).await;
    becomes(&breaker, is_open).await;
    end.send(7).unwrap();
    assert_eq!(hanging.await.unwrap(), Ok(7));
    assert!(is_open(breaker.state().fleet));
}

#[tokio::test]
async fn who_goes_away_while_it_asks_for_a_permit_gives_it_back() {
    let server = Server::start().await.unwrap();
    let shop = Space::own([&server], "shop");
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let redis = patient(&proxy.url());
    let breaker = node(&redis, &shop, "a").probe_within(Duration::from_secs(600)).build().unwrap();
    joined(&breaker).await;
    open(std::slice::from_ref(&breaker)).await;
    ripe(&breaker).await;
    // The server knows the script from here on, and takes what is sent once.
    let generation = breaker.state().generation;
    breaker.acquire().await.unwrap().failure();
    while breaker.state().generation == generation || !is_open(breaker.state().fleet) {
        tokio::time::sleep(ms(2)).await;
    }
    ripe(&breaker).await;
    proxy.delay_replies(ms(100));
    tokio::time::timeout(ms(50), breaker.acquire()).await.map(drop).unwrap_err();
    proxy.delay_replies(Duration::ZERO);
    // The permit would have lasted for ten minutes.
    let begun = Instant::now();
    let probe = loop {
        match breaker.acquire().await {
            Ok(permit) => break permit,
            Err(_) => tokio::time::sleep(ms(5)).await,
        }
        assert!(begun.elapsed() < Duration::from_secs(10));
    };
    probe.success();
    becomes(&breaker, is_closed).await;
}

/// Also without Redis.
#[tokio::test]
async fn errors_are_judged_and_slow_calls_count() {
    let builder = || -> FleetBreakerBuilder<u8> {
        FleetBreaker::builder(&nowhere(), &shop(), "judged", "a").judge(|error| match error {
            4 => Verdict::Success,
            1 => Verdict::Ignored,
            _ => Verdict::Failure,
        })
    };
    let breaker = builder().trips([Trip::Consecutive(2)]).build().unwrap();
    for error in [4, 1, 5, 4, 5, 1] {
        let result = breaker.execute(async { Err::<(), _>(error) }).await;
        assert_eq!(result, Err(FleetBreakerError::Call(error)));
    }
    assert_eq!(breaker.state().local, BreakerState::Closed);
    breaker.execute(async { Err::<(), _>(5) }).await.unwrap_err();
    let rejected = breaker.execute(async { Ok(()) }).await.unwrap_err();
    let FleetBreakerError::Rejected(rejected) = rejected else { panic!("{rejected:?}") };
    assert_eq!((rejected.by, &*rejected.breaker), (RefusedBy::Node, "judged"));
    assert!(rejected.retry_after.unwrap() > Duration::from_secs(50));
    assert_eq!(rejected.to_string(), "the breaker \"judged\" is open");

    let slow = Trip::SlowRate { over: ms(20), percent: 100, calls: 2 };
    let breaker = builder().trips([slow]).build().unwrap();
    for _ in 0..2 {
        let result = breaker.execute(async {
            tokio::time::sleep(ms(25)).await;
            Ok(())
        });
        result.await.unwrap();
    }
    assert!(matches!(breaker.state().local, BreakerState::Open { .. }));
}

#[tokio::test]
async fn a_slow_probe_is_a_failed_one() {
    let server = Server::start().await.unwrap();
    let shop = Space::own([&server], "shop");
    let redis = patient(&server.url());
    let slow = Trip::SlowRate { over: ms(30), percent: 100, calls: 50 };
    let builder = node(&redis, &shop, "a").trips([Trip::Consecutive(3), slow]);
    let breaker = builder.build().unwrap();
    joined(&breaker).await;
    open(std::slice::from_ref(&breaker)).await;
    for given_up in [false, true] {
        ripe(&breaker).await;
        let generation = breaker.state().generation;
        let probe = breaker.acquire().await.unwrap();
        tokio::time::sleep(ms(35)).await;
        if given_up {
            drop(probe);
        } else {
            probe.success();
        }
        becomes(&breaker, is_open).await;
        assert_ne!(breaker.state().generation, generation);
    }
}

#[tokio::test]
async fn what_ends_late_does_not_count_in_the_next_generation() {
    let server = Server::start().await.unwrap();
    let shop = Space::own([&server], "shop");
    let redis = patient(&server.url());
    let breaker = node(&redis, &shop, "a").build().unwrap();
    joined(&breaker).await;
    let late: Vec<_> = [(); 5].map(|()| breaker.acquire()).into_iter().collect();
    let mut permits = Vec::new();
    for acquire in late {
        permits.push(acquire.await.unwrap());
    }
    breaker.reset().await.unwrap();
    permits.into_iter().for_each(FleetPermit::failure);
    assert_eq!(breaker.state().local, BreakerState::Closed);
    breaker.acquire().await.unwrap().success();
    // And failures of this one do.
    open(std::slice::from_ref(&breaker)).await;
}

#[tokio::test]
async fn options_that_can_not_be_are_named() {
    let ok = || node(&nowhere(), &shop(), "a");
    for (builder, field) in [
        (node(&nowhere(), &shop(), ""), "node"),
        (node(&nowhere(), &shop(), &"n".repeat(65)), "node"),
        (FleetBreaker::builder(&nowhere(), &shop(), "", "a"), "name"),
        (ok().trips([]), "trips"),
        (ok().window(ms(1)), "window"),
        (ok().open_for(ms(9)), "open_for"),
        (ok().probes(0), "probes"),
        (ok().probes(101), "probes"),
        (ok().close_after(0), "close_after"),
        (ok().probe_within(ms(9)), "probe_within"),
        (ok().heartbeat(ms(19)), "heartbeat"),
        (ok().budget(Duration::ZERO), "budget"),
    ] {
        let Err(error) = builder.build() else { panic!("{field}") };
        let text = error.to_string();
        assert!(text.starts_with(&format!("{field}: ")) && text.contains("allowed"), "{text}");
        assert!(!error.is_retryable());
    }
    let outside = std::thread::spawn(|| node(&nowhere(), &shop(), "a").build().map(drop));
    let error = outside.join().unwrap().unwrap_err();
    assert!(matches!(error, Error::Config { field: "runtime", .. }), "{error}");
}
