//! No secret in what anybody may read: logs (the client's below, too), spans, events, errors, `Debug`.

use std::cell::RefCell;
use std::fmt::{Debug, Display};
use std::rc::Rc;

use russet_core_conn::{
    Backoff, Cmd, CredentialProvider, Credentials, Delivery, Durability, EventKind, Events, Key,
    Notice, Redis, RedisBuilder, Script, Topic,
};
use russet_testkit::{Conn, Proxy, Reply, Server};
use tokio::sync::watch;
use tracing_log::LogTracer;

use crate::log::Log;
use crate::support::{ms, over_fred, patient};

/// What must be seen nowhere. Only letters, so that no escaping hides them.
const SECRETS: [&str; 6] =
    ["hunterRight", "hunterWrong", "hunterNext", "hunterKey", "hunterValue", "hunterScript"];

/// All that was written and could be printed.
#[derive(Clone, Default)]
struct Seen(Rc<RefCell<Vec<String>>>);

impl Seen {
    fn error(&self, error: impl Display + Debug) {
        self.0.borrow_mut().extend([
            format!("{error}"),
            format!("{error:?}"),
            format!("{error:#?}"),
        ]);
    }

    fn debug(&self, what: impl Debug) {
        self.0.borrow_mut().extend([format!("{what:?}"), format!("{what:#?}")]);
    }

    /// What was announced until now.
    async fn events(&self, events: &mut Events) {
        while let Ok(Some(notice)) = tokio::time::timeout(ms(20), events.next()).await {
            self.debug(&notice);
            let Notice::Event(event) = notice else { continue };
            match event.kind {
                EventKind::Error(error)
                | EventKind::LoginFailed(error)
                | EventKind::GaveUp { error, .. } => self.error(error),
                _ => {}
            }
        }
    }
}

fn server() -> russet_testkit::Builder {
    let rights = "~* &* +@all";
    Server::builder()
        .acl_file(format!("user default on nopass {rights}\nuser shop on >hunterRight {rights}\n"))
}

/// All kinds of calls, with a secret in each place that has room for one; some of them fail.
async fn calls(redis: &Redis, seen: &Seen) {
    let key = Key::raw("hunterKey");
    let set = Cmd::idempotent("SET").key(&key).arg("hunterValue");
    let () = redis.run(set.clone()).await.unwrap();
    let got: String = redis.run(Cmd::read("GET").key(&key)).await.unwrap();
    assert_eq!(got, "hunterValue");
    seen.error(redis.run::<i64>(Cmd::read("GET").key(&key)).await.unwrap_err());
    seen.error(redis.run::<i64>(Cmd::write("INCR").key(&key)).await.unwrap_err());
    seen.error(
        redis.run::<Vec<String>>(Cmd::read("LRANGE").key(&key).args([0, 1])).await.unwrap_err(),
    );
    seen.error(redis.run::<()>(Cmd::write("hunterUnknown").arg("hunterValue")).await.unwrap_err());
    for reply in redis.pipeline([set.clone(), Cmd::read("HGETALL").key(&key)]).await {
        if let Err(error) = reply {
            seen.error(error);
        }
    }
    redis.transaction([set]).await.unwrap();
    static FAILS: std::sync::LazyLock<Script> = std::sync::LazyLock::new(|| {
        Script::new(
            "fails",
            "-- Idempotent: no\nreturn redis.call('HGET', KEYS[1], ARGV[1]) -- hunterScript\n",
        )
    });
    seen.error(redis.script::<i64>(FAILS.key(&key).arg("hunterValue")).await.unwrap_err());
    let mut own = redis.dedicated().await.unwrap();
    seen.error(own.run::<i64>(Cmd::write("INCR").key(&key)).await.unwrap_err());
    seen.debug(&own);
    drop(own);
    let watch = redis.watch(std::slice::from_ref(&key)).await.unwrap();
    seen.error(watch.exec([Cmd::write("INCR").key(&key)]).await.unwrap_err());
    let durable = redis.with_deadline(ms(100)).with_durability(Durability::Replicas(1));
    seen.error(
        durable.run::<()>(Cmd::write("APPEND").key(&key).arg("hunterValue")).await.unwrap_err(),
    );
    let pop = Cmd::write("BLPOP").key(&Key::raw("hunterKey-list")).arg("0.01");
    let _ = redis.run::<Option<Vec<String>>>(pop).await;
    let mut told = redis.hub().subscribe(Topic::channel("hunterKey")).await.unwrap();
    let publish = Cmd::write("PUBLISH").key(&key).arg("hunterValue");
    let () = redis.run(publish).await.unwrap();
    let heard = told.next().await.unwrap();
    assert!(matches!(&heard, Delivery::Message(message) if message.payload() == "hunterValue"));
    seen.debug((&told, redis.hub()));
    seen.debug(redis.info().await.unwrap());
    seen.debug(redis);
}

