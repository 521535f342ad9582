//! Nodes that are announced under other names than their addresses.

use std::collections::HashSet;

use russet_core_conn::{Cmd, Redis, Role};
use russet_testkit::Cluster;

use super::key;
use crate::support::patient;

/// One that tells its clients of these names.
async fn announced(kind: &str, host: &str) -> Cluster {
    let builder = Cluster::builder().primaries(3).config("cluster-preferred-endpoint-type", kind);
    builder.config("cluster-announce-hostname", host).start().await.unwrap()
}

/// Uses all nodes, one of them behind the map's back; answers as which hosts they are known.
pub(super) async fn used(cluster: &Cluster, redis: &Redis) -> HashSet<String> {
    redis.ready().await.unwrap();
    for n in 0..50 {
        let () = redis.run(Cmd::idempotent("SET").key(&key(n)).arg(n)).await.unwrap();
    }
    let slot = key(1).slot();
    let from = cluster.primary_of(slot).await.unwrap();
    let to = cluster.nodes().into_iter().find(|node| node.port() != from.port()).unwrap();
    cluster.reshard([slot], &from, &to).await.unwrap();
    assert_eq!(redis.run::<i64>(Cmd::read("GET").key(&key(1))).await.unwrap(), 1);
    redis.nodes(Role::Primary).await.unwrap().into_iter().map(|node| node.host).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_name_is_where_its_node_is() {
    let cluster = announced("hostname", "localhost").await;
    let redis = patient(&cluster.url()).build().unwrap();
    assert_eq!(used(&cluster, &redis).await, HashSet::from(["localhost".into()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_is_the_host_that_was_asked() {
    let cluster = announced("unknown-endpoint", "redis.invalid").await;
    let redis = patient(&cluster.url()).build().unwrap();
    assert_eq!(used(&cluster, &redis).await, HashSet::from(["127.0.0.1".into()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_leads_nowhere_is_translated() {
    let cluster = announced("hostname", "redis.invalid").await;
    let pairs = cluster.nodes().into_iter().map(|node| {
        let port = node.port();
        (format!("redis.invalid:{port}"), format!("127.0.0.1:{port}"))
    });
    let redis = patient(&cluster.url()).nat(pairs).build().unwrap();
    assert_eq!(used(&cluster, &redis).await, HashSet::from(["127.0.0.1".into()]));
}
