//! Whether a server has TLS depends on how it was built: one that has not must say so.

use std::net::SocketAddr;
use std::sync::Arc;

use russet_testkit::{
    Builder, Certificates, Cluster, Conn, Error, Identity, Sentinel, Server, Tls, find_server,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error as TlsError, RootCertStore};

/// None when this server has no TLS, and says so.
async fn start(builder: Builder) -> Option<Server> {
    with_tls(builder.start().await)
}

/// The same of many.
fn with_tls<T>(started: Result<T, Error>) -> Option<T> {
    match started {
        Ok(started) => Some(started),
        Err(Error::Unsupported { what: "TLS", .. }) => {
            assert!(!was_built_with_tls());
            None
        }
        Err(other) => panic!("{other}"),
    }
}

/// What the binary itself says: with TLS it misses a certificate, and ends.
fn was_built_with_tls() -> bool {
    let server = std::process::Command::new(find_server().unwrap())
        .args(["--port", "0", "--tls-port", "1"])
        .output();
    String::from_utf8_lossy(&server.unwrap().stdout).contains("No tls-cert-file configured")
}

/// Sends PING, and gives what comes back.
async fn ping(
    addr: SocketAddr,
    certificates: &Certificates,
    client: Option<&Identity>,
) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(certificates.ca().text().as_bytes()).unwrap())
        .unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match client {
        None => config.with_no_client_auth(),
        Some(client) => {
            let certificate = CertificateDer::from_pem_file(client.certificate().path()).unwrap();
            let key = PrivateKeyDer::from_pem_file(client.key().path()).unwrap();
            config.with_client_auth_cert(vec![certificate], key).unwrap()
        }
    };
    let stream = TcpStream::connect(addr).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut reply = vec![0; 64];
    let len = stream.read(&mut reply).await?;
    Ok(String::from_utf8_lossy(&reply[..len]).into_owned())
}

