use std::collections::BTreeMap;

/// What a [`Proxy`](super::Proxy) has seen since it was started or
/// [`reset_counters`](super::Proxy::reset_counters) was called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Connections that are open at the moment. Not reset.
    pub open: u64,
    /// Requests that arrived whole, by command name in upper case, whatever became of them. What a client sends on a
    /// connection after a request that a cut has taken is not read and not counted.
    pub requests: BTreeMap<String, u64>,
    /// Replies handed to clients whole. Pushes, messages and injected frames are none.
    pub replies: u64,
    /// Requests that were handed to the server, wholly or in part, on connections that have ended since without
    /// handing their reply to the client whole: of these a client cannot know whether they were applied.
    pub lost: u64,
    /// Faults that struck. A cut strikes when the connection is closed, just before the client can see it; a
    /// corruption, an injection or an answer when its bytes are put in line for the client.
    pub strikes: u64,
    /// Round trips. A trip begins with the first request of a connection, and with each request that arrives when a
    /// reply has been handed to this client since its previous request arrived. So a pipeline is one trip, if no
    /// reply overtakes its later requests: [`delay_replies`](super::Proxy::delay_replies) by more than the client
    /// needs to send it makes that certain.
    pub trips: u64,
}

impl Counters {
    /// Requests with this command name, in any case.
    #[must_use]
    pub fn requests(&self, name: &str) -> u64 {
        self.requests.get(&name.to_ascii_uppercase()).copied().unwrap_or(0)
    }

    /// Requests of all names.
    #[must_use]
    pub fn all_requests(&self) -> u64 {
        self.requests.values().sum()
    }
}
