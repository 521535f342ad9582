//! How much there is, by a sample.

use futures_util::future::join_all;
use russet_cache::Cache;
use russet_core_conn::KeySpace;
use russet_testkit::contract;
use russet_testkit::shared::{self, Topology};

use crate::support::{ACL, patient};

contract!(a_sample_tells_how_much_there_is);
async fn a_sample_tells_how_much_there_is(at: Topology) {
    let prefix = shared::prefix("size");
    let url = at.url_as(ACL, &prefix, &["+randomkey", "+dbsize", "+memory|usage"]).await.unwrap();
    let (redis, space) = (patient(&url), KeySpace::new(prefix).unwrap());
    let [cache, other] = ["size", "size2"]
        .map(|name| Cache::<String>::builder(&redis, &space, name).build().unwrap());
    assert_eq!(cache.size(10).await.unwrap().keys, 0);
    let (many, value) = (4_000_u32, "v".repeat(400));
    for keys in (0..many).collect::<Vec<_>>().chunks(500) {
        join_all(keys.iter().map(async |key| {
            cache.insert(key, value.clone()).await.unwrap();
            other.insert(key, String::new()).await.unwrap();
        }))
        .await;
    }
    let size = cache.size(2_000).await.unwrap();
    let (keys, error) = (size.keys as f64, size.error.unwrap());
    // Five standard errors: less often than once in a million. Others have keys there, too.
    assert!((keys / f64::from(many) - 1.0).abs() <= 5.0 * error, "{size:?}");
    assert!((0.005..=0.1).contains(&error), "{size:?}");
    assert!(size.share > 0.05 && size.share < 0.6, "{size:?}");
    let mean = size.bytes as f64 / keys;
    assert!((430.0..=700.0).contains(&mean), "{size:?}");
}