/// Why the client did not trust the server.
fn refusal(result: std::io::Result<String>) -> CertificateError {
    let error = result.unwrap_err();
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(TlsError::InvalidCertificate(reason)) => reason.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn beside_a_plain_port() {
    let Some(server) = start(Server::builder().tls(Tls::new())).await else { return };
    let (addr, certificates) = (server.tls_addr().unwrap(), server.certificates().unwrap());
    assert_ne!(addr, server.addr());
    assert_eq!(server.tls_url().unwrap(), format!("rediss://{addr}"));
    assert_eq!(ping(addr, certificates, None).await.unwrap(), "+PONG\r\n");
    assert_eq!(ping(addr, certificates, Some(certificates.client())).await.unwrap(), "+PONG\r\n");
    assert_eq!(
        Conn::open(&server.url()).await.unwrap().call(&["PING"]).await.unwrap().text(),
        Some("PONG")
    );
    server.restart().await.unwrap();
    assert_eq!(ping(addr, certificates, None).await.unwrap(), "+PONG\r\n");
}

#[tokio::test]
async fn without_a_plain_port() {
    let tls = Tls::new().only().require_client_certificate();
    let Some(server) = start(Server::builder().password("secret").tls(tls)).await else { return };
    let certificates = server.certificates().unwrap();
    assert_eq!(server.tls_addr(), Some(server.addr()));
    assert_eq!(server.url(), format!("rediss://:secret@{}", server.addr()));
    assert!(ping(server.addr(), certificates, None).await.is_err());
    let known = ping(server.addr(), certificates, Some(certificates.client())).await.unwrap();
    assert!(known.starts_with("-NOAUTH"), "{known}");
    // By the unix socket.
    let mut conn = server.conn().await.unwrap();
    let port = conn.call(&["CONFIG", "GET", "port"]).await.unwrap();
    assert_eq!(port.items().unwrap()[1].text(), Some("0"));
}

#[tokio::test]
async fn certificates_that_clients_must_refuse() {
    let Some(server) = start(Server::builder().tls(Tls::new().expired())).await else { return };
    let reason =
        refusal(ping(server.tls_addr().unwrap(), server.certificates().unwrap(), None).await);
    assert!(
        matches!(reason, CertificateError::Expired | CertificateError::ExpiredContext { .. }),
        "{reason:?}"
    );

    let server = start(Server::builder().tls(Tls::new().for_name("elsewhere.test"))).await.unwrap();
    let reason =
        refusal(ping(server.tls_addr().unwrap(), server.certificates().unwrap(), None).await);
    let named = matches!(
        reason,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
    );
    assert!(named, "{reason:?}");

    // Another server's authority.
    let other = start(Server::builder().tls(Tls::new())).await.unwrap();
    let reason =
        refusal(ping(other.tls_addr().unwrap(), server.certificates().unwrap(), None).await);
    assert!(
        matches!(reason, CertificateError::UnknownIssuer | CertificateError::BadSignature),
        "{reason:?}"
    );
}

#[tokio::test]
async fn under_sentinel_all_speak_it() {
    let builder = Sentinel::builder().replicas(2).server(Server::builder().tls(Tls::new()));
    let Some(sentinel) = with_tls(builder.sentinel_password("watch").start().await) else { return };
    let ports: Vec<String> =
        sentinel.sentinels().iter().map(|one| one.tls_addr().unwrap().to_string()).collect();
    assert_eq!(sentinel.url(), format!("rediss-sentinel://{}/mymaster", ports.join(",")));
    // One authority for all.
    let certificates = sentinel.certificates().unwrap();
    for (server, answer) in sentinel
        .servers()
        .iter()
        .map(|server| (server, "+PONG\r\n"))
        .chain(sentinel.sentinels().iter().map(|sentinel| (sentinel, "-NOAUTH")))
    {
        let addr = server.tls_addr().unwrap();
        assert!(ping(addr, certificates, None).await.unwrap().starts_with(answer));
        let own = server.certificates().unwrap();
        assert_eq!(own.ca().text(), certificates.ca().text());
        assert_ne!(own.server().key().path(), certificates.client().key().path());
    }
    // What is named is the port for TLS, by all who name it.
    let first = sentinel.primary().await.unwrap();
    let port = first.tls_addr().unwrap().port().to_string();
    let mut watcher = sentinel.sentinels()[0].conn().await.unwrap();
    let named = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", sentinel.name()];
    let named = watcher.call(&named).await.unwrap();
    assert_eq!(named.items().unwrap()[1].text(), Some(&*port));
    let replicas = sentinel.replicas().await.unwrap();
    assert_eq!(replicas.len(), 2);
    for replica in replicas {
        let info = replica.conn().await.unwrap().call(&["INFO", "replication"]).await.unwrap();
        assert!(info.text().unwrap().contains(&format!("master_port:{port}\r\n")), "{info:?}");
    }

    let mut conn = first.conn().await.unwrap();
    conn.call(&["SET", "k", "v"]).await.unwrap();
    assert_eq!(conn.call(&["WAIT", "2", "5000"]).await.unwrap().int(), Some(2));
    let second = sentinel.failover().await.unwrap();
    assert_ne!(second.port(), first.port());
    sentinel.ready().await.unwrap();
    assert_eq!(sentinel.kill_primary().await.unwrap().port(), second.port());
    let third = sentinel.promoted().await.unwrap();
    assert_ne!(third.port(), second.port());
    let kept = third.conn().await.unwrap().call(&["GET", "k"]).await.unwrap();
    assert_eq!(kept.text(), Some("v"));
    second.restart().await.unwrap();
    sentinel.sentinels()[1].restart().await.unwrap();
    sentinel.ready().await.unwrap();
}

#[tokio::test]
async fn under_sentinel_nobody_needs_a_plain_port() {
    let tls = Tls::new().only().require_client_certificate();
    let server = Server::builder().password("data").tls(tls);
    let Some(sentinel) = with_tls(Sentinel::builder().server(server).start().await) else { return };
    assert!(sentinel.url().starts_with("rediss-sentinel://:data@127."), "{}", sentinel.url());
    let certificates = sentinel.certificates().unwrap();
    for server in sentinel.servers().iter().chain(sentinel.sentinels()) {
        assert_eq!(server.tls_addr(), Some(server.addr()));
        assert!(ping(server.addr(), certificates, None).await.is_err());
        ping(server.addr(), certificates, Some(certificates.client())).await.unwrap();
    }
    let old = sentinel.kill_primary().await.unwrap();
    assert_ne!(sentinel.promoted().await.unwrap().port(), old.port());
    old.restart().await.unwrap();
    sentinel.ready().await.unwrap();
}

#[tokio::test]
async fn servers_that_could_not_reach_each_other_are_refused() {
    let expired = Sentinel::builder().server(Server::builder().tls(Tls::new().expired()));
    let refused = [
        expired.start().await.map(drop),
        Cluster::builder().server(Server::builder().tls(Tls::new().only())).start().await.map(drop),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(Error::Config { field: "server", .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_server_built_without_it_says_so() {
    let plain = Server::start().await.unwrap();
    match Server::builder().tls(Tls::new()).start().await {
        Ok(server) => assert!(server.tls_url().is_some() && was_built_with_tls()),
        Err(Error::Unsupported { what: "TLS", version }) => {
            assert_eq!(version, *plain.version());
            assert!(!was_built_with_tls());
        }
        Err(other) => panic!("{other}"),
    }
}
