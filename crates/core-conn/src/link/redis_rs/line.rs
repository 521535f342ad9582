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

#[derive(Clone)]
pub(crate) struct Line {
    connection: MultiplexedConnection,
    heard: Heard,
}

/// A request as it is sent.
#[derive(Default)]
pub(crate) struct Order {
    cmd: RedisCmd,
    /// How many bytes it has about.
    written: usize,
    /// In place of the one command.
    pipeline: Option<Box<Pipeline>>,
}

impl Line {
    pub(super) fn new(connection: MultiplexedConnection, heard: Heard) -> Self {
        Self { connection, heard }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl Caller for Line {
    type Order = Order;

    #[inline]
    fn note(request: Request<'_>, order: &mut Order) {
        order.written = write(request, &mut order.cmd);
        if let Request::Batch(cmds) = request {
            order.pipeline = Some(Box::new(pipeline(cmds)));
        }
    }

    async fn carry_out(&mut self, order: &mut Order) -> Result<Reply, LinkError> {
        if let Some(pipeline) = order.pipeline.take() {
            // Boxed: what is rare must not make the box of every call larger.
            return Box::pin(self.batch(&pipeline)).await;
        }
        let reply = match self.connection.send_packed_command(&order.cmd).await {
            Ok(reply) => value(reply).map(Reply::One),
            Err(error) => Err(lost(&error, &self.heard)),
        };
        // Its memory is used again, where it is not large.
        if is_too_large(order.written) {
            *order = Order::default();
        } else {
            order.cmd.clear();
        }
        reply
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
