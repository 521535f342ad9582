//! The database behind the cache: SQLite, a few read connections and one writer, all on blocking
//! threads. Every read is counted, because saving them is what the cache is for.

pub mod fill;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Read connections, so queries that run at the same time.
const READERS: usize = 4;

/// How long a query may wait for a read connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Names a product: departure `number` (from 1) of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProductId {
    /// The route's id in the catalog.
    pub route: u32,
    /// Which of the route's departures, from 1.
    pub number: u32,
}

/// What the shop sells: a departure of a route, as it is in the database and in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// The route's id in the catalog.
    pub route: u32,
    /// Which of the route's departures, from 1.
    pub number: u32,
    /// IATA code.
    pub origin: String,
    /// IATA code.
    pub destination: String,
    /// Departures of this route in all.
    pub departures: u32,
    /// Minutes after the beginning of 1 January 2008.
    pub departs: u32,
    /// Fare in US cents.
    pub fare_cents: u32,
    /// Seats left.
    pub seats: u32,
    /// Great-circle distance.
    pub distance_km: u32,
    /// Flights on the route in 2008.
    pub flights: u32,
}

impl Product {
    /// Which product this is.
    #[must_use]
    pub fn id(&self) -> ProductId {
        ProductId { route: self.route, number: self.number }
    }
}

/// Which departures a list shows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Place {
    /// From one airport, by its IATA code.
    Airport(String),
    /// From all airports of one state, by its two letters.
    State(String),
}

/// A query could not be answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OriginError {
    /// SQLite refused.
    #[error("the database refused: {0}")]
    Sqlite(String),
    /// All read connections stayed busy.
    #[error("no read connection was free within {PATIENCE:?}")]
    Busy,
    /// It has failed too often just now: the breaker before it is open.
    #[error("the database is not asked for a while, because it has failed too often")]
    Refused,
    /// The thread that ran the query ended early.
    #[error("the query was interrupted")]
    Interrupted,
    /// The file or its folder can't be used.
    #[error("can't use {path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl From<rusqlite::Error> for OriginError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error.to_string())
    }
}

/// The database. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Origin {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    readers: Mutex<Vec<Connection>>,
    free: Arc<Semaphore>,
    writer: Mutex<Connection>,
    queries: AtomicU64,
    delay: Duration,
    identity: String,
}

impl Origin {
    /// Opens a filled database (see [`fill`]). `delay` is added to every read, to imitate a
    /// slower database; zero adds nothing.
    pub fn open(path: &Path, delay: Duration) -> Result<Self, OriginError> {
        let writer = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "NORMAL")?;
        let identity =
            writer.query_row("SELECT value FROM meta WHERE name = 'identity'", [], |r| r.get(0))?;
        let readers = (0..READERS).map(|_| reader(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            inner: Arc::new(Inner {
                readers: Mutex::new(readers),
                free: Arc::new(Semaphore::new(READERS)),
                writer: Mutex::new(writer),
                queries: AtomicU64::new(0),
                delay,
                identity,
            }),
        })
    }

    /// A random word made when this database was filled: what is cached belongs to it.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.inner.identity
    }

    /// Reads answered so far.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.inner.queries.load(Ordering::Relaxed)
    }

    /// One product by the codes of its two airports. One query.
    pub async fn product(
        &self,
        origin: String,
        destination: String,
        number: u32,
    ) -> Result<Option<Product>, OriginError> {
        self.read(move |db| {
            db.prepare_cached(ONE_PRODUCT)?
                .query_row(params![origin, destination, number], product)
                .optional()
        })
        .await
    }

    /// Several products, in any order, without those that don't exist. One query.
    pub async fn products(&self, ids: Vec<ProductId>) -> Result<Vec<Product>, OriginError> {
        let wanted: Vec<[u32; 2]> = ids.iter().map(|id| [id.route, id.number]).collect();
        let wanted = serde_json::json!(wanted).to_string();
        self.read(move |db| {
            db.prepare_cached(MANY_PRODUCTS)?.query_map([wanted], product)?.collect()
        })
        .await
    }

    /// Ids of the routes that leave `place`, cheapest first departure first, from `skip` on, at
    /// most `take`. One query, which has to sort all of the place's routes.
    pub async fn cheapest(
        &self,
        place: Place,
        skip: u32,
        take: u32,
    ) -> Result<Vec<u32>, OriginError> {
        let (column, name) = match place {
            Place::Airport(iata) => ("iata", iata),
            Place::State(state) => ("state", state),
        };
        self.read(move |db| {
            db.prepare_cached(&format!(
                "SELECT r.id FROM airports o CROSS JOIN routes r ON r.origin = o.id \
                 CROSS JOIN departures p ON p.route = r.id AND p.number = 1 \
                 WHERE o.{column} = ?1 ORDER BY p.fare_cents, r.id LIMIT ?2 OFFSET ?3"
            ))?
            .query_map(params![name, take, skip], |row| row.get(0))?
            .collect()
        })
        .await
    }

    /// Sets a fare; `false` if there is no such product. Not counted as a read.
    pub async fn set_fare(&self, id: ProductId, fare_cents: u32) -> Result<bool, OriginError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let writer = inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let changed = writer
                .prepare_cached(
                    "UPDATE departures SET fare_cents = ?3 WHERE route = ?1 AND number = ?2",
                )?
                .execute(params![id.route, id.number, fare_cents])?;
            Ok(changed == 1)
        })
        .await
    }

    /// All fares by route and number: what a run is checked against. Not counted as a read.
    pub async fn all_fares(&self) -> Result<Vec<u32>, OriginError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let writer = inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let mut all =
                writer.prepare("SELECT fare_cents FROM departures ORDER BY route, number")?;
            let fares = all.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            Ok(fares)
        })
        .await
    }

    /// How many of these products have another fare. Not counted as a read.
    pub async fn differing(&self, fares: Vec<(ProductId, u32)>) -> Result<usize, OriginError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            let writer = inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let mut one = writer
                .prepare("SELECT fare_cents FROM departures WHERE route = ?1 AND number = ?2")?;
            let mut differing = 0;
            for (id, fare) in fares {
                let held: Option<u32> =
                    one.query_row([id.route, id.number], |row| row.get(0)).optional()?;
                differing += usize::from(held != Some(fare));
            }
            Ok(differing)
        })
        .await
    }

    async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OriginError> {
        let free = Arc::clone(&self.inner.free);
        let permit = tokio::time::timeout(PATIENCE, free.acquire_owned())
            .await
            .map_err(|_| OriginError::Busy)?
            .map_err(|_| OriginError::Interrupted)?;
        self.inner.queries.fetch_add(1, Ordering::Relaxed);
        let lent = Lent::take(Arc::clone(&self.inner), permit)?;
        blocking(move || {
            let db = lent.connection.as_ref().ok_or(OriginError::Interrupted)?;
            let answer = query(db)?;
            // After the read, as if its answer were slow to arrive: what it says may be old by then.
            if !lent.inner.delay.is_zero() {
                std::thread::sleep(lent.inner.delay);
            }
            Ok(answer)
        })
        .await
    }
}

