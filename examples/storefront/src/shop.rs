//! The shop: products and lists through the cache, fare changes past it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use russet_ratelimit::{FleetBreaker, FleetBreakerError, Standing};
use serde::Serialize;

use crate::catalog::Catalog;
use crate::connection::Timeline;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::origin::{Origin, OriginError, Place, Product, ProductId};
use crate::shelves::{Found, Shelves, Tiers, Wanted};

/// Routes in one cached block of a list, and the default length of a page.
pub const BLOCK: u32 = 20;

/// An answer, and what it took.
#[derive(Debug, Clone)]
pub struct Served<T> {
    /// The answer.
    pub value: T,
    /// Whether the database was not asked.
    pub from_cache: bool,
    /// Queries that it would have taken without a cache.
    pub without_cache: u32,
}

/// Part of a list of departures.
#[derive(Debug, Clone, Serialize)]
pub struct Page {
    /// Which page, from 1.
    pub page: u32,
    /// Products on a full page.
    pub per_page: u32,
    /// The last page; 1 also when the list is empty.
    pub pages: u32,
    /// Products in the whole list.
    pub total: u32,
    /// The products of this page, cheapest first.
    pub items: Vec<Product>,
}

/// What became of a fare change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    /// Written, and no longer in the cache.
    Removed,
    /// Written; Redis could not be reached. The cache repeats the removal until it can, and gives
    /// nothing of the product before.
    Owed,
}

/// One instance of the shop. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shop {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    number: usize,
    common: Arc<Common>,
    shelves: Shelves,
    breaker: FleetBreaker<OriginError>,
    timeline: Timeline,
    /// When the last removal began that was not acknowledged, by product.
    owed: Mutex<HashMap<ProductId, Instant>>,
}

/// What all instances have in common: the database, and what judges and measures them.
#[derive(Debug)]
pub struct Common {
    catalog: Arc<Catalog>,
    departures: Vec<u32>,
    origin: Origin,
    ledger: Ledger,
    metrics: Metrics,
    writing: tokio::sync::Mutex<()>,
}

impl Common {
    /// So many `departures` of each route in `origin`, whose fares `ledger` has.
    pub fn new(
        catalog: Arc<Catalog>,
        departures: Vec<u32>,
        origin: Origin,
        ledger: Ledger,
    ) -> Result<Self, hdrhistogram::CreationError> {
        let metrics = Metrics::new(catalog.routes.len())?;
        Ok(Self { catalog, departures, origin, ledger, metrics, writing: Default::default() })
    }
}

impl Shop {
    /// The instance of this number, which reads the database through `shelves`, and asks it only while `breaker` lets it.
    #[must_use]
    pub fn new(
        number: usize,
        common: Arc<Common>,
        shelves: Shelves,
        breaker: FleetBreaker<OriginError>,
    ) -> Self {
        let (timeline, owed) = (Timeline::default(), Mutex::default());
        Self { inner: Arc::new(Inner { number, common, shelves, breaker, timeline, owed }) }
    }

    /// Which instance it is, from 0.
    #[must_use]
    pub fn number(&self) -> usize {
        self.inner.number
    }

    /// The breaker before the database, as this instance knows it.
    #[must_use]
    pub fn breaker(&self) -> Standing {
        self.inner.breaker.state()
    }

    /// Takes this instance out of the fleet whose breaker it is.
    pub async fn leave_fleet(&self) {
        if let Err(error) = self.inner.breaker.shutdown().await {
            tracing::debug!(%error, "the fleet was not told");
        }
    }

    /// What has answered its lookups.
    #[must_use]
    pub fn tiers(&self) -> Tiers {
        self.inner.shelves.tiers()
    }

    /// One product by the codes of its airports (in capitals), or that there is none. One round
    /// trip for a hit.
    pub async fn product(
        &self,
        origin: &str,
        destination: &str,
        number: u32,
    ) -> Result<Served<Option<Product>>, OriginError> {
        let route = self.inner.common.catalog.route(origin, destination);
        let (shop, from, to) = (self.clone(), origin.to_owned(), destination.to_owned());
        let load = move || async move { shop.load_product(from, to, number).await };
        let found = self.inner.shelves.product(origin, destination, number, load).await?;
        if let Some(route) = route {
            self.inner.common.metrics.lit(route, found.cached);
        }
        Ok(Served { value: found.value, from_cache: found.cached, without_cache: 1 })
    }

