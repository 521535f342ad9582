//! The breaker before a service.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use russet_core_conn::{KeySpace, Redis, Trip};
use russet_ratelimit::{FleetBreaker, FleetBreakerError, FleetBreakerLayer};
use tower::{Layer, ServiceExt, service_fn};

#[tokio::test]
async fn what_is_refused_never_reaches_the_service() {
    let redis = Redis::builder("redis://127.0.0.1:1").build().unwrap();
    let space = KeySpace::new("shop").unwrap();
    let breaker: FleetBreaker<String> = FleetBreaker::builder(&redis, &space, "service", "a")
        .trips([Trip::Consecutive(2)])
        .build()
        .unwrap();
    let called = Arc::new(AtomicUsize::new(0));
    let service = {
        let called = called.clone();
        FleetBreakerLayer::new(&breaker).layer(service_fn(move |request: u32| {
            called.fetch_add(1, SeqCst);
            async move { if request > 0 { Ok(request) } else { Err("zero".to_owned()) } }
        }))
    };
    assert_eq!(service.clone().oneshot(7).await, Ok(7));
    for _ in 0..2 {
        let failed = service.clone().oneshot(0).await;
        assert_eq!(failed, Err(FleetBreakerError::Call("zero".to_owned())));
    }
    let refused = service.oneshot(7).await;
    assert!(matches!(refused, Err(FleetBreakerError::Rejected(_))), "{refused:?}");
    assert_eq!(called.load(SeqCst), 3);
}
