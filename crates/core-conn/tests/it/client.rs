//! The clients below, one beside the other: the same answers over each that is compiled.

use russet_core_conn::{Client, Cmd, Redis};
use russet_testkit::shared;

use crate::support::{key, patient};

fn compiled() -> Vec<Client> {
    vec![
        #[cfg(feature = "fred")]
        Client::Fred,
        #[cfg(feature = "redis-rs")]
        Client::RedisRs,
    ]
}

/// A suite that was to run over one of them does.
#[test]
fn the_default_is_the_one_that_was_chosen() {
    let chosen = std::env::var("RUSSET_CLIENT").unwrap_or_else(|_| "fred".into());
    let expected = match chosen.as_str() {
        "redis-rs" => "RedisRs",
        _ if cfg!(not(feature = "fred")) => "RedisRs",
        _ => "Fred",
    };
    assert_eq!(format!("{:?}", Client::default()), expected);
}

/// A reply of each kind, and a refusal among others.
async fn answers(redis: &Redis, prefix: &str) -> String {
    let name = |name| key(prefix, name);
    let cmds = [
        Cmd::idempotent("SET").key(&name("text")).arg(&b"\xff\r\n"[..]),
        Cmd::read("GET").key(&name("text")),
        Cmd::read("GET").key(&name("none")),
        Cmd::write("INCR").key(&name("text")),
        Cmd::idempotent("HSET").key(&name("hash")).arg("field").arg(-7),
        Cmd::read("HGETALL").key(&name("hash")),
        Cmd::idempotent("ZADD").key(&name("zset")).arg("1.5").arg("member"),
        Cmd::read("ZSCORE").key(&name("zset")).arg("member"),
        Cmd::read("LRANGE").key(&name("hash")).arg(0).arg(-1),
        Cmd::read("OBJECT ENCODING").key(&name("text")),
        Cmd::read("PING").arg("nobody else's"),
    ];
    let mut answers = Vec::new();
    for cmd in &cmds {
        let answer = redis.run::<russet_core_conn::Value>(cmd.clone()).await;
        answers.push(answer.map_err(|error| (error.outcome(), error.server().cloned())));
    }
    let together = redis.pipeline(cmds).await;
    let refused = together.iter().filter(|answer| answer.is_err()).count();
    assert_eq!((together.len(), refused), (11, 2), "{together:?}");
    format!("{answers:?}")
}

#[tokio::test]
async fn the_answers_are_the_same_over_each() {
    let mut all = Vec::new();
    for client in compiled() {
        let prefix = shared::prefix("client");
        let url = shared::url().await.unwrap();
        let redis = patient(&url).client(client).connection_name(&prefix).build().unwrap();
        all.push(answers(&redis, &prefix).await);
        let name: String = redis.run(Cmd::read("CLIENT GETNAME")).await.unwrap();
        assert_eq!(name, prefix);
        redis.close().await;
    }
    assert!(all.iter().all(|answers| *answers == all[0]), "{all:#?}");
}
