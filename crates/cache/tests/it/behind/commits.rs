//! What is written is committed: merged, in order, and by whoever is there.

use russet_cache::{Patch, WriteBehind};
use russet_core_conn::{Backoff, Segments};
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use super::{Table, buffer, committed, ms, routes};
use crate::support::{route, space};

contract!(writes_of_an_entity_come_to_one);
async fn writes_of_an_entity_come_to_one(at: Topology) {
    let (redis, space) = space(at, "behind-merge").await;
    let buffer = buffer(&redis, &space).build().unwrap();
    let (routes, table) = (routes(&buffer), Table::default());
    table.with(|table| drop(table.rows.insert(3, (1, Some(route(1))))));
    let mut versions = vec![routes.put(&1, &route(1)).await.unwrap()];
    for fare in 2..5 {
        versions.push(routes.put(&1, &route(fare)).await.unwrap());
    }
    versions.push(routes.patch(&1, Patch::new().set("fare", &7)).await.unwrap().unwrap());
    versions.push(routes.patch(&1, Patch::new().set("name", "seven")).await.unwrap().unwrap());
    assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
    // Fields of several patches, over what the database has, and over nothing.
    for key in [2, 3] {
        routes.patch(&key, Patch::new().set("fare", &2).set("name", "a")).await.unwrap();
        routes.patch(&key, Patch::new().set("name", "b")).await.unwrap().unwrap();
    }
    // A delete ends what was before it; what it deletes can't be patched; it can be put again.
    routes.put(&4, &route(4)).await.unwrap();
    routes.delete(&4).await.unwrap();
    assert_eq!(routes.patch(&4, Patch::new().set("fare", &1)).await.unwrap(), None);
    routes.patch(&5, Patch::new().set("fare", &1)).await.unwrap();
    routes.delete(&5).await.unwrap();
    routes.put(&5, &route(5)).await.unwrap();
    let stats = buffer.stats().await.unwrap();
    assert_eq!((stats.pending, stats.retrying, stats.dead, stats.committed), (5, 0, 0, 0));

    let worker = table.work(&routes, &buffer).await;
    committed(&buffer).await;
    table.with(|table| {
        let mut seen: Vec<_> = table.seen.concat();
        seen.sort_unstable();
        let all = [(1, "put"), (2, "patch"), (3, "patch"), (4, "delete"), (5, "put")];
        assert_eq!(seen, all.map(|(key, op)| (key, op, false)));
        assert_eq!(table.rows[&1].0, versions[5]);
    });
    let fares = [1, 2, 3, 4, 5].map(|key| table.row(key).map(|route| (route.fare, route.name)));
    let named = |fare, name: &str| Some((fare, name.to_owned()));
    let expected = [named(7, "seven"), None, named(2, "b"), None, named(5, "route at 5")];
    assert_eq!(fares, expected);
    // Versions go on where the entity is not pending any more.
    assert!(routes.put(&1, &route(8)).await.unwrap() > versions[5]);
    let left = worker.shutdown(ms(10_000)).await;
    assert_eq!((left.undrained, left.buffer.unwrap().pending), (0, 0));
    assert_eq!(table.row(1).unwrap().fare, 8);
    assert_eq!(buffer.stats().await.unwrap().committed, 6);
}

contract!(what_comes_while_a_batch_is_committed_stays_pending);
async fn what_comes_while_a_batch_is_committed_stays_pending(at: Topology) {
    let (redis, space) = space(at, "behind-meanwhile").await;
    let buffer = buffer(&redis, &space).build().unwrap();
    let (routes, table) = (routes(&buffer), Table::default());
    let worker = table.work(&routes, &buffer).await;
    for fare in 0..300 {
        routes.put(&1, &route(fare)).await.unwrap();
    }
    committed(&buffer).await;
    assert_eq!(table.row(1), Some(route(299)));
    // Coalesced, but not all into one.
    let calls = table.with(|table| table.seen.len());
    assert!((2..250).contains(&calls), "{calls}");
    drop(worker);
}

