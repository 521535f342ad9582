//! The load's side of HTTP: keep-alive connections on loopback, without TLS.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::Deserialize;

use super::Ask;
use crate::catalog::Catalog;
use crate::origin::Product;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Client {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    addresses: Vec<SocketAddr>,
}

/// The answer did not come.
#[derive(Debug)]
pub(super) struct Lost;

#[derive(Deserialize)]
struct RouteAnswer {
    product: Product,
}

#[derive(Deserialize)]
struct PageAnswer {
    items: Vec<Product>,
}

impl Client {
    pub(super) fn new(addresses: Vec<SocketAddr>, connections: usize) -> Self {
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
    ) -> Result<(StatusCode, Bytes), Lost> {
        let (method, path, body) = request(ask, catalog);
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.addresses[instance]))
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| Lost)?;
        let answer = async {
            let response = self.http.request(request).await.map_err(|_| Lost)?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|_| Lost)?;
            Ok((status, body.to_bytes()))
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
