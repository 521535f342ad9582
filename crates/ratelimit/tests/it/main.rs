//! Limits and breakers against real servers, well and under fault.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod acl;
mod adaptive;
mod calls;
mod composite;
mod denials;
mod endpoint;
mod fleet_breaker;
#[cfg(feature = "http")]
mod http;
mod leases;
mod levels;
mod never_above;
mod nodes;
#[cfg(feature = "metrics")]
mod observed;
mod outage;
mod policies;
mod size;
mod support;
mod waiting;
