//! What the shop keeps in Redis: products, and blocks of lists. This is all there is of the cache.
//!
//! Its futures are boxed here: they are many layers deep, and the shop adds its own, which together
//! is more than the compiler looks into by default.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use russet_cache::{Cache, LoadError, Lookup, Stats};
use russet_core_conn::{KeySpace, Part, Redis, Segments};
use serde::Serialize;

use crate::origin::{OriginError, Place, Product, ProductId};

/// How long a product lives.
pub const PRODUCT_TTL: Duration = Duration::from_secs(3_600);

/// How long a block of a list lives.
pub const BLOCK_TTL: Duration = Duration::from_secs(60);

/// For how long after that it is shown while it is read anew.
const BLOCK_GRACE: Duration = Duration::from_secs(30);

/// For how long an instance may not know what another one has changed.
pub const STALENESS: Duration = Duration::from_secs(1);

/// How many values of each kind an instance keeps in its own memory.
const KEPT: u64 = 10_000;

/// A value, and whether the database was not asked for it.
#[derive(Debug, Clone)]
pub struct Found<T> {
    /// The value.
    pub value: T,
    /// Whether it came from the cache whole.
    pub cached: bool,
}

/// A product to be read or removed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// Which product.
    pub id: ProductId,
    /// IATA code of its origin.
    pub origin: String,
    /// IATA code of its destination.
    pub destination: String,
}

/// Lookups by what answered them, since the instance began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tiers {
    /// The instance's own memory.
    pub memory: u64,
    /// Redis.
    pub redis: u64,
    /// Redis, with a value past its time.
    pub stale: u64,
    /// Calls of the database, each for whatever was missing at once.
    pub loads: u64,
    /// Lookups that Redis did not answer in time, which went on without it.
    pub unanswered: u64,
}

impl Tiers {
    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            memory: self.memory - earlier.memory,
            redis: self.redis - earlier.redis,
            stale: self.stale - earlier.stale,
            loads: self.loads - earlier.loads,
            unanswered: self.unanswered - earlier.unanswered,
        }
    }
}

/// The two caches of one database. Entries of another database are never seen.
#[derive(Debug)]
pub struct Shelves {
    database: String,
    products: Cache<Product>,
    blocks: Cache<Vec<u32>>,
}

/// A product's key, whichever path reads or fills it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ProductKey {
    database: String,
    wanted: Wanted,
}

impl Segments for ProductKey {
    fn each(&self, visit: impl FnMut(Part<'_>)) {
        let Wanted { id, origin, destination } = &self.wanted;
        product_key(&self.database, origin, destination, id.number).each(visit);
    }
}

fn product_key<'a>(
    database: &'a str,
    origin: &'a str,
    destination: &'a str,
    number: u32,
) -> (&'a str, &'a str, &'a str, u32) {
    (database, origin, destination, number)
}

impl Shelves {
    /// Caches for the database with this identity. Nothing is sent.
    pub fn new(
        redis: &Redis,
        database: &str,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let keys = KeySpace::new("storefront")?;
        // The shop can always go on without Redis, so no call waits for a connection that is away.
        let redis = redis.without_waiting();
        Ok(Self {
            database: database.to_owned(),
            products: Cache::builder(&redis, &keys, "product")
                .ttl(PRODUCT_TTL)
                .journal(STALENESS)
                .local(KEPT)
                .build()?,
            blocks: Cache::builder(&redis, &keys, "block")
                .ttl(BLOCK_TTL)
                .grace(BLOCK_GRACE)
                .journal(STALENESS)
                .local(KEPT)
                .build()?,
        })
    }

    /// What has answered.
    #[must_use]
    pub fn tiers(&self) -> Tiers {
        let (products, blocks) = (self.products.stats(), self.blocks.stats());
        let both = |of: fn(&Stats) -> u64| of(&products) + of(&blocks);
        Tiers {
            memory: both(|stats| stats.local),
            redis: both(|stats| stats.hits + stats.absent),
            stale: both(|stats| stats.stale),
            loads: both(|stats| stats.loads),
            unanswered: both(|stats| stats.unavailable),
        }
    }

    /// Removals that Redis has not taken yet, and that are repeated.
    pub(crate) fn owed(&self) -> u64 {
        self.products.stats().owed + self.blocks.stats().owed
    }

