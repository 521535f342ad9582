//! The few URLs that a test needs.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::builder::Secret;
use crate::{Error, Result};

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Tcp { host: String, port: u16, user: Option<String>, password: Option<String>, database: u32 },
    Unix { path: PathBuf },
}

impl Address {
    pub(crate) fn parse(url: &str) -> Result<Address> {
        let wrong = |reason: &str| Error::Config { field: "url", reason: reason.to_owned() };
        if let Some(path) =
            ["unix://", "redis+unix://"].iter().find_map(|scheme| url.strip_prefix(scheme))
        {
            return Ok(Address::Unix { path: path.into() });
        }
        let rest = ["redis://", "valkey://"].iter().find_map(|scheme| url.strip_prefix(scheme));
        let rest = rest.ok_or_else(|| wrong("use redis://, valkey:// or unix://"))?;
        let (login, rest) = rest.rsplit_once('@').map_or(("", rest), |(login, rest)| (login, rest));
        let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = place.rsplit_once(':').unwrap_or((place, "6379"));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let given = |text: &str| (!text.is_empty()).then(|| decode(text));
        Ok(Address::Tcp {
            host: if host.is_empty() { "localhost".to_owned() } else { host.to_owned() },
            port: port.parse().map_err(|_| wrong("the port is not a number below 65536"))?,
            user: given(user),
            password: given(password),
            database: if database.is_empty() {
                0
            } else {
                database.parse().map_err(|_| wrong("the database is not a number"))?
            },
        })
    }
}

/// One URL for many servers.
pub(crate) fn of_many(
    scheme: &str,
    password: Option<&Secret>,
    addrs: impl Iterator<Item = SocketAddr>,
) -> String {
    let login = password.map(|password| format!(":{}@", escape(&password.0))).unwrap_or_default();
    let places: Vec<_> = addrs.map(|addr| addr.to_string()).collect();
    format!("{scheme}://{login}{}", places.join(","))
}

/// Escapes what may not stand in the user part of a URL.
pub(crate) fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, others @ ..] = rest {
        let hex = match (first, others) {
            (b'%', [a, b, ..]) => {
                std::str::from_utf8(&[*a, *b]).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok())
            }
            _ => None,
        };
        bytes.push(hex.unwrap_or(*first));
        rest = if hex.is_some() { others.get(2..).unwrap_or_default() } else { others };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let password = "p@ss:/%41 wörd";
        let url = format!("redis://ann:{}@127.0.0.1:7000/3", escape(password));
        let expected = Address::Tcp {
            host: "127.0.0.1".to_owned(),
            port: 7000,
            user: Some("ann".to_owned()),
            password: Some(password.to_owned()),
            database: 3,
        };
        assert_eq!(Address::parse(&url).unwrap(), expected);
        let plain = Address::Tcp {
            host: "h".to_owned(),
            port: 6379,
            user: None,
            password: None,
            database: 0,
        };
        assert_eq!(Address::parse("redis://h").unwrap(), plain);
        assert_eq!(Address::parse("unix:///a/b").unwrap(), Address::Unix { path: "/a/b".into() });
        for url in ["http://h", "redis://h:port", "redis://h:70000", "redis://h:1/x"] {
            assert!(
                matches!(Address::parse(url), Err(Error::Config { field: "url", .. })),
                "{url}"
            );
        }
    }
}
