//! A stampede on purpose: one fare is taken out of the cache, and all ask for it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde::Serialize;

use crate::ledger::Verdict;
use crate::origin::{OriginError, ProductId};
use crate::shop::Shop;

/// How many ask at once, over all instances.
pub const CALLERS: u32 = 1_000;

/// What the database takes for it: as much as a busy one would.
const SLOW: Duration = Duration::from_millis(200);

/// What a stampede came to.
#[derive(Debug, Clone, Serialize)]
pub struct Stampede {
    /// What all asked for.
    pub product: ProductId,
    /// How many asked, over how many instances.
    pub callers: u32,
    /// See `callers`.
    pub instances: usize,
    /// How often the database was asked for it: once, and once more for those who went on without
    /// Redis.
    pub queries: u32,
    /// Lookups meanwhile that Redis did not answer in time.
    pub unanswered: u64,
    /// How many had the fare that it has.
    pub right: u32,
    /// From the first question to the last answer, in milliseconds.
    pub took_ms: u64,
}

/// Takes the first departure of a route out of the cache, and lets [`CALLERS`] ask for it at once.
pub async fn run(shops: &[Shop], route: u32) -> Result<Stampede, OriginError> {
    let id = ProductId { route, number: 1 };
    let queries = Arc::new(AtomicU32::new(0));
    if let Some(shop) = shops.first() {
        shop.forget(id).await;
    }
    let unanswered = || shops.iter().map(|shop| shop.tiers().unanswered).sum::<u64>();
    let (before, began) = (unanswered(), Instant::now());
    let callers = shops.iter().cycle().take(CALLERS as usize).map(|shop| {
        let (shop, queries) = (shop.clone(), Arc::clone(&queries));
        tokio::spawn(async move { shop.slow_product(id, SLOW, queries).await })
    });
    let answers = try_join_all(callers).await.map_err(|_| OriginError::Interrupted)?;
    let took = began.elapsed();
    let mut right = 0;
    for (answer, shop) in answers.into_iter().zip(shops.iter().cycle()) {
        let fare = answer?.map(|product| product.fare_cents);
        let verdict =
            fare.map(|fare| shop.ledger().check(id, fare, shop.number(), began, Instant::now()));
        right += u32::from(verdict.is_some_and(Verdict::is_right));
    }
    Ok(Stampede {
        product: id,
        callers: CALLERS,
        instances: shops.len(),
        queries: queries.load(Relaxed),
        unanswered: unanswered() - before,
        right,
        took_ms: took.as_millis() as u64,
    })
}
