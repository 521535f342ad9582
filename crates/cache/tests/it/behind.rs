//! Write-behind: what is written is read at once, and committed later, in order, whatever happens in between.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use russet_cache::{
    Batch, CommitError, Committed, Entities, Op, Sink, Worker, WriteBehind, WriteBehindBuilder,
};
use russet_core_conn::{Backoff, KeySpace, Redis};

use crate::support::Route;

mod commits;
mod guards;
mod moves;
mod reads;
mod shares;
mod soak;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// One that is tried again soon, and for ever.
fn buffer(redis: &Redis, space: &KeySpace) -> WriteBehindBuilder {
    WriteBehind::builder(redis, space, "orders")
        .flush_every(ms(20))
        .lease(ms(2_000))
        .retry(Backoff::constant(ms(20)))
}

fn routes(buffer: &WriteBehind) -> Entities<u64, Route> {
    buffer.entities("route").unwrap()
}

/// A database of one table, with versions.
#[derive(Debug, Clone, Default)]
struct Table(Arc<Mutex<Rows>>);

#[derive(Debug, Default)]
struct Rows {
    rows: BTreeMap<u64, (u64, Option<Route>)>,
    /// The keys of each batch that came, the operation of each, and whether it had been given before.
    seen: Vec<Vec<(u64, &'static str, bool)>>,
    /// A batch with one of these fails.
    poison: BTreeSet<u64>,
    away: bool,
}

impl Table {
    fn with<T>(&self, look: impl FnOnce(&mut Rows) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn row(&self, key: u64) -> Option<Route> {
        self.with(|rows| rows.rows.get(&key).and_then(|(_, route)| route.clone()))
    }

    async fn until(&self, what: &str, mut look: impl FnMut(&Rows) -> bool) {
        let begun = Instant::now();
        while !self.with(|rows| look(rows)) {
            assert!(begun.elapsed() < ms(20_000), "{what}: {:?}", self.0);
            tokio::time::sleep(ms(2)).await;
        }
    }

    async fn work(&self, entities: &Entities<u64, Route>, buffer: &WriteBehind) -> Worker {
        buffer.worker().sink(entities, self.clone()).start().await.unwrap()
    }
}

impl Sink<u64, Route> for Table {
    async fn commit(&self, batch: Batch<'_, u64, Route>) -> Result<Committed, CommitError> {
        self.with(|table| {
            let named = |op: &Op<Route>| match op {
                Op::Put(_) => "put",
                Op::Patch(_) => "patch",
                Op::Delete => "delete",
            };
            let seen = batch.changes.iter();
            let seen = seen.map(|change| (change.key, named(&change.op), change.redelivered));
            table.seen.push(seen.collect());
            if table.away {
                return Err(CommitError::away("no database"));
            }
            if batch.changes.iter().any(|change| table.poison.contains(&change.key)) {
                return Err(CommitError::Failed("poison".into()));
            }
            for change in batch.changes {
                let row = table.rows.entry(change.key).or_default();
                if row.0 >= change.version {
                    continue;
                }
                row.0 = change.version;
                match &change.op {
                    Op::Put(route) => row.1 = Some(route.clone()),
                    Op::Patch(patch) => {
                        let patched = row.1.as_ref().map(|route| patch.apply(route));
                        row.1 = patched.transpose()?;
                    }
                    Op::Delete => row.1 = None,
                }
            }
            Ok(Committed::all())
        })
    }
}

/// Until the buffer is empty of what is tried.
async fn committed(buffer: &WriteBehind) {
    let begun = Instant::now();
    loop {
        let stats = buffer.stats().await.unwrap();
        if stats.pending + stats.retrying == 0 {
            return;
        }
        assert!(begun.elapsed() < ms(20_000), "{stats:?}");
        tokio::time::sleep(ms(5)).await;
    }
}
