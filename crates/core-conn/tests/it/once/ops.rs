//! What adds one to a key, in each of the ways that a command can travel.

use std::sync::LazyLock;
use std::time::Duration;

use russet_core_conn::{Backoff, Cmd, Error, Key, Redis, RedisBuilder, Script, Value};
use russet_testkit::{Proxy, Server};

use crate::support::patient;

static ADD: LazyLock<Script> =
    LazyLock::new(|| Script::new("add", "return {redis.call('INCRBY', KEYS[1], 1)}"));

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// By one of the link's fast calls.
    Hot,
    /// By any other call.
    Direct,
    Script,
    Exec,
}

impl Op {
    pub(super) const ALL: [Self; 4] = [Self::Hot, Self::Direct, Self::Script, Self::Exec];

    pub(super) async fn call(self, redis: &Redis, key: &Key) -> Result<Value, Error> {
        match self {
            Self::Hot => redis.run(Cmd::write("INCR").key(key)).await,
            Self::Direct => redis.run(Cmd::write("INCRBYFLOAT").key(key).arg(1)).await,
            Self::Script => redis.script(ADD.key(key)).await,
            Self::Exec => {
                redis.transaction([Cmd::write("INCRBY").key(key).arg(1)]).await.map(Value::Array)
            }
        }
    }

    /// The request whose reply tells the outcome.
    pub(super) fn sent_as(self) -> &'static str {
        match self {
            Self::Hot => "INCR",
            Self::Direct => "INCRBYFLOAT",
            Self::Script => "EVALSHA",
            Self::Exec => "EXEC",
        }
    }

    /// That reply, the first time.
    pub(super) fn reply(self) -> &'static [u8] {
        match self {
            Self::Hot => b":1\r\n",
            Self::Direct => b"$1\r\n1\r\n",
            Self::Script => b"*2\r\n:0\r\n*1\r\n:1\r\n",
            Self::Exec => b"*2\r\n$6\r\nrusset\r\n:1\r\n",
        }
    }
}

/// A server of the test's own behind a proxy, and a handle that knows only the proxy.
pub(super) struct Bench {
    pub(super) server: Server,
    pub(super) proxy: Proxy,
    pub(super) redis: Redis,
}

impl Bench {
    /// Ready, with the first probe answered: nothing is under way.
    pub(super) async fn start(options: impl FnOnce(RedisBuilder) -> RedisBuilder) -> Self {
        let server = Server::start().await.unwrap();
        let proxy = Proxy::start(server.addr()).await.unwrap();
        let builder = patient(&proxy.url()).reconnect(Backoff::constant(Duration::from_millis(1)));
        let redis = options(builder).build().unwrap();
        redis.ready().await.unwrap();
        proxy.until(|seen| seen.requests("PING") == 1).await.unwrap();
        proxy.until(|seen| seen.replies == seen.all_requests()).await.unwrap();
        Self { server, proxy, redis }
    }
}
