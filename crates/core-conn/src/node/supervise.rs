//! Keeps one connection: opens it, watches it, and opens the next one when it is gone.

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::guide::LEFT;
use super::{Generation, Lane, Node, State, login};
use crate::cmd::Cmd;
use crate::credentials::Credentials;
use crate::error::{Error, ErrorKind};
use crate::event::{EventKind, ReadyCheck};
use crate::info::fields;
use crate::link::{Link, LinkEnd, LinkError, Opened, Reply, Request};
use crate::{ServerError, Value};

pub(super) fn run(node: Arc<Node>, connection: usize) -> impl Future<Output = ()> + Send {
    // Made before the task is: one that its runtime drops without ever running it has ended, too.
    let finish = Finish { node, connection, gave_up: false };
    async move {
        let mut task = finish;
        tokio::select! {
            biased;
            () = task.node.ended.cancelled() => {}
            () = keep(&task.node, connection) => task.gave_up = true,
        }
    }
}

/// The end of a lane's task. Also where the runtime ends first, or the task panics: nobody waits for what is gone, and
/// the next call, perhaps in another runtime, begins anew.
struct Finish {
    node: Arc<Node>,
    connection: usize,
    gave_up: bool,
}

impl Drop for Finish {
    fn drop(&mut self) {
        let Self { node, connection, gave_up } = self;
        if *gave_up {
            // Only `reconnect` begins anew.
            return;
        }
        let lane = &node.lanes[*connection];
        if lane.end() {
            node.announce(*connection, EventKind::Closed);
        }
        // Together: whoever waits hears of it when there may be another task, and that one's word is the later one.
        lane.state.send_modify(|state| {
            *state = State::Connecting(None);
            lane.running.store(false, SeqCst);
            node.started.store(false, SeqCst);
        });
        // Whoever closes the node says so first and looks for those that run second.
        if node.ended.is_cancelled() {
            lane.state.send_replace(State::Ended);
        }
    }
}

/// Ends only by giving up.
async fn keep(node: &Arc<Node>, connection: usize) {
    let lane = &node.lanes[connection];
    let mut attempt = 0;
    let mut lost_at = Instant::now();
    loop {
        let mut news = node.news();
        let (error, ready_for) = one_stay(node, connection).await;
        if node.gate.is_closed() {
            // The server took the goodbye. That is no error, and nothing comes after it.
            return std::future::pending().await;
        }
        if node.settings.backoff.is_stable(ready_for) {
            attempt = 0;
        }
        if attempt == 0 {
            lost_at = Instant::now();
        }
        attempt += 1;
        let mut hurry = pin!(lane.hurry.notified());
        // From here on it is heard, also by whom an event makes call `reconnect`.
        hurry.as_mut().enable();
        lane.last_error.store(Some(Arc::new(error.clone())));
        node.announce(connection, EventKind::Error(error.clone()));
        lane.state.send_replace(State::Connecting(Some(error.clone())));
        match node.settings.backoff.delay(attempt, lost_at.elapsed(), &error) {
            ControlFlow::Continue(delay) => {
                node.announce(connection, EventKind::Reconnecting { attempt, delay });
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = hurry => {}
                    () = news.heard() => {}
                }
            }
            ControlFlow::Break(reason) => {
                let attempts = attempt - 1;
                let error =
                    Error::not_sent(ErrorKind::GaveUp { attempts, reason }).caused_by(error.kind());
                lane.state.send_replace(State::GaveUp(error.clone()));
                node.announce(connection, EventKind::GaveUp { attempts, error });
                return;
            }
        }
    }
}

/// A connection that is ready, and what ends with it.
struct Serving {
    generation: Arc<Generation>,
    end: LinkEnd,
    /// Where it leads.
    place: Arc<str>,
    /// As whom it logged in.
    credentials: Option<Credentials>,
}

impl Serving {
    fn new(node: &Node, opened: Opened) -> Self {
        let Opened { link, end, endpoint, credentials } = opened;
        let generation = Arc::new(Generation::new(link, node.settings.in_flight, node.is_led()));
        Self { generation, end, place: endpoint.to_string().into(), credentials }
    }
}

