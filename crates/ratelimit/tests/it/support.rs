//! What the tests share.

use std::time::Duration;

use russet_core_conn::{KeySpace, Redis};
use russet_ratelimit::{Limiter, Outage, Quota};
use russet_testkit::shared::{self, Topology};
use russet_testkit::{Conn, Server};

/// The rights that this crate asks for.
pub(crate) const ACL: &str = include_str!("../../acl/ratelimit.acl");

/// A handle whose deadlines a busy machine does not miss.
pub(crate) fn patient(url: &str) -> Redis {
    Redis::builder(url).deadline(Duration::from_secs(10)).build().unwrap()
}

/// A key space that is this test's alone, and a handle of the user of the crate's ACL file.
pub(crate) async fn space(at: Topology, test: &str) -> (Redis, KeySpace) {
    let prefix = shared::prefix(test);
    let redis = patient(&at.url_as(ACL, &prefix, &[]).await.unwrap());
    (redis, KeySpace::new(prefix).unwrap())
}

/// The keys of this space without an end, by an independent client of each primary.
async fn endless(at: Topology, space: &KeySpace) -> Vec<String> {
    let mut found = Vec::new();
    for mut primary in at.primaries().await.unwrap() {
        found.extend(endless_of(&mut primary, space).await);
    }
    found
}

async fn endless_of(primary: &mut Conn, space: &KeySpace) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), "0".to_owned());
    loop {
        let pattern = format!("{{{}:*}}:*", space.prefix());
        let scan = ["SCAN", &cursor, "MATCH", &pattern, "COUNT", "10000"];
        let reply = primary.call(&scan).await.unwrap();
        let parts = reply.items().unwrap();
        for key in parts[1].items().unwrap() {
            let key = key.text().unwrap();
            if primary.call(&["PTTL", key]).await.unwrap().int() == Some(-1) {
                found.push(key.to_owned());
            }
        }
        cursor = parts[0].text().unwrap().to_owned();
        if cursor == "0" {
            return found;
        }
    }
}

/// A limiter in a key space that is this test's alone. It decides by Redis, or not at all.
pub(crate) async fn limiter(at: Topology, test: &str) -> (Limiter, KeySpace) {
    let (redis, space) = space(at, test).await;
    (exact(&redis, &space), space)
}

/// A limiter that decides by Redis, or not at all.
pub(crate) fn exact(redis: &Redis, space: &KeySpace) -> Limiter {
    Limiter::options(redis, space).on_outage(Outage::Error).build().unwrap()
}

/// That no key stays for ever: at the end of every test.
pub(crate) async fn hygiene(at: Topology, space: &KeySpace) {
    assert_eq!(endless(at, space).await, [""; 0], "keys without an end");
}

/// The same of a server that is this test's alone.
pub(crate) async fn hygiene_of(server: &Server, space: &KeySpace) {
    let mut conn = server.conn().await.unwrap();
    assert_eq!(endless_of(&mut conn, space).await, [""; 0], "keys without an end");
}

/// An algorithm that a whole test may not wait for: nothing is regained in a minute.
pub(crate) fn all(limit: u64) -> Vec<Quota> {
    let hour = Duration::from_secs(3_600);
    let quotas = [
        Quota::gcra(limit, hour, limit),
        Quota::queue(limit, limit, hour, hour * 2),
        Quota::interval(limit, 1, hour),
        Quota::fixed_from_first_hit(limit, hour),
        Quota::counter(limit, hour),
        Quota::strict(limit, hour),
        Quota::log(limit, hour),
        Quota::permits(limit, hour),
    ];
    quotas.into_iter().map(Result::unwrap).collect()
}
