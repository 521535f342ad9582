//! Options, validated by `build()`.

#[cfg(unix)]
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::client::Client;
use crate::cluster::ReplicaReads;
use crate::credentials::{CredentialProvider, Credentials, Login};
use crate::node::Settings;
use crate::redis::Rules;
use crate::sentinel::SentinelRole;
use crate::table;
#[cfg(feature = "tls")]
use crate::tls::Tls;
use crate::{Backoff, Error, Redis};

mod target;

/// The longest time that a handle may be told to wait.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

/// The options of a [`Redis`] handle. See [`Redis::builder`].
///
/// What the URL says and what a method here says may both be given if they agree; if they do not, `build()` refuses,
/// rather than have one of them win in silence.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `build()`"]
pub struct RedisBuilder {
    /// May hold a password.
    url: SecretString,
    client: Client,
    user: Option<String>,
    password: Option<SecretString>,
    /// The environment variable with the password.
    password_var: Option<String>,
    provider: Option<Login>,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
    #[cfg(unix)]
    socket: Option<PathBuf>,
    database: Option<u8>,
    name: Option<String>,
    deadline: Duration,
    connect_timeout: Duration,
    backoff: Backoff,
    connections: usize,
    in_flight: usize,
    queue: usize,
    dedicated: usize,
    attempts: u32,
    ready_check: bool,
    probe_interval: Duration,
    probe_timeout: Duration,
    close_deadline: Duration,
    call_sites: bool,
    apart: Vec<&'static str>,
    largest_argument: usize,
    sentinel_credentials: Option<Credentials>,
    sentinel_role: Option<SentinelRole>,
    sentinel_reconnect: Option<Backoff>,
    replica_reads: Option<ReplicaReads>,
    replica_lag: Option<Duration>,
    discovery_reconnect: Option<Backoff>,
    /// What nodes announce, and where they are reached.
    nat: Vec<(String, String)>,
}

impl RedisBuilder {
    pub(crate) fn new(url: &str) -> Self {
        let rules = Rules::default();
        Self {
            url: SecretString::from(url),
            client: Client::default(),
            user: None,
            password: None,
            password_var: None,
            provider: None,
            #[cfg(feature = "tls")]
            tls: None,
            #[cfg(unix)]
            socket: None,
            database: None,
            name: None,
            deadline: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(2),
            backoff: Backoff::default(),
            connections: 1,
            in_flight: 1_024,
            queue: 16_384,
            dedicated: 32,
            attempts: rules.attempts,
            ready_check: true,
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(2),
            close_deadline: rules.close_deadline,
            call_sites: cfg!(debug_assertions),
            apart: Vec::new(),
            largest_argument: rules.largest_argument,
            sentinel_credentials: None,
            sentinel_role: None,
            sentinel_reconnect: None,
            replica_reads: None,
            replica_lag: None,
            discovery_reconnect: None,
            nat: Vec::new(),
        }
    }

    /// The client that carries the bytes. Default: fred, where the feature `fred` is on, and else redis-rs.
    pub fn client(mut self, client: Client) -> Self {
        self.client = client;
        self
    }

