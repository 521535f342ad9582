//! The same decisions by other limiters, each used as its docs advise; 64 tasks.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::DefaultKeyedRateLimiter;
use russet_benchmarks::{
    Ops, Result, Side, Suite,
    rivals::{self, GOVERNOR, RUSSET, TRYPEMA},
};
use russet_ratelimit::{Limiter, Quota};
use trypema::{RateLimit, RateLimitDecision, redis::RedisKey, redis::RedisRateLimiterProvider};

use crate::{LIMIT, MINUTE, decision, local, subject};

pub(crate) async fn rows(suite: &mut Suite, limiter: &Limiter) -> Result {
    // A window that slides by parts.
    let ours = limiter.limit("strict", Quota::strict(LIMIT, MINUTE)?)?;
    let other = rivals::trypema(suite.url()).await?;
    let row = suite.row("vs trypema").tasks(64).floor(Some(1.0));
    row.run((RUSSET, decision(&ours)), (TRYPEMA, trypema(&other))).await?;

    // What a decision takes that asks nobody, for reference.
    let ours = local::leased(limiter)?;
    let other = rivals::governor(NonZeroU32::MAX);
    let row = suite.row("vs governor").nanos();
    row.run(("a limit that is leased", decision(&ours)), (GOVERNOR, governor(&other))).await
}

fn governor(limiter: &Arc<DefaultKeyedRateLimiter<String>>) -> impl Side + use<> {
    let limiter = Arc::clone(limiter);
    move |mut ops: Ops| {
        let limiter = Arc::clone(&limiter);
        async move {
            let subject = subject(ops.task());
            while ops.next() {
                if limiter.check_key(&subject).is_err() {
                    return Err("not admitted".into());
                }
            }
            Ok(())
        }
    }
}

fn trypema(limiter: &Arc<RedisRateLimiterProvider>) -> impl Side + use<> {
    let limiter = limiter.clone();
    move |mut ops: Ops| {
        let limiter = limiter.clone();
        async move {
            let key = RedisKey::try_from(subject(ops.task()))?;
            let rate = RateLimit::per_second(LIMIT as f64)?;
            while ops.next() {
                let said = limiter.absolute().inc(&key, &rate, 1).await?;
                if !matches!(said, RateLimitDecision::Allowed) {
                    return Err(format!("not admitted: {said:?}").into());
                }
            }
            Ok(())
        }
    }
}
