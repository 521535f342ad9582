//! A request as fred takes it, and how it is carried out.

use ::fred::clients::Client;
use ::fred::error::Error as FredError;
use ::fred::interfaces::LuaInterface;
use ::fred::types::{Key as FredKey, Value as FredValue};

use super::command::{fred_keys, fred_values, run};
use super::reply::{link_error, value};
use crate::Value;
use crate::cmd::Cmd;
use crate::link::{LinkError, Reply, Request};

/// A request that owns what it needs.
pub(super) enum Order {
    Cmd(Cmd),
    EvalSha { sha: String, keys: Vec<FredKey>, args: Vec<FredValue> },
    Eval { body: String, keys: Vec<FredKey>, args: Vec<FredValue> },
    Adjacent(Vec<Cmd>),
    Batch(Vec<Cmd>),
}

impl From<Request<'_>> for Order {
    fn from(request: Request<'_>) -> Self {
        match request {
            Request::Cmd(cmd) => Self::Cmd(cmd.clone()),
            Request::EvalSha { sha, keys, args } => Self::EvalSha {
                sha: sha.to_owned(),
                keys: fred_keys(keys),
                args: fred_values(args),
            },
            Request::Eval { body, keys, args } => {
                Self::Eval { body: body.to_owned(), keys: fred_keys(keys), args: fred_values(args) }
            }
            Request::Adjacent(cmds) => Self::Adjacent(cmds.to_vec()),
            Request::Batch(cmds) => Self::Batch(cmds.to_vec()),
        }
    }
}

pub(super) async fn carry_out(client: Client, order: Order) -> Result<Reply, LinkError> {
    let reply = match order {
        Order::Cmd(cmd) => run(&client, &cmd).await,
        Order::EvalSha { sha, keys, args } => {
            client.evalsha::<FredValue, _, _, _>(sha, keys, args).await
        }
        Order::Eval { body, keys, args } => {
            Box::pin(client.eval::<FredValue, _, _, _>(body, keys, args)).await
        }
        // Boxed: what is rare must not make the box of every call larger.
        Order::Adjacent(cmds) => return Box::pin(adjacent(&client, &cmds)).await,
        Order::Batch(cmds) => return Box::pin(batch(&client, &cmds)).await,
    };
    reply.map(|reply| Reply::One(value(reply))).map_err(|error| link_error(&error))
}

async fn adjacent(client: &Client, cmds: &[Cmd]) -> Result<Reply, LinkError> {
    let mut replies = pipelined(client, cmds).await?;
    match replies.pop() {
        Some(last) => last.map(Reply::One),
        None => Err(LinkError::Lost("no reply".into())),
    }
}

async fn batch(client: &Client, cmds: &[Cmd]) -> Result<Reply, LinkError> {
    let replies = pipelined(client, cmds).await?;
    if replies.len() == cmds.len() {
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
