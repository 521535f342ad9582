//! How calls are made in a cluster: along what the servers answer.

use std::collections::HashMap;
use std::panic::Location;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;

use super::{BATCH, link_error};
use crate::cluster::{Cluster, Stop, Way};
use crate::durability::Durability;
use crate::error::{Error, ErrorKind, SendOutcome};
use crate::link::{LinkError, Reply, Request};
use crate::value::server_error;
use crate::{Cmd, Redis, ServerError, Value};

impl Redis {
    /// Several commands at once, to each node its own. What a slot's move sends elsewhere goes there by itself.
    pub(super) async fn spread(
        &self,
        cluster: &Arc<Cluster>,
        cmds: &[Cmd],
        site: &'static Location<'static>,
    ) -> Vec<Result<Value, Error>> {
        let deadline = Instant::now() + self.deadline();
        let left = || self.with_deadline(deadline.saturating_duration_since(Instant::now()));
        if !cluster.is_learnt() {
            // Where that fails, each command says why.
            let _ = cluster.learnt(deadline).await;
        }
        let this = &left();
        let map = cluster.map();
        let mut groups: HashMap<Group, Vec<usize>> = HashMap::new();
        let mut replies: Vec<Option<Result<Value, Error>>> = Vec::new();
        for (place, cmd) in cmds.iter().enumerate() {
            let group = match cmd.slot() {
                Ok(None) => Group::Anywhere,
                Ok(Some(slot)) => match map.owner(slot) {
                    Some(seat) => Group::At(seat.member.place.clone()),
                    None => Group::Nowhere(slot),
                },
                Err(error) => {
                    replies.push(Some(Err(self.told(error, Some(cmd.name()), None, site))));
                    continue;
                }
            };
            groups.entry(group).or_default().push(place);
            replies.push(None);
        }
        let groups = groups.into_values().map(async |places| {
            let own: Vec<Cmd> = places.iter().map(|&place| cmds[place].clone()).collect();
            let batches = join_all(own.chunks(BATCH).map(|cmds| this.batch(cmds, site))).await;
            let answered =
                batches.into_iter().flatten().zip(&own).map(async |(reply, cmd)| match reply {
                    Err(error) if goes_on(&error) && Instant::now() < deadline => {
                        let reply = left().command(cmd, site).await;
                        let unknown = error.outcome() == SendOutcome::Unknown;
                        reply.map_err(|last| if unknown { last.after_unknown() } else { last })
                    }
                    reply => reply,
                });
            places.into_iter().zip(join_all(answered).await).collect::<Vec<_>>()
        });
        for (place, reply) in join_all(groups).await.into_iter().flatten() {
            replies[place] = Some(reply);
        }
        let none = || {
            Error::unknown(ErrorKind::Unexpected { expected: "a reply each", found: "none".into() })
        };
        replies.into_iter().map(|reply| reply.unwrap_or_else(|| Err(none()))).collect()
    }

    /// The whole way of an attempt in a cluster: on the connections of all, or on one of its own.
    pub(super) async fn along(
        &self,
        mut way: Way<'_>,
        request: &Request<'_>,
        own: Option<Durability>,
        before: Option<(Stop, Error)>,
    ) -> Result<Reply, Error> {
        let (deadline, budget) = (way.deadline(), self.deadline());
        if let Some((stop, error)) = before {
            way.on(&stop, error).await?;
        }
        loop {
            let stop = way.stop().await?;
            let (node, asking) = (stop.node(), stop.asking);
            let reply = match own {
                Some(durability) => match node.own(deadline, budget, self.wait).await {
                    Ok(mut own) => own.call(*request, asking, durability, deadline, budget).await,
                    Err(error) => Err(error),
                },
                None if asking => {
                    let cmds = request.asking();
                    let asked = Request::Batch(&cmds);
                    let replies = node.attempt(&asked, deadline, budget, self.wait).await;
                    replies.and_then(|replies| asked_for(request, replies))
                }
                None => node.attempt(request, deadline, budget, self.wait).await,
            };
            match refused(request, reply) {
                Ok(reply) => return Ok(reply),
                Err(error) => way.on(&stop, error).await?,
            }
        }
    }
}

