//! The whole application: opened in order, closed in the opposite one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use russet_core_conn::{Backoff, KeySpace, Redis};
use russet_ratelimit::FleetBreaker;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::catalog::{Catalog, CatalogError};
use crate::connection;
use crate::feed::Feed;
use crate::flood::{self, Flood};
use crate::http::{self, Site};
use crate::ledger::Ledger;
use crate::limits;
use crate::load::{Draw, Load, Mix, Popularity, Progress};
use crate::origin::{Origin, OriginError, fill};
use crate::shelves::{PRODUCT_TTL, STALENESS, Shelves};
use crate::shop::{Common, Shop};

/// How long requests may take that are on their way when the web server ends.
const WEB_DRAIN: Duration = Duration::from_secs(5);

/// How many instances of the shop there are, each with its own connection and memory.
const INSTANCES: usize = 2;

/// How long the database is left alone after it has failed too often.
const OPEN_FOR: Duration = Duration::from_secs(2);

/// How often instances say of the database's breaker that they are there.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// How often it is looked whether owed removals were made good.
const SETTLE_EVERY: Duration = Duration::from_millis(500);

/// What the application needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// URL of the Redis server.
    pub redis: String,
    /// Where the first instance listens; port 0 takes a free one, as the others do.
    pub listen: SocketAddr,
    /// Products in all, at least one for each route.
    pub products: u32,
    /// Requests a second of the load; 0 is none.
    pub rate: u32,
    /// Which routes the load asks for.
    pub popularity: Popularity,
    /// What the load asks for.
    pub mix: Mix,
    /// Folder of the database; `None` is a temporary one.
    pub data: Option<PathBuf>,
    /// Added to every database read.
    pub origin_delay: Duration,
    /// Seed of the load.
    pub seed: u64,
}

