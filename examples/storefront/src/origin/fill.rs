//! Fills a database with every product, in one transaction.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};

use super::OriginError;
use crate::catalog::Catalog;
use crate::fare;

/// The most products that a shop may have.
pub const MOST_PRODUCTS: u32 = 10_000_000;

/// Minutes of 2008, a leap year: a route's departures are spread over them evenly.
const YEAR_MINUTES: u64 = 366 * 24 * 60;

/// Changes whenever an existing file must not be used any more.
const LAYOUT: u32 = 1;

/// How often progress is told, in rows.
const STRIDE: u32 = 50_000;

const TABLES: &str = "
    CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE airports (
        id INTEGER PRIMARY KEY, iata TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
        city TEXT NOT NULL, state TEXT NOT NULL);
    CREATE INDEX airports_by_state ON airports (state);
    CREATE TABLE routes (
        id INTEGER PRIMARY KEY, origin INTEGER NOT NULL, destination INTEGER NOT NULL,
        distance_km INTEGER NOT NULL, flights INTEGER NOT NULL, departures INTEGER NOT NULL,
        UNIQUE (origin, destination));
    CREATE TABLE departures (
        route INTEGER NOT NULL, number INTEGER NOT NULL, departs INTEGER NOT NULL,
        fare_cents INTEGER NOT NULL, seats INTEGER NOT NULL,
        PRIMARY KEY (route, number)) WITHOUT ROWID;";

/// Departures of each route, by route id, so that they are `products` in all: one for each route,
/// and the rest in proportion to its real flights (at 7,009,728 each real flight is one product).
#[must_use]
pub fn departures(catalog: &Catalog, products: u32) -> Vec<u32> {
    let routes = catalog.routes.len();
    let rest = u64::from(products).saturating_sub(routes as u64);
    let flights: u64 = catalog.routes.iter().map(|r| u64::from(r.flights)).sum();
    let mut counts: Vec<u32> =
        catalog.routes.iter().map(|r| 1 + (rest * u64::from(r.flights) / flights) as u32).collect();
    let given: u64 = counts.iter().map(|n| u64::from(*n)).sum();
    let left = (routes as u64 + rest).saturating_sub(given) as usize;
    for count in counts.iter_mut().take(left) {
        *count += 1;
    }
    counts
}

/// The file for this many products in `folder`: an earlier one if it fits, else a new one.
/// `progress` hears how many rows are written, now and then.
pub fn prepare(
    catalog: &Catalog,
    folder: &Path,
    products: u32,
    mut progress: impl FnMut(u32),
) -> Result<PathBuf, OriginError> {
    std::fs::create_dir_all(folder).map_err(|e| unusable(folder, &e))?;
    let path = folder.join(format!("storefront-{products}.db"));
    if path.exists() {
        if fits(&path, products) {
            progress(products);
            return Ok(path);
        }
        for end in ["", "-wal", "-shm"] {
            let part = folder.join(format!("storefront-{products}.db{end}"));
            if part.exists() {
                std::fs::remove_file(&part).map_err(|e| unusable(&part, &e))?;
            }
        }
    }
    // Only a whole file gets the name: what a killed run leaves behind is never mistaken for one.
    let partial = folder.join(format!("storefront-{products}.{}.partial", std::process::id()));
    let written = write(catalog, &partial, products, &mut progress);
    if written.is_err() {
        drop(std::fs::remove_file(&partial));
    }
    written?;
    std::fs::rename(&partial, &path).map_err(|e| unusable(&path, &e))?;
    Ok(path)
}

fn fits(path: &Path, products: u32) -> bool {
    let Ok(db) = Connection::open(path) else { return false };
    let read = |name: &str| -> Option<String> {
        db.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).ok()
    };
    read("layout") == Some(LAYOUT.to_string()) && read("products") == Some(products.to_string())
}

fn write(
    catalog: &Catalog,
    path: &Path,
    products: u32,
    progress: &mut impl FnMut(u32),
) -> Result<(), OriginError> {
    let mut db = Connection::open(path)?;
    // A fill that is interrupted is thrown away, so it needs no journal and no flushes.
    db.pragma_update(None, "journal_mode", "OFF")?;
    db.pragma_update(None, "synchronous", "OFF")?;
    let all = db.transaction()?;
    all.execute_batch(TABLES)?;
    {
        let mut meta = all.prepare("INSERT INTO meta VALUES (?1, ?2)")?;
        meta.execute(params!["layout", LAYOUT.to_string()])?;
        meta.execute(params!["products", products.to_string()])?;
        meta.execute(params!["identity", format!("{:016x}", rand::random::<u64>())])?;

        let mut airports = all.prepare("INSERT INTO airports VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for (id, airport) in catalog.airports.iter().enumerate() {
            let (name, city) = (&airport.name, &airport.city);
            airports.execute(params![id as i64, airport.iata, name, city, airport.state])?;
        }

        let mut routes = all.prepare("INSERT INTO routes VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let mut rows = all.prepare("INSERT INTO departures VALUES (?1, ?2, ?3, ?4, ?5)")?;
        let mut written = 0;
        for (id, count) in departures(catalog, products).into_iter().enumerate() {
            let (facts, id) = (&catalog.routes[id], id as u32);
            let (from, to) = (facts.origin, facts.destination);
            routes.execute(params![id, from, to, facts.distance_km, facts.flights, count])?;
            for number in 1..=count {
                let departs = (u64::from(number - 1) * YEAR_MINUTES / u64::from(count)) as u32;
                let fare = fare::fare_cents(id, number, facts.distance_km, facts.flights);
                let seats = fare::seats(id, number, facts.distance_km);
                rows.execute(params![id, number, departs, fare, seats])?;
                written += 1;
                if written % STRIDE == 0 {
                    progress(written);
                }
            }
        }
    }
    all.commit()?;
    progress(products);
    Ok(())
}

fn unusable(path: &Path, error: &std::io::Error) -> OriginError {
    OriginError::File { path: path.to_owned(), reason: error.to_string() }
}
