use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::builder::{quoted, write};
use crate::port::Port;
use crate::{Error, Result};

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
}

/// The certificates of one server: a CA made for it alone, and what that has signed. PEM, with ECDSA P-256 keys.
#[derive(Debug)]
pub struct Certificates {
    port: Port,
    only: bool,
    clients_must: bool,
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
            file("tls-ca-cert-file", &self.ca),
            file("tls-cert-file", &self.server.certificate),
            file("tls-key-file", &self.server.key),
        ]
    }

    pub(crate) fn make(tls: &Tls, dir: &Path) -> Result<Certificates> {
        let dir = dir.join("tls");
        fs::create_dir(&dir).map_err(Error::io("make a folder"))?;
        let ca = authority().map_err(wrong)?;
        let names = match &tls.name {
            Some(name) => vec![name.clone()],
            None => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
        };
        let server = signed(&ca, "server", names, tls.expired).map_err(wrong)?;
        let client = signed(&ca, "client", vec!["client".to_owned()], false).map_err(wrong)?;
        let save = |name: &str, text: String| -> Result<Pem> {
            let path = dir.join(name);
            write(&path, &text)?;
            Ok(Pem { text, path })
        };
        Ok(Certificates {
            port: Port::free()?,
            only: tls.only,
            clients_must: tls.clients_must,
            ca: save("ca.crt", ca.pem())?,
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

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "russet-testkit CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(2999, 1, 1);
    CertifiedIssuer::self_signed(params, KeyPair::generate()?)
}

/// A certificate and its key, as PEM.
fn signed(
    ca: &CertifiedIssuer<'static, KeyPair>,
    common_name: &str,
    names: Vec<String>,
    expired: bool,
) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(if expired { 2001 } else { 2999 }, 1, 1);
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn wrong(error: rcgen::Error) -> Error {
    Error::Certificate(error.to_string())
}