    /// Page `page` (from 1) of the departures from `place`. Two round trips for a hit: one for the
    /// list, one for its products, which are the entries that route pages use too.
    pub async fn departures(
        &self,
        place: Place,
        page: u32,
        per_page: u32,
    ) -> Result<Served<Page>, OriginError> {
        let total = self.routes_from(&place).len() as u32;
        let skip = (page - 1) * per_page;
        let take = per_page.min(total.saturating_sub(skip));
        let pages = total.div_ceil(per_page).max(1);
        let page = Page { page, per_page, pages, total, items: Vec::new() };
        if take == 0 {
            return Ok(Served { value: page, from_cache: true, without_cache: 0 });
        }

        let blocks: Vec<u32> = (skip / BLOCK..=(skip + take - 1) / BLOCK).collect();
        let (shop, from) = (self.clone(), place.clone());
        let load = move |missing| {
            let (shop, from) = (shop.clone(), from.clone());
            async move { shop.load_blocks(from, missing).await }
        };
        let lists = self.inner.shelves.blocks(&place, &blocks, load).await?;
        let before = (skip % BLOCK) as usize;
        let listed = lists.value.concat().into_iter().skip(before).take(take as usize);
        let ids: Vec<ProductId> = listed.map(|route| ProductId { route, number: 1 }).collect();

        let items = self.products(&ids).await?;
        Ok(Served {
            from_cache: lists.cached && items.cached,
            value: Page { items: items.value, ..page },
            without_cache: 2,
        })
    }

    /// Sets a fare: writes the database, then removes the product and the lists that show it from
    /// the cache. `None` if there is no such product. Once begun it goes on to its end, also if
    /// the caller goes away.
    pub async fn change_fare(
        &self,
        id: ProductId,
        fare_cents: u32,
    ) -> Result<Option<Removal>, OriginError> {
        let shop = self.clone();
        let change = async move { shop.write_fare(id, fare_cents).await };
        tokio::spawn(change).await.map_err(|_| OriginError::Interrupted)?
    }

    /// Tells the ledger what the cache has made good by now; gives how many removals are left.
    pub fn settle(&self) -> usize {
        // First of all: what comes up from here on is not meant.
        let owed = self.lock_owed().clone();
        if self.inner.shelves.owed() == 0 {
            owed.into_iter().for_each(|(id, began)| self.settled(id, began));
        }
        self.owed()
    }

