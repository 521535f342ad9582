//! `MULTI`/`EXEC`: the commands as one block, and what its reply says.

use crate::call::link_error;
use crate::cmd::Cmd;
use crate::error::{Error, ErrorKind};
use crate::link::Reply;
use crate::redis::Rules;
use crate::table::Route;
use crate::{ServerError, Value};

/// The block that runs these commands with nothing between them.
pub(crate) fn block(cmds: Vec<Cmd>, rules: &Rules) -> Result<Vec<Cmd>, Error> {
    for cmd in &cmds {
        cmd.check()?;
        rules.check_size(cmd.largest())?;
        if matches!(cmd.route(), Route::Alone | Route::Unknown) {
            let why = format!(
                "`{}` can't be in a transaction: it needs a connection of its own",
                cmd.name()
            );
            return Err(Error::not_sent(ErrorKind::Refused(why)));
        }
    }
    // The constant keeps the reply of EXEC from beginning with data.
    let mut block = vec![Cmd::write("MULTI"), Cmd::read("ECHO").arg("russet")];
    block.extend(cmds);
    block.push(Cmd::write("EXEC"));
    Ok(block)
}

/// What `EXEC` answered to a block of this length: a reply for each of the caller's commands, or `None` if a watched
/// key had changed.
pub(crate) fn replies(replies: Reply, block: usize) -> Result<Option<Vec<Value>>, Error> {
    // The last one says it all.
    let reply = match replies {
        Reply::Many(mut replies) if replies.len() == block => replies.pop(),
        other => Some(Ok(Value::Bytes(other.describe().into()))),
    };
    match reply.unwrap_or(Ok(Value::Nil)).map_err(link_error) {
        Ok(Value::Array(mut replies)) if replies.len() == block - 2 => {
            replies.remove(0);
            Ok(Some(replies))
        }
        Ok(Value::Nil) => Ok(None),
        Ok(other) => {
            let kind =
                ErrorKind::Unexpected { expected: "the replies of EXEC", found: other.describe() };
            Err(Error::unknown(kind))
        }
        Err(error) => match error.server() {
            Some(ServerError::ExecAbort) | None => Err(error),
            // One of the commands failed, and the others ran.
            Some(_) => Err(Error::unknown(error.kind().clone())),
        },
    }
}
