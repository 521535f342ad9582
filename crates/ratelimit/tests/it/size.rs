//! What a subject takes: the table of the docs.

use std::time::Duration;

use russet_core_conn::Key;
use russet_ratelimit::Quota;
use russet_testkit::shared::Topology;

use crate::support::limiter;

const DOCS: &str = include_str!("../../src/lib.rs");

/// The bytes of a row: the last number of its last column that is not another's.
fn documented(constructor: &str) -> i64 {
    let row = format!("[`Quota::{constructor}`] |");
    let row = DOCS.lines().find(|line| line.contains(&row)).unwrap();
    let bytes = row.trim_end_matches('|').rsplit('|').next().unwrap().trim();
    bytes.split(' ').next().unwrap().replace(',', "").parse().unwrap()
}

#[tokio::test]
async fn a_subject_takes_what_the_table_says() {
    let at = Topology::Server;
    let (limiter, space) = limiter(at, "size").await;
    let minute = Duration::from_secs(60);
    let mut table = Vec::new();
    for (constructor, kind, quota) in [
        ("gcra", "bucket", Quota::gcra(100, minute, 100)),
        ("fixed", "window", Quota::fixed(100, minute)),
        ("interval", "window", Quota::interval(100, 10, minute)),
        ("counter", "counter", Quota::counter(100, minute)),
        ("strict", "strict", Quota::strict(100, minute)),
        ("strict_of", "strict", Quota::strict_of(100, minute, 32)),
        ("log", "log", Quota::log(100, minute)),
        ("queue", "bucket", Quota::queue(100, 100, minute, minute)),
        ("permits", "permits", Quota::permits(100, minute)),
    ] {
        let limit = limiter.limit(constructor, quota.unwrap()).unwrap();
        for _ in 0..100 {
            assert!(limit.check("user-17").await.unwrap().is_allowed());
        }
        let key = space.key(&format!("limit-{kind}.{constructor}"), "user-17");
        let mut conn = at.conn(Key::as_bytes(&key)).await.unwrap();
        let key = String::from_utf8(key.to_bytes().to_vec()).unwrap();
        let bytes = conn.call(&["MEMORY", "USAGE", &key]).await.unwrap().int().unwrap();
        let documented = match constructor {
            "strict_of" => 280,
            constructor => documented(constructor),
        };
        table.push((constructor, bytes, documented));
    }
    println!("{table:?}");
    for (constructor, bytes, documented) in table {
        // Keys are longer or shorter, and servers of other versions keep them otherwise.
        let most = documented + 48 + documented / 4;
        assert!(
            (1..=most).contains(&bytes),
            "{constructor}: {bytes} bytes; documented: {documented}"
        );
        assert!(!constructor.starts_with("strict") || bytes <= 300, "{bytes} bytes; allowed: 300");
    }
}
