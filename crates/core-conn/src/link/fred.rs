//! The link over fred's centralized client.
//!
//! What fred does on its own is turned off: no reconnect policy, one attempt, no redirection, no timeout of its own.
//! The hot commands go by its typed calls, because it flushes its socket after every custom command; the rest go as
//! custom commands.

use std::time::Duration;

use ::fred::clients::Client;
use ::fred::error::{Error as FredError, ErrorKind};
use ::fred::interfaces::{
    ClientLike, EventInterface, HashesInterface, KeysInterface, ListInterface, LuaInterface,
    SetsInterface, SortedSetsInterface,
};
use ::fred::types::config::{Config, ConnectionConfig, PerformanceConfig, ServerConfig};
use ::fred::types::{
    ClusterHash, CustomCommand, Expiration, Key as FredKey, RespVersion, Value as FredValue,
};
use bytes::Bytes;
use secrecy::ExposeSecret;
use tokio::task::{AbortHandle, JoinHandle};

use super::{LinkError, Reply, Request, Target};
use crate::Value;
use crate::cmd::Cmd;
use crate::table::{Hot, Route};

#[derive(Debug)]
pub(crate) struct FredLink {
    client: Client,
    task: AbortHandle,
}

/// fred's task. A call made after it has ended waits for ever, so whoever holds a link watches this.
#[derive(Debug)]
pub(crate) struct FredEnd(JoinHandle<Result<(), FredError>>);

impl FredLink {
    pub(super) async fn open(target: &Target) -> Result<(Self, FredEnd), LinkError> {
        let client =
            Client::new(config(target), Some(performance()), Some(connection(target)), None);
        // Heard from before fred starts: it tells of its first connection, too.
        let mut connected = client.reconnect_rx();
        let task = client.connect();
        // Owned from here on: dropping it aborts fred's task.
        let link = Self { client, task: task.abort_handle() };
        let mut end = FredEnd(task);
        tokio::select! {
            biased;
            heard = connected.recv() => heard.map_err(|error| LinkError::Lost(error.to_string()))?,
            error = end.error() => return Err(error),
        };
        if let Some(name) = &target.name {
            let name = Cmd::idempotent("CLIENT SETNAME").arg(name);
            tokio::select! {
                biased;
                named = link.call(Request::Cmd(&name)) => named?,
                error = end.error() => return Err(error),
            };
        }
        Ok((link, end))
    }

    #[inline]
    pub(super) async fn call(&self, request: Request<'_>) -> Result<Reply, LinkError> {
        let reply = match request {
            Request::Cmd(cmd) => run(&self.client, cmd).await,
            Request::EvalSha { sha, keys, args } => {
                self.client
                    .evalsha::<FredValue, _, _, _>(sha, fred_keys(keys), fred_values(args))
                    .await
            }
            Request::Eval { body, keys, args } => {
                self.client
                    .eval::<FredValue, _, _, _>(body, fred_keys(keys), fred_values(args))
                    .await
            }
            Request::Adjacent(cmds) => return self.adjacent(cmds).await,
            Request::Batch(cmds) => return self.batch(cmds).await,
        };
        reply.map(|reply| Reply::One(value(reply))).map_err(|error| link_error(&error))
    }

    pub(super) async fn quit(&self) {
        // It fails only where the connection is gone already.
        let _ = self.client.quit().await;
    }

    pub(super) fn abort(&self) {
        self.task.abort();
    }

    async fn adjacent(&self, cmds: &[Cmd]) -> Result<Reply, LinkError> {
        let mut replies = self.batched(cmds).await?;
        match replies.pop() {
            Some(last) => last.map(Reply::One),
            None => Err(LinkError::Lost("no reply".into())),
        }
    }

    async fn batch(&self, cmds: &[Cmd]) -> Result<Reply, LinkError> {
        let replies = self.batched(cmds).await?;
        if replies.len() == cmds.len() {
            return Ok(Reply::Many(replies));
        }
        // fred answers a pipeline that it lost with one error for all.
        match replies.into_iter().find_map(Result::err) {
            Some(error) => Err(error),
            None => Err(LinkError::Lost("another number of replies than of commands".into())),
        }
    }

