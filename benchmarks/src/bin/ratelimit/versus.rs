//! The same decisions by other limiters, each used as its docs advise; 64 tasks.

use std::sync::Arc;

use limitador::{AsyncRateLimiter, limit::Context};
use russet_benchmarks::{
    Ops, Result, Side, Suite,
    rivals::{self, LIMITADOR, NAMESPACE, RUSSET, TRYPEMA},
};
use russet_ratelimit::{Limiter, Quota};
use trypema::{RateLimit, RateLimitDecision, redis::RedisKey, redis::RedisRateLimiterProvider};

use crate::{LIMIT, MINUTE, decision, subject};

pub(crate) async fn rows(suite: &mut Suite, limiter: &Limiter) -> Result {
    let url = suite.url().to_owned();
    // A fixed window, as ours is.
    let ours = limiter.limit("fixed", Quota::fixed(LIMIT, MINUTE)?)?;
    let other = rivals::limitador(&url, LIMIT, MINUTE).await?;
    let row = suite.row("vs limitador").tasks(64).floor(Some(1.0));
    row.run((RUSSET, decision(&ours)), (LIMITADOR, limitador(&other))).await?;

    // A window that slides by parts.
    let ours = limiter.limit("strict", Quota::strict(LIMIT, MINUTE)?)?;
    let other = rivals::trypema(&url).await?;
    let row = suite.row("vs trypema").tasks(64).floor(Some(1.0));
    row.run((RUSSET, decision(&ours)), (TRYPEMA, trypema(&other))).await
}

fn limitador(limiter: &Arc<AsyncRateLimiter>) -> impl Side + use<> {
    let limiter = limiter.clone();
    move |mut ops: Ops| {
        let limiter = limiter.clone();
        async move {
            let namespace = NAMESPACE.into();
            let values = [("user".to_owned(), subject(ops.task()))];
            while ops.next() {
                let context = Context::from(std::collections::HashMap::from(values.clone()));
                let said = limiter.check_rate_limited_and_update(&namespace, &context, 1, false);
                admitted(!said.await?.limited)?;
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
                admitted(matches!(said, RateLimitDecision::Allowed))?;
            }
            Ok(())
        }
    }
}

fn admitted(admitted: bool) -> Result {
    if admitted { Ok(()) } else { Err("not admitted".into()) }
}