    /// The ACL user. Default: the URL's, or the server's default user.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// The password. Default: the URL's, or none. It is in no message and no `Debug`.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(SecretString::from(password.into()));
        self
    }

    /// The password is that of the environment variable `REDIS_PASSWORD`. See
    /// [`password_from_env_var`](Self::password_from_env_var).
    pub fn password_from_env(self) -> Self {
        self.password_from_env_var("REDIS_PASSWORD")
    }

    /// The password is that of this environment variable, as it is at [`build`](Self::build), which fails and names
    /// the variable if that is missing or empty: a program that was deployed without its secret stops there.
    pub fn password_from_env_var(mut self, variable: impl Into<String>) -> Self {
        self.password_var = Some(variable.into());
        self
    }

    /// User and password are those that the provider gives, asked anew at each connection: for credentials that
    /// change while the program runs.
    pub fn credentials(mut self, provider: impl CredentialProvider) -> Self {
        self.provider = Some(Login::provided(provider));
        self
    }

    /// How TLS is spoken; for a URL that begins with `rediss://`. Default: the system's CAs, no client certificate.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// The unix socket that the server listens on, for a URL without host and port (`redis://`). The same as
    /// `unix:///path` in the URL.
    #[cfg(unix)]
    pub fn unix_socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// The database, 0 to 255. Default: the URL's, or 0.
    pub fn database(mut self, database: u8) -> Self {
        self.database = Some(database);
        self
    }

    /// The name by which `CLIENT LIST` shows the connections: printable, without spaces. Default: none.
    pub fn connection_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The time within which each call ends, its waiting and its repetitions included. Default: 500 ms, which a
    /// request of a user can afford; [`Redis::with_deadline`] changes it for some calls.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The time within which a connection is open and has accepted the user, or the attempt has failed: finding the
    /// address, asking a provider for credentials and shaking hands for TLS included. Default: 2 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The delays between attempts to connect, and their end. Default: [`Backoff::default`].
    pub fn reconnect(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Connections to the server. Calls take them in turn. Default: 1, which pipelines all that is concurrent; more
    /// help where replies are large.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How many calls may be on one connection at once: concurrent calls are pipelined, and this bounds the pipeline.
    /// 1 turns pipelining off. Default: 1,024, which no measured load was held up by.
    pub fn in_flight(mut self, calls: usize) -> Self {
        self.in_flight = calls;
        self
    }

    /// How many calls may wait, for a connection or for a place on one; more are refused with
    /// [`Backpressure`](crate::ErrorKind::Backpressure). Default: 16,384.
    pub fn queue(mut self, calls: usize) -> Self {
        self.queue = calls;
        self
    }

    /// How many connections may be open at once for calls that need one of their own. Default: 32.
    pub fn dedicated(mut self, connections: usize) -> Self {
        self.dedicated = connections;
        self
    }

    /// How often a command of class [`Read`](crate::Class::Read) or [`Idempotent`](crate::Class::Idempotent) is sent at
    /// most, within its deadline, when its connection is lost. Default: 3. A [`Write`](crate::Class::Write) is sent
    /// once, whatever this says.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Whether a new connection waits until the server has loaded its data. Default: yes. By `INFO`; for
    /// a user who may not call that, by `PING`, and the [`Ready`](crate::EventKind::Ready) event says so.
    pub fn ready_check(mut self, check: bool) -> Self {
        self.ready_check = check;
        self
    }

    /// How often a connection is probed, and how long an answer may take before the connection counts as hung and is
    /// replaced: after both times at most. Defaults: every second, 2 s. A script that holds the server for longer costs the
    /// connection.
    pub fn probe(mut self, interval: Duration, timeout: Duration) -> Self {
        self.probe_interval = interval;
        self.probe_timeout = timeout;
        self
    }

    /// How long [`Redis::close`] waits for what is in flight. Default: 5 s.
    pub fn close_deadline(mut self, deadline: Duration) -> Self {
        self.close_deadline = deadline;
        self
    }

    /// Commands that are kept out of the pipeline: each runs on a [dedicated](Redis::dedicated) connection, so that
    /// nobody waits behind its reply. For what the table sends as it is or inside a script (see
    /// [`Cmd`](crate::Cmd)), by the name that is given there, and for `EXEC`: all transactions.
    ///
    /// Default: none. Transactions need it not, because they travel as one block, and the server answers `INFO` at once;
    /// it is for replies that are large and that others should not wait for.
    pub fn apart(mut self, names: impl IntoIterator<Item = &'static str>) -> Self {
        self.apart = names.into_iter().collect();
        self
    }

    /// The largest key or argument, in bytes, that is sent; a larger one is
    /// [`Refused`](crate::ErrorKind::Refused), not sent. Default: 512 MiB, which is the server's own default
    /// (`proto-max-bulk-len`): it would end the connection on a larger one, and all that is in flight there.
    pub fn largest_argument(mut self, bytes: usize) -> Self {
        self.largest_argument = bytes;
        self
    }

    /// As whom the sentinels are asked, for a URL that begins with `redis-sentinel://`. Default: as nobody; the user and
    /// the password of the URL and of the other options are those of the servers with the data.
    pub fn sentinel_credentials(mut self, credentials: Credentials) -> Self {
        self.sentinel_credentials = Some(credentials);
        self
    }

    /// Which of the servers that the sentinels watch is connected to. Default: the primary. A handle for another role
    /// runs what has the class [`Read`](crate::Class::Read), and refuses everything else.
    pub fn sentinel_role(mut self, role: SentinelRole) -> Self {
        self.sentinel_role = Some(role);
        self
    }

    /// The delays between attempts to connect to a sentinel that is away; the others are asked meanwhile. Default:
    /// 50 ms × attempt, at most 2 s, half of each [left to chance](Backoff::jitter), without end.
    pub fn sentinel_reconnect(mut self, backoff: Backoff) -> Self {
        self.sentinel_reconnect = Some(backoff);
        self
    }

    /// Whether replicas of a cluster answer what has the class [`Read`](crate::Class::Read). Default:
    /// [`Never`](ReplicaReads::Never).
    pub fn replica_reads(mut self, reads: ReplicaReads) -> Self {
        self.replica_reads = Some(reads);
        self
    }

    /// How far a replica that is read from may be behind: what was written longer ago is in what it answers. Default:
    /// 5 s.
    ///
    /// All shards are asked for their offsets four times within this bound (`INFO replication`). A replica that does not
    /// answer, has not caught up or can't be asked is read from no more when the bound has passed.
    pub fn replica_lag(mut self, bound: Duration) -> Self {
        self.replica_lag = Some(bound);
        self
    }

    /// The delays between attempts to learn a cluster's map, while a node that serves slots is away or none answers.
    /// Default: 100 ms + 2 ms × attempt, at most 2 s, nothing of it by chance, without end. One that stops is asked again every ten seconds.
    pub fn discovery_reconnect(mut self, backoff: Backoff) -> Self {
        self.discovery_reconnect = Some(backoff);
        self
    }

    /// Where nodes of a cluster are reached that announce an address which leads nowhere from here: pairs of
    /// `host:port`, as announced and as reached.
    pub fn nat<A: Into<String>, B: Into<String>>(
        mut self,
        pairs: impl IntoIterator<Item = (A, B)>,
    ) -> Self {
        self.nat = pairs.into_iter().map(|(from, to)| (from.into(), to.into())).collect();
        self
    }

    /// Whether errors name the line that made the call. Default: in debug builds.
    pub fn call_sites(mut self, keep: bool) -> Self {
        self.call_sites = keep;
        self
    }

    /// Validates, and makes the handle. Nothing connects before the first call.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming the option, what is wrong with it and what is allowed.
    pub fn build(self) -> Result<Redis, Error> {
        let (site, access) = self.site()?;
        self.backoff.validate("reconnect")?;
        let positive = [
            ("deadline", self.deadline),
            ("connect_timeout", self.connect_timeout),
            ("probe.interval", self.probe_interval),
            ("probe.timeout", self.probe_timeout),
            ("close_deadline", self.close_deadline),
        ];
        for (field, time) in positive {
            if time.is_zero() || time > DAY {
                return Err(Error::config(field, format!("{time:?}"), "above zero, at most a day"));
            }
        }
        let counts = [
            ("connections", self.connections, 1_024),
            ("in_flight", self.in_flight, 65_536),
            ("queue", self.queue, 16_777_216),
            ("dedicated", self.dedicated, 10_000),
            ("attempts", self.attempts as usize, 1_000),
            ("largest_argument", self.largest_argument, 4 << 30),
        ];
        for (field, count, max) in counts {
            if count == 0 || count > max {
                let allowed = "1 or more, within reason";
                return Err(Error::config(field, format!("{count} (the most is {max})"), allowed));
            }
        }
        if let Some(name) = self.apart.iter().find(|name| !table::can_go_apart(name)) {
            let allowed = "commands of the table that go as they are or wrapped, and EXEC";
            return Err(Error::config("apart", format!("`{name}`"), allowed));
        }
        if let Some(name) = &self.name
            && (name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let allowed = "one or more printable ASCII characters, no spaces";
            return Err(Error::config("connection_name", format!("{name:?}"), allowed));
        }
        let settings = Settings {
            site,
            access,
            connections: self.connections,
            in_flight: self.in_flight,
            queue: self.queue,
            dedicated: self.dedicated,
            backoff: self.backoff,
            ready_check: self.ready_check,
            probe_interval: self.probe_interval,
            probe_timeout: self.probe_timeout,
        };
        let rules = Rules {
            attempts: self.attempts,
            close_deadline: self.close_deadline,
            call_sites: self.call_sites,
            apart: self.apart.into(),
            largest_argument: self.largest_argument,
            reads_only: self.sentinel_role.is_some_and(|role| role != SentinelRole::Primary),
        };
        Ok(Redis::new(settings, rules, self.deadline))
    }
}

#[cfg(test)]
mod tests;
