//! Which client carries the bytes.

/// The client below, which writes commands and reads replies; for [`RedisBuilder::client`](crate::RedisBuilder::client).
/// What this crate promises holds over each of them, and its whole suite runs over each: they differ in speed, in what
/// they compile, and in what is kept from them or made good:
///
/// | | `fred` | `redis-rs` |
/// |---|---|---|
/// | a reply that begins with a word of pub/sub | is lost, and the next caller would get the one after it: no such reply crosses a shared connection | is a reply |
/// | a call after its task has ended | would wait for ever: whoever holds a connection watches the task | fails |
/// | `CLUSTERDOWN` | ends the connection, for all in flight there: unknown | is the reply of the one call; told as unknown all the same |
/// | a refusal before anything was asked (too many clients) | is told | would be dropped: nothing is read before something was written |
/// | an error whose words are not UTF-8, a reply nested deeper than 100 | is told | ends the connection: unknown |
/// | a burst of calls | a write each; here those beside others are handed over together | a write each; here each write waits until all that are ready have had their turn |
/// | calls a second through one connection, `GET` at 64 and 256 tasks | 1 | 1.3 and 1.5 |
/// | the same of a script | 1 | 1.4 and 1.6 |
///
/// The last two rows are medians on a machine of two cores, with callers and server on both. A connection over `fred` that
/// does nothing takes <!--bench cluster: memory of an idle connection: ours-->113 KiB.
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
