//! Whether a server has TLS depends on how it was built: one that has not must say so.

use std::net::SocketAddr;
use std::sync::Arc;

use russet_testkit::{Builder, Certificates, Conn, Error, Identity, Server, Tls, find_server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error as TlsError, RootCertStore};

/// None when this server has no TLS, and says so.
async fn start(builder: Builder) -> Option<Server> {
    match builder.start().await {
        Ok(server) => Some(server),
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
