//! Options, validated by `build()`.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::address::Address;
use crate::link::Target;
use crate::node::Settings;
use crate::{Backoff, Error, Redis};

/// The options of a [`Redis`] handle. See [`Redis::builder`].
///
/// What the URL says and what a method here says may both be given if they agree; if they do not, `build()` refuses,
/// rather than have one of them win in silence.
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `build()`"]
pub struct RedisBuilder {
    /// May hold a password.
    url: SecretString,
    user: Option<String>,
    password: Option<SecretString>,
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
}

impl RedisBuilder {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: SecretString::from(url),
            user: None,
            password: None,
            database: None,
            name: None,
            deadline: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(2),
            backoff: Backoff::default(),
            connections: 1,
            in_flight: 1_024,
            queue: 16_384,
            dedicated: 32,
            attempts: 3,
            ready_check: true,
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_secs(2),
            close_deadline: Duration::from_secs(5),
            call_sites: cfg!(debug_assertions),
        }
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

    /// The time within which a connection is open and has accepted the user, or the attempt has failed. Default: 2 s.
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

    /// Whether a new connection waits until the server has loaded its data. Default: yes. By `INFO persistence`; for
    /// a user who may not call that, by `PING`, and the [`Ready`](crate::EventKind::Ready) event says so.
    pub fn ready_check(mut self, check: bool) -> Self {
        self.ready_check = check;
        self
    }

    /// How often a connection is probed, and how long an answer may take before the connection counts as hung and is
    /// replaced. Defaults: every second, 2 s. A script that holds the server for longer costs the connection.
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
        let address = Address::parse(self.url.expose_secret())?;
        self.backoff.validate("reconnect")?;
        let positive = [
            ("deadline", self.deadline),
            ("connect_timeout", self.connect_timeout),
            ("probe.interval", self.probe_interval),
            ("probe.timeout", self.probe_timeout),
            ("close_deadline", self.close_deadline),
        ];
        for (field, time) in positive {
            if time.is_zero() || time > Duration::from_secs(24 * 3600) {
                return Err(Error::config(field, format!("{time:?}"), "above zero, at most a day"));
            }
        }
        let counts = [
            ("connections", self.connections, 1_024),
            ("in_flight", self.in_flight, 65_536),
            ("queue", self.queue, 16_777_216),
            ("dedicated", self.dedicated, 10_000),
            ("attempts", self.attempts as usize, 1_000),
        ];
        for (field, count, max) in counts {
            if count == 0 || count > max {
                let allowed = "1 or more, within reason";
                return Err(Error::config(field, format!("{count} (the most is {max})"), allowed));
            }
        }
        if let Some(name) = &self.name
            && (name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let allowed = "one or more printable ASCII characters, no spaces";
            return Err(Error::config("connection_name", format!("{name:?}"), allowed));
        }
        let password = match (address.password, self.password) {
            (Some(_), Some(_)) => return Err(contradiction("password", "two passwords")),
            (Some(url), None) => Some(SecretString::from(url.0)),
            (None, given) => given,
        };
        let user = agreed("user", address.user, self.user)?;
        if user.is_some() && password.is_none() {
            return Err(Error::config(
                "password",
                "there is a user and no password",
                "a password for the user",
            ));
        }
        let target = Target {
            host: address.host.unwrap_or_else(|| "localhost".into()),
            port: address.port.unwrap_or(6379),
            database: agreed("database", address.database, self.database)?,
            user,
            password,
            name: self.name,
            connect_timeout: self.connect_timeout,
        };
        let settings = Settings {
            target,
            connections: self.connections,
            in_flight: self.in_flight,
            queue: self.queue,
            dedicated: self.dedicated,
            backoff: self.backoff,
            ready_check: self.ready_check,
            probe_interval: self.probe_interval,
            probe_timeout: self.probe_timeout,
        };
        Ok(Redis::new(settings, self.deadline, self.attempts, self.close_deadline, self.call_sites))
    }
}

/// What both say, if they do not contradict each other.
fn agreed<T: PartialEq>(
    field: &'static str,
    url: Option<T>,
    given: Option<T>,
) -> Result<Option<T>, Error> {
    match (url, given) {
        (Some(url), Some(given)) if url != given => {
            Err(contradiction(field, "the URL says another"))
        }
        (url, given) => Ok(url.or(given)),
    }
}

fn contradiction(field: &'static str, problem: &str) -> Error {
    Error::config(field, problem, "either in the URL or as an option, or the same in both")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(builder: RedisBuilder, field: &str) {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.starts_with(field) && error.contains("allowed"), "{error}");
    }

    #[test]
    fn bad_options_are_named() {
        let ok = || RedisBuilder::new("redis://localhost");
        assert!(ok().build().is_ok());
        refused(ok().connections(0), "connections");
        refused(ok().in_flight(0), "in_flight");
        refused(ok().queue(0), "queue");
        refused(ok().dedicated(0), "dedicated");
        refused(ok().attempts(0), "attempts");
        refused(ok().deadline(Duration::ZERO), "deadline");
        refused(ok().probe(Duration::ZERO, Duration::from_secs(1)), "probe.interval");
        refused(ok().connection_name(""), "connection_name");
        refused(ok().connection_name("two words"), "connection_name");
        refused(ok().user("ann"), "password");
        refused(ok().reconnect(Backoff::constant(Duration::ZERO)), "reconnect");
        refused(RedisBuilder::new("http://localhost"), "url");
    }

    #[test]
    fn url_and_options_may_agree_but_not_contradict() {
        let url = || RedisBuilder::new("redis://ann:secret@h/2");
        assert!(url().database(2).user("ann").build().is_ok());
        refused(url().database(3), "database");
        refused(url().user("bob"), "user");
        refused(url().password("other"), "password");
    }

    #[test]
    fn no_password_is_printed() {
        let builder = RedisBuilder::new("redis://h").user("ann").password("hunter2");
        assert!(!format!("{builder:?}").contains("hunter2"));
        assert!(!format!("{:?}", builder.build().unwrap()).contains("hunter2"));
        assert!(!format!("{:?}", RedisBuilder::new("redis://:hunter2@h")).contains("hunter2"));
    }
}
