//! The shop over HTTP: JSON under `/api`, pages for people, and the dashboard.

mod api;
mod dashboard;
mod error;
mod input;
mod pages;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use axum::routing::{get, post};
use russet_ratelimit::http::{Limited, RateLimitLayer};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use self::error::ApiError;
use crate::feed::Feed;
use crate::limits::{Decided, FALLBACK};
use crate::load::Progress;
use crate::metrics::Answer;
use crate::shop::{Served, Shop};

/// The longest request body, in bytes.
const LONGEST_BODY: usize = 4_096;

/// What every handler knows.
#[derive(Debug, Clone)]
pub struct Site {
    /// The instance that answers.
    pub shop: Shop,
    /// All of them.
    pub shops: Vec<Shop>,
    /// What browsers hear.
    pub feed: Feed,
    /// The load, whose rate can be set.
    pub progress: Arc<Progress>,
    /// Where all of them listen.
    pub addresses: Arc<[SocketAddr]>,
    /// Whoever floods them holds its one permit.
    pub flooding: Arc<Semaphore>,
    /// What the API is limited to.
    pub limits: RateLimitLayer,
    /// When this is cancelled, streams to browsers end.
    pub end: CancellationToken,
}

/// All routes.
pub fn router(site: Site) -> Router {
    let measure = axum::middleware::from_fn_with_state(site.shop.clone(), measure);
    let decided = axum::middleware::from_fn_with_state(site.shop.clone(), decided);
    let limited = Router::new()
        .route("/api/route/{origin}/{destination}", get(api::route))
        .route("/api/route/{origin}/{destination}/fare", post(api::change_fare))
        .route("/api/departures/airport/{iata}", get(api::airport))
        .route("/api/departures/state/{state}", get(api::state))
        .layer(measure.clone())
        .layer(site.limits.clone())
        .layer(decided);
    let pages = Router::new()
        .route("/route/{origin}/{destination}", get(pages::route))
        .route("/airport/{iata}", get(pages::airport))
        .route("/state/{state}", get(pages::state))
        .layer(measure);
    Router::new()
        .route("/", get(dashboard::page))
        .route("/events", get(dashboard::events))
        .route("/api/map", get(dashboard::map))
        .route("/api/load", post(api::set_rate))
        .route("/api/stampede", post(api::stampede))
        .route("/api/flood", post(api::flood))
        .merge(limited)
        .merge(pages)
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .layer(DefaultBodyLimit::max(LONGEST_BODY))
        .with_state(site)
}

/// Counts the answer and the time until it was ready to be sent.
async fn measure(State(shop): State<Shop>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    let answer = match response.extensions().get::<Answer>() {
        Some(answer) => *answer,
        None if response.status().is_server_error() => Answer::Failed,
        None => Answer::Refused,
    };
    shop.metrics().answered(answer, began.elapsed());
    response
}

/// Counts whether it was let in.
async fn decided(State(shop): State<Shop>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let decided = response.extensions().get().map(|limited: &Limited| Decided::of(limited));
    if let Some(decided) = decided {
        shop.metrics().decided(decided);
    }
    if decided == Some(Decided::Fallback) {
        response.headers_mut().insert(FALLBACK, HeaderValue::from_static("1"));
    }
    response
}

fn answer<T>(served: &Served<T>) -> Answer {
    let without_cache = served.without_cache;
    if served.from_cache { Answer::Hit { without_cache } } else { Answer::Miss { without_cache } }
}