/// One life of a handle: opened, used, cut, opened again, closed.
async fn life(builder: RedisBuilder, server: &Server, seen: &Seen) {
    seen.debug(&builder);
    let redis = builder.reconnect(Backoff::constant(ms(5))).build().unwrap();
    let mut events = redis.events();
    redis.ready().await.unwrap();
    calls(&redis, seen).await;
    let killed = server.conn().await.unwrap().call(&["CLIENT", "KILL", "USER", "shop"]).await;
    assert!(killed.unwrap().int().unwrap() >= 1);
    redis.ready().await.unwrap();
    let _ = redis.ping().await;
    calls(&redis, seen).await;
    seen.debug(redis.close().await);
    seen.error(redis.ping().await.unwrap_err());
    seen.events(&mut events).await;
}

/// Nobody gets in.
async fn refused(builder: RedisBuilder, seen: &Seen) {
    seen.debug(&builder);
    let rule = Backoff::constant(ms(5)).max_attempts(2);
    let redis = builder.reconnect(rule).build().unwrap();
    let mut events = redis.events();
    for error in
        [redis.ping().await.unwrap_err(), redis.without_waiting().ping().await.unwrap_err()]
    {
        seen.debug(error.cause());
        seen.error(error);
    }
    let pop = Cmd::write("BLPOP").key(&Key::raw("hunterKey")).arg("1");
    seen.error(redis.run::<Vec<String>>(pop).await.unwrap_err());
    seen.error(redis.hub().subscribe(Topic::channel("hunterKey")).await.unwrap_err());
    seen.debug(&redis);
    seen.events(&mut events).await;
}

struct Sealed;

impl CredentialProvider for Sealed {
    type Error = &'static str;

    async fn fetch(&self) -> Result<Credentials, &'static str> {
        Err("sealed")
    }
}

async fn provider(server: &Server, seen: &Seen) {
    let (tell, told) = watch::channel(Credentials::new("shop", "hunterRight"));
    seen.debug((&tell, &told));
    life(patient(&server.url()).credentials(told.clone()), server, seen).await;
    let redis = patient(&server.url()).credentials(told).build().unwrap();
    let mut events = redis.events();
    redis.ready().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    tell.send_replace(Credentials::new("shop", "hunterWrong"));
    let failed = events.find(|kind| matches!(kind, EventKind::LoginFailed(_))).await.unwrap();
    seen.debug(&failed);
    conn.call(&["ACL", "SETUSER", "shop", ">hunterNext"]).await.unwrap();
    tell.send_replace(Credentials::new("shop", "hunterNext"));
    events.find(|kind| matches!(kind, EventKind::LoggedIn)).await.unwrap();
    refused(patient(&server.url()).credentials(Sealed), seen).await;
}

/// How often the server refused a password, by its own record.
async fn refusals(conn: &mut Conn) -> usize {
    let log = conn.call(&["ACL", "LOG"]).await.unwrap();
    let is_auth =
        |entry: &&Reply| entry.items().unwrap().iter().any(|field| field.text() == Some("auth"));
    log.items().unwrap().iter().filter(is_auth).count()
}

