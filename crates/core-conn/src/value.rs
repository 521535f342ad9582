//! What the server answers, and how it becomes what the caller asked for.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

use bytes::Bytes;

use crate::error::{Error, ErrorKind, SendOutcome, ServerError};

/// A reply of the server.
///
/// Strings of all kinds (simple, bulk, verbatim) are [`Bytes`](Self::Bytes); a RESP3 set is an
/// [`Array`](Self::Array). Commands that the core runs inside its own script (see [`Cmd`](crate::Cmd)) answer in
/// RESP2 shapes: flat arrays instead of maps, strings instead of doubles. [`FromValue`] takes both.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing there.
    Nil,
    /// An integer.
    Int(i64),
    /// A RESP3 double.
    Double(f64),
    /// A RESP3 boolean.
    Bool(bool),
    /// A string of any kind.
    Bytes(Bytes),
    /// An array or a set.
    Array(Vec<Value>),
    /// A RESP3 map, in no order.
    Map(Vec<(Value, Value)>),
}

impl Value {
    /// What it is, for messages: never its content.
    pub fn describe(&self) -> String {
        match self {
            Self::Nil => "nil".into(),
            Self::Int(_) => "an integer".into(),
            Self::Double(_) => "a double".into(),
            Self::Bool(_) => "a boolean".into(),
            Self::Bytes(bytes) => format!("a string of {} bytes", bytes.len()),
            Self::Array(items) => format!("an array of {}", items.len()),
            Self::Map(pairs) => format!("a map of {}", pairs.len()),
        }
    }
}

/// A type that a reply can become.
///
/// A reply that does not fit is [`ErrorKind::Unexpected`] with outcome [`SendOutcome::Unknown`]: the command was
/// answered, and may have been applied: [`Error::unexpected`] makes it.
pub trait FromValue: Sized {
    /// Converts, or says what was expected and what came.
    fn from_value(value: Value) -> Result<Self, Error>;
}

fn unexpected<T>(expected: &'static str, found: &Value) -> Result<T, Error> {
    Err(Error::unexpected(expected, found))
}

impl FromValue for Value {
    fn from_value(value: Value) -> Result<Self, Error> {
        Ok(value)
    }
}

/// Any reply will do.
impl FromValue for () {
    fn from_value(_: Value) -> Result<Self, Error> {
        Ok(())
    }
}

impl FromValue for Bytes {
    fn from_value(value: Value) -> Result<Self, Error> {
        match value {
            Value::Bytes(bytes) => Ok(bytes),
            other => unexpected("a string", &other),
        }
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Result<Self, Error> {
        match value {
            Value::Bytes(bytes) => match String::from_utf8(bytes.to_vec()) {
                Ok(text) => Ok(text),
                Err(_) => unexpected("UTF-8 text", &Value::Bytes(bytes)),
            },
            other => unexpected("UTF-8 text", &other),
        }
    }
}

impl FromValue for i64 {
    fn from_value(value: Value) -> Result<Self, Error> {
        match &value {
            Value::Int(number) => Ok(*number),
            Value::Bytes(bytes) => {
                match std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()) {
                    Some(number) => Ok(number),
                    None => unexpected("an integer", &value),
                }
            }
            _ => unexpected("an integer", &value),
        }
    }
}

macro_rules! from_integer {
    ($($t:ty),*) => {$(
        impl FromValue for $t {
            fn from_value(value: Value) -> Result<Self, Error> {
                let number = i64::from_value(value)?;
                match <$t>::try_from(number) {
                    Ok(number) => Ok(number),
                    Err(_) => unexpected(concat!("an integer that fits ", stringify!($t)), &Value::Int(number)),
                }
            }
        }
    )*};
}
from_integer!(u64, u32, i32, u16, usize);

impl FromValue for f64 {
    fn from_value(value: Value) -> Result<Self, Error> {
        match &value {
            Value::Double(number) => Ok(*number),
            #[expect(clippy::cast_precision_loss, reason = "the caller asked for a float")]
            Value::Int(number) => Ok(*number as f64),
            Value::Bytes(bytes) => {
                match std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()) {
                    Some(number) => Ok(number),
                    None => unexpected("a number", &value),
                }
            }
            _ => unexpected("a number", &value),
        }
    }
}

