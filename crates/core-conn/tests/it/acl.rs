//! The rights that the ACL file asks for are enough, and none of them too many.

use std::sync::LazyLock;
use std::time::Duration;

use futures_util::TryStreamExt;
use russet_core_conn::{
    Cmd, Durability, Error, Key, KeySpace, Leases, RedisBuilder, Scan, Script, SendOutcome,
    ServerError, Topic,
};
use russet_testkit::shared::{self, Topology};
use russet_testkit::{Conn, Server, contract};

use crate::support::{ACL, clients_at, over_fred, patient, until};

/// Does all that this crate does by itself, once; or until the server has refused something.
async fn everything(builder: RedisBuilder, space: &KeySpace, conn: &mut Conn) -> Result<(), Error> {
    static SCRIPT: LazyLock<Script> =
        LazyLock::new(|| Script::new("nothing", "-- Idempotent: yes\nreturn 1"));
    let redis = builder.connection_name("acl").database(1).build()?.without_waiting();
    redis.ping().await?;
    redis.info().await?;
    redis.agree(space).await?;
    let _: i64 = redis.script(SCRIPT.key(&space.layout_key())).await?;
    let _: Vec<Option<String>> =
        redis.run(Cmd::read("HMGET").key(&space.layout_key()).arg("version")).await?;
    redis.transaction([Cmd::read("PING")]).await?;
    redis.watch(&[space.layout_key()]).await?.exec([Cmd::read("PING")]).await?;
    let durable = redis.with_durability(Durability::Replicas(0));
    let () = durable.run(Cmd::write("HSET").key(&space.layout_key()).arg("f").arg("v")).await?;
    let _: Vec<Key> = redis.scan(Scan::all()).try_collect().await?;
    let hub = redis.hub();
    // What is subscribed to by a pattern must be allowed as it stands.
    let (one, all) = ("{shop}:news", "{shop}:*");
    for topic in [Topic::channel(one), Topic::pattern(all), Topic::sharded(one)] {
        drop(hub.subscribe(topic).await?);
    }
    until("no subscriber", async || {
        let mut left = 0;
        for asked in [vec!["CHANNELS"], vec!["SHARDCHANNELS"], vec!["NUMPAT"]] {
            let reply = conn.call(&[&["PUBSUB"], &asked[..]].concat()).await.unwrap();
            left += reply.int().unwrap_or(0) + reply.items().map_or(0, |items| items.len() as i64);
        }
        left == 0 || denials(conn).await > 0
    })
    .await;
    let leases = Leases::new(&redis, space)?;
    let lease = leases.try_acquire("l").await?.held().expect("nobody has it");
    let _ = lease.extend(Duration::from_secs(20)).await?;
    let _ = lease.release().await?;
    redis.close().await;
    Ok(())
}

fn refused(error: &Error) {
    assert!(matches!(error.server(), Some(ServerError::NoPerm(_))), "{error}");
    assert_eq!(error.outcome(), SendOutcome::Rejected, "{error}");
    assert!(!error.is_retryable());
    assert!(!format!("{error}{error:?}").contains("outside"), "{error}");
}

contract!(the_suite_runs_as_the_user_of_the_file);
async fn the_suite_runs_as_the_user_of_the_file(at: Topology) {
    let prefix = shared::prefix("acl");
    let more = ["+acl|whoami", "+set", "+get", "+lrange"];
    let url = at.url_as(ACL, &prefix, &more).await.unwrap();
    let redis = patient(&url).connection_name(&prefix).build().unwrap();
    let user = format!("russet-core-conn-{prefix}");
    assert_eq!(redis.run::<String>(Cmd::read("ACL WHOAMI")).await.unwrap(), user);
    let list = clients_at(at, &prefix).await;
    assert!(list[0].contains(&format!(" user={user} ")), "{list:?}");

    let inside = KeySpace::new(&*prefix).unwrap().key("k", 1_u64);
    let set = |key: &Key| Cmd::idempotent("SET").key(key).arg("v").arg("PX").arg(60_000);
    let () = redis.run(set(&inside)).await.unwrap();
    // Outside of the prefix, by each way that a command may go.
    let outside = Key::raw("outside");
    refused(&redis.run::<()>(set(&outside)).await.unwrap_err());
    refused(
        &redis
            .run::<Vec<String>>(Cmd::read("LRANGE").key(&outside).args([0, 1]))
            .await
            .unwrap_err(),
    );
    refused(redis.pipeline([set(&inside), set(&outside)]).await[1].as_ref().unwrap_err());
    let script =
        Script::new("writes", "-- Idempotent: yes\nreturn redis.call('SET', KEYS[1], 'v')");
    refused(&redis.script::<()>(script.key(&outside)).await.unwrap_err());
    // And what is not granted at all.
    for forbidden in ["FLUSHALL", "KEYS", "CONFIG GET", "SCRIPT LOAD"] {
        refused(&redis.run::<()>(Cmd::write(forbidden).arg("x")).await.unwrap_err());
    }
    assert_eq!(redis.run::<String>(Cmd::read("GET").key(&inside)).await.unwrap(), "v");
}

/// What is asked of clusters only.
pub(crate) fn is_for_clusters(right: &str) -> bool {
    right.starts_with("+cluster|") || ["+readonly", "+asking"].contains(&right)
}

/// The server's own record of what it refused to this user.
pub(crate) async fn denials(conn: &mut Conn) -> usize {
    let log = conn.call(&["ACL", "LOG"]).await.unwrap();
    log.items().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_are_enough_and_each_is_needed() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let url = format!("redis://user:pw@{}", server.addr());
    let line = ACL.replace("PASSWORD", "pw").replace("PREFIX", "shop");
    let rules: Vec<&str> = line.split_whitespace().skip(2).collect();
    let here = |rule: &&str| rule.starts_with('+') && !is_for_clusters(rule);
    let granted: Vec<&str> = rules.iter().copied().filter(here).collect();
    assert!(granted.len() >= 10, "{granted:?}");
    for without in std::iter::once(None).chain(granted.into_iter().map(Some)) {
        let rules = rules.iter().copied().filter(|rule| Some(*rule) != without);
        let user: Vec<&str> =
            ["ACL", "SETUSER", "user", "reset"].into_iter().chain(rules).collect();
        for command in [&user[..], &["ACL", "LOG", "RESET"], &["SCRIPT", "FLUSH"], &["FLUSHALL"]] {
            assert!(conn.call(command).await.unwrap().is_ok(), "{command:?}");
        }
        let builder = patient(&url).probe(Duration::from_secs(60), Duration::from_secs(10));
        let done = everything(builder, &KeySpace::new("shop").unwrap(), &mut conn).await;
        match without {
            None => {
                done.unwrap();
                assert_eq!(denials(&mut conn).await, 0);
            }
            // fred asks for its own id; over redis-rs nobody does.
            Some("+client|id") if !over_fred() => done.unwrap(),
            Some(right) => assert!(denials(&mut conn).await > 0, "nobody needs {right}"),
        }
    }
}
