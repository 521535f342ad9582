//! What can be subscribed to.

use std::fmt;

use bytes::Bytes;

use crate::Key;

/// What a subscriber hears: a channel, all channels that match a pattern, or a sharded channel. Names are bytes.
///
/// ```
/// use russet_core_conn::{Key, Topic};
///
/// let news = Topic::channel("news");
/// let all_news = Topic::pattern("news.*");
/// let binary = Topic::channel([0_u8, 255]);
/// let seats = Topic::sharded(Key::raw("{SEA-LAX}:seats"));
/// assert_ne!(Topic::channel("news.*"), all_news);
/// ```
///
/// A pattern is a glob of the server's: `*`, `?`, `[ae]`, with `\` before what is to be taken as it is. The server
/// tries each pattern on each message that anybody publishes, so that many patterns make it slow. A sharded channel
/// (`SSUBSCRIBE`, `SPUBLISH`) lives where a key of the same name would; on one server it is one more set of channels.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Topic {
    pub(super) kind: Kind,
    pub(super) name: Bytes,
}

/// The three namespaces of the server's subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Channel,
    Pattern,
    Sharded,
}

impl Topic {
    /// The channel of this name.
    #[must_use]
    pub fn channel(name: impl AsRef<[u8]>) -> Self {
        Self::new(Kind::Channel, name.as_ref())
    }

    /// The channels whose names match this pattern.
    #[must_use]
    pub fn pattern(pattern: impl AsRef<[u8]>) -> Self {
        Self::new(Kind::Pattern, pattern.as_ref())
    }

    /// The sharded channel of this name.
    #[must_use]
    pub fn sharded(name: impl AsRef<[u8]>) -> Self {
        Self::new(Kind::Sharded, name.as_ref())
    }

    fn new(kind: Kind, name: &[u8]) -> Self {
        Self { kind, name: Bytes::copy_from_slice(name) }
    }

    /// The name or the pattern.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.name
    }
}

/// As [`Key`]: printable text as it is, the rest escaped.
impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Topic").field(&self.kind).field(&Key::raw(self.name.clone())).finish()
    }
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Channel, Self::Pattern, Self::Sharded];

    pub(super) fn subscribe(self) -> &'static str {
        match self {
            Self::Channel => "SUBSCRIBE",
            Self::Pattern => "PSUBSCRIBE",
            Self::Sharded => "SSUBSCRIBE",
        }
    }

    pub(super) fn unsubscribe(self) -> &'static str {
        match self {
            Self::Channel => "UNSUBSCRIBE",
            Self::Pattern => "PUNSUBSCRIBE",
            Self::Sharded => "SUNSUBSCRIBE",
        }
    }

    /// The word before its messages.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Channel => "message",
            Self::Pattern => "pmessage",
            Self::Sharded => "smessage",
        }
    }
}