/// From the opening of the connection to its loss, over all that took its place meanwhile. Answers why it ended, and
/// how long it was ready.
async fn one_stay(node: &Arc<Node>, connection: usize) -> (Error, Duration) {
    let lane = &node.lanes[connection];
    let mut opened = match node.open().await {
        Ok(opened) => opened,
        Err(error) => {
            *lane.place() = node.place();
            return (error, Duration::ZERO);
        }
    };
    *lane.place() = opened.endpoint.to_string().into();
    lane.generations.fetch_add(1, Relaxed);
    node.announce(connection, EventKind::Connected);
    let check = match ready_check(node, connection, &mut opened).await {
        Ok(check) => check,
        Err(error) => {
            drop(opened);
            node.announce(connection, EventKind::Closed);
            return (error, Duration::ZERO);
        }
    };

    let first = Serving::new(node, opened);
    let ready_at = Instant::now();
    if !lane.take_over(&node.gate, &first.generation) {
        drop(first);
        node.announce(connection, EventKind::Closed);
        return (Error::not_sent(ErrorKind::Closed), Duration::ZERO);
    }
    lane.changed.store(Arc::new(ready_at));
    lane.state.send_replace(State::Ready);
    node.announce(connection, EventKind::Ready(check));
    let error = serve(node, connection, first).await;
    lane.state.send_replace(State::Connecting(Some(error.clone())));
    lane.fail();
    lane.changed.store(Arc::new(Instant::now()));
    node.announce(connection, EventKind::Closed);
    (error, ready_at.elapsed())
}

/// Watches the connection, puts another in its place when the credentials change, and says why it must end.
async fn serve(node: &Arc<Node>, connection: usize, first: Serving) -> Error {
    let lane = &node.lanes[connection];
    let mut serving = first;
    loop {
        let Serving { generation, end, place, credentials } = &mut serving;
        let next = tokio::select! {
            error = watch(node, generation, end) => return error,
            () = node.left(place) => return lost(LEFT.into()),
            () = generation.demoted.notified() => {
                // It answers what it was asked already.
                lane.step_down();
                tokio::spawn(finish(node.clone(), connection, serving));
                return lost("it is a replica now".into());
            }
            next = login::successor(node, connection, credentials.as_ref()) => next,
        };
        let next = Serving::new(node, next);
        if lane.take_over(&node.gate, &next.generation) {
            *lane.place() = next.place.clone();
            let before = std::mem::replace(&mut serving, next);
            tokio::spawn(finish(node.clone(), connection, before));
            lane.generations.fetch_add(1, Relaxed);
            node.announce(connection, EventKind::LoggedIn);
        }
    }
}

/// Ends a connection that gets no further calls, when its last one is answered.
async fn finish(node: Arc<Node>, connection: usize, mut before: Serving) {
    let lane = &node.lanes[connection];
    // Also where the runtime ends first: nobody would look at the deadlines of what is in flight.
    let _retired = Retired { lane, generation: before.generation.clone() };
    let Serving { generation, end, place, .. } = &mut before;
    tokio::select! {
        biased;
        () = node.ended.cancelled() => {}
        // All places are taken until it has ended: nobody gets in any more.
        _places = generation.slab.drained() => lane.retire(generation),
        error = watch(&node, generation, end) => {
            tracing::warn!(node = %place, %error, "lost before its last call was answered");
        }
    }
}

struct Retired<'a> {
    lane: &'a Lane,
    generation: Arc<Generation>,
}

impl Drop for Retired<'_> {
    fn drop(&mut self) {
        self.lane.retire(&self.generation);
    }
}

/// Watches a living connection until it must end, and says why.
async fn watch(node: &Node, generation: &Generation, end: &mut LinkEnd) -> Error {
    let mut probes = tokio::time::interval(node.settings.probe_interval);
    probes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            reason = end.wait() => return lost(reason),
            reason = generation.gone.wait() => return lost(reason.clone()),
            _ = probes.tick() => {}
        }
        node.end_idle();
        let owed = generation.abandoned.load(Relaxed);
        let probed = tokio::select! {
            biased;
            reason = end.wait() => return lost(reason),
            reason = generation.gone.wait() => return lost(reason.clone()),
            probed = tokio::time::timeout(node.settings.probe_timeout, probe(&generation.link)) => probed,
        };
        match probed {
            // Replies come in order: whatever was owed before the probe has been answered.
            Ok(Ok(())) => {
                generation.abandoned.fetch_sub(owed, Relaxed);
                node.hung.store(false, Relaxed);
            }
            Ok(Err(error)) => return error,
            Err(_) => {
                node.hung.store(true, Relaxed);
                let reason =
                    format!("no answer to a probe within {:?}", node.settings.probe_timeout);
                return lost(reason);
            }
        }
    }
}

