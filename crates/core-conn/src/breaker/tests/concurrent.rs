//! Thousands of tasks at once.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;

use super::*;

/// Probes under way, by the stay in half-open that let them through.
#[derive(Debug, Default)]
struct Probing(Mutex<HashMap<u64, (u32, u32)>>);

impl Probing {
    fn begins(&self, generation: u64) {
        let mut probing = self.0.lock().unwrap();
        let (now, most) = probing.entry(generation).or_default();
        *now += 1;
        *most = (*most).max(*now);
    }

    fn ends(&self, generation: u64) {
        self.0.lock().unwrap().get_mut(&generation).unwrap().0 -= 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_more_probes_at_once_than_it_says() {
    const TASKS: u64 = 2_000;
    const PROBES: u32 = 3;
    let (breaker, clock) = third(|builder| {
        builder.probes(PROBES).close_after(4).open_for(Backoff::constant(ms(1)).jitter(0.0))
    });
    let probing = Arc::new(Probing::default());
    let (made, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (breaker, clock, probing) = (breaker.clone(), clock.clone(), probing.clone());
            let (made, refused) = (made.clone(), refused.clone());
            tokio::spawn(async move {
                let mut turn = 0;
                while turn < 5 {
                    let Ok(permit) = breaker.try_acquire() else {
                        refused.fetch_add(1, SeqCst);
                        clock.advance(Duration::from_micros(20));
                        tokio::task::yield_now().await;
                        continue;
                    };
                    turn += 1;
                    made.fetch_add(1, SeqCst);
                    let probe = permit.is_probe().then_some(permit.ticket().generation);
                    if let Some(generation) = probe {
                        probing.begins(generation);
                    }
                    tokio::task::yield_now().await;
                    // Before its place is free for another.
                    if let Some(generation) = probe {
                        probing.ends(generation);
                    }
                    match (task * 31 + turn * 17) % 16 {
                        0..4 => drop(permit),
                        4 => permit.ignore(),
                        // Closed it soon opens, half-open it is soon decided.
                        5..8 => permit.failure(),
                        _ if probe.is_none() => permit.failure(),
                        _ => permit.success(),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let probing = probing.0.lock().unwrap();
    let most = probing.values().map(|(_, most)| *most).max();
    assert!(probing.values().all(|(now, most)| *now == 0 && *most <= PROBES), "{most:?} at once");
    // It has been everywhere, and often.
    assert_eq!(most, Some(PROBES));
    assert!(probing.len() > 100, "half-open {} times", probing.len());
    let (made, refused) = (made.load(SeqCst), refused.load(SeqCst));
    assert!(made == 5 * TASKS && refused > made, "{made} made, {refused} refused");
}

#[test]
fn it_opens_once_whoever_fails_at_the_same_time() {
    const ROUNDS: u64 = 200;
    let (breaker, clock) = third(|builder| builder.trips([Trip::Consecutive(1)]).close_after(1));
    let mut events = breaker.events();
    let [ready, go, done, next] = [const { AtomicU64::new(0) }; 4];
    let wait = |what: &AtomicU64, round| {
        while what.load(SeqCst) < round {
            std::thread::yield_now();
        }
    };
    let mut opened = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                let permit = breaker.try_acquire().unwrap();
                ready.store(round, SeqCst);
                wait(&go, round);
                permit.failure();
                done.store(round, SeqCst);
                wait(&next, round);
            }
        });
        for round in 1..=ROUNDS {
            let permit = breaker.try_acquire().unwrap();
            wait(&ready, round);
            go.store(round, SeqCst);
            permit.failure();
            wait(&done, round);
            clock.advance(ms(60_000));
            breaker.try_acquire().unwrap().success();
            let changes = heard(&mut events);
            opened += changes.iter().filter(|event| event.from == BreakerState::Closed).count();
            next.store(round, SeqCst);
        }
    });
    assert_eq!(opened as u64, ROUNDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failure_is_counted() {
    const TASKS: u32 = 64;
    let most = TASKS * 100;
    let trips = [Trip::Failures(most), Trip::FailureRate { percent: 100, calls: most + 1 }];
    let (breaker, _clock) = third(|builder| builder.trips(trips));
    let fails = |times: u32| {
        let breaker = breaker.clone();
        tokio::spawn(async move {
            for _ in 0..times {
                fail(&breaker, 1);
                tokio::task::yield_now().await;
            }
        })
    };
    let tasks: Vec<_> = (0..TASKS).map(|task| fails(if task == 0 { 99 } else { 100 })).collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    fail(&breaker, 1);
    assert!(matches!(breaker.state(), BreakerState::Open { .. }));
}
