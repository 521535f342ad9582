//! Reads see what was written, before and after it is committed.

use std::convert::Infallible;

use russet_cache::{Cache, Entities, LoadError, Op, Patch, ReadError, Tier};
use russet_core_conn::KeySpace;
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use super::{Table, buffer, committed, ms, routes};
use crate::support::{Origin, Route, patient, route, space};

/// What a reader sees, and whether the table was asked.
async fn read(routes: &Entities<u64, Route>, table: &Table, key: u64) -> (Option<u32>, usize) {
    let (origin, table) = (Origin::default(), table.clone());
    let asked = origin.clone();
    let load = move || asked.clone().give(table.row(key));
    let found = routes.get_or_load(&key, load).await.unwrap();
    (found.value().map(|route| route.fare), origin.calls())
}

contract!(what_is_pending_is_read);
async fn what_is_pending_is_read(at: Topology) {
    let (redis, space) = space(at, "behind-reads").await;
    // Nothing is committed before it is asked for, and what is read meanwhile stays cached.
    let buffer = buffer(&redis, &space).flush_every(ms(60_000)).build().unwrap();
    let cache: Cache<Route> = crate::support::routes(&redis, &space).local(100).build().unwrap();
    let plain = routes(&buffer);
    let table = Table::default();
    for (key, routes) in [(0, plain.clone()), (100, plain.with_cache(&cache))] {
        table.with(|table| {
            table.rows.extend((1..=3).map(|at| (key + at, (1, Some(route(9))))));
        });
        for at in 1..=4 {
            read(&routes, &table, key + at).await;
        }
        routes.put(&(key + 1), &route(1)).await.unwrap();
        routes.delete(&(key + 2)).await.unwrap();
        for at in 3..=4 {
            routes.patch(&(key + at), Patch::new().set("fare", &3)).await.unwrap();
        }
        // Of what is written whole, the database is not asked; of a patch it is, and is made up of nothing.
        assert_eq!(read(&routes, &table, key + 1).await, (Some(1), 0));
        assert_eq!(read(&routes, &table, key + 2).await, (None, 0));
        assert_eq!(read(&routes, &table, key + 3).await, (Some(3), 1));
        assert_eq!(read(&routes, &table, key + 4).await, (None, 1));
        let known = async |at| {
            let found = routes.get(&(key + at)).await.unwrap();
            found.map(|found| found.value().map(|route| route.fare))
        };
        // What is cached is the patched one.
        let patched = (key > 0).then_some(Some(3));
        assert_eq!((known(1).await, known(2).await), (Some(Some(1)), Some(None)));
        assert_eq!((known(3).await, known(9).await), (patched, None));
        assert!(matches!(
            routes.pending(&(key + 3)).await.unwrap().unwrap().op,
            Op::Patch(patch) if patch.field::<u32>("fare").unwrap().unwrap() == 3
        ));
        // Also what is written then, over what has been read.
        routes.patch(&(key + 1), Patch::new().set("fare", &2)).await.unwrap();
        assert_eq!(read(&routes, &table, key + 1).await, (Some(2), 0));
        let worker = table.work(&routes, &buffer).await;
        let left = worker.shutdown(ms(20_000)).await;
        assert_eq!((left.undrained, left.buffer.unwrap().pending), (0, 0));
        for (at, fare) in [(1, Some(2)), (2, None), (3, Some(3)), (4, None)] {
            assert_eq!(read(&routes, &table, key + at).await, (fare, 1), "{at}");
        }
    }
    // A hit in memory asks nobody.
    let routes = routes(&buffer).with_cache(&cache);
    let found = routes.get_or_load(&101, || async { Ok::<_, Infallible>(route(0)) }).await.unwrap();
    assert_eq!((found.tier(), found.value().unwrap().fare), (Tier::Local, 2));
}

