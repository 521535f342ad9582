//! The rights that the ACL file asks for are enough, none of them is too many, and who has fewer is told so.

use std::time::{Duration, Instant};

use russet_cache::{
    Access, Batch, BehindError, Cache, CommitError, Committed, Error, Load, Sink, WriteBehind,
};
use russet_core_conn::{Backoff, Client, Cmd, Key, KeySpace, Redis, SendOutcome, ServerError};
use russet_testkit::shared::{self, Topology};
use russet_testkit::{Conn, Server, contract};

use crate::support::{ACL, patient, route, routes, space, url, users};

fn refused(error: &russet_core_conn::Error) {
    assert!(matches!(error.server(), Some(ServerError::NoPerm(_))), "{error}");
    assert_eq!(error.outcome(), SendOutcome::Rejected, "{error}");
}

contract!(the_suite_runs_as_the_user_of_the_file);
async fn the_suite_runs_as_the_user_of_the_file(at: Topology) {
    let prefix = shared::prefix("acl");
    let redis = patient(&at.url_as(ACL, &prefix, &["+acl|whoami"]).await.unwrap());
    let user: String = redis.run(Cmd::read("ACL WHOAMI")).await.unwrap();
    assert_eq!(user, format!("russet-cache-{prefix}"));

    // The suite's own handles come as such a user.
    let (redis, space) = space(at, "acl-own").await;
    let cache = routes(&redis, &space).build().unwrap();
    cache.insert("k", route(1)).await.unwrap();
    let own = format!(" user=russet-cache-{} ", space.prefix());
    let mut connected = 0;
    for mut primary in at.primaries().await.unwrap() {
        let list = primary.call(&["CLIENT", "LIST"]).await.unwrap();
        connected += usize::from(list.text().unwrap().contains(&own));
    }
    assert!(connected > 0);
    // What is another's, or not a cache's, is out of its reach; and so are commands that it does not need.
    let set = |key: Key| redis.run::<()>(Cmd::idempotent("SET").key(&key).arg("v"));
    refused(&set(Key::raw("outside")).await.unwrap_err());
    refused(&set(space.key("session", "k")).await.unwrap_err());
    for forbidden in ["FLUSHALL", "KEYS", "CONFIG GET"] {
        refused(&redis.run::<()>(Cmd::write(forbidden).arg("x")).await.unwrap_err());
    }
    let elsewhere = KeySpace::new("outside").unwrap();
    let Error::Redis(error) =
        routes(&redis, &elsewhere).build().unwrap().insert("k", route(1)).await.unwrap_err()
    else {
        panic!("not Redis's")
    };
    // Inside a script, so what came before it may have been applied.
    assert!(matches!(error.server(), Some(ServerError::NoPerm(_))), "{error}");
}

