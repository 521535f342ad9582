//! What a subject takes: the table of the docs.

use std::time::Duration;

use russet_core_conn::Key;
use russet_ratelimit::Quota;
use russet_testkit::shared::Topology;

use crate::support::limiter;

#[tokio::test]
async fn a_subject_takes_what_the_table_says() {
    let at = Topology::Server;
    let (limiter, space) = limiter(at, "size").await;
    let minute = Duration::from_secs(60);
    let mut table = Vec::new();
    for (kind, quota, most) in [
        ("bucket", Quota::gcra(100, minute, 100), 200),
        ("window", Quota::fixed(100, minute), 200),
        ("counter", Quota::counter(100, minute), 220),
        ("strict", Quota::strict(100, minute), 300),
        ("log", Quota::log(100, minute), 14_000),
        ("permits", Quota::permits(100, minute), 14_000),
    ] {
        let limit = limiter.limit("l", quota.unwrap()).unwrap();
        for _ in 0..100 {
            assert!(limit.check("user-17").await.unwrap().is_allowed());
        }
        let key = space.key(&format!("limit-{kind}.l"), "user-17");
        let mut conn = at.conn(Key::as_bytes(&key)).await.unwrap();
        let key = String::from_utf8(key.to_bytes().to_vec()).unwrap();
        let bytes = conn.call(&["MEMORY", "USAGE", &key]).await.unwrap().int().unwrap();
        assert!((1..=most).contains(&bytes), "{kind}: {bytes} bytes; allowed: up to {most}");
        table.push((kind, bytes));
    }
    println!("{table:?}");
}
