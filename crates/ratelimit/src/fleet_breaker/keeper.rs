//! The task of a breaker: it beats, votes, tells how probes ended, and listens.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use russet_core_conn::{Error, Topic};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::script::draw;
use super::shared::{Report, Shared};
use super::state::FleetEventKind;

/// A node is alone, and its vote counts no more, after so many heartbeats without an answer.
pub(super) const SILENT: u32 = 3;

pub(super) struct Keeper<E> {
    shared: Arc<Shared<E>>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Reports that were not answered.
    owed: VecDeque<Report>,
    /// When the last beat that was answered was sent.
    answered: Instant,
    /// What the fleet was told.
    voted: bool,
}

/// Also where its runtime ends: nobody hears of the fleet any more.
impl<E> Drop for Keeper<E> {
    fn drop(&mut self) {
        self.shared.be_alone();
    }
}

impl<E: 'static> Keeper<E> {
    pub(super) fn new(shared: Arc<Shared<E>>, reports: mpsc::UnboundedReceiver<Report>) -> Self {
        let (owed, answered) = (VecDeque::new(), Instant::now());
        Self { shared, reports, owed, answered, voted: false }
    }

    /// Until it is over; then tells what there is to tell, and that this node is gone.
    pub(super) async fn keep(mut self, over: CancellationToken) -> Result<(), Error> {
        let shared = self.shared.clone();
        let _ears = AbortOnDropHandle::new(tokio::spawn(listen(shared.clone())));
        let mut own = shared.parts.own.events();
        let mut tick = tokio::time::interval(shared.parts.heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let beats = tokio::select! {
                biased;
                () = over.cancelled() => break,
                Some(report) = self.reports.recv() => {
                    self.owed.push_back(report);
                    false
                }
                () = shared.news.notified() => true,
                _ = own.next() => shared.beat().votes != self.voted,
                _ = tick.tick() => true,
            };
            self.tell().await;
            if beats {
                self.beat().await;
            }
        }
        while let Ok(report) = self.reports.try_recv() {
            self.owed.push_back(report);
        }
        self.tell().await;
        shared.parts.place.leave(&shared.parts.patient, &shared.parts.node).await.map(drop)
    }

    /// What is owed, for as long as it is worth telling.
    async fn tell(&mut self) {
        let shared = self.shared.clone();
        while let Some(Report { probe, ending }) = self.owed.front().copied() {
            if Instant::now() < probe.until {
                let question = shared.question();
                let told = shared.parts.place.report(
                    &shared.parts.patient,
                    probe.permit,
                    ending,
                    draw(),
                    &shared.parts.rules,
                );
                match told.await {
                    Ok(Some((said, counted))) => {
                        shared.count_probe(ending, counted);
                        shared.hear(question, &said);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::debug!(%error, "how a probe ended could not be told");
                        return;
                    }
                }
            }
            self.owed.pop_front();
        }
    }

    async fn beat(&mut self) {
        let shared = self.shared.clone();
        let sent = Instant::now();
        match self.ask().await {
            Ok(votes) => {
                self.answered = sent;
                if votes != self.voted {
                    self.voted = votes;
                    let told = [FleetEventKind::Withdrawn, FleetEventKind::Voted];
                    shared.tell(told[usize::from(votes)]);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the fleet's breaker can't be asked");
                if self.answered.elapsed() >= shared.parts.heartbeat * SILENT {
                    shared.be_alone();
                }
            }
        }
    }

    /// Whether it was a vote.
    async fn ask(&self) -> Result<bool, Error> {
        let shared = &*self.shared;
        shared.agreed.check(&shared.parts.patient, &shared.parts.space).await?;
        let (question, beat) = (shared.question(), shared.beat());
        let said =
            shared.parts.place.beat(&shared.parts.patient, beat, &shared.parts.rules).await?;
        shared.hear(question, &said);
        Ok(beat.votes)
    }
}

/// Wakes the keeper when others say that something has changed, or may have.
async fn listen<E>(shared: Arc<Shared<E>>) {
    let redis =
        shared.parts.patient.with_deadline(shared.parts.heartbeat.max(Duration::from_secs(1)));
    loop {
        match redis.hub().subscribe(Topic::channel(&shared.parts.place.channel)).await {
            Ok(mut heard) => {
                shared.news.notify_one();
                while heard.next().await.is_some() {
                    shared.gate.open();
                    shared.news.notify_one();
                }
            }
            Err(error) => tracing::debug!(%error, "nobody tells of changes: they are asked for"),
        }
        tokio::time::sleep(shared.parts.heartbeat).await;
    }
}