contract!(threads, no_reader_sees_what_is_older_than_an_acknowledged_write);
async fn no_reader_sees_what_is_older_than_an_acknowledged_write(at: Topology) {
    let (redis, space) = space(at, "behind-linear").await;
    let buffer = buffer(&redis, &space).flush_every(ms(3)).build().unwrap();
    let cache: Cache<Route> = crate::support::routes(&redis, &space).build().unwrap();
    let routes = routes(&buffer).with_cache(&cache);
    let table = Table::default();
    let worker = table.work(&routes, &buffer).await;
    let last = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let writer = tokio::spawn({
        let (routes, last) = (routes.clone(), last.clone());
        async move {
            for fare in 1..400 {
                if fare % 3 == 0 {
                    routes.patch(&1, Patch::new().set("fare", &fare)).await.unwrap();
                } else {
                    routes.put(&1, &route(fare)).await.unwrap();
                }
                last.store(fare, std::sync::atomic::Ordering::SeqCst);
                tokio::time::sleep(ms(u64::from(fare % 5))).await;
            }
        }
    });
    let mut reads = 0;
    while !writer.is_finished() {
        let least = last.load(std::sync::atomic::Ordering::SeqCst);
        let slow = table.clone();
        let load = move || {
            let slow = slow.clone();
            async move {
                let row = slow.row(1);
                tokio::time::sleep(ms(2)).await;
                Ok::<_, Infallible>(row)
            }
        };
        let found = routes.get_or_load(&1, load).await.unwrap();
        let fare = found.value().map_or(0, |route| route.fare);
        assert!(fare >= least, "{fare} after {least}");
        reads += 1;
    }
    writer.await.unwrap();
    assert!(reads > 50, "{reads}");
    drop(worker);
}

contract!(what_a_writer_that_died_has_left_cached_is_gone_once_it_is_committed);
async fn what_a_writer_that_died_has_left_cached_is_gone_once_it_is_committed(at: Topology) {
    let (redis, space) = space(at, "behind-died").await;
    let buffer = buffer(&redis, &space).build().unwrap();
    let cache: Cache<Route> = crate::support::routes(&redis, &space).build().unwrap();
    let (dies, table) = (routes(&buffer), Table::default());
    let routes = dies.clone().with_cache(&cache);
    table.with(|table| drop(table.rows.insert(1, (1, Some(route(1))))));
    assert_eq!(read(&routes, &table, 1).await, (Some(1), 1));
    // It had the write taken, and died before it removed what was cached.
    dies.put(&1, &route(2)).await.unwrap();
    let worker = table.work(&routes, &buffer).await;
    committed(&buffer).await;
    assert_eq!(read(&routes, &table, 1).await, (Some(2), 1));
    drop(worker);
}

contract!(a_patch_is_not_read_over_what_was_written_after_it);
async fn a_patch_is_not_read_over_what_was_written_after_it(at: Topology) {
    let (redis, space) = space(at, "behind-over").await;
    let buffer = buffer(&redis, &space).build().unwrap();
    let (routes, table) = (routes(&buffer), Table::default());
    routes.patch(&1, Patch::new().set("fare", &1)).await.unwrap();
    let (writes, sink, calls) = (routes.clone(), table.clone(), Origin::default());
    let (counted, through) = (calls.clone(), buffer.clone());
    let load = move || {
        let (writes, sink, calls) = (writes.clone(), sink.clone(), counted.clone());
        let through = through.clone();
        async move {
            if calls.calls() == 0 {
                writes.put(&1, &route(2)).await.unwrap();
                let worker = sink.work(&writes, &through).await;
                committed(&through).await;
                drop(worker);
            }
            calls.give(sink.row(1)).await
        }
    };
    let found = routes.get_or_load(&1, load).await.unwrap();
    assert_eq!((found.value(), calls.calls()), (Some(&route(2)), 2));
}

#[tokio::test]
async fn nobody_is_given_what_may_be_out_of_date() {
    let redis = patient("redis://127.0.0.1:1").with_deadline(ms(100));
    let space = KeySpace::new("behind-nobody").unwrap();
    let routes = routes(&buffer(&redis, &space).build().unwrap());
    let cache = crate::support::routes(&redis, &space).budget(ms(100)).build().unwrap();
    for routes in [routes.clone(), routes.with_cache(&cache)] {
        let read = routes.get_or_load(&1, || async { Ok::<_, Infallible>(route(0)) }).await;
        let Err(LoadError::Loader(error)) = read else { panic!("{read:?}") };
        assert!(matches!(&*error, ReadError::Behind(_)), "{error}");
    }
}
