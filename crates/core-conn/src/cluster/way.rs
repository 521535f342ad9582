//! The way of one attempt to the node that serves its slot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::member::Member;
use super::{Cluster, ReplicaReads, unlearnt};
use crate::cmd::Class;
use crate::error::{Error, ErrorKind, SendOutcome, ServerError};
use crate::keyspace::SLOTS;
use crate::link::Request;
use crate::node::Node;
use crate::target::Endpoint;

/// Where an attempt goes next, by the map and by what the servers have answered so far.
#[derive(Debug)]
pub(crate) struct Way<'a> {
    cluster: &'a Arc<Cluster>,
    slot: Option<u16>,
    /// Whether a replica may answer.
    reads: ReplicaReads,
    deadline: Instant,
    budget: Duration,
    wait: bool,
    /// Whom the last answer named, for this time only.
    asked: Option<Arc<Member>>,
    /// Whether a refusal may be the words of a script that has written by then.
    guarded: bool,
    /// How often the servers have sent it on.
    hops: u32,
}

/// A node to send to.
#[derive(Debug)]
pub(crate) struct Stop {
    member: Arc<Member>,
    /// Whether it is asked as a replica.
    replica: bool,
    /// Whether `ASKING` goes before it: the slot is on its way there.
    pub(crate) asking: bool,
}

impl Cluster {
    #[inline]
    pub(crate) fn way(
        self: &Arc<Self>,
        slot: Option<u16>,
        class: Class,
        deadline: Instant,
        budget: Duration,
        wait: bool,
    ) -> Way<'_> {
        let reads =
            if class == Class::Read { self.sites.replica_reads } else { ReplicaReads::Never };
        let (asked, guarded) = (None, false);
        Way { cluster: self, slot, reads, deadline, budget, wait, asked, guarded, hops: 0 }
    }
}

