//! What is cached, and fare changes.

use std::time::Instant;

use russet_storefront::app::App;
use russet_storefront::headless;
use russet_storefront::load::Mix;
use russet_storefront::shelves::STALENESS;
use russet_testkit::Server;
use serde_json::Value;

use crate::support::{Visitor, fare, from_cache, open, settings, state};

async fn opened(server: &Server) -> (App, Visitor) {
    let app = open(&server.url()).await;
    let visitor = Visitor::of(&app);
    visitor.get("/api/route/ATL/MCO").await;
    state(&app, "ready").await;
    (app, visitor)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fare_change_is_seen_at_once() {
    let server = Server::start().await.unwrap();
    let (app, visitor) = opened(&server).await;
    let path = "/api/route/SEA/LAX";
    let (_, first) = visitor.get(path).await;
    assert!(!from_cache(&first), "nothing is cached yet");
    let (_, second) = visitor.get(path).await;
    assert!(from_cache(&second));
    assert_eq!(second["product"], first["product"], "the cache gives what the database gave");

    for new in [33_300, 44_400] {
        let body = format!(r#"{{"fare_cents":{new}}}"#);
        let (status, changed) = visitor.post(&format!("{path}/fare"), &body).await;
        assert_eq!((status, &changed["cache"]), (200, &Value::from("removed")), "{changed}");
        let (_, after) = visitor.get(path).await;
        assert_eq!(fare(&after), new);
        assert!(!from_cache(&after), "the old entry is gone");
        let (_, again) = visitor.get(path).await;
        assert_eq!(fare(&again), new);
        assert!(from_cache(&again));
    }
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_instance_sees_a_change_at_most_a_second_later() {
    let server = Server::start().await.unwrap();
    let (app, one) = opened(&server).await;
    let other = Visitor::each(&app).pop().unwrap();
    let path = "/api/route/SEA/LAX";
    for _ in 0..3 {
        one.get(path).await;
        other.get(path).await;
    }
    assert!(app.shops().all(|shop| shop.tiers().memory > 0), "both have it in their memory");
    for new in 0..20_u64 {
        let body = format!(r#"{{"fare_cents":{}}}"#, 20_000 + new);
        let (_, changed) = one.post(&format!("{path}/fare"), &body).await;
        let acknowledged = Instant::now();
        assert_eq!(changed["cache"], "removed");
        assert_eq!(fare(&one.get(path).await.1), 20_000 + new, "its own change, at once");
        loop {
            let asked = Instant::now();
            let (_, seen) = other.get(path).await;
            if fare(&seen) == 20_000 + new {
                break;
            }
            let age = asked - acknowledged;
            assert!(age <= STALENESS, "an old fare {age:?} after the change");
        }
    }
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_callers_ask_the_database_once() {
    let server = Server::start().await.unwrap();
    let (app, visitor) = opened(&server).await;
    for _ in 0..3 {
        let (status, stampede) = visitor.post("/api/stampede", "").await;
        assert_eq!(status, 200, "{stampede}");
        assert_eq!((&stampede["callers"], &stampede["instances"]), (&1_000.into(), &2.into()));
        // Where the machine is so slow that Redis does not answer in time, callers go on without it.
        assert!(stampede["queries"] == 1 || stampede["unanswered"] != 0, "{stampede}");
        assert_eq!(stampede["right"], 1_000, "{stampede}");
    }
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_that_show_a_fare_follow_its_change() {
    let server = Server::start().await.unwrap();
    let (app, visitor) = opened(&server).await;
    let lists = ["/api/departures/airport/SEA", "/api/departures/state/WA"];
    for list in lists {
        visitor.get(list).await;
        assert!(from_cache(&visitor.get(list).await.1), "{list}");
    }
    let (_, last) = visitor.get("/api/departures/airport/SEA?page=3").await;
    let dearest = last["items"].as_array().unwrap().last().unwrap().clone();
    let path = format!("/api/route/SEA/{}/fare", dearest["destination"].as_str().unwrap());
    let (_, changed) = visitor.post(&path, r#"{"fare_cents":100}"#).await;
    assert_eq!(changed["cache"], "removed");
    for list in lists {
        let (_, page) = visitor.get(list).await;
        assert_eq!(page["items"][0]["route"], dearest["route"], "{list}: it is the cheapest now");
        assert_eq!(page["items"][0]["fare_cents"], 100, "{list}");
        assert!(from_cache(&visitor.get(list).await.1), "{list}");
    }
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_entry_serves_lists_and_route_pages() {
    let server = Server::start().await.unwrap();
    let (app, visitor) = opened(&server).await;
    let (_, page) = visitor.get("/api/departures/airport/BOS").await;
    let before = app.shop().origin().queries();
    for item in page["items"].as_array().unwrap() {
        let to = item["destination"].as_str().unwrap();
        let (_, route) = visitor.get(&format!("/api/route/BOS/{to}")).await;
        assert!(from_cache(&route), "BOS-{to} was cached by the list");
        assert_eq!(&route["product"], item);
    }
    assert_eq!(app.shop().origin().queries(), before);

    // The other way round: all routes of an airport by their pages; its list then asks for the order alone.
    for route in app.shop().catalog().routes_from("BTV") {
        let to = &app.shop().catalog().ends(*route).1.iata;
        visitor.get(&format!("/api/route/BTV/{to}")).await;
    }
    let before = app.shop().origin().queries();
    visitor.get("/api/departures/airport/BTV").await;
    assert_eq!(app.shop().origin().queries(), before + 1);
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_absence_of_a_route_is_remembered() {
    let server = Server::start().await.unwrap();
    let (app, visitor) = opened(&server).await;
    let before = app.shop().origin().queries();
    for _ in 0..3 {
        assert_eq!(visitor.get("/api/route/SEA/SEA").await.0, 404);
    }
    assert_eq!(app.shop().origin().queries(), before + 1);
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shops_with_different_databases_do_not_read_each_other() {
    let server = Server::start().await.unwrap();
    let (one, visitor_one) = opened(&server).await;
    let (two, visitor_two) = opened(&server).await;
    let path = "/api/route/JFK/SFO";
    visitor_one.post(&format!("{path}/fare"), r#"{"fare_cents":55500}"#).await;
    assert_eq!(fare(&visitor_one.get(path).await.1), 55_500);
    let (_, other) = visitor_two.get(path).await;
    assert!(!from_cache(&other));
    assert_ne!(fare(&other), 55_500);
    one.close().await;
    two.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_many_changes_is_right() {
    let server = Server::start().await.unwrap();
    let mut settings = settings(&server.url());
    settings.rate = 150;
    settings.popularity = russet_storefront::load::Popularity::Zipf(1.5);
    settings.mix = Mix { route: 88.0, airport: 5.0, state: 2.0, fare: 5.0 };
    let mut app = App::open(settings, |_| {}).await.unwrap();
    let summary = headless::run(&mut app, 6).await;
    assert_eq!(summary.faults(), Vec::<String>::new(), "\n{}", summary.table());
    let checks = app.progress().checks();
    assert!(checks.right > 500, "{checks:?}");
    assert!(app.shop().metrics().totals().changes > 10, "changes must have happened");
    for row in [
        "requests",
        "errors",
        "hit rate",
        "origin queries",
        "hit p50",
        "miss p50",
        "late fares",
        "instance 1",
        "instance 2",
    ] {
        assert!(summary.table().contains(row), "the table lacks {row}");
    }
    app.close().await;
}
