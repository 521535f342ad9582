//! Lists and their pages, also at their ends, and the pages for people.

use russet_storefront::app::App;
use serde_json::Value;

use crate::support::{NOBODY, Visitor, open};

async fn items(visitor: &Visitor, path: &str) -> Vec<(u64, u64)> {
    let (status, page) = visitor.get(path).await;
    assert_eq!(status, 200, "{path}: {page}");
    let items = page["items"].as_array().unwrap();
    items
        .iter()
        .map(|i| (i["fare_cents"].as_u64().unwrap(), i["route"].as_u64().unwrap()))
        .collect()
}

async fn whole(app: &App, path: &str, per_page: usize, total: usize) -> Vec<(u64, u64)> {
    let visitor = Visitor::of(app);
    let mut all = Vec::new();
    for page in 1..=total.div_ceil(per_page) {
        let part = items(&visitor, &format!("{path}?page={page}&per_page={per_page}")).await;
        let expected = if page * per_page <= total { per_page } else { total % per_page };
        assert_eq!(part.len(), expected, "page {page} of {per_page}");
        all.extend(part);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_any_length_make_the_same_list() {
    let app = open(NOBODY).await;
    let total = app.shop().catalog().routes_from("ATL").len();
    assert_eq!(total, 173);
    let path = "/api/departures/airport/ATL";
    let by_20 = whole(&app, path, 20, total).await;
    assert!(by_20.is_sorted(), "cheapest first");
    for per_page in [1, 7, 33, 100] {
        if per_page > 1 {
            assert_eq!(whole(&app, path, per_page, total).await, by_20);
        }
    }
    let mut listed: Vec<u64> = by_20.iter().map(|(_, route)| *route).collect();
    listed.sort_unstable();
    let known: Vec<u64> =
        app.shop().catalog().routes_from("ATL").iter().map(|r| u64::from(*r)).collect();
    assert_eq!(listed, known, "each route once");
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn first_last_and_empty_pages() {
    let app = open(NOBODY).await;
    let visitor = Visitor::of(&app);
    let (_, first) = visitor.get("/api/departures/state/ca").await;
    assert_eq!(first["page"], 1, "the default page");
    assert_eq!(first["per_page"], 20, "its default length");
    let total = first["total"].as_u64().unwrap();
    assert_eq!(first["pages"].as_u64().unwrap(), total.div_ceil(20));
    let (_, last) = visitor.get(&format!("/api/departures/state/CA?page={}", first["pages"])).await;
    assert_eq!(last["items"].as_array().unwrap().len() as u64, (total - 1) % 20 + 1);

    let catalog = app.shop().catalog();
    let deserted =
        catalog.airports.iter().find(|a| catalog.routes_from(&a.iata).is_empty()).unwrap();
    let (status, empty) = visitor.get(&format!("/api/departures/airport/{}", deserted.iata)).await;
    assert_eq!((status, &empty["pages"], &empty["total"]), (200, &Value::from(1), &Value::from(0)));
    assert_eq!(empty["items"], Value::Array(Vec::new()));
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_shows_the_products_that_route_pages_show() {
    let app = open(NOBODY).await;
    let visitor = Visitor::of(&app);
    let (_, page) = visitor.get("/api/departures/airport/SEA").await;
    for item in page["items"].as_array().unwrap() {
        let path = format!("/api/route/SEA/{}", item["destination"].as_str().unwrap());
        let (status, route) = visitor.get(&path).await;
        assert_eq!((status, &route["product"]), (200, item));
    }
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_for_people() {
    let app = open(NOBODY).await;
    let visitor = Visitor::of(&app);
    for (path, words) in [
        ("/route/sea/lax", "Seattle to Los Angeles"),
        ("/airport/HNL", "Departures from Honolulu (HNL)"),
        ("/airport/ATL?page=2", "Page 2 of 9"),
        ("/state/WA", "Departures from WA"),
        ("/", "Origin queries saved"),
    ] {
        let (status, html) = visitor.get(path).await;
        let html = html.as_str().unwrap();
        assert_eq!(status, 200, "{path}");
        assert!(html.contains(words), "{path} lacks {words}");
        assert!(html.starts_with("<!doctype html>"), "{path}");
    }
    app.close().await;
}

#[test]
fn the_dashboard_needs_nothing_from_outside() {
    let page = include_str!("../../src/dashboard.html").replace("http://www.w3.org/2000/svg", "");
    for outside in ["http:", "https:", "src=\"", "@import", "url(", "<link rel=\"stylesheet"] {
        assert!(!page.contains(outside), "the dashboard has {outside}");
    }
}
