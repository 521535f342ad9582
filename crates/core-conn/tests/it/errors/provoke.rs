//! How each error is provoked.

use std::sync::Arc;

use russet_core_conn::{EventKind, Key, Redis, RedisBuilder};
use russet_testkit::{Builder, Conn, Match, Proxy, Server};
use tokio::task::JoinHandle;

use super::{Keys, check};
use crate::ready::{slow_loader, until_loading};
use crate::support::{ms, patient, until};

/// A server in the state that gives the error, and a handle to it.
pub(super) struct Provoked {
    pub(super) redis: Redis,
    pub(super) keys: Keys,
    server: Arc<Server>,
    proxy: Option<Proxy>,
    before: Before,
    background: Option<JoinHandle<()>>,
}

/// What is done before each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    FlushScripts,
    /// The next request comes behind something that is no protocol.
    Garble,
}

impl Provoked {
    async fn on(server: Builder, options: impl FnOnce(RedisBuilder) -> RedisBuilder) -> Self {
        Self::of(Arc::new(server.start().await.unwrap()), options)
    }

    fn of(server: Arc<Server>, options: impl FnOnce(RedisBuilder) -> RedisBuilder) -> Self {
        let redis = options(patient(&server.url())).build().unwrap();
        let keys = Keys { counter: Key::raw("n"), list: Key::raw("l") };
        Self { redis, keys, server, proxy: None, before: Before::Nothing, background: None }
    }

    async fn plain() -> Self {
        let provoked = Self::on(Server::builder(), |options| options).await;
        provoked.redis.ready().await.unwrap();
        // The server knows both scripts: what follows is not about that.
        for kind in ["script", "wrapped", "dedicated"] {
            super::call(kind, &provoked.redis, &provoked.keys).await.unwrap();
        }
        provoked
    }

    async fn tell(&self, command: &[&str]) {
        let reply = self.conn().await.call(command).await.unwrap();
        assert!(reply.error().is_none(), "{command:?}: {reply:?}");
    }

    async fn conn(&self) -> Conn {
        self.server.conn().await.unwrap()
    }

    pub(super) async fn before_each(&self, call: &str) {
        match self.before {
            Before::Nothing => {}
            Before::FlushScripts => self.tell(&["SCRIPT", "FLUSH"]).await,
            Before::Garble => {
                let proxy = self.proxy.as_ref().unwrap();
                proxy.heal();
                self.redis.ready().await.unwrap();
                let sent = match call {
                    "wrapped" | "script" => "EVALSHA",
                    "MGET" => "MGET",
                    "alone" => "BLPOP",
                    "transaction" => "MULTI",
                    "watch" => "EXEC",
                    "subscribe" => "SUBSCRIBE",
                    _ => "INCR",
                };
                proxy.inject_before(Match::name(sent), "*1\r\n$x\r\n");
            }
        }
    }

    pub(super) async fn end(mut self) {
        if let Some(background) = self.background.take() {
            // What loops is killed; what loads has its reply, or none that matters.
            let _ = self.conn().await.call(&["SCRIPT", "KILL"]).await;
            background.abort();
        }
    }
}

#[tokio::test]
async fn noscript() {
    check("NoScript", async || {
        let mut provoked = Provoked::plain().await;
        provoked.before = Before::FlushScripts;
        provoked
    })
    .await;
}

#[tokio::test]
async fn oom() {
    check("Oom", async || {
        let provoked = Provoked::plain().await;
        provoked.tell(&["CONFIG", "SET", "maxmemory", "1"]).await;
        provoked
    })
    .await;
}

#[tokio::test]
async fn wrongtype() {
    check("WrongType", async || {
        let provoked = Provoked::plain().await;
        provoked.tell(&["DEL", "n"]).await;
        provoked.tell(&["RPUSH", "n", "x"]).await;
        provoked.tell(&["SET", "l", "x"]).await;
        provoked
    })
    .await;
}

/// As a user with these rights.
async fn user(rights: &str) -> Provoked {
    let acl = format!("user ann on >secret {rights}");
    Provoked::on(Server::builder().acl_file(acl), |options| options.user("ann").password("secret"))
        .await
}

#[tokio::test]
async fn noperm_for_the_command() {
    check("NoPerm for a command", async || {
        user("~* &* +@all -incr -lrange -mget -blpop -subscribe").await
    })
    .await;
}

#[tokio::test]
async fn noperm_for_the_key() {
    check("NoPerm for a key", async || user("~other* &other* +@all").await).await;
}

