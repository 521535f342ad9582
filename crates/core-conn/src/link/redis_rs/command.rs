//! Commands as redis-rs takes them.

use bytes::Bytes;
use redis::Cmd as RedisCmd;

use crate::cmd::{Arg, ArgKind, Cmd};
use crate::link::Request;

/// What is kept of a buffer for the next command.
const KEPT: usize = 16 * 1024;
/// What a number, or a word that we send, may have.
const WORD: usize = 20;

/// Writes the one command that this is into the buffer, and says how many bytes it has about. A batch is none.
pub(super) fn write(request: Request<'_>, to: &mut RedisCmd) -> usize {
    match request {
        Request::Cmd(cmd) => command(cmd, to),
        Request::EvalSha { sha, keys, args, .. } => script("EVALSHA", sha.inner(), keys, args, to),
        Request::Eval { body, keys, args, .. } => script("EVAL", body.inner(), keys, args, to),
        Request::Batch(_) => 0,
    }
}

/// Whether a buffer in which this much was written should not be kept.
pub(super) fn is_too_large(written: usize) -> bool {
    written > KEPT
}

/// One of several.
pub(super) fn one(cmd: &Cmd) -> RedisCmd {
    let args = cmd.arguments();
    let bytes = args.iter().map(Bytes::len).sum::<usize>() + WORD;
    let mut to = RedisCmd::with_capacity(args.len() + 2, bytes);
    command(cmd, &mut to);
    to
}

fn command(cmd: &Cmd, to: &mut RedisCmd) -> usize {
    // The server wants the two words of `CONFIG GET` as two arguments.
    match cmd.name().split_once(' ') {
        Some((name, subcommand)) => to.arg(name).arg(subcommand),
        None => to.arg(cmd.name()),
    };
    raw(cmd.arguments(), to)
}

fn script(name: &str, script: &Bytes, keys: &[Bytes], args: &[Arg], to: &mut RedisCmd) -> usize {
    to.arg(name).arg(&script[..]).arg(keys.len());
    let keys = raw(keys, to);
    let args = args.iter().map(|arg| match arg.kind() {
        ArgKind::Integer(number) => {
            to.arg(*number);
            WORD
        }
        ArgKind::Bytes(bytes) => {
            to.arg(&bytes[..]);
            bytes.len()
        }
    });
    script.len() + keys + args.sum::<usize>()
}

fn raw(args: &[Bytes], to: &mut RedisCmd) -> usize {
    args.iter().for_each(|arg| {
        to.arg(&arg[..]);
    });
    args.iter().map(Bytes::len).sum()
}

#[cfg(test)]
mod tests {
    use bytes_utils::Str;

    use super::*;
    use crate::IntoArg;

    fn sent(request: Request<'_>) -> String {
        let mut to = RedisCmd::new();
        write(request, &mut to);
        String::from_utf8(to.get_packed_command()).unwrap()
    }

    #[test]
    fn a_name_of_two_words_is_two_arguments() {
        let get = Cmd::read("CONFIG GET").arg("maxmemory");
        let expected = "*3\r\n$6\r\nCONFIG\r\n$3\r\nGET\r\n$9\r\nmaxmemory\r\n";
        assert_eq!(sent(Request::Cmd(&get)), expected);
        assert_eq!(one(&get).get_packed_command(), expected.as_bytes());
    }

    #[test]
    fn a_script_says_how_many_keys_it_has() {
        let (sha, keys) = (Str::from_static("abc"), [Bytes::from_static(b"k"), Bytes::new()]);
        let args = [(-7).into_arg(), "\r\n".into_arg()];
        let request = Request::EvalSha { sha: &sha, keys: &keys, args: &args, single: false };
        let expected = "*7\r\n$7\r\nEVALSHA\r\n$3\r\nabc\r\n$1\r\n2\r\n$1\r\nk\r\n$0\r\n\r\n$2\r\n-7\r\n$2\r\n\r\n\r\n";
        assert_eq!(sent(request), expected);
    }

    #[test]
    fn only_a_large_buffer_is_given_up() {
        let set = |bytes| Cmd::idempotent("SET").arg("k").arg(vec![0; bytes]);
        let is_kept = |cmd: &Cmd| !is_too_large(write(Request::Cmd(cmd), &mut RedisCmd::new()));
        assert!(is_kept(&set(512)) && !is_kept(&set(KEPT)));
    }
}