    /// Fare changes whose removal from the cache is owed.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.lock_owed().len()
    }

    /// Routes that leave `place`; none for a place that there is not.
    #[must_use]
    pub fn routes_from(&self, place: &Place) -> &[u32] {
        match place {
            Place::Airport(iata) => self.inner.common.catalog.routes_from(iata),
            Place::State(state) => {
                self.inner.common.catalog.routes_from_state(state).unwrap_or(&[])
            }
        }
    }

    /// Departures of a route.
    #[must_use]
    pub fn departures_of(&self, route: u32) -> u32 {
        self.inner.common.departures.get(route as usize).copied().unwrap_or(0)
    }

    /// Products of all routes.
    #[must_use]
    pub fn products_in_all(&self) -> u64 {
        self.inner.common.departures.iter().map(|count| u64::from(*count)).sum()
    }

    /// Compares the database with the ledger: how many changed fares differ. Not counted as
    /// queries.
    pub async fn audit(&self) -> Result<usize, OriginError> {
        let changed = self.inner.common.ledger.changed();
        self.inner.common.origin.differing(changed).await
    }

    /// The airports and routes.
    #[must_use]
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.inner.common.catalog
    }

    /// The database.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.inner.common.origin
    }

    /// The history of fares.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.inner.common.ledger
    }

    /// What the shop measures.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.common.metrics
    }

    /// What happened to the connection.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.inner.timeline
    }

    /// Takes a product out of the cache; whether that is certain.
    pub(crate) async fn forget(&self, id: ProductId) -> bool {
        self.inner.shelves.remove_product(self.wanted(id)).await
    }

    /// A product from a database that takes so much longer, which counts how often it is asked.
    pub(crate) async fn slow_product(
        &self,
        id: ProductId,
        slow: Duration,
        queries: Arc<AtomicU32>,
    ) -> Result<Option<Product>, OriginError> {
        let Wanted { origin, destination, .. } = self.wanted(id);
        let (shop, from, to) = (self.clone(), origin.clone(), destination.clone());
        let load = move || async move {
            queries.fetch_add(1, Relaxed);
            tokio::time::sleep(slow).await;
            shop.load_product(from, to, id.number).await
        };
        let found = self.inner.shelves.product(&origin, &destination, id.number, load).await?;
        Ok(found.value)
    }

    fn wanted(&self, id: ProductId) -> Wanted {
        let (from, to) = self.inner.common.catalog.ends(id.route);
        Wanted { id, origin: from.iata.clone(), destination: to.iata.clone() }
    }

    async fn products(&self, ids: &[ProductId]) -> Result<Found<Vec<Product>>, OriginError> {
        let wanted: Vec<Wanted> = ids.iter().map(|id| self.wanted(*id)).collect();
        let shop = self.clone();
        let load = move |missing| {
            let shop = shop.clone();
            async move { shop.load_products(missing).await }
        };
        self.inner.shelves.products(wanted, load).await
    }

    async fn load_product(
        &self,
        origin: String,
        destination: String,
        number: u32,
    ) -> Result<Option<Product>, OriginError> {
        self.guarded(self.inner.common.origin.product(origin, destination, number)).await
    }

    async fn load_products(&self, ids: Vec<ProductId>) -> Result<Vec<Product>, OriginError> {
        self.guarded(self.inner.common.origin.products(ids)).await
    }

    /// A read of the database, if the breaker lets it.
    async fn guarded<T>(
        &self,
        read: impl Future<Output = Result<T, OriginError>>,
    ) -> Result<T, OriginError> {
        self.inner.breaker.execute(read).await.map_err(|error| match error {
            FleetBreakerError::Call(error) => error,
            FleetBreakerError::Rejected(_) => OriginError::Refused,
        })
    }

    /// Loads blocks in the order asked, by one query for the span that holds them all.
    async fn load_blocks(
        &self,
        place: Place,
        blocks: Vec<u32>,
    ) -> Result<Vec<Vec<u32>>, OriginError> {
        let first = blocks.iter().min().copied().unwrap_or(0);
        let last = blocks.iter().max().copied().unwrap_or(0);
        let origin = &self.inner.common.origin;
        let all = (last - first + 1) * BLOCK;
        let span = self.guarded(origin.cheapest(place, first * BLOCK, all)).await?;
        let block = |n: &u32| span.iter().skip(((n - first) * BLOCK) as usize).take(BLOCK as usize);
        Ok(blocks.iter().map(|n| block(n).copied().collect()).collect())
    }

    async fn write_fare(
        &self,
        id: ProductId,
        fare_cents: u32,
    ) -> Result<Option<Removal>, OriginError> {
        {
            // One change at a time, so that the ledger knows the order of the writes.
            let _turn = self.inner.common.writing.lock().await;
            self.inner.common.ledger.changing(id, fare_cents, self.number(), Instant::now());
            let written = self.inner.common.origin.set_fare(id, fare_cents).await;
            if !matches!(written, Ok(true)) {
                self.inner.common.ledger.abandoned(id);
                return written.map(|_| None);
            }
            self.inner.common.ledger.written(id, Instant::now());
        }
        Ok(Some(if self.remove(id).await { Removal::Removed } else { Removal::Owed }))
    }

    /// Removes the product and the lists that show it; whether that is certain.
    async fn remove(&self, id: ProductId) -> bool {
        let (from, _) = self.inner.common.catalog.ends(id.route);
        // Lists show the first departure of each route and are sorted by its fare.
        let shown: &[Place] = if id.number == 1 {
            &[Place::Airport(from.iata.clone()), Place::State(from.state.clone())]
        } else {
            &[]
        };
        // A change that is written from here on has its own removal.
        let began = Instant::now();
        let mut removed = self.forget(id).await;
        // What is not acknowledged the cache repeats, so all of it must be asked for.
        for place in shown {
            let blocks = (self.routes_from(place).len() as u32).div_ceil(BLOCK);
            removed &= self.inner.shelves.remove_blocks(place, blocks).await;
        }
        if removed {
            self.settled(id, began);
        } else {
            let mut owed = self.lock_owed();
            let last = owed.entry(id).or_insert(began);
            *last = began.max(*last);
        }
        removed
    }

    /// A removal that began then is acknowledged, and with it all before.
    fn settled(&self, id: ProductId, began: Instant) {
        self.inner.common.ledger.settled(id, began, Instant::now());
        let mut owed = self.lock_owed();
        if owed.get(&id).is_some_and(|last| *last <= began) {
            owed.remove(&id);
        }
    }

    fn lock_owed(&self) -> std::sync::MutexGuard<'_, HashMap<ProductId, Instant>> {
        self.inner.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
