//! The address of a server, as a URL.

use std::path::PathBuf;

use url::Url;

use crate::Error;

const SCHEMES: &str = "redis://[[user]:password@]host[:port][/database], rediss:// for TLS, \
                       redis-sentinel://[[user]:password@]host[:port],…[/name[/database]], \
                       rediss-sentinel:// for TLS, redis-cluster://[[user]:password@]host[:port],…, \
                       rediss-cluster:// for TLS, or unix:///path[?db=database&user=user&pass=password]";

const PORT: u16 = 6_379;

const SENTINEL_PORT: u16 = 26_379;

/// What a URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) place: Place,
    pub(crate) database: Option<u8>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Password>,
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp { host: Option<String>, port: Option<u16>, tls: bool },
    Unix(PathBuf),
    Sentinel { hosts: Vec<(String, u16)>, primary: Option<String>, tls: bool },
    Cluster { hosts: Vec<(String, u16)>, tls: bool },
}

/// Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Password(pub(crate) String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        for scheme in ["redis", "rediss", "valkey", "valkeys"] {
            let Some(rest) = text.strip_prefix(scheme) else { continue };
            if let Some(rest) = rest.strip_prefix("-sentinel://") {
                return Self::sentinel(scheme, rest);
            }
            if let Some(rest) = rest.strip_prefix("-cluster://") {
                return Self::cluster(scheme, rest);
            }
        }
        // The text may hold a password: messages name the part that is wrong, never the whole.
        let url =
            Url::parse(text).map_err(|error| Error::config("url", error.to_string(), SCHEMES))?;
        if url.fragment() == Some("insecure") {
            let problem = "`#insecure`: certificates are always verified";
            return Err(Error::config("url", problem, "a CA of your own, by the option `tls`"));
        }
        if url.fragment().is_some() {
            return Err(Error::config("url", "it has a fragment", SCHEMES));
        }
        match url.scheme() {
            "redis" | "valkey" => Self::tcp(&url, false),
            "rediss" | "valkeys" => Self::tcp(&url, true),
            "unix" | "redis+unix" | "valkey+unix" => Self::unix(&url),
            other => Err(Error::config("url", format!("unknown scheme `{other}`"), SCHEMES)),
        }
    }

    fn tcp(url: &Url, tls: bool) -> Result<Self, Error> {
        // What follows would be named, and would be a part of the password.
        if url.path().contains('@') || url.query().is_some_and(|query| query.contains('@')) {
            let problem = "an `@` after the host: the user or the password is cut off";
            return Err(Error::config("url", problem, "both with `/` as %2F and `?` as %3F"));
        }
        if let Some((name, _)) = parameters(url).next() {
            let problem = format!("unknown parameter `{name}`");
            return Err(Error::config("url", problem, "none; give options to the builder"));
        }
        let database = match url.path() {
            "" | "/" => None,
            path => Some(database(&path[1..])?),
        };
        if url.port() == Some(0) {
            return Err(Error::config("url", "port 0", "a port from 1 to 65535"));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).map(|host| {
            // A URL writes IPv6 addresses in brackets; sockets do not.
            host.trim_start_matches('[').trim_end_matches(']').to_owned()
        });
        Ok(Self {
            place: Place::Tcp { host, port: url.port(), tls },
            database,
            user: Some(url.username()).filter(|user| !user.is_empty()).map(decode).transpose()?,
            password: url.password().map(decode).transpose()?.map(Password),
        })
    }

    /// Several hosts, which the URL standard does not know: each is read as if it were the only one.
    fn sentinel(scheme: &str, rest: &str) -> Result<Self, Error> {
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (login, hosts) = match authority.rfind('@') {
            Some(at) => authority.split_at(at + 1),
            None => ("", authority),
        };
        let (name, database) = match path.strip_prefix('/').map(|path| path.split_once('/')) {
            Some(Some((name, database))) => (name, format!("/{database}")),
            Some(None) => (&path[1..], String::new()),
            None => ("", path.to_owned()),
        };
        if name.contains(['?', '#', '@']) {
            let problem = "a `?`, `#` or `@` in the name of the primary";
            return Err(Error::config(
                "url",
                problem,
                "each as %3F, %23 or %40, there and in a password",
            ));
        }
        let Hosts { hosts, tls, told } =
            Hosts::parse(scheme, login, hosts, &database, SENTINEL_PORT)?;
        let primary = Some(name).filter(|name| !name.is_empty()).map(decode).transpose()?;
        Ok(Self { place: Place::Sentinel { hosts, primary, tls }, ..told })
    }

    fn cluster(scheme: &str, rest: &str) -> Result<Self, Error> {
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (login, hosts) = match authority.rfind('@') {
            Some(at) => authority.split_at(at + 1),
            None => ("", authority),
        };
        let Hosts { hosts, tls, told } = Hosts::parse(scheme, login, hosts, path, PORT)?;
        if told.database.is_some_and(|database| database != 0) {
            let problem = "a database other than 0: a cluster has no other";
            return Err(Error::config("url", problem, "none"));
        }
        Ok(Self { place: Place::Cluster { hosts, tls }, database: None, ..told })
    }

    /// A socket's path leaves the URL no other room for the rest than parameters.
    fn unix(url: &Url) -> Result<Self, Error> {
        if url.has_host() || url.path().len() < 2 || !url.path().starts_with('/') {
            return Err(Error::config("url", "no absolute path of a socket", SCHEMES));
        }
        let mut address = Self {
            place: Place::Unix(decode(url.path())?.into()),
            database: None,
            user: None,
            password: None,
        };
        for (name, value) in parameters(url) {
            let new = match name {
                "db" => address.database.replace(database(value)?).is_none(),
                "user" => address.user.replace(decode(value)?).is_none(),
                "pass" => address.password.replace(Password(decode(value)?)).is_none(),
                // Not named: it may be what stood behind an `&` in the password.
                _ => {
                    let allowed = "`db`, `user`, `pass`, each with `&` as %26";
                    return Err(Error::config("url", "an unknown parameter", allowed));
                }
            };
            if !new {
                let problem = format!("the parameter `{name}` is there twice");
                return Err(Error::config("url", problem, "each parameter once"));
            }
        }
        Ok(address)
    }
}

