//! Limits and breakers against real servers, well and under fault.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod acl;
mod calls;
mod composite;
mod fleet_breaker;
mod levels;
mod processes;
mod size;
mod support;
