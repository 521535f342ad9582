//! Clusters that are cut in two.

use std::time::Duration;

use russet_testkit::{Clients, Cluster, ClusterBuilder, Conn, Error, Network};

use super::pairs;

/// None where this may make none.
fn made(entered: Result<Network, Error>) -> Option<Network> {
    match entered {
        Ok(network) => Some(network),
        Err(Error::Network(why)) => {
            eprintln!("{why}");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_primary_that_is_cut_off_is_replaced_and_follows_when_all_is_healed() {
    a_primary_is_cut_off(Cluster::builder().partitions()).await;
}

#[test]
fn packets_to_a_primary_are_lost_where_a_network_can_be_made() {
    let Some(network) = made(Network::enter()) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(a_primary_is_cut_off(Cluster::builder().partitions_in(network)));
}

/// Nobody answers, and nobody refuses.
#[test]
fn who_connects_where_packets_are_lost_does_not_wait_for_ever() {
    let Some(network) = made(Network::enter()) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let cluster = Cluster::builder().primaries(1).partitions_in(network).start().await.unwrap();
        let node = &cluster.nodes()[0];
        cluster.cut_off(&[node], Clients::AreCutOffToo).unwrap();
        let addr = cluster.addr(node).unwrap();
        let (by_addr, by_url) = (Conn::tcp(addr), format!("redis://{addr}"));
        let (one, other) = tokio::join!(by_addr, Conn::open(&by_url));
        for lost in [one, other] {
            let Err(Error::Timeout { what: "a connection", after }) = lost.map(drop) else {
                panic!("connected");
            };
            assert_eq!(after, Duration::from_secs(5));
        }
    });
}

#[tokio::test]
async fn a_network_is_not_changed_from_another() {
    let entered = std::thread::spawn(Network::enter).join().unwrap();
    let Some(network) = made(entered) else { return };
    let cluster = Cluster::builder().primaries(1).partitions_in(network).start().await.unwrap();
    let refused = cluster.cut_off(&[&cluster.nodes()[0]], Clients::Reach);
    assert!(matches!(refused, Err(Error::Network(_))), "{refused:?}");
}

async fn a_primary_is_cut_off(builder: ClusterBuilder) {
    let cluster = builder.replicas(1).start().await.unwrap();
    let pairs = pairs(1..=1, 2);
    let (first, second) = (&pairs[0], &pairs[1]);
    let old = cluster.primary_of(1).await.unwrap();
    let heir = cluster.replicas_of(1).await.unwrap().pop().unwrap();
    // A client goes where the cluster sends it, and not where the node can be reached in spite of a cut.
    let addr = cluster.addr(&old).unwrap();
    assert!(addr != old.addr() && cluster.url().contains(&addr.to_string()));
    let other = cluster.primary_of(16_383).await.unwrap();
    let moved = other.conn().await.unwrap().call(&["GET", &first.0]).await.unwrap();
    assert_eq!(moved.error(), Some(format!("MOVED 1 {addr}").as_str()));
    let mut client = Conn::tcp(addr).await.unwrap().with_deadline(Duration::from_millis(200));
    assert!(client.call(&["SET", &first.0, "before"]).await.unwrap().is_ok());
    assert_eq!(client.call(&["WAIT", "1", "100"]).await.unwrap().int(), Some(1));

    // Clients reach both sides: for a while there are two primaries, and what the old one takes is lost.
    cluster.cut_off(&[&old], Clients::Reach).unwrap();
    assert!(client.call(&["SET", &second.0, "lost"]).await.unwrap().is_ok());
    assert_eq!(client.call(&["WAIT", "1", "100"]).await.unwrap().int(), Some(0));
    let new = cluster.promoted(1).await.unwrap();
    assert_eq!(new.port(), heir.port());
    assert!(cluster.view(&old).await.unwrap().owner(1).unwrap().is_self);
    assert!(new.conn().await.unwrap().call(&["SET", &first.0, "during"]).await.unwrap().is_ok());
    cluster.heal().unwrap();
    cluster.ready().await.unwrap();
    let view = cluster.view(&old).await.unwrap();
    assert_eq!(view.owner(1).unwrap().port, cluster.addr(&new).unwrap().port());
    let mut truth = new.conn().await.unwrap();
    assert_eq!(truth.call(&["GET", &first.0]).await.unwrap().text(), Some("during"));
    assert!(truth.call(&["GET", &second.0]).await.unwrap().is_nil());

    // Clients are cut off too: nothing comes back, and nobody is told.
    cluster.cut_off(&[&new], Clients::AreCutOffToo).unwrap();
    let addr = cluster.addr(&new).unwrap();
    let nothing = async { Conn::tcp(addr).await?.call(&["SET", &first.0, "after"]).await };
    let nothing = tokio::time::timeout(Duration::from_millis(200), nothing).await;
    assert!(nothing.is_err(), "{nothing:?}");
    assert_eq!(truth.call(&["GET", &first.0]).await.unwrap().text(), Some("during"));
    assert_eq!(cluster.promoted(1).await.unwrap().port(), old.port());
    cluster.heal().unwrap();
    cluster.ready().await.unwrap();

    // Whichever that is once all hear each other again.
    let primary = cluster.promoted(1).await.unwrap();
    let added = cluster.add_replica(&primary).await.unwrap();
    cluster.remove_node(&added).await.unwrap();
}

#[tokio::test]
async fn only_what_was_built_for_it_is_cut() {
    let cluster = Cluster::start(1, 0).await.unwrap();
    let node = &cluster.nodes()[0];
    assert_eq!(cluster.addr(node), Some(node.addr()));
    let refused = cluster.cut_off(&[node], Clients::Reach);
    assert!(matches!(refused, Err(Error::Config { field: "partitions", .. })), "{refused:?}");
    assert!(cluster.heal().is_err());
}