/// Several hosts, as one list of a URL names them.
struct Hosts {
    hosts: Vec<(String, u16)>,
    tls: bool,
    /// What else the URL says.
    told: Address,
}

impl Hosts {
    fn parse(
        scheme: &str,
        login: &str,
        hosts: &str,
        path: &str,
        usual: u16,
    ) -> Result<Self, Error> {
        let mut several = Vec::new();
        let mut first = None;
        for host in hosts.split(',') {
            let one = Address::parse(&format!("{scheme}://{login}{host}{path}"))?;
            match &one.place {
                Place::Tcp { host: Some(host), port, .. } => {
                    let place = (host.clone(), port.unwrap_or(usual));
                    if several.contains(&place) {
                        let problem = format!("{}:{} is there twice", place.0, place.1);
                        return Err(Error::config("url", problem, "each host once"));
                    }
                    several.push(place);
                }
                _ => return Err(Error::config("url", "a comma without a host", SCHEMES)),
            }
            first = first.or(Some(one));
        }
        // There is at least one piece, however short.
        match first {
            Some(told @ Address { place: Place::Tcp { tls, .. }, .. }) => {
                Ok(Self { hosts: several, tls, told })
            }
            _ => Err(Error::config("url", "no host", SCHEMES)),
        }
    }
}

