use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Error, Result};

/// The server binary that [`Server`](crate::Server) starts by default.
///
/// The path in the environment variable `RUSSET_SERVER`; without it `redis-server`, then `valkey-server`
/// on `PATH`.
///
/// # Errors
/// [`Error::ServerNotFound`] when there is none. A `RUSSET_SERVER` that names no file is an error too: nothing
/// else is started in its place.
pub fn find_server() -> Result<PathBuf> {
    if let Some(wanted) = std::env::var_os("RUSSET_SERVER").filter(|path| !path.is_empty()) {
        return absolute(Path::new(&wanted)).ok_or_else(|| Error::ServerNotFound {
            tried: format!("RUSSET_SERVER={} is not a file", Path::new(&wanted).display()),
        });
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    ["redis-server", "valkey-server"]
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)))
        .find_map(|candidate| absolute(&candidate))
        .ok_or_else(|| Error::ServerNotFound {
            tried: "RUSSET_SERVER is not set, neither redis-server nor valkey-server is on PATH"
                .to_owned(),
        })
}

/// The guardian runs in another folder, so a relative path would not survive.
pub(crate) fn absolute(path: &Path) -> Option<PathBuf> {
    path.is_file().then(|| std::path::absolute(path).ok()).flatten()
}

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flavor {
    /// Redis.
    Redis,
    /// Valkey.
    Valkey,
}

/// What `--version` of a server binary says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// Whose server it is.
    pub flavor: Flavor,
    /// 7 in 7.0.15.
    pub major: u16,
    /// 0 in 7.0.15.
    pub minor: u16,
    /// 15 in 7.0.15.
    pub patch: u16,
}

impl Version {
    /// Whether the server's own number is at least this one. Redis and Valkey count apart: Valkey begins at 7.2.
    #[must_use]
    pub fn at_least(&self, major: u16, minor: u16) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    pub(crate) fn of(binary: &Path) -> Result<Version> {
        let output = Command::new(binary)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(Error::io(format!("run {} --version", binary.display())))?;
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        parse(&output).ok_or_else(|| Error::NotAServer { path: binary.to_owned(), output })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}.{}.{}", self.flavor, self.major, self.minor, self.patch)
    }
}

/// Reads `Redis server v=7.0.15 sha=...`.
fn parse(output: &str) -> Option<Version> {
    let flavor = match output.split_whitespace().next()? {
        "Redis" => Flavor::Redis,
        "Valkey" => Flavor::Valkey,
        _ => return None,
    };
    let number = output.split_whitespace().find_map(|word| word.strip_prefix("v="))?;
    let mut parts = number.split(['.', '-']).map(|part| part.parse().ok());
    let mut next = || parts.next().flatten();
    Some(Version { flavor, major: next()?, minor: next()?, patch: next().unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let redis =
            parse("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64").unwrap();
        assert_eq!(redis, Version { flavor: Flavor::Redis, major: 7, minor: 0, patch: 15 });
        assert!(redis.at_least(7, 0) && redis.at_least(6, 9) && !redis.at_least(7, 2));
        let valkey = parse("Valkey server v=9.1.2 sha=0:1 malloc=libc").unwrap();
        assert_eq!(valkey.to_string(), "Valkey 9.1.2");
        assert_eq!(parse("GNU bash, version 5.2.15(1)-release"), None);
    }

    #[test]
    fn another_program_is_not_a_server() {
        let error = Version::of(Path::new("/bin/sh")).unwrap_err();
        assert!(matches!(error, Error::NotAServer { .. } | Error::Io { .. }), "{error}");
    }
}
