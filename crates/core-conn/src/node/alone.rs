//! Calls that share a connection with nobody.

use std::time::{Duration, Instant};

use super::{Node, supervise};
use crate::cmd::Cmd;
use crate::error::{Error, ErrorKind, SendOutcome};
use crate::link::{Link, LinkEnd, LinkError, Reply, Request};
use crate::value::{Value, server_error};

impl Node {
    /// Runs one command on a connection that is opened for it, with a probe right behind it: a reply that was lost or
    /// mistaken on the way can only be this call's own, and makes its outcome unknown.
    pub(crate) async fn alone(
        &self,
        cmd: &Cmd,
        deadline: Instant,
        budget: Duration,
    ) -> Result<Value, Error> {
        if self.gate.is_closed() {
            return Err(Error::not_sent(ErrorKind::Closed));
        }
        let _place = {
            let waiting = self.queue()?;
            tokio::select! {
                biased;
                () = self.gate.closed() => return Err(waiting.turn_away()),
                place = tokio::time::timeout_at(deadline.into(), self.dedicated.acquire()) => match place {
                    Ok(Ok(place)) => place,
                    Ok(Err(_)) => return Err(Error::not_sent(ErrorKind::Closed)),
                    Err(_) => return Err(Error::not_sent(ErrorKind::Deadline(budget))),
                },
            }
        };
        let opened = tokio::select! {
            biased;
            // Nothing is sent after the end.
            () = self.ended.cancelled() => return Err(Error::not_sent(ErrorKind::Closed)),
            opened = tokio::time::timeout_at(deadline.into(), Link::open(&self.settings.target)) => opened,
        };
        let (link, mut end) = match opened {
            Ok(Ok(opened)) => (opened.link, opened.end),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(Error::not_sent(ErrorKind::Deadline(budget))),
        };
        let reply = self.answer(&link, &mut end, cmd, deadline, budget).await;
        let unknown = matches!(&reply, Err(error) if error.outcome() == SendOutcome::Unknown);
        if !unknown {
            // The server closes its end in its own time; ours is gone with the link.
            let _ = tokio::time::timeout_at(deadline.into(), link.quit()).await;
        }
        reply
    }

    async fn answer(
        &self,
        link: &Link,
        end: &mut LinkEnd,
        cmd: &Cmd,
        deadline: Instant,
        budget: Duration,
    ) -> Result<Value, Error> {
        let lost = |reason| Error::unknown(ErrorKind::ConnectionLost(reason));
        let nonce = supervise::nonce();
        // At once: fred drops what comes while it waits for nothing, and so an extra reply would go unseen.
        let both = [cmd.clone(), Cmd::read("PING").arg(&nonce)];
        let replies = tokio::select! {
            biased;
            reply = tokio::time::timeout_at(deadline.into(), link.call(Request::Batch(&both))) => match reply {
                Ok(Ok(Reply::Many(replies))) => replies,
                Ok(Ok(Reply::One(_))) => return Err(lost("one reply to two commands".into())),
                Ok(Err(LinkError::Server(words))) => return Err(server_error(&words, false)),
                Ok(Err(LinkError::Lost(reason))) => return Err(lost(reason)),
                Err(_) => return Err(Error::unknown(ErrorKind::Deadline(budget))),
            },
            reason = end.wait() => return Err(lost(reason)),
            () = self.ended.cancelled() => return Err(lost("closed while in flight".into())),
        };
        let mut replies = replies.into_iter();
        let (Some(reply), Some(probed)) = (replies.next(), replies.next()) else {
            return Err(lost("fewer replies than commands".into()));
        };
        supervise::check_probe(&nonce, probed.map(Reply::One))?;
        reply.map_err(|error| match error {
            LinkError::Server(words) => server_error(&words, false),
            LinkError::Lost(reason) => lost(reason),
        })
    }
}