    pub(crate) async fn product<F>(
        &self,
        origin: &str,
        destination: &str,
        number: u32,
        load: impl FnOnce() -> F + Send + 'static,
    ) -> Result<Found<Option<Product>>, OriginError>
    where
        F: Future<Output = Result<Option<Product>, OriginError>> + Send + 'static,
    {
        let key = product_key(&self.database, origin, destination, number);
        let found =
            self.products.get_or_load(key, move |_| load()).boxed().await.map_err(origin_error)?;
        Ok(Found { value: found.value().cloned(), cached: found.is_hit() })
    }

    /// Several products in the order asked, without those that don't exist.
    pub(crate) async fn products<F>(
        &self,
        wanted: Vec<Wanted>,
        load: impl Fn(Vec<ProductId>) -> F + Send + Sync + 'static,
    ) -> Result<Found<Vec<Product>>, OriginError>
    where
        F: Future<Output = Result<Vec<Product>, OriginError>> + Send + 'static,
    {
        let keys = wanted.into_iter().map(|wanted| self.key(wanted));
        let load = move |missing: Vec<ProductKey>, _| {
            let loading = load(missing.iter().map(|key| key.wanted.id).collect());
            async move {
                let mut products = loading.await?;
                Ok(missing.into_iter().filter_map(move |key| {
                    let at = products.iter().position(|product| product.id() == key.wanted.id)?;
                    Some((key, products.swap_remove(at)))
                }))
            }
        };
        let found =
            self.products.get_or_load_many(keys, load).boxed().await.map_err(origin_error)?;
        let value = found.iter().filter_map(|lookup| lookup.value().cloned()).collect();
        Ok(Found { value, cached: found.iter().all(Lookup::is_hit) })
    }

    /// Blocks of a list in the order asked.
    pub(crate) async fn blocks<F>(
        &self,
        place: &Place,
        blocks: &[u32],
        load: impl Fn(Vec<u32>) -> F + Send + Sync + 'static,
    ) -> Result<Found<Vec<Vec<u32>>>, OriginError>
    where
        F: Future<Output = Result<Vec<Vec<u32>>, OriginError>> + Send + 'static,
    {
        let keys = blocks.iter().map(|block| self.block_key(place, *block));
        let load = move |missing: Vec<BlockKey>, _| {
            let loading = load(missing.iter().map(|key| key.3).collect());
            async move { Ok(missing.into_iter().zip(loading.await?)) }
        };
        let found = self.blocks.get_or_load_many(keys, load).boxed().await.map_err(origin_error)?;
        let value =
            found.iter().map(|lookup| lookup.value().cloned().unwrap_or_default()).collect();
        Ok(Found { value, cached: found.iter().all(Lookup::is_hit) })
    }

    /// Whether it is certain that the product is no longer cached.
    pub(crate) async fn remove_product(&self, wanted: Wanted) -> bool {
        let removed = self.products.remove(self.key(wanted)).boxed().await;
        removed
            .inspect_err(|error| tracing::debug!(%error, "a removal is repeated until it is taken"))
            .is_ok()
    }

    /// Whether it is certain that none of the first `count` blocks of the place is still cached.
    pub(crate) async fn remove_blocks(&self, place: &Place, count: u32) -> bool {
        let keys = (0..count).map(|block| self.block_key(place, block));
        let removed = self.blocks.remove_many(keys).boxed().await;
        removed
            .inspect_err(|error| tracing::debug!(%error, "a removal is repeated until it is taken"))
            .is_ok()
    }

    fn key(&self, wanted: Wanted) -> ProductKey {
        ProductKey { database: self.database.clone(), wanted }
    }

    fn block_key(&self, place: &Place, block: u32) -> BlockKey {
        let (kind, name) = match place {
            Place::Airport(iata) => ("airport", iata),
            Place::State(state) => ("state", state),
        };
        (self.database.clone(), kind, name.clone(), block)
    }
}

/// Database, kind of place, its name, number of the block.
type BlockKey = (String, &'static str, String, u32);

fn origin_error(error: LoadError<OriginError>) -> OriginError {
    error.into_loader().map_or(OriginError::Interrupted, Arc::unwrap_or_clone)
}
