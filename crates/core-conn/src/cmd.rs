//! One command: its name, its arguments, and whether it may be repeated.

use std::fmt;
use std::sync::LazyLock;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::error::{Error, ErrorKind};
use crate::keyspace::slot_of;
use crate::table::{self, Route};
use crate::{Key, Value};

/// Whether a command may be sent again when its outcome is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Changes nothing: it may be repeated, and a replica may answer it if the caller allows that.
    Read,
    /// Changes something, to the same end however often it runs: it may be repeated.
    Idempotent,
    /// Changes something each time it runs: it is never sent twice.
    Write,
}

/// One command.
///
/// The class is the caller's word: `SET k v` is [`idempotent`](Self::idempotent), `SET k v NX` is a
/// [`write`](Self::write).
///
/// ```
/// use russet_core_conn::{Cmd, Key};
///
/// let key = Key::raw("greeting");
/// let set = Cmd::idempotent("SET").key(&key).arg("hello").arg("PX").arg(60_000);
/// let get = Cmd::read("GET").key(&key);
/// assert_eq!(set.name(), "SET");
/// ```
///
/// # How a command travels
///
/// A closed table says which way each command goes, because the client below mistakes a flat array whose first
/// element is a stored word such as `message` for pub/sub traffic, and would then hand each later caller the next
/// one's reply. So no reply that could look like that ever crosses a shared connection:
///
/// | way | which | what to know |
/// |---|---|---|
/// | direct | replies that can't look like pub/sub: `GET`, `SET`, `INCR`, `HGETALL`, … | |
/// | wrapped | flat arrays of data: `LRANGE`, `HMGET`, `SMEMBERS`, `ZRANGE`, … | run by a script, so that a constant comes first; the user needs `EVALSHA` and `EVAL`; RESP2 shapes; at most [`Cmd::MAX_WRAPPED`] arguments |
/// | led | `MGET` | behind a key of the first one's slot that does not exist, so that nil comes first |
/// | alone | blocking commands, `FCALL`, and all that the table does not know | on a connection of its own that a probe checks before it ends: about a millisecond more; a reply of three or four elements that begins with such a word is lost there, and the outcome unknown |
/// | refused | what changes the connection or its protocol: `SELECT`, `AUTH`, `SUBSCRIBE`, `MULTI`, `EVAL`, … | a typed error before anything is sent |
///
/// Names of two words are written as one: `Cmd::read("CONFIG GET")`.
#[derive(Clone)]
pub struct Cmd {
    name: &'static str,
    class: Class,
    route: Route,
    args: SmallVec<[Bytes; 4]>,
    /// Positions in `args` that are keys.
    keys: SmallVec<[u16; 2]>,
}

impl Cmd {
    /// The most arguments that a wrapped command takes: Lua's stack ends at 8,000.
    pub const MAX_WRAPPED: usize = 7_000;

    /// A command that changes nothing.
    #[inline]
    pub fn read(name: &'static str) -> Self {
        Self::new(name, Class::Read)
    }

    /// A command that may run twice to the same end.
    pub fn idempotent(name: &'static str) -> Self {
        Self::new(name, Class::Idempotent)
    }

    /// A command that must not run twice.
    pub fn write(name: &'static str) -> Self {
        Self::new(name, Class::Write)
    }

    #[inline]
    fn new(name: &'static str, class: Class) -> Self {
        Self {
            name,
            class,
            route: table::route(name),
            args: SmallVec::new(),
            keys: SmallVec::new(),
        }
    }

    /// A command of our own that a caller can't give.
    pub(crate) fn internal(name: &'static str) -> Self {
        Self { route: Route::Direct, ..Self::new(name, Class::Write) }
    }

    /// Adds a key: the command goes where its keys live.
    #[must_use]
    #[inline]
    pub fn key(mut self, key: &Key) -> Self {
        // A command of more than 65,535 arguments needs its first keys only: one slot holds them all.
        if let Ok(position) = u16::try_from(self.args.len()) {
            self.keys.push(position);
        }
        self.args.push(key.to_bytes());
        self
    }

