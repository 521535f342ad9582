//! `cargo xtask bench cluster`: a command and a script whose keys are all over a cluster of three, beside the clients of
//! clusters below.

use bytes::Bytes;
use fred::{
    interfaces::{KeysInterface, LuaInterface},
    prelude::{Client, ClientLike},
};
use redis::cluster_async::ClusterConnection;
use russet_benchmarks::{
    Ops, Result, Side, Suite, resident,
    rivals::{self, FRED_CLUSTERED, REDIS_RS_CLUSTER, RUSSET},
    workload::{LIFE, SCRIPT, TEXT, VALUE, counted, same_length},
};
use russet_core_conn::{Cmd, Key, Redis};
use russet_testkit::Cluster;
use std::{
    iter,
    process::ExitCode,
    sync::{Arc, LazyLock},
};

/// Three in four slots have one of them.
static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    (0..24_000).map(|number| &*format!("bench:cluster:{number}").leak()).collect()
});

/// The counters are other keys than the values.
static COUNTERS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| KEYS.iter().map(|key| &*format!("{key}:count").leak()).collect());

fn main() -> ExitCode {
    Suite::main("cluster", async |suite| {
        let cluster = Cluster::start(3, 0).await?;
        let nodes = nodes(&cluster);
        memory(suite, &cluster).await?;
        let russet = Redis::connect(&cluster.url()).await?;
        russet.ready().await?;
        let fred = rivals::fred_clustered(&nodes).await?;
        let twin = rivals::fred_clustered(&nodes).await?;
        let redis_rs = rivals::redis_rs_cluster(&nodes).await?;
        for some in KEYS.chunks(1_000) {
            let sets = some.iter().map(|key| {
                Cmd::idempotent("SET").key(&Key::raw(*key)).arg(Bytes::from_static(&VALUE))
            });
            for set in russet.pipeline(sets).await {
                set?;
            }
        }
        let sha: String = fred.script_load_cluster(TEXT).await?;

        // The same against the same: what the harness calls a difference where there is none.
        for tasks in [64, 256] {
            let (a, b) = (("fred", fred_get(&fred)), ("fred, the same", fred_get(&twin)));
            suite.row(named("a/a get", tasks)).tasks(tasks).run(a, b).await?;
        }
        let floors = if OVER_FRED { [0.95, 0.80, 0.95] } else { [0.0, 1.1, 1.5] };
        for (tasks, floor) in [1, 64, 256].into_iter().zip(floors) {
            let (ours, other) = ((RUSSET, russet_get(&russet)), (FRED_CLUSTERED, fred_get(&fred)));
            let row = suite.row(named("get", tasks)).tasks(tasks).floor(asked(floor));
            row.run(ours, other).await?;
        }
        for tasks in [64, 256] {
            let ours = (RUSSET, russet_script(&russet));
            let other = (FRED_CLUSTERED, fred_script(&fred, &sha));
            let row = suite.row(named("evalsha", tasks)).tasks(tasks).floor(Some(1.25));
            row.run(ours, other).await?;
        }
        // What is promised against this one is promised of the link over the same client.
        let floors = if OVER_FRED { [0.0, 0.0] } else { [1.7, 2.5] };
        for (tasks, floor) in [64, 256].into_iter().zip(floors) {
            let ours = (RUSSET, russet_get(&russet));
            let other = (REDIS_RS_CLUSTER, redis_rs_get(&redis_rs));
            let name = if OVER_FRED { "fred peer get" } else { "peer get" };
            let row = suite.row(format!("{name} {tasks}")).tasks(tasks).floor(asked(floor));
            row.run(ours, other).await?;
        }
        russet.close().await;
        fred.quit().await?;
        twin.quit().await?;
        Ok(())
    })
}

/// It is built for either link by itself, as a program that has chosen one is.
const OVER_FRED: bool = cfg!(feature = "fred");

fn named(workload: &str, tasks: usize) -> String {
    let link = if OVER_FRED { "fred" } else { "redis-rs" };
    format!("{link} {workload} {tasks}")
}

/// A floor of 0 only reports.
fn asked(floor: f64) -> Option<f64> {
    (floor > 0.0).then_some(floor)
}

fn nodes(cluster: &Cluster) -> Vec<(String, u16)> {
    cluster.nodes().iter().map(|node| ("127.0.0.1".to_owned(), node.port())).collect()
}

