//! Sentinels and servers that are spoken to by TLS.

use std::time::{Duration, Instant};

use russet_core_conn::{
    Cmd, Credentials, Durability, ErrorKind, Key, LinkState, RedisBuilder, Role, SendOutcome,
    SentinelError, SentinelRole, Tls, TlsError, Topic,
};
use russet_testkit::{Builder, Certificates, Sentinel, SentinelBuilder, Server};

use super::why;
use crate::support::{clients, incr, ms, patient, until, with_tls};

fn server() -> Builder {
    Server::builder().tls(russet_testkit::Tls::new())
}

async fn start(builder: SentinelBuilder) -> Option<Sentinel> {
    with_tls(builder.start().await)
}

fn trusting(certificates: Option<&Certificates>) -> Tls {
    Tls::new().ca_pem(certificates.unwrap().ca().text())
}

/// The ports at which the connections of this name came in.
async fn came_by(server: &Server, name: &str) -> Vec<String> {
    let connections = clients(&mut server.conn().await.unwrap(), name).await;
    let port = |line: &String| {
        line.split(' ').find_map(|field| field.strip_prefix("laddr=")).unwrap().to_owned()
    };
    connections.iter().map(port).collect()
}

/// Whether this many connections of this name are there, all by TLS.
async fn by_tls(server: &Server, name: &str, count: usize) -> bool {
    let tls = server.tls_addr().unwrap().to_string();
    let came = came_by(server, name).await;
    assert!(came.iter().all(|addr| *addr == tls), "{came:?}");
    came.len() == count
}

fn get(name: &'static str) -> Cmd {
    Cmd::read("GET").key(&Key::raw(name))
}

