//! The nodes, one by one, and what is told of them.

use std::collections::HashSet;
use std::time::Instant;

use russet_core_conn::{
    Backoff, Cmd, ErrorKind, EventKind, Key, LinkState, ReplicaReads, Role, ServerError, Standing,
};
use russet_testkit::{Cluster, Server};

use super::{connected, key};
use crate::support::{clients, ms, patient, until};

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
    until("all are up", async || {
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
    until("the replica has it", async || {
        replica.run::<Option<i64>>(Cmd::read("GET").key(&name)).await.unwrap() == Some(7)
    })
    .await;
    let error = replica.run::<i64>(Cmd::write("INCR").key(&name)).await.unwrap_err();
    assert_eq!(error.server(), Some(&ServerError::ReadOnly));
    assert!(redis.close().await.is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_a_node_all_the_same() {
    let server = Server::start().await.unwrap();
    let redis = patient(&server.url()).build().unwrap();
    redis.ping().await.unwrap();
    let [node] = &redis.nodes(None).await.unwrap()[..] else { panic!() };
    assert!(matches!(node.link, LinkState::Connected { last_error: None, .. }), "{node:?}");
    server.kill().await.unwrap();
    let (brief, begun) = (redis.with_deadline(ms(300)), Instant::now());
    let [node] = &brief.nodes(Role::Primary).await.unwrap()[..] else { panic!() };
    assert!(begun.elapsed() < ms(2_000), "{:?}", begun.elapsed());
    assert_eq!((node.port, node.linked), (server.port(), false));
    let LinkState::Away { error, since } = &node.link else { panic!("{node:?}") };
    assert!(matches!(error.kind(), ErrorKind::NotConnected(_)), "{error}");
    assert!(*since <= begun.elapsed() + ms(1_000), "{since:?}");
    assert!(brief.nodes(Role::Replica).await.unwrap().is_empty());
    server.restart().await.unwrap();
    let [node] = &redis.nodes(None).await.unwrap()[..] else { panic!() };
    assert!(node.linked);
    assert!(matches!(node.link, LinkState::Connected { last_error: Some(_), .. }), "{node:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_died_is_a_node_all_the_same() {
    let cluster = Cluster::builder().primaries(3).full_coverage(false).start().await.unwrap();
    let redis = connected(&cluster).await;
    let dead = cluster.primary_of(key(1).slot()).await.unwrap();
    dead.kill().await.unwrap();
    until("it is known to have failed", async || {
        let nodes = redis.nodes(Role::Primary).await.unwrap();
        assert_eq!(nodes.len(), 3);
        let node = nodes.iter().find(|node| node.port == dead.port()).unwrap();
        let serves = node.slots.iter().any(|slots| slots.contains(&key(1).slot()));
        node.standing == Standing::Failed
            && !node.linked
            && serves
            && matches!(&node.link, LinkState::Away { error, .. } if matches!(error.kind(), ErrorKind::NotConnected(_)))
    })
    .await;
}

/// A handle that reads from replicas asks the node that is named all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_one_node_reads_from_no_other() {
    let cluster = Cluster::start(3, 1).await.unwrap();
    let redis = patient(&cluster.url()).replica_reads(ReplicaReads::Only).build().unwrap();
    let () = redis.run(Cmd::idempotent("SET").key(&key(1)).arg(7)).await.unwrap();
    let slot = key(1).slot();
    let primaries = redis.nodes(Role::Primary).await.unwrap();
    let owner = primaries.iter().find(|node| node.slots.iter().any(|range| range.contains(&slot)));
    let own = redis.on(owner.unwrap()).unwrap();
    for _ in 0..20 {
        assert_eq!(own.run::<i64>(Cmd::read("GET").key(&key(1))).await.unwrap(), 7);
    }
    let mut conn = cluster.primary_of(slot).await.unwrap().conn().await.unwrap();
    let gets = super::count(std::slice::from_mut(&mut conn), "commandstats", "cmdstat_get:calls=");
    assert_eq!(gets.await, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_has_as_many_connections() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let redis = patient(&cluster.url()).connections(3).connection_name("three").build().unwrap();
    redis.ready().await.unwrap();
    for node in cluster.nodes() {
        let mut conn = node.conn().await.unwrap();
        // One by which the map was asked for may not have ended yet.
        until("three", async || clients(&mut conn, "three").await.len() == 3).await;
    }
}

/// The newest configuration that this node has heard of.
async fn epoch(node: &Server) -> u64 {
    let told = node.conn().await.unwrap().call(&["CLUSTER", "INFO"]).await.unwrap();
    let told = told.text().unwrap();
    let epoch = told.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:"));
    epoch.unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_told() {
    let cluster = Cluster::start(3, 1).await.unwrap();
    let redis = connected(&cluster).await;
    let mut events = redis.events();
    let slot = key(1).slot();
    let epoch_before = epoch(&cluster.nodes()[0]).await;
    let old = cluster.primary_of(slot).await.unwrap();
    let new = cluster.failover(slot).await.unwrap();
    let () = redis.run(Cmd::idempotent("SET").key(&key(1)).arg(1)).await.unwrap();
    let mut seen = HashSet::new();
    while seen.len() < 4 {
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
            // An election is a new epoch.
            EventKind::MapRefreshed { epoch } if epoch > epoch_before => {
                seen.insert("refreshed");
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