    async fn batched(&self, cmds: &[Cmd]) -> Result<Vec<Result<Value, LinkError>>, LinkError> {
        let pipeline = self.client.pipeline();
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
}

/// By fred's typed calls, where the arguments are of the common form.
#[inline]
async fn run<C>(client: &C, cmd: &Cmd) -> Result<FredValue, FredError>
where
    C: ClientLike
        + HashesInterface
        + KeysInterface
        + ListInterface
        + SetsInterface
        + SortedSetsInterface
        + Sync,
{
    let Route::Hot(hot) = cmd.route() else {
        let (command, args) = custom(cmd);
        return client.custom(command, args).await;
    };
    match (hot, cmd.arguments()) {
        (Hot::Get, [key]) => client.get(key.clone()).await,
        (Hot::Set, [key, value]) => {
            client.set(key.clone(), fred_value(value), None, None, false).await
        }
        (Hot::Set, [key, value, px, millis]) if px == "PX" && integer(millis).is_some() => {
            let expiry = integer(millis).map(Expiration::PX);
            client.set(key.clone(), fred_value(value), expiry, None, false).await
        }
        (Hot::Del, keys @ [_, ..]) => client.del(fred_keys(keys)).await,
        (Hot::Unlink, keys @ [_, ..]) => client.unlink(fred_keys(keys)).await,
        (Hot::Exists, keys @ [_, ..]) => client.exists(fred_keys(keys)).await,
        (Hot::Incr, [key]) => client.incr(key.clone()).await,
        (Hot::Decr, [key]) => client.decr(key.clone()).await,
        (Hot::IncrBy, [key, by]) if integer(by).is_some() => {
            client.incr_by(key.clone(), integer(by).unwrap_or_default()).await
        }
        (Hot::PExpire, [key, millis]) if integer(millis).is_some() => {
            client.pexpire(key.clone(), integer(millis).unwrap_or_default(), None).await
        }
        (Hot::PTtl, [key]) => client.pttl(key.clone()).await,
        (Hot::HGet, [key, field]) => client.hget(key.clone(), field.clone()).await,
        (Hot::HSet, [key, field, value]) => {
            client.hset(key.clone(), (FredKey::from(field.clone()), fred_value(value))).await
        }
        (Hot::HDel, [key, fields @ ..]) if !fields.is_empty() => {
            client.hdel(key.clone(), fred_keys(fields)).await
        }
        (Hot::HIncrBy, [key, field, by]) if integer(by).is_some() => {
            client.hincrby(key.clone(), field.clone(), integer(by).unwrap_or_default()).await
        }
        (Hot::SAdd, [key, members @ ..]) if !members.is_empty() => {
            client.sadd(key.clone(), fred_values(members)).await
        }
        (Hot::SRem, [key, members @ ..]) if !members.is_empty() => {
            client.srem(key.clone(), fred_values(members)).await
        }
        (Hot::SIsMember, [key, member]) => client.sismember(key.clone(), fred_value(member)).await,
        (Hot::ZScore, [key, member]) => client.zscore(key.clone(), fred_value(member)).await,
        (Hot::LPush, [key, items @ ..]) if !items.is_empty() => {
            client.lpush(key.clone(), fred_values(items)).await
        }
        (Hot::RPush, [key, items @ ..]) if !items.is_empty() => {
            client.rpush(key.clone(), fred_values(items)).await
        }
        _ => {
            let (command, args) = custom(cmd);
            client.custom(command, args).await
        }
    }
}

/// Also of a link that is dropped before it is open.
impl Drop for FredLink {
    fn drop(&mut self) {
        self.abort();
    }
}

impl FredEnd {
    pub(super) async fn wait(&mut self) -> String {
        match self.error().await {
            LinkError::Lost(reason) | LinkError::Server(reason) => reason,
        }
    }

