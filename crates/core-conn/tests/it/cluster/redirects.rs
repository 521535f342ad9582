//! What servers answer in place of a reply.

use std::sync::Arc;
use std::time::{Duration, Instant};

use russet_core_conn::{Cmd, Key, Script, SendOutcome, ServerError, Value};
use russet_testkit::{Cluster, Server};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{connected, conns, count, key};
use crate::support::{clients, ms, patient, until};

/// Another primary than this one.
fn other(cluster: &Cluster, than: &Server) -> Arc<Server> {
    cluster.nodes().into_iter().find(|node| node.port() != than.port()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_that_meet_one_moved_slot_ask_once() {
    const TASKS: usize = 1_000;
    let cluster = Cluster::start(3, 0).await.unwrap();
    let redis = connected(&cluster).await;
    let () = redis.run(Cmd::idempotent("SET").key(&key(1)).arg(1)).await.unwrap();
    let slot = key(1).slot();
    let from = cluster.primary_of(slot).await.unwrap();
    cluster.reshard([slot], &from, &other(&cluster, &from)).await.unwrap();
    let mut conns = conns(&cluster).await;
    let (shards, opened) = ("cmdstat_cluster|shards:calls=", "total_connections_received:");
    let asked = count(&mut conns, "commandstats", shards).await;
    let connections = count(&mut conns, "stats", opened).await;

    // All are on their way before the first one is answered.
    from.pause().await.unwrap();
    let barrier = Arc::new(Barrier::new(TASKS + 1));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (redis, barrier) = (redis.clone(), barrier.clone());
        tasks.spawn(async move {
            barrier.wait().await;
            redis.run::<i64>(Cmd::read("GET").key(&key(1))).await.unwrap()
        });
    }
    barrier.wait().await;
    tokio::time::sleep(ms(200)).await;
    from.resume().await.unwrap();
    while let Some(found) = tasks.join_next().await {
        assert_eq!(found.unwrap(), 1);
    }
    // A second one would have begun by then.
    tokio::time::sleep(ms(500)).await;
    let moved = count(&mut conns, "errorstats", "errorstat_MOVED:count=").await;
    assert!(moved >= 900, "only {moved} were sent on");
    assert_eq!(count(&mut conns, "commandstats", shards).await - asked, 1);
    assert_eq!(count(&mut conns, "stats", opened).await - connections, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_one_after_the_other_are_not_asked_for_one_by_one() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let redis = connected(&cluster).await;
    let from = cluster.primary_of(key(0).slot()).await.unwrap();
    let view = cluster.view(&from).await.unwrap();
    let owner = |slot| view.owner(slot).map(|node| node.port);
    let here = |key: &Key| owner(key.slot()) == Some(from.port());
    let names: Vec<Key> = (0..).map(key).filter(here).take(60).collect();
    for name in &names {
        let () = redis.run(Cmd::idempotent("SET").key(name).arg(1)).await.unwrap();
    }
    let mut conns = conns(&cluster).await;
    let (shards, moved) = ("cmdstat_cluster|shards:calls=", "errorstat_MOVED:count=");
    let asked = count(&mut conns, "commandstats", shards).await;

    let (to, begun) = (other(&cluster, &from), Instant::now());
    for name in &names {
        cluster.reshard([name.slot()], &from, &to).await.unwrap();
        assert_eq!(redis.run::<i64>(Cmd::read("GET").key(name)).await.unwrap(), 1);
    }
    let most = 2 + begun.elapsed().as_millis() / 100;
    let moved = count(&mut conns, "errorstats", moved).await;
    assert!(u128::from(moved) > 2 * most, "only {moved} were sent on, in {:?}", begun.elapsed());
    let asked = count(&mut conns, "commandstats", shards).await - asked;
    assert!(u128::from(asked) <= most, "{asked} refreshes in {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_keys_of_a_slot_on_its_way_wait_for_it_within_their_deadline() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let redis = connected(&cluster).await;
    let (a, b) = (Key::raw("{t}:a"), Key::raw("{t}:b"));
    for name in [&a, &b] {
        let () = redis.run(Cmd::idempotent("SET").key(name).arg(1)).await.unwrap();
    }
    let add = Script::new(
        "add",
        "for _, key in ipairs(KEYS) do redis.call('INCR', key) end return redis.call('GET', KEYS[1])",
    );
    let from = cluster.primary_of(a.slot()).await.unwrap();
    let open = cluster.open_slots([a.slot()], &from, &other(&cluster, &from)).await.unwrap();
    assert!(open.move_key("{t}:a").await.unwrap());

    let begun = Instant::now();
    let brief = redis.with_deadline(ms(600));
    let error = brief.script::<i64>(add.key(&a).key(&b)).await.unwrap_err();
    assert_eq!(error.server(), Some(&ServerError::TryAgain), "{error}");
    assert_eq!(error.outcome(), SendOutcome::Rejected);
    let took = begun.elapsed();
    assert!((ms(100)..ms(800)).contains(&took), "{took:?}");
    // One key is in one place or the other.
    for (name, expected) in [(&a, 2), (&b, 2), (&a, 3)] {
        assert_eq!(redis.script::<i64>(add.key(name)).await.unwrap(), expected);
    }

    let patient = redis.with_deadline(Duration::from_secs(10));
    let (first, second) = (a.clone(), b.clone());
    let waits = tokio::spawn(async move {
        let add =
            Script::new("add", "redis.call('INCR', KEYS[2]) return redis.call('INCR', KEYS[1])");
        patient.script::<i64>(add.key(&first).key(&second)).await
    });
    tokio::time::sleep(ms(200)).await;
    assert!(!waits.is_finished());
    open.move_keys().await.unwrap();
    open.assign().await.unwrap();
    assert_eq!(waits.await.unwrap().unwrap(), 4);
    assert_eq!(redis.run::<i64>(Cmd::read("GET").key(&b)).await.unwrap(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pipeline_meets_every_state_of_a_slot_and_keeps_its_order() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let redis = connected(&cluster).await;
    let names: Vec<Key> = (0..10).map(|n| Key::raw(format!("{{t}}:{n}"))).collect();
    let all = || (0..40).map(key).chain(names.iter().cloned());
    for (n, name) in all().enumerate() {
        let () = redis.run(Cmd::idempotent("SET").key(&name).arg(n)).await.unwrap();
    }
    let read = async || {
        let replies = redis.pipeline(all().map(|name| Cmd::read("GET").key(&name))).await;
        for (n, reply) in replies.into_iter().enumerate() {
            let found = reply.unwrap();
            assert_eq!(found, Value::Bytes(n.to_string().into()));
        }
    };
    read().await;
    let from = cluster.primary_of(names[0].slot()).await.unwrap();
    let open = cluster.open_slots([names[0].slot()], &from, &other(&cluster, &from)).await.unwrap();
    for n in 0..5 {
        assert!(open.move_key(format!("{{t}}:{n}")).await.unwrap());
    }
    read().await;
    open.move_keys().await.unwrap();
    open.assign().await.unwrap();
    read().await;
    assert!(redis.close().await.is_clean());
}

/// The map does not name the node, until somebody is sent there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_nobody_has_heard_of_is_asked_and_left_with_the_others() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let redis = patient(&cluster.url()).connection_name("asks").build().unwrap();
    let () = redis.run(Cmd::idempotent("SET").key(&key(1)).arg(7)).await.unwrap();
    let from = cluster.primary_of(key(1).slot()).await.unwrap();
    let new = cluster.add_node().await.unwrap();
    let open = cluster.open_slots([key(1).slot()], &from, &new).await.unwrap();
    assert!(open.move_key("k:1").await.unwrap());
    for _ in 0..20 {
        assert_eq!(redis.run::<i64>(Cmd::read("GET").key(&key(1))).await.unwrap(), 7);
    }
    let mut conn = new.conn().await.unwrap();
    assert_eq!(clients(&mut conn, "asks").await.len(), 1);
    // A transaction that watches is bound to where its key is, and asks there each time.
    let watch = redis.watch(&[key(1)]).await.unwrap();
    let counts = watch.exec([Cmd::write("INCR").key(&key(1))]).await.unwrap();
    assert_eq!(counts, Some(vec![Value::Int(8)]));
    let mut watch = redis.watch(&[key(1)]).await.unwrap();
    assert_eq!(watch.run::<i64>(Cmd::read("GET").key(&key(1))).await.unwrap(), 8);
    let () = redis.run(Cmd::write("INCR").key(&key(1))).await.unwrap();
    assert_eq!(watch.exec([Cmd::write("INCR").key(&key(1))]).await.unwrap(), None);
    assert!(redis.close().await.is_clean());
    until("it is left", async || clients(&mut conn, "asks").await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_script_says_by_itself_leads_nowhere() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let redis = connected(&cluster).await;
    let says = Script::new("says", "return redis.error_reply(ARGV[1])");
    let own = key(1).slot();
    for words in [
        "MOVED 20000 127.0.0.1:1".to_owned(),
        format!("MOVED {} 127.0.0.1:1", (own + 1) % 16_384),
        format!("ASK {} 127.0.0.1:1", (own + 1) % 16_384),
        format!("MOVED {own} nowhere"),
    ] {
        let error = redis.script::<()>(says.key(&key(1)).arg(&words)).await.unwrap_err();
        assert!(error.server().is_some(), "{words}: {error}");
    }
    for n in 0..50 {
        let () = redis.run(Cmd::idempotent("SET").key(&key(n)).arg(n)).await.unwrap();
    }
    // It has written by then, and must not do so again.
    let writes =
        Script::new("writes", "redis.call('INCR', KEYS[1]) return redis.error_reply(ARGV[1])");
    let mut own = redis.dedicated().await.unwrap();
    for (n, words) in ["READONLY x", "LOADING x", "MASTERDOWN x"].into_iter().enumerate() {
        let name = Key::raw(format!("once:{n}"));
        let error = redis.script::<()>(writes.key(&name).arg(words)).await.unwrap_err();
        assert!(error.server().is_some(), "{words}: {error}");
        let error = own.script::<()>(writes.key(&name).arg(words)).await.unwrap_err();
        assert!(error.server().is_some(), "{words}: {error}");
        assert_eq!(redis.run::<i64>(Cmd::read("GET").key(&name)).await.unwrap(), 2, "{words}");
    }
}

/// What a node says while it can't answer: a script that changes nothing says it in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_answered_yet_is_asked_again_with_pauses() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let redis = connected(&cluster).await;
    let body = "#!lua flags=no-writes\n\
                if redis.call('EXISTS', KEYS[1]) == 0 then return redis.error_reply(ARGV[1]) end \
                return tonumber(redis.call('GET', KEYS[1]))";
    let mut conns = conns(&cluster).await;
    let mut asked = async || count(&mut conns, "commandstats", "cmdstat_evalsha:calls=").await;
    for (words, said) in [
        ("LOADING x", ServerError::Loading),
        ("MASTERDOWN x", ServerError::MasterDown),
        ("READONLY x", ServerError::ReadOnly),
    ] {
        let (script, name) = (Script::new("waits", body), Key::raw(words));
        let begun = Instant::now();
        let brief = redis.with_deadline(ms(500));
        let error = brief.script::<i64>(script.key(&name).arg(words)).await.unwrap_err();
        assert_eq!((error.server(), error.outcome()), (Some(&said), SendOutcome::Rejected));
        assert!(begun.elapsed() < ms(800), "{:?}", begun.elapsed());
        let (before, waiting, own) = (asked().await, redis.clone(), name.clone());
        let waits =
            tokio::spawn(async move { waiting.script::<i64>(script.key(&own).arg(words)).await });
        tokio::time::sleep(ms(500)).await;
        let times = asked().await - before;
        assert!((3..=20).contains(&times), "{words}: {times} times in half a second");
        assert!(!waits.is_finished());
        let () = redis.run(Cmd::idempotent("SET").key(&name).arg(7)).await.unwrap();
        assert_eq!(waits.await.unwrap().unwrap(), 7, "{words}");
    }
}

/// With full coverage one dead primary is everybody's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_be_repeated_outlasts_a_cluster_that_is_down() {
    let cluster = Cluster::builder().primaries(3).full_coverage(true).start().await.unwrap();
    let redis = connected(&cluster).await;
    let () = redis.run(Cmd::idempotent("SET").key(&key(1)).arg(7)).await.unwrap();
    let near = cluster.primary_of(key(1).slot()).await.unwrap();
    let dead = other(&cluster, &near);
    dead.kill().await.unwrap();
    let mut conn = near.conn().await.unwrap();
    until("it is down", async || {
        let told = conn.call(&["CLUSTER", "INFO"]).await.unwrap();
        told.text().unwrap().contains("cluster_state:fail")
    })
    .await;
    // What changes something is told, or waits for a cluster that takes it.
    let brief = redis.with_deadline(ms(300));
    let error = brief.run::<i64>(Cmd::write("INCR").key(&key(1))).await.unwrap_err();
    assert!(
        matches!(error.server(), Some(ServerError::ClusterDown))
            || error.outcome() == SendOutcome::NotSent,
        "{error}"
    );
    let patient = redis.with_deadline(Duration::from_secs(20));
    let read = tokio::spawn(async move { patient.run::<i64>(Cmd::read("GET").key(&key(1))).await });
    tokio::time::sleep(ms(300)).await;
    assert!(!read.is_finished());
    dead.restart().await.unwrap();
    assert_eq!(read.await.unwrap().unwrap(), 7);
    cluster.ready().await.unwrap();
    until("writes go on", async || redis.run::<i64>(Cmd::write("INCR").key(&key(1))).await.is_ok())
        .await;
}
