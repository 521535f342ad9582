//! redis-rs's replies and errors as ours.

use bytes::Bytes;
use redis::{ErrorKind, PushKind, RedisError, ServerError, Value as RedisValue};

use super::ear::Heard;
use crate::Value;
use crate::link::LinkError;

/// An error within a reply is the reply, as it is over the other client.
#[inline]
pub(super) fn value(value: RedisValue) -> Result<Value, LinkError> {
    Ok(match value {
        RedisValue::Nil => Value::Nil,
        RedisValue::Int(number) => Value::Int(number),
        RedisValue::BulkString(bytes) => Value::Bytes(bytes.into()),
        RedisValue::BigNumber(number) => Value::Bytes(number.to_string().into()),
        RedisValue::Okay => Value::Bytes(Bytes::from_static(b"OK")),
        RedisValue::SimpleString(text) | RedisValue::VerbatimString { text, .. } => {
            Value::Bytes(text.into())
        }
        RedisValue::Double(number) => Value::Double(number),
        RedisValue::Boolean(yes) => Value::Bool(yes),
        RedisValue::Array(items) | RedisValue::Set(items) => Value::Array(values(items)?),
        RedisValue::Map(pairs) => Value::Map(
            pairs
                .into_iter()
                .map(|(key, value)| Ok((name(self::value(key)?), self::value(value)?)))
                .collect::<Result<_, _>>()?,
        ),
        // What the server says about a reply is not part of it.
        RedisValue::Attribute { data, .. } => self::value(*data)?,
        RedisValue::Push { kind, data } => {
            let mut items = vec![Value::Bytes(word(kind).into())];
            items.append(&mut values(data)?);
            Value::Array(items)
        }
        RedisValue::ServerError(error) => return Err(LinkError::Server(words(&error))),
        _ => return Err(LinkError::Lost("a reply of a kind that is not known".into())),
    })
}

fn values(items: Vec<RedisValue>) -> Result<Vec<Value>, LinkError> {
    items.into_iter().map(value).collect()
}

/// A key of a map is a string, whatever it came as.
fn name(key: Value) -> Value {
    match key {
        Value::Int(number) => Value::Bytes(number.to_string().into()),
        Value::Double(number) => Value::Bytes(number.to_string().into()),
        Value::Bool(yes) => Value::Bytes(yes.to_string().into()),
        other => other,
    }
}

fn word(kind: PushKind) -> String {
    match kind {
        PushKind::Other(word) => word,
        known => known.to_string(),
    }
}

/// As the server wrote them: redis-rs splits them at the first space.
fn words(error: &ServerError) -> String {
    match error.details() {
        Some(details) => [error.code(), details].join(" "),
        None => error.code().to_owned(),
    }
}

/// The server's words come as replies, so an error of redis-rs is never one of them. What it says of a reply that it
/// can't read may hold some of it, and is not repeated.
pub(super) fn lost(error: &RedisError, heard: &Heard) -> LinkError {
    LinkError::Lost(match error.kind() {
        ErrorKind::Io => heard.why(),
        ErrorKind::Parse => "a reply that can't be read".into(),
        kind => format!("{kind:?}"),
    })
}

#[cfg(test)]
mod tests;
