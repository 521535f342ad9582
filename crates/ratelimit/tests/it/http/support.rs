//! A service behind limits, and what it answers.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use russet_ratelimit::http::RateLimitLayer;
use serde_json::Value;
use sfv::{BareItem, ListEntry, Parser};
use tower::{Layer, ServiceExt, service_fn};

/// A service that counts its calls, behind these limits.
#[derive(Clone)]
pub(crate) struct Site {
    layer: RateLimitLayer,
    calls: Arc<AtomicU64>,
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Site {
    pub(crate) fn new(layer: &RateLimitLayer) -> Self {
        Self { layer: layer.clone(), calls: Arc::default() }
    }

    /// How many requests have reached the service.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// Of this user.
    pub(crate) async fn get(&self, user: &str) -> Answer {
        self.send(Request::get("/").header("x-user", user)).await
    }

    pub(crate) async fn send(&self, request: http::request::Builder) -> Answer {
        let calls = self.calls.clone();
        let service = service_fn(move |request: Request<String>| {
            calls.fetch_add(1, Relaxed);
            async move { Ok::<_, Infallible>(Response::new(request.into_body())) }
        });
        let request = request.body("\"served\"".to_owned()).unwrap();
        read(self.layer.layer(service).oneshot(request).await.unwrap()).await
    }
}

/// Who the request says that it is.
pub(crate) fn user(request: &Parts) -> Option<String> {
    Some(request.headers.get("x-user")?.to_str().ok()?.to_owned())
}

pub(crate) async fn read<B: BodyExt>(response: Response<B>) -> Answer
where
    B::Error: std::fmt::Debug,
{
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.header(name).map(|value| value.parse().unwrap())
    }

    /// A field of the draft, by a parser that is not ours: the name of each member with these parameters.
    pub(crate) fn list(
        &self,
        name: &str,
        of: [&str; 2],
    ) -> Vec<(String, Option<i64>, Option<i64>)> {
        let lines: Vec<_> = self.headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
        if lines.is_empty() {
            return Vec::new();
        }
        let list: sfv::List = Parser::new(&lines.join(&b","[..])).parse().unwrap();
        let member = |member: &ListEntry| {
            let ListEntry::Item(item) = member else { panic!("{member:?}") };
            let BareItem::String(name) = &item.bare_item else { panic!("{item:?}") };
            let [one, other] = of.map(|of| {
                let integer = |value: &BareItem| i64::from(value.as_integer().unwrap());
                item.params.get(of).map(integer)
            });
            (name.as_str().to_owned(), one, other)
        };
        list.iter().map(member).collect()
    }

    pub(crate) fn policies(&self) -> Vec<(String, Option<i64>, Option<i64>)> {
        self.list("ratelimit-policy", ["q", "w"])
    }

    pub(crate) fn limits(&self) -> Vec<(String, Option<i64>, Option<i64>)> {
        self.list("ratelimit", ["r", "t"])
    }

    /// That this is a problem document, and of this type.
    pub(crate) fn is_problem(&self, status: StatusCode, of: &str) {
        assert_eq!(self.status, status.as_u16(), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(self.body["status"], status.as_u16());
        assert!(self.body["title"].as_str().is_some_and(|title| !title.is_empty()));
        let expected = match of {
            "about:blank" => of.to_owned(),
            of => format!("https://iana.org/assignments/http-problem-types#{of}"),
        };
        assert_eq!(self.body["type"], expected);
    }
}
