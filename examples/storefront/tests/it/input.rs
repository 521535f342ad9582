//! Bad input: always a 4xx that says what is wrong and what is allowed.

use hyper::Method;

use crate::support::{NOBODY, Visitor, open};

#[tokio::test(flavor = "multi_thread")]
async fn every_bad_request_is_told_what_is_wrong_and_what_is_allowed() {
    let app = open(NOBODY).await;
    let visitor = Visitor::of(&app);
    let fare = "/api/route/SEA/LAX/fare";
    let get = |path| (Method::GET, path, "");
    let post = |path, body| (Method::POST, path, body);
    let table = [
        (get("/api/route/XXX/LAX"), 404, "origin", "305 IATA codes"),
        (get("/api/route/SEA/nowhere"), 404, "destination", "305 IATA codes"),
        (get("/api/route/SEA/%00"), 404, "destination", "305 IATA codes"),
        (get("/api/route/SEA/SEA"), 404, "destination", "destinations from SEA"),
        (get("/api/route/ABE/HNL"), 404, "destination", "destinations from ABE"),
        (get("/api/route/SEA/LAX?departure=0"), 400, "departure", "a whole number, 1 to"),
        (get("/api/route/SEA/LAX?departure=999999"), 400, "departure", "a whole number, 1 to"),
        (get("/api/departures/airport/QQQ"), 404, "iata", "such as ATL"),
        (get("/api/departures/state/ZZ"), 404, "state", "AK, AL, AR"),
        (get("/api/departures/airport/ATL?page=0"), 400, "page", "1 to 9"),
        (get("/api/departures/airport/ATL?page=10"), 400, "page", "1 to 9"),
        (get("/api/departures/airport/ATL?page=-1"), 400, "page", "1 to 9"),
        (get("/api/departures/airport/ATL?page=two"), 400, "page", "1 to 9"),
        (get("/api/departures/airport/ATL?page=99999999999999999999"), 400, "page", "1 to 9"),
        (get("/api/departures/airport/ATL?per_page=0"), 400, "per_page", "1 to 100"),
        (get("/api/departures/airport/ATL?per_page=101"), 400, "per_page", "1 to 100"),
        (get("/api/departures/state/CA?per_page="), 400, "per_page", "1 to 100"),
        (get("/state/ZZ"), 404, "state", "AK, AL, AR"),
        (get("/airport/ATL?page=0"), 400, "page", "1 to 9"),
        (get("/route/SEA/SEA"), 404, "destination", "destinations from SEA"),
        (post(fare, r#"{"fare_cents":-1}"#), 400, "fare_cents", "100 to 1000000"),
        (post(fare, r#"{"fare_cents":99}"#), 400, "fare_cents", "100 to 1000000"),
        (post(fare, r#"{"fare_cents":1000001}"#), 400, "fare_cents", "100 to 1000000"),
        (post(fare, r#"{"fare_cents":129.5}"#), 400, "body", "a whole number"),
        (post(fare, r#"{"fare_cents":"129"}"#), 400, "body", "a whole number"),
        (post(fare, r#"{"fare":12900}"#), 400, "body", "fare_cents"),
        (post(fare, r#"{"fare_cents":12900,"seats":1}"#), 400, "body", "fare_cents"),
        (post(fare, ""), 400, "body", "fare_cents"),
        (
            post("/api/route/SEA/XXX/fare", r#"{"fare_cents":12900}"#),
            404,
            "destination",
            "305 IATA codes",
        ),
        (
            post("/api/route/SEA/SEA/fare", r#"{"fare_cents":12900}"#),
            404,
            "destination",
            "destinations from SEA",
        ),
        (
            post("/api/route/SEA/LAX/fare?departure=0", r#"{"fare_cents":12900}"#),
            400,
            "departure",
            "1 to",
        ),
        (post("/api/load?rate=-5", ""), 400, "rate", "0 to 20000"),
        (post("/api/load?rate=20001", ""), 400, "rate", "0 to 20000"),
        (post("/api/load", ""), 400, "rate", "0 to 20000"),
        (get("/api/nothing"), 404, "path", "/api/route/"),
        (get(fare), 405, "method", "POST"),
        (post("/api/map", ""), 405, "method", "GET"),
    ];
    for ((method, path, body), status, field, allowed) in table {
        let (got, answer) = visitor.ask(method, path, body).await;
        assert_eq!(got, status, "{path} {body}: {answer}");
        assert_eq!(answer["field"], field, "{path} {body}: {answer}");
        assert!(answer["allowed"].as_str().unwrap().contains(allowed), "{path} {body}: {answer}");
        assert!(!answer["error"].as_str().unwrap().is_empty(), "{path} {body}: {answer}");
    }
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_are_read_in_any_case() {
    let app = open(NOBODY).await;
    let visitor = Visitor::of(&app);
    let (status, lower) = visitor.get("/api/route/sea/lax").await;
    let (_, upper) = visitor.get("/api/route/SEA/LAX").await;
    assert_eq!((status, &lower["product"]), (200, &upper["product"]));
    app.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_long_is_refused() {
    let app = open(NOBODY).await;
    let long = format!(r#"{{"fare_cents":{}}}"#, "1".repeat(10_000));
    let (status, _) = Visitor::of(&app).post("/api/route/SEA/LAX/fare", &long).await;
    assert_eq!(status, 413);
    app.close().await;
}
