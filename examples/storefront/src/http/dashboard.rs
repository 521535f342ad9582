//! The dashboard: one page, the map it draws, and the stream that moves it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive};
use axum::response::{Html, IntoResponse, Sse};
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::{ApiError, Site};

/// Browsers that may listen at the same time.
const MOST_BROWSERS: u64 = 32;

pub(super) async fn page() -> impl IntoResponse {
    Html(include_str!("../dashboard.html"))
}

/// Everything that does not change: airports in use, routes between them by id, and the position
/// of every airfield in the data, which together draw the country.
pub(super) async fn map(State(site): State<Site>) -> Json<Value> {
    let catalog = site.shop.catalog();
    let airports: Vec<Value> = catalog
        .airports
        .iter()
        .map(|a| json!([a.iata, a.name, a.city, a.state, a.position.0, a.position.1, a.flights]))
        .collect();
    let routes: Vec<Value> =
        catalog.routes.iter().map(|r| json!([r.origin, r.destination, r.flights])).collect();
    let round = |degrees: f64| (degrees * 100.0).round() / 100.0;
    let airfields: Vec<[f64; 2]> =
        catalog.airfields.iter().map(|(lat, lon)| [round(*lat), round(*lon)]).collect();
    let products = site.shop.products_in_all();
    Json(
        json!({ "products": products, "airports": airports, "routes": routes, "airfields": airfields }),
    )
}

/// First `hello` with the last two minutes, then frames, five a second. A browser that does not
/// read gets no frames and holds up nobody.
pub(super) async fn events(
    State(site): State<Site>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let Some(browser) = site.feed.browser(MOST_BROWSERS) else {
        let allowed = format!("{MOST_BROWSERS} at the same time");
        return Err(ApiError::too_many("browsers", "", "too many browsers listen", allowed));
    };
    let (hello, frames) = site.feed.listen();
    let hello = stream::once(async move { Ok(Event::default().event("hello").data(hello)) });
    let frames = stream::unfold((frames, browser), |(mut frames, browser)| async move {
        let frame: Arc<str> = loop {
            match frames.recv().await {
                Ok(frame) => break frame,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        };
        Some((Ok(Event::default().event("frame").data(frame)), (frames, browser)))
    });
    let stream = hello.chain(frames).take_until(site.end.cancelled_owned());
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}