/// The application can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AppError {
    /// The embedded data is broken.
    #[error("the embedded data can't be used")]
    Catalog(#[from] CatalogError),
    /// The database can't be filled or opened.
    #[error("the database can't be used")]
    Origin(#[from] OriginError),
    /// The URL or an option is wrong.
    #[error("the connection to Redis can't be set up")]
    Redis(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The mix or exponent of the load is wrong.
    #[error("the load can't be drawn")]
    Draw(#[from] rand::distr::weighted::Error),
    /// A histogram can't be made.
    #[error("latencies can't be measured")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// A folder or socket can't be used.
    #[error("{what} can't be used")]
    Io {
        /// Which one.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A shop that runs.
#[derive(Debug)]
pub struct App {
    instances: Vec<Instance>,
    feed: Feed,
    progress: Arc<Progress>,
    load: Task,
    background: Vec<Task>,
    // Dropped last: the database lies in it.
    folder: Folder,
}

#[derive(Debug)]
struct Instance {
    address: SocketAddr,
    shop: Shop,
    redis: Redis,
    web: Task,
}

#[derive(Debug)]
struct Task {
    end: CancellationToken,
    handle: JoinHandle<()>,
}

#[derive(Debug)]
enum Folder {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl App {
    /// Opens everything, and begins the load. `filled` hears how many products are in the
    /// database while it is filled.
    pub async fn open(
        settings: Settings,
        filled: impl FnMut(u32) + Send + 'static,
    ) -> Result<Self, AppError> {
        let connect = || connect(&settings.redis);
        let handles = (0..INSTANCES).map(|_| connect()).collect::<Result<Vec<_>, _>>()?;
        // Before anybody connects: what is not heard is not shown.
        let events: Vec<_> = handles.iter().map(Redis::events).collect();
        let catalog = Arc::new(Catalog::load()?);
        let folder = Folder::open(settings.data.as_deref())?;
        let (products, delay) = (settings.products, settings.origin_delay);
        let origin = {
            let (catalog, path) = (Arc::clone(&catalog), folder.path().to_owned());
            let open = move || -> Result<Origin, OriginError> {
                Origin::open(&fill::prepare(&catalog, &path, products, filled)?, delay)
            };
            tokio::task::spawn_blocking(open).await.map_err(|_| OriginError::Interrupted)??
        };
        let departures = fill::departures(&catalog, products);
        let ledger = Ledger::new(origin.all_fares().await?, &departures, PRODUCT_TTL, STALENESS);
        let draw = Draw::new(&catalog, &departures, settings.popularity, settings.mix)?;
        let identity = origin.identity().to_owned();
        let common = Arc::new(Common::new(catalog, departures, origin, ledger)?);
        let shop = |(number, redis)| {
            let shelves = Shelves::new(redis, &identity).map_err(AppError::Redis)?;
            let breaker = breaker(redis, &identity, number).map_err(AppError::Redis)?;
            Ok(Shop::new(number, Arc::clone(&common), shelves, breaker))
        };
        let shops: Vec<Shop> =
            handles.iter().enumerate().map(shop).collect::<Result<_, AppError>>()?;
        let mut background = Vec::new();
        for (shop, events) in shops.iter().zip(events) {
            background.push(Task::spawn(|end| settle(shop.clone(), end)));
            background.push(Task::spawn(|end| connection::watch(events, shop.clone(), end)));
        }
        let progress = Arc::new(Progress::new(settings.rate)?);
        let feed = Feed::new(shops.clone(), Arc::clone(&progress));
        background.push(Task::spawn(|end| feed.clone().run(end)));

        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for number in 0..INSTANCES {
            let port = if number == 0 { settings.listen.port() } else { 0 };
            let (listener, address) = listen((settings.listen.ip(), port).into()).await?;
            listeners.push(listener);
            addresses.push(address);
        }
        let flooding = Arc::new(Semaphore::new(1));
        let mut instances = Vec::new();
        for ((shop, redis), listener) in shops.iter().zip(handles).zip(listeners) {
            let limits = limits::layer(&redis, INSTANCES as u32).map_err(AppError::Redis)?;
            let site = |end| Site {
                shop: shop.clone(),
                shops: shops.clone(),
                feed: feed.clone(),
                progress: Arc::clone(&progress),
                addresses: addresses.as_slice().into(),
                flooding: Arc::clone(&flooding),
                limits,
                end,
            };
            let (address, web) = (addresses[instances.len()], serve(listener, site));
            instances.push(Instance { address, shop: shop.clone(), redis, web });
        }
        let load = Load::new(shops, draw, Arc::clone(&progress), addresses, settings.seed);
        let load = Task::spawn(|end| load.run(end));
        Ok(Self { instances, feed, progress, load, background, folder })
    }

    /// Where the instances listen. The dashboard is at each of them.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.instances.iter().map(|instance| instance.address)
    }

    /// The instances.
    pub fn shops(&self) -> impl Iterator<Item = &Shop> {
        self.instances.iter().map(|instance| &instance.shop)
    }

    /// The first of them; what they have in common is in any.
    #[must_use]
    pub fn shop(&self) -> &Shop {
        &self.instances[0].shop
    }

    /// What browsers hear.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// What the load has counted.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// The temporary folder that [`App::close`] removes.
    #[must_use]
    pub fn temporary(&self) -> Option<&Path> {
        match &self.folder {
            Folder::Kept(_) => None,
            Folder::Temporary(folder) => Some(folder.path()),
        }
    }

    /// Floods the busiest route from one client, for so long.
    pub fn flood(&self, lasts: Duration) -> impl Future<Output = Flood> + use<> {
        let addresses: Vec<_> = self.addresses().collect();
        let catalog = Arc::clone(self.shop().catalog());
        async move { flood::run(&addresses, &catalog, lasts).await }
    }

    /// Ends the load and waits for the answers that are on their way. The shop goes on.
    pub async fn end_load(&mut self) {
        self.load.end.cancel();
        // It was awaited before: fine.
        if !self.load.handle.is_finished() {
            drop((&mut self.load.handle).await);
        }
    }

    /// Ends everything in order: the load, the web server with the requests on their way, and
    /// last Redis, which those requests still need. Removes temporary data.
    pub async fn close(mut self) {
        self.end_load().await;
        self.instances.iter().for_each(|instance| instance.web.end.cancel());
        let over = Instant::now() + WEB_DRAIN;
        for Instance { web, .. } in &mut self.instances {
            if tokio::time::timeout_at(over, &mut web.handle).await.is_err() {
                web.handle.abort();
            }
        }
        join_all(self.instances.iter().map(|instance| instance.shop.leave_fleet())).await;
        for Instance { redis, .. } in &mut self.instances {
            let report = redis.close().await;
            if !report.is_clean() {
                tracing::warn!(?report, "some calls to Redis were left undone");
            }
        }
        for task in &mut self.background {
            task.end.cancel();
            drop((&mut task.handle).await);
        }
        if let Folder::Temporary(folder) = self.folder
            && let Err(error) = folder.close()
        {
            tracing::warn!(%error, "temporary data could not be removed");
        }
    }
}

impl Task {
    fn spawn<F: Future<Output = ()> + Send + 'static>(
        begin: impl FnOnce(CancellationToken) -> F,
    ) -> Self {
        let end = CancellationToken::new();
        let handle = tokio::spawn(begin(end.clone()));
        Self { end, handle }
    }
}

impl Folder {
    fn open(data: Option<&Path>) -> Result<Self, AppError> {
        match data {
            Some(path) => Ok(Self::Kept(path.to_owned())),
            None => {
                let made = tempfile::Builder::new().prefix("storefront-").tempdir();
                let cannot =
                    |source| AppError::Io { what: "the temporary folder".to_owned(), source };
                Ok(Self::Temporary(made.map_err(cannot)?))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// Listens there.
async fn listen(at: SocketAddr) -> Result<(TcpListener, SocketAddr), AppError> {
    let cannot = |source| AppError::Io { what: at.to_string(), source };
    let listener = TcpListener::bind(at).await.map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    Ok((listener, address))
}

/// Serves what `site` is.
fn serve(listener: TcpListener, site: impl FnOnce(CancellationToken) -> Site) -> Task {
    Task::spawn(|end| {
        let router = http::router(site(end.clone()));
        // Limits ask for the peer's address.
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        async move {
            let served =
                axum::serve(listener, service).with_graceful_shutdown(end.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "the web server ended");
            }
        }
    })
}

/// The breaker before the database, which all instances share.
fn breaker(
    redis: &Redis,
    database: &str,
    number: usize,
) -> Result<FleetBreaker<OriginError>, Box<dyn std::error::Error + Send + Sync>> {
    let keys = KeySpace::new("storefront")?;
    let (name, node) = (format!("database.{database}"), format!("instance-{number}"));
    let breaker = FleetBreaker::builder(&redis.without_waiting(), &keys, &name, &node);
    Ok(breaker.open_for(OPEN_FOR).heartbeat(HEARTBEAT).build()?)
}

/// A lazy handle. It never gives up: the shop goes on without Redis for as long as it takes.
fn connect(url: &str) -> Result<Redis, AppError> {
    Redis::builder(url)
        .connection_name("storefront")
        .reconnect(Backoff::exponential(Duration::from_millis(50), Duration::from_millis(500)))
        .build()
        .map_err(|error| AppError::Redis(error.into()))
}

/// Notes what the cache has made good.
async fn settle(shop: Shop, end: CancellationToken) {
    while end.run_until_cancelled(tokio::time::sleep(SETTLE_EVERY)).await.is_some() {
        if shop.owed() > 0 {
            shop.settle();
        }
    }
}
