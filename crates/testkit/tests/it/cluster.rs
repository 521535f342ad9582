use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use russet_testkit::{Cluster, Conn, Error, Flavor, Reply, Server, slot_of};

mod partition;

/// Follows redirects, and counts them: the least that a client of a cluster does.
struct Client {
    nodes: BTreeMap<u16, Conn>,
    moved: usize,
    asked: usize,
}

impl Client {
    async fn of(cluster: &Cluster) -> Client {
        let mut nodes = BTreeMap::new();
        for node in cluster.nodes().iter().filter(|node| node.is_running()) {
            nodes.insert(node.port(), node.conn().await.unwrap());
        }
        Client { nodes, moved: 0, asked: 0 }
    }

    /// From a node of its own choice on.
    async fn call(&mut self, args: &[&str]) -> Reply {
        let first = *self.nodes.keys().next().unwrap();
        self.call_at(first, args).await
    }

    async fn call_at(&mut self, mut port: u16, args: &[&str]) -> Reply {
        let mut asking = false;
        for _ in 0..5 {
            let conn = self.nodes.get_mut(&port).unwrap();
            if asking {
                assert!(conn.call(&["ASKING"]).await.unwrap().is_ok());
            }
            let reply = conn.call(args).await.unwrap();
            let redirect = reply.error().filter(|error| !error.starts_with("TRYAGAIN"));
            let Some(redirect) = redirect else { return reply };
            asking = redirect.starts_with("ASK ");
            assert!(asking || redirect.starts_with("MOVED "), "{redirect}");
            *(if asking { &mut self.asked } else { &mut self.moved }) += 1;
            port = redirect.rsplit_once(':').unwrap().1.parse().unwrap();
        }
        panic!("{args:?}: redirected for ever");
    }

    async fn holds(&mut self, pairs: &[(String, String)]) {
        for (key, value) in pairs {
            assert_eq!(self.call(&["GET", key]).await.text(), Some(value.as_str()), "{key}");
        }
    }

    async fn set(&mut self, pairs: &[(String, String)]) {
        for (key, value) in pairs {
            assert!(self.call(&["SET", key, value]).await.is_ok());
        }
    }
}

/// Keys with values, `each` for each slot.
fn pairs(slots: std::ops::RangeInclusive<u16>, each: usize) -> Vec<(String, String)> {
    let mut tags = BTreeMap::new();
    for n in 0.. {
        let slot = slot_of(format!("{n}"));
        if slots.contains(&slot) {
            tags.entry(slot).or_insert(n);
        }
        if tags.len() == slots.len() {
            break;
        }
    }
    let keys = tags.values().flat_map(|tag| (0..each).map(move |n| format!("{{{tag}}}:{n}")));
    keys.map(|key| (key.clone(), format!("of {key}"))).collect()
}

async fn ends(cluster: &Cluster) -> (Arc<Server>, Arc<Server>) {
    (cluster.primary_of(0).await.unwrap(), cluster.primary_of(16_383).await.unwrap())
}

#[tokio::test]
async fn a_cluster_is_ready_and_fails_over() {
    let begun = Instant::now();
    let cluster = Cluster::start(3, 1).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());

    let nodes = cluster.nodes();
    let ports: Vec<String> = nodes.iter().map(|node| node.addr().to_string()).collect();
    assert_eq!(cluster.url(), format!("redis-cluster://{}", ports.join(",")));
    for node in &nodes {
        let view = cluster.view(node).await.unwrap();
        assert!(view.is_ok && view.link_is_up && view.nodes.len() == 6, "{view:?}");
        for (slot, n) in [(0, 0), (5460, 0), (5461, 1), (10_921, 1), (10_922, 2), (16_383, 2)] {
            assert_eq!(view.owner(slot).unwrap().port, nodes[n].port(), "{slot}");
        }
        for n in 0..3 {
            let replica = view.node(&cluster.id(&nodes[n + 3]).unwrap()).unwrap();
            assert_eq!(replica.primary, cluster.id(&nodes[n]));
            assert!(!replica.is_primary() && replica.is_connected | replica.is_self);
        }
    }
    let stranger = Server::start().await.unwrap();
    assert_eq!(cluster.id(&stranger), None);

    let pairs = pairs(0..=2, 2);
    let mut client = Client::of(&cluster).await;
    client.set(&pairs).await;
    let old = cluster.primary_of(1).await.unwrap();
    let heir = cluster.replicas_of(1).await.unwrap().pop().unwrap();
    let new = cluster.failover(1).await.unwrap();
    assert_eq!(
        (old.port(), heir.port(), new.port()),
        (nodes[0].port(), nodes[3].port(), heir.port())
    );
    cluster.ready().await.unwrap();
    assert_eq!(cluster.replicas_of(0).await.unwrap()[0].port(), old.port());
    client.holds(&pairs).await;
    assert!(client.moved > 0 && client.asked == 0);
    // All of them there and back: seen too early, now and then it would be the old one that is returned. And the first
    // one again at once, where nobody votes so soon.
    for slot in [1, 1, 5461, 10_922, 5461, 10_922] {
        let heir = cluster.replicas_of(slot).await.unwrap().pop().unwrap();
        assert_eq!(cluster.failover(slot).await.unwrap().port(), heir.port(), "{slot}");
        cluster.ready().await.unwrap();
    }
    client.holds(&pairs).await;
}

