//! Limits before the API, and the breaker before the database.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rusqlite::Connection;
use russet_core_conn::{KeySpace, Redis};
use russet_ratelimit::{FleetState, Limiter, Quota};
use russet_storefront::app::App;
use russet_storefront::limits::{CUSTOMER_BURST, CUSTOMER_RATE};
use russet_testkit::Server;

use crate::support::{NOBODY, Visitor, frame, open, settings, state};

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_denied_while_all_others_are_served() {
    let server = Server::start().await.unwrap();
    let mut settings = settings(&server.url());
    settings.rate = 150;
    let mut app = App::open(settings, |_| {}).await.unwrap();
    state(&app, "ready").await;
    frame(&app, |frame| frame["second"]["admitted"].as_u64() > Some(20)).await;
    let before = app.shop().metrics().totals();
    let flood = tokio::spawn(app.flood(Duration::from_millis(1_500)));
    frame(&app, |frame| frame["second"]["denied"].as_u64() > Some(0)).await;
    let flood = flood.await.unwrap();
    let let_in = flood.admitted + flood.fallback;
    assert!(
        let_in >= CUSTOMER_BURST && flood.admitted.max(flood.fallback) <= flood.allowed,
        "{flood:?}"
    );
    assert!(flood.denied > flood.admitted && flood.untold == 0 && flood.lost == 0, "{flood:?}");
    let during = app.shop().metrics().totals().since(&before);
    assert_eq!(during.denied, flood.denied);
    let others = during.admitted + during.fallback - let_in;
    assert!(others > 20, "{others}");
    app.end_load().await;
    let checks = app.progress().checks();
    assert_eq!((checks.denied, checks.shed, checks.failed), (0, 0, 0), "{checks:?}");
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_share_what_a_customer_may() {
    let server = Server::start().await.unwrap();
    let app = open(&server.url()).await;
    state(&app, "ready").await;
    let visitors: Vec<_> = Visitor::each(&app).into_iter().map(|v| v.known_as("c7")).collect();
    let (begun, mut served, mut denied) = (Instant::now(), 0, 0);
    // Whoever asks so slowly that it may is asked again.
    while denied == 0 {
        let asked = visitors.iter().cycle().take(3 * CUSTOMER_BURST as usize);
        for (status, answer) in
            join_all(asked.map(|visitor| visitor.get("/api/route/SEA/LAX"))).await
        {
            match status {
                200 => served += 1,
                429 => {
                    denied += 1;
                    assert_eq!(answer["violated-policies"], serde_json::json!(["customer"]));
                }
                _ => panic!("{status}: {answer}"),
            }
        }
    }
    let most = CUSTOMER_BURST + CUSTOMER_RATE * (begun.elapsed().as_secs() + 1);
    let totals = app.shop().metrics().totals();
    assert!(totals.admitted <= most, "{totals:?}, not more than {most}");
    assert_eq!((totals.admitted + totals.fallback, totals.denied), (served, denied));
    // Somebody else, and pages for people.
    let other = Visitor::of(&app).known_as("c8");
    assert_eq!(other.get("/api/route/SEA/LAX").await.0, 200);
    assert_eq!(visitors[0].get("/route/SEA/LAX").await.0, 200);
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_are_shed_where_customers_need_the_room() {
    let server = Server::start().await.unwrap();
    let app = open(&server.url()).await;
    state(&app, "ready").await;
    let second = Duration::from_secs(1);
    let redis = Redis::connect(&server.url()).await.unwrap();
    let limiter = Limiter::new(&redis, &KeySpace::new("storefront").unwrap());
    let class = |name: &str, limit| {
        limiter.limit(&format!("class.{name}"), Quota::fixed(limit, second).unwrap()).unwrap()
    };
    // More than a tenth of one, and a fifth of the other.
    let (customers, programs) = (class("customer", 30_000), class("watcher", 500));
    let (customer, program) = (Visitor::of(&app), Visitor::of(&app).of_class("low"));
    let begun = Instant::now();
    // Until it all falls into one second.
    let shed = loop {
        customers.check_n("shop", 3_001).await.unwrap();
        programs.check_n("shop", 100).await.unwrap();
        let (status, answer) = program.get("/api/route/SEA/LAX").await;
        if status == 503 {
            break answer;
        }
        assert_eq!(status, 200, "{answer}");
        assert!(begun.elapsed() < 20 * second);
    };
    assert_eq!(shed["violated-policies"], serde_json::json!(["class.watcher"]));
    assert!(shed["type"].as_str().unwrap().ends_with("#temporary-reduced-capacity"), "{shed}");
    assert_eq!(customer.get("/api/route/SEA/LAX").await.0, 200);
    let totals = app.shop().metrics().totals();
    assert_eq!((totals.shed, totals.denied), (1, 0), "{totals:?}");
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_each_instance_limits_by_its_share_and_that_is_counted() {
    let app = open(NOBODY).await;
    let visitor = Visitor::of(&app).known_as("c7");
    let (begun, mut served, mut denied) = (Instant::now(), 0, 0);
    while denied == 0 {
        let asked = (0..2 * CUSTOMER_BURST).map(|_| visitor.get("/api/route/SEA/LAX"));
        for (status, answer) in join_all(asked).await {
            assert!(status == 200 || status == 429, "{answer}");
            served += u64::from(status == 200);
            denied += u64::from(status == 429);
        }
    }
    let most = (CUSTOMER_BURST + CUSTOMER_RATE * (begun.elapsed().as_secs() + 1)) / 2;
    assert!((CUSTOMER_BURST / 2..=most).contains(&served), "{served}, not more than {most}");
    let totals = app.shop().metrics().totals();
    assert_eq!((totals.fallback, totals.admitted, totals.denied), (served, 0, denied));
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_floods_at_a_time_and_a_flood_ends_with_the_shop() {
    let app = open(NOBODY).await;
    let visitors = Visitor::each(&app);
    let flood = visitors[0].post("/api/flood", "");
    let second = async {
        frame(&app, |frame| frame["second"]["fallback"].as_u64() > Some(0)).await;
        let (status, refused) = visitors[1].post("/api/flood", "").await;
        assert_eq!((status, &refused["field"]), (429, &"flood".into()), "{refused}");
        app.close().await;
    };
    let begun = Instant::now();
    let ((status, _), ()) = tokio::join!(flood, second);
    assert_eq!(status, 200);
    assert!(begun.elapsed() < Duration::from_millis(4_900), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_fails_is_left_alone_until_it_is_well() {
    let server = Server::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(&server.url());
    settings.data = Some(folder.path().to_owned());
    let app = App::open(settings, |_| {}).await.unwrap();
    state(&app, "ready").await;
    frame(&app, |f| f["second"]["breaker"] == "closed" && f["second"]["alone"] == false).await;
    let database = Connection::open(folder.path().join("storefront-20000.db")).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    database.execute("ALTER TABLE departures RENAME TO gone", []).unwrap();
    // Most nodes must have seen it: of two, both. Until they know of each other, each goes by its own.
    let is_open =
        || app.shops().all(|shop| matches!(shop.breaker().fleet, FleetState::Open { .. }));
    let mut statuses = BTreeSet::new();
    while !is_open() {
        for visitor in Visitor::each(&app) {
            statuses.insert(visitor.get("/api/route/SEA/LAX").await.0);
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(statuses.first(), Some(&500), "{statuses:?}");
    frame(&app, |frame| frame["second"]["breaker"] == "open").await;
    let (visitor, queries) = (Visitor::of(&app), app.shop().origin().queries());
    let (status, refused) = visitor.get("/api/route/SEA/LAX?departure=9").await;
    assert_eq!((status, &refused["field"]), (503, &"database".into()), "{refused}");
    assert_eq!(app.shop().origin().queries(), queries);
    database.execute("ALTER TABLE gone RENAME TO departures", []).unwrap();
    // The first that may ask again finds it well.
    let mut statuses = Vec::new();
    while statuses.last() != Some(&200) {
        frame(&app, |frame| frame["second"].is_object()).await;
        statuses.push(visitor.get("/api/route/SEA/LAX?departure=10").await.0);
        assert!(statuses.len() < 20, "{statuses:?}");
    }
    frame(&app, |frame| frame["second"]["breaker"] == "closed").await;
    app.close().await;
}