/// What one more connection to a node takes while it does nothing, in the first round: later ones find memory that the
/// round before has left.
async fn memory(suite: &mut Suite, cluster: &Cluster) -> Result {
    const ROW: &str = if OVER_FRED {
        "memory of an idle connection"
    } else {
        "memory of an idle connection over redis-rs"
    };
    const EACH: usize = 16;
    static DONE: std::sync::Once = std::sync::Once::new();
    if DONE.is_completed() || !suite.runs(ROW) {
        return Ok(());
    }
    DONE.call_once(|| {});
    let (nodes, mut kept, mut pairs) = (nodes(cluster), Vec::new(), Vec::new());
    let each = |from: f64, to: f64| (to - from) / (EACH * nodes.len()) as f64;
    // The first of each pays for much that is there once.
    for pair in 0..6 {
        let before = resident()?;
        let ours = Redis::builder(&cluster.url()).connections(EACH).build()?;
        ours.ready().await?;
        let between = resident()?;
        let mut theirs = Vec::new();
        for _ in 0..EACH {
            theirs.push(rivals::fred_clustered(&nodes).await?);
        }
        let after = resident()?;
        kept.push((ours, theirs));
        if pair > 0 {
            pairs.push([each(before, between), each(between, after)]);
        }
    }
    suite.memory(ROW, FRED_CLUSTERED, pairs);
    for (ours, theirs) in kept {
        ours.close().await;
        for client in theirs {
            client.quit().await?;
        }
    }
    Ok(())
}

/// Each task its own way through all of them, by a step that has no divisor in common with their number.
fn walk<T>(all: &[T], ops: &Ops) -> impl Iterator<Item = usize> + use<T> {
    let (length, first) = (all.len(), ops.task() * 7_919 % all.len());
    iter::successors(Some(first), move |at| Some((at + 7_717) % length))
}

/// The next of them.
fn next<'a, T>(all: &'a [T], walk: &mut impl Iterator<Item = usize>) -> &'a T {
    &all[walk.next().unwrap_or_default()]
}

fn keys(names: &[&'static str]) -> Arc<[Key]> {
    names.iter().map(|name| Key::raw(*name)).collect()
}

fn russet_get(redis: &Redis) -> impl Side {
    let (redis, keys) = (redis.clone(), keys(&KEYS));
    move |mut ops: Ops| {
        let (redis, keys) = (redis.clone(), Arc::clone(&keys));
        async move {
            let mut walk = walk(&keys, &ops);
            while ops.next() {
                let get = Cmd::read("GET").key(next(&keys, &mut walk));
                same_length(redis.run(get).await?)?;
            }
            Ok(())
        }
    }
}

fn fred_get(client: &Client) -> impl Side {
    let client = client.clone();
    move |mut ops: Ops| {
        let client = client.clone();
        async move {
            let mut walk = walk(&KEYS, &ops);
            while ops.next() {
                same_length(client.get(*next(&KEYS, &mut walk)).await?)?;
            }
            Ok(())
        }
    }
}

fn redis_rs_get(connection: &ClusterConnection) -> impl Side {
    let connection = connection.clone();
    move |mut ops: Ops| {
        let mut connection = connection.clone();
        async move {
            let mut walk = walk(&KEYS, &ops);
            while ops.next() {
                let mut get = redis::cmd("GET");
                get.arg(*next(&KEYS, &mut walk));
                same_length(get.query_async(&mut connection).await?)?;
            }
            Ok(())
        }
    }
}

fn russet_script(redis: &Redis) -> impl Side {
    let (redis, keys) = (redis.clone(), keys(&COUNTERS));
    move |mut ops: Ops| {
        let (redis, keys) = (redis.clone(), Arc::clone(&keys));
        async move {
            let mut walk = walk(&keys, &ops);
            while ops.next() {
                let key = next(&keys, &mut walk);
                counted(redis.script(SCRIPT.key(key).arg(LIFE)).await?)?;
            }
            Ok(())
        }
    }
}

fn fred_script(client: &Client, sha: &str) -> impl Side {
    let (client, sha) = (client.clone(), Arc::<str>::from(sha));
    move |mut ops: Ops| {
        let (client, sha) = (client.clone(), Arc::clone(&sha));
        async move {
            let mut walk = walk(&COUNTERS, &ops);
            while ops.next() {
                let key = *next(&COUNTERS, &mut walk);
                counted(client.evalsha(&*sha, key, LIFE).await?)?;
            }
            Ok(())
        }
    }
}
