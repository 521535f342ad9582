//! Countries of addresses, from a database of MaxMind.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use maxminddb::{Reader, path};

use super::GeoResolver;
use crate::error::Error;

#[cfg(test)]
mod database;

/// Tells countries by a database in MaxMind's format that has them: GeoLite2, GeoIP2, or another of countries or cities.
/// Kept in memory; clones share it, so that [`replace`](Self::replace) is for all of them.
///
/// ```no_run
/// # fn example(limiter: &russet_ratelimit::Limiter) -> Result<(), russet_ratelimit::Error> {
/// use russet_ratelimit::composite::{Geographic, MaxMind};
///
/// let resolver = MaxMind::open("GeoLite2-Country.mmdb")?.european_union();
/// let geo = Geographic::standard(limiter, "geo", resolver)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct MaxMind {
    reader: Arc<ArcSwap<Reader<Vec<u8>>>>,
    union: bool,
}

impl MaxMind {
    /// Reads the file, all of it, and waits for that.
    ///
    /// # Errors
    /// [`Error::Config`] for what can't be read, and what is no such database.
    pub fn open(file: impl AsRef<Path>) -> Result<Self, Error> {
        let file = file.as_ref();
        let bytes =
            std::fs::read(file).map_err(|error| refused(format!("{}: {error}", file.display())))?;
        Self::from_bytes(bytes)
    }

    /// Of a file's bytes.
    ///
    /// # Errors
    /// [`Error::Config`] for what is no such database.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self, Error> {
        Ok(Self { reader: Arc::new(ArcSwap::from_pointee(reader(bytes)?)), union: false })
    }

    /// Tells `EU` for the members of the European Union, in the place of their own codes. Default: not.
    #[must_use]
    pub fn european_union(mut self) -> Self {
        self.union = true;
        self
    }

    /// Goes by another database from the next decision on: they are published once or twice a week.
    ///
    /// # Errors
    /// As [`from_bytes`](Self::from_bytes); then the one before stays.
    pub fn replace(&self, bytes: Vec<u8>) -> Result<(), Error> {
        self.reader.store(Arc::new(reader(bytes)?));
        Ok(())
    }
}

impl GeoResolver for MaxMind {
    fn country(&self, ip: IpAddr) -> Option<String> {
        let reader = self.reader.load();
        // An address of the other family is nowhere in a database of one, and a part that is broken says nothing.
        let found = reader.lookup(ip).ok()?;
        let member = path!["country", "is_in_european_union"];
        if self.union && found.decode_path::<bool>(&member).ok().flatten() == Some(true) {
            return Some("EU".to_owned());
        }
        found.decode_path(&path!["country", "iso_code"]).ok().flatten()
    }
}

fn reader(bytes: Vec<u8>) -> Result<Reader<Vec<u8>>, Error> {
    Reader::from_source(bytes).map_err(|error| refused(error.to_string()))
}

fn refused(problem: String) -> Error {
    Error::Config { field: "database", problem, allowed: "a MaxMind DB of countries or cities" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_those_of_the_database() {
        let places = [
            ("9.0.0.0/8", "US", false),
            ("2.16.0.0/13", "FR", true),
            ("2001:db8::/32", "SE", true),
        ];
        let bytes = database::of(&places);
        let plain = MaxMind::from_bytes(bytes.clone()).unwrap();
        let union = plain.clone().european_union();
        for (ip, country, region) in [
            ("9.1.2.3", Some("US"), Some("US")),
            ("2.17.0.1", Some("FR"), Some("EU")),
            ("2001:db8::1", Some("SE"), Some("EU")),
            ("2.24.0.1", None, None),
            ("10.0.0.1", None, None),
            ("::1", None, None),
        ] {
            let ip = ip.parse().unwrap();
            assert_eq!(plain.country(ip).as_deref(), country, "{ip}");
            assert_eq!(union.country(ip).as_deref(), region, "{ip}");
        }
        // All clones go by another, and a bad one changes nothing.
        let error = plain.replace(b"no database".to_vec()).unwrap_err().to_string();
        assert!(error.starts_with("database") && error.contains("allowed"), "{error}");
        assert_eq!(union.country("9.1.2.3".parse().unwrap()).as_deref(), Some("US"));
        plain.replace(database::of(&[("9.0.0.0/8", "CA", false)])).unwrap();
        assert_eq!(union.country("9.1.2.3".parse().unwrap()).as_deref(), Some("CA"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = MaxMind::open("/nowhere/countries.mmdb").unwrap_err().to_string();
        assert!(error.contains("/nowhere/countries.mmdb"), "{error}");
    }
}
