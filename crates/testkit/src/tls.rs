use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::authority::Authority;
use crate::builder::{quoted, write};
use crate::port::Port;
use crate::{Error, Result};

mod authority;

/// How a server speaks TLS; see [`Builder::tls`](crate::Builder::tls).
///
/// By default it has a plain port beside the TLS port, and takes clients without a certificate as well as those
/// with one that its CA has signed.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Tls {
    only: bool,
    clients_must: bool,
    expired: bool,
    name: Option<String>,
    /// Who signs for all servers that speak TLS with each other; without it each has a CA of its own.
    shared: Option<Arc<Authority>>,
}

impl Tls {
    /// A certificate for `localhost` and 127.0.0.1 that is valid.
    pub fn new() -> Tls {
        Tls::default()
    }

    /// No plain port.
    pub fn only(mut self) -> Tls {
        self.only = true;
        self
    }

    /// Clients must show a certificate.
    pub fn require_client_certificate(mut self) -> Tls {
        self.clients_must = true;
        self
    }

    /// The server's certificate ended on the first day of 2001: clients must refuse it.
    pub fn expired(mut self) -> Tls {
        self.expired = true;
        self
    }

    /// The server's certificate is for this host name alone: clients that asked for another must refuse it.
    pub fn for_name(mut self, name: impl Into<String>) -> Tls {
        self.name = Some(name.into());
        self
    }

    pub(crate) fn is_only(&self) -> bool {
        self.only
    }

    /// For servers that speak TLS with each other.
    pub(crate) fn shared(self) -> Result<Tls> {
        if self.expired {
            let reason = "they speak TLS with each other, and refuse a certificate that has ended";
            return Err(Error::Config { field: "server", reason: reason.to_owned() });
        }
        Ok(Tls { shared: Some(Arc::new(Authority::new()?)), ..self })
    }
}

/// The certificates of one server: a CA, and what that has signed. PEM, with ECDSA P-256 keys.
///
/// The CA is made for this server alone; under Sentinel it is one for all of them.
#[derive(Debug)]
pub struct Certificates {
    port: Port,
    only: bool,
    clients_must: bool,
    shared: bool,
    ca: Pem,
    server: Identity,
    client: Identity,
}

/// A certificate and its private key.
#[derive(Debug)]
pub struct Identity {
    certificate: Pem,
    key: Pem,
}

/// PEM text, and the file that holds it as long as the server lives.
#[derive(Clone)]
pub struct Pem {
    text: String,
    path: PathBuf,
}

impl Certificates {
    /// The certificate that clients should trust.
    #[must_use]
    pub fn ca(&self) -> &Pem {
        &self.ca
    }

    /// What the server shows.
    #[must_use]
    pub fn server(&self) -> &Identity {
        &self.server
    }

    /// What a client may show: its common name is `client`.
    #[must_use]
    pub fn client(&self) -> &Identity {
        &self.client
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    pub(crate) fn only(&self) -> bool {
        self.only
    }

    pub(crate) fn directives(&self) -> Vec<String> {
        let file = |directive: &str, pem: &Pem| {
            format!("{directive} {}", quoted(&pem.path.to_string_lossy()))
        };
        vec![
            format!("tls-port {}", self.port.number()),
            format!("tls-auth-clients {}", if self.clients_must { "yes" } else { "optional" }),
            // With it they announce the TLS port, too.
            format!("tls-replication {}", if self.shared { "yes" } else { "no" }),
            file("tls-ca-cert-file", &self.ca),
            file("tls-cert-file", &self.server.certificate),
            file("tls-key-file", &self.server.key),
        ]
    }

    pub(crate) fn make(tls: &Tls, dir: &Path) -> Result<Certificates> {
        let dir = dir.join("tls");
        fs::create_dir(&dir).map_err(Error::io("make a folder"))?;
        let ca = match &tls.shared {
            Some(shared) => shared.clone(),
            None => Arc::new(Authority::new()?),
        };
        let names = match &tls.name {
            Some(name) => vec![name.clone()],
            None => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        };
        let server = ca.sign("server", names, tls.expired)?;
        let client = ca.sign("client", vec!["client".to_owned()], false)?;
        let save = |name: &str, text: String| -> Result<Pem> {
            let path = dir.join(name);
            write(&path, &text)?;
            Ok(Pem { text, path })
        };
        Ok(Certificates {
            port: Port::free()?,
            only: tls.only,
            clients_must: tls.clients_must,
            shared: tls.shared.is_some(),
            ca: save("ca.crt", ca.certificate())?,
            server: Identity {
                certificate: save("server.crt", server.0)?,
                key: save("server.key", server.1)?,
            },
            client: Identity {
                certificate: save("client.crt", client.0)?,
                key: save("client.key", client.1)?,
            },
        })
    }
}

impl Identity {
    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Pem {
        &self.certificate
    }

    /// Its private key, in PKCS #8.
    #[must_use]
    pub fn key(&self) -> &Pem {
        &self.key
    }
}

impl Pem {
    /// The text, from `-----BEGIN` on.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The file with this text.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl std::fmt::Debug for Pem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pem").field(&self.path).finish()
    }
}