impl Way<'_> {
    /// The same for this request: what may be repeated may also be refused by its own words.
    #[inline]
    pub(crate) fn with(mut self, request: &Request<'_>, class: Class) -> Self {
        self.guarded = class == Class::Write && request.speaks();
        self
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// A connected node that the map names, if there is one: most calls need no more.
    #[inline]
    pub(crate) fn straight(&self) -> Option<Stop> {
        if self.cluster.gate.is_closed() {
            return None;
        }
        self.find().filter(|stop| stop.node().is_connected())
    }

    #[inline]
    fn find(&self) -> Option<Stop> {
        let Some(slot) = self.slot else { return self.anywhere() };
        let map = self.cluster.map.load();
        let seat = map.owner(slot).filter(|_| map.serves)?;
        if self.reads != ReplicaReads::Never {
            let bound = self.cluster.sites.replica_lag;
            let mut replicas = map.replicas(seat, &self.cluster.turn);
            let replica = replicas
                .find(|member| member.abreast.is_within(bound) && member.reads().is_connected());
            match (replica, self.reads) {
                (Some(member), _) => return Some(Stop { replica: true, ..Stop::at(member) }),
                (None, ReplicaReads::Only) => return None,
                (None, _) => {}
            }
        }
        Some(Stop::at(&seat.member))
    }

    /// What has no key goes to any primary, in turn.
    fn anywhere(&self) -> Option<Stop> {
        let map = self.cluster.map.load();
        let owners = map.owners();
        let mut turn = self.cluster.turn.among(owners);
        let connected = turn.find(|member| member.calls.is_connected());
        connected.or_else(|| owners.first()).map(Stop::at)
    }

    /// The node to send to, waited for.
    pub(crate) async fn stop(&mut self) -> Result<Stop, Error> {
        if let Some(member) = self.asked.take() {
            return Ok(Stop { asking: true, ..Stop::at(&member) });
        }
        let mut news = self.cluster.news.subscribe();
        loop {
            if self.cluster.gate.is_closed() {
                return Err(Error::not_sent(ErrorKind::Closed));
            }
            let failed = news.borrow_and_update().failed.clone();
            let stop = match self.find() {
                Some(stop) if stop.node().is_connected() => return Ok(stop),
                stop => stop,
            };
            self.cluster.doubt();
            let is_nowhere = stop.is_none();
            match stop {
                Some(stop) => {
                    // One that hangs may do so for long: its calls fail at once, and leave the others' place.
                    let wait = self.wait && !stop.node().is_hung();
                    let living = stop.node().connected(self.deadline, wait);
                    tokio::select! {
                        biased;
                        living = living => match living {
                            Ok(()) => return Ok(stop),
                            // It was dismissed: another one serves the slot.
                            Err(error) if is_closed(&error) && !self.cluster.gate.is_closed() => {}
                            Err(error) => {
                                // Whoever is refused at once must not keep others from running.
                                tokio::task::coop::consume_budget().await;
                                return Err(error.at(&stop.member.place));
                            }
                        },
                        // Only another map concerns whoever waits for this node.
                        Ok(()) = news.changed() => {}
                    }
                }
                None if !self.wait && (failed.is_some() || self.cluster.is_learnt()) => {
                    return Err(self.nowhere(failed));
                }
                None => {
                    let waiting = self.cluster.queue()?;
                    tokio::select! {
                        biased;
                        () = self.cluster.gate.closed() => return Err(waiting.turn_away()),
                        Ok(()) = news.changed() => {}
                        () = tokio::time::sleep_until(self.deadline.into()) => {
                            return Err(self.nowhere(failed));
                        }
                    }
                }
            }
            if Instant::now() >= self.deadline {
                return Err(match is_nowhere {
                    true => self.nowhere(failed),
                    false => Error::not_sent(ErrorKind::Deadline(self.budget)),
                });
            }
        }
    }

    /// Why there is no node to send to.
    fn nowhere(&self, failed: Option<Error>) -> Error {
        match self.slot {
            _ if !self.cluster.is_learnt() => unlearnt(failed),
            Some(slot) if self.reads == ReplicaReads::Only => {
                let reason = format!("slot {slot} has no replica that can be read from");
                Error::not_sent(ErrorKind::NotConnected(reason))
            }
            Some(slot) => Error::not_sent(ErrorKind::Unserved { slot: Some(slot) }),
            None => Error::not_sent(ErrorKind::Unserved { slot: None }),
        }
    }

    /// Whether there is a next stop after this answer; the error itself if there is none.
    pub(crate) async fn on(&mut self, from: &Stop, error: Error) -> Result<(), Error> {
        let error = error.at(&from.member.place);
        // What ran may have run in part: only what was refused as a whole goes on.
        if error.outcome() == SendOutcome::NotSent && is_closed(&error) {
            return if self.cluster.gate.is_closed() { Err(error) } else { Ok(()) };
        }
        if error.outcome() != SendOutcome::Rejected {
            self.look(&error).await;
            return Err(error);
        }
        let pause = match error.server() {
            // A script can say so by itself, of any slot.
            Some(ServerError::Moved { slot, .. } | ServerError::Ask { slot, .. })
                if *slot >= SLOTS || self.slot.is_some_and(|own| own != *slot) =>
            {
                return Err(error);
            }
            Some(ServerError::Moved { slot, node }) => {
                let endpoint = &from.member.endpoint;
                let Some(to) = self.cluster.redirect(Some(*slot), node, endpoint) else {
                    return Err(error);
                };
                tracing::debug!(slot, node = %to.place, "moved");
                self.slot = Some(*slot);
                if from.replica {
                    // It follows another primary by now.
                    self.cluster.doubt();
                    self.leave_replicas();
                }
                self.bounce()
            }
            Some(ServerError::Ask { slot, node }) => {
                let endpoint = &from.member.endpoint;
                let Some(to) = self.cluster.redirect(None, node, endpoint) else {
                    return Err(error);
                };
                self.slot = Some(*slot);
                self.asked = Some(to);
                self.bounce()
            }
            // It runs where it was sent to, and is not sent again for what it says there itself.
            Some(ServerError::MasterDown | ServerError::Loading | ServerError::ReadOnly)
                if self.guarded =>
            {
                self.cluster.doubt();
                return Err(error);
            }
            Some(ServerError::MasterDown | ServerError::Loading) if from.replica => {
                self.leave_replicas();
                self.bounce()
            }
            Some(
                ServerError::TryAgain
                | ServerError::MasterDown
                | ServerError::Loading
                | ServerError::ReadOnly,
            ) => {
                self.cluster.doubt();
                self.hops += 2;
                self.bounce()
            }
            _ => return Err(error),
        };
        // What is known is a better answer than none, for which there must be time left, too.
        if Instant::now() + 2 * pause >= self.deadline {
            return Err(error);
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// What ends without a reply may mean that another node serves the slot by now.
    async fn look(&self, error: &Error) {
        match (error.kind(), error.server()) {
            // The next attempt would be told the same, as long as this map is believed.
            (_, Some(ServerError::ClusterDown)) => {
                let soon = Instant::now() + Duration::from_millis(200);
                // Whether there is another map or not, the next attempt goes by what is known then.
                let _ = self.cluster.learnt(soon.min(self.deadline)).await;
            }
            (ErrorKind::Deadline(_) | ErrorKind::ConnectionLost(_) | ErrorKind::Desync(_), _) => {
                self.cluster.doubt();
            }
            _ => {}
        }
    }

    /// One replica was not fit: the primary is next, where it may answer.
    fn leave_replicas(&mut self) {
        if self.reads == ReplicaReads::Prefer {
            self.reads = ReplicaReads::Never;
        }
    }

    /// Two nodes that do not know of each other's change yet send it to and fro.
    fn bounce(&mut self) -> Duration {
        self.hops += 1;
        match self.hops {
            0..=2 => Duration::ZERO,
            hops => Duration::from_millis(2 << (hops - 3).min(5)),
        }
    }
}

impl Stop {
    fn at(member: &Arc<Member>) -> Self {
        Self { member: member.clone(), replica: false, asking: false }
    }

    #[inline]
    pub(crate) fn node(&self) -> &Arc<Node> {
        if self.replica { self.member.reads() } else { &self.member.calls }
    }

    pub(crate) fn member(&self) -> &Arc<Member> {
        &self.member
    }

    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.member.endpoint
    }
}

fn is_closed(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Closed)
}
