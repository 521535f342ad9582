//! What a decision costs the server: microseconds of its time a call, by its own statistics, one call after the other.

use russet_benchmarks::{Result, Suite, workload::SCRIPT};
use russet_core_conn::{Key, Redis};
use russet_ratelimit::{Level, Limiter, Quota};
use russet_testkit::Conn;

use crate::{LIMIT, MINUTE, admitted, quotas};

/// How often each side is measured in a round, and by how many calls.
const PAIRS: usize = 10;
const CALLS: u64 = 2_000;

pub(crate) async fn rows(suite: &mut Suite, limiter: &Limiter) -> Result {
    let redis = Redis::connect(suite.url()).await?;
    let bucket = |name: &str| limiter.limit(name, Quota::gcra(8_000_000, MINUTE / 60, LIMIT)?);
    let window = |name: &str| limiter.limit(name, Quota::fixed(LIMIT, MINUTE)?);
    // Two of them share no subject in practice, but the tenant, which is what partitions go by.
    let buckets = [bucket("user")?.of("t"), bucket("ip")?.of("t"), bucket("all")?.of("t")];
    let windows = [window("user")?.of("t"), window("ip")?.of("t"), window("all")?.of("t")];
    let counter = Key::raw("bench:cpu:counter");

    let other = "INCR and PEXPIRE in a script, microseconds of the server";
    for (name, quota) in quotas()? {
        let row = format!("{name} cpu");
        if !suite.runs(&row) {
            continue;
        }
        let (level, mut pairs) = ([limiter.limit(name, quota)?.of("t")], Vec::new());
        for _ in 0..PAIRS {
            let ours = spent(suite.url(), async || check(limiter, &level).await).await?;
            let counted = spent(suite.url(), async || {
                let _: i64 = redis.script(SCRIPT.key(&counter).arg(60_000)).await?;
                Ok(())
            });
            pairs.push([ours, counted.await?]);
        }
        suite.micros(&row, other, (name == "gcra").then_some(1.0 / 1.4), pairs);
    }
    for (name, levels, floor) in
        [("three levels", &buckets, Some(1.0 / 2.2)), ("three levels of windows", &windows, None)]
    {
        if !suite.runs(name) {
            continue;
        }
        let mut pairs = Vec::new();
        for _ in 0..PAIRS {
            let ours = spent(suite.url(), async || check(limiter, levels).await).await?;
            let one = spent(suite.url(), async || check(limiter, &levels[..1]).await).await?;
            pairs.push([ours, one]);
        }
        suite.micros(name, "one level, microseconds of the server", floor, pairs);
    }
    Ok(())
}

async fn check(limiter: &Limiter, levels: &[Level]) -> Result {
    admitted(&limiter.check(levels).await?)
}

/// The server's microseconds for each of some calls of a script.
async fn spent(url: &str, call: impl AsyncFn() -> Result) -> Result<f64> {
    let mut server = Conn::open(url).await?;
    // It may have to learn the script.
    call().await?;
    server.call(&["CONFIG", "RESETSTAT"]).await?;
    for _ in 0..CALLS {
        call().await?;
    }
    let said = server.call(&["INFO", "commandstats"]).await?;
    let said = said.text().ok_or("no statistics")?;
    let line = said.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
    let field = |name: &str| {
        let fields = line.into_iter().flat_map(|line| line.split(','));
        let value = fields.filter_map(|field| field.split_once('=')).find(|(key, _)| *key == name);
        value.and_then(|(_, value)| value.parse::<f64>().ok()).ok_or("no statistics of EVALSHA")
    };
    let (calls, micros) = (field("calls")?, field("usec")?);
    if calls < CALLS as f64 {
        return Err(format!("{calls} calls").into());
    }
    Ok(micros / calls)
}
