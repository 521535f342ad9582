//! Versions, and what came with them.

use std::fmt;
use std::str::FromStr;

/// Who made a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Product {
    /// Redis.
    Redis,
    /// Valkey.
    Valkey,
    /// Another, by the name that it gives itself. None of our features are expected of it.
    Other(String),
    /// It does not tell.
    Unknown,
}

impl Product {
    pub(super) fn named(name: String) -> Self {
        match name.as_str() {
            "redis" => Self::Redis,
            "valkey" => Self::Valkey,
            _ => Self::Other(name),
        }
    }
}

/// The version of a server: `8.2.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerVersion {
    /// The first number.
    pub major: u16,
    /// The second.
    pub minor: u16,
    /// The third.
    pub patch: u16,
}

impl ServerVersion {
    /// `major.minor.0`, to compare with.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor, patch: 0 }
    }
}

impl FromStr for ServerVersion {
    type Err = std::num::ParseIntError;

    /// What follows the third number, as `-rc1`, is left out.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(['.', '-', '+']);
        let mut next = || parts.next().unwrap_or("0").parse();
        Ok(Self { major: next()?, minor: next()?, patch: next().unwrap_or(0) })
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Something that not every server from 7.0 on can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// `WAITAOF`: waiting until writes are on disk. Redis 7.2, Valkey.
    WaitAof,
    /// `HPEXPIRE` and its like: a TTL for each field of a hash. Redis 7.4, Valkey 9.0.
    HashFieldTtl,
    /// `HGETEX`, `HSETEX`: fields of a hash together with their TTL. Redis 8.0, Valkey 9.0.
    HashFieldGetEx,
    /// `XACKDEL`, `XDELEX`: acknowledging and deleting entries of a stream in one step. Redis 8.2.
    StreamAckDelete,
    /// `DELIFEQ`: deleting a key if it has this value. Valkey 9.0.
    DeleteIfEqual,
}

impl Feature {
    pub(super) fn is_in(self, product: &Product, version: ServerVersion) -> bool {
        let since = match (self, product) {
            (Self::WaitAof, Product::Redis | Product::Valkey) => ServerVersion::new(7, 2),
            (Self::HashFieldTtl, Product::Redis) => ServerVersion::new(7, 4),
            (Self::HashFieldGetEx, Product::Redis) => ServerVersion::new(8, 0),
            (Self::HashFieldTtl | Self::HashFieldGetEx, Product::Valkey) => {
                ServerVersion::new(9, 0)
            }
            (Self::StreamAckDelete, Product::Redis) => ServerVersion::new(8, 2),
            (Self::DeleteIfEqual, Product::Valkey) => ServerVersion::new(9, 0),
            _ => return false,
        };
        version >= since
    }
}
