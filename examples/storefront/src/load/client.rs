//! The load's side of HTTP: keep-alive connections on loopback, without TLS. It plays the proxy that a shop stands behind,
//! so each request says whom it is for.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::RETRY_AFTER;
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;

use super::Ask;
use crate::catalog::Catalog;
use crate::limits::{CLASS, CUSTOMER, FALLBACK};
use crate::origin::Product;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Customers of the shop: so many that also the highest load asks for less than each of them may.
const CUSTOMERS: u32 = 2_000;

/// Customers behind one address.
const HOUSEHOLD: u32 = 4;

/// One in so many is a program that watches prices.
const WATCHERS: u32 = 20;

#[derive(Debug)]
pub(crate) struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    addresses: Vec<SocketAddr>,
}

/// The answer did not come.
#[derive(Debug)]
pub(crate) struct Lost;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// It was let in without Redis.
    pub(crate) fallback: bool,
    retry_after: Option<u64>,
}

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Over a limit; after so many seconds it is not.
    Denied { retry_after: Option<u64> },
    /// Others need the room.
    Shed,
}

/// Whom a request comes from.
#[derive(Debug, Clone)]
pub(crate) struct Visitor {
    customer: String,
    address: Ipv4Addr,
    watches: bool,
}

#[derive(Deserialize)]
struct RouteAnswer {
    product: Product,
}

#[derive(Deserialize)]
struct PageAnswer {
    items: Vec<Product>,
}

#[derive(Deserialize)]
struct Problem {
    r#type: String,
}

impl Visitor {
    /// One of the customers, by chance.
    pub(crate) fn anybody() -> Self {
        let number = rand::random_range(0..CUSTOMERS);
        let address = Ipv4Addr::from_bits(0x0a01_0000 + number / HOUSEHOLD);
        let watches = number.is_multiple_of(WATCHERS);
        Self { customer: format!("c{number}"), address, watches }
    }

    /// The one that floods.
    pub(crate) fn flood() -> Self {
        let address = Ipv4Addr::new(203, 0, 113, 7);
        Self { customer: "flood".to_owned(), address, watches: false }
    }
}

impl Reply {
    /// Why it was not let in, if it was not.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            return Some(Refusal::Denied { retry_after: self.retry_after });
        }
        let is_problem = || serde_json::from_slice(&self.body).ok();
        let problem: Problem =
            (self.status == StatusCode::SERVICE_UNAVAILABLE).then(is_problem)??;
        problem.r#type.ends_with("#temporary-reduced-capacity").then_some(Refusal::Shed)
    }
}

impl Client {
    pub(crate) fn new(addresses: Vec<SocketAddr>, connections: usize) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(connections)
            .build(connector);
        Self { http, addresses }
    }

    pub(super) async fn send(
        &self,
        instance: usize,
        ask: &Ask,
        catalog: &Catalog,
    ) -> Result<Reply, Lost> {
        let (method, path, body) = request(ask, catalog);
        self.ask(instance, method, &path, body, &Visitor::anybody()).await
    }

    pub(crate) async fn get(
        &self,
        turn: usize,
        path: &str,
        visitor: &Visitor,
    ) -> Result<Reply, Lost> {
        self.ask(turn % self.addresses.len(), Method::GET, path, String::new(), visitor).await
    }

    async fn ask(
        &self,
        instance: usize,
        method: Method,
        path: &str,
        body: String,
        visitor: &Visitor,
    ) -> Result<Reply, Lost> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.addresses[instance]))
            .header(CUSTOMER, &visitor.customer)
            .header("x-forwarded-for", visitor.address.to_string());
        if visitor.watches {
            request = request.header(CLASS, "low");
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|_| Lost)?;
        let answer = async {
            let response = self.http.request(request).await.map_err(|_| Lost)?;
            let status = response.status();
            let retry_after = response.headers().get(RETRY_AFTER);
            let retry_after = retry_after.and_then(|after| after.to_str().ok()?.parse().ok());
            let fallback = response.headers().contains_key(FALLBACK);
            let body = response.into_body().collect().await.map_err(|_| Lost)?;
            Ok(Reply { status, body: body.to_bytes(), fallback, retry_after })
        };
        tokio::time::timeout(PATIENCE, answer).await.map_err(|_| Lost)?
    }
}
/// The products in an answer; `None` if it is not the answer that `ask` should get.
pub(super) fn products(ask: &Ask, status: StatusCode, body: &[u8]) -> Option<Vec<Product>> {
    if status != StatusCode::OK {
        return None;
    }
    match ask {
        Ask::Route(_) => {
            serde_json::from_slice(body).ok().map(|RouteAnswer { product }| vec![product])
        }
        Ask::Airport { .. } | Ask::State { .. } => {
            serde_json::from_slice(body).ok().map(|PageAnswer { items }| items)
        }
        Ask::Fare { .. } => Some(Vec::new()),
    }
}

fn request(ask: &Ask, catalog: &Catalog) -> (Method, String, String) {
    let ends = |route: u32| {
        let (from, to) = catalog.ends(route);
        format!("/api/route/{}/{}", from.iata, to.iata)
    };
    match ask {
        Ask::Route(id) => {
            (Method::GET, format!("{}?departure={}", ends(id.route), id.number), String::new())
        }
        Ask::Airport { iata, page } => {
            (Method::GET, format!("/api/departures/airport/{iata}?page={page}"), String::new())
        }
        Ask::State { state, page } => {
            (Method::GET, format!("/api/departures/state/{state}?page={page}"), String::new())
        }
        Ask::Fare { id, fare_cents } => (
            Method::POST,
            format!("{}/fare?departure={}", ends(id.route), id.number),
            format!(r#"{{"fare_cents":{fare_cents}}}"#),
        ),
    }
}
