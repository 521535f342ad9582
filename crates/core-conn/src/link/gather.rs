//! Calls that go to the client below together, where that is worth it.
//!
//! fred's task writes to the socket whenever it finds no command left, and is woken by the first of many, to run right
//! behind the caller that woke it. A burst of callers would have a write each. So what is called while other calls are
//! under way is gathered, and a task of the link's own hands it over, behind all that can run already. That it is a task
//! and not one of the callers is on purpose: a caller may stop polling, and must not hold up others.
//!
//! It is done for the nodes of a cluster, over which a burst is spread: each would get its calls in small pieces. To one
//! server they come in large ones by themselves, and the task in between costs more than it gains.

use std::convert::Infallible;
use std::future::poll_fn;
use std::mem;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::task::AtomicWaker;
use tokio::task::{coop, yield_now};

use super::seat::{Caller, Seat};
use super::{LinkError, Reply};
use crate::striped::Apart;

/// Calls that the client below does not have yet.
pub(super) struct Gathering<C> {
    /// How many calls there are, gathered or sent.
    calls: Apart<AtomicUsize>,
    queue: Apart<Mutex<Queue<C>>>,
    task: AtomicWaker,
    /// Or else each call goes by itself.
    on: bool,
}

type Queue<C> = Vec<Arc<Held<C>>>;

/// A box, shared by the caller in it and the task that sends the call.
pub(super) struct Held<C>(Mutex<Call<C>>);

struct Call<C> {
    seat: Box<dyn Seat<C>>,
    stage: Stage,
}

enum Stage {
    /// There is none.
    Empty,
    /// It goes by itself, or has been sent.
    Own,
    /// It waits to be sent, and whom to wake then.
    Gathered(Option<Waker>),
    /// The client was done with it at once.
    Done(Result<Reply, LinkError>),
}

impl<C: Caller> Gathering<C> {
    pub(super) fn new(on: bool) -> Self {
        Self { calls: Apart::default(), queue: Apart::default(), task: AtomicWaker::new(), on }
    }

    /// Another call, which sits down. One that is alone gains nothing by waiting.
    #[inline]
    pub(super) fn enter(&self, held: &Held<C>, sit: impl FnOnce(&mut dyn Seat<C>)) {
        let alone = !self.on || self.calls.fetch_add(1, Relaxed) == 0;
        let mut call = held.call();
        sit(&mut *call.seat);
        call.stage = if alone { Stage::Own } else { Stage::Gathered(None) };
    }

    /// One that has not been sent never will be.
    #[inline]
    pub(super) fn leave(&self, held: &Held<C>) {
        if self.on {
            self.calls.fetch_sub(1, Relaxed);
        }
        let mut call = held.call();
        call.seat.rise();
        call.stage = Stage::Empty;
    }

