//! The breaker that a fleet shares.

pub(crate) mod acl;
mod fleet;
mod node;
mod outage;
mod processes;
pub(crate) mod support;
#[cfg(feature = "tower")]
mod tower;
