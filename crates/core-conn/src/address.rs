//! The address of a server, as a URL.

use url::Url;

use crate::Error;

const SCHEMES: &str = "redis://[[user]:password@]host[:port][/database]";

/// What a URL says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) database: Option<u8>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Password>,
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
        // The text may hold a password: messages name the part that is wrong, never the whole.
        let url =
            Url::parse(text).map_err(|error| Error::config("url", error.to_string(), SCHEMES))?;
        if url.scheme() != "redis" {
            return Err(Error::config(
                "url",
                format!("unknown scheme `{}`", url.scheme()),
                SCHEMES,
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(Error::config("url", "it has a query or a fragment", SCHEMES));
        }
        let database = match url.path() {
            "" | "/" => None,
            path => Some(path[1..].parse().map_err(|_| {
                Error::config(
                    "url",
                    format!("`{path}` is not a database"),
                    "a number from 0 to 255",
                )
            })?),
        };
        if url.port() == Some(0) {
            return Err(Error::config("url", "port 0", "a port from 1 to 65535"));
        }
        Ok(Self {
            host: url.host_str().filter(|host| !host.is_empty()).map(|host| {
                // A URL writes IPv6 addresses in brackets; sockets do not.
                host.trim_start_matches('[').trim_end_matches(']').to_owned()
            }),
            port: url.port(),
            database,
            user: Some(url.username()).filter(|user| !user.is_empty()).map(decode).transpose()?,
            password: url.password().map(decode).transpose()?.map(Password),
        })
    }
}

/// `%40` and the like, which a password in a URL is full of.
fn decode(text: &str) -> Result<String, Error> {
    let bad = || {
        Error::config(
            "url",
            "a broken percent sequence in user or password",
            "`%` and two hex digits",
        )
    };
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

    #[test]
    fn every_part_is_optional_but_the_scheme() {
        assert_eq!(
            Address::parse("redis://").unwrap(),
            Address { host: None, ..Address::default() }
        );
        let full = Address::parse("redis://ann:p%40ss%3a@[::1]:6380/3").unwrap();
        assert_eq!(full.host.as_deref(), Some("::1"));
        assert_eq!((full.port, full.database), (Some(6380), Some(3)));
        assert_eq!(full.user.as_deref(), Some("ann"));
        assert_eq!(full.password, Some(Password("p@ss:".into())));
        let only_password = Address::parse("redis://:secret@h").unwrap();
        assert_eq!(
            (only_password.user, only_password.password),
            (None, Some(Password("secret".into())))
        );
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
            ("redis://h?x=1", "query"),
            ("localhost:6379", "scheme"),
            ("", "url"),
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains(word), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(!format!("{:?}", Address::parse("redis://:hunter2@h")).contains("hunter2"));
    }
}
