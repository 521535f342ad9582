//! Holders in processes of their own: paused, killed, and many at once.

use std::time::{Duration, Instant};

use russet_core_conn::Loss;
use russet_testkit::TestProcess;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;
use crate::support::record_figures;

mod crowd;

/// The leases of these tests, wherever they run.
fn leases(url: &str, ttl: u64) -> Leases {
    let redis = patient(url).build().unwrap();
    quick(&redis, &KeySpace::new("t").unwrap(), ttl)
}

/// A resource that checks the fence, as a database would by `WHERE fence <= $1`; whether it took the write.
async fn write(conn: &mut Conn, fence: Fence) -> bool {
    const TEXT: &str = "if tonumber(redis.call('GET', KEYS[1]) or 0) > tonumber(ARGV[1]) then return 0 end \
                        redis.call('SET', KEYS[1], ARGV[1]) return 1";
    let fence = fence.to_string();
    conn.call(&["EVAL", TEXT, "1", "resource", &fence]).await.unwrap().int() == Some(1)
}

/// Takes the lease, says so, and says when it is lost. Told to, writes without looking at anything, and gives back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that others pause and kill"]
async fn holder() {
    let Ok(url) = std::env::var("RUSSET_TEST_HOLDER") else { return };
    let ttl = std::env::var("RUSSET_TEST_TTL").unwrap().parse().unwrap();
    let mut conn = Conn::open(&url).await.unwrap();
    let lease = leases(&url, ttl).acquire("report", ms(20_000)).await.unwrap().held().unwrap();
    println!("\nheld {}", lease.fence());
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let mut told = false;
    loop {
        tokio::select! {
            order = orders.next_line() => match order.unwrap().as_deref() {
                Some("write") => println!("\nwrote {}", write(&mut conn, lease.fence()).await),
                _ => break,
            },
            loss = lease.loss(), if !told => {
                told = true;
                println!("\nlost {}", matches!(loss, Loss::Unconfirmed { .. }));
            }
        }
    }
    println!("\nreleased {:?}", lease.release().await.unwrap());
}

fn start(url: &str, ttl: u64) -> TestProcess {
    let variables = [("RUSSET_TEST_HOLDER", url), ("RUSSET_TEST_TTL", &ttl.to_string())];
    TestProcess::start("lease::processes::holder", variables).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_holder_is_refused_by_the_resource_and_learns_of_its_loss() {
    pauses(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_lease_pauses() {
    let version = pauses(50).await;
    record_figures("lease_pauses", &version, &[("rounds", 50)], &[("pauses", 50)], &[]);
}

async fn pauses(rounds: u32) -> String {
    let server = Server::start().await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let ours = leases(&server.url(), 600);
    for _ in 0..rounds {
        let mut first = start(&server.url(), 600);
        let first_fence: u64 = first.says("held").await.unwrap().parse().unwrap();
        first.tell("write").await.unwrap();
        assert_eq!(first.says("wrote").await.unwrap(), "true");
        first.pause().await.unwrap();
        let second = ours.acquire("report", ms(20_000)).await.unwrap().held().unwrap();
        assert!(second.fence().number() > first_fence);
        assert!(write(&mut conn, second.fence()).await);
        // What it was about to do when it was paused, it does now.
        first.tell("write").await.unwrap();
        first.resume().unwrap();
        let (mut wrote, mut lost) = (None, None);
        while wrote.is_none() || lost.is_none() {
            let line = first.line().await.unwrap().unwrap();
            match line.split_once(' ') {
                Some(("wrote", accepted)) => wrote = Some(accepted == "true"),
                // By its own clock: it needs no server for that.
                Some(("lost", unconfirmed)) => lost = Some(unconfirmed == "true"),
                _ => {}
            }
        }
        assert_eq!((wrote, lost), (Some(false), Some(true)));
        first.tell("release").await.unwrap();
        assert_eq!(first.says("released").await.unwrap(), "WasLost");
        assert!(first.ended().await.unwrap());
        // Neither its renewals nor its release did the second any harm.
        assert!(!second.remaining().is_zero());
        assert_eq!(second.release().await.unwrap(), Released::Yes);
    }
    server.version().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_holder_frees_it_within_its_ttl() {
    kills(2, 500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "soak"]
async fn soak_lease_kills() {
    let (version, longest) = kills(100, 100).await;
    let figures = [("ttl_ms", 500), ("longest_ms", longest)];
    record_figures("lease_kills", &version, &[("rounds", 100)], &[("kills", 100)], &figures);
}

/// Kills so many holders; each lease is another's by the TTL and the slack. Answers the longest time that it took.
async fn kills(rounds: u32, slack: u64) -> (String, u64) {
    let server = Server::start().await.unwrap();
    let ours = leases(&server.url(), 500);
    let mut longest = Duration::ZERO;
    let mut last = 0;
    for _ in 0..rounds {
        let mut holder = start(&server.url(), 500);
        let fence: u64 = holder.says("held").await.unwrap().parse().unwrap();
        assert!(fence > last);
        let mut waiting = Box::pin(ours.acquire("report", ms(20_000)));
        assert!(crate::support::poll_once(waiting.as_mut()).await.is_none());
        holder.kill().await.unwrap();
        let killed = Instant::now();
        let lease = waiting.await.unwrap().held().unwrap();
        longest = longest.max(killed.elapsed());
        assert!(longest < ms(500 + slack), "{longest:?}");
        last = lease.fence().number();
        assert!(last > fence);
        assert_eq!(lease.release().await.unwrap(), Released::Yes);
    }
    assert!(longest > ms(200), "{longest:?}: they were not holding it");
    (server.version().to_string(), u64::try_from(longest.as_millis()).unwrap())
}
