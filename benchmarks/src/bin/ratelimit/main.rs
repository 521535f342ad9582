//! `cargo xtask bench ratelimit`: a decision of each algorithm beside fred's EVALSHA of the same script, keys and
//! arguments; what one costs the server; and beside other limiters.

mod cpu;
mod flexible;
mod local;
mod same;
#[cfg(feature = "limiters")]
mod versus;

use std::process::ExitCode;
use std::time::Duration;

use russet_benchmarks::{
    Ops, Result, Side, Suite,
    rivals::{self, FRED, RUSSET},
};
use russet_core_conn::{KeySpace, Redis};
use russet_ratelimit::{Decision, Limit, Limiter, Quota};

use same::Same;

/// More than is ever spent, so that each decision is the same.
const LIMIT: u64 = 1_000_000_000;

const MINUTE: Duration = Duration::from_secs(60);

/// Of a log, which keeps each unit: so short that one task spends a few of them.
const MOMENT: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    Suite::main("ratelimit", async |suite| {
        let redis = Redis::connect(suite.url()).await?;
        let keys = KeySpace::new("bench")?;
        let limiter = Limiter::new(&redis, &keys);
        // Other limiters bring much with them, so they are measured in a build of its own.
        #[cfg(feature = "limiters")]
        versus::rows(suite, &limiter).await?;
        if !cfg!(feature = "limiters") {
            let fred = rivals::fred(suite.url()).await?;
            for (name, quota) in quotas()? {
                let limit = limiter.limit(name, quota)?;
                let other = format!("the same script by {FRED}");
                let other = (&*other, same::decision(&fred, &Same::new(&keys, name)?));
                let row = suite.row(name).tasks(64).floor(Some(0.95));
                row.run((RUSSET, decision(&limit)), other).await?;
            }
            cpu::rows(suite, &limiter).await?;
            local::rows(suite, &limiter).await?;
            flexible::row(suite, &limiter).await?;
        }
        Ok(())
    })
}

/// Each algorithm; a task has a subject of its own.
fn quotas() -> Result<[(&'static str, Quota); 7]> {
    Ok([
        ("fixed", Quota::fixed(LIMIT, MINUTE)?),
        ("log", Quota::log(1_000, MOMENT)?),
        ("counter", Quota::counter(LIMIT, MINUTE)?),
        ("strict", Quota::strict(LIMIT, MINUTE)?),
        ("gcra", Quota::gcra(8_000_000, Duration::from_secs(1), LIMIT)?),
        ("leaky", Quota::queue(LIMIT, 8_000_000, Duration::from_secs(1), MINUTE)?),
        ("permits", Quota::permits(1_000, MOMENT)?),
    ])
}

fn decision(limit: &Limit) -> impl Side + use<> {
    let limit = limit.clone();
    move |mut ops: Ops| {
        let limit = limit.clone();
        async move {
            let subject = subject(ops.task());
            while ops.next() {
                admitted(&limit.check(&*subject).await?)?;
            }
            Ok(())
        }
    }
}

fn subject(task: usize) -> String {
    format!("user-{task}")
}

/// Each side looks at what was decided.
fn admitted(decision: &Decision) -> Result {
    if decision.is_allowed() { Ok(()) } else { Err(format!("not admitted: {decision:?}").into()) }
}
