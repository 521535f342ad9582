use std::time::Duration;

use super::{NAME, Sentinel, port_of};
use crate::builder::{Kind, quoted};
use crate::many::start_many;
use crate::{Builder, Error, Result, Server};

/// How servers under Sentinel are to be; made by [`Sentinel::builder`].
///
/// Sentinels look and talk more often than by themselves, and trust themselves again 1 s after a pause of more than 2 s
/// instead of 30 s (TILT), so that tests need not wait for them. That is `SENTINEL DEBUG`, where the server knows it; a
/// sentinel that is restarted takes its time again.
#[derive(Clone, Debug)]
#[must_use]
pub struct SentinelBuilder {
    replicas: usize,
    sentinels: usize,
    down_after: Duration,
    failover_timeout: Duration,
    patience: Duration,
    server: Builder,
    sentinel: Builder,
    directives: Vec<(String, String)>,
}

impl SentinelBuilder {
    pub(crate) fn new() -> SentinelBuilder {
        SentinelBuilder {
            replicas: 1,
            sentinels: 3,
            down_after: Duration::from_secs(1),
            failover_timeout: Duration::from_secs(3),
            patience: Duration::from_secs(20),
            server: Builder::new(),
            sentinel: Builder::new(),
            directives: Vec::new(),
        }
    }

    /// How many replicas the primary has (1 by default).
    pub fn replicas(mut self, count: usize) -> SentinelBuilder {
        self.replicas = count;
        self
    }

    /// How many sentinels watch (3 by default); a majority of them is the quorum.
    pub fn sentinels(mut self, count: usize) -> SentinelBuilder {
        self.sentinels = count;
        self
    }

    /// After which silence a sentinel takes the primary for dead (`down-after-milliseconds`) [1 s, where Sentinel itself
    /// has 30 s].
    pub fn down_after(mut self, silence: Duration) -> SentinelBuilder {
        self.down_after = silence;
        self
    }

    /// How long a failover may take before it is given up (`failover-timeout`) [3 s, where Sentinel itself has 3 min];
    /// after twice that time another is tried.
    pub fn failover_timeout(mut self, timeout: Duration) -> SentinelBuilder {
        self.failover_timeout = timeout;
        self
    }

    /// Asks for a password on the servers that hold data.
    pub fn password(mut self, password: impl Into<String>) -> SentinelBuilder {
        self.server = self.server.password(password);
        self
    }

    /// Asks for a password on the sentinels.
    pub fn sentinel_password(mut self, password: impl Into<String>) -> SentinelBuilder {
        self.sentinel = self.sentinel.password(password);
        self
    }

    /// Any other directive for the servers that hold data: see [`Builder::config`].
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> SentinelBuilder {
        self.server = self.server.config(key, value);
        self
    }

    /// A directive of `sentinel.conf` about the primary, such as `parallel-syncs` and `2`.
    pub fn sentinel_config(
        mut self,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> SentinelBuilder {
        self.directives.push((key.into(), value.into()));
        self
    }

    /// All that a server can be, for every server that holds data, in place of what was said of them before: see
    /// [`ClusterBuilder::server`](crate::ClusterBuilder::server). Its binary is that of the sentinels too.
    ///
    /// With [`Builder::tls`], the sentinels have TLS as well, and all of them speak it with each other: sentinels watch
    /// and name the TLS ports, replicas follow by them, and one CA has signed for all. A plain port is then for the tests
    /// alone.
    pub fn server(mut self, server: Builder) -> SentinelBuilder {
        self.server = server;
        self
    }

    /// How long it may take until all is ready, and how long each later wait may last [20 s].
    pub fn ready_within(mut self, patience: Duration) -> SentinelBuilder {
        self.patience = patience;
        self
    }

    /// Starts the servers and the sentinels, and waits until they know each other: see [`Sentinel::ready`].
    ///
    /// # Errors
    /// Those of [`Builder::start`], [`Error::Config`] about an option, and [`Error::NotReached`] with what was missing.
    pub async fn start(self) -> Result<Sentinel> {
        self.check()?;
        let mut server = self.server.among_themselves()?;
        if let Some(password) = self.server.secret() {
            let auth = vec![("masterauth", quoted(&password.0))];
            server = server.of_kind(Kind::Alone, auth);
        }
        let primary = server.clone().start().await?;
        let port = port_of(&primary);
        let sentinel = self.sentinel(port).like(&server);
        let replica = server.of_kind(Kind::Alone, vec![("replicaof", format!("127.0.0.1 {port}"))]);
        let mut servers = vec![primary];
        servers.extend(start_many(vec![replica; self.replicas]).await?);
        let sentinels = start_many(vec![sentinel; self.sentinels]).await?;
        let sentinel = Sentinel {
            servers,
            sentinels,
            password: self.server.secret().cloned(),
            patience: self.patience,
        };
        sentinel.ready().await?;
        Ok(sentinel)
    }

    fn check(&self) -> Result<()> {
        self.server.check_shared()?;
        let wrong = |field, reason: &str| Err(Error::Config { field, reason: reason.to_owned() });
        if self.sentinels == 0 {
            return wrong("sentinels", "there are none");
        }
        let secrets =
            [("password", self.server.secret()), ("sentinel_password", self.sentinel.secret())];
        for (field, secret) in secrets {
            let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte);
            if secret.is_some_and(|secret| secret.0.is_empty() || !secret.0.bytes().all(plain)) {
                return wrong(
                    field,
                    "sentinels write it down bare: no spaces, quotes, backslashes",
                );
            }
        }
        Ok(())
    }

    /// What each sentinel is to be.
    fn sentinel(&self, primary: u16) -> Builder {
        let quorum = self.sentinels / 2 + 1;
        let millis = |time: Duration| time.as_millis().to_string();
        let mut about = vec![
            ("down-after-milliseconds", millis(self.down_after)),
            ("failover-timeout", millis(self.failover_timeout)),
            ("parallel-syncs", self.replicas.max(1).to_string()),
        ];
        if let Some(password) = self.server.secret() {
            about.push(("auth-pass", password.0.clone()));
        }
        about.extend(self.directives.iter().map(|(key, value)| (key.as_str(), value.clone())));
        let mut lines = vec![format!("monitor {NAME} 127.0.0.1 {primary} {quorum}")];
        lines.extend(about.into_iter().map(|(key, value)| format!("{key} {NAME} {value}")));
        if let Some(password) = self.sentinel.secret() {
            lines.push(format!("sentinel-pass {}", password.0));
        }
        let lines = lines.into_iter().map(|line| ("sentinel", line)).collect();
        self.sentinel.of_kind(Kind::Sentinel, lines)
    }
}

/// Lets a sentinel ask and tell more often.
///
/// Four times `PUBLISH-PERIOD` is how long a replica may call itself a primary before a sentinel that has not heard why
/// makes it a replica again: the one that has promoted it must have seen that, and told the others, long before.
pub(super) async fn hurry(sentinel: &Server) -> Result<()> {
    let periods = [
        ("INFO-PERIOD", "500"),
        ("PUBLISH-PERIOD", "500"),
        ("ASK-PERIOD", "200"),
        ("TILT-PERIOD", "1000"),
    ];
    let mut conn = sentinel.conn().await?;
    for (period, millis) in periods {
        // A server that does not know it takes its time.
        conn.call(&["SENTINEL", "DEBUG", period, millis]).await?;
    }
    Ok(())
}