impl FromValue for bool {
    fn from_value(value: Value) -> Result<Self, Error> {
        match &value {
            Value::Bool(yes) => Ok(*yes),
            Value::Int(0) => Ok(false),
            Value::Int(1) => Ok(true),
            Value::Bytes(bytes) if bytes == "OK" => Ok(true),
            Value::Nil => Ok(false),
            _ => unexpected("a yes or no (0, 1, OK or nil)", &value),
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value) -> Result<Self, Error> {
        match value {
            Value::Nil => Ok(None),
            value => T::from_value(value).map(Some),
        }
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn from_value(value: Value) -> Result<Self, Error> {
        match value {
            Value::Array(items) => items.into_iter().map(T::from_value).collect(),
            Value::Nil => Ok(Self::new()),
            other => unexpected("an array", &other),
        }
    }
}

/// From a RESP3 map, a flat array of keys and values, or an array of pairs.
impl<K, V, S> FromValue for HashMap<K, V, S>
where
    K: FromValue + Eq + Hash,
    V: FromValue,
    S: BuildHasher + Default,
{
    fn from_value(value: Value) -> Result<Self, Error> {
        let pairs = match value {
            Value::Map(pairs) => pairs,
            Value::Nil => Vec::new(),
            Value::Array(items) => into_pairs(items)?,
            other => return unexpected("a map", &other),
        };
        pairs
            .into_iter()
            .map(|(key, value)| Ok((K::from_value(key)?, V::from_value(value)?)))
            .collect()
    }
}

fn into_pairs(items: Vec<Value>) -> Result<Vec<(Value, Value)>, Error> {
    if items.iter().all(|item| matches!(item, Value::Array(pair) if pair.len() == 2)) {
        return items.into_iter().map(<(Value, Value)>::from_value).collect();
    }
    if !items.len().is_multiple_of(2) {
        return unexpected("keys and values in turn", &Value::Array(items));
    }
    let mut pairs = Vec::with_capacity(items.len() / 2);
    let mut items = items.into_iter();
    while let (Some(key), Some(value)) = (items.next(), items.next()) {
        pairs.push((key, value));
    }
    Ok(pairs)
}

macro_rules! from_tuple {
    ($n:literal, $($name:ident),+) => {
        impl<$($name: FromValue),+> FromValue for ($($name,)+) {
            fn from_value(value: Value) -> Result<Self, Error> {
                match value {
                    Value::Array(items) if items.len() == $n => {
                        let mut items = items.into_iter();
                        Ok(($($name::from_value(items.next().unwrap_or(Value::Nil))?,)+))
                    }
                    other => unexpected(concat!("an array of ", $n), &other),
                }
            }
        }
    };
}
from_tuple!(1, A);
from_tuple!(2, A, B);
from_tuple!(3, A, B, C);
from_tuple!(4, A, B, C, D);
from_tuple!(5, A, B, C, D, E);
from_tuple!(6, A, B, C, D, E, F);

/// The server's words as an error of the outcome that they imply.
pub(crate) fn server_error(text: &str, in_script: bool) -> Error {
    let error = ServerError::parse(text);
    // The server runs a script's commands one by one: an error of one of them leaves the earlier ones applied.
    let partial = in_script && text.contains("script: ");
    // fred ends the connection on this one, and gives it to all that is in flight there.
    let shared = text.starts_with("CLUSTERDOWN");
    let outcome = if partial || shared { SendOutcome::Unknown } else { SendOutcome::Rejected };
    Error::new(ErrorKind::Server(error), outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &'static str) -> Value {
        Value::Bytes(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn maps_come_in_three_shapes() {
        let expected = HashMap::from([("a".to_owned(), 1_i64), ("b".to_owned(), 2)]);
        let flat = Value::Array(vec![text("a"), text("1"), text("b"), Value::Int(2)]);
        let map = Value::Map(vec![(text("a"), Value::Int(1)), (text("b"), Value::Int(2))]);
        let pairs = Value::Array(vec![
            Value::Array(vec![text("a"), Value::Int(1)]),
            Value::Array(vec![text("b"), Value::Int(2)]),
        ]);
        for value in [flat, map, pairs] {
            assert_eq!(HashMap::<String, i64>::from_value(value).unwrap(), expected);
        }
    }

    #[test]
    fn what_does_not_fit_is_named_without_its_content() {
        let error = u16::from_value(Value::Int(70_000)).unwrap_err();
        assert!(error.to_string().contains("fits u16"), "{error}");
        let error = i64::from_value(text("secret")).unwrap_err();
        assert!(
            error.to_string().contains("a string of 6 bytes")
                && !error.to_string().contains("secret")
        );
        assert!(<(i64, i64)>::from_value(Value::Array(vec![Value::Int(1)])).is_err());
    }

    #[test]
    fn an_error_inside_a_script_may_be_partial() {
        let text = "WRONGTYPE Operation against a key script: 4d5e, on @user_script:1.";
        assert_eq!(server_error(text, true).outcome(), SendOutcome::Unknown);
        assert_eq!(
            server_error("NOSCRIPT No matching script.", true).outcome(),
            SendOutcome::Rejected
        );
    }
}
