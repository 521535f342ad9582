use russet_testkit::{Conn, Error, Eviction, Fsync, Reply, Server};

#[tokio::test]
async fn a_server_answers_and_is_gone_afterwards() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    assert!(conn.call(&["SET", "k", "v"]).await.unwrap().is_ok());
    assert_eq!(conn.call(&["GET", "k"]).await.unwrap(), Reply::Bulk(b"v".to_vec()));
    let info = conn.call(&["INFO", "server"]).await.unwrap();
    assert!(info.text().unwrap().contains(&format!("process_id:{}\r\n", server.pid().unwrap())));
    assert!(server.log().contains("Ready to accept connections"), "{}", server.log());
    let dir = server.dir().to_owned();
    assert!(dir.is_dir());
    drop(server);
    assert!(!dir.exists());
    assert!(matches!(conn.call(&["PING"]).await, Err(Error::Closed)));
}

#[tokio::test]
async fn kill_pause_resume_restart_stop() {
    let server = Server::builder().aof(Fsync::Always).start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    conn.call(&["SET", "k", "v"]).await.unwrap();
    let (port, first) = (server.port(), server.pid().unwrap());

    server.pause().await.unwrap();
    assert!(server.is_running());
    let mut impatient =
        server.conn().await.unwrap().with_deadline(std::time::Duration::from_millis(50));
    assert!(matches!(impatient.call(&["PING"]).await, Err(Error::Timeout { .. })));
    server.resume().await.unwrap();
    assert_eq!(conn.call(&["GET", "k"]).await.unwrap().text(), Some("v"));

    server.pause().await.unwrap();
    server.kill().await.unwrap();
    assert!(!server.is_running());
    assert_eq!(server.pid(), None);
    assert!(matches!(conn.call(&["PING"]).await, Err(Error::Closed)));
    assert!(matches!(server.conn().await, Err(Error::Io { .. })));
    assert!(matches!(server.pause().await, Err(Error::NotRunning)));
    server.kill().await.unwrap();

    server.restart().await.unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid().unwrap(), first);
    assert_eq!(server.conn().await.unwrap().call(&["GET", "k"]).await.unwrap().text(), Some("v"));

    server.restart().await.unwrap();
    server.pause().await.unwrap();
    server.stop().await.unwrap();
    assert!(!server.is_running());
    assert!(server.log().contains("User requested shutdown"), "{}", server.log());
}

#[tokio::test]
async fn a_server_that_ends_by_itself_is_noticed() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let _ = conn.call(&["SHUTDOWN", "NOSAVE"]).await;
    server.stop().await.unwrap();
    assert!(!server.is_running());
    server.restart().await.unwrap();
    server.conn().await.unwrap().call(&["PING"]).await.unwrap();
}

#[tokio::test]
async fn passwords() {
    let server = Server::builder().password("p@ss \"\\wörd").start().await.unwrap();
    let stranger = Conn::tcp(server.addr()).await.unwrap().call(&["PING"]).await.unwrap();
    assert!(stranger.error().unwrap().starts_with("NOAUTH"), "{stranger:?}");
    assert!(server.conn().await.unwrap().call(&["PING"]).await.unwrap().text() == Some("PONG"));
    let mut by_url = Conn::open(&server.url()).await.unwrap();
    assert!(by_url.call(&["PING"]).await.unwrap().text() == Some("PONG"));
    let wrong = format!("redis://:wrong@{}", server.addr());
    assert!(matches!(Conn::open(&wrong).await, Err(Error::Refused(_))));
    assert!(!format!("{server:?}").contains("ss \\"), "{server:?}");
    server.restart().await.unwrap();
}

