//! Where connections lead, and as whom.

use std::fmt;
#[cfg(unix)]
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::client::Client;
use crate::cluster::Sites;
use crate::credentials::{Credentials, Login};
use crate::error::{Error, ErrorKind};
use crate::sentinel::Watched;
#[cfg(feature = "tls")]
use crate::tls::TlsClient;

/// One server, and how a connection to it is opened.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) access: Access,
}

/// Where a handle's connections lead.
#[derive(Debug, Clone)]
pub(crate) enum Site {
    At(Endpoint),
    /// Wherever the sentinels say.
    Under(Watched),
    /// The nodes of a cluster.
    Cluster(Sites),
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(endpoint) => endpoint.fmt(f),
            Self::Under(watched) => watched.fmt(f),
            Self::Cluster(sites) => sites.fmt(f),
        }
    }
}

/// How connections are opened, wherever they lead.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) client: Client,
    pub(crate) database: Option<u8>,
    pub(crate) login: Login,
    pub(crate) name: Option<String>,
    pub(crate) connect_timeout: Duration,
    /// Whether a replica of a cluster is to answer what its primary would (`READONLY`).
    pub(crate) stale_reads: bool,
    /// Whether calls of a burst go out together: see [`gather`](crate::link).
    #[cfg_attr(not(feature = "fred"), expect(dead_code, reason = "only fred gains by it"))]
    pub(crate) gathers: bool,
}

/// Where it listens.
#[derive(Debug, Clone)]
pub(crate) enum Endpoint {
    Tcp {
        host: String,
        port: u16,
        #[cfg(feature = "tls")]
        tls: Option<TlsClient>,
    },
    #[cfg(unix)]
    Unix(PathBuf),
}

/// A connection, whatever it is made of.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Io for T {}

impl Access {
    /// The credentials that are valid now; `None` if the server asks for none.
    pub(crate) async fn credentials(
        &self,
        deadline: Instant,
    ) -> Result<Option<Credentials>, Error> {
        match tokio::time::timeout_at(deadline.into(), self.login.fetch()).await {
            Ok(fetched) => fetched,
            Err(_) => {
                let reason = format!("none within {:?}", self.connect_timeout);
                Err(Error::not_sent(ErrorKind::Credentials(reason)))
            }
        }
    }

    pub(crate) fn no_answer(&self) -> Error {
        let reason = format!("no answer within {:?}", self.connect_timeout);
        Error::not_sent(ErrorKind::Connect(reason))
    }
}

impl Target {
    /// Connects, and shakes hands if TLS is spoken. Nothing is said yet: neither user nor protocol.
    pub(crate) async fn connect(&self) -> Result<Box<dyn Io>, Error> {
        let timeout = self.access.connect_timeout;
        match tokio::time::timeout(timeout, self.endpoint.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(self.access.no_answer()),
        }
    }
}

impl Endpoint {
    pub(crate) fn speaks_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        let speaks = matches!(self, Self::Tcp { tls: Some(_), .. });
        #[cfg(not(feature = "tls"))]
        let speaks = false;
        speaks
    }

    /// The host, as it is known; of a socket the one it is on.
    pub(crate) fn host(&self) -> &str {
        match self {
            Self::Tcp { host, .. } => host,
            #[cfg(unix)]
            Self::Unix(_) => "localhost",
        }
    }

    /// How one is written that leads there by TCP.
    pub(crate) fn place(host: &str, port: u16) -> String {
        format!("{host}:{port}")
    }

    /// Another server, spoken to in the same way.
    pub(crate) fn elsewhere(&self, (host, port): (String, u16)) -> Self {
        Self::Tcp {
            host,
            port,
            #[cfg(feature = "tls")]
            tls: match self {
                Self::Tcp { tls, .. } => tls.clone(),
                #[cfg(unix)]
                Self::Unix(_) => None,
            },
        }
    }

    async fn connect(&self) -> Result<Box<dyn Io>, Error> {
        match self {
            Self::Tcp {
                host,
                port,
                #[cfg(feature = "tls")]
                tls,
            } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                #[cfg(feature = "tls")]
                if let Some(tls) = tls {
                    return Ok(Box::new(tls.shake_hands(host, stream).await.map_err(failed)?));
                }
                Ok(Box::new(stream))
            }
            #[cfg(unix)]
            Self::Unix(path) => {
                Ok(Box::new(tokio::net::UnixStream::connect(path).await.map_err(failed)?))
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err gives it")]
fn failed(error: std::io::Error) -> Error {
    #[cfg(feature = "tls")]
    if let Some(why) = crate::TlsError::of(&error) {
        return Error::not_sent(ErrorKind::Tls(why));
    }
    Error::not_sent(ErrorKind::Connect(error.to_string()))
}

/// As events, errors and spans name it.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } => f.write_str(&Self::place(host, *port)),
            #[cfg(unix)]
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}
