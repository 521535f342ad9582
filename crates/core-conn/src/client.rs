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

/// With the feature `test-util` the environment's `RUSSET_CLIENT`, `fred` or `redis-rs`, goes before: so a suite runs over
/// either without being built again.
impl Default for Client {
    fn default() -> Self {
        #[cfg(feature = "test-util")]
        if let Some(client) = chosen() {
            return client;
        }
        #[cfg(feature = "fred")]
        return Self::Fred;
        #[cfg(all(feature = "redis-rs", not(feature = "fred")))]
        return Self::RedisRs;
    }
}

#[cfg(feature = "test-util")]
fn chosen() -> Option<Client> {
    match std::env::var("RUSSET_CLIENT").ok()?.as_str() {
        #[cfg(feature = "fred")]
        "fred" => Some(Client::Fred),
        #[cfg(feature = "redis-rs")]
        "redis-rs" => Some(Client::RedisRs),
        _ => None,
    }
}
