//! What it is worth, on a trace in a time of its own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use russet_testkit::soak::{record, seed};
use russet_testkit::trace::{Chance, Zipf};

use super::AdaptiveTtl;
use crate::access::{Access, Insight};
use crate::optimizer::{Limits, Remedy, Report};
use crate::stats::Stats;

const KEYS: u64 = 20_000;

/// Lookups a second.
const RATE: f64 = 20.0;

/// What a cache has done, in thousandths of the lookups, lookups and seconds.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    hits: u64,
    calls: u64,
    /// How many entries there were on average.
    entries: u64,
    /// How old the values were that were hit, on average.
    age: u64,
}

/// Each key with the TTL that this gives it when it is loaded; nothing is evicted.
fn replay(trace: &[u64], mut ttl: impl FnMut(&Insight, &[u8], f64) -> Duration) -> Outcome {
    let (insight, begun) = (Insight::new(Access::default()), Instant::now());
    let mut held: HashMap<u64, (f64, f64)> = HashMap::new();
    let [mut hits, mut age, mut kept] = [0.0; 3];
    for (at, key) in trace.iter().enumerate() {
        let now = at as f64 / RATE;
        let name = format!(":{key}");
        if at.is_multiple_of(200) {
            insight.decay(Duration::from_secs_f64(200.0 / RATE));
        }
        let loaded = held.get(key).filter(|(_, until)| now < *until).map(|(loaded, _)| *loaded);
        insight.far(name.as_bytes(), loaded.is_none(), begun + Duration::from_secs_f64(now));
        match loaded {
            Some(loaded) => {
                hits += 1.0;
                age += now - loaded;
            }
            None => {
                let ttl = ttl(&insight, name.as_bytes(), now).as_secs_f64();
                kept += ttl.min(trace.len() as f64 / RATE - now);
                held.insert(*key, (now, now + ttl));
            }
        }
    }
    let lookups = trace.len() as f64;
    let whole = crate::access::whole;
    Outcome {
        hits: whole(hits * 1_000.0 / lookups),
        calls: whole(lookups - hits),
        entries: whole(kept * RATE / lookups),
        age: whole(age / hits),
    }
}

/// The one that has as many entries as another outcome.
fn fixed_like(trace: &[u64], entries: u64) -> (Duration, Outcome) {
    let (mut least, mut most) = (1.0, 7_200.0);
    loop {
        let ttl = Duration::from_secs_f64((least + most) / 2.0);
        let outcome = replay(trace, |_, _, _| ttl);
        if outcome.entries.abs_diff(entries) * 200 <= entries || most - least < 1.0 {
            return (ttl, outcome);
        }
        if outcome.entries < entries { least = ttl.as_secs_f64() } else { most = ttl.as_secs_f64() }
    }
}

/// It begins with 300 s, and each quarter of an hour what the optimizer advises is done. And the last TTL.
fn advised(trace: &[u64]) -> (Outcome, Duration) {
    let (every, mut until, mut misses) = (900.0, 900.0, 0);
    let mut kept = Duration::from_secs(300);
    let outcome = replay(trace, |_, _, now| {
        if now >= until {
            let lookups = crate::access::whole(every * RATE);
            let stats = Stats { hits: lookups - misses, misses, fills: misses, ..Stats::default() };
            let interval = Some(Duration::from_secs_f64(every));
            let report = Report { interval, stats, evicted: Some(0), ..Report::default() };
            let advice = Limits::default().advise(&report, Some(kept));
            if let Some(Remedy::Ttl(ttl)) = advice.first().and_then(|advice| advice.change) {
                kept = ttl;
            }
            (until, misses) = (until + every, 0);
        }
        misses += 1;
        kept
    });
    (outcome, kept)
}

#[test]
fn what_the_optimizer_advises_makes_more_hits() {
    compare_advised(60_000);
}

#[test]
#[ignore = "soak"]
fn soak_replay_optimizer() {
    let lookups = 500_000;
    let figures = compare_advised(lookups);
    record(
        "replay-optimizer",
        "none",
        &[("lookups", lookups as u64), ("keys", KEYS)],
        &[],
        &figures,
    );
}

fn compare_advised(lookups: usize) -> Vec<(&'static str, u64)> {
    let trace: Vec<u64> = Zipf::new(KEYS, 0.8, seed()).take(lookups).collect();
    let without = replay(&trace, |_, _, _| Duration::from_secs(300));
    let (with, ttl) = advised(&trace);
    let figures = vec![
        ("hit_permille_without", without.hits),
        ("hit_permille_with", with.hits),
        ("origin_calls_without", without.calls),
        ("origin_calls_with", with.calls),
        ("entries_without", without.entries),
        ("entries_with", with.entries),
        ("age_s_without", without.age),
        ("age_s_with", with.age),
        ("last_ttl_s", ttl.as_secs()),
    ];
    println!("{figures:?}");
    assert!(with.hits > without.hits && ttl > Duration::from_secs(300), "{figures:?}");
    figures
}

fn compare(lookups: usize) -> Vec<(String, u64)> {
    let zipf = || Zipf::new(KEYS, 1.0, seed());
    // Half of it are keys that nobody asks for again.
    let (mut popular, mut chance) = (zipf(), Chance(seed()));
    let scanning = (0..).map(|at| {
        if chance.share() < 0.5 { KEYS + at } else { popular.next().unwrap_or_default() }
    });
    let mut figures = Vec::new();
    for (name, trace) in [
        ("zipf", zipf().take(lookups).collect::<Vec<_>>()),
        ("scanning", scanning.take(lookups).collect()),
    ] {
        let adaptive =
            replay(&trace, |insight, name, _| AdaptiveTtl::default().ttl(insight.count(name)));
        let (ttl, like) = fixed_like(&trace, adaptive.entries);
        let outcomes = [
            ("fixed_300", replay(&trace, |_, _, _| Duration::from_secs(300))),
            ("adaptive", adaptive),
            ("fixed_as_many_entries", like),
            ("fixed_3600", replay(&trace, |_, _, _| Duration::from_secs(3_600))),
        ];
        for (kind, outcome) in outcomes {
            for (what, figure) in [
                ("hit_permille", outcome.hits),
                ("origin_calls", outcome.calls),
                ("entries", outcome.entries),
                ("age_s", outcome.age),
            ] {
                figures.push((format!("{name}_{kind}_{what}"), figure));
            }
        }
        figures.push((format!("{name}_fixed_as_many_entries_ttl_s"), ttl.as_secs()));
        let [short, adaptive, like, long] = outcomes.map(|(_, outcome)| outcome);
        assert!(short.hits < adaptive.hits && adaptive.hits < long.hits, "{outcomes:?}");
        assert!(adaptive.calls <= like.calls, "{outcomes:?}");
    }
    println!("{figures:?}");
    figures
}

#[test]
fn it_hits_more_than_a_fixed_one_of_as_many_entries() {
    compare(20_000);
}

#[test]
#[ignore = "soak"]
fn soak_replay_adaptive_ttl() {
    let lookups = 1_000_000;
    let figures = compare(lookups);
    let figures: Vec<(&str, u64)> =
        figures.iter().map(|(name, figure)| (name.as_str(), *figure)).collect();
    record(
        "replay-adaptive-ttl",
        "none",
        &[("lookups", lookups as u64), ("keys", KEYS)],
        &[],
        &figures,
    );
}