    /// Adds several keys.
    #[must_use]
    pub fn keys<'a>(self, keys: impl IntoIterator<Item = &'a Key>) -> Self {
        keys.into_iter().fold(self, Self::key)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl IntoArg) -> Self {
        self.args.push(arg.into_arg().into_bytes());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: IntoArg>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Its name, as given.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its class, as given.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The same command behind a key that does not exist: the first one's name and 128 random bits.
    pub(crate) fn led(&self) -> Self {
        static ABSENT: LazyLock<String> =
            LazyLock::new(|| format!(":absent:{:032x}", rand::random::<u128>()));
        let mut led = self.clone();
        if let Some(first) = self.args.first() {
            led.args.insert(0, [first, ABSENT.as_bytes()].concat().into());
            led.keys.iter_mut().for_each(|position| *position = position.saturating_add(1));
            led.keys.insert(0, 0);
        }
        led
    }

    /// What came behind that key.
    pub(crate) fn unled(&self, reply: Value) -> Result<Value, Error> {
        match reply {
            Value::Array(mut values)
                if values.len() == self.args.len() && values.first() == Some(&Value::Nil) =>
            {
                values.remove(0);
                Ok(Value::Array(values))
            }
            other => Err(Error::unknown(ErrorKind::Unexpected {
                expected: "nil and then a value a key",
                found: other.describe(),
            })),
        }
    }

    #[inline]
    pub(crate) fn route(&self) -> Route {
        self.route
    }

    /// Of its keys and arguments, in bytes.
    #[inline]
    pub(crate) fn largest(&self) -> usize {
        self.args.iter().map(Bytes::len).max().unwrap_or(0)
    }

    pub(crate) fn arguments(&self) -> &[Bytes] {
        &self.args
    }

    pub(crate) fn key_bytes(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.iter().map(|&position| &self.args[usize::from(position)])
    }

    /// The slot of its keys, if it has any.
    pub(crate) fn slot(&self) -> Result<Option<u16>, Error> {
        // What is published by slot names its channel, which is no key to an ACL.
        if self.name == "SPUBLISH" && self.keys.is_empty() {
            return Ok(self.args.first().map(|channel| slot_of(channel)));
        }
        one_slot(self.key_bytes())
    }

    /// What can be seen to be wrong before anything is sent.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match self.route {
            Route::Refused(why) => Err(Error::not_sent(ErrorKind::Refused(format!(
                "`{}` can't be run here: {why}",
                self.name
            )))),
            Route::Wrapped if self.args.len() > Self::MAX_WRAPPED => {
                Err(Error::not_sent(ErrorKind::Refused(format!(
                    "`{}` has {} arguments; allowed: at most {}",
                    self.name,
                    self.args.len(),
                    Self::MAX_WRAPPED
                ))))
            }
            _ => Ok(()),
        }
    }
}

/// The slot in which all of these live.
pub(crate) fn one_slot<'a>(
    keys: impl IntoIterator<Item = &'a Bytes>,
) -> Result<Option<u16>, Error> {
    let mut slots = keys.into_iter().map(|key| slot_of(key));
    let Some(first) = slots.next() else { return Ok(None) };
    match slots.find(|slot| *slot != first) {
        None => Ok(Some(first)),
        Some(other) => Err(Error::not_sent(ErrorKind::CrossSlot { first, other })),
    }
}

/// Its name and how many arguments it has, never what they hold.
impl fmt::Debug for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cmd")
            .field("name", &self.name)
            .field("class", &self.class)
            .field("arguments", &self.args.len())
            .finish_non_exhaustive()
    }
}

/// An argument, as [`IntoArg`] makes it. `Debug` says how long it is, never what it holds.
#[derive(Clone)]
pub struct Arg(ArgKind);

/// An integer stays one as far as the link: there it needs no memory.
#[derive(Clone)]
pub(crate) enum ArgKind {
    Bytes(Bytes),
    Integer(i64),
}

impl Arg {
    #[inline]
    pub(crate) fn kind(&self) -> &ArgKind {
        &self.0
    }

