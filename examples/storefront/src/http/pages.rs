//! Pages for people: plain HTML, made on the server, light.

use std::fmt::Write;

use axum::extract::{Extension, Path, Query, State};
use axum::response::Html;

use super::{ApiError, Site, answer, api, input};
use crate::catalog::Airport;
use crate::metrics::Answer;
use crate::origin::{Place, Product};
use crate::shop::{Page, Served};

type Shown = Result<(Extension<Answer>, Html<String>), ApiError>;

pub(super) async fn route(
    State(site): State<Site>,
    Path((origin, destination)): Path<(String, String)>,
    Query(query): Query<input::Query>,
) -> Shown {
    let served = api::product(&site, &origin, &destination, &query).await?;
    let product = &served.value;
    let (from, to) = site.shop.catalog().ends(product.route);
    let mut body = String::new();
    let _ = write!(
        body,
        "<h1>{} to {}</h1><p class=sub>{}, {} → {}, {}</p><p class=fare>{}</p><dl>\
         <dt>Departure</dt><dd>{} of {}, {}</dd><dt>Seats left</dt><dd>{}</dd>\
         <dt>Distance</dt><dd>{} km</dd><dt>Flights in 2008</dt><dd>{}</dd></dl>\
         <p><a href=\"/airport/{}\">All departures from {}</a></p>",
        escape(&from.city),
        escape(&to.city),
        escape(&from.name),
        from.iata,
        escape(&to.name),
        to.iata,
        dollars(product.fare_cents),
        product.number,
        product.departures,
        departs(product.departs),
        product.seats,
        product.distance_km,
        product.flights,
        from.iata,
        from.iata,
    );
    let title = format!("{} to {}", from.iata, to.iata);
    Ok((Extension(answer(&served)), shell(&title, &body, &served)))
}

pub(super) async fn airport(
    State(site): State<Site>,
    Path(iata): Path<String>,
    Query(query): Query<input::Query>,
) -> Shown {
    let iata = input::airport(site.shop.catalog(), "iata", &iata)?;
    let Some(airport) = site.shop.catalog().airport(&iata) else {
        return Err(ApiError::unknown("iata", &iata, "no such airport", "an IATA code"));
    };
    let title = format!("Departures from {} ({iata})", airport.city);
    let state = format!("<a href=\"/state/{0}\">{0}</a>", airport.state);
    let sub = format!("{}, {state}", escape(&airport.name));
    list(&site, Place::Airport(iata.clone()), &query, &title, &sub, &format!("/airport/{iata}"))
        .await
}

pub(super) async fn state(
    State(site): State<Site>,
    Path(state): Path<String>,
    Query(query): Query<input::Query>,
) -> Shown {
    let place = input::state(site.shop.catalog(), &state)?;
    let state = state.to_ascii_uppercase();
    let title = format!("Departures from {state}");
    list(&site, place, &query, &title, "Cheapest first", &format!("/state/{state}")).await
}

async fn list(
    site: &Site,
    place: Place,
    query: &input::Query,
    title: &str,
    sub: &str,
    path: &str,
) -> Shown {
    let served = api::page(site, place, query).await?;
    let mut body = format!(
        "<h1>{}</h1><p class=sub>{sub}</p><table><thead><tr><th>From<th>To<th class=n>Fare<th class=n>Seats<th class=n>km</tr></thead>",
        escape(title)
    );
    for product in &served.value.items {
        let (from, to) = site.shop.catalog().ends(product.route);
        row(&mut body, product, from, to);
    }
    body.push_str("</table>");
    turn(&mut body, &served.value, path);
    Ok((Extension(answer(&served)), shell(title, &body, &served)))
}

fn row(body: &mut String, product: &Product, from: &Airport, to: &Airport) {
    let _ = write!(
        body,
        "<tr><td>{0}<td><a href=\"/route/{0}/{1}\">{1}</a> {2}<td class=n>{3}<td class=n>{4}<td class=n>{5}",
        from.iata,
        to.iata,
        escape(&to.city),
        dollars(product.fare_cents),
        product.seats,
        product.distance_km,
    );
}

/// Links to the pages beside this one.
fn turn(body: &mut String, page: &Page, path: &str) {
    let link = |number: u32, word: &str| {
        format!("<a href=\"{path}?page={number}&per_page={}\">{word}</a> ", page.per_page)
    };
    body.push_str("<p class=turn>");
    if page.page > 1 {
        body.push_str(&link(page.page - 1, "← Before"));
    }
    let _ = write!(body, "Page {} of {} · {} routes ", page.page, page.pages, page.total);
    if page.page < page.pages {
        body.push_str(&link(page.page + 1, "Next →"));
    }
    body.push_str("</p>");
}

fn shell<T>(title: &str, body: &str, served: &Served<T>) -> Html<String> {
    let source = if served.from_cache { "the cache" } else { "the database" };
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width,initial-scale=1\">\
         <title>{}</title><style>{STYLE}</style><nav><a href=\"/\">storefront</a></nav>\
         <main>{body}</main><footer>Served from {source}.</footer></html>",
        escape(title),
    ))
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:light-dark(#1d2126,#e6e8eb);--soft:light-dark(#5d6670,#9aa4af);\
--line:light-dark(#e3e6ea,#2a3037);--link:light-dark(#0b62a8,#6db3f2)}\
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:light-dark(#fbfbfa,#14171b);\
max-width:44rem;margin:0 auto;padding:1.5rem;font-variant-numeric:tabular-nums}\
a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}\
h1{font-size:1.6rem;line-height:1.2;margin:1.5rem 0 .25rem}.sub,footer,.turn,dt{color:var(--soft)}\
.fare{font-size:2.6rem;font-weight:600;margin:1rem 0}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.3rem 1.5rem}dd{margin:0}\
table{width:100%;border-collapse:collapse;margin:1rem 0}\
th{text-align:left;font-weight:500;color:var(--soft)}td,th{padding:.35rem .5rem .35rem 0;\
border-bottom:1px solid var(--line)}.n{text-align:right}footer{margin-top:2rem;font-size:.875rem}";

fn dollars(cents: u32) -> String {
    let dollars = (cents / 100).to_string();
    let grouped = match dollars.len() {
        4.. => format!("{},{}", &dollars[..dollars.len() - 3], &dollars[dollars.len() - 3..]),
        _ => dollars,
    };
    format!("${grouped}.{:02}", cents % 100)
}

/// Minutes since the beginning of 2008, as a date and a time.
fn departs(minutes: u32) -> String {
    const MONTHS: [(&str, u32); 12] = [
        ("January", 31),
        ("February", 29),
        ("March", 31),
        ("April", 30),
        ("May", 31),
        ("June", 30),
        ("July", 31),
        ("August", 31),
        ("September", 30),
        ("October", 31),
        ("November", 30),
        ("December", 31),
    ];
    let mut day = minutes / (24 * 60);
    let (hour, minute) = (minutes / 60 % 24, minutes % 60);
    for (month, days) in MONTHS {
        if day < days {
            return format!("{} {month}, {hour:02}:{minute:02}", day + 1);
        }
        day -= days;
    }
    format!("{hour:02}:{minute:02}")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
