//! Connections that one caller at a time has to itself.

use std::convert::Infallible;
use std::mem;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::guide::LEFT;
use super::supervise::lost;
use super::{Node, supervise};
use crate::call::heard_asking;
use crate::cmd::Cmd;
use crate::credentials::Credentials;
use crate::durability::Durability;
use crate::error::{Error, ErrorKind};
use crate::link::{Link, LinkEnd, LinkError, Opened, Reply, Request};
use crate::table::Route;
use crate::value::{Value, server_error};

/// How long a connection that nobody uses is kept for the next caller.
const IDLE: Duration = Duration::from_secs(5);

/// A connection in one caller's hands. Each of its calls has a probe right behind it, so that a reply which was lost or
/// mistaken on the way can only be that call's own. Dropping it leaves the connection to the next caller if it is in
/// step and as it was when it was new, and ends it otherwise.
#[derive(Debug)]
pub(crate) struct Own {
    node: Arc<Node>,
    /// None once the connection has ended.
    open: Option<Open>,
    /// Whether a command may have changed what the next caller relies on.
    altered: bool,
    /// Whether it watches keys: from `WATCH` until `EXEC` is answered.
    pub(crate) watching: bool,
    /// Held before the first call, and by each: whoever closes the node waits for it.
    busy: Option<OwnedSemaphorePermit>,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug)]
struct Open {
    link: Link,
    end: LinkEnd,
    /// Where it leads.
    place: String,
    /// As whom it logged in, and stays.
    credentials: Option<Credentials>,
    /// Whether the server is known to sync for whoever waits.
    fsync: bool,
    /// Dropped with it, it ends [`sweep`].
    _open: oneshot::Sender<Infallible>,
}

/// A connection that waits for its next caller.
#[derive(Debug)]
pub(super) struct Idle {
    open: Open,
    since: Instant,
}

impl Node {
    /// A connection of the caller's own: one that waits for a caller, or a new one.
    pub(crate) async fn own(
        self: &Arc<Self>,
        deadline: Instant,
        budget: Duration,
        wait: bool,
    ) -> Result<Own, Error> {
        if self.gate.is_closed() {
            return Err(Error::not_sent(ErrorKind::Closed));
        }
        self.start();
        // Until it has one it waits, and is turned away by whoever closes.
        let waiting = self.queue()?;
        let open = async {
            let place = self.dedicated.clone().acquire_owned().await;
            let place = place.map_err(|_| Error::not_sent(ErrorKind::Closed))?;
            loop {
                match self.idle_or_new().await {
                    // The server is away: it waits like every other call, until the lanes say that it is back.
                    Err(_) if wait && !self.is_connected() => {
                        self.next_living(deadline, wait).await?;
                    }
                    open => return open.map(|open| (place, open)),
                }
            }
        };
        let (place, open) = tokio::select! {
            biased;
            () = self.gate.closed() => return Err(waiting.turn_away()),
            open = tokio::time::timeout_at(deadline.into(), open) => match open {
                Ok(open) => open?,
                Err(_) => return Err(Error::not_sent(ErrorKind::Deadline(budget))),
            },
        };
        let Some(busy) = self.busy() else { return Err(waiting.turn_away()) };
        Ok(Own {
            node: self.clone(),
            open: Some(open),
            altered: false,
            watching: false,
            busy: Some(busy),
            _place: place,
        })
    }

    async fn idle_or_new(self: &Arc<Self>) -> Result<Open, Error> {
        // With one taken for each place, there are never more of them open than there are places.
        while let Some(Idle { mut open, since }) = self.idle().pop() {
            let over = open.end.wait().now_or_never().is_some() || self.is_outdated(&open);
            if since.elapsed() < IDLE && !over {
                return Ok(open);
            }
        }
        let Opened { link, end, endpoint, credentials } = self.open().await?;
        let (_open, closed) = oneshot::channel();
        tokio::spawn(sweep(Arc::downgrade(self), closed));
        Ok(Open { link, end, place: endpoint.to_string(), credentials, fsync: false, _open })
    }

    /// Whether the credentials have changed since it logged in, or it should lead elsewhere.
    fn is_outdated(&self, open: &Open) -> bool {
        if self.is_left(&open.place) {
            return true;
        }
        let login = &self.settings.access.login;
        open.credentials.as_ref().is_some_and(|used| login.changed(used).now_or_never().is_some())
    }

