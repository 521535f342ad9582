//! TLS with a real server: whom we trust, who we are, and why it failed.
//!
//! A server that was built without TLS says so, and there is nothing to prove then.

use std::time::{Duration, Instant};

use russet_core_conn::{
    Backoff, Cmd, ErrorKind, EventKind, Key, Redis, SendOutcome, ServerError, Tls, TlsError,
};
use russet_testkit::{Builder, Certificates, Server};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::order::Order;
use crate::support::{
    clients, incr, is_fourth_attempt, ms, patient, run_again, told_alone, tried_again, until,
    with_tls,
};

async fn start(builder: Builder) -> Option<Server> {
    with_tls(builder.start().await)
}

fn tls() -> russet_testkit::Tls {
    russet_testkit::Tls::new()
}

fn trusting(certificates: &Certificates) -> Tls {
    Tls::new().ca_pem(certificates.ca().text())
}

/// What keeps this client out, by the error of a call and by each of the events: it is the same each time.
async fn kept_out(url: &str, tls: Tls) -> TlsError {
    let redis = patient(url).tls(tls).reconnect(Backoff::constant(ms(10))).build().unwrap();
    let redis = redis.without_waiting();
    let (mut events, mut order) = (redis.events(), Order::default());
    let error = redis.run::<i64>(incr("n")).await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
    assert!(matches!(error.kind(), ErrorKind::NotConnected(_)), "{error}");
    let Some(ErrorKind::Tls(why)) = error.cause() else { panic!("{error}: {:?}", error.cause()) };
    assert!(error.to_string().contains(&why.to_string()), "{error}");
    for _ in 0..5 {
        let event = order.until(&mut events, |kind| matches!(kind, EventKind::Error(_))).await;
        let EventKind::Error(error) = event.kind else { panic!() };
        assert!(matches!(error.kind(), ErrorKind::Tls(again) if again == why), "{error}");
        assert!(!error.is_retryable());
    }
    // A call on a connection of its own is told the same.
    let error = told_alone(&redis).await;
    let told = error.cause().unwrap_or(error.kind());
    assert!(matches!(told, ErrorKind::Tls(again) if again == why), "{error}");
    why.clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_go_by_tls_alone() {
    let builder = Server::builder().password("secret").tls(tls().only());
    let Some(server) = start(builder).await else { return };
    let url = server.tls_url().unwrap();
    let tls = Tls::new().ca_file(server.certificates().unwrap().ca().path());
    let redis = patient(&url).tls(tls).connection_name("tls").connections(2).build().unwrap();
    redis.ready().await.unwrap();
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 1);
    let large = "x".repeat(300_000);
    let set = Cmd::idempotent("SET").key(&Key::raw("large")).arg(&large);
    let () = redis.run(set).await.unwrap();
    let got: String = redis.run(Cmd::read("GET").key(&Key::raw("large"))).await.unwrap();
    assert!(got == large);
    // On a connection of its own, too.
    let () = redis.run(Cmd::write("RPUSH").key(&Key::raw("list")).arg("a")).await.unwrap();
    let alone = Cmd::write("BLPOP").key(&Key::raw("list")).arg("1");
    assert_eq!(redis.run::<Vec<String>>(alone).await.unwrap(), ["list", "a"]);
    // And by the next generation.
    let mut events = redis.events();
    let mut conn = server.conn().await.unwrap();
    for line in clients(&mut conn, "tls").await {
        let id = line.split(' ').find_map(|field| field.strip_prefix("id=")).unwrap();
        conn.call(&["CLIENT", "KILL", "ID", id]).await.unwrap();
    }
    for _ in 0..2 {
        events.find(|kind| matches!(kind, EventKind::Ready(_))).await.unwrap();
    }
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 2);
    // In the clear nobody gets in.
    let clear = patient(&url.replace("rediss", "redis")).build().unwrap().without_waiting();
    let error = clear.ping().await.unwrap_err();
    assert!(matches!(error.cause(), Some(ErrorKind::Connect(_))), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_the_one_is_refused() {
    let Some(server) = start(Server::builder().tls(tls())).await else { return };
    let url = server.tls_url().unwrap();
    let known = server.certificates().unwrap();

    let other = start(Server::builder().tls(tls())).await.unwrap();
    assert_eq!(
        kept_out(&url, trusting(other.certificates().unwrap())).await,
        TlsError::UnknownIssuer
    );
    let name = "elsewhere.test";
    let why = kept_out(&url, trusting(known).server_name(name)).await;
    assert_eq!(why, TlsError::WrongName(name.to_owned()));

    let expired = start(Server::builder().tls(tls().expired())).await.unwrap();
    let trusted = trusting(expired.certificates().unwrap());
    assert_eq!(kept_out(&expired.tls_url().unwrap(), trusted).await, TlsError::Expired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_name_can_be_asked_for() {
    let builder = Server::builder().tls(tls().for_name("redis.internal"));
    let Some(server) = start(builder).await else { return };
    let url = server.tls_url().unwrap();
    let trusted = || trusting(server.certificates().unwrap());
    let redis = patient(&url).tls(trusted().server_name("redis.internal")).build().unwrap();
    redis.ping().await.unwrap();
    let host = server.tls_addr().unwrap().ip().to_string();
    assert_eq!(kept_out(&url, trusted()).await, TlsError::WrongName(host));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_asks_who_we_are_is_told() {
    let builder = Server::builder().tls(tls().require_client_certificate());
    let Some(server) = start(builder).await else { return };
    let url = server.tls_url().unwrap();
    let certificates = server.certificates().unwrap();
    let (known, stranger) = (certificates.client(), start(Server::builder().tls(tls())).await);
    let stranger = stranger.unwrap();
    let stranger = stranger.certificates().unwrap().client();

    let files =
        || trusting(certificates).client_files(known.certificate().path(), known.key().path());
    let text = trusting(certificates).client_pem(known.certificate().text(), known.key().text());
    for tls in [files(), text] {
        patient(&url).tls(tls).build().unwrap().ping().await.unwrap();
    }
    let none = kept_out(&url, trusting(certificates)).await;
    assert_eq!(none, TlsError::ClientCertificateRequired);
    let unknown =
        trusting(certificates).client_pem(stranger.certificate().text(), stranger.key().text());
    let refused = kept_out(&url, unknown).await;
    assert!(matches!(refused, TlsError::ClientCertificateRefused(_)), "{refused:?}");
    // A key that is not the certificate's is found before anybody is asked.
    let mixed = files().client_pem(known.certificate().text(), stranger.key().text());
    let error = Redis::builder(&url).tls(mixed).build().unwrap_err();
    assert!(error.to_string().starts_with("tls.client"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_by_tls_is_a_wrong_password() {
    let builder = Server::builder().password("right").tls(tls());
    let Some(server) = start(builder).await else { return };
    let url = format!("rediss://:wrong@{}", server.tls_addr().unwrap());
    let tls = trusting(server.certificates().unwrap());
    let redis = patient(&url).tls(tls).build().unwrap().without_waiting();
    let error = redis.ping().await.unwrap_err();
    assert!(
        matches!(error.cause(), Some(ErrorKind::Server(ServerError::WrongPass))),
        "{:?}",
        error.cause()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_speak_tls_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let plain = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"-ERR unknown command\r\n").await.unwrap();
        }
    });
    assert_eq!(kept_out(&format!("rediss://{addr}"), Tls::new()).await, TlsError::NotTls);
    plain.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_silent_costs_the_connect_timeout() {
    // The system accepts for it, and that is all.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = silent.local_addr().unwrap();
    let timeout = ms(150);
    let redis = tried_again(patient(&format!("rediss://{addr}")).tls(Tls::new()), timeout);
    let (mut events, mut order) = (redis.events(), Order::default());
    let started = Instant::now();
    let mut ready = Box::pin(redis.ready());
    tokio::select! {
        ready = ready.as_mut() => panic!("{ready:?}"),
        _ = order.until(&mut events, is_fourth_attempt) => {}
    }
    let took = started.elapsed();
    assert!(took >= 4 * timeout && took < 8 * timeout + Duration::from_secs(1), "{took:?}");
    // A call on a connection of its own that waits for nobody does not wait until its own deadline, either.
    let started = Instant::now();
    let error = told_alone(&redis.without_waiting()).await;
    assert!(
        matches!(error.kind(), ErrorKind::Connect(why) if why.contains("no answer")),
        "{error}"
    );
    assert!(started.elapsed() < ms(400), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_left_in_time_and_found_again() {
    let Some(server) = start(Server::builder().tls(tls())).await else { return };
    let redis = patient(&server.tls_url().unwrap())
        .tls(trusting(server.certificates().unwrap()))
        .connect_timeout(ms(200))
        .probe(ms(50), ms(200))
        .reconnect(Backoff::constant(ms(10)))
        .build()
        .unwrap();
    redis.ready().await.unwrap();
    let (mut events, mut hung) = (redis.events(), 0);
    server.pause().await.unwrap();
    while hung < 2 {
        let failed = events.find(|kind| matches!(kind, EventKind::Error(_))).await.unwrap();
        let EventKind::Error(error) = failed.kind else { panic!() };
        hung += usize::from(matches!(error.kind(), ErrorKind::Connect(_)));
    }
    server.resume().await.unwrap();
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 1);
}

/// The variable that says where; unset in an ordinary run.
const SYSTEM: &str = "RUSSET_TEST_TLS_URL";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_systems_authorities_are_trusted_and_no_others() {
    if let Ok(url) = std::env::var(SYSTEM) {
        // Now the system trusts the server's authority, and that alone.
        return patient(&url).build().unwrap().ping().await.map(drop).unwrap();
    }
    let Some(server) = start(Server::builder().tls(tls())).await else { return };
    let url = server.tls_url().unwrap();
    let ca = server.certificates().unwrap().ca().path();
    let itself = "tls::the_systems_authorities_are_trusted_and_no_others";
    run_again(itself, &[(SYSTEM, &url), ("SSL_CERT_FILE", ca.to_str().unwrap())]);
    match Redis::builder(&url).build() {
        Ok(_) => assert_eq!(kept_out(&url, Tls::new()).await, TlsError::UnknownIssuer),
        // A system that trusts nobody.
        Err(error) => assert!(error.to_string().starts_with("tls.ca"), "{error}"),
    }
}

#[test]
fn what_can_not_be_read_is_named_before_anything_connects() {
    let url = || Redis::builder("rediss://localhost");
    for (tls, expected) in [
        (Tls::new().ca_file("/nowhere/ca.crt"), "tls.ca: /nowhere/ca.crt"),
        (Tls::new().ca_pem("no PEM"), "tls.ca: the PEM text"),
        (Tls::new().ca_pem("-----BEGIN CERTIFICATE-----\n!\n"), "tls.ca: the PEM text"),
        (Tls::new().server_name("not a name"), "tls.server_name"),
        (Tls::new().server_name(""), "tls.server_name"),
    ] {
        let error = url().tls(tls).build().unwrap_err().to_string();
        assert!(error.starts_with(expected) && error.contains("allowed"), "{error}");
    }
    for url in ["redis://localhost", "unix:///s"] {
        let error = Redis::builder(url).tls(Tls::new()).build().unwrap_err().to_string();
        assert!(error.starts_with("tls: none is spoken"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_reconnect_finds_is_verified_again() {
    let Some(server) = start(Server::builder().tls(tls())).await else { return };
    let redis = patient(&server.tls_url().unwrap())
        .tls(trusting(server.certificates().unwrap()))
        .reconnect(Backoff::constant(ms(10)))
        .build()
        .unwrap();
    redis.ready().await.unwrap();
    let mut events = redis.events();
    // Somebody else answers at the same address.
    let port = server.tls_addr().unwrap().port().to_string();
    server.kill().await.unwrap();
    let impostor = start(Server::builder().tls(tls())).await.unwrap();
    let mut conn = impostor.conn().await.unwrap();
    until("the port", async || {
        conn.call(&["CONFIG", "SET", "tls-port", &port]).await.unwrap().is_ok()
    })
    .await;
    let untrusted = |kind: &EventKind| {
        matches!(kind, EventKind::Error(error)
            if matches!(error.kind(), ErrorKind::Tls(TlsError::UnknownIssuer)))
    };
    let found = tokio::time::timeout(Duration::from_secs(20), events.find(untrusted)).await;
    found.unwrap().unwrap();
    let error = redis.with_deadline(ms(100)).run::<i64>(incr("n")).await.unwrap_err();
    assert!(matches!(error.cause(), Some(ErrorKind::Tls(TlsError::UnknownIssuer))), "{error}");
}
