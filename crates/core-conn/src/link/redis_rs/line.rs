//! The connection as one call needs it, and how a request is carried out.

use std::fmt;

use redis::aio::MultiplexedConnection;
use redis::{Cmd as RedisCmd, Pipeline};

use super::command::{is_too_large, one, write};
use super::ear::Heard;
use super::reply::{lost, value};
use crate::cmd::Cmd;
use crate::link::seat::Caller;
use crate::link::{LinkError, Reply, Request};

pub(crate) struct Line {
    connection: MultiplexedConnection,
    /// Empty between calls. Its memory is used again.
    cmd: RedisCmd,
    heard: Heard,
}

impl Line {
    pub(super) fn new(connection: MultiplexedConnection, heard: Heard) -> Self {
        Self { connection, cmd: RedisCmd::new(), heard }
    }
}

impl Clone for Line {
    fn clone(&self) -> Self {
        Self::new(self.connection.clone(), self.heard.clone())
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Caller for Line {
    #[inline]
    fn carry_out(
        mut self,
        request: Request<'_>,
    ) -> impl Future<Output = (Self, Result<Reply, LinkError>)> + Send + use<> {
        let written = write(request, &mut self.cmd);
        let pipeline = match request {
            Request::Batch(cmds) => Some(pipeline(cmds)),
            _ => None,
        };
        async move {
            if let Some(pipeline) = pipeline {
                // Boxed: what is rare must not make the box of every call larger.
                let reply = Box::pin(self.batch(&pipeline)).await;
                return (self, reply);
            }
            let reply = match self.connection.send_packed_command(&self.cmd).await {
                Ok(reply) => value(reply).map(Reply::One),
                Err(error) => Err(lost(&error, &self.heard)),
            };
            if is_too_large(written) {
                self.cmd = RedisCmd::new();
            } else {
                self.cmd.clear();
            }
            (self, reply)
        }
    }
}

impl Line {
    async fn batch(&mut self, pipeline: &Pipeline) -> Result<Reply, LinkError> {
        let count = pipeline.len();
        if count == 0 {
            return Ok(Reply::Many(Vec::new()));
        }
        // The raw replies: an error among them is one of them.
        match self.connection.send_packed_commands(pipeline, 0, count).await {
            Ok(replies) if replies.len() == count => {
                Ok(Reply::Many(replies.into_iter().map(value).collect()))
            }
            Ok(_) => Err(LinkError::Lost("another number of replies than of commands".into())),
            Err(error) => Err(lost(&error, &self.heard)),
        }
    }
}

fn pipeline(cmds: &[Cmd]) -> Pipeline {
    let mut pipeline = Pipeline::with_capacity(cmds.len());
    for cmd in cmds {
        pipeline.add_command(one(cmd));
    }
    pipeline
}