#[tokio::test]
async fn a_replica_takes_the_place_of_a_dead_and_of_a_hung_primary() {
    let cluster = Cluster::start(3, 1).await.unwrap();
    let pairs = pairs(0..=2, 2);
    Client::of(&cluster).await.set(&pairs).await;
    for hung in [false, true] {
        let primary = cluster.primary_of(1).await.unwrap();
        let replica = cluster.replicas_of(1).await.unwrap().pop().unwrap();
        let mut conn = primary.conn().await.unwrap();
        assert_eq!(conn.call(&["WAIT", "1", "5000"]).await.unwrap().int(), Some(1));
        if hung {
            primary.pause().await.unwrap();
        } else {
            let dead = cluster.kill_primary_of(1).await.unwrap();
            assert!(dead.port() == primary.port() && !dead.is_running());
        }
        let new = cluster.promoted(1).await.unwrap();
        assert_eq!(new.port(), replica.port());
        let got = new.conn().await.unwrap().call(&["GET", &pairs[2].0]).await.unwrap();
        assert_eq!(got.text(), Some(pairs[2].1.as_str()));
        if hung {
            primary.resume().await.unwrap();
        } else {
            primary.restart().await.unwrap();
        }
        cluster.ready().await.unwrap();
        let view = cluster.view(&primary).await.unwrap();
        assert_eq!(view.node(&cluster.id(&primary).unwrap()).unwrap().primary, cluster.id(&new));
        Client::of(&cluster).await.holds(&pairs).await;
    }
}

