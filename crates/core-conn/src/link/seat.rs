//! Room for the futures of the client below.
//!
//! The future of one of fred's calls has 5 KB and a type some twenty layers deep. By value it would be moved with every
//! future of a caller, and would use up the compiler's limit for the depth of types; boxed anew it costs a large
//! allocation a call. So a link keeps boxes that are used again: a call takes one, the future is made inside it, and
//! the box goes back when the call ends or is dropped. What the client needs for a call is kept in the box, too.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

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
pub(super) struct Seats<C>(Striped<Mutex<Free<C>>>);

type Free<C> = Vec<Box<dyn Seat<C>>>;

/// A box for the future of one call.
trait Seat<C>: Send {
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
    pub(super) fn new() -> Self {
        Self(Striped::default())
    }

    #[inline]
    pub(super) fn seat(&self, client: &C, request: Request<'_>) -> Seated<'_, C> {
        let near = lock(self.0.mine()).pop();
        // There is none too many: one is made where no thread has one left.
        let free = near.or_else(|| self.0.all().find_map(|free| lock(free).pop()));
        let mut seat = free.unwrap_or_else(chair);
        seat.sit(client, request);
        Seated { seats: self, seat: Some(seat) }
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
pub(crate) struct Seated<'a, C> {
    seats: &'a Seats<C>,
    /// None only while it is dropped.
    seat: Option<Box<dyn Seat<C>>>,
}

impl<C> Future for Seated<'_, C> {
    type Output = Result<Reply, LinkError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().seat {
            Some(seat) => seat.poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<C> Drop for Seated<'_, C> {
    fn drop(&mut self) {
        if let Some(mut seat) = self.seat.take() {
            seat.rise();
            lock(self.seats.0.mine()).push(seat);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cmd, Value};

    #[derive(Clone)]
    struct Nobody;

    impl Caller for Nobody {
        fn carry_out(
            self,
            _: Request<'_>,
        ) -> impl Future<Output = (Self, Result<Reply, LinkError>)> + Send + use<> {
            std::future::ready((self, Ok(Reply::One(Value::Nil))))
        }
    }

    #[test]
    fn boxes_do_not_pile_up_where_calls_end_elsewhere() {
        let seats = Seats::new();
        let ping = Cmd::read("PING");
        for _ in 0..3 {
            let seated = seats.seat(&Nobody, Request::Cmd(&ping));
            std::thread::scope(|scope| scope.spawn(|| drop(seated)).join().unwrap());
        }
        assert_eq!(seats.0.all().map(|free| lock(free).len()).sum::<usize>(), 1);
    }
}