/// Whether the server can: the client below writes more then.
async fn by_tls(seen: &Seen) -> bool {
    #[cfg(feature = "tls")]
    {
        use russet_core_conn::Tls;
        let server = match server().tls(russet_testkit::Tls::new()).start().await {
            Ok(server) => server,
            Err(russet_testkit::Error::Unsupported { .. }) => return false,
            Err(error) => panic!("{error}"),
        };
        let certificates = server.certificates().unwrap();
        let client = certificates.client();
        let tls = Tls::new()
            .ca_pem(certificates.ca().text())
            .client_pem(client.certificate().text(), client.key().text());
        seen.debug(&tls);
        // The body of the key, without the lines that all keys have.
        let key = client.key().text().lines().nth(1).unwrap();
        let url = format!("rediss://shop:hunterRight@{}", server.tls_addr().unwrap());
        life(patient(&url).tls(tls.clone()), &server, seen).await;
        refused(
            patient(&url).tls(Tls::new().ca_pem(certificates.ca().text()).server_name("x.test")),
            seen,
        )
        .await;
        let mixed = tls.client_pem(certificates.server().certificate().text(), client.key().text());
        seen.error(patient(&url).tls(mixed).build().unwrap_err());
        assert!(!seen.0.borrow().iter().any(|text| text.contains(key)), "the client's key");
    }
    let _ = seen;
    cfg!(feature = "tls")
}

/// On one thread, so that all of its lines reach its own log, and no other test's do.
#[tokio::test]
async fn nothing_that_anybody_may_read_holds_a_secret() {
    // Another test cannot have set it, and without it the client below would write nothing.
    LogTracer::init().unwrap();
    let (log, _guard) = Log::of_this_thread();

    let seen = Seen::default();
    let server = server().start().await.unwrap();
    let proxy = Proxy::start(server.addr()).await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let addr = proxy.addr();

    life(patient(&format!("redis://shop:hunterRight@{addr}")), &server, &seen).await;
    let options = patient(&format!("redis://{addr}")).user("shop").password("hunterRight");
    life(options, &server, &seen).await;
    assert_eq!(refusals(&mut conn).await, 0);
    refused(patient(&format!("redis://shop:hunterWrong@{addr}")), &seen).await;
    assert!(refusals(&mut conn).await > 0, "the wrong password was not tried");
    for url in ["redis://shop:hunterRight@h:99999", "redis://:hunterRight@h/x", "hunterRight://h"] {
        // The scheme is no secret, and is named.
        if !url.starts_with("hunter") {
            seen.error(Redis::builder(url).build().unwrap_err());
        }
        seen.debug(Redis::builder(url));
    }
    provider(&server, &seen).await;
    let tls = by_tls(&seen).await;
    proxy.stall();
    refused(patient(&format!("redis://shop:hunterRight@{addr}")).connect_timeout(ms(50)), &seen)
        .await;

    let log = log.text();
    // The client below and we have written, down to the last level, and the calls are there.
    // redis-rs writes nothing: there the last level is that of TLS.
    let (client, last, least) = match (over_fred(), tls) {
        (true, _) => ("fred", "TRACE", 1_000),
        (false, true) => ("rustls", "TRACE", 1_000),
        (false, false) => ("DEBUG", "DEBUG", 300),
    };
    for word in [last, "DEBUG", client, "russet_core_conn", "redis.call", "connection error"] {
        assert!(log.contains(word), "no {word} in {} lines", log.lines().count());
    }
    assert!(log.lines().count() > least, "{} lines", log.lines().count());
    for secret in SECRETS {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} in the log: {line:?}");
        let seen = seen.0.borrow();
        let text = seen.iter().find(|text| text.contains(secret));
        assert!(text.is_none(), "{secret}: {text:?}");
    }
}
