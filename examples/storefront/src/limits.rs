//! How often the API may be asked, and by whom. This is all there is of the limits.
//!
//! | level | who | how much |
//! |---|---|---|
//! | `customer` | a header `x-customer`, or a cookie `customer` | 20 a second, 40 at once |
//! | `address` | what the proxy has added to `X-Forwarded-For`, else the peer | 200 a second, 400 at once |
//! | `endpoint` | routes, departures, fares: each for all together | 25,000 a second, 5,000 at once |
//! | `class` | customers, and programs that watch prices (`x-class: low`) | 30,000 and 500 in a second |
//!
//! All are asked in one script, and all admit, or none is spent. Where customers spend more than a tenth of theirs, watchers
//! are shed above a fifth of their own. Without Redis each instance lets in its half of all that, which is
//! counted, and told by a field of the answer.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use axum::http::request::Parts;
use russet_core_conn::{KeySpace, Redis};
use russet_ratelimit::composite::Priority;
use russet_ratelimit::http::{Limited, RateLimitLayer, TrustedProxies};
use russet_ratelimit::{Limiter, Quota, Reason, Source};

/// Requests a second of one customer.
pub const CUSTOMER_RATE: u64 = 20;

/// Requests of one customer that may come at once.
pub const CUSTOMER_BURST: u64 = 40;

/// Says who asks.
pub const CUSTOMER: &str = "x-customer";

/// Says that it is a program, which can come back later.
pub const CLASS: &str = "x-class";

/// Says in an answer that it was let in without Redis.
pub const FALLBACK: &str = "x-limits-fallback";

const SECOND: Duration = Duration::from_secs(1);

/// What was decided of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// It goes on.
    Admitted,
    /// It goes on, by its instance's share of the limits: Redis did not answer.
    Fallback,
    /// Its customer, its address or its endpoint has had enough.
    Denied,
    /// Others need the room.
    Shed,
}

impl Decided {
    /// By what the layer has left with a response.
    #[must_use]
    pub fn of(limited: &Limited) -> Self {
        let decision = limited.decision();
        match decision.reason() {
            _ if decision.is_allowed() && decision.source == Source::Fallback => Self::Fallback,
            _ if decision.is_allowed() => Self::Admitted,
            Reason::Shed => Self::Shed,
            _ => Self::Denied,
        }
    }
}

/// The layer before the API of one of so many instances. Nothing is sent.
pub fn layer(
    redis: &Redis,
    instances: u32,
) -> Result<RateLimitLayer, Box<dyn std::error::Error + Send + Sync>> {
    let limiter =
        Limiter::options(redis, &KeySpace::new("storefront")?).nodes(instances).build()?;
    let customer =
        limiter.limit("customer", Quota::gcra(CUSTOMER_RATE, SECOND, CUSTOMER_BURST)?)?;
    let address = limiter.limit("address", Quota::gcra(200, SECOND, 400)?)?;
    let endpoint = limiter.limit("endpoint", Quota::gcra(25_000, SECOND, 5_000)?)?;
    let classes = Priority::builder(&limiter, "class", SECOND)
        .class("customer", 30_000)
        .class("watcher", 500)
        .shed(20, 10)
        .build()?;
    let layer = RateLimitLayer::builder(&limiter)
        .level(&customer, |request| customer_of(&request.headers))
        // The load plays the proxy that a shop stands behind.
        .client(&address, TrustedProxies::hops(1))
        .level(&endpoint, |request| Some(endpoint_of(request.uri.path())))
        .priority(&classes, class_of, |_| Some("shop"))
        .build()?;
    Ok(layer)
}

/// Whoever does not say who they are is limited by their address alone.
fn customer_of(headers: &HeaderMap) -> Option<String> {
    let named = headers.get(CUSTOMER).and_then(|name| name.to_str().ok());
    let cookies = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let cookie = || {
        cookies
            .flat_map(|line| line.split(';'))
            .find_map(|pair| pair.trim().strip_prefix("customer="))
    };
    named.or_else(cookie).map(str::to_owned)
}

fn endpoint_of(path: &str) -> &'static str {
    match path {
        path if path.ends_with("/fare") => "fare",
        path if path.starts_with("/api/departures") => "departures",
        _ => "route",
    }
}

fn class_of(request: &Parts) -> &'static str {
    match request.headers.get(CLASS) {
        Some(class) if class == "low" => "watcher",
        _ => "customer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_is_known_by_header_or_cookie() {
        let of = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            customer_of(&headers)
        };
        assert_eq!(of("x-customer", "c7").as_deref(), Some("c7"));
        assert_eq!(of("cookie", "theme=dark; customer=c8; x=1").as_deref(), Some("c8"));
        assert_eq!(of("cookie", "theme=dark"), None);
    }

    #[test]
    fn endpoints_are_told_apart() {
        let of = |path| endpoint_of(path);
        assert_eq!(of("/api/route/SEA/LAX"), "route");
        assert_eq!(of("/api/route/SEA/LAX/fare"), "fare");
        assert_eq!(of("/api/departures/state/WA"), "departures");
    }
}
