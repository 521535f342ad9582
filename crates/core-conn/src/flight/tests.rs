use std::future::poll_fn;
use std::sync::atomic::AtomicUsize;
use std::task::Poll;

use super::*;

async fn until_cut(place: &Place<'_>) -> Cut {
    poll_fn(|cx| match place.cut(cx.waker()) {
        Some(cut) => Poll::Ready(cut),
        None => Poll::Pending,
    })
    .await
}

fn soon(ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(ms)
}

#[tokio::test]
async fn a_deadline_cuts_late_by_ticks_and_never_early() {
    let slab = Slab::start(4);
    for ms in [1, 7, 30] {
        let deadline = soon(ms);
        let place = slab.enter(deadline).await.unwrap();
        assert_eq!(until_cut(&place).await, Cut::Deadline);
        assert!(Instant::now() >= deadline, "cut early");
        assert!(
            deadline.elapsed() < Duration::from_millis(100),
            "cut {:?} late",
            deadline.elapsed()
        );
    }
}

#[tokio::test]
async fn a_parked_sweeper_wakes_for_the_next_call() {
    let slab = Slab::start(1);
    while !slab.parked.load(SeqCst) {
        tokio::task::yield_now().await;
        tokio::time::sleep(TICK).await;
    }
    let place = slab.enter(soon(10)).await.unwrap();
    assert_eq!(until_cut(&place).await, Cut::Deadline);
}

/// What a waker keeps in memory, as that of a task does.
struct Kept;

impl std::task::Wake for Kept {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test]
async fn whoever_leaves_is_let_go_of() {
    let slab = Slab::start(2);
    let caller = Arc::new(Kept);
    let place = slab.enter(soon(60_000)).await.unwrap();
    assert!(place.cut(&caller.clone().into()).is_none());
    assert_eq!(Arc::strong_count(&caller), 2, "it keeps none: this shows nothing");
    drop(place);
    assert_eq!(Arc::strong_count(&caller), 1);
}

#[tokio::test]
async fn all_calls_end_at_once_when_the_connection_is_lost() {
    let slab = Slab::start(8);
    let (one, two) =
        (slab.enter(soon(60_000)).await.unwrap(), slab.enter(soon(60_000)).await.unwrap());
    slab.fail_all();
    assert_eq!(until_cut(&one).await, Cut::Lost);
    assert_eq!(until_cut(&two).await, Cut::Lost);
    assert_eq!(slab.enter(soon(60_000)).await.unwrap_err(), Cut::Lost);
}

#[tokio::test]
async fn who_waits_for_a_place_is_not_admitted_after_its_deadline() {
    let slab = Slab::start(1);
    let _held = slab.enter(soon(60_000)).await.unwrap();
    assert_eq!(slab.enter(soon(10)).await.unwrap_err(), Cut::Deadline);
}

#[tokio::test]
async fn drained_means_that_no_call_holds_a_place() {
    let slab = Slab::start(3);
    let place = slab.enter(soon(60_000)).await.unwrap();
    assert_eq!(slab.in_flight(), 1);
    let waiting = tokio::spawn({
        let slab = slab.clone();
        async move { slab.drained().await.is_some() }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(place);
    assert!(waiting.await.unwrap());
    assert_eq!(slab.in_flight(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_its_size_are_in_flight_whatever_is_dropped() {
    const SIZE: usize = 8;
    let slab = Slab::start(SIZE);
    let inside = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..64_u64)
        .map(|seed| {
            let (slab, inside) = (slab.clone(), inside.clone());
            tokio::spawn(async move {
                for round in 0..500_u64 {
                    let call = async {
                        let place = slab.enter(soon(60_000)).await.unwrap();
                        let now = inside.fetch_add(1, SeqCst) + 1;
                        let _leave = Leave(&inside);
                        assert!(now <= SIZE, "{now} calls inside");
                        tokio::task::yield_now().await;
                        assert_eq!(place.cut(Waker::noop()), None);
                    };
                    // A third is dropped wherever it stands after a few polls.
                    if (seed + round) % 3 == 0 {
                        let _ = tokio::time::timeout(Duration::from_micros(round % 50), call).await;
                    } else {
                        call.await;
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(slab.in_flight(), 0);
    assert!(slab.drained().await.is_some());
}

struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
