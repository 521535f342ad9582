//! Where to and as whom, from the URL and from the options.

use std::env::{self, VarError};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::{DAY, RedisBuilder};
use crate::address::{Address, Place};
use crate::cluster::{ReplicaReads, Sites};
use crate::credentials::{Credentials, Login};
use crate::sentinel::Watched;
use crate::target::{Access, Endpoint, Site};
use crate::{Backoff, Error};

impl RedisBuilder {
    pub(super) fn site(&self) -> Result<(Site, Access), Error> {
        let address = Address::parse(self.url.expose_secret())?;
        let socket = self.agreed_socket(&address.place)?;
        let site = match (&address.place, socket) {
            (Place::Sentinel { hosts, primary, tls }, _) => {
                Site::Under(self.watched(hosts, primary.as_deref(), *tls)?)
            }
            (Place::Cluster { hosts, tls }, _) => Site::Cluster(self.sites(hosts, *tls)?),
            (Place::Unix(path), _) => Site::At(self.unix(path)?),
            (Place::Tcp { .. }, Some(path)) => Site::At(self.unix(path)?),
            (Place::Tcp { host, port, tls }, None) => {
                let host = host.as_deref().unwrap_or("localhost");
                Site::At(self.tcp(host, port.unwrap_or(6379), *tls)?)
            }
        };
        if !matches!(site, Site::Under(_)) {
            self.needs_no_sentinel()?;
        }
        if !matches!(site, Site::Cluster(_)) {
            self.needs_no_cluster()?;
        } else if self.database.is_some_and(|database| database != 0) {
            let problem = "a database other than 0: a cluster has no other";
            return Err(Error::config("database", problem, "none"));
        }
        let access = Access {
            client: self.client,
            database: agreed("database", address.database, self.database)?,
            login: self.login(address)?,
            name: self.name.clone(),
            connect_timeout: self.connect_timeout,
            stale_reads: false,
            gathers: matches!(site, Site::Cluster(_)),
        };
        Ok((site, access))
    }

    fn watched(
        &self,
        hosts: &[(String, u16)],
        primary: Option<&str>,
        tls: bool,
    ) -> Result<Watched, Error> {
        let backoff = self.sentinel_reconnect.clone().unwrap_or_else(sentinel_backoff);
        backoff.validate("sentinel_reconnect")?;
        let listed = hosts.iter().map(|(host, port)| self.tcp(host, *port, tls));
        Ok(Watched {
            listed: listed.collect::<Result<_, _>>()?,
            primary: primary.unwrap_or("mymaster").into(),
            role: self.sentinel_role.unwrap_or_default(),
            login: self.sentinel_credentials.clone().map_or(Login::Open, Login::As),
            backoff,
        })
    }

    fn sites(&self, hosts: &[(String, u16)], tls: bool) -> Result<Sites, Error> {
        let backoff = self.discovery_reconnect.clone().unwrap_or_else(discovery_backoff);
        backoff.validate("discovery_reconnect")?;
        let listed = hosts.iter().map(|(host, port)| self.tcp(host, *port, tls));
        let translated = self.nat.iter().map(|(announced, reached)| {
            let reached_at = reached.rsplit_once(':').and_then(|(host, port)| {
                let port = port.parse().ok().filter(|&port: &u16| port > 0)?;
                (!host.is_empty()).then(|| (host.to_owned(), port))
            });
            let allowed = "pairs of `host:port`, as announced and as it is reached";
            match (announced.rsplit_once(':'), reached_at) {
                (Some(_), Some(place)) => Ok((announced.clone(), place)),
                _ => Err(Error::config("nat", format!("`{announced}` to `{reached}`"), allowed)),
            }
        });
        let lag = self.replica_lag.unwrap_or(Duration::from_secs(5));
        if !(Duration::from_millis(20)..=DAY).contains(&lag) {
            return Err(Error::config("replica_lag", format!("{lag:?}"), "20 ms to a day"));
        }
        Ok(Sites {
            listed: listed.collect::<Result<_, _>>()?,
            translated: translated.collect::<Result<Vec<_>, _>>()?.into(),
            replica_reads: self.replica_reads.unwrap_or_default(),
            replica_lag: lag,
            backoff,
        })
    }

