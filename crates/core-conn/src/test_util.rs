//! What tests of other crates need to bring about without a server (feature `test-util`).

use bytes::Bytes;

use crate::cmd::Arg;
use crate::event::{Broadcast, Event, EventKind, Events, Purpose};
use crate::{Cmd, Error, ErrorKind, Key, ScriptCall, SendOutcome};

impl Error {
    /// An error that no call gave (feature `test-util`): for tests of what a program makes of it.
    ///
    /// ```
    /// use russet_core_conn::{Error, ErrorKind, SendOutcome, ServerError};
    ///
    /// fn may_ask_again(error: &Error) -> bool {
    ///     error.is_retryable() && error.outcome() != SendOutcome::Unknown
    /// }
    ///
    /// let full = Error::fake(ErrorKind::Server(ServerError::Oom), SendOutcome::Rejected);
    /// assert!(!may_ask_again(&full));
    /// ```
    pub fn fake(kind: ErrorKind, outcome: SendOutcome) -> Self {
        Self::new(kind, outcome)
    }
}

impl Events {
    /// Events of no connection (feature `test-util`): a listener, and the end that tells it what a test wants told.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// use russet_core_conn::{EventKind, Events};
    ///
    /// let (teller, mut events) = Events::fake();
    /// teller.tell("redis-1:6379", EventKind::Closed);
    /// assert!(events.find(|kind| matches!(kind, EventKind::Closed)).await.is_some());
    /// drop(teller);
    /// assert!(events.next().await.is_none());
    /// # });
    /// ```
    pub fn fake() -> (FakeEvents, Self) {
        let events = Broadcast::new();
        let listener = events.listen();
        (FakeEvents(events), listener)
    }
}

/// Tells of what never happened (feature `test-util`); see [`Events::fake`]. Dropping it ends the events.
#[derive(Debug)]
pub struct FakeEvents(Broadcast<Event>);

impl FakeEvents {
    /// An event of the node's first connection, in its first generation.
    pub fn tell(&self, node: &str, kind: EventKind) {
        let purpose = Purpose::Calls;
        self.0.send(Event { node: node.into(), purpose, connection: 0, generation: 1, kind });
    }
}

/// What stands in for a server in tests is told what a server is told (feature `test-util`).
impl Cmd {
    /// Its arguments in their order, keys among them, without its name.
    pub fn told(&self) -> &[Bytes] {
        self.arguments()
    }
}

/// What stands in for a server in tests is told what a server is told (feature `test-util`).
impl ScriptCall<'_> {
    /// The script's name, the keys, and the arguments.
    pub fn told(&self) -> (&'static str, Vec<Key>, Vec<Bytes>) {
        let keys = self.keys.iter().cloned().map(Key::raw).collect();
        let args = self.args.iter().cloned().map(Arg::into_bytes).collect();
        (self.script.name, keys, args)
    }
}
