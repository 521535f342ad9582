//! Each right that a breaker needs is in the ACL file, and is needed.

use std::time::{Duration, Instant};

use russet_core_conn::{KeySpace, Redis};
use russet_testkit::Server;

use super::support::{Node, fail, ms, node};
use crate::support::{ACL, Space};

/// Those that nothing else of this crate needs.
pub(crate) const RIGHTS: [&str; 6] =
    ["+hgetall", "+hdel", "+hlen", "+publish", "+subscribe", "+unsubscribe"];

/// Does all that a breaker can do, once, as far as it may.
async fn everything(redis: &Redis, space: &KeySpace) {
    let breaker: Node = node(redis, space, "a").heartbeat(ms(20)).build().unwrap();
    let begun = Instant::now();
    while breaker.state().alone && begun.elapsed() < ms(300) {
        tokio::time::sleep(ms(5)).await;
    }
    let _ = breaker.status().await;
    fail(&breaker).await;
    let _ = breaker.force_open().await;
    let _ = breaker.reset().await;
    let _ = breaker.shutdown().await;
}

#[tokio::test]
async fn a_breaker_has_the_rights_that_it_needs_and_needs_each() {
    let user = ACL.replace("PASSWORD", "secret").replace("PREFIX", "shop");
    let users = format!("user default on nopass ~* &* +@all\n{user}");
    let server = Server::builder().acl_file(users).start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let rules: Vec<&str> = user.split_whitespace().skip(2).collect();
    let shared = ["+evalsha", "+eval", "+time", "+hmget", "+hset", "+pexpire"];
    let places = ["&{shop}:breaker.*", "~{shop:*}:breaker:*"];
    // It is used in the background once the last breaker of a handle is gone, and nobody looks then.
    let needed = RIGHTS.into_iter().filter(|right| *right != "+unsubscribe");
    let needed = needed.chain(shared).chain(places);
    for without in std::iter::once(None).chain(needed.map(Some)) {
        let rules = rules.iter().copied().filter(|rule| Some(*rule) != without);
        let user = ["ACL", "SETUSER", "russet-ratelimit", "reset"].into_iter().chain(rules);
        let commands = [
            Vec::from_iter(user),
            vec!["ACL", "LOG", "RESET"],
            vec!["SCRIPT", "FLUSH"],
            vec!["FLUSHALL"],
        ];
        for command in commands {
            assert!(conn.call(&command).await.unwrap().is_ok(), "{command:?}");
        }
        let url = format!("redis://russet-ratelimit:secret@{}", server.addr());
        let redis = Redis::builder(&url).deadline(Duration::from_secs(10)).build().unwrap();
        everything(&redis, &KeySpace::new("shop").unwrap()).await;
        let log = conn.call(&["ACL", "LOG"]).await.unwrap();
        assert_eq!(log.items().unwrap().is_empty(), without.is_none(), "{without:?}: {log:?}");
        if without.is_none() {
            Space::own([&server], "shop").hygiene().await;
        }
    }
}
