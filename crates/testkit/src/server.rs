use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::builder::Secret;
use crate::port::Port;
use crate::process::{Life, Process, has_stopped, stopped};
#[cfg(feature = "tls")]
use crate::tls::Certificates;
use crate::{Builder, Conn, Error, Reply, Result, Version, url};

/// How often a starting server is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// How long a process may take to die of SIGKILL.
const DEATH: Duration = Duration::from_secs(10);

/// How long a server may take to end by itself, and to leave its port to the next run.
const FAREWELL: Duration = Duration::from_secs(10);

/// A real `redis-server` or `valkey-server`, private to whoever holds it.
///
/// It listens on a free port of 127.0.0.1 and keeps its data in a temporary folder. Both are gone when this value is
/// dropped, and also when the test process panics, aborts or is killed -9. Dropping blocks for the few milliseconds
/// that this takes.
///
/// ```no_run
/// # async fn run() -> russet_testkit::Result<()> {
/// use russet_testkit::{Fsync, Server};
///
/// let server = Server::builder().password("secret").aof(Fsync::Always).start().await?;
/// let mut conn = server.conn().await?;
/// conn.call(&["SET", "k", "v"]).await?;
///
/// server.kill().await?;       // as if the machine had died
/// server.restart().await?;    // the same port, the same data
/// assert_eq!(server.conn().await?.call(&["GET", "k"]).await?.text(), Some("v"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Server {
    pub(crate) process: Process,
    pub(crate) port: Port,
    pub(crate) version: Version,
    pub(crate) password: Option<Secret>,
    pub(crate) socket: Option<PathBuf>,
    pub(crate) patience: Duration,
    pub(crate) replicas: Vec<Server>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<Certificates>,
}

impl Server {
    /// Starts a server with the defaults of [`Builder`].
    ///
    /// # Errors
    /// See [`Builder::start`].
    pub async fn start() -> Result<Server> {
        Server::builder().start().await
    }

