//! As whom we come, where that is known from, and what becomes of it while the program runs.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use russet_core_conn::{
    Backoff, Cmd, CredentialProvider, Credentials, ErrorKind, EventKind, Redis, SendOutcome,
    ServerError,
};
use russet_testkit::{Conn, Server};
use tokio::sync::watch;

use crate::order::Order;
use crate::support::{
    clients, incr, is_fourth_attempt, key, ms, patient, run_again, told_alone, tried_again, until,
};

const RIGHTS: &str = "~* &* +@all";

/// A server whose default user is the test's own, and where the user `shop` has this password.
async fn server(password: &str) -> (Server, Conn) {
    let acl = format!("user default on nopass {RIGHTS}\nuser shop on >{password} {RIGHTS}\n");
    let server = Server::builder().acl_file(acl).start().await.unwrap();
    let conn = server.conn().await.unwrap();
    (server, conn)
}

async fn acl(conn: &mut Conn, rules: &[&str]) {
    let command = [&["ACL", "SETUSER"], rules].concat();
    assert!(conn.call(&command).await.unwrap().is_ok(), "{rules:?}");
}

/// How many commands `AUTH` the server has answered, and how many of them with a refusal.
async fn auths(conn: &mut Conn) -> (u64, u64) {
    let info = conn.call(&["INFO", "commandstats"]).await.unwrap();
    let line = info.text().unwrap().lines().find(|line| line.starts_with("cmdstat_auth:"));
    let field = |name: &str| {
        let value = line?.split([':', ',']).find_map(|field| field.strip_prefix(name))?;
        value.trim().parse().ok()
    };
    (field("calls=").unwrap_or(0), field("failed_calls=").unwrap_or(0))
}

fn logged_in(kind: &EventKind) -> bool {
    matches!(kind, EventKind::LoggedIn)
}