/// Which commands of a pipeline go together.
#[derive(PartialEq, Eq, Hash)]
enum Group {
    At(Arc<str>),
    /// Without a key.
    Anywhere,
    /// Of a slot that nobody is known to serve.
    Nowhere(u16),
}

/// What was answered behind `ASKING`.
fn asked_for(request: &Request<'_>, replies: Reply) -> Result<Reply, Error> {
    let Reply::Many(mut replies) = replies else { return Ok(replies) };
    if replies.is_empty() {
        return Ok(Reply::Many(replies));
    }
    heard_asking(&mut replies)?;
    match (request, replies.pop()) {
        (Request::Batch(_), last) => {
            replies.extend(last);
            Ok(Reply::Many(replies))
        }
        (_, Some(Ok(value))) => Ok(Reply::One(value)),
        (_, Some(Err(LinkError::Server(words)))) => {
            Err(server_error(&words, request.may_be_partial()))
        }
        (_, Some(Err(error))) => Err(link_error(error)),
        (_, None) => Ok(Reply::Many(replies)),
    }
}

/// Takes off the answer to `ASKING`. Where it was refused so is what came behind it, as moved; unless the slot has arrived.
pub(crate) fn heard_asking(replies: &mut Vec<Result<Value, LinkError>>) -> Result<(), Error> {
    match replies.remove(0) {
        Err(error) if replies.iter().all(Result::is_err) => Err(link_error(error)),
        _ => Ok(()),
    }
}

/// The reply; of a transaction that was refused because its slot is elsewhere, where that is.
pub(crate) fn refused(request: &Request<'_>, reply: Result<Reply, Error>) -> Result<Reply, Error> {
    if let (Request::Batch(cmds), Ok(Reply::Many(replies))) = (request, &reply)
        && cmds.first().is_some_and(|cmd| cmd.name() == "MULTI")
        && let Some(Err(LinkError::Server(last))) = replies.last()
        && ServerError::parse(last) == ServerError::ExecAbort
    {
        let errors = replies.iter().filter_map(|reply| match reply {
            Err(LinkError::Server(words)) => Some(server_error(words, false)),
            _ => None,
        });
        if let Some(error) = errors.into_iter().find(goes_on) {
            return Err(error);
        }
    }
    reply
}

/// Whether another node of the cluster is the one to ask, or the same one later. What tells so was refused; an attempt
/// before it may have been applied only of what may be repeated.
fn goes_on(error: &Error) -> bool {
    matches!(
        error.server(),
        Some(
            ServerError::Moved { .. }
                | ServerError::Ask { .. }
                | ServerError::TryAgain
                | ServerError::MasterDown
                | ServerError::Loading
                | ServerError::ReadOnly
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_was_refused_for_where_it_is_goes_on() {
        let block = ["MULTI", "INCR", "EXEC"].map(Cmd::write);
        let last = "EXECABORT Transaction discarded because of previous errors.";
        let answered = |words: [&str; 2]| {
            let errors = words.map(|words| Err(LinkError::Server(words.to_owned())));
            let replies = [Ok(Value::Nil)].into_iter().chain(errors).collect();
            refused(&Request::Batch(&block), Ok(Reply::Many(replies)))
        };
        for (words, expected) in [
            ("MOVED 7 ::1:7001", ServerError::Moved { slot: 7, node: "::1:7001".into() }),
            ("TRYAGAIN x", ServerError::TryAgain),
            ("MASTERDOWN x", ServerError::MasterDown),
            ("LOADING x", ServerError::Loading),
            ("READONLY x", ServerError::ReadOnly),
        ] {
            let error = answered([words, last]).unwrap_err();
            assert_eq!(error.server(), Some(&expected), "{words}");
            assert_eq!(error.outcome(), SendOutcome::Rejected, "{words}");
        }
        for words in [["OOM x", last], ["READONLY x", "ERR x"]] {
            assert!(answered(words).is_ok(), "{words:?}");
        }
    }
}
