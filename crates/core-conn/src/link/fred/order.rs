//! A request as fred takes it, and how it is carried out.

use std::mem;

use ::fred::clients::Client;
use ::fred::error::Error as FredError;
use ::fred::interfaces::{KeysInterface, LuaInterface};
use ::fred::types::{Key as FredKey, MultipleKeys, Value as FredValue};
use bytes::Bytes;
use bytes_utils::Str;

use super::command::{fred_value, run};
use super::reply::{link_error, value};
use crate::Value;
use crate::cmd::{Arg, ArgKind, Cmd};
use crate::link::seat::Caller;
use crate::link::{LinkError, Reply, Request};
use crate::table::{Hot, Route};

/// A request that owns what it needs.
#[derive(Default)]
pub(crate) enum Order {
    #[default]
    None,
    /// The most frequent one, by itself: it is small.
    Get(FredKey),
    Cmd(Cmd),
    EvalSha(Script),
    Eval(Script),
    Batch(Vec<Cmd>),
}

impl From<Request<'_>> for Order {
    fn from(request: Request<'_>) -> Self {
        match request {
            Request::Cmd(cmd) => match (cmd.route(), cmd.arguments()) {
                (Route::Hot(Hot::Get), [key]) => Self::Get(key.clone().into()),
                _ => Self::Cmd(cmd.clone()),
            },
            Request::EvalSha { sha, keys, args, .. } => Self::EvalSha(Script::new(sha, keys, args)),
            Request::Eval { body, keys, args, .. } => Self::Eval(Script::new(body, keys, args)),
            Request::Batch(cmds) => Self::Batch(cmds.to_vec()),
        }
    }
}

/// A script in the shapes that fred takes without a copy.
pub(crate) struct Script {
    script: Str,
    keys: MultipleKeys,
    args: FredValue,
}

impl Script {
    #[inline]
    fn new(script: &Str, keys: &[Bytes], args: &[Arg]) -> Self {
        let args = args.iter().map(|arg| match arg.kind() {
            // A number as a number: one owner of its text less, that another core would have to let go of.
            ArgKind::Integer(number) => FredValue::Integer(*number),
            ArgKind::Bytes(bytes) => fred_value(bytes),
        });
        Self {
            script: script.clone(),
            keys: keys.iter().cloned().collect(),
            args: FredValue::Array(args.collect()),
        }
    }
}

impl Caller for Client {
    type Order = Order;

    #[inline]
    fn note(request: Request<'_>, order: &mut Order) {
        *order = request.into();
    }

    async fn carry_out(&mut self, order: &mut Order) -> Result<Reply, LinkError> {
        let reply = match mem::take(order) {
            Order::Get(key) => self.get(key).await,
            Order::Cmd(cmd) => run(self, &cmd).await,
            Order::EvalSha(Script { script, keys, args }) => self.evalsha(script, keys, args).await,
            Order::Eval(Script { script, keys, args }) => self.eval(script, keys, args).await,
            // Boxed: what is rare must not make the box of every call larger.
            Order::Batch(cmds) => return Box::pin(batch(self, &cmds)).await,
            Order::None => return Err(LinkError::Lost("there is no order".into())),
        };
        reply.map(|reply| Reply::One(value(reply))).map_err(|error| link_error(&error))
    }
}

async fn batch(client: &Client, cmds: &[Cmd]) -> Result<Reply, LinkError> {
    let replies = pipelined(client, cmds).await?;
    let lost = matches!(replies[..], [Err(LinkError::Lost(_))]);
    if replies.len() == cmds.len() && !lost {
        return Ok(Reply::Many(replies));
    }
    // fred answers a pipeline that it lost with one error for all.
    match replies.into_iter().find_map(Result::err) {
        Some(error) => Err(error),
        None => Err(LinkError::Lost("another number of replies than of commands".into())),
    }
}

async fn pipelined(
    client: &Client,
    cmds: &[Cmd],
) -> Result<Vec<Result<Value, LinkError>>, LinkError> {
    let pipeline = client.pipeline();
    for cmd in cmds {
        // Only queued: fred sends them all with `try_all`.
        run(&pipeline, cmd).await.map_err(|error| link_error(&error))?;
    }
    let replies: Vec<Result<FredValue, FredError>> = pipeline.try_all().await;
    Ok(replies
        .into_iter()
        .map(|reply| reply.map(value).map_err(|error| link_error(&error)))
        .collect())
}
