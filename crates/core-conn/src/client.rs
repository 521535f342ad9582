//! Which client carries the bytes.

/// The client below, which writes commands and reads replies; for [`RedisBuilder::client`](crate::RedisBuilder::client).
/// What this crate promises holds over each of them: they differ in speed, and in what they compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Client {
    /// The `fred` crate: one of its centralized clients for each connection. The default where it is compiled.
    #[cfg(feature = "fred")]
    Fred,
    /// The `redis` crate: one of its multiplexed connections for each connection.
    #[cfg(feature = "redis-rs")]
    RedisRs,
}

impl Default for Client {
    fn default() -> Self {
        #[cfg(feature = "fred")]
        return Self::Fred;
        #[cfg(all(feature = "redis-rs", not(feature = "fred")))]
        return Self::RedisRs;
    }
}