#[tokio::test]
async fn users() {
    let acl = "user default off\nuser ann on >secret ~a:* +@all\n";
    let server = Server::builder().acl_file(acl).start().await.unwrap();
    let mut ann = Conn::open(&format!("redis://ann:secret@{}/0", server.addr())).await.unwrap();
    assert!(ann.call(&["SET", "a:1", "v"]).await.unwrap().is_ok());
    let refused = ann.call(&["SET", "b:1", "v"]).await.unwrap();
    assert!(refused.error().unwrap().starts_with("NOPERM"), "{refused:?}");
    let stranger = server.conn().await.unwrap().call(&["PING"]).await.unwrap();
    assert!(stranger.error().unwrap().starts_with("NOAUTH"), "{stranger:?}");
}

#[tokio::test]
async fn memory_limits_and_other_directives() {
    let server = Server::builder()
        .maxmemory(64 << 20, Eviction::AllKeysLfu)
        .config("save", "3600 1 300 100")
        .config("databases", "3")
        .start()
        .await
        .unwrap();
    let mut conn = server.conn().await.unwrap();
    for (name, expected) in [
        ("maxmemory", "67108864"),
        ("maxmemory-policy", "allkeys-lfu"),
        ("save", "3600 1 300 100"),
        ("databases", "3"),
        ("appendonly", "no"),
        ("protected-mode", "no"),
        ("bind", "127.0.0.1"),
    ] {
        let value = conn.call(&["CONFIG", "GET", name]).await.unwrap();
        assert_eq!(value.items().unwrap()[1].text(), Some(expected), "{name}");
    }
    assert!(conn.call(&["DEBUG", "SLEEP", "0"]).await.unwrap().is_ok());
}

#[tokio::test]
async fn unix_sockets() {
    let server = Server::builder().unix_socket().start().await.unwrap();
    let path = server.socket_path().unwrap();
    let mut conn = Conn::open(&format!("unix://{}", path.display())).await.unwrap();
    conn.call(&["SET", "k", "v"]).await.unwrap();
    assert_eq!(server.conn().await.unwrap().call(&["GET", "k"]).await.unwrap().text(), Some("v"));
}

#[tokio::test]
async fn wrong_options_are_errors_that_name_them() {
    for (builder, expected) in [
        (Server::builder().password("a").acl_file("user ann on"), "password"),
        (Server::builder().password(""), "password"),
        (Server::builder().port(0), "port"),
        (Server::builder().config("save", "a\nb"), "config"),
        (Server::builder().config("a b", "c"), "config"),
    ] {
        match builder.start().await {
            Err(Error::Config { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    let absent = Server::builder().binary("/nowhere/redis-server").start().await;
    assert!(matches!(absent, Err(Error::ServerNotFound { .. })), "{absent:?}");
    let other = Server::builder().binary("/bin/sh").start().await;
    assert!(matches!(other, Err(Error::NotAServer { .. })), "{other:?}");
    match Server::builder().config("no-such-directive", "1").start().await {
        Err(Error::Exited { status: 1, log }) => {
            assert!(log.contains("no-such-directive"), "{log}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error() {
    let first = Server::start().await.unwrap();
    let second = Server::builder().port(first.port()).start().await;
    assert!(matches!(second, Err(Error::PortTaken { port }) if port == first.port()), "{second:?}");
    // And the first is not disturbed.
    assert!(first.conn().await.unwrap().call(&["PING"]).await.is_ok());
}

#[tokio::test]
async fn a_server_is_ready_only_when_it_has_loaded() {
    let server = Server::builder()
        .aof(Fsync::Never)
        .config("key-load-delay", "20000")
        .start()
        .await
        .unwrap();
    let mut conn = server.conn().await.unwrap();
    for n in 0..20 {
        conn.call(&["SET", &format!("k{n}"), "v"]).await.unwrap();
    }
    server.restart().await.unwrap();
    assert_eq!(server.conn().await.unwrap().call(&["DBSIZE"]).await.unwrap().int(), Some(20));
}

#[tokio::test]
async fn many_at_once_do_not_fight_over_ports() {
    let servers: Vec<_> = (0..12).map(|_| tokio::spawn(Server::start())).collect();
    for server in servers {
        server.await.unwrap().unwrap().conn().await.unwrap().call(&["PING"]).await.unwrap();
    }
}
