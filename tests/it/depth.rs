//! Calls can be made from deep inside a program: their futures are small, and their types shallow.

use std::time::Duration;

use russet_cache::Cache;
use russet_core_conn::{Cmd, Key, KeySpace, Redis, Script};

/// The compiler gives up on futures nested deeper than its recursion limit, which a program sets for itself: what is
/// below a call must leave it room.
macro_rules! nested {
    ($call:expr;) => { $call.await };
    ($call:expr; $_:tt $($rest:tt)*) => { async move { nested!($call; $($rest)*) }.await };
}

#[tokio::test]
async fn a_call_leaves_room_for_twelve_layers_of_the_caller() {
    let redis = Redis::builder(&russet_testkit::shared::url().await.unwrap())
        .deadline(Duration::from_secs(10))
        .build()
        .unwrap();
    let space = KeySpace::new(russet_testkit::shared::prefix("depth")).unwrap();
    let cache: Cache<u32> =
        Cache::builder(&redis, &space, "n").budget(Duration::from_secs(10)).build().unwrap();
    let handler = async move {
        let found = nested!(cache.get_or_load(1_u64, |_| async { Ok::<_, std::io::Error>(1) });
            1 2 3 4 5 6 7 8 9 10 11 12);
        found.unwrap().into_value().map(|value| *value)
    };
    assert_eq!(tokio::spawn(handler).await.unwrap(), Some(1));
}

#[test]
fn the_future_of_a_call_is_small() {
    let redis = Redis::builder("redis://localhost").build().unwrap();
    let call = redis.run::<Option<String>>(Cmd::read("GET").key(&Key::raw("k")));
    // A future by value is copied with each layer of the caller.
    assert!(size_of_val(&call) <= 1_100, "{} bytes", size_of_val(&call));
    let script = Script::new("one", "return 1");
    let call = redis.script::<i64>(script.key(&Key::raw("k")).arg(1));
    assert!(size_of_val(&call) <= 1_220, "{} bytes", size_of_val(&call));
}
