//! The servers behind the sentinels, one by one.

use russet_core_conn::{Cmd, Key, LinkState, Role, ServerError};
use russet_testkit::Sentinel;

use crate::support::{patient, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_server_can_be_seen_and_asked() {
    let sentinel = Sentinel::start(2, 3).await.unwrap();
    let redis = patient(&sentinel.url()).build().unwrap();
    let name = Key::raw("n");
    let () = redis.run(Cmd::idempotent("SET").key(&name).arg(7)).await.unwrap();
    let primaries = redis.nodes(Role::Primary).await.unwrap();
    let replicas = redis.nodes(Role::Replica).await.unwrap();
    let primary = sentinel.primary().await.unwrap();
    assert_eq!((primaries.len(), primaries[0].port), (1, primary.port()));
    assert!(matches!(primaries[0].link, LinkState::Connected { .. }));
    let mut ports: Vec<u16> = replicas.iter().map(|node| node.port).collect();
    let mut expected: Vec<u16> =
        sentinel.replicas().await.unwrap().iter().map(|server| server.port()).collect();
    ports.sort_unstable();
    expected.sort_unstable();
    assert_eq!(ports, expected);
    for node in &replicas {
        assert!(matches!(node.link, LinkState::Unused), "{node:?}");
        assert_eq!(node.follows.as_deref(), Some(&*primary.addr().to_string()));
        let replica = redis.on(node).unwrap();
        until("it has it", async || {
            replica.run::<Option<i64>>(Cmd::read("GET").key(&name)).await.unwrap() == Some(7)
        })
        .await;
        // It is told, and not sent to the primary.
        let error = replica.run::<i64>(Cmd::write("INCR").key(&name)).await.unwrap_err();
        assert_eq!(error.server(), Some(&ServerError::ReadOnly), "{error}");
    }
    let again = redis.nodes(Role::Replica).await.unwrap();
    assert!(again.iter().all(|node| matches!(node.link, LinkState::Connected { .. })), "{again:?}");
    assert_eq!(redis.run::<i64>(Cmd::write("INCR").key(&name)).await.unwrap(), 8);
    assert!(redis.close().await.is_clean());
}
