//! What makes a lease safe: a resource that checks the fencing number.
//!
//! Two workers write a report under a lease. The first is held up for longer than its lease lasts (by a pause of its
//! process, say) and writes when it comes to itself, not knowing that the second has had its turn. It can't know; the
//! resource can.
//!
//! Run it with a Redis or Valkey at hand: `cargo run -p russet-core-conn --example fenced_resource [redis://…]`

use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russet_core_conn::{Fence, KeySpace, Leases, Loss, Redis};

/// The report's store. It remembers the highest number that it has seen, together with what it keeps, and refuses any
/// lower one. In a database that is one statement:
///
/// ```sql
/// UPDATE report SET body = $1, fence = $2 WHERE id = $3 AND fence <= $2   -- no row changed: refused
/// ```
#[derive(Debug, Clone, Default)]
struct Store(Arc<Mutex<Report>>);

#[derive(Debug, Default)]
struct Report {
    fence: u64,
    body: String,
}

/// A holder that is not the last one any more.
#[derive(Debug, thiserror::Error)]
#[error("refused: {given} was given before {highest}, which has been here")]
struct Stale {
    given: Fence,
    highest: u64,
}

impl Store {
    /// Check and write are one step: between two, the same would go wrong again.
    fn write(&self, fence: Fence, body: &str) -> Result<(), Stale> {
        let mut report = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if fence.number() < report.fence {
            return Err(Stale { given: fence, highest: report.fence });
        }
        *report = Report { fence: fence.number(), body: body.to_owned() };
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://localhost".to_owned());
    let redis = Redis::connect(&url).await?;
    let keys = KeySpace::new("russet-example")?;
    let store = Store::default();

    // Without renewal this lease ends as it would if its holder stood still.
    let short = Leases::builder(&redis, &keys).ttl(Duration::from_millis(300)).renewal(false);
    let first = short.build()?.acquire("report", Duration::from_secs(20)).await?;
    let first = first.held().ok_or("another run of this example has it")?;
    store.write(first.fence(), "the first half of the first worker's report")?;
    println!("first:  holds it with {}, has written half", first.fence());

    // The second waits, and gets it when the first one's has ended.
    let leases = Leases::new(&redis, &keys)?;
    let second = leases.acquire("report", Duration::from_secs(20)).await?;
    let second = second.held().ok_or("nobody gave it to the second")?;
    store.write(second.fence(), "the second worker's report")?;
    println!("second: holds it with {}, has written", second.fence());

    // A worker that looks is told, and this one's clock even knew it before the second could have got it…
    match first.loss().await {
        Loss::Unconfirmed { .. } => println!("first:  has lost it"),
        loss => println!("first:  has lost it: {loss:?}"),
    }
    // …but what was on its way already can't be called back. The store refuses it.
    match store.write(first.fence(), "the second half of the first worker's report") {
        Err(stale) => println!("store:  {stale}"),
        Ok(()) => return Err("the store took a late write".into()),
    }
    println!("first:  gives it back: {:?}", first.release().await?);
    println!("second: gives it back: {:?}", second.release().await?);
    println!("store:  {:?}", store.0.lock().unwrap_or_else(PoisonError::into_inner).body);
    redis.close().await;
    Ok(())
}
