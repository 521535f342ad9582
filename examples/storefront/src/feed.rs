//! What the dashboard hears: five small frames a second, made once and shared by all browsers.
//! A browser that can't keep up misses frames; nobody waits for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use crate::connection::{Event, State};
use crate::load::Progress;
use crate::metrics::{Latencies, Totals};
use crate::shelves::Tiers;
use crate::shop::Shop;

/// Frames a second.
const FRAMES: u64 = 5;

/// Frames that a browser may lag behind before it misses some.
const BACKLOG: usize = 16;

/// Seconds of history that a new browser gets.
const HISTORY: usize = 120;

/// Routes that one frame lights at most.
const MOST_LIT: usize = 300;

/// What was measured in one second.
#[derive(Debug, Clone, Serialize)]
pub struct Second {
    /// Its end, in milliseconds since 1970.
    pub at: u64,
    /// What was counted in it.
    #[serde(flatten)]
    pub counts: Totals,
    /// Queries that reached the database.
    pub queries: u64,
    /// Latencies, in microseconds.
    #[serde(flatten)]
    pub latencies: Latencies,
    /// Where the connection stood at its end.
    pub state: State,
    /// Fares that were checked, since the beginning.
    pub checked: u64,
    /// Fares served late (with a reason) and wrongly, since the beginning.
    pub late: u64,
    /// See `late`.
    pub wrong: u64,
    /// Fare changes whose removal from the cache is still owed.
    pub owed: u64,
    /// The fleet's breaker before the database, as the first instance knows it: `closed`, `open`, `half-open`, …
    pub breaker: String,
    /// Whether that instance goes by its own breaker, because Redis does not answer.
    pub alone: bool,
    /// Requests a second that the load aims at.
    pub rate: u32,
    /// What answered the lookups of each instance.
    pub tiers: Vec<Tiers>,
}

#[derive(Serialize)]
struct Frame<'a> {
    at: u64,
    state: State,
    lit: Vec<(u32, u32, u32)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    second: Option<&'a Second>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<Event>,
}

#[derive(Serialize)]
struct Hello<'a> {
    at: u64,
    boot: u64,
    state: State,
    totals: Totals,
    queries: u64,
    rate: u32,
    history: &'a VecDeque<Second>,
    events: Vec<Event>,
}

/// The source of frames. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Feed {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shops: Vec<Shop>,
    progress: Arc<Progress>,
    frames: broadcast::Sender<Arc<str>>,
    history: Mutex<VecDeque<Second>>,
    latest: watch::Sender<Option<Second>>,
    boot: u64,
    browsers: AtomicU64,
}

impl Feed {
    /// A feed about these instances and the load on them; frames are made while [`Feed::run`] runs.
    /// The connection that it shows is that of the first one.
    #[must_use]
    pub fn new(shops: Vec<Shop>, progress: Arc<Progress>) -> Self {
        let (frames, _) = broadcast::channel(BACKLOG);
        let (history, browsers) = (Mutex::default(), AtomicU64::new(0));
        let latest = watch::Sender::new(None);
        let boot = unix_ms();
        let inner = Inner { shops, progress, frames, history, latest, boot, browsers };
        Self { inner: Arc::new(inner) }
    }

    /// Makes frames until `end`.
    pub async fn run(self, end: CancellationToken) {
        let mut tick = tokio::time::interval(Duration::from_millis(1_000 / FRAMES));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut count, mut heard) = (0, 0);
        let mut before = self.inner.counts();
        while end.run_until_cancelled(tick.tick()).await.is_some() {
            count += 1;
            let second = (count % FRAMES == 0).then(|| self.second(&mut before));
            let events = self.inner.shop().timeline().after(heard);
            heard = events.last().map_or(heard, |event| event.seq);
            let frame = Frame {
                at: unix_ms(),
                state: self.inner.shop().timeline().state(),
                lit: self.inner.shop().metrics().take_lit(MOST_LIT),
                second: second.as_ref(),
                events,
            };
            if let Ok(frame) = serde_json::to_string(&frame) {
                // Nobody listens: fine.
                drop(self.inner.frames.send(frame.into()));
            }
        }
    }

    /// The past as one JSON object, and all frames from now on.
    #[must_use]
    pub fn listen(&self) -> (String, broadcast::Receiver<Arc<str>>) {
        let frames = self.inner.frames.subscribe();
        let history = self.inner.history.lock().unwrap_or_else(PoisonError::into_inner);
        let hello = Hello {
            at: unix_ms(),
            state: self.inner.shop().timeline().state(),
            boot: self.inner.boot,
            totals: self.inner.shop().metrics().totals(),
            queries: self.inner.shop().origin().queries(),
            rate: self.inner.progress.rate(),
            history: &history,
            events: self.inner.shop().timeline().after(0),
        };
        (serde_json::to_string(&hello).unwrap_or_default(), frames)
    }

    /// Each second as it has been measured.
    #[must_use]
    pub fn seconds(&self) -> watch::Receiver<Option<Second>> {
        self.inner.latest.subscribe()
    }

    /// Counts a browser in; `None` when there are `most` already. It counts out when dropped.
    #[must_use]
    pub fn browser(&self, most: u64) -> Option<Browser> {
        let counted = self.inner.browsers.fetch_add(1, Relaxed);
        let browser = Browser { inner: Arc::clone(&self.inner) };
        (counted < most).then_some(browser)
    }

    fn second(&self, before: &mut Counts) -> Second {
        let Inner { shops, progress, .. } = &*self.inner;
        let (shop, counts) = (self.inner.shop(), self.inner.counts());
        let (checks, standing) = (progress.checks(), shop.breaker());
        let second = Second {
            at: unix_ms(),
            counts: counts.totals.since(&before.totals),
            queries: counts.queries - before.queries,
            latencies: shop.metrics().take_second(),
            state: shop.timeline().state(),
            checked: checks.right + checks.late + checks.wrong,
            late: checks.late,
            wrong: checks.wrong,
            owed: shops.iter().map(|shop| shop.owed() as u64).sum(),
            breaker: standing.fleet.to_string(),
            alone: standing.alone,
            rate: progress.rate(),
            tiers: counts
                .tiers
                .iter()
                .zip(&before.tiers)
                .map(|(now, was)| now.since(was))
                .collect(),
        };
        *before = counts;
        let mut history = self.inner.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(second.clone());
        drop(history);
        self.inner.latest.send_replace(Some(second.clone()));
        second
    }
}

/// What is counted from the beginning on.
struct Counts {
    totals: Totals,
    queries: u64,
    tiers: Vec<Tiers>,
}

impl Inner {
    fn shop(&self) -> &Shop {
        &self.shops[0]
    }

    fn counts(&self) -> Counts {
        Counts {
            totals: self.shop().metrics().totals(),
            queries: self.shop().origin().queries(),
            tiers: self.shops.iter().map(Shop::tiers).collect(),
        }
    }
}

/// One browser that listens.
#[derive(Debug)]
pub struct Browser {
    inner: Arc<Inner>,
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.inner.browsers.fetch_sub(1, Relaxed);
    }
}

/// Milliseconds since 1970, for the axes of plots.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
