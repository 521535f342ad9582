//! Keeps the map: asks one node after the other, one refresh at a time.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::listing::{self, Listing};
use super::{Cluster, REFRESH, Standing, lag};
use crate::call::link_error;
use crate::error::{Error, ErrorKind};
use crate::link::{Link, LinkError, Opened, Reply, Request};
use crate::node::Node;
use crate::target::{Endpoint, Target};
use crate::{Cmd, Value};

/// However many find the map wrong: so long after one refresh no other begins.
const PAUSE: Duration = Duration::from_millis(100);

/// Where one slot was moved, more are being moved: each says so itself, and one refresh is for all.
const SETTLE: Duration = Duration::from_millis(100);

/// After so long without an answer the next node is asked, too.
const HEDGE: Duration = Duration::from_millis(100);

/// A node that knows of an older configuration than ours is not believed, but for so long without another.
const BELIEF: Duration = Duration::from_secs(5);

pub(super) fn run(cluster: Arc<Cluster>) -> impl Future<Output = ()> + Send {
    let finish = Finish(cluster);
    async move {
        let task = finish;
        tokio::select! {
            biased;
            () = task.0.ended.cancelled() => {}
            () = keep(&task.0) => {}
            () = lag::watch(&task.0) => {}
        }
    }
}

/// The task's end, also where its runtime ends first: whoever waits, or the next call, starts another.
struct Finish(Arc<Cluster>);

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.news.send_modify(|_| self.0.learning.store(false, SeqCst));
    }
}

async fn keep(cluster: &Arc<Cluster>) {
    let mut attempt = 0;
    let mut troubled_at = Instant::now();
    let mut learnt_at: Option<Instant> = None;
    loop {
        let asked = ask(cluster).await;
        let error = match asked {
            Ok((listing, from)) => {
                let is_old = listing.epoch < cluster.map().epoch
                    && learnt_at.is_some_and(|at| at.elapsed() < BELIEF);
                if !is_old {
                    cluster.learn(listing, &from);
                    learnt_at = Some(Instant::now());
                }
                cluster.news.send_modify(|news| {
                    (news.answers, news.failed) = (news.answers + 1, None);
                });
                revive(cluster);
                None
            }
            Err(error) => {
                cluster.news.send_modify(|news| news.failed = Some(error.clone()));
                Some(error)
            }
        };
        let paused = tokio::time::sleep(PAUSE);
        if error.is_none() && !is_troubled(cluster) {
            attempt = 0;
            tokio::select! {
                () = cluster.stale.notified() => {}
                () = tokio::time::sleep(REFRESH) => {}
                () = cluster.mended.notified() => tokio::select! {
                    () = cluster.stale.notified() => {}
                    () = tokio::time::sleep(SETTLE) => {}
                },
            }
            paused.await;
            continue;
        }
        if attempt == 0 {
            troubled_at = Instant::now();
        }
        attempt += 1;
        let error = error.unwrap_or_else(|| {
            Error::not_sent(ErrorKind::NotConnected("a node that serves slots is away".into()))
        });
        // A policy that stops counts for a node; the map is asked for as long as there is a handle.
        let delay = match cluster.sites.backoff.delay(attempt, troubled_at.elapsed(), &error) {
            ControlFlow::Continue(delay) => delay,
            ControlFlow::Break(_) => REFRESH,
        };
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = cluster.hurry.notified() => {}
        }
    }
}

/// A policy that stops is for a node that stays away: one that the others see again is tried again.
fn revive(cluster: &Cluster) {
    for seat in &cluster.map().seats {
        let is_seen = seat
            .listed
            .as_ref()
            .is_some_and(|listed| listed.linked && listed.state == Standing::Up);
        if is_seen {
            seat.member.nodes().for_each(Node::revive);
        }
    }
}

/// Whether a slot has no owner, or one that can't be reached: another may take its place at any time.
fn is_troubled(cluster: &Cluster) -> bool {
    let map = cluster.map();
    !map.serves
        || map.unserved().is_some()
        || map.owners().iter().any(|member| member.calls.away().is_some())
}

