//! What answers a cache: Redis, or what stands in for it in unit tests.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::{Either, Ready};
#[cfg(feature = "test-util")]
use futures_util::{future::ready, stream};
use russet_core_conn::{
    Breaker, Cmd, Delivery, Error, FromValue, Key, Redis, Scan, ScriptCall, Subscription, Topic,
    Value,
};

#[cfg(feature = "test-util")]
use crate::memory::{Memory, Told, unknown};

/// Has the calls of [`Redis`] that the cache makes.
#[derive(Debug, Clone)]
pub(crate) enum Store {
    Redis(Redis),
    #[cfg(feature = "test-util")]
    Memory(Memory),
}

/// An answer that is asked for, or there already.
type Answer<F> = Either<F, Ready<<F as Future>::Output>>;

fn asked<F: Future>(answer: F) -> Answer<F> {
    Either::Left(answer)
}

/// Keys that are found as it is polled.
pub(crate) type Found = Pin<Box<dyn Stream<Item = Result<Key, Error>> + Send>>;

impl Store {
    #[track_caller]
    pub(crate) fn run<'a, T: FromValue + Send + 'a>(
        &'a self,
        cmd: Cmd,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'a {
        match self {
            Self::Redis(redis) => asked(redis.run(cmd)),
            #[cfg(feature = "test-util")]
            Self::Memory(memory) => Either::Right(ready(memory.run(&cmd).and_then(T::from_value))),
        }
    }

    #[track_caller]
    pub(crate) fn pipeline(
        &self,
        cmds: impl IntoIterator<Item = Cmd>,
    ) -> impl Future<Output = Vec<Result<Value, Error>>> + Send + '_ {
        match self {
            Self::Redis(redis) => asked(redis.pipeline(cmds)),
            #[cfg(feature = "test-util")]
            Self::Memory(memory) => {
                Either::Right(ready(cmds.into_iter().map(|cmd| memory.run(&cmd)).collect()))
            }
        }
    }

    #[track_caller]
    pub(crate) fn get_many<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a Key>,
    ) -> impl Future<Output = Vec<Result<Option<Bytes>, Error>>> + Send + '_ {
        match self {
            Self::Redis(redis) => asked(redis.get_many(keys)),
            #[cfg(feature = "test-util")]
            Self::Memory(memory) => {
                let found = keys.into_iter().map(|key| Ok(memory.get(key)));
                Either::Right(ready(found.collect()))
            }
        }
    }

    #[track_caller]
    pub(crate) fn script<'a, T: FromValue + Send + 'a>(
        &'a self,
        call: ScriptCall<'a>,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'a {
        match self {
            Self::Redis(redis) => asked(redis.script(call)),
            #[cfg(feature = "test-util")]
            Self::Memory(memory) => {
                Either::Right(ready(memory.script(&call).and_then(T::from_value)))
            }
        }
    }

    pub(crate) async fn subscribe(&self, channel: &Key) -> Result<Heard, Error> {
        match self {
            Self::Redis(redis) => {
                let subscribed = redis.hub().subscribe(Topic::channel(channel));
                Ok(Heard::Redis(subscribed.await?))
            }
            #[cfg(feature = "test-util")]
            Self::Memory(memory) => Ok(Heard::Memory(memory.listen(), channel.clone())),
        }
    }

    pub(crate) fn scan(&self, scan: Scan) -> Found {
        match self {
            Self::Redis(redis) => Box::pin(redis.scan(scan)),
            #[cfg(feature = "test-util")]
            Self::Memory(_) => Box::pin(stream::once(ready(Err(unknown("SCAN"))))),
        }
    }

    pub(crate) fn breaker(&self) -> Option<&Breaker> {
        self.server().and_then(Redis::breaker)
    }

    /// For what has no sense without a server.
    #[cfg_attr(
        not(feature = "test-util"),
        expect(unused_variables, reason = "with servers alone, there is nothing to say")
    )]
    pub(crate) fn needed(&self, what: &str) -> Result<&Redis, Error> {
        match self {
            Self::Redis(redis) => Ok(redis),
            #[cfg(feature = "test-util")]
            Self::Memory(_) => Err(unknown(what)),
        }
    }

    /// For what only a server can do.
    pub(crate) fn server(&self) -> Option<&Redis> {
        match self {
            Self::Redis(redis) => Some(redis),
            #[cfg(feature = "test-util")]
            Self::Memory(_) => None,
        }
    }
}

/// What is heard on a channel.
#[derive(Debug)]
pub(crate) enum Heard {
    Redis(Subscription),
    #[cfg(feature = "test-util")]
    Memory(Told, Key),
}

impl Heard {
    /// The next message, or that some may have been missed; `None` once it has ended.
    pub(crate) async fn next(&mut self) -> Option<Option<Bytes>> {
        match self {
            Self::Redis(heard) => Some(match heard.next().await? {
                Delivery::Message(message) => Some(message.payload().clone()),
                _ => None,
            }),
            #[cfg(feature = "test-util")]
            Self::Memory(told, channel) => told.next(channel).await,
        }
    }
}
