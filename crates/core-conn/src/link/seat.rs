//! Room for the futures of the client below.
//!
//! The future of one of fred's calls has 5 KB and a type some twenty layers deep. By value it would be moved with every
//! future of a caller, and would use up the compiler's limit for the depth of types; boxed anew it costs a large
//! allocation a call. So a link keeps boxes that are used again, each with one future that carries out call after call:
//! a call takes a box, and the box goes back when the call ends or is dropped.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::mem;
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
    /// What there is to know of a request, without the request. One is used for call after call.
    type Order: Default + Send + 'static;

    /// Writes an order that is empty.
    fn note(request: Request<'_>, order: &mut Self::Order);

    /// Carries it out, and leaves it empty.
    fn carry_out(
        &mut self,
        order: &mut Self::Order,
    ) -> impl Future<Output = Result<Reply, LinkError>> + Send;
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

/// A box with a future that carries out one order after the other. It is made anew only for a call that was given up:
/// to make it moves all of its bytes.
struct Chair<C: Caller, M, F> {
    make: M,
    future: Pin<Box<Option<F>>>,
    desk: Arc<Mutex<Desk<C::Order>>>,
    /// Whether an order has been given that has no reply yet.
    busy: bool,
}

/// Between who calls and the future.
#[derive(Default)]
struct Desk<O> {
    order: O,
    given: bool,
    reply: Option<Result<Reply, LinkError>>,
}

async fn serve<C: Caller>(mut client: C, desk: Arc<Mutex<Desk<C::Order>>>) -> Infallible {
    loop {
        // It is polled whenever there is one: nobody needs to be woken for it.
        let mut order = poll_fn(|_| {
            let mut desk = lock(&desk);
            if !mem::take(&mut desk.given) {
                return Poll::Pending;
            }
            Poll::Ready(mem::take(&mut desk.order))
        })
        .await;
        let reply = client.carry_out(&mut order).await;
        let mut desk = lock(&desk);
        desk.order = order;
        desk.reply = Some(reply);
    }
}

impl<C, M, F> Seat<C> for Chair<C, M, F>
where
    C: Caller,
    M: Fn(C, Arc<Mutex<Desk<C::Order>>>) -> F + Send,
    F: Future<Output = Infallible> + Send,
{
    #[inline]
    fn sit(&mut self, client: &C, request: Request<'_>) {
        if self.future.is_none() {
            self.future.set(Some((self.make)(client.clone(), self.desk.clone())));
        }
        let mut desk = lock(&self.desk);
        C::note(request, &mut desk.order);
        (desk.given, self.busy) = (true, true);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, LinkError>> {
        if let Some(future) = self.future.as_mut().as_pin_mut() {
            let Poll::Pending = future.poll(cx);
        }
        match lock(&self.desk).reply.take() {
            Some(reply) => {
                self.busy = false;
                Poll::Ready(reply)
            }
            None => Poll::Pending,
        }
    }

    fn rise(&mut self) {
        if mem::take(&mut self.busy) {
            self.future.set(None);
            *lock(&self.desk) = Desk::default();
        }
    }
}

fn chair<C: Caller>() -> Box<dyn Seat<C>> {
    fn of<C, M, F>(make: M) -> Box<dyn Seat<C>>
    where
        C: Caller,
        M: Fn(C, Arc<Mutex<Desk<C::Order>>>) -> F + Send + 'static,
        F: Future<Output = Infallible> + Send + 'static,
    {
        Box::new(Chair { make, future: Box::pin(None), desk: Arc::default(), busy: false })
    }
    of(serve::<C>)
}

impl<C: Caller> Seats<C> {
    /// For calls to the client whose task this is, gathered or not. It ends where they can't be sent any more.
    pub(super) fn new(task: AbortHandle, gathers: bool) -> Self {
        let gathering = Arc::new(Gathering::new(gathers));
        let sender = gathers.then(|| {
            let (sends, ends) = (gathering.clone().run(), Ends(task));
            let sender = tokio::spawn(async move {
                let _ends = ends;
                let _never = sends.await;
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
        type Order = ();

        fn note(_: Request<'_>, (): &mut ()) {}

        async fn carry_out(&mut self, (): &mut ()) -> Result<Reply, LinkError> {
            Ok(Reply::One(Value::Nil))
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
        type Order = ();

        fn note(_: Request<'_>, (): &mut ()) {}

        async fn carry_out(&mut self, (): &mut ()) -> Result<Reply, LinkError> {
            panic!("it is broken")
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
