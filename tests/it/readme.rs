//! The examples of the README, which must be here word for word, and so compile.
#![expect(dead_code, reason = "compiled; nothing runs it")]

use std::error::Error;
use std::io;
use std::time::Duration;

use futures_util::{Stream, TryStreamExt};
use russet_core_conn::{
    Acquired, Breaker, Cmd, Delivery, Durability, Fence, Key, Leases, Ran, Redis, Registry, Topic,
};

type Result<T = (), E = Box<dyn Error>> = std::result::Result<T, E>;

#[test]
fn its_examples_are_those_that_compile() {
    let lines = |text: &str| Vec::from_iter(text.lines().map(|line| line.trim().to_owned()));
    let here = lines(include_str!("readme.rs"));
    let readme = include_str!("../../README.md");
    let examples: Vec<_> = readme.split("```rust\n").skip(1).collect();
    assert_eq!(examples.len(), 5);
    for example in examples {
        let example = lines(example.split("```").next().unwrap());
        let found = here.windows(example.len()).any(|window| *window == *example);
        assert!(found, "not in readme.rs:\n{}", example.join("\n"));
    }
}

// Its lines are shorter there.
#[rustfmt::skip]
async fn core() -> Result {
    use russet_core_conn::{Cmd, KeySpace, Redis, SendOutcome};

    let redis = Redis::connect("redis://localhost").await?;
    let seats = KeySpace::new("shop")?.key("seats", ("SEA", "LAX"));
    match redis.run::<i64>(Cmd::write("DECR").key(&seats)).await {
        Ok(left) => println!("{left} left"),
        Err(error) if error.outcome() == SendOutcome::NotSent => println!("never happened: {error}"),
        Err(error) => println!("perhaps happened: {error}"),
    }
    Ok(())
}

async fn parts(registry: &Registry, leases: &Leases, seats: Key, sold: Key) -> Result {
    let state = registry.add(Registry::STATE, Redis::builder("redis://state.internal"))?;
    let sale = [Cmd::write("DECR").key(&seats), Cmd::write("RPUSH").key(&sold).arg("12A")];
    state.with_durability(Durability::Replicas(1)).transaction(sale).await?;

    if let Acquired::Held(lease) = leases.try_acquire("report").await? {
        match lease.run(write_report).await {
            Ran::Done { output, .. } => output?,
            Ran::Cut(loss) => println!("stopped half-way: {loss:?}"),
        }
    }

    let guarded = state.with_breaker(&Breaker::new("redis"));
    let mut news = state.hub().subscribe(Topic::pattern("fares.*")).await?;
    while let Some(delivery) = news.next().await {
        match delivery {
            Delivery::Message(message) => read(&guarded, message.channel()).await?,
            // Something was not heard: all of it is read again.
            Delivery::Missed(_) | Delivery::Gap(_) => {
                read_all(guarded.scan("{shop:*}:fare:*")).await?;
            }
            _ => {}
        }
    }
    println!("{:?}", registry.health().await);
    Ok(())
}

const MINUTE: Duration = Duration::from_secs(60);

async fn limits() -> Result {
    use russet_core_conn::{KeySpace, Redis};
    use russet_ratelimit::{Limiter, Quota};

    let redis = Redis::builder("redis://localhost").build()?;
    let limiter = Limiter::new(&redis, &KeySpace::new("shop")?);
    let user = limiter.limit("user", Quota::gcra(100, MINUTE, 20)?)?;
    let search = limiter.limit("search", Quota::strict(10_000, MINUTE)?)?;
    let decision = limiter.check(&[user.of("u17"), search.of(())]).await?;
    if let Some(level) = decision.limiting() {
        println!("{} has had enough, for {:?}", level.name, decision.retry_after);
    }
    Ok(())
}

async fn write_report(_: Fence) -> Result<(), io::Error> {
    Ok(())
}

async fn read(_: &Redis, _: &[u8]) -> Result {
    Ok(())
}

async fn read_all(keys: impl Stream<Item = Result<Key, russet_core_conn::Error>>) -> Result {
    Ok(keys.try_for_each(async |_| Ok(())).await?)
}

#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Route;

async fn from_database(_: &str, _: &str) -> Result<Route, io::Error> {
    Ok(Route)
}

async fn all_from_database(ids: Vec<u64>) -> Result<Vec<(u64, Route)>, io::Error> {
    Ok(ids.into_iter().map(|id| (id, Route)).collect())
}

async fn cache(ids: Vec<u64>) -> Result {
    use russet_cache::Cache;
    use russet_core_conn::{KeySpace, Redis};

    let redis = Redis::builder("redis://localhost").build()?;
    let routes: Cache<Route> = Cache::new(&redis, &KeySpace::new("shop")?, "route")?;
    let one = routes.get_or_load(("SEA", "LAX"), |_| from_database("SEA", "LAX")).await?;
    let page = routes.get_or_load_many(ids, |missing, _| all_from_database(missing)).await?;
    println!("{:?} from {:?}, and {} more", one.value(), one.tier(), page.len());
    routes.remove(("SEA", "LAX")).await?;
    Ok(())
}

struct Mine;

impl Mine {
    async fn incr(&self, _: &str) -> Result<i64> {
        Ok(1)
    }
}

fn my_client(_: &str) -> Mine {
    Mine
}

async fn testkit() -> Result {
    use russet_testkit::{Match, Proxy, Server};

    let server = Server::start().await?;
    let proxy = Proxy::start(server.addr()).await?;
    proxy.cut_after(Match::name("INCR"));
    let lost = my_client(&proxy.url()).incr("n").await;
    assert!(lost.is_err());
    assert_eq!(server.conn().await?.call(&["GET", "n"]).await?.text(), Some("1"));
    server.kill().await?;
    server.restart().await?;
    Ok(())
}