    async fn error(&mut self) -> LinkError {
        match (&mut self.0).await {
            Ok(Ok(())) => LinkError::Lost("closed".into()),
            Ok(Err(error)) => link_error(&error),
            Err(error) if error.is_cancelled() => LinkError::Lost("aborted".into()),
            Err(error) => LinkError::Lost(error.to_string()),
        }
    }
}

fn config(target: &Target) -> Config {
    Config {
        server: ServerConfig::new_centralized(target.host.clone(), target.port),
        version: RespVersion::RESP3,
        username: target.user.clone(),
        password: target.password.as_ref().map(|password| password.expose_secret().to_owned()),
        database: target.database,
        ..Config::default()
    }
}

fn connection(target: &Target) -> ConnectionConfig {
    ConnectionConfig {
        connection_timeout: target.connect_timeout,
        internal_command_timeout: target.connect_timeout,
        max_command_attempts: 1,
        max_redirections: 0,
        ..ConnectionConfig::default()
    }
}

fn performance() -> PerformanceConfig {
    PerformanceConfig { default_command_timeout: Duration::ZERO, ..PerformanceConfig::default() }
}

fn custom(cmd: &Cmd) -> (CustomCommand, Vec<FredValue>) {
    // The server wants the two words of `CONFIG GET` as two arguments.
    let (name, subcommand) = match cmd.name().split_once(' ') {
        Some((name, subcommand)) => (name, Some(FredValue::from_static_str(subcommand))),
        None => (cmd.name(), None),
    };
    let args = subcommand.into_iter().chain(cmd.arguments().iter().map(fred_value)).collect();
    (CustomCommand::new_static(name, ClusterHash::FirstKey, false), args)
}

fn fred_value(bytes: &Bytes) -> FredValue {
    FredValue::Bytes(bytes.clone())
}

fn fred_values(args: &[Bytes]) -> Vec<FredValue> {
    args.iter().map(fred_value).collect()
}

fn fred_keys(keys: &[Bytes]) -> Vec<FredKey> {
    keys.iter().map(|key| FredKey::from(key.clone())).collect()
}

/// An argument that is an integer and that fred would send as the same bytes.
fn integer(arg: &Bytes) -> Option<i64> {
    let number: i64 = std::str::from_utf8(arg).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == arg).then_some(number)
}

fn value(value: FredValue) -> Value {
    match value {
        FredValue::Null => Value::Nil,
        FredValue::Integer(number) => Value::Int(number),
        FredValue::Double(number) => Value::Double(number),
        FredValue::Boolean(yes) => Value::Bool(yes),
        FredValue::String(text) => Value::Bytes(text.into_inner()),
        FredValue::Bytes(bytes) => Value::Bytes(bytes),
        FredValue::Queued => Value::Bytes(Bytes::from_static(b"QUEUED")),
        FredValue::Array(items) => Value::Array(items.into_iter().map(self::value).collect()),
        FredValue::Map(pairs) => Value::Map(
            pairs
                .inner()
                .into_iter()
                .map(|(key, value)| (self::value(FredValue::from(key)), self::value(value)))
                .collect(),
        ),
    }
}

/// What fred says of itself under a kind that it also gives to the server's words.
const OWN_WORDS: [&str; 7] = [
    // Of the channel by which a reply comes, when fred's task is gone.
    "channel closed",
    "Missing expected connection.",
    "Failed to route command.",
    "Client is not initialized.",
    "Failed to send command to router.",
    "Missing response.",
    "Too many failed write attempts.",
];

/// fred's errors do not say whether a server spoke. Its own have kinds that the server's never get, or are among the few
/// above; a script may answer with an error of any words.
fn link_error(error: &FredError) -> LinkError {
    let words = error.details();
    let own_kind = matches!(
        error.kind(),
        ErrorKind::IO
            | ErrorKind::Canceled
            | ErrorKind::Timeout
            | ErrorKind::Backpressure
            | ErrorKind::Routing
            | ErrorKind::Protocol
            | ErrorKind::Parse
    );
    if own_kind || OWN_WORDS.contains(&words) {
        LinkError::Lost(error.to_string())
    } else {
        LinkError::Server(words.to_owned())
    }
}