/// A read connection that goes back when it is dropped, also if the query panics or its caller
/// has gone.
struct Lent {
    connection: Option<Connection>,
    inner: Arc<Inner>,
    _permit: OwnedSemaphorePermit,
}

impl Lent {
    fn take(inner: Arc<Inner>, permit: OwnedSemaphorePermit) -> Result<Self, OriginError> {
        let connection = inner.readers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if connection.is_none() {
            return Err(OriginError::Busy);
        }
        Ok(Self { connection, inner, _permit: permit })
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.inner.readers.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

/// `?1`, `?2`: the codes of the airports; `?3`: the number.
const ONE_PRODUCT: &str = "SELECT r.id, p.number, o.iata, d.iata, r.departures, p.departs, \
     p.fare_cents, p.seats, r.distance_km, r.flights \
     FROM airports o CROSS JOIN airports d \
     CROSS JOIN routes r ON r.origin = o.id AND r.destination = d.id \
     CROSS JOIN departures p ON p.route = r.id AND p.number = ?3 \
     WHERE o.iata = ?1 AND d.iata = ?2";

/// `?1`: a JSON array of pairs of route id and number. CROSS JOIN fixes the order of the loops, so
/// that each pair is looked up by primary key.
const MANY_PRODUCTS: &str = "SELECT r.id, p.number, o.iata, d.iata, r.departures, p.departs, \
     p.fare_cents, p.seats, r.distance_km, r.flights \
     FROM json_each(?1) w \
     CROSS JOIN departures p ON p.route = w.value ->> 0 AND p.number = w.value ->> 1 \
     CROSS JOIN routes r ON r.id = p.route \
     CROSS JOIN airports o ON o.id = r.origin CROSS JOIN airports d ON d.id = r.destination";

fn reader(path: &Path) -> Result<Connection, OriginError> {
    let reader = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    reader.pragma_update(None, "mmap_size", 256_i64 << 20)?;
    reader.busy_timeout(PATIENCE)?;
    Ok(reader)
}

fn product(row: &Row<'_>) -> rusqlite::Result<Product> {
    Ok(Product {
        route: row.get(0)?,
        number: row.get(1)?,
        origin: row.get(2)?,
        destination: row.get(3)?,
        departures: row.get(4)?,
        departs: row.get(5)?,
        fare_cents: row.get(6)?,
        seats: row.get(7)?,
        distance_km: row.get(8)?,
        flights: row.get(9)?,
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OriginError> + Send + 'static,
) -> Result<T, OriginError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| OriginError::Interrupted)?
}