    /// It, if it is text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.0 {
            ArgKind::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            ArgKind::Integer(_) => None,
        }
    }

    /// The bytes that are sent.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            ArgKind::Bytes(bytes) => bytes,
            ArgKind::Integer(number) => decimal(number),
        }
    }

    /// How many bytes are sent.
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            ArgKind::Bytes(bytes) => bytes.len(),
            ArgKind::Integer(number) => itoa::Buffer::new().format(*number).len(),
        }
    }
}

impl fmt::Debug for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arg({} bytes)", self.len())
    }
}

fn decimal(number: impl itoa::Integer) -> Bytes {
    Bytes::copy_from_slice(itoa::Buffer::new().format(number).as_bytes())
}

/// What can be an argument: text, bytes, integers, floats.
pub trait IntoArg {
    /// What is sent.
    fn into_arg(self) -> Arg;
}

impl IntoArg for Arg {
    fn into_arg(self) -> Arg {
        self
    }
}

macro_rules! bytes_arg {
    ($($t:ty: $arg:ident => $bytes:expr;)*) => {$(
        impl IntoArg for $t {
            #[inline]
            fn into_arg(self) -> Arg {
                let $arg = self;
                Arg(ArgKind::Bytes($bytes))
            }
        }
    )*};
}
bytes_arg! {
    Bytes: bytes => bytes;
    &Bytes: bytes => bytes.clone();
    Vec<u8>: bytes => bytes.into();
    &[u8]: bytes => Bytes::copy_from_slice(bytes);
    String: text => text.into();
    &String: text => Bytes::copy_from_slice(text.as_bytes());
    &str: text => Bytes::copy_from_slice(text.as_bytes());
    f64: number => number.to_string().into();
}

macro_rules! integer_arg {
    ($($t:ty),*) => {$(
        impl IntoArg for $t {
            #[inline]
            fn into_arg(self) -> Arg {
                match i64::try_from(self) {
                    Ok(number) => Arg(ArgKind::Integer(number)),
                    Err(_) => Arg(ArgKind::Bytes(decimal(self))),
                }
            }
        }
    )*};
}
integer_arg!(u64, i64, u32, i32, u16, u8, usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_is_the_same_bytes_whatever_it_goes_as() {
        let bytes = |arg: Arg| (arg.len(), arg.into_bytes());
        assert_eq!(bytes(0.into_arg()), (1, "0".into()));
        assert_eq!(bytes((-10).into_arg()), (3, "-10".into()));
        assert_eq!(bytes(i64::MIN.into_arg()), (20, i64::MIN.to_string().into()));
        assert_eq!(bytes(i64::MAX.into_arg()).1, i64::MAX.to_string());
        assert_eq!(bytes(u64::MAX.into_arg()), (20, u64::MAX.to_string().into()));
        assert_eq!(bytes("007".into_arg()), (3, "007".into()));
    }

    #[test]
    fn an_argument_does_not_show_what_it_holds() {
        assert_eq!(format!("{:?}", "secret".into_arg()), "Arg(6 bytes)");
        assert_eq!(format!("{:?}", 4_711.into_arg()), "Arg(4 bytes)");
    }

    #[test]
    fn arguments_keep_their_order_and_keys_are_known() {
        let (a, b) = (Key::raw("a"), Key::raw("b"));
        let cmd = Cmd::read("ZINTER").arg(2).key(&a).key(&b).arg("WEIGHTS").arg(1).arg(2);
        let args: Vec<_> = cmd.arguments().iter().map(|arg| &arg[..]).collect();
        assert_eq!(args, [&b"2"[..], b"a", b"b", b"WEIGHTS", b"1", b"2"]);
        assert_eq!(cmd.key_bytes().map(|key| &key[..]).collect::<Vec<_>>(), [b"a", b"b"]);
    }

    #[test]
    fn what_can_not_run_is_refused_unsent() {
        let error = Cmd::read("SELECT").arg(1).check().unwrap_err();
        assert!(error.to_string().contains("SELECT"), "{error}");
        assert_eq!(error.outcome(), crate::SendOutcome::NotSent);
        assert!(Cmd::read("HMGET").args(0..7_001_u32).check().is_err());
        assert!(Cmd::read("HMGET").args(0..7_000_u32).check().is_ok());
    }
}
