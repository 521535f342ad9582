//! Lost replies, dropped futures, late questions: one grant, and no orphan where one can be avoided.

use russet_core_conn::{Durability, ErrorKind, EventKind, SendOutcome};
use russet_testkit::Match;

use super::loss::Faulty;
use super::*;
use crate::support::{poll_once, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acquire_whose_reply_was_lost_is_granted_once() {
    let mut faulty = Faulty::start().await;
    let leases = Leases::new(&faulty.redis, &faulty.space).unwrap();
    assert_eq!(take(&leases, "warm").await.release().await.unwrap(), Released::Yes);
    faulty.proxy.reset_counters();
    faulty.proxy.cut_after(Match::name("EVALSHA"));
    let lease = take(&leases, "report").await;
    assert_eq!((faulty.proxy.strikes(), faulty.proxy.requests("EVALSHA")), (1, 2));
    let kept = kept(&mut faulty.conn, &faulty.space, "report").await;
    assert_eq!(kept["fence"], lease.fence().to_string());
    // The first question's end is the lease's: the second has not begun it anew.
    assert!(faulty.left().await <= 10_000_000);
    assert_eq!(lease.release().await.unwrap(), Released::Yes);
}

/// Without a second attempt the outcome is unknown, and what may have been granted is given back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_have_been_granted_to_nobody_is_given_back() {
    let mut faulty = Faulty::start().await;
    let redis = patient(&faulty.proxy.url()).attempts(1).build().unwrap();
    let leases = Leases::new(&redis, &faulty.space).unwrap();
    assert_eq!(take(&leases, "warm").await.release().await.unwrap(), Released::Yes);
    faulty.proxy.cut_after(Match::name("EVALSHA"));
    let error = leases.try_acquire("report").await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
    assert_eq!(error.script(), Some("lease_acquire"));
    assert!(error.call_site().unwrap().file().ends_with("unknown.rs"), "{error}");
    faulty.given_back().await;

    // The same where nobody waits for the answer any more.
    faulty.proxy.reset_counters();
    faulty.proxy.stall();
    let mut asking = Box::pin(leases.try_acquire("report"));
    assert!(poll_once(asking.as_mut()).await.is_none());
    faulty.proxy.until(|now| now.requests("EVALSHA") == 1).await.unwrap();
    drop(asking);
    let before = kept(&mut faulty.conn, &faulty.space, "report").await["fence"].clone();
    faulty.proxy.unstall();
    faulty.given_back().await;
    faulty.proxy.until(|now| now.requests("EVALSHA") == 2).await.unwrap();
    until("it was granted, late", async || {
        let kept = kept(&mut faulty.conn, &faulty.space, "report").await;
        kept["fence"] > before && kept["until"] == "0"
    })
    .await;
}

/// What was never sent is not given back, and neither is what another has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_for_what_was_certainly_not_granted() {
    let faulty = Faulty::start().await;
    let redis = faulty.redis.with_deadline(ms(500));
    let leases = Leases::new(&redis, &faulty.space).unwrap();
    let lease = take(&faulty.direct(), "report").await;
    busy(&leases, "report").await;
    let mut events = faulty.redis.events();
    faulty.proxy.refuse().await.unwrap();
    faulty.proxy.cut_all().await.unwrap();
    // From here on no call meets the connection that is gone.
    events.find(|kind| matches!(kind, EventKind::Closed)).await.unwrap();
    faulty.proxy.reset_counters();
    let error = leases.try_acquire("report").await.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::NotSent, "{error}");
    faulty.proxy.accept().await.unwrap();
    faulty.redis.ready().await.unwrap();
    // Whatever waited for the connection is behind us after one more.
    assert_eq!(busy(&leases, "report").await.fence, lease.fence());
    assert_eq!(faulty.proxy.requests("EVALSHA"), 1);
    assert_eq!(lease.release().await.unwrap(), Released::Yes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_whose_reply_was_lost_is_told_truthfully() {
    let mut faulty = Faulty::start().await;
    let leases = Leases::new(&faulty.redis, &faulty.space).unwrap();
    assert_eq!(take(&leases, "report").await.release().await.unwrap(), Released::Yes);

    // Nobody came between: it is ours, and was given back before.
    let lease = take(&leases, "report").await;
    faulty.proxy.cut_after(Match::name("EVALSHA"));
    assert_eq!(lease.release().await.unwrap(), Released::Yes);
    assert_eq!(faulty.proxy.strikes(), 1);

    // Somebody did: whether it was lost before can't be told, and the successor keeps what it has.
    let lease = take(&leases, "report").await;
    faulty.proxy.reset_counters();
    faulty.proxy.cut_after(Match::name("EVALSHA"));
    faulty.proxy.refuse().await.unwrap();
    let lost = lease.lost();
    let mut releasing = Box::pin(lease.release());
    assert!(poll_once(releasing.as_mut()).await.is_none());
    assert!(lost.is_cancelled(), "who works with it stops before another may have it");
    let waiting = async {
        faulty.proxy.struck().await.unwrap();
        let second = take(&faulty.direct(), "report").await;
        faulty.proxy.accept().await.unwrap();
        second
    };
    let (released, second) = tokio::join!(releasing, waiting);
    let error = released.unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
    assert!(matches!(error.kind(), ErrorKind::ConnectionLost(_)), "{error}");
    assert!(faulty.proxy.requests("EVALSHA") >= 2);
    assert!(faulty.left().await > 0);
    assert_eq!(second.release().await.unwrap(), Released::Yes);
}

/// A release that nobody waits for is made all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_release_is_still_a_release() {
    let mut faulty = Faulty::start().await;
    let lease = take(&Leases::new(&faulty.redis, &faulty.space).unwrap(), "report").await;
    let releasing = lease.release();
    // Not even begun.
    drop(releasing);
    faulty.given_back().await;
}

/// A grant that too few replicas have is none, however often it is asked for: the server says "yours already" to the
/// second question, and that must be waited for as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_counts_when_the_replicas_have_it() {
    let server = Server::start_with_replicas(1).await.unwrap();
    let mut conn = server.conn().await.unwrap();
    let redis = patient(&server.url()).build().unwrap();
    let durable = redis.with_durability(Durability::Replicas(1));
    let space = KeySpace::new("t").unwrap();
    let leases = Leases::new(&durable, &space).unwrap();
    let lease = take(&leases, "report").await;
    let replica = &server.replicas()[0];
    let copy = kept(&mut replica.conn().await.unwrap(), &space, "report").await;
    assert_eq!(copy["fence"], lease.fence().to_string());
    assert_eq!(lease.release().await.unwrap(), Released::Yes);

    let hasty = Leases::new(&durable.with_deadline(ms(300)), &space).unwrap();
    drop(hasty.acquire("warm", ms(20_000)).await.unwrap().held().unwrap());
    replica.pause().await.unwrap();
    let asking = tokio::spawn(async move { hasty.acquire("report", ms(800)).await });
    until("it is granted on the primary", async || {
        kept(&mut conn, &space, "report").await["fence"] != copy["fence"]
    })
    .await;
    // The next question goes by another connection, on which nothing was written yet.
    conn.call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await.unwrap();
    let error = asking.await.unwrap().unwrap_err();
    assert_eq!(error.outcome(), SendOutcome::Unknown, "{error}");
    until("it is given back", async || kept(&mut conn, &space, "report").await["until"] == "0")
        .await;
    replica.resume().await.unwrap();
    let lease = leases.acquire("report", ms(20_000)).await.unwrap().held().unwrap();
    assert_eq!(lease.release().await.unwrap(), Released::Yes);
}
