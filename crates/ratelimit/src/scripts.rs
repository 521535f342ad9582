//! The scripts: their arguments as fields, their answers as enums.

use russet_core_conn::{Error, FromValue, Value};

/// A status, and what belongs to it.
pub(crate) struct Answer {
    pub(crate) status: i64,
    rest: std::vec::IntoIter<Value>,
}

impl Answer {
    pub(crate) fn next<T: FromValue>(&mut self) -> Result<T, Error> {
        T::from_value(self.rest.next().unwrap_or(Value::Nil))
    }
}

impl FromValue for Answer {
    fn from_value(value: Value) -> Result<Self, Error> {
        let mut answer = Self { status: 0, rest: Vec::from_value(value)?.into_iter() };
        answer.status = answer.next()?;
        Ok(answer)
    }
}
