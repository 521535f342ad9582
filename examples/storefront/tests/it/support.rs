//! A shop to ask, and a way to ask it.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use russet_storefront::app::{App, Settings};
use russet_storefront::load::{Mix, Popularity};
use serde_json::Value;

/// An address where nobody listens: port 1 is reserved.
pub(crate) const NOBODY: &str = "redis://127.0.0.1:1";

pub(crate) fn settings(redis: &str) -> Settings {
    Settings {
        redis: redis.to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        products: 20_000,
        rate: 0,
        popularity: Popularity::Flights,
        mix: Mix::default(),
        data: None,
        origin_delay: Duration::ZERO,
        seed: 7,
    }
}

pub(crate) async fn open(redis: &str) -> App {
    App::open(settings(redis), |_| {}).await.unwrap()
}

pub(crate) struct Visitor {
    http: Client<HttpConnector, Full<Bytes>>,
    base: String,
    customer: Option<&'static str>,
    class: Option<&'static str>,
}

impl Visitor {
    pub(crate) fn of(app: &App) -> Self {
        Self::each(app).swap_remove(0)
    }

    /// One of each instance.
    pub(crate) fn each(app: &App) -> Vec<Self> {
        let of = |address| {
            let http = Client::builder(TokioExecutor::new()).build_http();
            Self { http, base: format!("http://{address}"), customer: None, class: None }
        };
        app.addresses().map(of).collect()
    }

    /// As this customer.
    pub(crate) fn known_as(mut self, customer: &'static str) -> Self {
        self.customer = Some(customer);
        self
    }

    /// Of this class.
    pub(crate) fn of_class(mut self, class: &'static str) -> Self {
        self.class = Some(class);
        self
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.ask(Method::POST, path, body).await
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.raw(method, path, body).await;
        let value = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        (status, value)
    }

    async fn raw(&self, method: Method, path: &str, body: &str) -> (u16, Bytes) {
        // Somebody else each time, as the proxy tells it: limits of addresses are no matter here.
        static PEOPLE: AtomicU32 = AtomicU32::new(0x0a00_0000);
        let address = Ipv4Addr::from_bits(PEOPLE.fetch_add(1, Relaxed));
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header("x-forwarded-for", address.to_string());
        if let Some(customer) = self.customer {
            request = request.header("x-customer", customer);
        }
        if let Some(class) = self.class {
            request = request.header("x-class", class);
        }
        let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
        let response = self.http.request(request).await.unwrap();
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    }

    /// The stream of the dashboard, as text, piece by piece.
    pub(crate) async fn stream(&self) -> hyper::body::Incoming {
        let request = Request::get(format!("{}/events", self.base)).body(Full::default()).unwrap();
        let response = self.http.request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body()
    }
}

pub(crate) fn fare(answer: &Value) -> u64 {
    answer["product"]["fare_cents"].as_u64().unwrap_or_else(|| panic!("no fare in {answer}"))
}

pub(crate) fn from_cache(answer: &Value) -> bool {
    match answer["served_from"].as_str() {
        Some("cache") => true,
        Some("database") => false,
        _ => panic!("no source in {answer}"),
    }
}

/// Waits for a frame of the feed that `wanted` picks; there are five a second.
pub(crate) async fn frame(app: &App, mut wanted: impl FnMut(&Value) -> bool) -> Value {
    let (_, mut frames) = app.feed().listen();
    let found = async {
        loop {
            let frame = serde_json::from_str(&frames.recv().await.unwrap()).unwrap();
            if wanted(&frame) {
                break frame;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.expect("no such frame in 30 s")
}

pub(crate) async fn state(app: &App, state: &str) {
    frame(app, |frame| frame["state"] == state).await;
}
