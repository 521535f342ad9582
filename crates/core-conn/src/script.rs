//! Lua scripts: one decision, one trip.

use std::fmt::{self, Write as _};
use std::sync::LazyLock;

use bytes::Bytes;
use bytes_utils::Str;
use sha1::{Digest, Sha1};
use smallvec::SmallVec;

use crate::cmd::{Arg, Class, IntoArg};
use crate::error::{Error, ErrorKind};
use crate::link::Request;
use crate::{Key, Value};

/// A script of the server, with its digest.
///
/// It is sent as `EVALSHA`; where the server does not know it (after a restart, a failover, `SCRIPT FLUSH`), as `EVAL`
/// once. Both are one attempt: a server that does not know a script has run nothing of it. A digest names a content,
/// so two releases of a program can run side by side.
///
/// Keep it in a `LazyLock`, with its text embedded:
///
/// ```
/// use std::sync::LazyLock;
/// use russet_core_conn::{Class, Script};
///
/// static COUNT: LazyLock<Script> = LazyLock::new(|| {
///     Script::new(
///         "count",
///         // In a crate: include_str!("scripts/count.lua")
///         "-- Counts, and lets the count end by itself.\n\
///          -- KEYS[1]: the counter\n\
///          -- ARGV[1]: its time to live in ms\n\
///          -- Returns: the count\n\
///          -- Idempotent: no\n\
///          local n = redis.call('INCR', KEYS[1])\n\
///          if n == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end\n\
///          return n",
///     )
/// });
/// assert_eq!(COUNT.class(), Class::Write);
/// # async fn example(redis: russet_core_conn::Redis) -> Result<(), russet_core_conn::Error> {
/// # let key = russet_core_conn::Key::raw("k");
/// let n: i64 = redis.script(COUNT.key(&key).arg(60_000)).await?;
/// # Ok(()) }
/// ```
///
/// The class is stated in the text: a first line `#!lua flags=no-writes` makes it [`Class::Read`] (and the server
/// holds it to that), `-- Idempotent: yes` makes it [`Class::Idempotent`], anything else is [`Class::Write`].
///
/// The text is sent as the body of a function. If that returns a table, the reply is `{0, table}`: no reply is a flat
/// array that begins with data. An error that a command raises inside a script may come after others that were
/// applied, so its outcome is [`SendOutcome::Unknown`](crate::SendOutcome::Unknown). One that the body
/// returns is [`SendOutcome::Rejected`](crate::SendOutcome::Rejected): return errors only before the first write.
#[derive(Debug)]
pub struct Script {
    pub(crate) name: &'static str,
    class: Class,
    body: Str,
    sha: Str,
}

impl Script {
    /// A script by its name, for messages, and its text.
    pub fn new(name: &'static str, text: &str) -> Self {
        let (shebang, text) = match text.strip_prefix("#!") {
            Some(rest) => rest.split_once('\n').map_or((rest, ""), |(line, rest)| (line, rest)),
            None => ("", text),
        };
        let class = if shebang.contains("no-writes") {
            Class::Read
        } else if text.lines().any(|line| line.trim() == "-- Idempotent: yes") {
            Class::Idempotent
        } else {
            Class::Write
        };
        let mut body = String::new();
        if !shebang.is_empty() {
            body.push_str("#!");
            body.push_str(shebang);
            body.push('\n');
        }
        body.push_str("local function body()\n");
        body.push_str(text);
        body.push_str(
            "\nend\nlocal reply = body()\n\
             if type(reply) == 'table' and not reply.err and not reply.ok then return {0, reply} end\n\
             return reply",
        );
        let sha = Sha1::digest(&body).iter().fold(String::with_capacity(40), |mut hex, byte| {
            // Writing to a string can't fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        Self { name, class, body: body.into(), sha: sha.into() }
    }

    /// Begins a call with its first key.
    pub fn key(&self, key: &Key) -> ScriptCall<'_> {
        self.call().key(key)
    }

    /// Begins a call without a key. A script that touches a key must be given it.
    pub fn call(&self) -> ScriptCall<'_> {
        ScriptCall {
            script: self,
            keys: SmallVec::new(),
            args: SmallVec::new(),
            class: self.class,
            single: false,
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its class, as its text states it.
    pub fn class(&self) -> Class {
        self.class
    }

    /// The digest by which the server knows it.
    pub fn sha(&self) -> &str {
        &self.sha
    }
}

/// One call of a script: give it to [`Redis::script`](crate::Redis::script).
#[derive(Clone)]
pub struct ScriptCall<'a> {
    pub(crate) script: &'a Script,
    pub(crate) keys: SmallVec<[Bytes; 2]>,
    pub(crate) args: SmallVec<[Arg; 4]>,
    class: Class,
    /// It runs one command, which is applied or not.
    single: bool,
}

impl ScriptCall<'_> {
    /// Adds a key. All keys of a call live in one slot.
    #[must_use]
    pub fn key(mut self, key: &Key) -> Self {
        self.keys.push(key.to_bytes());
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl IntoArg) -> Self {
        self.args.push(arg.into_arg());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args<A: IntoArg>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// Of its keys and arguments, in bytes.
    pub(crate) fn largest(&self) -> usize {
        let keys = self.keys.iter().map(Bytes::len);
        keys.chain(self.args.iter().map(Arg::len)).max().unwrap_or(0)
    }

    pub(crate) fn script(&self) -> &Script {
        self.script
    }

    pub(crate) fn class(&self) -> Class {
        self.class
    }

    pub(crate) fn by_digest(&self) -> Request<'_> {
        let Self { script, keys, args, single, .. } = self;
        Request::EvalSha { sha: &script.sha, keys, args, single: *single }
    }