    /// Says that a call is under way, unless the node has closed.
    fn busy(&self) -> Option<OwnedSemaphorePermit> {
        // There is one for each place. Taken first, looked second: the node closes its gate first and takes all second.
        let busy = self.busy.clone().try_acquire_owned().ok()?;
        (!self.gate.is_closed()).then_some(busy)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connections that nobody has used for a while; all of them once the node is closed.
    pub(super) fn end_idle(&self) {
        let closed = self.gate.is_closed();
        let mut idle = self.idle();
        let (ended, kept) = mem::take(&mut *idle)
            .into_iter()
            .partition(|idle| closed || idle.since.elapsed() >= IDLE);
        *idle = kept;
        drop(idle);
        let _: Vec<Idle> = ended;
    }
}

impl Own {
    /// Whether the next caller may have it.
    fn as_new(&self) -> bool {
        !self.altered && !self.watching
    }

    /// No call follows soon: a node that closes need not wait.
    pub(crate) fn rest(&mut self) {
        self.busy = None;
    }

    /// One request: its reply, or that of each of its commands. What must be durable travels with the command that waits
    /// for it: a connection that is lost in between confirms nothing.
    pub(crate) async fn call(
        &mut self,
        request: Request<'_>,
        asking: bool,
        durability: Durability,
        deadline: Instant,
        budget: Duration,
    ) -> Result<Reply, Error> {
        if durability == Durability::Fsync {
            self.check_fsync(deadline, budget).await?;
        }
        let mut cmds = if asking { request.asking() } else { request.to_cmds() };
        let wait = durability.wait(deadline);
        let waits = wait.is_some();
        cmds.extend(wait);
        let mut replies = self.call_each(cmds, deadline, budget).await?;
        if asking {
            heard_asking(&mut replies)?;
        }
        let confirmed = if waits { replies.pop() } else { None };
        let confirm = || confirmed.map_or(Ok(()), |answer| durability.confirm(answer));
        if let Request::Batch(cmds) = request {
            self.watching &= !ends_watching(cmds, &replies);
            if may_be_applied(cmds, &replies) {
                confirm()?;
            }
            return Ok(Reply::Many(replies));
        }
        match replies.pop() {
            Some(Ok(value)) => confirm().map(|()| Reply::One(value)),
            Some(Err(LinkError::Server(words))) => {
                Err(server_error(&words, request.may_be_partial()))
            }
            Some(Err(LinkError::Lost(reason))) => Err(lost(reason)),
            None => Err(lost("no reply".into())),
        }
    }

    /// Whether the server can tell of a sync, found out before anything is written.
    async fn check_fsync(&mut self, deadline: Instant, budget: Duration) -> Result<(), Error> {
        if self.open.as_ref().is_some_and(|open| open.fsync) {
            return Ok(());
        }
        let wait = Cmd::internal("WAITAOF").arg(1).arg(0).arg(1);
        let answer = self.call_each(vec![wait], deadline, budget).await;
        match answer.map(|mut answer| answer.pop()) {
            Ok(Some(Err(LinkError::Server(words)))) => {
                let why = format!("the server can't wait for its append-only file: {words}");
                Err(Error::not_sent(ErrorKind::Unsupported(why)))
            }
            Ok(_) => {
                if let Some(open) = &mut self.open {
                    open.fsync = true;
                }
                Ok(())
            }
            // The write itself was not sent.
            Err(error) => Err(Error::not_sent(error.kind().clone())),
        }
    }