/// Does all that a cache can do, once.
async fn everything(redis: &Redis, space: &KeySpace, conn: &mut Conn) -> Result<(), Error> {
    let cache: Cache<u64> = Cache::new(redis, space, "n").unwrap();
    redis.ping().await?;
    // One loads for longer than its lease, and another waits to be told.
    let graced = || Cache::builder(redis, space, "graced").grace(Duration::from_secs(60));
    let [one, other] =
        [(); 2].map(|()| graced().lease(Duration::from_millis(150)).build().unwrap());
    let slow = |_| async {
        tokio::time::sleep(Duration::from_millis(110)).await;
        Ok::<u64, Error>(1)
    };
    let (led, waited) = tokio::join!(one.get_or_load("k", slow), other.get_or_load("k", slow));
    let _ = (led.unwrap(), waited.unwrap());
    one.expire("k").await?;
    one.get("k").await?;
    one.with_soft_timeout(Duration::from_secs(10)).get_or_load("k", slow).await.unwrap();
    drop((one, other));
    cache.insert(1_u64, 1).await?;
    cache.get(1_u64).await?;
    let load = |key: u64| cache.get_or_load(key, move |_| async move { Ok::<_, Error>(key) });
    load(1).await.unwrap();
    load(2).await.unwrap();
    let many = cache.get_or_load_many(1..5_u64, |missing, _| async move {
        Ok::<_, Error>(missing.into_iter().map(|key| (key, key)).collect::<Vec<_>>())
    });
    many.await.unwrap();
    let kept = || Cache::<u64>::builder(redis, space, "kept").local(10).build().unwrap();
    let tagged = |_| async { Ok::<_, Error>(Load::value(1).tags(["t"])) };
    let [here, there] = [(); 2].map(|()| kept());
    there.get("k").await?;
    let mut heard = there.invalidations()?;
    here.invalidate_tags(["t"]).await?;
    // In vain, where it may not subscribe.
    let _ = tokio::time::timeout(Duration::from_secs(1), heard.next()).await;
    // One more than are remembered.
    let fill = "for i = 1, 100000 do redis.call('ZADD', KEYS[1], i, i) end";
    let tags = space.key("cache-tags", "kept");
    conn.call(&["EVAL", fill, "1", std::str::from_utf8(tags.as_bytes()).unwrap()]).await.unwrap();
    here.invalidate_tags(["u"]).await?;
    here.get_or_load("k", tagged).await.unwrap();
    // Who begins later has to ask what became of its tags.
    here.invalidate_tags(["v"]).await?;
    kept().get("k").await?;
    cache.remove(1_u64).await?;
    cache.remove_many(2..5_u64).await?;
    // Counts decay by the second, and there are more than are kept.
    let access = Access::default().keys(1).half_life(Duration::from_secs(1));
    let watched = Cache::<u64>::builder(redis, space, "watched").access(access).build().unwrap();
    for _ in 0..2 {
        for key in 0..5_u64 {
            watched.get(key).await?;
        }
        watched.hot(1).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    watched.fleet_stats().await?;
    write_behind(redis, space).await.map_err(|error| match error {
        BehindError::Redis(error) => Error::Redis(error),
        error => panic!("{error}"),
    })
}

/// Commits what is above 0.
struct Picky;

impl Sink<u64, u64> for Picky {
    async fn commit(&self, batch: Batch<'_, u64, u64>) -> Result<Committed, CommitError> {
        let zero = batch.changes.iter().position(|change| change.key == 0);
        Ok(zero.map_or_else(Committed::all, |at| Committed::all().except(at, "zero")))
    }
}

async fn write_behind(redis: &Redis, space: &KeySpace) -> Result<(), BehindError> {
    let buffer = WriteBehind::builder(redis, space, "behind")
        .flush_every(Duration::from_millis(1))
        .batch(1)
        .retry(Backoff::constant(Duration::from_millis(1)).max_attempts(1))
        .allow_eviction()
        .build()?;
    let numbers = buffer.entities::<u64, u64>("n")?;
    for key in 0..3 {
        numbers.put(&key, &key).await?;
    }
    numbers.pending(&1).await?;
    let worker = buffer.worker().sink(&numbers, Picky).start().await?;
    // In vain, where it may not do its work.
    let begun = Instant::now();
    let mut dead = Vec::new();
    while dead.is_empty() && begun.elapsed() < Duration::from_millis(500) {
        dead = buffer.dead(1).await?;
    }
    buffer.redrive(&dead).await?;
    worker.shutdown(Duration::from_millis(500)).await;
    for dead in &dead {
        numbers.discard(dead).await?;
    }
    Ok(())
}

async fn denials(conn: &mut Conn) -> usize {
    let log = conn.call(&["ACL", "LOG"]).await.unwrap();
    log.items().unwrap().len()
}

#[tokio::test]
async fn the_rights_are_enough_and_each_is_needed() {
    let server = Server::builder().acl_file(users("shop")).start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let line = ACL.replace("PASSWORD", "secret").replace("PREFIX", "shop");
    let rules: Vec<&str> = line.split_whitespace().skip(2).collect();
    // The way to a key on a cluster is the core's, whose suite sees that each of its rights is needed.
    let on_cluster =
        |rule: &str| ["+cluster|", "+asking", "+readonly"].iter().any(|of| rule.starts_with(of));
    let granted: Vec<&str> =
        rules.iter().copied().filter(|rule| rule.starts_with('+') && !on_cluster(rule)).collect();
    assert!(granted.len() >= 10, "{granted:?}");
    for without in std::iter::once(None).chain(granted.into_iter().map(Some)) {
        let rules = rules.iter().copied().filter(|rule| Some(*rule) != without);
        let user = ["ACL", "SETUSER", "russet-cache", "reset"].into_iter().chain(rules);
        for command in [
            &Vec::from_iter(user)[..],
            &["ACL", "LOG", "RESET"],
            &["SCRIPT", "FLUSH"],
            &["FLUSHALL"],
        ] {
            assert!(conn.call(command).await.unwrap().is_ok(), "{command:?}");
        }
        let redis = patient(&url(server.addr()));
        let done = everything(&redis, &KeySpace::new("shop").unwrap(), &mut conn).await;
        match without {
            None => {
                done.unwrap();
                assert_eq!(denials(&mut conn).await, 0);
            }
            // fred asks for its own id; over redis-rs nobody does.
            Some("+client|id") if format!("{:?}", Client::default()) != "Fred" => done.unwrap(),
            Some(right) => {
                // A subscription is given up in the background.
                let begun = Instant::now();
                while denials(&mut conn).await == 0 {
                    assert!(begun.elapsed() < Duration::from_secs(5), "nobody needs {right}");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn a_user_without_the_right_is_told_so() {
    let fewer = users("fewer").replace(" +set ", " ");
    let server = Server::builder().acl_file(fewer).start().await.unwrap();
    let redis = patient(&url(server.addr()));
    let cache = routes(&redis, &KeySpace::new("fewer").unwrap()).build().unwrap();
    let Error::Redis(error) = cache.insert("k", route(1)).await.unwrap_err() else {
        panic!("not Redis's")
    };
    refused(&error);
    let found =
        cache.get_or_load("k", |_| async { Ok::<_, std::io::Error>(route(1)) }).await.unwrap();
    assert_eq!(found.value(), Some(&route(1)));
    // Without the lease nothing is filled either.
    assert_eq!((cache.stats().fill_errors, cache.stats().fills), (1, 0));
}
