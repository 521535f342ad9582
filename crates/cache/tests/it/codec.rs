//! How values are written: compressed, and as JSON.

use std::convert::Infallible;

use russet_cache::{Cache, Codec, Compression, Format, Tier};
use russet_testkit::contract;
use russet_testkit::shared::Topology;

use crate::support::{Origin, Route, route, routes, space};

contract!(what_is_large_is_smaller_in_redis_and_comes_back_as_it_was);
async fn what_is_large_is_smaller_in_redis_and_comes_back_as_it_was(at: Topology) {
    let (redis, space) = space(at, "codec").await;
    let large = Route { fare: 1, name: "there and back again ".repeat(1_000) };
    let values = [large.clone(), large.clone(), route(3)];
    let build = |codec: Codec| routes(&redis, &space).codec(codec).build().unwrap();
    let plain = build(Codec::default());
    // By a lookup of one key and of two, the second of which is below the threshold.
    let fill = async |cache: &Cache<Route>| {
        cache.remove_many(0..3_u64).await.unwrap();
        let one = values[0].clone();
        cache.get_or_load(0_u64, move |_| Origin::default().give(one)).await.unwrap();
        let many = values.clone();
        let load = move |keys: Vec<u64>, _| {
            let many = many.clone();
            let value = move |key: u64| (key, many[usize::try_from(key).unwrap()].clone());
            Origin::default().give(keys.into_iter().map(value).collect::<Vec<_>>())
        };
        cache.get_or_load_many([1_u64, 2], load).await.unwrap();
        let mut sizes = Vec::new();
        for key in 0..3_u64 {
            let name = space.key("cache.route", key);
            let mut conn = at.conn(&name).await.unwrap();
            let name = std::str::from_utf8(name.as_bytes()).unwrap();
            sizes.push(conn.call(&["STRLEN", name]).await.unwrap().int().unwrap());
        }
        sizes
    };
    let whole = fill(&plain).await;
    assert!(whole[0] > 20_000 && whole[0] == whole[1], "{whole:?}");
    let packed = [Compression::Lz4, Compression::Zstd { level: 3 }].map(|how| {
        let codec = Codec::builder().compression(how).threshold(200).build().unwrap();
        (build(codec), true)
    });
    let json = build(Codec::builder().format(Format::Json).build().unwrap());
    for (cache, smaller) in packed.into_iter().chain([(json, false)]) {
        let sizes = fill(&cache).await;
        assert_eq!(sizes[0], sizes[1]);
        assert_eq!(sizes[0] < whole[0] / 10, smaller, "{sizes:?}");
        assert!(smaller == (sizes[2] == whole[2]), "{sizes:?}");
        // Whoever writes otherwise reads it, too.
        for cache in [&cache, &plain] {
            let nothing = |_: Vec<u64>, _| async { Ok::<[(u64, Route); 0], Infallible>([]) };
            let found = cache.get_or_load_many(0..3_u64, nothing).await.unwrap();
            for (found, value) in found.iter().zip(&values) {
                assert_eq!((found.value(), found.tier()), (Some(value), Tier::Redis));
            }
            let found = cache.get(0_u64).await.unwrap().unwrap();
            assert_eq!((found.value(), found.tier()), (Some(&large), Tier::Redis));
        }
    }
}
