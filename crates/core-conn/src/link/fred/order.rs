//! A request as fred takes it, and how it is carried out.

use ::fred::clients::Client;
use ::fred::error::Error as FredError;
use ::fred::interfaces::{ClientLike, KeysInterface};
use ::fred::types::{ClusterHash, CustomCommand, Key as FredKey, Value as FredValue};
use bytes::Bytes;

use super::command::{fred_value, integer, run};
use super::reply::{link_error, value};
use crate::Value;
use crate::cmd::Cmd;
use crate::link::{LinkError, Reply, Request};
use crate::table::{Hot, Route};

/// A request that owns what it needs.
enum Order {
    /// The most frequent one, by itself: it is small.
    Get(FredKey),
    Cmd(Cmd),
    Script {
        command: &'static str,
        args: Vec<FredValue>,
    },
    Batch(Vec<Cmd>),
}

impl From<Request<'_>> for Order {
    fn from(request: Request<'_>) -> Self {
        match request {
            Request::Cmd(cmd) => match (cmd.route(), cmd.arguments()) {
                (Route::Hot(Hot::Get), [key]) => Self::Get(key.clone().into()),
                _ => Self::Cmd(cmd.clone()),
            },
            Request::EvalSha { sha, keys, args, .. } => Self::script("EVALSHA", sha, keys, args),
            Request::Eval { body, keys, args, .. } => Self::script("EVAL", body, keys, args),
            Request::Batch(cmds) => Self::Batch(cmds.to_vec()),
        }
    }
}

impl Order {
    fn script(command: &'static str, script: &Bytes, keys: &[Bytes], args: &[Bytes]) -> Self {
        let mut all = Vec::with_capacity(2 + keys.len() + args.len());
        all.push(fred_value(script));
        all.push(FredValue::Integer(i64::try_from(keys.len()).unwrap_or(i64::MAX)));
        all.extend(keys.iter().map(fred_value));
        // A number as a number: one owner of its text less, that another core would have to let go of.
        all.extend(args.iter().map(|arg| match integer(arg) {
            Some(number) => FredValue::Integer(number),
            None => fred_value(arg),
        }));
        Self::Script { command, args: all }
    }
}

/// The future of one call, which borrows nothing of the request. It gives the client back: to keep one is cheaper than to
/// clone one, which all threads count.
pub(super) fn carry_out(
    client: Client,
    request: Request<'_>,
) -> impl Future<Output = (Client, Result<Reply, LinkError>)> + Send + use<> {
    let order = Order::from(request);
    async move {
        let reply = match order {
            Order::Get(key) => client.get(key).await,
            Order::Cmd(cmd) => run(&client, &cmd).await,
            // As custom commands: fred's calls for scripts copy keys and arguments twice, and flush all the same.
            Order::Script { command, args } => {
                let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
                client.custom(command, args).await
            }
            // Boxed: what is rare must not make the box of every call larger.
            Order::Batch(cmds) => {
                let reply = Box::pin(batch(&client, &cmds)).await;
                return (client, reply);
            }
        };
        let reply = match reply {
            Ok(reply) => Ok(Reply::One(value(reply))),
            Err(error) => Err(link_error(&error)),
        };
        (client, reply)
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
