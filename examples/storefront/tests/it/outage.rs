//! Redis away, killed, and back.

use russet_storefront::app::App;
use russet_testkit::Server;

use crate::support::{NOBODY, Visitor, fare, frame, from_cache, open, settings, state};

/// Every read of the shop, served.
async fn all_is_served(visitor: &Visitor) {
    for path in [
        "/api/route/SEA/LAX",
        "/api/departures/airport/SEA?page=2&per_page=7",
        "/api/departures/state/WA",
        "/route/SEA/LAX",
        "/airport/SEA",
        "/state/WA",
    ] {
        let (status, answer) = visitor.get(path).await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
}

async fn change(visitor: &Visitor, fare_cents: u64) -> String {
    let body = format!(r#"{{"fare_cents":{fare_cents}}}"#);
    let (status, changed) = visitor.post("/api/route/SEA/LAX/fare", &body).await;
    assert_eq!(status, 200, "{changed}");
    changed["cache"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_everything_is_served_from_the_database() {
    let app = open(NOBODY).await;
    let visitor = Visitor::of(&app);
    for _ in 0..2 {
        all_is_served(&visitor).await;
        let (_, route) = visitor.get("/api/route/SEA/LAX").await;
        assert!(!from_cache(&route));
    }
    assert_eq!(change(&visitor, 12_300).await, "owed");
    assert_eq!(fare(&visitor.get("/api/route/SEA/LAX").await.1), 12_300);
    assert_eq!(app.shop().owed(), 1);
    state(&app, "reconnecting").await;
    assert_eq!(app.shop().metrics().totals().failed, 0);
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_and_comes_back_under_load() {
    let server = Server::builder().aof(russet_testkit::Fsync::Always).start().await.unwrap();
    under_load(
        &server,
        async || server.kill().await.unwrap(),
        async || server.restart().await.unwrap(),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_hangs_and_goes_on_under_load() {
    let server = Server::start().await.unwrap();
    under_load(
        &server,
        async || server.pause().await.unwrap(),
        async || server.resume().await.unwrap(),
    )
    .await;
}

/// The shop serves before, during and after, and what was changed meanwhile is never served old.
async fn under_load(server: &Server, strike: impl AsyncFn(), heal: impl AsyncFn()) {
    let mut settings = settings(&server.url());
    settings.rate = 150;
    let mut app = App::open(settings, |_| {}).await.unwrap();
    let visitor = Visitor::of(&app);
    state(&app, "ready").await;
    frame(&app, |frame| frame["second"]["hits"].as_u64().is_some_and(|hits| hits > 5)).await;
    assert_eq!(change(&visitor, 11_100).await, "removed");
    visitor.get("/api/route/SEA/LAX").await;

    strike().await;
    frame(&app, |frame| frame["state"] != "ready").await;
    all_is_served(&visitor).await;
    // The server still holds the old fare, or will when it is back.
    assert_eq!(change(&visitor, 22_200).await, "owed");
    assert_eq!(fare(&visitor.get("/api/route/SEA/LAX").await.1), 22_200);
    let busy = |s: &serde_json::Value| s["requests"].as_u64() > Some(50) && s["hits"] == 0;
    frame(&app, |frame| busy(&frame["second"])).await;

    heal().await;
    state(&app, "ready").await;
    frame(&app, |frame| frame["second"]["owed"] == 0).await;
    assert_eq!(fare(&visitor.get("/api/route/SEA/LAX").await.1), 22_200);
    frame(&app, |frame| frame["second"]["hits"].as_u64().is_some_and(|hits| hits > 5)).await;
    assert_eq!(fare(&visitor.get("/api/route/SEA/LAX").await.1), 22_200);

    app.end_load().await;
    let (totals, checks) = (app.shop().metrics().totals(), app.progress().checks());
    assert_eq!(
        (totals.failed, checks.failed, checks.lost, checks.wrong),
        (0, 0, 0, 0),
        "{checks:?}"
    );
    assert!(checks.made * 100 >= checks.planned * 99, "{checks:?}");
    assert_eq!(app.shop().audit().await.unwrap(), 0);
    let told = app.shop().timeline().after(0);
    assert!(told.iter().any(|event| event.attempt == Some(1) && event.delay.is_some()), "{told:?}");
    app.close().await;
}
