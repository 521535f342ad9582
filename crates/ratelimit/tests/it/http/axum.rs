//! The layer in a router of axum, over sockets.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::request::Parts;
use russet_ratelimit::Quota;
use russet_ratelimit::http::{Limited, RateLimitLayer, TrustedProxies};
use russet_testkit::shared::Topology;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceBuilder;

use crate::support::limiter;

const HOUR: Duration = Duration::from_secs(3_600);

/// Serves it with its peers' addresses, for as long as the test goes on.
async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    address
}

/// Status line, header and body, as they come.
async fn get_from(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> String {
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{request}\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_made_up_address_is_no_way_around_a_limit() {
    let (limiter, _space) = limiter(Topology::Server, "spoofed").await;
    let ip = limiter.limit("ip", Quota::fixed(3, HOUR).unwrap()).unwrap();
    let layer = RateLimitLayer::builder(&limiter).client(&ip, TrustedProxies::hops(1));
    let app = Router::new().route("/", get(async || "served")).layer(layer.build().unwrap());
    let address = serve(app).await;
    // What the proxy adds is the same address; what stands before it is another one each time.
    for n in 0..6 {
        let forwarded = format!("6.6.6.{n}, 203.0.113.9");
        let answer = get_from(address, "/", &[("x-forwarded-for", &forwarded)]).await;
        let expected = if n < 3 { "HTTP/1.1 200 OK" } else { "HTTP/1.1 429 Too Many Requests" };
        assert!(answer.starts_with(expected), "{n}: {answer}");
    }
    // Nor is one of the 2^64 addresses of a client.
    for n in 0..6 {
        let forwarded = format!("2001:db8::{n}");
        let answer = get_from(address, "/", &[("x-forwarded-for", &forwarded)]).await;
        assert_eq!(answer.starts_with("HTTP/1.1 200 OK"), n < 3, "{n}: {answer}");
    }
    // Nonsense is the peer's.
    for (n, nonsense) in ["", "unknown", "1.2.3.4,", "a, b"].into_iter().enumerate() {
        let answer = get_from(address, "/", &[("x-forwarded-for", nonsense)]).await;
        assert_eq!(answer.starts_with("HTTP/1.1 200 OK"), n < 3, "{n}: {answer}");
    }
    assert_eq!(ip.status("127.0.0.1").await.unwrap().used, 3);
}

#[tokio::test]
async fn handlers_have_what_was_decided() {
    let (limiter, _space) = limiter(Topology::Server, "extract").await;
    let users = limiter.limit("user", Quota::fixed(9, HOUR).unwrap()).unwrap();
    let layer = RateLimitLayer::builder(&limiter)
        .level(&users, |request: &Parts| Some(request.headers.get("x-user")?.as_bytes().to_vec()))
        .build()
        .unwrap();
    let left = async |limited: Limited| limited.decision().remaining.to_string();
    let maybe = async |limited: Option<Limited>| limited.is_some().to_string();
    let charge = async |limited: Limited| {
        limited.charge(5).await.map(|decision| decision.remaining.to_string()).unwrap()
    };
    let app = Router::new()
        .route("/left", get(left))
        .route("/charge", get(charge))
        .route("/maybe", get(maybe))
        .layer(ServiceBuilder::new().layer(layer))
        .route("/without", get(left))
        .route("/maybe-without", get(maybe));
    let address = serve(app).await;
    let me = [("x-user", "u")];
    for (path, headers, status, body) in [
        ("/left", &me[..], "200 OK", "8"),
        ("/charge", &me, "200 OK", "2"),
        ("/left", &me, "200 OK", "1"),
        ("/maybe", &me, "200 OK", "true"),
        ("/maybe", &[], "200 OK", "false"),
        ("/left", &[], "500 Internal Server Error", ""),
        ("/without", &me, "500 Internal Server Error", ""),
        ("/maybe-without", &me, "200 OK", "false"),
        ("/left", &me, "429 Too Many Requests", ""),
    ] {
        let answer = get_from(address, path, headers).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{path}: {answer}");
        if status.starts_with("200") {
            assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{path}: {answer}");
        }
    }
    let told = get_from(address, "/left", &[("x-user", "v")]).await;
    assert!(told.contains("ratelimit-policy: \"user\";q=9;w=3600\r\n"), "{told}");
    assert!(told.contains("ratelimit: \"user\";r=8;t="), "{told}");
}
