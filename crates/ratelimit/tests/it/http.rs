//! Limits before a service of HTTP.

mod answers;
#[cfg(feature = "axum")]
mod axum;
mod errors;
mod layer;
mod support;
