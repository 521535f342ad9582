//! The values of many keys.

use std::panic::Location;

use bytes::Bytes;
use futures_util::future::join_all;

use crate::error::{Error, ErrorKind, ServerError};
use crate::{Cmd, FromValue, Key, Redis, Value};

/// How many keys one command reads, so that no batch holds the server up.
const CHUNK: usize = 256;

impl Redis {
    /// Reads many keys at once: one result each, in the order given; `None` for what is not there or is no string. One
    /// round trip where they fit into the pipeline. Others may write in between.
    ///
    /// On one server that is `MGET`, of 256 keys at a time, which lives or fails as one. On a cluster each key is read
    /// by a `GET` of its own, [pipelined](Self::pipeline): they may lie in any slots, and a slot that is being moved
    /// holds none of them up.
    #[track_caller]
    pub fn get_many<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a Key>,
    ) -> impl Future<Output = Vec<Result<Option<Bytes>, Error>>> + Send + '_ {
        let site = Location::caller();
        let is_clustered = self.is_clustered();
        let keys = keys.into_iter();
        let cmds: Vec<Cmd> = if is_clustered {
            keys.map(|key| Cmd::read("GET").key(key)).collect()
        } else {
            let keys: Vec<&Key> = keys.collect();
            keys.chunks(CHUNK).map(|keys| Cmd::read("MGET").keys(keys.iter().copied())).collect()
        };
        async move {
            if is_clustered {
                let replies = self.each(&cmds, site).await;
                return replies.into_iter().map(one).collect();
            }
            let replies = join_all(cmds.iter().map(|cmd| self.command(cmd, site))).await;
            let chunks = replies.into_iter().zip(&cmds).map(|(reply, cmd)| {
                let asked = cmd.arguments().len();
                match reply.and_then(|reply| all(reply, asked)) {
                    Ok(values) => values.into_iter().map(Ok).collect(),
                    Err(error) => vec![Err(error); asked],
                }
            });
            chunks.flatten().collect()
        }
    }
}

/// As `MGET` has it: a key of another type is none.
fn one(reply: Result<Value, Error>) -> Result<Option<Bytes>, Error> {
    match reply {
        Ok(value) => Option::from_value(value),
        Err(error) if error.server() == Some(&ServerError::WrongType) => Ok(None),
        Err(error) => Err(error),
    }
}

fn all(reply: Value, asked: usize) -> Result<Vec<Option<Bytes>>, Error> {
    let values = Vec::from_value(reply)?;
    if values.len() == asked {
        return Ok(values);
    }
    let found = format!("{} of {asked}", values.len());
    Err(Error::unknown(ErrorKind::Unexpected { expected: "a value for each key", found }))
}
