use std::time::Duration;

use russet_testkit::{Conn, Error, Fsync, Server};

async fn wait(conn: &mut Conn, replicas: &str, ms: &str) -> Option<i64> {
    conn.call(&["WAIT", replicas, ms]).await.unwrap().int()
}

#[tokio::test]
async fn replicas_follow_and_end_with_their_server() {
    let server = Server::start_with_replicas(2).await.unwrap();
    for replica in server.replicas() {
        let info = replica.conn().await.unwrap().call(&["INFO", "replication"]).await.unwrap();
        assert!(info.text().unwrap().contains("master_link_status:up\r\n"), "{info:?}");
    }
    let mut conn = server.conn().await.unwrap();
    conn.call(&["SET", "k", "v"]).await.unwrap();
    assert_eq!(wait(&mut conn, "2", "5000").await, Some(2));
    for replica in server.replicas() {
        let mut conn = replica.conn().await.unwrap();
        assert_eq!(conn.call(&["GET", "k"]).await.unwrap().text(), Some("v"));
        let refused = conn.call(&["SET", "k", "w"]).await.unwrap();
        assert!(refused.error().unwrap().starts_with("READONLY"), "{refused:?}");
        assert!(replica.replicas().is_empty());
    }
    let dirs: Vec<_> =
        server.replicas().iter().chain([&server]).map(|server| server.dir().to_owned()).collect();
    assert!(dirs.iter().all(|dir| dir.is_dir()));
    drop(server);
    assert!(!dirs.iter().any(|dir| dir.exists()));
}

#[tokio::test]
async fn a_paused_or_killed_replica_acknowledges_nothing() {
    let server = Server::builder().replicas(1).aof(Fsync::EverySecond).start().await.unwrap();
    let replica = &server.replicas()[0];
    let mut conn = server.conn().await.unwrap();

    replica.pause().await.unwrap();
    conn.call(&["SET", "k", "1"]).await.unwrap();
    assert_eq!(wait(&mut conn, "1", "50").await, Some(0));
    replica.resume().await.unwrap();
    assert_eq!(wait(&mut conn, "1", "5000").await, Some(1));

    replica.kill().await.unwrap();
    conn.call(&["SET", "k", "2"]).await.unwrap();
    assert_eq!(wait(&mut conn, "1", "50").await, Some(0));
    // Nothing is expected of one that does not run.
    server.replicas_follow().await.unwrap();
    replica.restart().await.unwrap();
    server.replicas_follow().await.unwrap();
    assert_eq!(wait(&mut conn, "1", "5000").await, Some(1));
    let mut copy = replica.conn().await.unwrap();
    assert_eq!(copy.call(&["GET", "k"]).await.unwrap().text(), Some("2"));

    server.restart().await.unwrap();
    server.replicas_follow().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    conn.call(&["SET", "k", "3"]).await.unwrap();
    assert_eq!(wait(&mut conn, "1", "5000").await, Some(1));
}

#[tokio::test]
async fn replicas_know_the_password() {
    let server = Server::builder().password("p \"w").replicas(1).start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    conn.call(&["SET", "k", "v"]).await.unwrap();
    assert_eq!(wait(&mut conn, "1", "5000").await, Some(1));
    let mut copy = Conn::open(&server.replicas()[0].url()).await.unwrap();
    assert_eq!(copy.call(&["GET", "k"]).await.unwrap().text(), Some("v"));
}

#[tokio::test]
async fn replicas_that_cannot_follow_are_an_error() {
    // They follow as the default user, who may do nothing here.
    let closed = Server::builder()
        .acl_file("user default on nopass +ping +info")
        .replicas(1)
        .ready_within(Duration::from_secs(2))
        .start()
        .await;
    match closed {
        Err(Error::NotReady { log, .. }) => assert!(log.contains("NOPERM"), "{log}"),
        other => panic!("{other:?}"),
    }
    let server = Server::start_with_replicas(1).await.unwrap();
    server.kill().await.unwrap();
    assert!(matches!(server.replicas_follow().await, Err(Error::NotRunning)));
}