#[tokio::test]
async fn slots_are_held_open() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let (from, to) = ends(&cluster).await;
    let pairs = pairs(0..=2, 2);
    let mut client = Client::of(&cluster).await;
    client.set(&pairs).await;

    let open = cluster.open_slots(0..=2, &from, &to).await.unwrap();
    assert_eq!(
        (open.slots(), open.from().port(), open.to().port()),
        (&[0, 1, 2][..], from.port(), to.port())
    );
    let view = cluster.view(&from).await.unwrap();
    let to_id = cluster.id(&to).unwrap();
    assert_eq!(view.owner(0).unwrap().migrating, [0, 1, 2].map(|slot| (slot, to_id.clone())));
    let view = cluster.view(&to).await.unwrap();
    assert_eq!(view.node(&to_id).unwrap().importing.len(), 3);

    // Nothing is moved: the source answers, and sends on those who ask for what it has not.
    (client.moved, client.asked) = (0, 0);
    for (key, value) in &pairs {
        assert_eq!(client.call_at(from.port(), &["GET", key]).await.text(), Some(value.as_str()));
    }
    assert_eq!((client.moved, client.asked), (0, 0));
    let absent = format!("{}:absent", pairs[0].0);
    assert!(client.call_at(from.port(), &["GET", &absent]).await.is_nil());
    assert_eq!((client.moved, client.asked), (0, 1));

    // A slot of which one key is here and one there.
    let [(first, _), (second, _), ..] = pairs.as_slice() else { unreachable!() };
    assert!(open.move_key(first).await.unwrap());
    assert!(!open.move_key(first).await.unwrap());
    let torn = client.call_at(from.port(), &["MGET", first, second]).await;
    assert!(torn.error().is_some_and(|error| error.starts_with("TRYAGAIN")), "{torn:?}");

    // Keys that would be lost are not.
    match open.assign().await {
        Err(Error::Config { field: "slots", reason }) => assert!(reason.contains('0'), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(cluster.primary_of(0).await.unwrap().port(), from.port());

    let open = cluster.open_slots(0..=2, &from, &to).await.unwrap();
    assert_eq!(open.move_keys().await.unwrap(), 5);
    (client.moved, client.asked) = (0, 0);
    for (key, value) in &pairs {
        assert_eq!(client.call_at(from.port(), &["GET", key]).await.text(), Some(value.as_str()));
    }
    assert_eq!((client.moved, client.asked), (0, 6));
    let owner = cluster.view(&to).await.unwrap().owner(0).unwrap().port;
    assert_eq!(owner, from.port());

    open.assign().await.unwrap();
    (client.moved, client.asked) = (0, 0);
    for (key, value) in &pairs {
        assert_eq!(client.call_at(from.port(), &["GET", key]).await.text(), Some(value.as_str()));
    }
    assert_eq!((client.moved, client.asked), (6, 0));
    for node in cluster.nodes() {
        let view = cluster.view(&node).await.unwrap();
        assert!((0..=2).all(|slot| view.owner(slot).unwrap().port == to.port()));
        assert!(
            view.nodes.iter().all(|node| node.importing.is_empty() && node.migrating.is_empty())
        );
    }

    for (slots, from, to, expected) in [
        (vec![], &from, &to, "slots"),
        (vec![3, 0], &from, &to, "slots"),
        (vec![16_384], &from, &to, "slots"),
        (vec![3], &from, &from, "to"),
        (vec![3], &from, &Arc::new(Server::start().await.unwrap()), "node"),
    ] {
        match cluster.open_slots(slots, from, to).await {
            Err(Error::Config { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    let view = cluster.view(&to).await.unwrap();
    assert!(view.nodes.iter().all(|node| node.importing.is_empty()), "{view:?}");
    assert!(matches!(cluster.primary_of(16_384).await, Err(Error::Config { field: "slot", .. })));
    let alone = cluster.failover(0).await;
    assert!(matches!(alone, Err(Error::Config { field: "slot", .. })), "{alone:?}");
}

#[tokio::test]
async fn slots_and_their_keys_go_there_and_back() {
    let cluster = Cluster::builder().password("p \"w").start().await.unwrap();
    assert!(cluster.url().starts_with("redis-cluster://:p%20%22w@127.0.0.1:"), "{}", cluster.url());
    let (from, to) = ends(&cluster).await;
    let mut pairs = pairs(100..=199, 3);
    // More than one MIGRATE for this one.
    let tag = pairs[0].0.clone();
    let tag = tag.split(':').next().unwrap();
    pairs.extend((0..350).map(|n| (format!("{tag}:more:{n}\r\n"), n.to_string())));
    let mut client = Client::of(&cluster).await;
    client.set(&pairs).await;
    let size = |node: Arc<Server>| async move {
        node.conn().await.unwrap().call(&["DBSIZE"]).await.unwrap().int().unwrap()
    };
    assert_eq!(cluster.reshard(100..=199, &from, &to).await.unwrap(), 650);
    assert_eq!((size(from.clone()).await, size(to.clone()).await), (0, 650));
    client.holds(&pairs).await;
    assert_eq!(cluster.reshard(100..=199, &to, &from).await.unwrap(), 650);
    assert_eq!((size(from.clone()).await, size(to.clone()).await), (650, 0));
    client.holds(&pairs).await;

    // A target that hangs is an error, and nothing is lost.
    let open = cluster.open_slots([100], &from, &to).await.unwrap();
    to.kill().await.unwrap();
    let refused = open.move_keys().await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert_eq!(size(from.clone()).await, 650);
}

#[tokio::test]
async fn slots_go_in_one_piece_where_servers_can_do_it() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let (from, to) = ends(&cluster).await;
    let pairs = pairs(10..=19, 3);
    let mut client = Client::of(&cluster).await;
    client.set(&pairs).await;
    let version = from.version();
    let able = match version.flavor {
        Flavor::Valkey => version.at_least(9, 0),
        _ => version.at_least(8, 4),
    };
    for (from, to) in [(&from, &to), (&to, &from)] {
        let done = cluster.migrate_atomically((10..=14).chain(16..=19), from, to).await;
        if able {
            done.unwrap();
            for (slot, owner) in [(10, to), (14, to), (19, to), (15, &ends(&cluster).await.0)] {
                assert_eq!(cluster.primary_of(slot).await.unwrap().port(), owner.port(), "{slot}");
            }
        } else {
            assert!(matches!(done, Err(Error::Unsupported { .. })), "{done:?}");
        }
        client.holds(&pairs).await;
    }
    assert_eq!(client.asked, 0);
}

#[tokio::test]
async fn nodes_come_and_go() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let pairs = pairs(0..=2, 2);
    Client::of(&cluster).await.set(&pairs).await;
    let (first, _) = ends(&cluster).await;

    let added = cluster.add_node().await.unwrap();
    let id = cluster.id(&added).unwrap();
    assert_eq!(cluster.nodes().len(), 4);
    for node in cluster.nodes() {
        let view = cluster.view(&node).await.unwrap();
        let new = view.node(&id).unwrap();
        assert!(new.is_primary() && new.slots.is_empty() && new.is_known, "{new:?}");
    }
    cluster.reshard(0..=2, &first, &added).await.unwrap();
    Client::of(&cluster).await.holds(&pairs).await;

    let replica = cluster.add_replica(&added).await.unwrap();
    assert_eq!(cluster.replicas_of(0).await.unwrap()[0].port(), replica.port());
    let mut copy = replica.conn().await.unwrap();
    assert_eq!(copy.call(&["DBSIZE"]).await.unwrap().int(), Some(6));

    let needed = async |node: &Server, why: &str| match cluster.remove_node(node).await {
        Err(Error::Config { field: "node", reason }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    };
    needed(&added, "3 slots").await;
    cluster.reshard(0..=2, &added, &first).await.unwrap();
    needed(&added, "follows it").await;
    cluster.remove_node(&replica).await.unwrap();
    assert!(!replica.is_running());
    // One that died before.
    added.kill().await.unwrap();
    cluster.remove_node(&added).await.unwrap();
    needed(&added, "no node").await;
    assert_eq!(cluster.nodes().len(), 3);
    for node in cluster.nodes() {
        assert_eq!(cluster.view(&node).await.unwrap().nodes.len(), 3);
    }
    cluster.ready().await.unwrap();
    Client::of(&cluster).await.holds(&pairs).await;
}

#[tokio::test]
async fn a_hole_takes_down_what_it_must_and_no_more() {
    let cluster = Cluster::builder()
        .full_coverage(false)
        .node_timeout(Duration::from_secs(1))
        .ready_within(Duration::from_secs(6))
        .start()
        .await
        .unwrap();
    let (dead, other) = ends(&cluster).await;
    assert_eq!(cluster.kill_primary_of(0).await.unwrap().port(), dead.port());
    match cluster.ready().await {
        Err(Error::NotReached { what, seen, .. }) => {
            assert!(what.contains("complete") && seen.contains("10923 slots"), "{what}: {seen}");
        }
        other => panic!("{other:?}"),
    }
    let mut conn = other.conn().await.unwrap();
    let pairs = pairs(16_383..=16_383, 1);
    assert!(conn.call(&["GET", &pairs[0].0]).await.unwrap().is_nil());
    let view = cluster.view(&other).await.unwrap();
    assert!(view.is_ok && view.owner(0).unwrap().is_failing, "{view:?}");
    dead.restart().await.unwrap();
    cluster.ready().await.unwrap();
}

#[tokio::test]
async fn wrong_options_are_errors_that_name_them() {
    for (builder, expected) in [
        (Cluster::builder().primaries(0), "primaries"),
        (Cluster::builder().server(Server::builder().port(7000)), "server"),
        (Cluster::builder().server(Server::builder().replicas(1)), "server"),
        (Cluster::builder().password(""), "password"),
        (Cluster::builder().config("a b", "c"), "config"),
    ] {
        match builder.start().await {
            Err(Error::Config { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    match Cluster::builder().config("no-such-directive", "1").start().await {
        Err(Error::Exited { log, .. }) => assert!(log.contains("no-such-directive"), "{log}"),
        other => panic!("{other:?}"),
    }
    let unready = Cluster::builder().primaries(1).ready_within(Duration::from_millis(100)).start();
    let begun = Instant::now();
    match unready.await {
        Err(Error::NotReached { seen, .. }) => assert!(seen.contains("cluster_state"), "{seen}"),
        other => panic!("{other:?}"),
    }
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn slots_are_those_of_the_server() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server =
        runtime.block_on(Server::builder().config("cluster-enabled", "yes").start()).unwrap();
    let conn = RefCell::new(runtime.block_on(server.conn()).unwrap());
    let key = proptest::collection::vec(prop_oneof![Just(b'{'), Just(b'}'), any::<u8>()], 0..12);
    TestRunner::default()
        .run(&key, |key| {
            let mut conn = conn.borrow_mut();
            let reply = runtime.block_on(conn.call(&[b"CLUSTER".as_slice(), b"KEYSLOT", &key]));
            prop_assert_eq!(reply.unwrap().int(), Some(i64::from(slot_of(&key))));
            Ok(())
        })
        .unwrap();
}