    /// Commands that reach the server with nothing between them: a reply each, or all are lost together.
    async fn call_each(
        &mut self,
        mut cmds: Vec<Cmd>,
        deadline: Instant,
        budget: Duration,
    ) -> Result<Vec<Result<Value, LinkError>>, Error> {
        // Both taken: if this future is dropped, what it is owed ends with the connection.
        let Some(busy) = self.busy.take().or_else(|| self.node.busy()) else {
            return Err(Error::not_sent(ErrorKind::Closed));
        };
        let open = self.open.take().filter(|open| !self.node.is_left(&open.place));
        let Some(mut own) = open else {
            return Err(Error::not_sent(ErrorKind::ConnectionLost(
                "it ended before this call".into(),
            )));
        };
        self.altered |= cmds.iter().any(|cmd| cmd.route() == Route::Unknown);
        let nonce = supervise::nonce();
        // At once: fred drops what comes while it waits for nothing, and so an extra reply would go unseen.
        cmds.push(Cmd::read("PING").arg(&nonce));
        let mut replies = tokio::select! {
            biased;
            reply = tokio::time::timeout_at(deadline.into(), own.link.call(Request::Batch(&cmds))) => match reply {
                Ok(Ok(Reply::Many(replies))) => replies,
                Ok(Ok(Reply::One(_))) => return Err(lost("one reply to several commands".into())),
                Ok(Err(LinkError::Server(words))) => return Err(server_error(&words, false)),
                Ok(Err(LinkError::Lost(reason))) => return Err(lost(reason)),
                Err(_) => return Err(Error::unknown(ErrorKind::Deadline(budget))),
            },
            reason = own.end.wait() => return Err(lost(reason)),
            () = self.node.left(&own.place) => return Err(lost(LEFT.into())),
            () = self.node.ended.cancelled() => return Err(lost("closed while in flight".into())),
        };
        let probed = replies.pop().unwrap_or_else(|| Err(LinkError::Lost("no reply".into())));
        if replies.len() + 1 != cmds.len() {
            return Err(lost("another number of replies than of commands".into()));
        }
        supervise::check_probe(&nonce, probed.map(Reply::One))?;
        // Once it has refused a write for its role, it is not the one to ask any more.
        if !self.node.is_led() || !replies.iter().any(is_read_only) {
            self.open = Some(own);
        }
        self.busy = Some(busy);
        Ok(replies)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(open) =
            self.open.take().filter(|_| self.as_new() && !self.node.gate.is_closed())
        {
            self.node.idle().push(Idle { open, since: Instant::now() });
        }
    }
}

/// Ends what nobody has used for a while, as long as one connection is open: the lanes do that, too, with their probes, but
/// only those that are ready.
async fn sweep(node: Weak<Node>, mut closed: oneshot::Receiver<Infallible>) {
    while tokio::time::timeout(IDLE, &mut closed).await.is_err() {
        let Some(node) = node.upgrade() else { return };
        node.end_idle();
    }
}

/// Whether `EXEC` ended a transaction among these. Whatever it answered then, it has forgotten what was watched; where
/// `MULTI` was refused it has not.
fn ends_watching(cmds: &[Cmd], replies: &[Result<Value, LinkError>]) -> bool {
    let ends = |cmd: &Cmd| cmd.name() == "EXEC";
    replies.len() == cmds.len()
        && cmds.last().is_some_and(ends)
        && matches!(replies.first(), Some(Ok(_)))
        && matches!(replies.last(), Some(Ok(_) | Err(LinkError::Server(_))))
}

/// Whether any of these may have changed something that is to be confirmed: a transaction that the server gave up, or of
/// which it refused everything, has not.
fn may_be_applied(cmds: &[Cmd], replies: &[Result<Value, LinkError>]) -> bool {
    let refused = |reply: &Result<Value, LinkError>| matches!(reply, Err(LinkError::Server(_)));
    match (cmds.last(), replies.first(), replies.last()) {
        (Some(cmd), Some(first), Some(last)) if cmd.name() == "EXEC" && !refused(first) => {
            !refused(last) && !matches!(last, Ok(Value::Nil))
        }
        _ => !replies.iter().all(refused),
    }
}

fn is_read_only(reply: &Result<Value, LinkError>) -> bool {
    reply.as_ref().is_err_and(LinkError::is_read_only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_transaction_that_began_and_was_answered_ends_the_watching() {
        let block = ["MULTI", "INCR", "EXEC"].map(Cmd::write);
        let (ok, refused) = (|| Ok(Value::Nil), || Err(LinkError::Server("NOPERM".into())));
        let lost = || Err(LinkError::Lost("gone".into()));
        assert!(ends_watching(&block, &[ok(), ok(), ok()]));
        assert!(ends_watching(&block, &[ok(), refused(), refused()]));
        assert!(!ends_watching(&block, &[refused(), ok(), refused()]));
        assert!(!ends_watching(&block, &[ok(), ok(), lost()]));
        assert!(!ends_watching(&block, &[ok(), ok()]));
        assert!(!ends_watching(&block[..2], &[ok(), ok()]));
        assert!(!ends_watching(&[], &[]));
    }
}