    #[inline]
    pub(super) fn poll(
        &self,
        held: &Arc<Held<C>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Reply, LinkError>> {
        let mut call = held.call();
        match &mut call.stage {
            Stage::Own => return call.seat.poll(cx),
            Stage::Gathered(Some(waker)) => waker.clone_from(cx.waker()),
            Stage::Gathered(none) => {
                *none = Some(cx.waker().clone());
                drop(call);
                self.push(held);
            }
            Stage::Done(_) => {
                if let Stage::Done(reply) = mem::replace(&mut call.stage, Stage::Empty) {
                    return Poll::Ready(reply);
                }
            }
            Stage::Empty => {}
        }
        Poll::Pending
    }

    fn push(&self, held: &Arc<Held<C>>) {
        let mut queue = self.queue();
        queue.push(held.clone());
        let first = queue.len() == 1;
        drop(queue);
        if first {
            self.task.wake();
        }
    }

    /// Sends what gathers. Never ends.
    pub(super) async fn run(self: Arc<Self>) -> Infallible {
        let mut batch = Vec::new();
        // Its budget would be spent by the calls, each of which would then be woken for nothing.
        coop::unconstrained(async {
            loop {
                poll_fn(|cx| {
                    self.task.register(cx.waker());
                    if self.queue().is_empty() { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
                // Woken by a caller it would be before all others: now it is behind them.
                yield_now().await;
                mem::swap(&mut *self.queue(), &mut batch);
                batch.drain(..).for_each(|held| held.send());
            }
        })
        .await
    }

    fn queue(&self) -> MutexGuard<'_, Queue<C>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Held<C> {
    pub(super) fn new(seat: Box<dyn Seat<C>>) -> Self {
        Self(Mutex::new(Call { seat, stage: Stage::Empty }))
    }

    /// The first poll sends. It has the caller's waker, so that the client wakes the caller.
    fn send(&self) {
        let mut call = self.call();
        // In its box there may be another call by now.
        let Stage::Gathered(waker @ Some(_)) = &mut call.stage else { return };
        let Some(waker) = waker.take() else { return };
        call.stage = Stage::Own;
        if let Poll::Ready(reply) = call.seat.poll(&mut Context::from_waker(&waker)) {
            call.stage = Stage::Done(reply);
            waker.wake();
        }
    }

    fn call(&self) -> MutexGuard<'_, Call<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker;

    use super::*;
    use crate::Value;
    use crate::link::Request;
    use crate::link::seat::tests::Nobody;

    /// Counts how often it is polled, and is ready at once or never.
    struct Counting(Arc<AtomicUsize>, bool);

    impl Seat<Nobody> for Counting {
        fn sit(&mut self, _: &Nobody, _: Request<'_>) {}

        fn poll(&mut self, _: &mut Context<'_>) -> Poll<Result<Reply, LinkError>> {
            self.0.fetch_add(1, Relaxed);
            if self.1 { Poll::Ready(Ok(Reply::One(Value::Nil))) } else { Poll::Pending }
        }

        fn rise(&mut self) {}
    }

    fn call(gathering: &Gathering<Nobody>, ready: bool) -> (Arc<Held<Nobody>>, Arc<AtomicUsize>) {
        let polls = Arc::new(AtomicUsize::new(0));
        let held = Arc::new(Held::new(Box::new(Counting(polls.clone(), ready))));
        gathering.enter(&held, |_| {});
        (held, polls)
    }

    fn poll(gathering: &Gathering<Nobody>, held: &Arc<Held<Nobody>>) -> bool {
        gathering.poll(held, &mut Context::from_waker(&noop_waker())).is_ready()
    }

    #[tokio::test]
    async fn one_alone_is_sent_by_itself_and_others_by_the_task() {
        let gathering = Arc::new(Gathering::new(true));
        let task = tokio::spawn(gathering.clone().run());
        let (alone, sent) = call(&gathering, false);
        assert!(!poll(&gathering, &alone) && sent.load(Relaxed) == 1);
        let (second, sent) = call(&gathering, true);
        assert!(!poll(&gathering, &second) && !poll(&gathering, &second));
        assert_eq!(sent.load(Relaxed), 0);
        for _ in 0..3 {
            yield_now().await;
        }
        assert_eq!(sent.load(Relaxed), 1);
        assert!(poll(&gathering, &second));
        assert_eq!(sent.load(Relaxed), 1);
        gathering.leave(&alone);
        gathering.leave(&second);
        let (alone, sent) = call(&gathering, true);
        assert!(poll(&gathering, &alone) && sent.load(Relaxed) == 1);
        task.abort();
    }

    #[tokio::test]
    async fn what_was_dropped_before_it_was_sent_is_never_sent() {
        let gathering = Arc::new(Gathering::new(true));
        let task = tokio::spawn(gathering.clone().run());
        let (_alone, _) = call(&gathering, false);
        let (dropped, sent) = call(&gathering, false);
        assert!(!poll(&gathering, &dropped));
        gathering.leave(&dropped);
        let (kept, other) = call(&gathering, false);
        assert!(!poll(&gathering, &kept));
        for _ in 0..3 {
            yield_now().await;
        }
        assert_eq!((sent.load(Relaxed), other.load(Relaxed)), (0, 1));
        task.abort();
    }
}