    /// Refuses options for a cluster where there is none.
    fn needs_no_cluster(&self) -> Result<(), Error> {
        let given = [
            ("replica_reads", self.replica_reads.is_some_and(|reads| reads != ReplicaReads::Never)),
            ("replica_lag", self.replica_lag.is_some()),
            ("discovery_reconnect", self.discovery_reconnect.is_some()),
            ("nat", !self.nat.is_empty()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((field, _)) => {
                let allowed = "a URL that begins with `redis-cluster://`";
                Err(Error::config(field, "there is no cluster", allowed))
            }
        }
    }

    /// Refuses options for sentinels where none is asked.
    fn needs_no_sentinel(&self) -> Result<(), Error> {
        let given = [
            ("sentinel_credentials", self.sentinel_credentials.is_some()),
            ("sentinel_role", self.sentinel_role.is_some()),
            ("sentinel_reconnect", self.sentinel_reconnect.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((field, _)) => {
                let allowed = "a URL that begins with `redis-sentinel://`";
                Err(Error::config(field, "no sentinel is asked", allowed))
            }
        }
    }

    /// The socket that was given as an option, if there is one: it must be where the URL leads, too.
    #[cfg(unix)]
    fn agreed_socket(&self, place: &Place) -> Result<Option<&Path>, Error> {
        let Some(path) = &self.socket else { return Ok(None) };
        let agrees = match place {
            Place::Unix(other) => other == path,
            Place::Tcp { host, port, tls } => host.is_none() && port.is_none() && !tls,
            Place::Sentinel { .. } | Place::Cluster { .. } => false,
        };
        if !agrees {
            return Err(contradiction("unix_socket", "the URL leads elsewhere"));
        }
        if !path.is_absolute() {
            let problem = format!("{} is not absolute", path.display());
            return Err(Error::config("unix_socket", problem, "the path from the root"));
        }
        Ok(Some(path))
    }

    #[cfg(not(unix))]
    fn agreed_socket(&self, _: &Place) -> Result<Option<&Path>, Error> {
        Ok(None)
    }

    #[cfg(unix)]
    fn unix(&self, path: &Path) -> Result<Endpoint, Error> {
        self.speaks_plainly("over a unix socket")?;
        Ok(Endpoint::Unix(path.to_owned()))
    }

    #[cfg(not(unix))]
    fn unix(&self, _: &Path) -> Result<Endpoint, Error> {
        Err(Error::config("url", "a unix socket", "redis:// or rediss:// on this system"))
    }

    fn tcp(&self, host: &str, port: u16, tls: bool) -> Result<Endpoint, Error> {
        if !tls {
            self.speaks_plainly("by this URL; write `rediss://` or `rediss-sentinel://`")?;
        }
        #[cfg(not(feature = "tls"))]
        if tls {
            let problem = "TLS, which this build lacks";
            return Err(Error::config("url", problem, "the feature `tls`, or a URL without it"));
        }
        Ok(Endpoint::Tcp {
            host: host.to_owned(),
            port,
            #[cfg(feature = "tls")]
            tls: tls.then(|| self.tls.clone().unwrap_or_default().client(host)).transpose()?,
        })
    }

    /// Refuses options for TLS where none is spoken: who gives them must not go on in the clear.
    fn speaks_plainly(&self, how: &str) -> Result<(), Error> {
        #[cfg(feature = "tls")]
        if self.tls.is_some() {
            return Err(contradiction("tls", &format!("none is spoken {how}")));
        }
        let _ = how;
        Ok(())
    }

    fn login(&self, address: Address) -> Result<Login, Error> {
        let told = address.password.map(|password| SecretString::from(password.0));
        let user = agreed("user", address.user, self.user.clone())?;
        let sources = [told.is_some(), self.password.is_some(), self.password_var.is_some()];
        let sources = sources.into_iter().filter(|&given| given).count();
        if let Some(provider) = &self.provider {
            if sources > 0 || user.is_some() {
                let problem = "a user or a password beside the provider, which gives both";
                return Err(contradiction("credentials", problem));
            }
            return Ok(provider.clone());
        }
        if sources > 1 {
            return Err(contradiction("password", "two passwords"));
        }
        let password = match &self.password_var {
            Some(variable) => Some(from_environment(variable)?),
            None => told.or_else(|| self.password.clone()),
        };
        match (user, password) {
            (_, Some(password)) if password.expose_secret().is_empty() => {
                Err(Error::config("password", "it is empty", "none, or one that is not empty"))
            }
            (Some(user), Some(password)) => {
                Ok(Login::As(Credentials::new(user, password.expose_secret())))
            }
            (None, Some(password)) => {
                Ok(Login::As(Credentials::password(password.expose_secret())))
            }
            (Some(_), None) => {
                let problem = "there is a user and no password";
                Err(Error::config("password", problem, "a password for the user"))
            }
            (None, None) => Ok(Login::Open),
        }
    }
}

fn from_environment(variable: &str) -> Result<SecretString, Error> {
    let wrong = |what: &str| {
        let problem = format!("the environment variable `{variable}` {what}");
        Err(Error::config("password", problem, "a variable that holds the password"))
    };
    // The system has no such names, and must not be asked for one.
    if variable.is_empty() || variable.contains(['=', '\0']) {
        return wrong("can't be");
    }
    match env::var(variable) {
        Ok(password) if password.is_empty() => wrong("is empty"),
        Ok(password) => Ok(SecretString::from(password)),
        Err(VarError::NotPresent) => wrong("is missing"),
        Err(VarError::NotUnicode(_)) => wrong("is not UTF-8"),
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

fn sentinel_backoff() -> Backoff {
    Backoff::linear(Duration::from_millis(50), Duration::from_secs(2))
}

fn discovery_backoff() -> Backoff {
    Backoff::custom(|attempt, _| {
        let delay = 100 + 2 * u64::from(attempt);
        ControlFlow::Continue(Duration::from_millis(delay.min(2_000)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn delay(backoff: &Backoff, attempt: u32) -> u128 {
        let (last, long) = (Error::not_sent(ErrorKind::Closed), Duration::from_secs(1_000_000));
        match backoff.delay(attempt, long, &last) {
            ControlFlow::Continue(delay) => delay.as_millis(),
            ControlFlow::Break(reason) => panic!("{reason}"),
        }
    }

    #[test]
    fn a_map_is_asked_for_a_little_later_each_time_without_end() {
        let backoff = discovery_backoff();
        for (attempt, expected) in
            [(1, 102), (2, 104), (100, 300), (949, 1_998), (950, 2_000), (u32::MAX, 2_000)]
        {
            assert_eq!(delay(&backoff, attempt), expected, "{attempt}");
        }
    }

    #[test]
    fn a_sentinel_is_tried_later_each_time_half_of_it_by_chance_without_end() {
        let backoff = sentinel_backoff();
        for (attempt, most) in [(1, 50), (2, 100), (40, 2_000), (41, 2_000), (u32::MAX, 2_000)] {
            let drawn: Vec<_> = (0..200).map(|_| delay(&backoff, attempt)).collect();
            let (least, longest) = (*drawn.iter().min().unwrap(), *drawn.iter().max().unwrap());
            assert!(least >= most / 2 && longest <= most, "{attempt}: {least} to {longest}");
            assert!(longest - least > most / 4, "{attempt}: {least} to {longest}");
        }
    }
}
