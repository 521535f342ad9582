//! What an operator sees of limits and breakers: each metric of the docs' table, as it stands there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use russet_core_conn::Redis;
use russet_ratelimit::adaptive::Adaptive;
use russet_ratelimit::composite::{Endpoint, Priority};
use russet_ratelimit::{Leasing, Limiter, Outage, Quota, Source};
use russet_testkit::Server;

use crate::fleet_breaker::support::{
    Node, becomes, is_closed, is_open, joined, node, open, refused, ripe,
};
use crate::support::{Space, patient};

const DOCS: &str = include_str!("../../src/lib.rs");
const HOUR: Duration = Duration::from_secs(3_600);

/// A row of the table: the words of its last column are keys of labels and their values.
#[derive(Debug)]
struct Row {
    names: Vec<&'static str>,
    kind: &'static str,
    words: BTreeSet<&'static str>,
}

/// What is between backticks, but for links.
fn words(cell: &'static str) -> impl Iterator<Item = &'static str> {
    let parts: Vec<_> = cell.split('`').collect();
    (1..parts.len())
        .step_by(2)
        .filter(|at| !parts[at - 1].ends_with('['))
        .map(|at| parts[at])
        .collect::<Vec<_>>()
        .into_iter()
}

fn documented() -> Vec<Row> {
    let rows = DOCS.lines().filter(|line| line.starts_with("//! | `russet_"));
    let row = |line: &'static str| {
        let [_, names, kind, labels, _] = line.split('|').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        Row { names: words(names).collect(), kind: kind.trim(), words: words(labels).collect() }
    };
    rows.map(row).collect()
}

/// A metric's kind, and the keys and values of its labels.
type Seen = (&'static str, BTreeSet<String>, BTreeSet<String>);

fn seen(snapshots: &Snapshotter) -> BTreeMap<String, Seen> {
    let mut seen = BTreeMap::<String, Seen>::new();
    for (key, _, _, value) in snapshots.snapshot().into_vec() {
        let kind = match value {
            DebugValue::Counter(count) => {
                assert!(count > 0, "{key:?}");
                "counter"
            }
            DebugValue::Gauge(_) => "gauge",
            DebugValue::Histogram(_) => "histogram",
        };
        let (_, keys, values) = seen.entry(key.key().name().to_owned()).or_insert((
            kind,
            BTreeSet::new(),
            BTreeSet::new(),
        ));
        for label in key.key().labels() {
            keys.insert(label.key().to_owned());
            values.insert(label.value().to_owned());
        }
    }
    seen
}

/// One test, because a recorder is the process's.
#[tokio::test]
async fn each_metric_is_told_as_the_table_says() {
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    recorder.install().unwrap();
    let server = Server::start().await.unwrap();
    let space = Space::own([&server], "observed");
    let redis = patient(&server.url());
    let limiter = Limiter::options(&redis, &space)
        .budget(Duration::from_secs(10))
        .heartbeat(Duration::from_millis(20))
        .build()
        .unwrap();
    decided(&limiter).await;
    adapted(&limiter).await;
    probed(&redis, &space, &limiter).await;
    space.hygiene().await;
    away(&server, &space).await;

    let (documented, mut seen) = (documented(), seen(&snapshots));
    assert_eq!(documented.len(), 9);
    for Row { names, kind, words } in documented {
        for name in names {
            let (told, keys, values) = seen.remove(name).unwrap_or_else(|| panic!("no {name}"));
            assert!(kind == told || kind == format!("{told}s"), "{name} is a {told}");
            for word in &words {
                assert!(keys.contains(*word) || values.contains(*word), "{name}: no {word}");
            }
            for key in keys {
                assert!(words.contains(&*key), "{name}: {key} is not documented");
            }
        }
    }
    // The others are of the core.
    seen.retain(|name, _| name.contains("ratelimit") || name.contains("fleet"));
    assert!(seen.is_empty(), "not documented: {seen:?}");
}

/// In each way in which Redis or the process decides.
async fn decided(limiter: &Limiter) {
    let one = Quota::fixed(1, HOUR).unwrap();
    let shadow = limiter.builder("shadow", one).shadow(true).build().unwrap();
    let denied = limiter.builder("denied", one).cache_denials(HOUR).build().unwrap();
    for _ in 0..3 {
        shadow.check("u").await.unwrap();
        denied.check("u").await.unwrap();
    }
    denied.lists().allow("friend");
    denied.check("friend").await.unwrap();

    let classes = Priority::builder(limiter, "class", HOUR).class("high", 1).class("low", 1);
    let classes = classes.shed(0, 0).build().unwrap();
    for class in ["high", "low"] {
        classes.check(class, "u").await.unwrap();
    }

    let leased = limiter.builder("leased", Quota::bucket()).leased(Leasing::new()).build().unwrap();
    while leased.check("u").await.unwrap().source != Source::Lease {}
}

async fn adapted(limiter: &Limiter) {
    let quota = |limit| Quota::fixed(limit, HOUR);
    let limit = limiter.limit("adaptive", quota(1).unwrap()).unwrap();
    let adaptive = Adaptive::builder(&limit, quota)
        .every(Duration::from_millis(10))
        .signal(|| Some(1.0))
        .build()
        .unwrap();
    adaptive.events().next().await.unwrap();
}

/// Probes that end in each way, and an endpoint behind the open breaker.
async fn probed(redis: &Redis, space: &Space, limiter: &Limiter) {
    let nodes: [Node; 2] =
        ["a", "b"].map(|name| node(redis, space, name).probes(2).build().unwrap());
    for node in &nodes {
        joined(node).await;
    }
    open(&nodes).await;
    let endpoint = Endpoint::builder(limiter, "search").unwrap().behind(&nodes[0]).build().unwrap();
    assert_eq!(endpoint.check("u").await.unwrap().source, Source::Breaker);
    refused(&nodes[0]).await;

    ripe(&nodes[0]).await;
    let [failed, late] = [nodes[0].acquire().await.unwrap(), nodes[0].acquire().await.unwrap()];
    failed.failure();
    becomes(&nodes[0], is_open).await;
    ripe(&nodes[0]).await;
    let [ok, given_up] = [nodes[0].acquire().await.unwrap(), nodes[0].acquire().await.unwrap()];
    drop(given_up);
    late.success();
    ok.success();
    becomes(&nodes[0], is_closed).await;
    for node in nodes {
        // What probes have found is told before that.
        node.shutdown().await.unwrap();
    }
}

/// Redis is gone.
async fn away(server: &Server, space: &Space) {
    let redis = Redis::builder(&server.url()).build().unwrap();
    let limiter = Limiter::new(&redis, space);
    let local = limiter.limit("local", Quota::bucket()).unwrap();
    let exact = limiter.builder("exact", Quota::bucket()).on_outage(Outage::Error).build().unwrap();
    local.check("u").await.unwrap();
    server.kill().await.unwrap();
    while !limiter.is_away() {
        local.check("u").await.unwrap();
    }
    exact.check("u").await.unwrap_err();
}
