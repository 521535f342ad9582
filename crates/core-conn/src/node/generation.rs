//! One connection from its opening to its end.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, SetOnce};

use crate::error::{Error, ErrorKind};
use crate::flight::{Cut, Place, Slab};
use crate::link::{Link, LinkError, Reply, Request};
use crate::value::server_error;

/// Each call reads it, and counts itself beside it.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct Generation {
    pub(super) link: Link,
    pub(super) slab: Arc<Slab>,
    /// Calls that were dropped or cut before their reply; the probe that is answered counts them off.
    pub(super) abandoned: AtomicUsize,
    /// Why a call found the link gone, perhaps before the supervisor did.
    pub(super) gone: SetOnce<String>,
    /// Whether sentinels lead here.
    led: bool,
    /// The server has refused a write for its role.
    pub(super) demoted: Notify,
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.slab.fail_all();
    }
}

impl Generation {
    pub(super) fn new(link: Link, in_flight: usize, led: bool) -> Self {
        let slab = Slab::start(in_flight);
        Self {
            link,
            slab,
            abandoned: AtomicUsize::new(0),
            gone: SetOnce::new(),
            led,
            demoted: Notify::new(),
        }
    }

    pub(super) fn end(&self) {
        self.slab.fail_all();
        self.link.abort();
    }

    /// From here on the request counts as sent.
    pub(super) async fn call(
        &self,
        request: &Request<'_>,
        place: Place<'_>,
        budget: Duration,
    ) -> Result<Reply, Error> {
        let mut call = self.link.call(*request);
        let mut owed = Owed { generation: self, answered: false };
        let reply = poll_fn(|cx| {
            if let Poll::Ready(reply) = call.poll_unpin(cx) {
                return Poll::Ready(Ok(reply));
            }
            match place.cut(cx.waker()) {
                Some(cut) => Poll::Ready(Err(cut)),
                None => Poll::Pending,
            }
        })
        .await;
        match reply {
            Ok(Ok(reply)) => {
                owed.answered = true;
                if self.led
                    && let Reply::Many(replies) = &reply
                {
                    replies
                        .iter()
                        .filter_map(|reply| reply.as_ref().err())
                        .for_each(|error| self.heed(error));
                }
                Ok(reply)
            }
            Ok(Err(LinkError::Server(words))) => {
                owed.answered = true;
                let error = server_error(&words, request.may_be_partial());
                self.heed(&LinkError::Server(words));
                Err(error)
            }
            Ok(Err(LinkError::Lost(reason))) => {
                // The next call must not be lost on it, too: from here on nobody gets in.
                self.slab.fail_all();
                // The first reason is kept.
                let _ = self.gone.set(reason.clone());
                Err(Error::unknown(ErrorKind::ConnectionLost(reason)))
            }
            Err(Cut::Lost) => {
                Err(Error::unknown(ErrorKind::ConnectionLost("closed while in flight".into())))
            }
            Err(Cut::Deadline) => Err(Error::unknown(ErrorKind::Deadline(budget))),
        }
    }

    /// A server that refuses a write because it is a replica is not the one that the sentinels should name.
    fn heed(&self, error: &LinkError) {
        if self.led && error.is_read_only() {
            self.demoted.notify_one();
        }
    }
}

/// Counts a call whose reply nobody took, however it ended.
struct Owed<'a> {
    generation: &'a Generation,
    answered: bool,
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.generation.abandoned.fetch_add(1, Relaxed);
        }
    }
}