    /// A server with options.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// `redis://127.0.0.1:port`, with the password if there is one. Of a server with TLS only: its TLS URL.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(if self.is_plain() { "redis" } else { "rediss" }, self.addr())
    }

    /// `rediss://127.0.0.1:port`, with the password if there is one; None without TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_url(&self) -> Option<String> {
        Some(self.url_of("rediss", self.tls_addr()?))
    }

    /// Where it listens. Of a server with TLS only: the TLS port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        #[cfg(feature = "tls")]
        if let Some(addr) = self.tls_addr().filter(|_| !self.is_plain()) {
            return addr;
        }
        self.port.addr()
    }

    /// Where it listens for TLS; None without TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls_addr(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(Certificates::addr)
    }

    /// The certificates that were made for it; None without TLS.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.tls.as_ref()
    }

    /// The port of [`Server::addr`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.addr().port()
    }

    /// The unix socket, if one was asked for, or if there is no plain port.
    #[must_use]
    pub fn socket_path(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// The folder with its data, configuration and log. It is removed with the server.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.process.dir()
    }

    /// What its `--version` says.
    #[must_use]
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// All that it has printed, in all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its process id; None while it does not run. Each run has another.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.pid()
    }

    /// Whether the process exists; a paused one does.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// A new connection that shares no code with any client library, logged in as the default user. To a server with
    /// TLS only it goes by the unix socket, which such a server always has.
    ///
    /// # Errors
    /// See [`Conn::open`]. With an ACL file that gives the default user a password, use [`Conn::tcp`] and `AUTH`.
    pub async fn conn(&self) -> Result<Conn> {
        let mut conn = self.knock().await?;
        conn.auth(None, self.password.as_ref().map(|password| password.0.as_str())).await?;
        Ok(conn)
    }

    /// Kills it with SIGKILL, paused or not, and waits until the process is gone. Does nothing if it does not run.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it does not die.
    pub async fn kill(&self) -> Result<()> {
        self.end(&[Signal::KILL], DEATH).await
    }

    /// Asks it with SIGTERM to end, and waits until the process is gone. A paused one is resumed for that.
    /// Does nothing if it does not run.
    ///
    /// # Errors
    /// [`Error::Timeout`] if it has not ended within 10 s; it is left as it is.
    pub async fn stop(&self) -> Result<()> {
        self.end(&[Signal::TERM, Signal::CONT], FAREWELL).await
    }

    /// Stops it with SIGSTOP: it keeps its connections, and the system even accepts new ones, but it answers nothing.
    /// On Linux this returns when every thread has really stopped.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::Timeout`].
    pub async fn pause(&self) -> Result<()> {
        let pid = self.pid().ok_or(Error::NotRunning)?;
        self.process.signal(Signal::STOP)?;
        stopped(pid).await
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub async fn resume(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Kills it if it runs, starts it again on the same ports with the same folder, and waits until it is ready.
    ///
    /// Which data it then has depends on what it had written down: see [`Builder::aof`].
    ///
    /// # Errors
    /// See [`Builder::start`].
    pub async fn restart(&self) -> Result<()> {
        self.kill().await?;
        let deadline = Instant::now() + FAREWELL;
        loop {
            match self.launch().await {
                // An outgoing connection of anybody may have been given the port for a moment.
                Err(Error::PortTaken { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                result => return result,
            }
        }
    }

    /// Starts the process and waits until it is ready.
    pub(crate) async fn launch(&self) -> Result<()> {
        let before = self.log().len();
        self.process.start().await?;
        let begun = Instant::now();
        loop {
            if let Life::Exited { status, .. } = self.process.life() {
                return Err(self.why_it_ended(status, before));
            }
            if begun.elapsed() > self.patience {
                let log = self.log_end();
                self.kill().await?;
                return Err(Error::NotReady { after: self.patience, log });
            }
            if self.is_ready().await {
                return Ok(());
            }
            // Ends early when the process does.
            let _ = self.process.gone(ASK_EVERY).await;
        }
    }

    /// Whether our process answers, and has loaded its data.
    async fn is_ready(&self) -> bool {
        let Ok(conn) = self.knock().await else { return false };
        let mut conn = conn.with_deadline(Duration::from_secs(1));
        if let Some(password) = &self.password
            && conn.auth(None, Some(&password.0)).await.is_err()
        {
            return false;
        }
        match conn.call(&["PING"]).await {
            Ok(Reply::Error(message)) => {
                // It answers; that it does not know us is the test's own wish.
                message.starts_with("NOAUTH") || message.starts_with("NOPERM")
            }
            // It may be another process that has our port, while ours is about to find that out.
            Ok(_) => match (conn.call(&["INFO", "server"]).await, self.pid()) {
                (Ok(info), Some(pid)) => {
                    let line = format!("process_id:{pid}");
                    info.text()
                        .is_none_or(|info| info.lines().any(|found| found.trim_end() == line))
                }
                _ => false,
            },
            Err(_) => false,
        }
    }

    async fn knock(&self) -> Result<Conn> {
        match &self.socket {
            Some(path) if !self.is_plain() => Conn::unix(path).await,
            _ => Conn::tcp(self.port.addr()).await,
        }
    }

    async fn end(&self, signals: &[Signal], within: Duration) -> Result<()> {
        for signal in signals {
            match self.process.signal(*signal) {
                Err(Error::NotRunning) => return Ok(()),
                // It has died by itself, and the guardian is about to say so.
                Err(Error::Io { .. }) | Ok(()) => {}
                Err(error) => return Err(error),
            }
        }
        self.process.gone(within).await
    }

    fn why_it_ended(&self, status: i32, before: usize) -> Error {
        let log = self.log();
        let log = log.get(before..).unwrap_or(&log);
        if log.contains("Address already in use") {
            return Error::PortTaken { port: self.port() };
        }
        // Redis 7.0 without TLS does not know the directive, later servers miss the implementation.
        let unknown = log.contains("Bad directive") && log.contains("'tls-");
        if unknown || log.contains("Failed finding TLS support") {
            return Error::Unsupported { what: "TLS", version: self.version.clone() };
        }
        Error::Exited { status, log: tail(log) }
    }

    /// Whether it can answer: the process exists and, as far as the system says, is not paused.
    pub(crate) fn is_living(&self) -> bool {
        self.pid().is_some_and(|pid| has_stopped(pid) != Some(true))
    }

    /// Its last words.
    pub(crate) fn log_end(&self) -> String {
        tail(&self.log())
    }

    /// Whether it has a port without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        #[cfg(feature = "tls")]
        return !self.tls.as_ref().is_some_and(Certificates::only);
        #[cfg(not(feature = "tls"))]
        true
    }

    fn url_of(&self, scheme: &str, addr: SocketAddr) -> String {
        match &self.password {
            Some(password) => format!("{scheme}://:{}@{addr}", url::escape(&password.0)),
            None => format!("{scheme}://{addr}"),
        }
    }
}

/// The last lines of a log, enough to see why.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
}
