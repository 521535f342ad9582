//! A cluster.

use russet_core_conn::{Cmd, ErrorKind, Key, Redis, Script, SendOutcome, Value};
use russet_testkit::{Cluster, Conn};

use crate::support::{ms, patient};

mod credentials;
mod durability;
mod failover;
mod hub;
mod names;
mod partition;
mod redirects;
mod replicas;
mod reshard;
mod rights;
mod scan;
#[cfg(feature = "tls")]
mod tls;
mod topology;

/// Names whose slots are spread over the whole cluster.
fn key(number: impl std::fmt::Display) -> Key {
    Key::raw(format!("k:{number}"))
}

async fn connected(cluster: &Cluster) -> Redis {
    let redis = patient(&cluster.url()).build().unwrap();
    redis.ready().await.unwrap();
    redis
}

/// One to each node.
async fn conns(cluster: &Cluster) -> Vec<Conn> {
    let mut conns = Vec::new();
    for node in cluster.nodes() {
        conns.push(node.conn().await.unwrap());
    }
    conns
}

/// The numbers behind this name in one section of INFO, added up over the nodes.
async fn count(conns: &mut [Conn], section: &str, name: &str) -> u64 {
    let mut all = 0;
    for conn in conns {
        let told = conn.call(&["INFO", section]).await.unwrap();
        let number = told.text().unwrap().lines().find_map(|line| {
            line.strip_prefix(name)?.split([',', '\r']).next()?.trim().parse::<u64>().ok()
        });
        all += number.unwrap_or(0);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_goes_where_its_slot_is() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    // One of them is enough to find the others.
    let redis = patient(&format!("redis-cluster://{}", cluster.nodes()[1].addr())).build().unwrap();
    redis.ready().await.unwrap();
    for n in 0..100 {
        let () = redis.run(Cmd::idempotent("SET").key(&key(n)).arg(n)).await.unwrap();
    }
    for n in 0..100 {
        assert_eq!(redis.run::<i64>(Cmd::read("GET").key(&key(n))).await.unwrap(), n);
    }
    let sizes: Vec<i64> = {
        let mut sizes = Vec::new();
        for node in cluster.nodes() {
            let size = node.conn().await.unwrap().call(&["DBSIZE"]).await.unwrap();
            sizes.push(size.int().unwrap());
        }
        sizes
    };
    assert!(sizes.iter().all(|size| *size > 10) && sizes.iter().sum::<i64>() == 100, "{sizes:?}");

    let replies = redis.pipeline((0..300).map(|n| Cmd::read("GET").key(&key(n)))).await;
    for (n, reply) in replies.into_iter().enumerate() {
        let expected = if n < 100 { Value::Bytes(n.to_string().into()) } else { Value::Nil };
        assert_eq!(reply.unwrap(), expected, "{n}");
    }
    let writes = redis.pipeline((0..100).map(|n| Cmd::write("INCR").key(&key(n)))).await;
    let counts: Vec<i64> = writes
        .into_iter()
        .map(|reply| match reply.unwrap() {
            Value::Int(count) => count,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(counts, (1..=100).collect::<Vec<_>>());
    // Without a key: any node.
    redis.ping().await.unwrap();
    assert!(redis.close().await.is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_several_keys_needs_one_slot() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let redis = connected(&cluster).await;
    let (a, b) = (Key::raw("a"), Key::raw("b"));
    let both =
        Script::new("both", "return {redis.call('GET', KEYS[1]), redis.call('GET', KEYS[2])}");
    let error = redis.script::<Value>(both.key(&a).key(&b)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::CrossSlot { .. }), "{error}");
    assert_eq!(error.outcome(), SendOutcome::NotSent);
    let error = redis.run::<Value>(Cmd::read("MGET").key(&a).key(&b)).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::CrossSlot { .. }), "{error}");
    let error = redis.transaction([Cmd::write("INCR").key(&a), Cmd::write("INCR").key(&b)]).await;
    assert!(matches!(error.unwrap_err().kind(), ErrorKind::CrossSlot { .. }));

    let tagged = |name: &str| Key::raw(format!("{{t}}:{name}"));
    for name in ["a", "b"] {
        let () = redis.run(Cmd::idempotent("SET").key(&tagged(name)).arg(name)).await.unwrap();
    }
    let found: Vec<String> = redis.script(both.key(&tagged("a")).key(&tagged("b"))).await.unwrap();
    assert_eq!(found, ["a", "b"]);
    let found: Vec<String> =
        redis.run(Cmd::read("MGET").key(&tagged("a")).key(&tagged("b"))).await.unwrap();
    assert_eq!(found, ["a", "b"]);
    // Alone, and without a tag: the key that would lead it lives elsewhere.
    let () = redis.run(Cmd::idempotent("SET").key(&a).arg("one")).await.unwrap();
    assert_eq!(redis.run::<Vec<String>>(Cmd::read("MGET").key(&a)).await.unwrap(), ["one"]);
    let counts = redis
        .transaction([Cmd::write("INCR").key(&tagged("n")), Cmd::write("INCR").key(&tagged("n"))])
        .await
        .unwrap();
    assert_eq!(counts, [Value::Int(1), Value::Int(2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_ones_own_go_along() {
    let cluster = Cluster::start(3, 0).await.unwrap();
    let redis = connected(&cluster).await;
    let mut own = redis.dedicated().await.unwrap();
    for n in 0..30 {
        let pushed: i64 = own.run(Cmd::write("LPUSH").key(&key(n)).arg(n)).await.unwrap();
        assert_eq!(pushed, 1);
    }
    drop(own);
    for n in 0..30 {
        let popped: Vec<String> = redis.run(Cmd::write("BLPOP").key(&key(n)).arg(1)).await.unwrap();
        assert_eq!(popped, [format!("k:{n}"), n.to_string()]);
    }
    for n in 0..10 {
        let watched = Key::raw(format!("w:{n}"));
        let watch = redis.watch(std::slice::from_ref(&watched)).await.unwrap();
        let counts = watch.exec([Cmd::write("INCR").key(&watched)]).await.unwrap().unwrap();
        assert_eq!(counts, [Value::Int(1)]);
        let watch = redis.watch(std::slice::from_ref(&watched)).await.unwrap();
        let () = redis.run(Cmd::write("INCR").key(&watched)).await.unwrap();
        assert_eq!(watch.exec([Cmd::write("INCR").key(&watched)]).await.unwrap(), None);
    }
}

#[tokio::test]
async fn nobody_listed_is_there() {
    let redis = Redis::builder("redis-cluster://127.0.0.1:1,127.0.0.1:2")
        .deadline(ms(300))
        .build()
        .unwrap();
    let begun = std::time::Instant::now();
    let error = redis.run::<Value>(Cmd::read("GET").key(&key(1))).await.unwrap_err();
    assert!(begun.elapsed() < ms(600), "{:?}", begun.elapsed());
    assert!(matches!(error.kind(), ErrorKind::NotConnected(_)), "{error}");
    assert!(matches!(error.cause(), Some(ErrorKind::Connect(_))), "{error:?}");
    assert_eq!(error.outcome(), SendOutcome::NotSent);
    // A pipeline has the same time, in all.
    let begun = std::time::Instant::now();
    let replies = redis.pipeline([1, 2].map(|n| Cmd::read("GET").key(&key(n)))).await;
    assert!(begun.elapsed() < ms(500), "{:?}", begun.elapsed());
    for reply in replies {
        assert_eq!(reply.unwrap_err().outcome(), SendOutcome::NotSent);
    }
    assert!(redis.ready().await.is_err());
}
