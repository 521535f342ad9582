//! The values of many keys.

use bytes::Bytes;
use russet_core_conn::{Cmd, Key};
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use crate::support::shared;

contract!(each_key_has_its_value_in_the_order_asked);
/// More than one command reads, in many slots.
async fn each_key_has_its_value_in_the_order_asked(at: Topology) {
    let (redis, prefix) = shared(at, "get-many").await;
    let key = |n: usize| Key::raw(format!("{}:k", prefix.replace(":0}", &format!(":{n}}}"))));
    let keys: Vec<Key> = (0..600).map(key).collect();
    let fill = keys.iter().enumerate().filter(|(n, _)| n % 3 > 0).map(|(n, key)| match n % 3 {
        1 => Cmd::idempotent("SET").key(key).arg(n as u64),
        _ => Cmd::idempotent("SADD").key(key).arg(n as u64),
    });
    assert!(redis.pipeline(fill).await.iter().all(Result::is_ok));
    // What holds another type is none, and harms nobody else.
    let read = redis.get_many(&keys).await;
    assert_eq!(read.len(), keys.len());
    for (n, value) in read.into_iter().enumerate() {
        assert_eq!(value.unwrap(), (n % 3 == 1).then(|| Bytes::from(n.to_string())), "{n}");
    }
    let twice = redis.get_many([&keys[1], &keys[0], &keys[1]]).await;
    let twice: Vec<_> = twice.into_iter().map(Result::unwrap).collect();
    assert_eq!(twice, [Some(Bytes::from("1")), None, Some(Bytes::from("1"))]);
    assert!(redis.get_many([]).await.is_empty());
}