contract!(a_whole_batch_waits_for_nothing);
async fn a_whole_batch_waits_for_nothing(at: Topology) {
    let (redis, space) = space(at, "behind-whole").await;
    let buffer = buffer(&redis, &space).flush_every(ms(3_600_000)).batch(5).build().unwrap();
    let (routes, table) = (routes(&buffer), Table::default());
    let worker = table.work(&routes, &buffer).await;
    for key in 0..300 {
        routes.put(&key, &route(1)).await.unwrap();
    }
    // In each of 16 lanes fewer than five wait for more.
    table.until("whole batches", |table| table.rows.len() >= 300 - 16 * 4).await;
    table.with(|table| assert!(table.seen.iter().all(|batch| batch.len() <= 5)));
    // The rest is committed on demand.
    let left = worker.shutdown(ms(10_000)).await;
    assert_eq!((left.undrained, left.buffer.unwrap().pending), (0, 0));
    assert_eq!(table.with(|table| table.rows.len()), 300);
}

contract!(what_is_large_comes_in_several_batches);
async fn what_is_large_comes_in_several_batches(at: Topology) {
    let (redis, space) = space(at, "behind-large").await;
    let buffer = buffer(&redis, &space).build().unwrap();
    let (routes, table) = (routes(&buffer), Table::default());
    let large = crate::support::Route { fare: 1, name: "x".repeat(3 << 20) };
    for key in 0..20 {
        routes.put(&key, &large).await.unwrap();
    }
    let worker = table.work(&routes, &buffer).await;
    committed(&buffer).await;
    table.with(|table| {
        assert_eq!(table.rows.len(), 20);
        assert!(table.seen.iter().all(|batch| batch.len() <= 2), "{:?}", table.seen);
        assert!(table.seen.iter().any(|batch| batch.len() == 2), "{:?}", table.seen);
    });
    drop(worker);
}

contract!(poison_is_alone_and_dies_and_comes_again);
async fn poison_is_alone_and_dies_and_comes_again(at: Topology) {
    let (redis, space) = space(at, "behind-poison").await;
    let retry = Backoff::constant(ms(20)).max_attempts(2);
    let buffer = buffer(&redis, &space).retry(retry).build().unwrap();
    let (routes, table) = (routes(&buffer), Table::default());
    table.with(|table| table.poison = [7, 8, 9].into());
    for key in 0..64 {
        routes.put(&key, &route(1)).await.unwrap();
    }
    let worker = table.work(&routes, &buffer).await;
    committed(&buffer).await;
    assert_eq!(table.with(|table| table.rows.len()), 61);
    let stats = buffer.stats().await.unwrap();
    assert_eq!((stats.dead, stats.retries, stats.committed), (3, 6, 61));
    let mut dead = buffer.dead(10).await.unwrap();
    dead.sort_by(|one, other| one.key.cmp(&other.key));
    let told: Vec<_> = dead.iter().map(|dead| (&*dead.kind, &*dead.key, dead.tries)).collect();
    assert_eq!(told, [("route", "7", 3), ("route", "8", 3), ("route", "9", 3)]);
    assert!(dead.iter().all(|dead| dead.reason == "poison"), "{dead:?}");
    assert_eq!(buffer.dead(2).await.unwrap().len(), 2);
    // It is what readers see, until it is discarded; what was written since is not.
    assert!(routes.pending(&8).await.unwrap().is_some());
    assert!(routes.discard(&dead[1]).await.unwrap());
    assert!(!routes.discard(&dead[1]).await.unwrap());
    assert!(routes.pending(&8).await.unwrap().is_none());
    // What is written to one that is dead joins it, and has it tried again.
    table.with(|table| table.poison.clear());
    routes.patch(&9, Patch::new().set("fare", &2)).await.unwrap();
    assert!(!routes.discard(&dead[2]).await.unwrap());
    committed(&buffer).await;
    assert_eq!(table.row(9), Some(crate::support::Route { fare: 2, ..route(1) }));
    assert_eq!(table.row(7), None);
    assert_eq!(buffer.redrive(&dead).await.unwrap(), 1);
    committed(&buffer).await;
    assert_eq!(table.row(7), Some(route(1)));
    assert_eq!(buffer.stats().await.unwrap().dead, 0);
    // Nobody was given the same version again without being told so.
    let again = table.with(|table| table.seen.concat());
    assert_eq!(again.iter().filter(|(key, _, again)| *key == 7 && !again).count(), 1, "{again:?}");
    drop(worker);
}

