//! The answer to a request that is not admitted: a problem document (RFC 9457).

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::{Decision, Reason};

const TYPES: &str = "https://iana.org/assignments/http-problem-types#";

/// Of a denial.
pub(super) fn denied(decision: &Decision) -> Response<Bytes> {
    let (status, of, title) = match decision.reason() {
        Reason::OverLimit => {
            (StatusCode::TOO_MANY_REQUESTS, "quota-exceeded", "The quota of a limit is exceeded")
        }
        Reason::Blocked => {
            (StatusCode::TOO_MANY_REQUESTS, "abnormal-usage-detected", "Blocked for a while")
        }
        Reason::Denied => return plain(StatusCode::FORBIDDEN, None),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "temporary-reduced-capacity",
            "There is no room for this request for a while",
        ),
    };
    let violated = decision.levels.iter().filter(|level| level.denies && !level.shadow);
    let violated: Vec<&str> = violated.map(|level| &*level.name).collect();
    let status_code = status.as_u16();
    let mut problem =
        json!({ "type": format!("{TYPES}{of}"), "title": title, "status": status_code });
    if !violated.is_empty() {
        problem["violated-policies"] = violated.into();
    }
    respond(status, &problem)
}

/// One that a status says all of.
pub(super) fn plain(status: StatusCode, detail: Option<String>) -> Response<Bytes> {
    let title = status.canonical_reason().unwrap_or("Not admitted");
    let mut problem = json!({ "type": "about:blank", "title": title, "status": status.as_u16() });
    if let Some(detail) = detail {
        problem["detail"] = detail.into();
    }
    respond(status, &problem)
}

fn respond(status: StatusCode, problem: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(problem.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