/// They have plain ports too, and passwords.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_and_whom_they_name_are_spoken_to_by_tls() {
    let builder = Sentinel::builder().server(server().password("of-data"));
    let Some(sentinel) = start(builder.sentinel_password("of-sentinels")).await else { return };
    let by = |name: &str| -> RedisBuilder {
        patient(&sentinel.url())
            .tls(trusting(sentinel.certificates()))
            .sentinel_credentials(Credentials::password("of-sentinels"))
            .connection_name(name)
    };
    let redis = by("writer").build().unwrap();
    let reader = by("reader").sentinel_role(SentinelRole::Replica).build().unwrap();
    let safe = redis.with_durability(Durability::Replicas(1));
    assert_eq!(safe.run::<i64>(incr("n")).await.unwrap(), 1);
    assert_eq!(reader.run::<i64>(get("n")).await.unwrap(), 1);
    assert_eq!(reader.info().await.unwrap().role, Some(Role::Replica));
    // Connections for more than calls, too.
    let _own = redis.dedicated().await.unwrap();
    let _news = redis.hub().subscribe(Topic::channel("news")).await.unwrap();
    let (old, new) = (&sentinel.servers()[0], &sentinel.servers()[1]);
    assert!(by_tls(old, "writer", 3).await && by_tls(old, "reader", 0).await);
    assert!(by_tls(new, "reader", 1).await && by_tls(new, "writer", 0).await);
    for watcher in sentinel.sentinels() {
        until("asked and listened to", async || by_tls(watcher, "writer", 2).await).await;
    }

    assert_eq!(sentinel.kill_primary().await.unwrap().port(), old.port());
    assert_eq!(sentinel.promoted().await.unwrap().port(), new.port());
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 2);
    until("with its hub", async || by_tls(new, "writer", 2).await).await;
    // The replica has become the primary, and is left by whoever wants none.
    old.restart().await.unwrap();
    sentinel.ready().await.unwrap();
    assert_eq!(reader.run::<i64>(get("n")).await.unwrap(), 2);
    assert!(by_tls(old, "reader", 1).await);
    until("it is left", async || by_tls(new, "reader", 0).await).await;
    assert!(redis.close().await.is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_needs_a_plain_port_and_each_asks_who_we_are() {
    let tls = russet_testkit::Tls::new().only().require_client_certificate();
    let builder = Sentinel::builder().server(Server::builder().tls(tls));
    let Some(sentinel) = start(builder).await else { return };
    let known = sentinel.certificates().unwrap().client();
    let tls = trusting(sentinel.certificates())
        .client_files(known.certificate().path(), known.key().path());
    let redis = patient(&sentinel.url()).tls(tls).build().unwrap();
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 1);
    // One by one, too.
    let nodes = redis.nodes(None).await.unwrap();
    assert_eq!(nodes.len(), 2, "{nodes:?}");
    for node in &nodes {
        redis.on(node).unwrap().ping().await.unwrap();
    }
    let nodes = redis.nodes(None).await.unwrap();
    assert!(nodes.iter().all(|node| matches!(node.link, LinkState::Connected { .. })), "{nodes:?}");
    sentinel.failover().await.unwrap();
    redis.run::<i64>(incr("n")).await.unwrap();

    // Without a certificate nobody is told anything.
    let stranger = patient(&sentinel.url()).tls(trusting(sentinel.certificates()));
    let error = stranger.build().unwrap().without_waiting().ping().await.unwrap_err();
    let expected = TlsError::ClientCertificateRequired.to_string();
    let SentinelError::NoMajority { answered: 0, reason, .. } = why(&error) else {
        panic!("{error}");
    };
    assert!(reason.contains(&expected), "{reason}");
    // In the clear, neither.
    let clear = patient(&sentinel.url().replace("rediss", "redis")).build().unwrap();
    let error = clear.without_waiting().ping().await.unwrap_err();
    assert!(matches!(why(&error), SentinelError::NoMajority { answered: 0, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_trusted_is_not_spoken_to() {
    let Some(sentinel) = start(Sentinel::builder().server(server())).await else { return };
    // Watched too, and with a CA of its own.
    let other = with_tls(server().start().await).unwrap();
    let port = other.tls_addr().unwrap().port().to_string();
    for watcher in sentinel.sentinels() {
        let monitor = ["SENTINEL", "MONITOR", "other", "127.0.0.1", &port, "2"];
        assert!(watcher.conn().await.unwrap().call(&monitor).await.unwrap().is_ok());
    }
    let url = sentinel.url().replace(sentinel.name(), "other");
    let deadline = Duration::from_secs(3);
    let told = async |url: &str, tls: Tls| {
        let redis = patient(url).deadline(deadline).connection_name("stranger").tls(tls);
        let redis = redis.build().unwrap();
        let began = Instant::now();
        // Whoever waits does so until the deadline.
        let waited = redis.run::<i64>(incr("n")).await.unwrap_err();
        assert!(began.elapsed() < deadline + ms(500), "{:?}", began.elapsed());
        let error = redis.without_waiting().run::<i64>(incr("n")).await.unwrap_err();
        for error in [&waited, &error] {
            assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
        }
        error
    };
    // The server is not trusted, though the sentinels that name it are.
    let trusted = || trusting(sentinel.certificates());
    let error = told(&url, trusted()).await;
    let cause = error.cause();
    assert!(matches!(cause, Some(ErrorKind::Tls(TlsError::UnknownIssuer))), "{cause:?}");
    // Nor are the sentinels, though the server is.
    let error = told(&url, trusting(other.certificates())).await;
    let SentinelError::NoMajority { answered: 0, reason, .. } = why(&error) else {
        panic!("{error}");
    };
    assert!(reason.contains(&TlsError::UnknownIssuer.to_string()), "{reason}");
    assert!(by_tls(&other, "stranger", 0).await);

    let both = trusted().ca_pem(other.certificates().unwrap().ca().text());
    let redis = patient(&url).connection_name("friend").tls(both).build().unwrap();
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 1);
    assert!(by_tls(&other, "friend", 1).await);
}
