//! What the dashboard hears.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::Value;

use crate::support::{NOBODY, Visitor, open, settings};
use russet_storefront::app::App;

/// The next event of a stream, as its name and its data.
async fn event(stream: &mut hyper::body::Incoming, text: &mut String) -> (String, Value) {
    loop {
        if let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let field = |name: &str| {
                event
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(|value| value.trim().to_owned())
            };
            if let (Some(name), Some(data)) = (field("event:"), field("data:")) {
                return (name, serde_json::from_str(&data).unwrap());
            }
            continue;
        }
        let frame = stream.frame().await.expect("the stream ended").unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_hears_the_past_then_frames_that_light_what_was_served() {
    let app = open(NOBODY).await;
    let visitor = Visitor::of(&app);
    let (mut stream, mut text) = (visitor.stream().await, String::new());
    let (name, hello) = event(&mut stream, &mut text).await;
    assert_eq!(name, "hello");
    assert!(hello["history"].is_array() && hello["boot"].is_u64(), "{hello}");

    let (_, served) = visitor.get("/api/route/SEA/LAX").await;
    let route = served["product"]["route"].clone();
    let (mut lit, mut counted) = (false, false);
    while !(lit && counted) {
        let (name, frame) = event(&mut stream, &mut text).await;
        assert_eq!(name, "frame");
        lit |= frame["lit"].as_array().unwrap().iter().any(|l| l[0] == route && l[2] == 1);
        counted |= frame["second"]["misses"] == 1;
    }
    drop(stream);
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_does_not_read_holds_up_nobody_and_streams_end_with_the_shop() {
    let mut settings = settings(NOBODY);
    settings.rate = 300;
    let app = App::open(settings, |_| {}).await.unwrap();
    let visitor = Visitor::of(&app);
    let mut sleeping = Vec::new();
    for _ in 0..31 {
        sleeping.push(visitor.stream().await);
    }
    let (mut stream, mut text) = (visitor.stream().await, String::new());
    for _ in 0..10 {
        event(&mut stream, &mut text).await;
    }
    let (status, refused) = visitor.get("/events").await;
    assert_eq!((status, &refused["field"]), (429, &Value::from("browsers")));

    let closing = tokio::time::timeout(Duration::from_secs(4), app.close());
    closing.await.expect("open streams must not hold up the end");
    while let Some(frame) = stream.frame().await {
        frame.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rate_can_be_set() {
    let app = open(NOBODY).await;
    let visitor = Visitor::of(&app);
    let (status, set) = visitor.post("/api/load?rate=200", "").await;
    assert_eq!((status, &set["rate"]), (200, &Value::from(200)));
    let (mut stream, mut text) = (visitor.stream().await, String::new());
    loop {
        let (_, frame) = event(&mut stream, &mut text).await;
        if frame["second"]["requests"].as_u64().is_some_and(|requests| requests > 100) {
            break;
        }
    }
    assert_eq!(visitor.post("/api/load?rate=0", "").await.0, 200);
    app.close().await;
}
