//! Room for fred's futures.
//!
//! The future of one of fred's calls has 5 KB and a type some twenty layers deep. By value it would be moved with every
//! future of a caller, and would use up the compiler's limit for the depth of types; boxed anew it costs a large
//! allocation a call. So a link keeps boxes that are used again: a call takes one, the future is made inside it, and
//! the box goes back when the call ends or is dropped.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use ::fred::clients::Client;

use super::order;
use crate::Striped;
use crate::link::{LinkError, Reply, Request};

/// Free boxes, each where the call before it ended: whoever begins the next one there finds it in that core's cache.
#[derive(Default)]
pub(super) struct Seats(Striped<Mutex<Vec<Box<dyn Seat>>>>);

/// A box for the future of one call.
trait Seat: Send {
    fn sit(&mut self, client: &Client, request: Request<'_>);
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, LinkError>>;
    fn rise(&mut self);
}

/// A box for the futures that `make` makes.
struct Chair<M, F> {
    make: M,
    future: Pin<Box<Option<F>>>,
    /// Of the call before.
    client: Option<Client>,
}

impl<M, F> Seat for Chair<M, F>
where
    M: Fn(Client, Request<'_>) -> F + Send,
    F: Future<Output = (Client, Result<Reply, LinkError>)> + Send,
{
    #[inline]
    fn sit(&mut self, client: &Client, request: Request<'_>) {
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

fn chair() -> Box<dyn Seat> {
    fn of<M, F>(make: M) -> Box<dyn Seat>
    where
        M: Fn(Client, Request<'_>) -> F + Send + 'static,
        F: Future<Output = (Client, Result<Reply, LinkError>)> + Send + 'static,
    {
        Box::new(Chair { make, future: Box::pin(None), client: None })
    }
    of(order::carry_out)
}

impl Seats {
    #[inline]
    pub(super) fn seat(&self, client: &Client, request: Request<'_>) -> Seated<'_> {
        let near = lock(self.0.mine()).pop();
        // There is none too many: one is made where no thread has one left.
        let free = near.or_else(|| self.0.all().find_map(|free| lock(free).pop()));
        let mut seat = free.unwrap_or_else(chair);
        seat.sit(client, request);
        Seated { seats: self, seat: Some(seat) }
    }
}

fn lock(free: &Mutex<Vec<Box<dyn Seat>>>) -> MutexGuard<'_, Vec<Box<dyn Seat>>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seats")
    }
}

/// A call of fred's, in its box.
pub(crate) struct Seated<'a> {
    seats: &'a Seats,
    /// None only while it is dropped.
    seat: Option<Box<dyn Seat>>,
}

impl Future for Seated<'_> {
    type Output = Result<Reply, LinkError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().seat {
            Some(seat) => seat.poll(cx),
            None => Poll::Pending,
        }
    }
}

impl Drop for Seated<'_> {
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
    use crate::{Cmd, Key};

    #[tokio::test]
    async fn boxes_do_not_pile_up_where_calls_end_elsewhere() {
        let (seats, client) = (Seats::default(), Client::default());
        let get = Cmd::read("GET").key(&Key::raw("k"));
        for _ in 0..3 {
            let seated = seats.seat(&client, Request::Cmd(&get));
            std::thread::scope(|scope| scope.spawn(|| drop(seated)).join().unwrap());
        }
        assert_eq!(seats.0.all().map(|free| lock(free).len()).sum::<usize>(), 1);
    }
}