/// Split by hand: a form's `+` would be a space, and passwords are full of it.
fn parameters(url: &Url) -> impl Iterator<Item = (&str, &str)> {
    let pairs = url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn database(text: &str) -> Result<u8, Error> {
    let allowed = "a database from 0 to 255";
    text.parse().map_err(|_| Error::config("url", "a database that is no such number", allowed))
}

/// `%40` and the like, which a password in a URL is full of.
fn decode(text: &str) -> Result<String, Error> {
    let bad = || Error::config("url", "a broken percent sequence", "`%` and two hex digits");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit =
            || rest.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or_else(bad);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).map_err(|_| bad())?);
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: Option<&str>, port: Option<u16>, tls: bool) -> Place {
        Place::Tcp { host: host.map(str::to_owned), port, tls }
    }

    fn parsed(url: &str) -> Address {
        Address::parse(url).unwrap()
    }

    #[test]
    fn every_part_is_optional_but_the_scheme() {
        assert_eq!(parsed("redis://").place, tcp(None, None, false));
        let full = parsed("redis://ann:p%40ss%3a@[::1]:6380/3");
        assert_eq!(full.place, tcp(Some("::1"), Some(6380), false));
        assert_eq!(full.database, Some(3));
        assert_eq!(full.user.as_deref(), Some("ann"));
        assert_eq!(full.password, Some(Password("p@ss:".into())));
        let only_password = parsed("redis://:secret@h");
        assert_eq!(
            (only_password.user, only_password.password),
            (None, Some(Password("secret".into())))
        );
    }

    #[test]
    fn schemes_say_how_to_get_there() {
        for (url, tls) in [("valkey://h", false), ("rediss://h", true), ("valkeys://h", true)] {
            assert_eq!(parsed(url).place, tcp(Some("h"), None, tls), "{url}");
        }
        for scheme in ["unix", "redis+unix", "valkey+unix"] {
            let bare = parsed(&format!("{scheme}:///run/a%20b.sock"));
            assert_eq!(bare.place, Place::Unix("/run/a b.sock".into()));
            assert_eq!((bare.database, bare.user, bare.password), (None, None, None));
            let full = parsed(&format!("{scheme}:///s?db=2&user=ann&pass=a+b%26c=d"));
            assert_eq!((full.database, full.user.as_deref()), (Some(2), Some("ann")));
            assert_eq!(full.password, Some(Password("a+b&c=d".into())));
        }
    }

    #[test]
    fn sentinels_are_several_hosts_and_a_name() {
        let hosts = |url: &str| match parsed(url).place {
            Place::Sentinel { hosts, primary, tls } => (hosts, primary, tls),
            place => panic!("{place:?}"),
        };
        let host = |host: &str, port| (host.to_owned(), port);
        let one = (vec![host("h", 26_379)], None, false);
        for url in ["redis-sentinel://h", "valkey-sentinel://h/"] {
            assert_eq!(hosts(url), one, "{url}");
        }
        let several = vec![host("a", 1), host("::1", 2), host("c", 26_379)];
        let full = "rediss-sentinel://ann:p%40s,s@a:1,[::1]:2,c/the%20shop/3";
        assert_eq!(hosts(full), (several, Some("the shop".into()), true));
        let full = parsed(full);
        assert_eq!((full.user.as_deref(), full.database), (Some("ann"), Some(3)));
        assert_eq!(full.password, Some(Password("p@s,s".into())));
    }

    #[test]
    fn a_cluster_is_known_by_some_of_its_nodes() {
        let hosts = |url: &str| match parsed(url).place {
            Place::Cluster { hosts, tls } => (hosts, tls),
            _ => panic!("{url} is no cluster"),
        };
        assert_eq!(hosts("redis-cluster://a"), (vec![("a".into(), 6379)], false));
        let full = "rediss-cluster://ann:p%40s@a:7000,[::1],b:7001/0";
        let several = vec![("a".into(), 7000), ("::1".into(), 6379), ("b".into(), 7001)];
        assert_eq!(hosts(full), (several, true));
        let full = parsed(full);
        assert_eq!((full.user.as_deref(), full.database), (Some("ann"), None));
        assert_eq!(full.password, Some(Password("p@s".into())));
        for (url, word) in [
            ("redis-cluster://", "host"),
            ("redis-cluster://a,,b", "host"),
            ("redis-cluster://a:7000,b,a:7000", "a:7000 is there twice"),
            ("redis-cluster://a/3", "a database other than 0"),
            ("redis-cluster://u:hunter2@a:99999", "port"),
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains(word), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_no_password_with_it() {
        for (url, word) in [
            ("http://h", "unknown scheme `http`"),
            ("redis://u:hunter2@h:99999", "port"),
            ("redis://u:hunter2@h:0", "port"),
            ("redis://h/one", "database"),
            ("redis://h/256", "database"),
            ("redis://u:hunter2%zz@h", "percent"),
            ("redis://u:hunter2@h?protocol=resp2", "unknown parameter `protocol`"),
            ("rediss://u:hunter2@h#insecure", "always verified"),
            ("redis://u:hunter2@h#x", "fragment"),
            ("unix://run/redis.sock?pass=hunter2", "absolute path"),
            ("unix://", "absolute path"),
            ("unix:relative.sock", "absolute path"),
            ("unix:///s?db=x&pass=hunter2", "database"),
            ("unix:///s?pass=hunter2&pass=hunter2", "twice"),
            ("unix:///s?pass=hunter2&password=hunter2", "unknown parameter"),
            ("unix:///s?pass=1&hunter2", "unknown parameter"),
            ("redis-sentinel://", "without a host"),
            ("redis-sentinel://:hunter2@a,,b/m", "empty host"),
            ("redis-sentinel://:hunter2@a:0,b/m", "port"),
            ("redis-sentinel://:hunter2@a:1,b,a:1/m", "twice"),
            ("redis-sentinel://:hunter2@a,a:26379/m", "twice"),
            ("redis-sentinel://:hunter2@a//x", "database"),
            ("redis://:hunter2-sentinel://a", "port"),
            ("redis-sentinel://:hunter2@a,b:99999/m", "port"),
            ("redis-sentinel://:hunter2@a/m/x", "database"),
            ("redis-sentinel://:hunter2@a/m?role=replica", "a `?`"),
            ("redis-sentinel://:1/hunter2@a/m", "or `@`"),
            ("unix-sentinel://a/m", "unknown scheme `unix-sentinel`"),
            ("unix:///s?db=hunter2", "database"),
            ("redis://u:1/hunter2@h", "cut off"),
            ("redis://u:1?hunter2@h", "cut off"),
            ("localhost:6379", "scheme"),
            ("", "url"),
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains(word), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        for url in ["redis://:hunter2@h", "unix:///s?pass=hunter2"] {
            assert!(!format!("{:?}", Address::parse(url)).contains("hunter2"));
        }
    }
}