/// Tasks that call without a pause until the handle is closed, and count what was answered. Any error fails them.
fn load(redis: &Redis) -> (Arc<AtomicU64>, Vec<tokio::task::JoinHandle<()>>) {
    let answers = Arc::new(AtomicU64::new(0));
    let tasks = Vec::from_iter((0..16).map(|_| {
        let (redis, answers) = (redis.clone(), answers.clone());
        tokio::spawn(async move {
            loop {
                match redis.run::<i64>(incr("n")).await {
                    Ok(_) => answers.fetch_add(1, SeqCst),
                    Err(error) if matches!(error.kind(), ErrorKind::Closed) => return,
                    Err(error) => panic!("{error}"),
                };
            }
        })
    }));
    (answers, tasks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_password_costs_no_call() {
    let (server, mut conn) = server("first").await;
    let (tell, told) = watch::channel(Credentials::new("shop", "first"));
    let redis = patient(&server.url())
        .credentials(told)
        .connections(3)
        .connection_name("rotated")
        .reconnect(Backoff::constant(ms(5)))
        .build()
        .unwrap();
    let (mut events, mut order) = (redis.events(), Order::default());
    redis.ready().await.unwrap();
    let (answers, tasks) = load(&redis);
    let answered = async |more: u64| {
        let before = answers.load(SeqCst);
        until("answers", async || answers.load(SeqCst) > before + more).await;
    };
    let before = clients(&mut conn, "rotated").await.len();
    for (n, password) in ["second", "third"].into_iter().enumerate() {
        answered(200).await;
        acl(&mut conn, &["shop", &format!(">{password}")]).await;
        tell.send_replace(Credentials::new("shop", password));
        for _ in 0..3 {
            order.until(&mut events, logged_in).await;
        }
        let old = ["first", "second"][n];
        acl(&mut conn, &["shop", &format!("<{old}")]).await;
        answered(200).await;
        assert_eq!(auths(&mut conn).await, (3 * (n as u64 + 1), 0));
    }
    // The same connections all the while, and the next ones know, too.
    assert_eq!((clients(&mut conn, "rotated").await.len(), before), (3, 3));
    redis.close().await;
    for task in tasks {
        task.await.unwrap();
    }
    order.read_to_end(&mut events).await;
    let applied = conn.call(&["GET", "n"]).await.unwrap();
    assert_eq!(applied.text().unwrap(), answers.load(SeqCst).to_string());
    let next = redis.duplicate();
    next.ping().await.unwrap();
    let stranger = patient(&server.url()).user("shop").password("second").build().unwrap();
    let error = stranger.without_waiting().ping().await.unwrap_err();
    assert!(matches!(error.cause(), Some(ErrorKind::Server(ServerError::WrongPass))), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_connection_asks_anew_and_may_come_as_somebody_else() {
    let (server, mut conn) = server("pw").await;
    acl(&mut conn, &["next", "on", ">pw2", "~*", "+@all"]).await;
    let (tell, told) = watch::channel(Credentials::new("shop", "pw"));
    let redis = patient(&server.url())
        .credentials(told)
        .connection_name("asks")
        .reconnect(Backoff::constant(ms(5)))
        .build()
        .unwrap();
    redis.ready().await.unwrap();
    let mut events = redis.events();
    let user = async |conn: &mut Conn, expected: &str| {
        let list = clients(conn, "asks").await;
        assert!(list.iter().all(|line| line.contains(&format!(" user={expected} "))), "{list:?}");
        assert!(!list.is_empty());
    };
    user(&mut conn, "shop").await;
    // Told while it lives: the same connection goes on as another user.
    let id: i64 = redis.run(Cmd::read("CLIENT ID")).await.unwrap();
    tell.send_replace(Credentials::new("next", "pw2"));
    events.find(logged_in).await.unwrap();
    user(&mut conn, "next").await;
    assert_eq!(redis.run::<i64>(Cmd::read("CLIENT ID")).await.unwrap(), id);
    // A user that is gone takes its connections along, and nobody is told but the server: a wrong password is met
    // until the provider gives the right one, for which it is asked at each attempt.
    acl(&mut conn, &["shop", "resetpass", ">pw3"]).await;
    conn.call(&["ACL", "DELUSER", "next"]).await.unwrap();
    let refused = |kind: &EventKind| matches!(kind, EventKind::Error(error) if error.server() == Some(&ServerError::WrongPass));
    for _ in 0..3 {
        events.find(refused).await.unwrap();
    }
    tell.send_replace(Credentials::new("shop", "pw3"));
    assert_eq!(redis.run::<i64>(incr("n")).await.unwrap(), 1);
    user(&mut conn, "shop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_login_leaves_the_connection_as_it_was_and_is_tried_again() {
    let (server, mut conn) = server("pw").await;
    let (tell, told) = watch::channel(Credentials::new("shop", "pw"));
    let redis = patient(&server.url()).credentials(told).build().unwrap();
    let (mut events, mut order) = (redis.events(), Order::default());
    redis.ready().await.unwrap();
    let (answers, tasks) = load(&redis);
    // The provider is early: the server does not know it yet.
    tell.send_replace(Credentials::new("shop", "early"));
    let failed = |kind: &EventKind| matches!(kind, EventKind::LoginFailed(_));
    let event = order.until(&mut events, failed).await;
    let EventKind::LoginFailed(error) = event.kind else { panic!() };
    assert_eq!(error.server(), Some(&ServerError::WrongPass), "{error}");
    acl(&mut conn, &["shop", ">early"]).await;
    let before = answers.load(SeqCst);
    order.until(&mut events, logged_in).await;
    assert!(answers.load(SeqCst) > before, "it was not used meanwhile");
    let (all, failed) = auths(&mut conn).await;
    assert!(all == failed + 1 && (1..=3).contains(&failed), "{failed} of {all}");
    redis.close().await;
    for task in tasks {
        task.await.unwrap();
    }
    order.read_to_end(&mut events).await;
}

/// Gives what it is told to, and counts how often it was asked.
#[derive(Clone, Default)]
struct Moody {
    asked: Arc<AtomicU64>,
    hangs: bool,
    restless: bool,
}

impl CredentialProvider for Moody {
    type Error = String;

    async fn fetch(&self) -> Result<Credentials, String> {
        let asked = self.asked.fetch_add(1, SeqCst) + 1;
        if self.restless {
            return Ok(Credentials::new("shop", "pw"));
        }
        if self.hangs {
            std::future::pending::<Infallible>().await;
        }
        Err(format!("the vault is sealed, said {asked} times"))
    }

    async fn changed(&self, _: &Credentials) {
        if !self.restless {
            std::future::pending::<()>().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_fails_or_hangs_costs_the_connect_timeout_and_says_why() {
    let (server, _) = server("pw").await;
    for hangs in [false, true] {
        let provider = Moody { hangs, ..Moody::default() };
        let timeout = ms(100);
        let redis = tried_again(patient(&server.url()).credentials(provider.clone()), timeout);
        let (mut events, mut order) = (redis.events(), Order::default());
        let started = Instant::now();
        let error = redis.without_waiting().run::<i64>(incr("n")).await.unwrap_err();
        let expected = if hangs { "none within 100ms" } else { "said 1 times" };
        let why = |error: Option<&ErrorKind>| match error {
            Some(ErrorKind::Credentials(why)) => why.clone(),
            other => panic!("{other:?}"),
        };
        assert!(why(error.cause()).contains(expected), "{error}");
        assert_eq!(error.outcome(), SendOutcome::NotSent);
        order.until(&mut events, is_fourth_attempt).await;
        assert_eq!(provider.asked.load(SeqCst), 4);
        if hangs {
            assert!(started.elapsed() >= 4 * timeout);
        }
        assert!(started.elapsed() < Duration::from_secs(5));
        // A call on a connection of its own asks, too, and is told.
        let error = told_alone(&redis).await;
        let told = why(Some(error.cause().unwrap_or(error.kind())));
        assert!(told.contains(if hangs { expected } else { "sealed" }), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_always_calls_for_a_change_is_heeded_once_a_second() {
    let (server, mut conn) = server("pw").await;
    let provider = Moody { restless: true, ..Moody::default() };
    let redis = patient(&server.url()).credentials(provider.clone()).build().unwrap();
    let (mut events, mut order) = (redis.events(), Order::default());
    redis.ready().await.unwrap();
    order.until(&mut events, logged_in).await;
    let first = Instant::now();
    order.until(&mut events, logged_in).await;
    assert!(first.elapsed() >= ms(900), "{:?}", first.elapsed());
    // Once to connect and twice since.
    assert_eq!(provider.asked.load(SeqCst), 3);
    assert_eq!(auths(&mut conn).await, (2, 0));
}

/// Set where the password is, in a process of its own.
const URL: &str = "RUSSET_TEST_ENV_URL";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_from_the_environment() {
    if let Ok(url) = std::env::var(URL) {
        let named = |name: &str| patient(&url).user("shop").password_from_env_var(name);
        named("SHOP_PASSWORD").build().unwrap().ping().await.unwrap();
        let usual = patient(&url).user("shop").password_from_env();
        usual.clone().build().unwrap().ping().await.unwrap();
        assert!(!format!("{usual:?}").contains("pw-of-shop"));
        for (variable, word) in [("EMPTY", "`EMPTY` is empty"), ("NONE", "`NONE` is missing")] {
            let error = named(variable).build().unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        return;
    }
    let (server, _) = server("pw-of-shop").await;
    let itself = "credentials::a_password_from_the_environment";
    let url = server.url();
    let password = "pw-of-shop";
    run_again(
        itself,
        &[(URL, &url), ("SHOP_PASSWORD", password), ("REDIS_PASSWORD", password), ("EMPTY", "")],
    );
}

/// A connection of a caller's own does not go to the next caller as somebody who is not valid any more.
#[tokio::test]
async fn a_kept_connection_with_old_credentials_is_used_no_more() {
    let (server, mut conn) = server("old").await;
    acl(&mut conn, &["other", "on", ">new", "~*", "&*", "+@all"]).await;
    let (tell, told) = watch::channel(Credentials::new("shop", "old"));
    let redis = patient(&server.url()).credentials(told).build().unwrap();
    let who = async || {
        let mut own = redis.dedicated().await.unwrap();
        own.run::<String>(Cmd::read("ACL").arg("WHOAMI")).await.unwrap()
    };
    // What it ran leaves it as it was, so it is kept.
    redis.dedicated().await.unwrap().run::<()>(Cmd::read("GET").key(&key("k", 0))).await.unwrap();
    tell.send(Credentials::new("other", "new")).unwrap();
    assert_eq!(who().await, "other");
}
