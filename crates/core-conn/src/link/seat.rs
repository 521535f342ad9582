//! Room for the futures of the client below.
//!
//! The future of one of fred's calls has 5 KB and a type some twenty layers deep. By value it would be moved with every
//! future of a caller, and would use up the compiler's limit for the depth of types; boxed anew it costs a large
//! allocation a call. So a link keeps boxes that are used again: a call takes one, the future is made inside it, and
//! the box goes back when the call ends or is dropped. What the client needs for a call is kept in the box, too.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::task::AbortHandle;
use tokio_util::task::AbortOnDropHandle;

use super::gather::{Gathering, Held};
use super::{LinkError, Reply, Request};
use crate::Striped;

/// The client below, as one call needs it.
pub(super) trait Caller: Clone + Send + 'static {
    /// The future of one call, which borrows nothing of the request. It gives the client back: to keep one is cheaper
    /// than to clone one, which all threads count.
    fn carry_out(
        self,
        request: Request<'_>,
    ) -> impl Future<Output = (Self, Result<Reply, LinkError>)> + Send + use<Self>;
}

/// Free boxes, each where the call before it ended: whoever begins the next one there finds it in that core's cache.
pub(super) struct Seats<C> {
    free: Striped<Mutex<Free<C>>>,
    gathering: Arc<Gathering<C>>,
    /// What sends the calls that are gathered.
    _sender: Option<AbortOnDropHandle<()>>,
}

type Free<C> = Vec<Arc<Held<C>>>;

/// A box for the future of one call.
pub(super) trait Seat<C>: Send {
    fn sit(&mut self, client: &C, request: Request<'_>);
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, LinkError>>;
    fn rise(&mut self);
}

/// A box for the futures that `make` makes.
struct Chair<C, M, F> {
    make: M,
    future: Pin<Box<Option<F>>>,
    /// Of the call before.
    client: Option<C>,
}

impl<C, M, F> Seat<C> for Chair<C, M, F>
where
    C: Caller,
    M: Fn(C, Request<'_>) -> F + Send,
    F: Future<Output = (C, Result<Reply, LinkError>)> + Send,
{
    #[inline]
    fn sit(&mut self, client: &C, request: Request<'_>) {
        let client = self.client.take().unwrap_or_else(|| client.clone());
        self.future.set(Some((self.make)(client, request)));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, LinkError>> {
        let Some(future) = self.future.as_mut().as_pin_mut() else { return Poll::Pending };
        future.poll(cx).map(|(client, reply)| {
            self.client = Some(client);
            reply
        })
    }

    fn rise(&mut self) {
        self.future.set(None);
    }
}

fn chair<C: Caller>() -> Box<dyn Seat<C>> {
    fn of<C, M, F>(make: M) -> Box<dyn Seat<C>>
    where
        C: Caller,
        M: Fn(C, Request<'_>) -> F + Send + 'static,
        F: Future<Output = (C, Result<Reply, LinkError>)> + Send + 'static,
    {
        Box::new(Chair { make, future: Box::pin(None), client: None })
    }
    of(C::carry_out)
}

impl<C: Caller> Seats<C> {
    /// For calls to the client whose task this is, gathered or not. It ends where they can't be sent any more.
    pub(super) fn new(task: AbortHandle, gathers: bool) -> Self {
        let gathering = Arc::new(Gathering::new(gathers));
        let sender = gathers.then(|| {
            let (sends, ends) = (gathering.clone().run(), Ends(task));
            let sender = tokio::spawn(async move {
                let _ends = ends;
                sends.await;
            });
            AbortOnDropHandle::new(sender)
        });
        Self { free: Striped::default(), gathering, _sender: sender }
    }

    #[inline]
    pub(super) fn seat(&self, client: &C, request: Request<'_>) -> Seated<'_, C> {
        let near = lock(self.free.mine()).pop();
        // There is none too many: one is made where no thread has one left.
        let free = near.or_else(|| self.free.all().find_map(|free| lock(free).pop()));
        let held = free.unwrap_or_else(|| Arc::new(Held::new(chair())));
        self.gathering.enter(&held, |seat| seat.sit(client, request));
        Seated { seats: self, held: Some(held) }
    }
}

/// A task that ends with this, also where a panic drops it.
struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn lock<C>(free: &Mutex<Free<C>>) -> MutexGuard<'_, Free<C>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<C> fmt::Debug for Seats<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seats")
    }
}

/// A call, in its box.
pub(crate) struct Seated<'a, C: Caller> {
    seats: &'a Seats<C>,
    /// None only while it is dropped.
    held: Option<Arc<Held<C>>>,
}

impl<C: Caller> Future for Seated<'_, C> {
    type Output = Result<Reply, LinkError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.held {
            Some(held) => self.seats.gathering.poll(held, cx),
            None => Poll::Pending,
        }
    }
}

impl<C: Caller> Drop for Seated<'_, C> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.seats.gathering.leave(&held);
            lock(self.seats.free.mine()).push(held);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{Cmd, Value};

    #[derive(Clone)]
    pub(in crate::link) struct Nobody;

    impl Caller for Nobody {
        fn carry_out(
            self,
            _: Request<'_>,
        ) -> impl Future<Output = (Self, Result<Reply, LinkError>)> + Send + use<> {
            std::future::ready((self, Ok(Reply::One(Value::Nil))))
        }
    }

    #[tokio::test]
    async fn boxes_do_not_pile_up_where_calls_end_elsewhere() {
        let seats = Seats::new(tokio::spawn(std::future::pending::<()>()).abort_handle(), true);
        let ping = Cmd::read("PING");
        for _ in 0..3 {
            let seated = seats.seat(&Nobody, Request::Cmd(&ping));
            std::thread::scope(|scope| scope.spawn(|| drop(seated)).join().unwrap());
        }
        assert_eq!(seats.free.all().map(|free| lock(free).len()).sum::<usize>(), 1);
    }

    #[derive(Clone)]
    struct Broken;

    impl Caller for Broken {
        fn carry_out(
            self,
            _: Request<'_>,
        ) -> impl Future<Output = (Self, Result<Reply, LinkError>)> + Send + use<> {
            async { panic!("it is broken") }
        }
    }

    #[tokio::test]
    async fn where_nothing_can_be_sent_any_more_the_client_ends() {
        let client = tokio::spawn(std::future::pending::<()>());
        let seats = Seats::new(client.abort_handle(), true);
        let ping = Cmd::read("PING");
        let _alone = seats.seat(&Broken, Request::Cmd(&ping));
        let beside = seats.seat(&Broken, Request::Cmd(&ping));
        tokio::select! {
            biased;
            ended = client => assert!(ended.unwrap_err().is_cancelled()),
            _ = beside => unreachable!("nobody answers"),
        }
    }
}
