//! Errors as JSON that says what is wrong, with what, and what is allowed.

use axum::Json;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::origin::OriginError;

/// An answer that is no success.
#[derive(Debug, Clone, Serialize)]
pub struct ApiError {
    #[serde(skip)]
    status: StatusCode,
    /// What is wrong.
    error: String,
    /// Which part of the request.
    field: &'static str,
    /// What was given there.
    given: String,
    /// What may be given instead.
    allowed: String,
}

impl ApiError {
    /// A value that is malformed or out of range (400).
    pub(crate) fn bad(
        field: &'static str,
        given: &str,
        error: &str,
        allowed: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::BAD_REQUEST, field, given, error, allowed)
    }

    /// A name that nothing has (404).
    pub(crate) fn unknown(
        field: &'static str,
        given: &str,
        error: &str,
        allowed: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::NOT_FOUND, field, given, error, allowed)
    }

    /// Too much at once (429).
    pub(crate) fn too_many(
        field: &'static str,
        given: &str,
        error: &str,
        allowed: impl Into<String>,
    ) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, field, given, error, allowed)
    }

    fn new(
        status: StatusCode,
        field: &'static str,
        given: &str,
        error: &str,
        allowed: impl Into<String>,
    ) -> Self {
        // Long input is not sent back whole.
        let given = given.chars().take(64).collect();
        Self { status, error: error.to_owned(), field, given, allowed: allowed.into() }
    }
}

impl From<OriginError> for ApiError {
    fn from(error: OriginError) -> Self {
        tracing::error!(%error, "the database did not answer");
        let status = match error {
            OriginError::Busy | OriginError::Refused => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, "database", "", &error.to_string(), "try again")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

pub(super) async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::unknown("path", uri.path(), "there is nothing here", PATHS)
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let allowed = if POSTED.iter().any(|end| uri.path().ends_with(end)) { "POST" } else { "GET" };
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        method.as_str(),
        "not with this method",
        allowed,
    )
}

const PATHS: &str = "/, /route/{origin}/{destination}, /airport/{iata}, /state/{state}, \
     /api/route/{origin}/{destination}, /api/route/{origin}/{destination}/fare, \
     /api/departures/airport/{iata}, /api/departures/state/{state}, /api/load?rate=, /api/stampede, /api/flood, /api/map, /events";

/// How the paths end that change something.
const POSTED: [&str; 4] = ["/fare", "/api/load", "/api/stampede", "/api/flood"];
