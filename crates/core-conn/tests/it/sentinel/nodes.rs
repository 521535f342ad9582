//! The servers behind the sentinels, one by one.

use russet_core_conn::{
    Cmd, ErrorKind, Key, LinkState, NodeInfo, Role, SentinelRole, ServerError, Standing,
};
use russet_testkit::{Sentinel, Server};

use crate::support::{clients, incr, ms, patient, until};

/// What is told of this server.
fn of<'a>(server: &Server, nodes: &'a [NodeInfo]) -> &'a NodeInfo {
    nodes.iter().find(|node| node.port == server.port()).unwrap()
}

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_one_server_stays_with_it_through_a_failover() {
    let sentinel = Sentinel::start(1, 3).await.unwrap();
    let redis = patient(&sentinel.url()).build().unwrap();
    redis.ping().await.unwrap();
    let primary = redis.nodes(Role::Primary).await.unwrap().remove(0);
    let stays = redis.on(&primary).unwrap();
    assert_eq!(stays.run::<i64>(incr("n")).await.unwrap(), 1);
    let new = sentinel.failover().await.unwrap();
    sentinel.ready().await.unwrap();
    let error = stays.run::<i64>(incr("n")).await.unwrap_err();
    assert_eq!(error.server(), Some(&ServerError::ReadOnly), "{error}");
    let place = format!("{}:{}", primary.host, primary.port);
    assert_eq!((error.node(), error.attempt()), (Some(&*place), 1));
    assert_eq!(redis.run::<i64>(incr("m")).await.unwrap(), 1);
    assert_eq!(of(new, &redis.nodes(Role::Primary).await.unwrap()).follows, None);
    assert!(redis.close().await.is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_away_are_told_of_to_every_role() {
    // Nobody takes the place of the primary.
    let servers = Sentinel::builder().replicas(2).config("replica-priority", "0");
    let sentinel = servers.start().await.unwrap();
    let redis = patient(&sentinel.url()).build().unwrap();
    let reader = patient(&sentinel.url()).sentinel_role(SentinelRole::Replica).build().unwrap();
    let primary = sentinel.primary().await.unwrap();
    let replicas = sentinel.replicas().await.unwrap();
    redis.ping().await.unwrap();
    reader.ping().await.unwrap();
    let mut all = Vec::new();
    // A sentinel asks now and then how far a replica is.
    until("all are up", async || {
        all = reader.nodes(None).await.unwrap();
        assert_eq!(all.len(), 3);
        all.iter().all(|node| node.standing == Standing::Up && node.linked)
    })
    .await;
    assert_eq!(of(primary, &all).role, Role::Primary);
    let linked = |node: &&NodeInfo| matches!(node.link, LinkState::Connected { .. });
    let own: Vec<_> = all.iter().filter(linked).collect();
    assert!(matches!(own[..], [node] if node.role == Role::Replica), "{all:?}");

    redis.on(of(replicas[0], &all)).unwrap().ping().await.unwrap();
    replicas[0].kill().await.unwrap();
    until("it is known to be away", async || {
        let nodes = redis.nodes(Role::Replica).await.unwrap();
        assert_eq!(nodes.len(), 2);
        let node = of(replicas[0], &nodes);
        node.standing == Standing::Suspected
            && !node.linked
            && matches!(node.link, LinkState::Away { .. })
    })
    .await;

    primary.kill().await.unwrap();
    for (handle, is_away) in [(&redis, true), (&reader, false)] {
        until("the primary is known to be away", async || {
            let nodes = handle.nodes(None).await.unwrap();
            assert_eq!(nodes.len(), 3);
            let node = of(primary, &nodes);
            let away = matches!(node.link, LinkState::Away { .. });
            assert!(node.role == Role::Primary && of(replicas[1], &nodes).role == Role::Replica);
            node.standing == Standing::Failed && !node.linked && away == is_away
        })
        .await;
    }
    assert!(redis.close().await.is_clean());
    assert!(matches!(redis.nodes(None).await.unwrap_err().kind(), ErrorKind::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_of_sentinels_the_server_tells() {
    let sentinel = Sentinel::start(1, 3).await.unwrap();
    let redis = patient(&sentinel.url()).build().unwrap();
    redis.ping().await.unwrap();
    for watcher in sentinel.sentinels() {
        watcher.kill().await.unwrap();
    }
    let nodes = redis.nodes(None).await.unwrap();
    let roles: Vec<_> = nodes.iter().map(|node| node.role).collect();
    assert_eq!(roles, [Role::Primary, Role::Replica], "{nodes:?}");
    assert!(redis.on(&nodes[0]).unwrap().ping().await.is_ok());
    // Of what was never found nobody knows where it is.
    let lost = redis.duplicate().with_deadline(ms(500));
    let error = lost.nodes(None).await.unwrap_err();
    assert!(matches!(error.cause(), Some(ErrorKind::Sentinel(_))), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_sentinels_forget_is_left() {
    let sentinel = Sentinel::start(2, 3).await.unwrap();
    let redis = patient(&sentinel.url()).connection_name("forgets").build().unwrap();
    let all = redis.nodes(None).await.unwrap();
    let leaves = sentinel.replicas().await.unwrap()[0];
    let asked = redis.on(of(leaves, &all)).unwrap();
    asked.ping().await.unwrap();
    let mut conn = leaves.conn().await.unwrap();
    assert_eq!(clients(&mut conn, "forgets").await.len(), 1);
    conn.call(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    for watcher in sentinel.sentinels() {
        watcher.conn().await.unwrap().call(&["SENTINEL", "RESET", "*"]).await.unwrap();
    }
    until("it is forgotten", async || {
        let nodes = redis.nodes(None).await.unwrap();
        nodes.iter().all(|node| node.port != leaves.port())
    })
    .await;
    until("it is left", async || clients(&mut conn, "forgets").await.is_empty()).await;
    assert!(asked.ping().await.is_err());
    // Whoever insists gets another connection.
    redis.on(of(leaves, &all)).unwrap().ping().await.unwrap();
    assert!(redis.close().await.is_clean());
}