/// The first that answers and takes calls; else the first that answers.
async fn ask(cluster: &Arc<Cluster>) -> Result<(Listing, Endpoint), Error> {
    let map = cluster.map();
    let members: Vec<_> = map.members().cloned().collect();
    let (near, far): (Vec<_>, Vec<_>) =
        cluster.turn.among(&members).partition(|member| member.calls.is_connected());
    let listed =
        cluster.sites.listed.iter().filter(|listed| map.find(&listed.to_string()).is_none());
    let mut candidates: Vec<Endpoint> =
        near.into_iter().map(|member| member.endpoint.clone()).collect();
    // Some of those that nothing leads to at the moment, in turn, and whoever was listed.
    candidates.extend(far.into_iter().map(|member| member.endpoint.clone()));
    candidates
        .extend(cluster.turn.among(&Vec::from_iter(listed)).map(|&endpoint| endpoint.clone()));
    let mut candidates = candidates.into_iter();
    let mut asked = FuturesUnordered::new();
    let mut last = None;
    let mut second_best = None;
    loop {
        if asked.len() < 8 {
            asked.extend(candidates.next().map(|endpoint| ask_one(cluster, endpoint)));
        }
        let answer = match (candidates.len(), &second_best) {
            (0, None) => asked.next().await,
            // Whoever has not said otherwise by now hangs.
            (0, Some(_)) => match tokio::time::timeout(HEDGE, asked.next()).await {
                Ok(answer) => answer,
                Err(_) => break,
            },
            _ => match tokio::time::timeout(HEDGE, asked.next()).await {
                Ok(answer) => answer,
                Err(_) => continue,
            },
        };
        match answer {
            Some(Ok((listing, from))) if listing.serves => return Ok((listing, from)),
            Some(Ok(found)) => second_best = Some(found),
            Some(Err(error)) => last = Some(error),
            None if candidates.len() > 0 => {}
            None => break,
        }
    }
    let nobody = || Error::not_sent(ErrorKind::Connect("no node to ask".into()));
    second_best.ok_or_else(|| last.unwrap_or_else(nobody))
}

/// By what a node is asked: by the connection for its calls, or by one for this alone.
enum Line<'a> {
    Shared(&'a Arc<Node>),
    Own(Box<Opened>),
}

async fn ask_one(cluster: &Arc<Cluster>, endpoint: Endpoint) -> Result<(Listing, Endpoint), Error> {
    let within = cluster.settings.access.connect_timeout;
    let tls = endpoint.speaks_tls();
    let answer = async {
        let map = cluster.map();
        let place = endpoint.to_string();
        let line = match map.find(&place).filter(|member| member.calls.is_connected()) {
            Some(member) => Line::Shared(&member.calls),
            None => {
                let access = cluster.settings.access.clone();
                let target = Target { endpoint: endpoint.clone(), access };
                Line::Own(Box::new(Link::open(&target).await?))
            }
        };
        let put = async |cmds: &[Cmd]| -> Result<Vec<Result<Value, LinkError>>, Error> {
            let request = Request::Batch(cmds);
            let reply = match &line {
                Line::Shared(calls) => {
                    calls.attempt(&request, Instant::now() + within, within, false).await?
                }
                Line::Own(opened) => opened.link.call(request).await.map_err(link_error)?,
            };
            match reply {
                Reply::Many(answers) => Ok(answers),
                Reply::One(value) => {
                    let found = value.describe();
                    Err(Error::unknown(ErrorKind::Unexpected { expected: "a reply each", found }))
                }
            }
        };
        let (nodes, details) = listing::read(put(&listing::questions()).await?, tls)?;
        let nodes = match nodes {
            Some(nodes) => nodes,
            None => {
                let slots = put(&[listing::older_question()]).await?.pop();
                let lost = || LinkError::Lost("no reply".into());
                let slots = slots.unwrap_or_else(|| Err(lost())).map_err(link_error)?;
                listing::read_slots(slots)?
            }
        };
        Ok(details.complete(nodes))
    };
    match tokio::time::timeout(within, answer).await {
        Ok(listing) => listing.map(|listing| (listing, endpoint)),
        Err(_) => Err(cluster.settings.access.no_answer()),
    }
}
