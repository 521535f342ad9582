//! The nodes, one by one, and what is told of them.

use std::collections::HashSet;

use russet_core_conn::{Backoff, Cmd, EventKind, Key, LinkState, Role, ServerError, Standing};
use russet_testkit::{Cluster, Server};

use super::{connected, key};
use crate::support::{clients, ms, patient};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_can_be_seen_and_asked() {
    let cluster = Cluster::start(3, 1).await.unwrap();
    let redis = connected(&cluster).await;
    let all = redis.nodes(None).await.unwrap();
    let primaries = redis.nodes(Role::Primary).await.unwrap();
    let replicas = redis.nodes(Role::Replica).await.unwrap();
    assert_eq!((all.len(), primaries.len(), replicas.len()), (6, 3, 3));
    let slots: usize =
        primaries.iter().flat_map(|node| node.slots.clone()).map(Iterator::count).sum();
    assert_eq!(slots, 16_384);
    let ids: HashSet<_> = all.iter().map(|node| node.id.clone().unwrap()).collect();
    assert_eq!(ids.len(), 6);
    // A replica that has just got its data is heard of a little later.
    crate::support::until("all are up", async || {
        let all = redis.nodes(None).await.unwrap();
        all.iter().all(|node| node.standing == Standing::Up && node.linked)
    })
    .await;
    assert!(primaries.iter().all(|node| matches!(node.link, LinkState::Connected { .. })));
    assert!(replicas.iter().all(|node| ids.contains(node.follows.as_ref().unwrap())));

    for n in 0..100 {
        let () = redis.run(Cmd::idempotent("SET").key(&key(n)).arg(n)).await.unwrap();
    }
    let mut keys = 0;
    for node in &primaries {
        keys += redis.on(node).unwrap().run::<u64>(Cmd::read("DBSIZE")).await.unwrap();
    }
    assert_eq!(keys, 100);
    // It answers for its own slots, and sends nothing on.
    let slot = key(1).slot();
    let serves =
        |node: &&russet_core_conn::NodeInfo| node.slots.iter().any(|range| range.contains(&slot));
    let own = primaries.iter().find(serves).unwrap();
    let other = primaries.iter().find(|node| !serves(node)).unwrap();
    let get = || Cmd::read("GET").key(&key(1));
    assert_eq!(redis.on(own).unwrap().run::<i64>(get()).await.unwrap(), 1);
    let error = redis.on(other).unwrap().run::<i64>(get()).await.unwrap_err();
    assert!(matches!(error.server(), Some(ServerError::Moved { .. })), "{error}");
    assert_eq!(error.node(), Some(format!("{}:{}", other.host, other.port).as_str()));
    let replica = replicas.iter().find(|node| node.follows == own.id).unwrap();
    assert_eq!(redis.on(replica).unwrap().run::<i64>(get()).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_and_its_replica_are_nodes_too() {
    let servers = Server::start_with_replicas(1).await.unwrap();
    let redis = patient(&servers.url()).build().unwrap();
    let nodes = redis.nodes(None).await.unwrap();
    assert_eq!(
        nodes.iter().map(|node| node.role).collect::<Vec<_>>(),
        [Role::Primary, Role::Replica]
    );
    let name = Key::raw("n");
    let own = redis.on(&nodes[0]).unwrap();
    let () = own.run(Cmd::idempotent("SET").key(&name).arg(7)).await.unwrap();
    let replica = redis.on(&nodes[1]).unwrap();
    crate::support::until("the replica has it", async || {
        replica.run::<Option<i64>>(Cmd::read("GET").key(&name)).await.unwrap() == Some(7)
    })
    .await;
    let error = replica.run::<i64>(Cmd::write("INCR").key(&name)).await.unwrap_err();
    assert_eq!(error.server(), Some(&ServerError::ReadOnly));
    assert!(redis.close().await.is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_told() {
    let cluster = Cluster::start(3, 1).await.unwrap();
    let redis = connected(&cluster).await;
    let mut events = redis.events();
    let slot = key(1).slot();
    let old = cluster.primary_of(slot).await.unwrap();
    let new = cluster.failover(slot).await.unwrap();
    let () = redis.run(Cmd::idempotent("SET").key(&key(1)).arg(1)).await.unwrap();
    let mut seen = HashSet::new();
    while seen.len() < 3 {
        let event = events.find(|_| true).await.unwrap();
        match event.kind {
            EventKind::Promoted => {
                assert_eq!(*event.node, *new.addr().to_string());
                seen.insert("promoted");
            }
            EventKind::Demoted => {
                assert_eq!(*event.node, *old.addr().to_string());
                seen.insert("demoted");
            }
            EventKind::SlotsMoved { slots } => {
                assert!(slots > 0);
                seen.insert("moved");
            }
            _ => {}
        }
    }
    let added = cluster.add_node().await.unwrap();
    redis.reconnect();
    let event = events.find(|kind| matches!(kind, EventKind::NodeAdded)).await.unwrap();
    assert_eq!(*event.node, *added.addr().to_string());
    let spare = redis.nodes(Role::Primary).await.unwrap();
    assert!(
        spare.iter().any(|node| node.port == added.port() && node.slots.is_empty()),
        "{spare:?}"
    );
    cluster.remove_node(&added).await.unwrap();
    redis.reconnect();
    let event = events.find(|kind| matches!(kind, EventKind::NodeRemoved)).await.unwrap();
    assert_eq!(*event.node, *added.addr().to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_left_is_left() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let redis = patient(&cluster.url())
        .connection_name("leaves")
        .reconnect(Backoff::constant(ms(10)))
        .build()
        .unwrap();
    let () = redis.run(Cmd::idempotent("SET").key(&key(1)).arg(1)).await.unwrap();
    let added = cluster.add_node().await.unwrap();
    let from = cluster.primary_of(key(1).slot()).await.unwrap();
    let get = || redis.run::<i64>(Cmd::read("GET").key(&key(1)));
    for (from, to) in [(&from, &added), (&added, &from)] {
        cluster.reshard([key(1).slot()], from, to).await.unwrap();
        assert_eq!(get().await.unwrap(), 1);
    }
    assert_eq!(clients(&mut added.conn().await.unwrap(), "leaves").await.len(), 1);
    let mut events = redis.events();
    cluster.remove_node(&added).await.unwrap();
    redis.reconnect();
    events.find(|kind| matches!(kind, EventKind::NodeRemoved)).await.unwrap();
    // Whoever still tried would be there long before.
    added.restart().await.unwrap();
    tokio::time::sleep(ms(500)).await;
    assert!(clients(&mut added.conn().await.unwrap(), "leaves").await.is_empty());
    assert_eq!(get().await.unwrap(), 1);
    assert!(redis.close().await.is_clean());
}
