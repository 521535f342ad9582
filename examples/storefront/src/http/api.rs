//! The JSON side.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, Query, State};
use serde::Serialize;
use serde_json::{Value, json};

use super::{ApiError, Site, answer, input};
use crate::flood::{self, Flood};
use crate::metrics::Answer;
use crate::origin::{Place, Product, ProductId};
use crate::shop::{Page, Removal, Served};
use crate::stampede::{self, Stampede};

/// Where an answer came from.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Source {
    Cache,
    Database,
}

#[derive(Debug, Serialize)]
pub(super) struct RouteAnswer {
    product: Product,
    served_from: Source,
}

#[derive(Debug, Serialize)]
pub(super) struct PageAnswer {
    #[serde(flatten)]
    page: Page,
    served_from: Source,
}

#[derive(Debug, Serialize)]
pub(super) struct FareAnswer {
    #[serde(flatten)]
    id: ProductId,
    fare_cents: u32,
    cache: Removal,
}

type Answered<T> = Result<(Extension<Answer>, Json<T>), ApiError>;

pub(super) async fn route(
    State(site): State<Site>,
    Path((origin, destination)): Path<(String, String)>,
    Query(query): Query<input::Query>,
) -> Answered<RouteAnswer> {
    let served = product(&site, &origin, &destination, &query).await?;
    let product = served.value.clone();
    Ok((Extension(answer(&served)), Json(RouteAnswer { product, served_from: source(&served) })))
}

pub(super) async fn airport(
    State(site): State<Site>,
    Path(iata): Path<String>,
    Query(query): Query<input::Query>,
) -> Answered<PageAnswer> {
    let place = Place::Airport(input::airport(site.shop.catalog(), "iata", &iata)?);
    departures(&site, place, &query).await
}

pub(super) async fn state(
    State(site): State<Site>,
    Path(state): Path<String>,
    Query(query): Query<input::Query>,
) -> Answered<PageAnswer> {
    let place = input::state(site.shop.catalog(), &state)?;
    departures(&site, place, &query).await
}

pub(super) async fn change_fare(
    State(site): State<Site>,
    Path((origin, destination)): Path<(String, String)>,
    Query(query): Query<input::Query>,
    body: Bytes,
) -> Answered<FareAnswer> {
    let catalog = site.shop.catalog();
    let origin = input::airport(catalog, "origin", &origin)?;
    let destination = input::airport(catalog, "destination", &destination)?;
    let Some(route) = catalog.route(&origin, &destination) else {
        return Err(no_route(&site, &origin, &destination));
    };
    let number = input::departure(&query, site.shop.departures_of(route))?;
    let fare_cents = input::fare(&body)?;
    let id = ProductId { route, number };
    match site.shop.change_fare(id, fare_cents).await? {
        Some(cache) => Ok((Extension(Answer::Change), Json(FareAnswer { id, fare_cents, cache }))),
        None => Err(no_route(&site, &origin, &destination)),
    }
}

pub(super) async fn set_rate(
    State(site): State<Site>,
    Query(query): Query<input::Query>,
) -> Result<Json<Value>, ApiError> {
    let rate = input::rate(&query)?;
    site.progress.set_rate(rate);
    Ok(Json(json!({ "rate": rate })))
}

/// On the busiest route.
pub(super) async fn stampede(State(site): State<Site>) -> Result<Json<Stampede>, ApiError> {
    Ok(Json(stampede::run(&site.shops, site.shop.catalog().busiest()).await?))
}

/// Of the busiest route, by one client; one flood at a time.
pub(super) async fn flood(State(site): State<Site>) -> Result<Json<Flood>, ApiError> {
    let Ok(_turn) = site.flooding.try_acquire() else {
        return Err(ApiError::too_many("flood", "", "there is a flood already", "one at a time"));
    };
    let flood = flood::run(&site.addresses, site.shop.catalog(), flood::LASTS);
    // One that is cut short has nothing to tell to whom it would.
    Ok(Json(site.end.run_until_cancelled(flood).await.unwrap_or_default()))
}

/// The product that a path and a query name. Also a pair of airports without a route goes to the
/// shop, which remembers that there is none.
pub(super) async fn product(
    site: &Site,
    origin: &str,
    destination: &str,
    query: &input::Query,
) -> Result<Served<Product>, ApiError> {
    let catalog = site.shop.catalog();
    let origin = input::airport(catalog, "origin", origin)?;
    let destination = input::airport(catalog, "destination", destination)?;
    let most =
        catalog.route(&origin, &destination).map_or(1, |route| site.shop.departures_of(route));
    let number = input::departure(query, most)?;
    let served = site.shop.product(&origin, &destination, number).await?;
    match served.value {
        Some(value) => {
            Ok(Served { value, from_cache: served.from_cache, without_cache: served.without_cache })
        }
        None => Err(no_route(site, &origin, &destination)),
    }
}

/// The page that a query names.
pub(super) async fn page(
    site: &Site,
    place: Place,
    query: &input::Query,
) -> Result<Served<Page>, ApiError> {
    let total = site.shop.routes_from(&place).len() as u32;
    let (page, per_page) = input::page(query, total)?;
    Ok(site.shop.departures(place, page, per_page).await?)
}

async fn departures(site: &Site, place: Place, query: &input::Query) -> Answered<PageAnswer> {
    let served = page(site, place, query).await?;
    let (answer, served_from) = (answer(&served), source(&served));
    Ok((Extension(answer), Json(PageAnswer { page: served.value, served_from })))
}

fn no_route(site: &Site, origin: &str, destination: &str) -> ApiError {
    let catalog = site.shop.catalog();
    let near: Vec<&str> = catalog
        .routes_from(origin)
        .iter()
        .take(5)
        .map(|route| catalog.ends(*route).1.iata.as_str())
        .collect();
    let allowed = match near.as_slice() {
        [] => format!("nothing leaves {origin}"),
        near => format!(
            "{} destinations from {origin}, such as {}",
            catalog.routes_from(origin).len(),
            near.join(", ")
        ),
    };
    ApiError::unknown("destination", destination, "no such route", allowed)
}

fn source<T>(served: &Served<T>) -> Source {
    if served.from_cache { Source::Cache } else { Source::Database }
}