contract!(a_sink_that_is_away_is_waited_for);
async fn a_sink_that_is_away_is_waited_for(at: Topology) {
    let (redis, space) = space(at, "behind-away").await;
    let retry = Backoff::constant(ms(10)).max_attempts(1);
    let buffer = buffer(&redis, &space).retry(retry).build().unwrap();
    let (routes, table) = (routes(&buffer), Table::default());
    table.with(|table| table.away = true);
    routes.put(&1, &route(1)).await.unwrap();
    let worker = table.work(&routes, &buffer).await;
    table.until("more tries than an entity has", |table| table.seen.len() > 5).await;
    let left = worker.shutdown(ms(200)).await;
    let stats = left.buffer.unwrap();
    assert!(left.undrained > 0, "{left:?}");
    assert_eq!((stats.pending, stats.dead), (1, 0));
    assert!(stats.oldest > ms(50), "{stats:?}");
    table.with(|table| table.away = false);
    let worker = table.work(&routes, &buffer).await;
    committed(&buffer).await;
    assert_eq!(table.row(1), Some(route(1)));
    drop(worker);
}

contract!(what_nobody_has_a_sink_for_is_dead);
async fn what_nobody_has_a_sink_for_is_dead(at: Topology) {
    let (redis, space) = space(at, "behind-kinds").await;
    let buffer = buffer(&redis, &space).build().unwrap();
    let (known, table) = (routes(&buffer), Table::default());
    let unknown = buffer.entities::<(u64, String), u64>("a:b").unwrap();
    unknown.put(&(1, "x:y".into()), &1).await.unwrap();
    known.put(&1, &route(1)).await.unwrap();
    let worker = table.work(&known, &buffer).await;
    committed(&buffer).await;
    assert_eq!(table.row(1), Some(route(1)));
    let dead = buffer.dead(10).await.unwrap();
    assert_eq!((dead.len(), &*dead[0].kind, &*dead[0].key), (1, "a%3Ab", "1:x%3Ay"));
    assert!(dead[0].reason.contains("no sink"), "{dead:?}");
    drop(worker);
}

contract!(threads, another_goes_on_where_one_has_died);
async fn another_goes_on_where_one_has_died(at: Topology) {
    let (redis, space) = space(at, "behind-dies").await;
    let make = move || buffer(&redis.duplicate(), &space).lease(ms(300)).build().unwrap();
    // Another process, as far as the buffer knows: its runtime ends while its sink hangs.
    let (one, table) = (make.clone(), Table::default());
    let hanging = table.clone();
    tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let buffer = one();
            let routes = routes(&buffer);
            routes.put(&1, &route(1)).await.unwrap();
            let worker =
                buffer.worker().sink(&routes, Hangs(hanging.clone())).start().await.unwrap();
            hanging.until("the sink hangs", |table| !table.seen.is_empty()).await;
            std::mem::forget(worker);
        });
    })
    .await
    .unwrap();
    let buffer: WriteBehind = make();
    let worker = table.work(&routes(&buffer), &buffer).await;
    committed(&buffer).await;
    assert_eq!(table.row(1), Some(route(1)));
    // What came again was told so.
    assert_eq!(table.with(|table| table.seen.concat()), [(1, "put", false), (1, "put", true)]);
    assert!(worker.stats().redelivered == 1 && worker.stats().committed == 1);
}

struct Hangs(Table);

impl<K, V> russet_cache::Sink<K, V> for Hangs
where
    K: Segments + Sync + 'static,
    V: Sync + 'static,
{
    async fn commit(
        &self,
        batch: russet_cache::Batch<'_, K, V>,
    ) -> Result<russet_cache::Committed, russet_cache::CommitError> {
        let seen = batch.changes.iter().map(|change| (1, "put", change.redelivered)).collect();
        self.0.with(|table| table.seen.push(seen));
        std::future::pending().await
    }
}
