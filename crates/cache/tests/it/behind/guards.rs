//! What is refused, and what is told of it.

use russet_cache::{BehindError, Patch};
use russet_core_conn::{Durability, KeySpace, SendOutcome};
use russet_testkit::shared::Topology;
use russet_testkit::{Eviction, Server, contract};

use super::{Table, buffer, committed, ms, routes};
use crate::support::{patient, route, space, url, users};

contract!(a_full_buffer_refuses_and_forgets_nothing);
async fn a_full_buffer_refuses_and_forgets_nothing(at: Topology) {
    let (redis, space) = space(at, "behind-full").await;
    let buffer = buffer(&redis, &space).capacity(16).build().unwrap();
    let (routes, table) = (routes(&buffer), Table::default());
    let (mut taken, mut refused) = (Vec::new(), 0);
    for key in 0..100 {
        match routes.put(&key, &route(1)).await {
            Ok(_) => taken.push(key),
            Err(error) => {
                assert!(matches!(error, BehindError::Full { pending: 1 }), "{error}");
                assert_eq!((error.outcome(), error.is_retryable()), (SendOutcome::Rejected, true));
                refused += 1;
            }
        }
    }
    assert!(taken.len() <= 16 && refused >= 84, "{taken:?}");
    assert_eq!(buffer.stats().await.unwrap().pending, taken.len() as u64);
    // What is there already takes no more room.
    for key in &taken {
        routes.put(key, &route(2)).await.unwrap();
    }
    let many = (0..128).fold(Patch::new(), |patch, n| patch.set(format!("f{n}"), &n));
    routes.patch(&taken[0], many).await.unwrap();
    let error = routes.patch(&taken[0], Patch::new().set("fare", &1)).await.unwrap_err();
    assert!(matches!(error, BehindError::Fields { fields: 129, allowed: 128 }), "{error}");
    let worker = table.work(&routes, &buffer).await;
    committed(&buffer).await;
    let rows = table.with(|table| table.rows.keys().copied().collect::<Vec<_>>());
    assert_eq!(rows, taken);
    // And there is room again.
    routes.put(&1_000, &route(1)).await.unwrap();
    drop(worker);
}

#[tokio::test]
async fn a_server_that_throws_away_is_no_place_for_it() {
    for (policy, safe) in
        [(Eviction::AllKeysLru, false), (Eviction::AllKeysLfu, false), (Eviction::NoEviction, true)]
    {
        let server = Server::builder().maxmemory(100 << 20, policy).start().await.unwrap();
        let redis = patient(&server.url());
        let space = KeySpace::new("behind-policy").unwrap();
        let strict = buffer(&redis, &space).build().unwrap();
        let worker = strict.worker().sink(&routes(&strict), Table::default()).start().await;
        let written = routes(&strict).put(&1, &route(1)).await;
        assert_eq!((worker.is_ok(), written.is_ok()), (safe, safe));
        if !safe {
            let error = written.unwrap_err();
            assert!(
                matches!(&error, BehindError::Evicts { policy } if policy.starts_with("allkeys"))
            );
            assert_eq!((error.outcome(), error.is_retryable()), (SendOutcome::NotSent, false));
        }
        let told = buffer(&redis, &space).allow_eviction().build().unwrap();
        routes(&told).put(&1, &route(1)).await.unwrap();
    }
    // A service that says nothing of itself.
    let users = users("behind-policy").replace(" +info ", " ");
    let server = Server::builder().acl_file(users).start().await.unwrap();
    let redis = patient(&url(server.addr()));
    let space = KeySpace::new("behind-policy").unwrap();
    let strict = buffer(&redis, &space).build().unwrap();
    let error = routes(&strict).put(&1, &route(1)).await.unwrap_err();
    assert!(matches!(error, BehindError::PolicyUnknown), "{error}");
    let told = buffer(&redis, &space).allow_eviction().build().unwrap();
    routes(&told).put(&1, &route(1)).await.unwrap();
}

#[tokio::test]
async fn a_write_that_nobody_took_says_what_became_of_it() {
    let space = KeySpace::new("behind-down").unwrap();
    let down = patient("redis://127.0.0.1:1").with_deadline(ms(100));
    let error = routes(&buffer(&down, &space).build().unwrap()).put(&1, &route(1)).await;
    let error = error.unwrap_err();
    assert_eq!((error.outcome(), error.is_retryable()), (SendOutcome::NotSent, true), "{error}");
    // Taken by the primary, and by none of the replicas that it was to have.
    let server = Server::start().await.unwrap();
    let redis = patient(&server.url()).with_deadline(ms(1_000));
    let routes_of = |redis| routes(&buffer(redis, &space).build().unwrap());
    routes_of(&redis).put(&1, &route(1)).await.unwrap();
    let safe = routes_of(&redis.with_durability(Durability::Replicas(1)));
    let error = safe.put(&1, &route(2)).await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
}