#[tokio::test]
async fn busy() {
    check("Busy", async || {
        let mut provoked = Provoked::plain().await;
        provoked.tell(&["CONFIG", "SET", "busy-reply-threshold", "5"]).await;
        let (mut looping, mut conn) = (provoked.conn().await, provoked.conn().await);
        provoked.background = Some(tokio::spawn(async move {
            let reply = looping.call(&["EVAL", "while true do end", "0"]).await.unwrap();
            assert!(reply.error().is_some());
        }));
        until("it is busy", async || conn.call(&["GET", "n"]).await.unwrap().error().is_some())
            .await;
        provoked
    })
    .await;
}

#[tokio::test]
async fn noreplicas() {
    check("NoReplicas", async || {
        let provoked = Provoked::plain().await;
        provoked.tell(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
        provoked
    })
    .await;
}

#[tokio::test]
async fn misconf() {
    check("MisConf", async || {
        let provoked = Provoked::plain().await;
        // A folder where the file is to be.
        std::fs::create_dir(provoked.server.dir().join("dump.rdb")).unwrap();
        std::fs::write(provoked.server.dir().join("dump.rdb/x"), "x").unwrap();
        provoked.tell(&["CONFIG", "SET", "save", "3600 1"]).await;
        let mut conn = provoked.conn().await;
        conn.call(&["BGSAVE"]).await.unwrap();
        until("the save failed", async || {
            let info = conn.call(&["INFO", "persistence"]).await.unwrap();
            info.text().unwrap().contains("rdb_last_bgsave_status:err")
        })
        .await;
        provoked
    })
    .await;
}

/// A replica of nobody who answers.
async fn replica(serve_stale_data: &str) -> Provoked {
    let provoked = Provoked::plain().await;
    provoked.tell(&["CONFIG", "SET", "replica-serve-stale-data", serve_stale_data]).await;
    provoked.tell(&["REPLICAOF", "127.0.0.1", "1"]).await;
    provoked
}

#[tokio::test]
async fn readonly() {
    check("ReadOnly", async || replica("yes").await).await;
}

#[tokio::test]
async fn masterdown() {
    check("MasterDown", async || replica("no").await).await;
}

#[tokio::test]
async fn loading() {
    check("Loading", async || {
        // Seconds, which the calls do not need.
        let server = Arc::new(slow_loader(Server::builder()).await);
        let restart = tokio::spawn({
            let server = server.clone();
            async move { drop(server.restart().await) }
        });
        until_loading(&server).await;
        let mut provoked = Provoked::of(server, |options| options.ready_check(false));
        provoked.background = Some(restart);
        provoked
    })
    .await;
}

/// Nobody gets in: all calls end unsent, and say why.
async fn nobody_in(row: &str, options: impl FnOnce(RedisBuilder) -> RedisBuilder) {
    check(row, async || {
        let mut provoked =
            Provoked::on(Server::builder().password("right"), |options| options).await;
        let url = format!("redis://{}", provoked.server.addr());
        provoked.redis = options(Redis::builder(&url)).deadline(ms(60)).build().unwrap();
        let mut events = provoked.redis.events();
        let _ = provoked.redis.ready().await;
        events.find(|kind| matches!(kind, EventKind::Error(_))).await.unwrap();
        provoked
    })
    .await;
}

#[tokio::test]
async fn wrongpass() {
    nobody_in("WrongPass", |options| options.password("wrong")).await;
}

#[tokio::test]
async fn noauth() {
    nobody_in("NoAuth", |options| options).await;
}

#[tokio::test]
async fn too_many_clients() {
    check("MaxClients", async || {
        let provoked = Provoked::on(Server::builder(), |options| options.deadline(ms(300))).await;
        provoked.redis.ready().await.unwrap();
        // As many as there are now, which is only this one.
        provoked.tell(&["CONFIG", "SET", "maxclients", "1"]).await;
        provoked
    })
    .await;
}

#[tokio::test]
async fn an_argument_larger_than_the_server_takes() {
    check("too large for the server", async || {
        let mut provoked =
            Provoked::on(Server::builder().config("proto-max-bulk-len", "1mb"), |o| o).await;
        let name = vec![b'x'; 2 << 20];
        provoked.keys = Keys { counter: Key::raw(name.clone()), list: Key::raw(name) };
        provoked
    })
    .await;
}

#[tokio::test]
async fn an_argument_larger_than_we_send() {
    check("too large for the handle", async || {
        let mut provoked =
            Provoked::on(Server::builder(), |options| options.largest_argument(1 << 20)).await;
        let name = vec![b'x'; 2 << 20];
        provoked.keys = Keys { counter: Key::raw(name.clone()), list: Key::raw(name) };
        provoked
    })
    .await;
}

#[tokio::test]
async fn no_protocol() {
    check("protocol error", async || {
        let mut provoked = Provoked::plain().await;
        let proxy = Proxy::start(provoked.server.addr()).await.unwrap();
        provoked.redis = patient(&proxy.url()).build().unwrap();
        provoked.proxy = Some(proxy);
        provoked.before = Before::Garble;
        provoked
    })
    .await;
}