    pub(crate) fn by_text(&self) -> Request<'_> {
        let Self { script, keys, args, single, .. } = self;
        Request::Eval { body: &script.body, keys, args, single: *single }
    }
}

/// The script's name, and how many keys and arguments it is given, never what they hold.
impl fmt::Debug for ScriptCall<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptCall")
            .field("script", &self.script.name)
            .field("class", &self.class)
            .field("keys", &self.keys.len())
            .field("arguments", &self.args.len())
            .finish()
    }
}

/// What the body returned: tables come as `{0, table}`, the rest as it is.
pub(crate) fn unwrap_reply(reply: Value) -> Result<Value, Error> {
    match reply {
        Value::Array(mut items) if items.len() == 2 && items[0] == Value::Int(0) => {
            Ok(items.swap_remove(1))
        }
        Value::Array(_) | Value::Map(_) => {
            let kind =
                ErrorKind::Unexpected { expected: "a wrapped reply", found: reply.describe() };
            Err(Error::unknown(kind))
        }
        scalar => Ok(scalar),
    }
}

static CALL: LazyLock<Script> =
    LazyLock::new(|| Script::new("call", include_str!("scripts/call.lua")));

/// The command as a call of the script that runs any command behind a constant.
pub(crate) fn wrapped(cmd: &crate::Cmd) -> ScriptCall<'static> {
    ScriptCall {
        script: &CALL,
        keys: cmd.key_bytes().cloned().collect(),
        args: std::iter::once(Bytes::from_static(cmd.name().as_bytes()))
            .chain(cmd.arguments().iter().cloned())
            .map(Bytes::into_arg)
            .collect(),
        class: cmd.class(),
        single: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_states_the_class() {
        assert_eq!(Script::new("r", "#!lua flags=no-writes\nreturn 1").class(), Class::Read);
        assert_eq!(Script::new("i", "-- Idempotent: yes\nreturn 1").class(), Class::Idempotent);
        assert_eq!(Script::new("w", "-- Idempotent: no\nreturn 1").class(), Class::Write);
        assert_eq!(Script::new("w", "return 1").class(), Class::Write);
    }

    #[test]
    fn a_shebang_stays_first() {
        let script = Script::new("r", "#!lua flags=no-writes\nreturn 1");
        assert!(
            script.body.starts_with("#!lua flags=no-writes\nlocal function body()\nreturn 1\nend")
        );
        assert_eq!(script.sha().len(), 40);
    }

    #[test]
    fn only_the_wrapped_shape_is_taken() {
        let table = || Value::Array(vec![Value::Int(7)]);
        assert_eq!(unwrap_reply(Value::Array(vec![Value::Int(0), table()])).unwrap(), table());
        assert!(unwrap_reply(Value::Array(vec![Value::Int(1), table()])).is_err());
        assert!(unwrap_reply(table()).is_err());
        assert_eq!(unwrap_reply(Value::Int(7)).unwrap(), Value::Int(7));
        assert_eq!(unwrap_reply(Value::Nil).unwrap(), Value::Nil);
    }
}
