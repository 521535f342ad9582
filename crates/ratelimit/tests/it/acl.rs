//! The rights that the ACL file asks for are enough, and none of them is too many.

use std::time::{Duration, Instant};

use russet_core_conn::{Client, KeySpace, Redis};
use russet_ratelimit::{Acquired, Error, Leasing, Limiter, Quota};
use russet_testkit::{Conn, Server};

use crate::support::{ACL, Space, all, exact, patient};

/// Does all that a limit can do, once.
async fn everything(redis: &Redis, space: &KeySpace) -> Result<(), Error> {
    redis.ping().await?;
    let limiter = exact(redis, space);
    let hour = Duration::from_secs(3_600);
    for (n, quota) in all(5).into_iter().enumerate() {
        let limit = limiter.builder(&format!("l{n}"), quota).blockable().build()?;
        limit.block("u", hour).await?;
        limit.unblock("u").await?;
        for _ in 0..3 {
            limit.reserve("u", 2).await?.refund().await?;
            limit.check_n("u", 2).await?;
        }
        limit.reserve("u", 1).await?.refund().await?;
        limit.peek("u").await?;
        limit.reset("u").await?;
    }
    let bucket = limiter.limit("bucket", Quota::bucket())?;
    bucket.check("u").await?;
    bucket.top_up("u", 1).await?;
    limiter.check(&[bucket.of("u"), bucket.of("v")]).await?;
    let permits = limiter.limit("permits", Quota::permits(1, hour)?)?;
    if let Acquired::Held(permit) = permits.acquire("u").await? {
        permit.renew().await?;
        permits.statistics("u", 1).await?;
        permit.release().await?;
    }
    ahead(redis, space).await
}

/// Leases, and counts the nodes.
async fn ahead(redis: &Redis, space: &KeySpace) -> Result<(), Error> {
    let node = |name| {
        let options = Limiter::options(redis, space).budget(Duration::from_secs(5));
        options.node(name).heartbeat(Duration::from_millis(20)).build()
    };
    let [one, other] = [node("one")?, node("other")?];
    let begun = Instant::now();
    while one.nodes() < 2 {
        for limiter in [&one, &other] {
            let leased = limiter.builder("leased", Quota::bucket()).leased(Leasing::new());
            leased.build()?.check("u").await?;
        }
        if begun.elapsed() > Duration::from_secs(2) {
            let (field, problem, allowed) = ("nodes", one.nodes().to_string(), "2");
            return Err(Error::Config { field, problem, allowed });
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    one.shutdown().await?;
    other.shutdown().await
}

/// A server with the user of the file, less one right.
async fn with(server: &Server, conn: &mut Conn, without: Option<&str>) -> Result<(), Error> {
    let line = ACL.trim().replace("PASSWORD", "secret").replace("PREFIX", "acl");
    let words = line.split_whitespace().skip(1).filter(|word| Some(*word) != without);
    let command: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(words).collect();
    conn.call(&["ACL", "DELUSER", "russet-ratelimit"]).await.unwrap();
    assert!(conn.call(&command).await.unwrap().is_ok());
    conn.call(&["FLUSHALL"]).await.unwrap();
    conn.call(&["SCRIPT", "FLUSH"]).await.unwrap();
    let redis = patient(&format!("redis://russet-ratelimit:secret@{}", server.addr()));
    let redis = redis.with_deadline(Duration::from_millis(2_000)).without_waiting();
    redis.ready().await?;
    everything(&redis, &KeySpace::new("acl").unwrap()).await
}

#[tokio::test]
async fn the_rights_of_the_file_are_enough_and_none_is_too_many() {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    with(&server, &mut conn, None).await.unwrap();
    Space::own([&server], "acl").hygiene().await;
    // Those are for a link to ask of a server, and for a cluster.
    let link = ["+info", "+client|id", "+client|info", "+readonly", "+asking"];
    for right in ACL.split_whitespace().filter(|word| word.starts_with('+')) {
        // Those of the breaker alone have a test of their own.
        let of_breaker = crate::fleet_breaker::acl::RIGHTS.contains(&right);
        if right.starts_with("+cluster") || link.contains(&right) || of_breaker {
            continue;
        }
        let gone = with(&server, &mut conn, Some(right)).await;
        assert!(gone.is_err(), "not needed: {right} over {:?}", Client::default());
    }
}
