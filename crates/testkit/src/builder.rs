use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::find::absolute;
use crate::port::Port;
use crate::process::Process;
#[cfg(feature = "tls")]
use crate::tls::{Certificates, Tls};
use crate::{Error, Result, Server, Version, find_server, replicas};

/// How often other ports are tried when another process was faster.
const TRIES: u32 = 20;

/// How a private server is to be; made by [`Server::builder`].
///
/// What is not said otherwise: no persistence, 127.0.0.1 only, `protected-mode no`, `loglevel notice`, and
/// `enable-debug-command yes` where the server knows it, so that tests can use `DEBUG SLEEP`.
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    binary: Option<PathBuf>,
    port: Option<u16>,
    password: Option<Secret>,
    acl: Option<Secret>,
    unix_socket: bool,
    directives: Vec<(String, String)>,
    pub(crate) patience: Duration,
    replicas: usize,
    kind: Kind,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

/// What a process takes part in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A server that knows of no others, or only of its primary.
    Alone,
    /// A node of a cluster, which listens on a bus port too.
    Node,
    /// A Sentinel, which holds no data.
    Sentinel,
}

/// When an append-only file reaches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before each reply.
    Always,
    /// Once a second.
    EverySecond,
    /// When the operating system likes.
    Never,
}

/// What a server does at its memory limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    /// Refuses writes with `OOM`.
    NoEviction,
    /// Evicts any key, the least recently used first.
    AllKeysLru,
    /// Evicts any key, the least frequently used first.
    AllKeysLfu,
    /// Evicts any key, at random.
    AllKeysRandom,
    /// Evicts keys with a TTL, the least recently used first.
    VolatileLru,
    /// Evicts keys with a TTL, the least frequently used first.
    VolatileLfu,
    /// Evicts keys with a TTL, at random.
    VolatileRandom,
    /// Evicts keys with a TTL, the one that ends next first.
    VolatileTtl,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            binary: None,
            port: None,
            password: None,
            acl: None,
            unix_socket: false,
            directives: Vec::new(),
            patience: Duration::from_secs(10),
            replicas: 0,
            kind: Kind::Alone,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Starts this binary instead of what [`find_server`] finds.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Builder {
        self.binary = Some(path.into());
        self
    }

    /// Listens on this port of 127.0.0.1 instead of a free one.
    pub fn port(mut self, port: u16) -> Builder {
        self.port = Some(port);
        self
    }

    /// Asks the default user for a password (`requirepass`).
    pub fn password(mut self, password: impl Into<String>) -> Builder {
        self.password = Some(Secret(password.into()));
        self
    }

    /// Users and their rights, as the text of an ACL file: `user ann on >secret ~* +@all`, one a line.
    ///
    /// What it does not say of the user `default` stays as it is without an ACL file: everything, without a password.
    pub fn acl_file(mut self, text: impl Into<String>) -> Builder {
        self.acl = Some(Secret(text.into()));
        self
    }

    /// Limits the memory for data, in bytes.
    pub fn maxmemory(self, bytes: u64, policy: Eviction) -> Builder {
        self.config("maxmemory", bytes.to_string()).config("maxmemory-policy", policy.directive())
    }

    /// Keeps an append-only file, so that data survives [`Server::kill`] and [`Server::restart`].
    pub fn aof(self, fsync: Fsync) -> Builder {
        let fsync = match fsync {
            Fsync::Always => "always",
            Fsync::EverySecond => "everysec",
            Fsync::Never => "no",
        };
        self.config("appendonly", "yes").config("appendfsync", fsync)
    }

    /// Listens on a TLS port too, with certificates made for this server alone.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Builder {
        self.tls = Some(tls);
        self
    }

    /// Listens on a unix socket too, in the server's folder.
    pub fn unix_socket(mut self) -> Builder {
        self.unix_socket = true;
        self
    }

    /// Starts replicas too, with the same options; [`Server::replicas`] gives them.
    ///
    /// They follow as the default user, so an ACL file must leave that user open.
    pub fn replicas(mut self, count: usize) -> Builder {
        self.replicas = count;
        self
    }

    /// Any other directive; the value as one would write it in `redis.conf`, quotes included.
    ///
    /// Directives come after our own, in the order of the calls, and win over them.
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Builder {
        self.directives.push((key.into(), value.into()));
        self
    }

    /// How long the server may take until it is ready [10 s]. Loading a large file may take longer.
    pub fn ready_within(mut self, patience: Duration) -> Builder {
        self.patience = patience;
        self
    }

    /// Starts the server and waits until it answers, and until its replicas follow.
    ///
    /// # Errors
    /// [`Error::ServerNotFound`] and [`Error::NotAServer`] about the binary, [`Error::Config`] about an option,
    /// [`Error::Unsupported`] when the binary lacks what was asked for, [`Error::PortTaken`],
    /// [`Error::Exited`] and [`Error::NotReady`] with the end of the server's output.
    pub async fn start(self) -> Result<Server> {
        self.check()?;
        let binary = match &self.binary {
            Some(path) => absolute(path).ok_or_else(|| Error::ServerNotFound {
                tried: format!("{} is not a file", path.display()),
            })?,
            None => find_server()?,
        };
        let version = Version::of(&binary)?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.attempt(&binary, &version).await {
                Err(Error::PortTaken { .. }) if self.port.is_none() && tries < TRIES => {}
                Ok(mut server) if self.replicas > 0 => {
                    server.replicas = replicas::start(&self, self.replicas, &server).await?;
                    server.replicas_follow().await?;
                    return Ok(server);
                }
                result => return result,
            }
        }
    }

    /// The options that a replica shares.
    pub(crate) fn of_replica(&self) -> Builder {
        Builder { port: None, replicas: 0, ..self.clone() }
    }

    /// The same options for another kind of process, with directives that come before the caller's own.
    pub(crate) fn of_kind(&self, kind: Kind, directives: Vec<(&str, String)>) -> Builder {
        let mut builder = Builder { kind, ..self.clone() };
        let ours = directives.into_iter().map(|(key, value)| (key.to_owned(), value));
        builder.directives.splice(0..0, ours);
        builder
    }

    /// Started from what the other is started from, and speaking TLS as that does.
    pub(crate) fn like(self, other: &Builder) -> Builder {
        Builder {
            binary: other.binary.clone(),
            #[cfg(feature = "tls")]
            tls: other.tls.clone(),
            ..self
        }
    }

    /// Those that are made of this speak TLS with each other, where they have it: one CA signs for all.
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::unnecessary_wraps, reason = "only a CA may fail")
    )]
    pub(crate) fn among_themselves(&self) -> Result<Builder> {
        Ok(Builder {
            #[cfg(feature = "tls")]
            tls: self.tls.clone().map(Tls::shared).transpose()?,
            ..self.clone()
        })
    }

    /// Whether there is to be a port without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        #[cfg(feature = "tls")]
        return !self.tls.as_ref().is_some_and(Tls::is_only);
        #[cfg(not(feature = "tls"))]
        true
    }

    /// Why these options are not for many servers at once, if they are not.
    pub(crate) fn check_shared(&self) -> Result<()> {
        self.check()?;
        let reason = match self {
            Builder { port: Some(_), .. } => "one port is not enough; leave it out",
            Builder { replicas: 1.., .. } => "say it of the whole, not of each server",
            _ => return Ok(()),
        };
        Err(Error::Config { field: "server", reason: reason.to_owned() })
    }

    /// The password of the default user.
    pub(crate) fn secret(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    async fn attempt(&self, binary: &Path, version: &Version) -> Result<Server> {
        let folder = tempfile::Builder::new()
            .prefix("russet-")
            .tempdir()
            .map_err(Error::io("make a folder"))?;
        let dir = folder.path().to_owned();
        let conf = dir.join("server.conf");
        let args: &[&Path] = match self.kind {
            Kind::Alone | Kind::Node => &[&conf],
            Kind::Sentinel => &[&conf, Path::new("--sentinel")],
        };
        let process = Process::new(folder, binary, args)?;
        let port = match (self.port, self.kind) {
            (Some(port), _) => Port::fixed(port),
            (None, Kind::Node) => Port::free_with_bus()?,
            (None, Kind::Alone | Kind::Sentinel) => Port::free()?,
        };
        let mut server = Server {
            process,
            port,
            version: version.clone(),
            password: self.password.clone(),
            socket: None,
            patience: self.patience,
            replicas: Vec::new(),
            #[cfg(feature = "tls")]
            tls: None,
        };
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            server.tls = Some(Certificates::make(tls, &dir)?);
        }
        if self.unix_socket || !server.is_plain() {
            server.socket = Some(dir.join("server.sock"));
        }
        write(&conf, &self.conf(&server)?)?;
        server.launch().await?;
        Ok(server)
    }

    fn check(&self) -> Result<()> {
        let wrong = |field, reason: String| Err(Error::Config { field, reason });
        if self.password.is_some() && self.acl.is_some() {
            return wrong(
                "password",
                "with an ACL file, the default user's password belongs in the file".to_owned(),
            );
        }
        if self.password.as_ref().is_some_and(|password| password.0.is_empty()) {
            return wrong("password", "it is empty".to_owned());
        }
        if self.port == Some(0) {
            return wrong("port", "0 is no port; leave it out for a free one".to_owned());
        }
        if self.replicas > 0 && !self.is_plain() {
            return wrong(
                "replicas",
                "they follow by the plain port, and there is none".to_owned(),
            );
        }
        for (key, value) in &self.directives {
            if key.is_empty()
                || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            {
                return wrong("config", format!("{key:?} is not the name of a directive"));
            }
            if value.contains(['\n', '\r', '\0']) {
                return wrong("config", format!("the value of {key} has more than one line"));
            }
        }
        Ok(())
    }

    /// The configuration file.
    fn conf(&self, server: &Server) -> Result<String> {
        let dir = server.dir();
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            "protected-mode no".to_owned(),
            "daemonize no".to_owned(),
            "loglevel notice".to_owned(),
            "save \"\"".to_owned(),
            "appendonly no".to_owned(),
            format!("dir {}", quoted(&dir.to_string_lossy())),
            format!("port {}", if server.is_plain() { server.port.number() } else { 0 }),
        ];
        if server.version.at_least(7, 0) {
            lines.push("enable-debug-command yes".to_owned());
        }
        // A replica must not wait for others that might come and share the transfer.
        lines.push("repl-diskless-sync-delay 0".to_owned());
        if self.kind == Kind::Node {
            lines.push("cluster-enabled yes".to_owned());
        }
        if let Some(Secret(password)) = &self.password {
            lines.push(format!("requirepass {}", quoted(password)));
        }
        if let Some(Secret(text)) = &self.acl {
            let path = dir.join("users.acl");
            write(&path, text)?;
            lines.push(format!("aclfile {}", quoted(&path.to_string_lossy())));
        }
        if let Some(path) = &server.socket {
            lines.push(format!("unixsocket {}", quoted(&path.to_string_lossy())));
        }
        #[cfg(feature = "tls")]
        if let Some(certificates) = &server.tls {
            lines.extend(certificates.directives());
        }
        lines.extend(self.directives.iter().map(|(key, value)| format!("{key} {value}")));
        lines.push(String::new());
        Ok(lines.join("\n"))
    }
}

impl Eviction {
    fn directive(self) -> &'static str {
        match self {
            Eviction::NoEviction => "noeviction",
            Eviction::AllKeysLru => "allkeys-lru",
            Eviction::AllKeysLfu => "allkeys-lfu",
            Eviction::AllKeysRandom => "allkeys-random",
            Eviction::VolatileLru => "volatile-lru",
            Eviction::VolatileLfu => "volatile-lfu",
            Eviction::VolatileRandom => "volatile-random",
            Eviction::VolatileTtl => "volatile-ttl",
        }
    }
}

/// Kept out of `Debug`, which ends up in the logs of test runs.
#[derive(Clone)]
pub(crate) struct Secret(pub(crate) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A value in double quotes, as configuration files have it.
pub(crate) fn quoted(value: &str) -> String {
    let mut quoted = String::from("\"");
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => quoted.extend(['\\', char::from(byte)]),
            b' '..=b'~' => quoted.push(char::from(byte)),
            _ => quoted.push_str(&format!("\\x{byte:02x}")),
        }
    }
    quoted.push('"');
    quoted
}

pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(Error::io(format!("write {}", path.display())))
}
