//! What a request may say. Each value is read here, once, into what the shop can use.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use serde::Deserialize;

use super::ApiError;
use crate::catalog::Catalog;
use crate::load::HIGHEST_RATE;
use crate::origin::Place;
use crate::shop::BLOCK;

/// Fares in cents: $1 to $10,000.
const FARES: RangeInclusive<i64> = 100..=1_000_000;

/// The longest page.
const LONGEST_PAGE: u32 = 100;

pub(super) type Query = HashMap<String, String>;

/// An airport's code in capitals, if there is such an airport.
pub(super) fn airport(
    catalog: &Catalog,
    field: &'static str,
    given: &str,
) -> Result<String, ApiError> {
    match catalog.airport(given) {
        Some(airport) => Ok(airport.iata.clone()),
        None => Err(ApiError::unknown(
            field,
            given,
            "no such airport",
            format!("one of {} IATA codes, such as ATL, ORD or SEA", catalog.airports.len()),
        )),
    }
}

/// A state's letters in capitals, if it has an airport.
pub(super) fn state(catalog: &Catalog, given: &str) -> Result<Place, ApiError> {
    match catalog.routes_from_state(given) {
        Some(_) => Ok(Place::State(given.to_ascii_uppercase())),
        None => {
            let allowed = catalog.states().collect::<Vec<_>>().join(", ");
            Err(ApiError::unknown("state", given, "no such state", allowed))
        }
    }
}

/// `departure`, from 1 (the default) to `most`.
pub(super) fn departure(query: &Query, most: u32) -> Result<u32, ApiError> {
    number(query, "departure", 1, 1..=most)
}

/// `page` and `per_page` of a list of `total`.
pub(super) fn page(query: &Query, total: u32) -> Result<(u32, u32), ApiError> {
    let per_page = number(query, "per_page", BLOCK, 1..=LONGEST_PAGE)?;
    let pages = total.div_ceil(per_page).max(1);
    Ok((number(query, "page", 1, 1..=pages)?, per_page))
}

/// `rate` in requests a second.
pub(super) fn rate(query: &Query) -> Result<u32, ApiError> {
    match query.get("rate") {
        Some(_) => number(query, "rate", 0, 0..=HIGHEST_RATE),
        None => Err(ApiError::bad("rate", "", "missing", format!("0 to {HIGHEST_RATE}"))),
    }
}

/// The body of a fare change.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FareBody {
    fare_cents: i64,
}

/// The new fare in cents.
pub(super) fn fare(body: &[u8]) -> Result<u32, ApiError> {
    let (least, most) = (FARES.start(), FARES.end());
    let body: FareBody = serde_json::from_slice(body).map_err(|error| {
        let given = String::from_utf8_lossy(body);
        let allowed =
            format!(r#"a JSON object {{"fare_cents": N}}, N a whole number {least} to {most}"#);
        ApiError::bad("body", &given, &format!("not a fare: {error}"), allowed)
    })?;
    if !FARES.contains(&body.fare_cents) {
        let allowed = format!("a whole number of cents, {least} to {most}");
        return Err(ApiError::bad(
            "fare_cents",
            &body.fare_cents.to_string(),
            "out of range",
            allowed,
        ));
    }
    Ok(body.fare_cents as u32)
}

fn number(
    query: &Query,
    field: &'static str,
    default: u32,
    allowed: RangeInclusive<u32>,
) -> Result<u32, ApiError> {
    let Some(given) = query.get(field) else { return Ok(default) };
    let range = || format!("a whole number, {} to {}", allowed.start(), allowed.end());
    match given.parse::<u32>() {
        Ok(number) if allowed.contains(&number) => Ok(number),
        Ok(_) => Err(ApiError::bad(field, given, "out of range", range())),
        Err(_) => Err(ApiError::bad(field, given, "not a whole number in range", range())),
    }
}
