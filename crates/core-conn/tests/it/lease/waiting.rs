//! Waiting: called when it is given back, one question of each process, an end in time.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::loss::Faulty;
use super::*;
use crate::support::{poll_once, until};

/// Until so many of the server's clients listen for the lease.
async fn listening(conn: &mut Conn, space: &KeySpace, count: i64) {
    let key = space.key("lease", "report");
    until("listeners", async || {
        let call = [b"PUBSUB".as_slice(), b"SHARDNUMSUB", key.as_bytes()];
        conn.call(&call).await.unwrap().items().unwrap()[1].int() == Some(count)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_is_called() {
    let mut faulty = Faulty::start().await;
    let (ours, theirs) = (faulty.direct(), faulty.direct());
    let mut took = Duration::ZERO;
    for _ in 0..10 {
        let lease = take(&theirs, "report").await;
        let waiting = tokio::spawn({
            let ours = ours.clone();
            async move { ours.acquire("report", ms(20_000)).await.unwrap().held().unwrap() }
        });
        listening(&mut faulty.conn, &faulty.space, 1).await;
        let begun = Instant::now();
        assert_eq!(lease.release().await.unwrap(), Released::Yes);
        assert_eq!(waiting.await.unwrap().release().await.unwrap(), Released::Yes);
        took += begun.elapsed();
        // Nobody waits, nobody listens.
        listening(&mut faulty.conn, &faulty.space, 0).await;
    }
    // Who is not called asks after half a second at the earliest.
    assert!(took < ms(2_500), "{took:?}");
}

/// A release calls one of each process, not all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_makes_no_stampede() {
    let mut faulty = Faulty::start().await;
    let ours = Leases::new(&faulty.redis, &faulty.space).unwrap();
    let lease = take(&faulty.direct(), "report").await;
    let mut waiting = JoinSet::new();
    for _ in 0..64 {
        let ours = ours.clone();
        waiting.spawn(async move {
            let lease = ours.acquire("report", ms(30_000)).await.unwrap().held().unwrap();
            assert_eq!(lease.release().await.unwrap(), Released::Yes);
        });
    }
    faulty.proxy.until(|now| now.requests("EVALSHA") >= 64).await.unwrap();
    listening(&mut faulty.conn, &faulty.space, 1).await;
    assert_eq!(lease.release().await.unwrap(), Released::Yes);
    waiting.join_all().await;
    // The first question of each, then a grant and a release of each, and what was asked too early.
    let asked = faulty.proxy.requests("EVALSHA");
    assert!((64 * 3..64 * 6).contains(&asked), "{asked} scripts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_ends_in_time() {
    let mut faulty = Faulty::start().await;
    let lease = take(&faulty.direct(), "report").await;
    let ours = Leases::new(&faulty.redis, &faulty.space).unwrap();
    let begun = Instant::now();
    let mut both = JoinSet::new();
    // One in front, one behind.
    for _ in 0..2 {
        let ours = ours.clone();
        both.spawn(async move { ours.acquire("report", ms(300)).await.unwrap() });
    }
    for acquired in both.join_all().await {
        let Acquired::Busy(busy) = acquired else { panic!("{acquired:?}") };
        assert_eq!(busy.fence, lease.fence());
    }
    let took = begun.elapsed();
    assert!(took >= ms(300) && took < ms(3_000), "{took:?}");

    // Or when nobody waits for it any more: whoever stands behind comes to the front.
    let mut first = Box::pin(ours.acquire("report", ms(30_000)));
    let mut second = Box::pin(ours.acquire("report", ms(30_000)));
    tokio::select! {
        _ = &mut first => panic!("it is held"),
        () = listening(&mut faulty.conn, &faulty.space, 1) => {}
    }
    assert!(poll_once(second.as_mut()).await.is_none());
    drop(first);
    let (second, released) = tokio::join!(second, lease.release());
    assert_eq!(released.unwrap(), Released::Yes);
    drop(second.unwrap().held().unwrap());
    listening(&mut faulty.conn, &faulty.space, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_may_wait_for_ever() {
    let mut faulty = Faulty::start().await;
    let lease = take(&faulty.direct(), "report").await;
    let ours = faulty.direct();
    let mut waiting = tokio::spawn(async move { ours.acquire("report", Duration::MAX).await });
    tokio::select! {
        ended = &mut waiting => panic!("it does not wait: {ended:?}"),
        () = listening(&mut faulty.conn, &faulty.space, 1) => {}
    }
    assert_eq!(lease.release().await.unwrap(), Released::Yes);
    drop(waiting.await.unwrap().unwrap().held().unwrap());
}

/// Who may neither publish nor subscribe gives back and waits all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_without_channels() {
    let mut faulty = Faulty::start().await;
    let user = ["ACL", "SETUSER", "mute", "on", ">pw", "~*", "resetchannels", "+@all"];
    assert!(faulty.conn.call(&user).await.unwrap().is_ok());
    let redis = patient(&format!("redis://mute:pw@{}", faulty.server.addr())).build().unwrap();
    let mute = Leases::new(&redis, &faulty.space).unwrap();
    for _ in 0..5 {
        let lease = take(&mute, "report").await;
        let mut waiting = Box::pin(mute.acquire("report", ms(20_000)));
        assert!(poll_once(waiting.as_mut()).await.is_none());
        let (next, released) = tokio::join!(waiting, lease.release());
        assert_eq!(released.unwrap(), Released::Yes);
        assert_eq!(next.unwrap().held().unwrap().release().await.unwrap(), Released::Yes);
    }
}

/// The server dies and comes back without its data: the lease is free, its number is the clock's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_outlasts_a_restart() {
    let mut faulty = Faulty::start().await;
    let lease = take(&faulty.direct(), "report").await;
    // Of short patience: what fails meanwhile is asked again.
    let redis = faulty.redis.with_deadline(ms(200));
    let ours = Leases::new(&redis, &faulty.space).unwrap();
    let waiting = tokio::spawn(async move { ours.acquire("report", ms(60_000)).await });
    listening(&mut faulty.conn, &faulty.space, 1).await;
    faulty.server.kill().await.unwrap();
    faulty.server.restart().await.unwrap();
    let next = waiting.await.unwrap().unwrap().held().unwrap();
    assert!(next.fence() > lease.fence());
    assert_eq!(lease.extend(ms(20_000)).await.unwrap(), Extended::WasLost);
    assert_eq!(next.release().await.unwrap(), Released::Yes);
}
