//! Every error that one server can give, provoked for real, in each kind of call: the table of the docs is the test.

use std::collections::HashMap;
use std::sync::LazyLock;

use russet_core_conn::{
    Cmd, Durability, Error, ErrorKind, Key, Redis, Script, SendOutcome, Topic, Value,
};

use self::provoke::Provoked;

mod provoke;

/// The table, as the docs have it.
const TABLE: &str = include_str!("../../src/errors.md");

static COUNT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "count",
        "-- KEYS[1]: counter\n-- Idempotent: no\nreturn redis.call('INCR', KEYS[1])",
    )
});

/// A kind of call: a column of the table.
const CALLS: [&str; 11] = [
    "run",
    "wrapped",
    "MGET",
    "alone",
    "script",
    "pipeline",
    "transaction",
    "dedicated",
    "watch",
    "durable",
    "subscribe",
];

/// The keys that the calls use.
struct Keys {
    counter: Key,
    list: Key,
}

async fn call(kind: &str, redis: &Redis, keys: &Keys) -> Result<(), Error> {
    let Keys { counter, list } = keys;
    let incr = || Cmd::write("INCR").key(counter);
    match kind {
        "run" => redis.run(incr()).await,
        "wrapped" => redis.run(Cmd::read("LRANGE").key(list).arg(0).arg(-1)).await,
        "MGET" => redis.run(Cmd::read("MGET").key(counter)).await,
        "alone" => redis.run(Cmd::write("BLPOP").key(list).arg("0.01")).await,
        "script" => redis.script(COUNT.key(counter)).await,
        "pipeline" => {
            redis.pipeline([incr(), incr()]).await.into_iter().try_for_each(|r| r.map(drop))
        }
        "transaction" => redis.transaction([incr()]).await.map(drop),
        "dedicated" => redis.dedicated().await?.run(incr()).await,
        "watch" => {
            let watch = redis.watch(std::slice::from_ref(counter)).await?;
            watch.exec([incr()]).await.map(drop)
        }
        "durable" => {
            redis.with_durability(Durability::Replicas(0)).run::<Value>(incr()).await.map(drop)
        }
        "subscribe" => redis.hub().subscribe(Topic::channel(counter)).await.map(drop),
        other => panic!("no such call: {other}"),
    }
}

/// What a cell says: `answered`, `rejected`, `unknown` or `not sent`, and behind it the code, if it is another than the row's.
fn cell(row: &str, result: &Result<(), Error>) -> String {
    let Err(error) = result else { return "answered".into() };
    let outcome = match error.outcome() {
        SendOutcome::NotSent => "not sent",
        SendOutcome::Rejected => "rejected",
        SendOutcome::Unknown => "unknown",
    };
    let kind = error.cause().unwrap_or(error.kind());
    let code = match kind {
        ErrorKind::Server(server) => format!("{server:?}"),
        other => format!("{other:?}"),
    };
    let code = code.split(['(', ' ']).next().unwrap();
    if row.split(' ').any(|word| word.eq_ignore_ascii_case(code)) {
        outcome.to_owned()
    } else {
        format!("{outcome}, `{code}`")
    }
}

/// The rows of the table: the error, and a cell for each call.
fn table() -> HashMap<String, Vec<String>> {
    let rows = TABLE.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    rows.map(|line| {
        let mut cells = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned());
        let error = cells.next().unwrap().replace('`', "");
        (error, cells.skip(1).collect())
    })
    .collect()
}

/// Provokes one row, and compares each of its cells.
async fn check(row: &str, provoked: impl AsyncFnOnce() -> Provoked) {
    let table = table();
    let expected = table.get(row).unwrap_or_else(|| panic!("no row {row}"));
    let provoked = provoked().await;
    let mut met = Vec::new();
    for kind in CALLS {
        provoked.before_each(kind).await;
        met.push(cell(row, &call(kind, &provoked.redis, &provoked.keys).await));
    }
    assert_eq!(met.len(), expected.len(), "row {row}");
    for ((kind, met), expected) in CALLS.iter().zip(&met).zip(expected) {
        // Where it is for the network to say, a cell has both.
        assert!(
            expected.split(" / ").any(|cell| cell == met),
            "{row}, {kind}: {met}, not {expected}"
        );
    }
    provoked.end().await;
}
