//! How a lease is kept and lost, and who learns of it, when.

use russet_core_conn::{ErrorKind, Extended, Loss, Ran};
use russet_testkit::Match;

use super::*;
use crate::support::{poll_once, until};

/// A server behind a proxy, and a handle by way of the proxy.
pub(super) struct Faulty {
    pub(super) server: Server,
    pub(super) proxy: Proxy,
    pub(super) redis: Redis,
    pub(super) space: KeySpace,
    pub(super) conn: Conn,
}

impl Faulty {
    pub(super) async fn start() -> Self {
        let server = Server::start().await.unwrap();
        let proxy = Proxy::start(server.addr()).await.unwrap();
        let redis = patient(&proxy.url()).build().unwrap();
        let conn = server.conn().await.unwrap();
        Self { server, proxy, redis, space: KeySpace::new("t").unwrap(), conn }
    }

    /// By what the server keeps, and its clock: for how long it would still refuse others, in µs.
    pub(super) async fn left(&mut self) -> i64 {
        let until: i64 =
            kept(&mut self.conn, &self.space, "report").await["until"].parse().unwrap();
        until - time(&mut self.conn).await
    }

    pub(super) async fn given_back(&mut self) {
        let (conn, space) = (&mut self.conn, &self.space);
        until("the lease is given back", async || {
            kept(conn, space, "report").await["until"] == "0"
        })
        .await;
    }

    /// Another handle, past the proxy.
    pub(super) fn direct(&self) -> Leases {
        let redis = patient(&self.server.url()).build().unwrap();
        Leases::new(&redis, &self.space).unwrap()
    }
}

/// Why it was lost, as soon as that is told.
async fn loss(lease: &Lease) -> Loss {
    tokio::time::timeout(ms(20_000), lease.loss()).await.expect("its loss is not told")
}

