//! fred's replies and errors as ours.

use ::fred::error::{Error as FredError, ErrorKind};
use ::fred::types::Value as FredValue;
use bytes::Bytes;

use crate::Value;
use crate::link::LinkError;

#[inline]
pub(super) fn value(value: FredValue) -> Value {
    match value {
        FredValue::Null => Value::Nil,
        FredValue::Integer(number) => Value::Int(number),
        FredValue::Double(number) => Value::Double(number),
        FredValue::Boolean(yes) => Value::Bool(yes),
        FredValue::String(text) => Value::Bytes(text.into_inner()),
        FredValue::Bytes(bytes) => Value::Bytes(bytes),
        FredValue::Queued => Value::Bytes(Bytes::from_static(b"QUEUED")),
        FredValue::Array(items) => Value::Array(items.into_iter().map(self::value).collect()),
        FredValue::Map(pairs) => Value::Map(
            pairs
                .inner()
                .into_iter()
                .map(|(key, value)| (self::value(FredValue::from(key)), self::value(value)))
                .collect(),
        ),
    }
}

/// What fred says of itself under a kind that it also gives to the server's words.
const OWN_WORDS: [&str; 7] = [
    // Of the channel by which a reply comes, when fred's task is gone.
    "channel closed",
    "Missing expected connection.",
    "Failed to route command.",
    "Client is not initialized.",
    "Failed to send command to router.",
    "Missing response.",
    "Too many failed write attempts.",
];

/// fred's errors do not say whether a server spoke. Its own have kinds that the server's never get, or are among the few
/// above; a script may answer with an error of any words.
pub(super) fn link_error(error: &FredError) -> LinkError {
    let words = error.details();
    let own_kind = matches!(
        error.kind(),
        ErrorKind::IO
            | ErrorKind::Canceled
            | ErrorKind::Timeout
            | ErrorKind::Backpressure
            | ErrorKind::Routing
            | ErrorKind::Protocol
            | ErrorKind::Parse
    );
    #[cfg(feature = "tls")]
    let own_kind = own_kind || matches!(error.kind(), ErrorKind::Tls);
    if own_kind || OWN_WORDS.contains(&words) {
        LinkError::Lost(error.to_string())
    } else {
        LinkError::Server(words.to_owned())
    }
}
