//! The rights that only a cluster asks for are enough, and none of them too many.

use russet_core_conn::{Cmd, Error, Key, RedisBuilder, ReplicaReads};
use russet_testkit::{Cluster, NodeView};

use super::{connected, conns, key};
use crate::acl::{denials, is_for_clusters};
use crate::support::{ACL, ms, patient};

/// Does all that the core does by itself in a cluster alone, once; or until a node has refused something.
async fn everything(builder: RedisBuilder, moved: &Key) -> Result<(), Error> {
    let redis = builder.replica_reads(ReplicaReads::Only).build()?;
    redis.ready().await?;
    let elsewhere = Key::raw("{shop:0}:of-a-slot-that-stays");
    let _: Option<String> = redis.run(Cmd::read("GET").key(&elsewhere)).await?;
    // Its slot is being moved, and it is gone already.
    let _: i64 = redis.run(Cmd::write("HSET").key(moved).arg("f").arg(1)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_for_a_cluster_are_enough_and_each_is_needed() {
    let cluster = Cluster::start(3, 1).await.unwrap();
    // A replica that has been told of no write yet is one that loads, as the others see it.
    let redis = connected(&cluster).await;
    for n in 0..50 {
        let () = redis.run(Cmd::idempotent("SET").key(&key(n)).arg(n)).await.unwrap();
    }
    let line = ACL.replace("PASSWORD", "pw").replace("PREFIX", "shop");
    let rules: Vec<&str> = line.split_whitespace().skip(2).collect();
    let moved = Key::raw("{shop:1}:moved");
    let from = cluster.primary_of(moved.slot()).await.unwrap();
    let nodes = cluster.nodes();
    let others = async |node: &&std::sync::Arc<russet_testkit::Server>| {
        let view = cluster.view(node).await.unwrap();
        let id = cluster.id(node).unwrap();
        view.node(&id).is_some_and(NodeView::is_primary) && id != cluster.id(&from).unwrap()
    };
    let mut to = None;
    for node in &nodes {
        if others(&node).await {
            to = Some(node);
        }
    }
    let _open = cluster.open_slots([moved.slot()], &from, to.unwrap()).await.unwrap();
    let mut conns = conns(&cluster).await;
    let granted: Vec<&str> = rules.iter().copied().filter(|rule| is_for_clusters(rule)).collect();
    assert!(granted.len() > 4, "{granted:?}");
    for without in std::iter::once(None).chain(granted.into_iter().map(Some)) {
        // The older question is asked where the newer one is refused.
        let is_left_out = |rule: &str| {
            Some(rule) == without
                || (rule == "+cluster|shards" && without == Some("+cluster|slots"))
        };
        let rules = rules.iter().copied().filter(|rule| !is_left_out(rule));
        let user = ["ACL", "SETUSER", "user", "reset"].into_iter().chain(rules);
        let user: Vec<&str> = user.chain(["+get"]).collect();
        for conn in &mut conns {
            for command in [&user[..], &["ACL", "LOG", "RESET"]] {
                assert!(conn.call(command).await.unwrap().is_ok(), "{command:?}");
            }
        }
        let url = format!("redis-cluster://user:pw@{}", from.addr());
        let builder = match without {
            // Without these no node is found, or none that may be read from: waited for in vain.
            Some("+cluster|slots" | "+readonly") => patient(&url).deadline(ms(500)),
            _ => patient(&url),
        };
        let done = everything(builder, &moved).await;
        let mut denied = 0;
        for conn in &mut conns {
            denied += denials(conn).await;
        }
        match without {
            None => {
                done.unwrap();
                assert_eq!(denied, 0);
            }
            Some("+cluster|slots") => assert!(denied > 0 && done.is_err()),
            // What is only told of them is done without.
            Some("+cluster|shards" | "+cluster|nodes" | "+cluster|info") => {
                done.unwrap();
                assert!(denied > 0);
            }
            Some(right) => assert!(denied > 0 && done.is_err(), "nobody needs {right}"),
        }
    }
}
