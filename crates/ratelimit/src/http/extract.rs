//! [`Limited`] as an extractor of axum.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use super::Limited;

/// No [`RateLimitLayer`](super::RateLimitLayer) has decided of this request, or none of its levels applied to it: answered by
/// 500. A handler that may stand without limits takes an `Option<Limited>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no limit was applied to this request: is there a RateLimitLayer, and has it a level for it?"
)]
pub struct NotLimited;

impl<S: Send + Sync> FromRequestParts<S> for Limited {
    type Rejection = NotLimited;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotLimited> {
        parts.extensions.get().cloned().ok_or(NotLimited)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for Limited {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}

impl IntoResponse for NotLimited {
    fn into_response(self) -> Response {
        tracing::error!("{self}");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
