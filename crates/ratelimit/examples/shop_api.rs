//! An API with limits for users, addresses and all of it, and a route whose requests cost what they turn out to cost.
//!
//! ```sh
//! cargo run -p russet-ratelimit --features axum --example shop_api -- redis://localhost
//! curl -i localhost:3000/fares/SEA -H 'x-api-key: u17'
//! curl -i 'localhost:3000/search?rows=30' -H 'x-api-key: u17'
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::Uri;
use axum::http::request::Parts;
use axum::routing::get;
use russet_core_conn::{KeySpace, Redis};
use russet_ratelimit::http::{Headers, Limited, RateLimitLayer, TrustedProxies};
use russet_ratelimit::{Error, Limiter, Quota};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://localhost".into());
    let redis = Redis::builder(&url).build()?;
    let limiter = Limiter::new(&redis, &KeySpace::new("shop-api")?);
    let app = app(&limiter)?.into_make_service_with_connect_info::<SocketAddr>();

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("http://{}/fares/SEA", listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            // Whoever can't hear Ctrl-C can't be told to wait for it.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;
    redis.close().await;
    Ok(())
}

fn app(limiter: &Limiter) -> Result<Router, Error> {
    let minute = Duration::from_secs(60);
    // 100 a minute, 20 of them at once.
    let user = limiter.limit("user", Quota::gcra(100, minute, 20)?)?;
    // An office has one address and many users.
    let ip = limiter.limit("ip", Quota::gcra(1_000, minute, 200)?)?;
    // What the database behind it can do, in whichever minute.
    let all = limiter.limit("all", Quota::strict(10_000, minute)?)?;

    let limits = RateLimitLayer::builder(limiter)
        .level(&user, api_key)
        // Behind one load balancer: `TrustedProxies::hops(1)`.
        .client(&ip, TrustedProxies::none())
        .level(&all, |_: &Parts| Some(()))
        .headers(Headers::Both)
        .build()?;
    Ok(Router::new()
        .route("/fares/{airport}", get(fares))
        .route("/search", get(search))
        .layer(limits)
        // Not limited: whoever asks whether it lives is no client.
        .route("/health", get(|| async { "ok" })))
}

/// Whose key it is; a request without one is limited by its address alone.
fn api_key(request: &Parts) -> Option<Vec<u8>> {
    Some(request.headers.get("x-api-key")?.as_bytes().to_vec())
}

async fn fares(Path(airport): Path<String>, limited: Limited) -> String {
    let decision = limited.decision();
    format!("{airport}: from $99; {} of {} requests left\n", decision.remaining, decision.limit)
}

/// One unit was spent to be let in; ten rows cost another.
async fn search(limited: Limited, uri: Uri) -> String {
    let rows =
        uri.query().and_then(|query| query.strip_prefix("rows=")?.parse().ok()).unwrap_or(10);
    let found: u64 = std::cmp::min(rows, 1_000);
    let left = match limited.charge(found.div_ceil(10).max(1)).await {
        Ok(decision) => decision.remaining.to_string(),
        // The work is done; what it cost is not worth an error.
        Err(error) => format!("an unknown number of ({error})"),
    };
    format!("{found} rows found; {left} requests left\n")
}
