//! Decisions without a round trip: of quota that was leased, and denials that are remembered. What was promised is the
//! floor.

use std::time::Duration;

use russet_benchmarks::{Ops, Result, Side, Suite};
use russet_ratelimit::{Leasing, Limit, Limiter, Quota};

use crate::decision;

const HOUR: Duration = Duration::from_secs(3_600);

/// 200 ns and 100 ns a decision.
const LEASED: f64 = 5e6;
const DENIED: f64 = 1e7;

pub(crate) async fn rows(suite: &mut Suite, limiter: &Limiter) -> Result {
    let row = suite.row("leased").nanos();
    row.run_alone(("a limit that is leased", decision(&leased(limiter)?)), LEASED).await?;

    let limit = limiter.builder("denied", Quota::fixed(1, HOUR)?).cache_denials(HOUR).build()?;
    let row = suite.row("denied locally").nanos();
    row.run_alone(("a limit that keeps denials", denial(&limit)), DENIED).await
}

/// Far more than one task spends.
pub(crate) fn leased(limiter: &Limiter) -> Result<Limit> {
    let quota = Quota::gcra(8_000_000, Duration::from_secs(1), 8_000_000)?;
    Ok(limiter.builder("leased", quota).leased(Leasing::default()).build()?)
}

fn denial(limit: &Limit) -> impl Side + use<> {
    let limit = limit.clone();
    move |mut ops: Ops| {
        let limit = limit.clone();
        async move {
            // The first is admitted, or was by a task before.
            limit.check("user").await?;
            while ops.next() {
                if limit.check("user").await?.is_allowed() {
                    return Err("admitted".into());
                }
            }
            Ok(())
        }
    }
}
