//! A cluster to which clients come by TLS.

use russet_core_conn::{Cmd, ErrorKind, Role, Tls};
use russet_testkit::{Cluster, Server};

use super::key;
use super::names::used;
use crate::support::{clients, patient, with_tls};

/// The nodes have a plain port too, for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_is_spoken_to_by_tls() {
    let server = Server::builder().tls(russet_testkit::Tls::new());
    let cluster = Cluster::builder().primaries(3).server(server).start().await;
    let Some(cluster) = with_tls(cluster) else { return };
    let nodes = cluster.nodes();
    let first = nodes[0].tls_addr().unwrap();
    // Before Redis 7.2 nodes that speak plainly with each other know each other's plain ports only.
    let pairs = nodes.iter().map(|node| {
        let reached = node.tls_addr().unwrap();
        (node.addr().to_string(), reached.to_string())
    });
    let by = |tls| {
        let builder = patient(&format!("rediss-cluster://{first}"));
        builder.connection_name("by-tls").nat(pairs.clone()).tls(tls).build().unwrap()
    };
    let ca = |node: &Server| node.certificates().unwrap().ca().text().to_owned();
    let trusted: String = nodes.iter().map(|node| ca(node)).collect();
    let redis = by(Tls::new().ca_pem(trusted));
    used(&cluster, &redis).await;
    for node in &nodes {
        let connections = clients(&mut node.conn().await.unwrap(), "by-tls").await;
        let there = format!(" laddr={} ", node.tls_addr().unwrap());
        assert!(!connections.is_empty(), "{node:?}");
        assert!(connections.iter().all(|line| line.contains(&there)), "{connections:?}");
    }
    assert!(redis.close().await.is_clean());

    // Whom we trust holds for nodes that are found, too.
    let redis = by(Tls::new().ca_pem(ca(&nodes[0]))).without_waiting();
    let primaries = redis.nodes(Role::Primary).await.unwrap();
    let is_first = |slot| {
        let serves = primaries.iter().find(|node| node.slots.iter().any(|own| own.contains(&slot)));
        serves.unwrap().port == first.port()
    };
    let mut refused = 0;
    for n in 0..20 {
        let called = redis.run::<Option<i64>>(Cmd::read("GET").key(&key(n))).await;
        if is_first(key(n).slot()) {
            called.unwrap();
        } else {
            let error = called.unwrap_err();
            assert!(matches!(error.cause(), Some(ErrorKind::Tls(_))), "{error}");
            refused += 1;
        }
    }
    assert!((1..20).contains(&refused), "{refused}");
}