pub(super) fn lost(reason: String) -> Error {
    Error::unknown(ErrorKind::ConnectionLost(reason))
}

/// Asks for a number that nobody else asks for: another answer means that replies have slipped.
async fn probe(link: &Link) -> Result<(), Error> {
    let nonce = nonce();
    let ping = Cmd::read("PING").arg(&nonce);
    check_probe(&nonce, link.call(Request::Cmd(&ping)).await)
}

pub(crate) fn nonce() -> Bytes {
    Bytes::from(format!("{:032x}", rand::random::<u128>()))
}

pub(super) fn check_probe(nonce: &Bytes, answer: Result<Reply, LinkError>) -> Result<(), Error> {
    match answer {
        Ok(Reply::One(Value::Bytes(answer))) if answer == nonce => Ok(()),
        Ok(other) => {
            let found = format!("a probe was answered with {}", other.describe());
            Err(Error::unknown(ErrorKind::Desync(found)))
        }
        // The server speaks, and refuses: it is there, and in step as far as can be told.
        Err(LinkError::Server(_)) => Ok(()),
        Err(LinkError::Lost(reason)) => Err(Error::unknown(ErrorKind::ConnectionLost(reason))),
    }
}

/// Waits until the connection can be used: while the server loads its data, it can't.
pub(super) async fn ready_check(
    node: &Node,
    connection: usize,
    opened: &mut Opened,
) -> Result<ReadyCheck, Error> {
    let place = opened.endpoint.to_string();
    node.unless_left(&place, loaded(node, connection, opened)).await
}

async fn loaded(node: &Node, connection: usize, opened: &mut Opened) -> Result<ReadyCheck, Error> {
    if !node.settings.ready_check {
        return Ok(ReadyCheck::Off);
    }
    loop {
        let info = Cmd::read("INFO").args(["server", "persistence"]);
        let (loading, check) = match bounded(node, opened, &info).await? {
            Ok(Value::Bytes(text)) => {
                let text = String::from_utf8_lossy(&text);
                let info = fields(&text);
                let loading = info.get("loading") == Some(&"1");
                if let Some(run) = info.get("run_id").filter(|_| !loading) {
                    node.meet(connection, run);
                }
                (loading, ReadyCheck::Info)
            }
            Ok(other) => {
                let found = format!("INFO was answered with {}", other.describe());
                return Err(Error::unknown(ErrorKind::Desync(found)));
            }
            Err(_denied) => match bounded(node, opened, &Cmd::read("PING")).await? {
                Err(words) if ServerError::parse(&words) == ServerError::Loading => {
                    (true, ReadyCheck::Ping)
                }
                _ => (false, ReadyCheck::Ping),
            },
        };
        if !loading {
            return Ok(check);
        }
        tracing::info!(node = %node.name, "the server is loading its data");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The reply or the server's refusal; an error if there is neither in time.
pub(super) async fn bounded(
    node: &Node,
    opened: &mut Opened,
    cmd: &Cmd,
) -> Result<Result<Value, String>, Error> {
    let Opened { link, end, .. } = opened;
    let answer = tokio::select! {
        biased;
        reason = end.wait() => return Err(connect_error(reason)),
        answer = tokio::time::timeout(node.settings.access.connect_timeout, link.call(Request::Cmd(cmd))) => answer,
    };
    match answer {
        Ok(Ok(reply)) => reply.one().map(Ok),
        Ok(Err(LinkError::Server(words))) => Ok(Err(words)),
        Ok(Err(LinkError::Lost(reason))) => Err(connect_error(reason)),
        Err(_) => Err(connect_error(format!("no answer to {}", cmd.name()))),
    }
}

fn connect_error(reason: String) -> Error {
    Error::not_sent(ErrorKind::Connect(reason))
}
