use std::time::{Duration, Instant};

use russet_testkit::{Conn, Error, Reply, Sentinel, Server};

#[tokio::test]
async fn a_replica_takes_over_on_demand_and_by_death() {
    let begun = Instant::now();
    let sentinel = Sentinel::start(2, 3).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let ports: Vec<String> =
        sentinel.sentinels().iter().map(|process| process.addr().to_string()).collect();
    assert_eq!(sentinel.url(), format!("redis-sentinel://{}/mymaster", ports.join(",")));
    assert_eq!((sentinel.servers().len(), sentinel.sentinel_password()), (3, None));

    let first = sentinel.primary().await.unwrap();
    assert_eq!(first.port(), sentinel.servers()[0].port());
    assert_eq!(sentinel.replicas().await.unwrap().len(), 2);
    let mut conn = first.conn().await.unwrap();
    conn.call(&["SET", "k", "v"]).await.unwrap();
    assert_eq!(conn.call(&["WAIT", "2", "5000"]).await.unwrap().int(), Some(2));

    let second = sentinel.failover().await.unwrap();
    assert_ne!(second.port(), first.port());
    sentinel.ready().await.unwrap();
    let mut conn = second.conn().await.unwrap();
    assert_eq!(conn.call(&["GET", "k"]).await.unwrap().text(), Some("v"));
    assert!(conn.call(&["SET", "k", "w"]).await.unwrap().is_ok());
    assert_eq!(conn.call(&["WAIT", "2", "5000"]).await.unwrap().int(), Some(2));

    assert_eq!(sentinel.kill_primary().await.unwrap().port(), second.port());
    let third = sentinel.promoted().await.unwrap();
    assert_ne!(third.port(), second.port());
    let mut conn = third.conn().await.unwrap();
    assert_eq!(conn.call(&["GET", "k"]).await.unwrap().text(), Some("w"));
    second.restart().await.unwrap();
    sentinel.ready().await.unwrap();
    // One that any of them still takes for a primary it would not let be promoted.
    for process in sentinel.sentinels() {
        let list = ["SENTINEL", "REPLICAS", sentinel.name()];
        let told = process.conn().await.unwrap().call(&list).await.unwrap();
        let words = |about: &Reply| {
            about.items().unwrap().iter().filter_map(Reply::text).map(str::to_owned).collect()
        };
        let replicas: Vec<Vec<String>> = told.items().unwrap().iter().map(words).collect();
        let seen =
            |about: &Vec<String>| about.chunks(2).any(|pair| pair == ["role-reported", "slave"]);
        assert!(replicas.len() == 2 && replicas.iter().all(seen), "{replicas:?}");
    }
    let refused = second.conn().await.unwrap().call(&["SET", "k", "x"]).await.unwrap();
    assert!(refused.error().unwrap().starts_with("READONLY"), "{refused:?}");
}

#[tokio::test]
async fn passwords_of_data_and_of_sentinels() {
    let sentinel = Sentinel::builder()
        .sentinels(2)
        .password("data#1")
        .sentinel_password("watch#2")
        .start()
        .await
        .unwrap();
    assert!(sentinel.url().starts_with("redis-sentinel://:data%231@127."), "{}", sentinel.url());
    assert_eq!(sentinel.sentinel_password(), Some("watch#2"));
    assert!(!format!("{sentinel:?}").contains("#"), "{sentinel:?}");
    for process in sentinel.servers().iter().chain(sentinel.sentinels()) {
        let mut stranger = Conn::tcp(process.addr()).await.unwrap();
        let refused = stranger.call(&["INFO"]).await.unwrap();
        assert!(refused.error().unwrap().starts_with("NOAUTH"), "{refused:?}");
    }
    let old = sentinel.primary().await.unwrap().port();
    assert_ne!(sentinel.failover().await.unwrap().port(), old);
    sentinel.ready().await.unwrap();
}

#[tokio::test]
async fn too_few_sentinels_name_and_promote_nobody() {
    let sentinel = Sentinel::builder().ready_within(Duration::from_secs(8)).start().await.unwrap();
    let [_, hung, dead] = sentinel.sentinels() else { unreachable!() };
    hung.pause().await.unwrap();
    let primary = sentinel.primary().await.unwrap();
    dead.kill().await.unwrap();
    match sentinel.primary().await {
        Err(Error::NotReached { what, seen, .. }) => {
            assert!(what.contains("most") && seen.contains("of 3"), "{what}: {seen}");
        }
        other => panic!("{other:?}"),
    }
    primary.pause().await.unwrap();
    assert!(matches!(sentinel.promoted().await, Err(Error::NotReached { .. })));
    hung.resume().await.unwrap();
    dead.restart().await.unwrap();
    let new = sentinel.promoted().await.unwrap();
    assert_ne!(new.port(), primary.port());
    primary.resume().await.unwrap();
    sentinel.ready().await.unwrap();
}

#[tokio::test]
async fn wrong_options_are_errors_that_name_them() {
    for (builder, expected) in [
        (Sentinel::builder().sentinels(0), "sentinels"),
        (Sentinel::builder().password("a b"), "password"),
        (Sentinel::builder().sentinel_password("a\"b"), "sentinel_password"),
        (Sentinel::builder().server(Server::builder().replicas(1)), "server"),
    ] {
        match builder.start().await {
            Err(Error::Config { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    match Sentinel::builder().sentinel_config("no-such-option", "1").start().await {
        Err(Error::Exited { log, .. }) => assert!(log.contains("no-such-option"), "{log}"),
        other => panic!("{other:?}"),
    }
}