/// The server's clock in µs.
pub(super) async fn time(conn: &mut Conn) -> i64 {
    let reply = conn.call(&["TIME"]).await.unwrap();
    let part = |n: usize| reply.items().unwrap()[n].text().unwrap().parse::<i64>().unwrap();
    part(0) * 1_000_000 + part(1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewal_keeps_it_for_longer_than_its_ttl() {
    let mut faulty = Faulty::start().await;
    let leases = quick(&faulty.redis, &faulty.space, 300);
    let lease = take(&leases, "report").await;
    let begun = Instant::now();
    let first = kept(&mut faulty.conn, &faulty.space, "report").await["until"].clone();
    let (conn, space) = (&mut faulty.conn, &faulty.space);
    let (mut last, mut renewed) = (first, 0);
    until("renewals", async || {
        let now = kept(conn, space, "report").await["until"].clone();
        renewed += u32::from(now != last);
        last = now;
        renewed >= 6
    })
    .await;
    assert!(begun.elapsed() >= ms(500), "six thirds of the TTL took {:?}", begun.elapsed());
    assert!(!lease.remaining().is_zero() && !lease.lost().is_cancelled());
    assert_eq!(busy(&faulty.direct(), "report").await.fence, lease.fence());
    assert_eq!(lease.release().await.unwrap(), Released::Yes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_renewal_it_ends_in_time() {
    let mut faulty = Faulty::start().await;
    let leases = Leases::builder(&faulty.redis, &faulty.space).ttl(ms(200)).renewal(false);
    let leases = leases.build().unwrap();
    let lease = take(&leases, "report").await;
    assert!(matches!(loss(&lease).await, Loss::Unconfirmed { last: None }));
    assert!(faulty.left().await > 0);
    assert!(lease.remaining().is_zero());
    assert_eq!(lease.extend(ms(1_000)).await.unwrap(), Extended::WasLost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_successor_has_is_never_touched() {
    let mut faulty = Faulty::start().await;
    let lease = take(&quick(&faulty.redis, &faulty.space, 600), "report").await;
    let key = faulty.space.key("lease", "report");
    faulty.conn.call(&[b"DEL".as_slice(), key.as_bytes()]).await.unwrap();
    let second = take(&faulty.direct(), "report").await;
    assert!(second.fence() > lease.fence());
    // The next renewal is refused.
    let Loss::Ended { given } = loss(&lease).await else { panic!("not told by the server") };
    assert_eq!(given, Some(second.fence()));
    assert!(lease.lost().is_cancelled() && lease.remaining().is_zero());
    assert_eq!(lease.release().await.unwrap(), Released::WasLost);
    assert_eq!(busy(&faulty.direct(), "report").await.fence, second.fence());
    assert_eq!(second.release().await.unwrap(), Released::Yes);
}

/// Whoever extends learns of the loss at once, and so does everybody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn extending_what_was_lost_says_so() {
    let mut faulty = Faulty::start().await;
    let lease = take(&faulty.direct(), "report").await;
    let key = faulty.space.key("lease", "report");
    faulty.conn.call(&[b"DEL".as_slice(), key.as_bytes()]).await.unwrap();
    assert_eq!(lease.extend(ms(20_000)).await.unwrap(), Extended::WasLost);
    // Not with the next renewal.
    assert!(lease.lost().is_cancelled() && lease.remaining().is_zero());
    assert!(matches!(loss(&lease).await, Loss::Ended { given: None }));
    assert_eq!(lease.release().await.unwrap(), Released::WasLost);
}

/// Sets the end that the server keeps, as it looks once the server's clock was set.
async fn set_end(faulty: &mut Faulty, until: i64) {
    let (key, until) = (faulty.space.key("lease", "report"), until.to_string());
    let call = [b"HSET".as_slice(), key.as_bytes(), b"until", until.as_bytes()];
    assert_eq!(faulty.conn.call(&call).await.unwrap().int(), Some(0));
}

/// Once it is set right, another may be granted the lease: the holder must not believe until then, and must ask.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_has_left_for_its_clock_was_set_back_does_not_count() {
    let mut faulty = Faulty::start().await;
    let leases = quick(&faulty.redis, &faulty.space, 5_000);
    let lease = take(&leases, "report").await;
    let hour = time(&mut faulty.conn).await + 3_600_000_000;
    set_end(&mut faulty, hour).await;
    let Extended::Until(left) = lease.extend(ms(5_000)).await.unwrap() else { panic!("lost") };
    assert!(left <= ms(4_500), "{left:?}");
    assert!(faulty.left().await > 3_500_000_000);
    assert_eq!(lease.release().await.unwrap(), Released::Yes);

    // The same for a grant whose first answer was lost.
    faulty.proxy.reset_counters();
    faulty.proxy.cut_after(Match::name("EVALSHA"));
    faulty.proxy.refuse().await.unwrap();
    let mut acquiring = Box::pin(leases.try_acquire("report"));
    assert!(poll_once(acquiring.as_mut()).await.is_none());
    let setting = async {
        faulty.proxy.struck().await.unwrap();
        set_end(&mut faulty, hour).await;
        faulty.proxy.accept().await.unwrap();
    };
    let (acquired, ()) = tokio::join!(acquiring, setting);
    let lease = acquired.unwrap().held().unwrap();
    assert!(lease.remaining() <= ms(4_500), "{:?}", lease.remaining());
}

/// However far its end is, its holder learns as soon as ever that it is another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_extended_is_still_renewed() {
    let mut faulty = Faulty::start().await;
    let lease = take(&quick(&faulty.redis, &faulty.space, 600), "report").await;
    let Extended::Until(_) = lease.extend(ms(3_600_000)).await.unwrap() else { panic!("lost") };
    let key = faulty.space.key("lease", "report");
    faulty.conn.call(&[b"DEL".as_slice(), key.as_bytes()]).await.unwrap();
    let second = take(&faulty.direct(), "report").await;
    let told = tokio::time::timeout(ms(20_000), lease.loss()).await;
    assert!(matches!(told, Ok(Loss::Ended { .. })), "{told:?}");
    assert_eq!(second.release().await.unwrap(), Released::Yes);
}

/// The holder's Redis is away: it must stop while the server would still refuse others, however late the last answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_holder_that_can_not_renew_stops_before_the_server_frees_it() {
    for late in [0, 250] {
        let mut faulty = Faulty::start().await;
        let leases = Leases::builder(&faulty.redis, &faulty.space).ttl(ms(1_000)).margin(ms(50));
        let leases = leases.build().unwrap();
        // The server knows the scripts.
        let warm = take(&leases, "warm").await;
        assert!(matches!(warm.extend(ms(1_000)).await.unwrap(), Extended::Until(_)));
        assert_eq!(warm.release().await.unwrap(), Released::Yes);
        faulty.proxy.delay_replies(ms(late));
        let lease = take(&leases, "report").await;
        assert!(lease.remaining() <= ms(950 - late), "{:?}", lease.remaining());
        // After one renewal.
        let before = faulty.proxy.requests("EVALSHA");
        faulty.proxy.until(|now| now.requests("EVALSHA") > before).await.unwrap();
        let replies = faulty.proxy.replies();
        faulty.proxy.until(|now| now.replies > replies).await.unwrap();
        faulty.proxy.stall();
        let Loss::Unconfirmed { last } = loss(&lease).await else { panic!("the server answered") };
        let left = faulty.left().await;
        assert!(left > 0, "late by {} us", -left);
        assert!(left < 500_000, "stopped {left} us too early");
        // Still under way, or ended at the very end.
        assert!(last.is_none_or(|error| matches!(error.kind(), ErrorKind::Deadline(_))));
        assert!(faulty.proxy.requests("EVALSHA") > before + 1, "no renewal was under way");
    }
}

contract!(what_remains_is_exact_without_the_keeper);
/// A runtime that is held up can't cancel anything, but the clock is asked directly.
async fn what_remains_is_exact_without_the_keeper(at: Topology) {
    let (redis, space) = shared_space(at, "remaining").await;
    let lease = take(&quick(&redis, &space, 100), "report").await;
    assert!(!lease.remaining().is_zero());
    std::thread::sleep(ms(100));
    assert!(lease.remaining().is_zero());
    // When everything comes due at once no renewal comes first.
    assert!(matches!(loss(&lease).await, Loss::Unconfirmed { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewal_outlasts_an_outage() {
    let faulty = Faulty::start().await;
    // Several attempts fit into what remains.
    let redis = faulty.redis.with_deadline(ms(250));
    let leases = quick(&redis, &faulty.space, 3_000);
    let lease = leases.acquire("report", ms(20_000)).await.unwrap().held().unwrap();
    let before = faulty.proxy.requests("EVALSHA");
    faulty.server.pause().await.unwrap();
    faulty.proxy.until(|now| now.requests("EVALSHA") >= before + 3).await.unwrap();
    faulty.server.resume().await.unwrap();
    let replies = faulty.proxy.replies();
    faulty.proxy.until(|now| now.replies >= replies + 4).await.unwrap();
    assert!(!lease.lost().is_cancelled());
    assert_eq!(lease.release().await.unwrap(), Released::Yes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_runs_while_it_is_held_and_no_longer() {
    let mut faulty = Faulty::start().await;
    let lease = take(&faulty.direct(), "report").await;
    let fence = lease.fence();
    match lease.run(|fence| async move { fence }).await {
        Ran::Done { output, released } => {
            assert_eq!((output, released.unwrap()), (fence, Released::Yes));
        }
        other => panic!("{other:?}"),
    }
    let lease = take(&quick(&faulty.redis, &faulty.space, 300), "report").await;
    let key = faulty.space.key("lease", "report");
    faulty.conn.call(&[b"DEL".as_slice(), key.as_bytes()]).await.unwrap();
    let (working, dropped) = tokio::sync::oneshot::channel::<()>();
    let ran = lease.run(|_| async move {
        let _working = working;
        std::future::pending::<()>().await;
    });
    assert!(matches!(ran.await, Ran::Cut(Loss::Ended { .. })));
    assert!(dropped.await.is_err());
}

/// It keeps the only thread to itself for longer than the lease lasts, so that nobody else can say so.
#[tokio::test]
async fn work_that_ends_after_its_lease_is_not_done() {
    let faulty = Faulty::start().await;
    let lease = take(&quick(&faulty.redis, &faulty.space, 300), "report").await;
    let ran = lease.run(async |_| std::thread::sleep(ms(400))).await;
    assert!(matches!(ran, Ran::Cut(Loss::Unconfirmed { .. })), "{ran:?}");
}

/// Dropping: renewal stops, and it is given back, from wherever it is dropped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_gives_it_back() {
    let mut faulty = Faulty::start().await;
    let lease = take(&faulty.direct(), "report").await;
    let lost = lease.lost();
    drop(lease);
    assert!(lost.is_cancelled());
    faulty.given_back().await;
    let lease = take(&faulty.direct(), "report").await;
    std::thread::spawn(move || drop(lease)).join().unwrap();
    faulty.given_back().await;

    // Its runtime is gone: it ends by its TTL.
    let (url, space) = (faulty.server.url(), faulty.space.clone());
    let lease = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let lease = runtime.block_on(async {
            let redis = patient(&url).build().unwrap();
            take(&quick(&redis, &space, 1_500), "report").await
        });
        drop(runtime);
        lease
    });
    let lease = lease.join().unwrap();
    let fence = lease.fence();
    // Nobody confirms it any more.
    let loss = tokio::time::timeout(ms(1_000), lease.loss()).await;
    assert!(matches!(loss, Ok(Loss::Unconfirmed { last: None })), "{loss:?}");
    assert!(lease.lost().is_cancelled() && lease.remaining().is_zero());
    drop(lease);
    let left = busy(&faulty.direct(), "report").await;
    assert_eq!(left.fence, fence);
    let next = faulty.direct().acquire("report", ms(10_000)).await.unwrap().held().unwrap();
    assert!(next.fence() > fence);
}
