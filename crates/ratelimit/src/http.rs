//! Limits before an HTTP service (feature `http`): a [`RateLimitLayer`] for `tower`, and with the feature `axum` what its
//! handlers need.
//!
//! ```no_run
//! # #[cfg(feature = "axum")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::net::SocketAddr;
//! use std::time::Duration;
//!
//! use axum::{Router, http::request::Parts, routing::get};
//! use russet_core_conn::{KeySpace, Redis};
//! use russet_ratelimit::http::{RateLimitLayer, TrustedProxies};
//! use russet_ratelimit::{Limiter, Quota};
//!
//! let redis = Redis::builder("redis://localhost").build()?;
//! let limiter = Limiter::new(&redis, &KeySpace::new("shop")?);
//! let minute = Duration::from_secs(60);
//! let user = limiter.limit("user", Quota::gcra(100, minute, 20)?)?;
//! let ip = limiter.limit("ip", Quota::gcra(1_000, minute, 200)?)?;
//!
//! let limits = RateLimitLayer::builder(&limiter)
//!     .level(&user, |request: &Parts| Some(request.headers.get("x-api-key")?.as_bytes().to_vec()))
//!     .client(&ip, TrustedProxies::hops(1))
//!     .build()?;
//! let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(limits);
//! let app = app.into_make_service_with_connect_info::<SocketAddr>();
//! # let _ = app; Ok(()) }
//! ```
//!
//! # What a client gets
//!
//! | the decision | status | problem type (RFC 9457) | `Retry-After` |
//! |---|---|---|---|
//! | admitted | the service's | | |
//! | [over a limit](Reason::OverLimit) | 429 | `quota-exceeded`, with the limits that it violates | always |
//! | [blocked](Reason::Blocked) for a while | 429 | `abnormal-usage-detected`, with the same | until the block ends |
//! | [shed](Reason::Shed) for those of a higher priority | 503 | `temporary-reduced-capacity`, with the same | always |
//! | on a list of those that [never](Reason::Denied) are admitted | 403 | | none: waiting does not help |
//! | Redis does not answer, and a limit is [closed](Reason::Outage) then | 503 | `temporary-reduced-capacity` | none: nobody knows |
//! | [none](crate::Error) | see [`OnError`] | | none: nobody knows |
//!
//! `Retry-After` is in whole seconds and never too early: who waits for so long is admitted, if nobody else spends.
//!
//! Admitted or not, the answer has the fields of the IETF's draft on rate limits
//! (draft-ietf-httpapi-ratelimit-headers-10):
//!
//! ```text
//! RateLimit-Policy: "user";q=20;w=12, "ip";q=200;w=12
//! RateLimit: "user";r=19;t=1, "ip";r=199;t=1
//! ```
//!
//! `q` is the most that can be spent at once and `w` the seconds in which all of it is regained, `r` what is left and `t`
//! the seconds until nothing is spent any more. Of a denial, `RateLimit` tells of the limits that deny, and `t` is until each
//! would admit the same: no later than `Retry-After`. Limits in shadow mode are not told of. See [`Headers`] for the
//! older `X-RateLimit-*`.

mod client;
#[cfg(feature = "axum")]
mod extract;
mod fields;
mod layer;
mod limited;
mod problem;
mod service;

pub use self::client::TrustedProxies;
#[cfg(feature = "axum")]
pub use self::extract::NotLimited;
pub use self::fields::Headers;
pub use self::layer::{OnError, RateLimitBuilder, RateLimitLayer};
pub use self::limited::Limited;
pub use self::service::RateLimitService;

#[cfg(doc)]
use crate::Reason;
