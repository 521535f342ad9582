//! TLS by rustls: whom to trust, whom to be, and why it failed.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretSlice};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};
use tokio_rustls::{Connect, TlsConnector};

use crate::Error;

pub(crate) mod diagnosis;

/// How TLS is spoken with a server: see [`RedisBuilder::tls`](crate::RedisBuilder::tls).
///
/// By rustls, TLS 1.2 and 1.3. The server's certificate is always verified, its name included; that can't be turned
/// off. A server with a certificate of your own making is reached by trusting its CA, or the certificate itself if
/// that is its own issuer.
///
/// ```no_run
/// use russet_core_conn::{Redis, Tls};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = Tls::new().ca_file("/etc/redis/ca.crt").client_files("/etc/shop/tls.crt", "/etc/shop/tls.key");
/// let redis = Redis::builder("rediss://redis.internal:6380").tls(tls).build()?;
/// # Ok(()) }
/// ```
///
/// Files are read by `build()`. Resumed sessions keep reconnecting cheap.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Tls {
    ca: Vec<Pem>,
    client: Option<(Pem, Pem)>,
    server_name: Option<String>,
}

#[derive(Clone)]
enum Pem {
    File(PathBuf),
    Text(SecretSlice<u8>),
}

impl Tls {
    /// Trusts the CAs that the system trusts, and shows no client certificate.
    ///
    /// The system's are those of rustls-native-certs: on Linux the usual places, or what `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` say.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts the CAs in this PEM file, and no longer the system's. May be called again for more.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca.push(Pem::File(path.into()));
        self
    }

    /// The same, from PEM text.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca.push(Pem::Text(pem.into().into()));
        self
    }

    /// Shows the client certificate of the first PEM file, which may go on with its chain; the second has its key.
    pub fn client_files(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Self {
        self.client = Some((Pem::File(certificate.into()), Pem::File(key.into())));
        self
    }

    /// The same, from PEM text. The key is in no `Debug`.
    pub fn client_pem(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        let text = |pem: Vec<u8>| Pem::Text(pem.into());
        self.client = Some((text(certificate.into()), text(key.into())));
        self
    }

    /// The name that the server is asked for (SNI) and that its certificate must have. Default: the URL's host; for
    /// an address behind which the certificate has another name.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Reads what is to be read. `host` is what the name will be without another.
    pub(crate) fn client(&self, host: &str) -> Result<TlsClient, Error> {
        let name = self.server_name.as_deref().unwrap_or(host);
        if ServerName::try_from(name).is_err() {
            let problem = format!("`{name}` can't be the name of a server");
            return Err(Error::config("tls.server_name", problem, "a DNS name or an IP address"));
        }
        // Named, because a process that links two of them has no default one.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::config("tls", error.to_string(), "TLS 1.2 or 1.3"))?
            .with_root_certificates(self.roots()?);
        let config = match &self.client {
            None => config.with_no_client_auth(),
            Some((chain, key)) => {
                let key = key.key()?;
                config.with_client_auth_cert(chain.certificates("tls.client")?, key).map_err(
                    |error| {
                        let allowed = "a certificate and the key that belongs to it";
                        Error::config("tls.client", error.to_string(), allowed)
                    },
                )?
            }
        };
        Ok(TlsClient { config: Arc::new(config), name: self.server_name.clone() })
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        if self.ca.is_empty() {
            let system = rustls_native_certs::load_native_certs();
            // Systems carry some that are not worth their name.
            let (trusted, _) = roots.add_parsable_certificates(system.certs);
            if trusted == 0 {
                let why = system.errors.first().map(|error| format!(": {error}"));
                let problem = format!("the system trusts no CA{}", why.unwrap_or_default());
                let allowed = "the system's ca-certificates, or a CA by `ca_file` or `ca_pem`";
                return Err(Error::config("tls.ca", problem, allowed));
            }
        }
        for pem in &self.ca {
            for certificate in pem.certificates("tls.ca")? {
                roots.add(certificate).map_err(|error| pem.wrong("tls.ca", &error))?;
            }
        }
        Ok(roots)
    }
}

impl Pem {
    fn certificates(&self, field: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
        let found: Result<Vec<_>, pem::Error> = match self {
            Self::File(path) => CertificateDer::pem_file_iter(path).and_then(Iterator::collect),
            Self::Text(text) => CertificateDer::pem_slice_iter(text.expose_secret()).collect(),
        };
        match found {
            Ok(found) if !found.is_empty() => Ok(found),
            Ok(_) => Err(self.wrong(field, &"it has no certificate")),
            Err(error) => Err(self.wrong(field, &error)),
        }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, Error> {
        let found = match self {
            Self::File(path) => PrivateKeyDer::from_pem_file(path),
            Self::Text(text) => PrivateKeyDer::from_pem_slice(text.expose_secret()),
        };
        found.map_err(|error| match error {
            pem::Error::NoItemsFound => self.wrong("tls.client", &"it has no private key"),
            error => self.wrong("tls.client", &error),
        })
    }

    fn wrong(&self, field: &'static str, error: &dyn fmt::Display) -> Error {
        Error::config(field, format!("{self:?}: {error}"), "PEM: `-----BEGIN CERTIFICATE-----` …")
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Text(_) => f.write_str("the PEM text"),
        }
    }
}

/// What all connections of a target share.
#[derive(Clone)]
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    name: Option<String>,
}

impl TlsClient {
    pub(crate) fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.config.clone())
    }

    /// The server's name, if it is another than its host.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) async fn shake_hands(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.name().unwrap_or(host).to_owned());
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let hands: Connect<_> = self.connector().connect(name, stream);
        hands.await
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What rustls says in an error of a stream.
pub(crate) fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
