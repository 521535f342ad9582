//! The breaker that a fleet shares.

pub(crate) mod acl;
mod fleet;
mod node;
mod outage;
mod processes;
mod support;
#[cfg(feature = "tower")]
mod tower;
