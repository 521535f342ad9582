//! Options, validated by `build()`.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use russet_core_conn::{Backoff, Breaker, Durability, ErrorKind, KeySpace, Redis, Trip, Verdict};
use tokio::runtime::Handle;

use super::keeper::SILENT;
use super::script::{Place, Rules, micros};
use super::shared::Parts;
use super::{FleetBreaker, Judge};
use crate::error::Error;
use crate::keys;

/// A node counts for so many heartbeats after its last word.
const THERE: u32 = 60;
/// Nodes are counted for so many heartbeats before most of them can be told.
const SETTLING: u32 = 5;
/// For so many heartbeats after a probe's time there is still time to tell that it has failed.
const TELLING: u32 = 2;
/// The most nodes, and the fields beside theirs.
const FIELDS: u32 = 1_000 + 9;
/// How long a breaker is kept without a word.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);

/// The options of a [`FleetBreaker`]. See [`FleetBreaker::builder`].
#[must_use = "nothing happens before `build()`"]
pub struct FleetBreakerBuilder<E> {
    redis: Redis,
    space: KeySpace,
    name: String,
    node: String,
    judge: Judge<E>,
    trips: Option<Vec<Trip>>,
    window: Duration,
    open_for: Duration,
    probes: u32,
    close_after: u32,
    probe_within: Duration,
    heartbeat: Duration,
    budget: Duration,
}

impl<E> FleetBreakerBuilder<E> {
    pub(super) fn new(redis: &Redis, space: &KeySpace, name: &str, node: &str) -> Self {
        Self {
            redis: redis.clone(),
            space: space.clone(),
            name: name.to_owned(),
            node: node.to_owned(),
            judge: Arc::new(|_| Verdict::Failure),
            trips: None,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(60),
            probes: 1,
            close_after: 1,
            probe_within: Duration::from_secs(10),
            heartbeat: Duration::from_secs(1),
            budget: Duration::from_millis(50),
        }
    }

    /// What an error says of what is called. Default: that it failed.
    pub fn judge(mut self, judge: impl Fn(&E) -> Verdict + Send + Sync + 'static) -> Self {
        self.judge = Arc::new(judge);
        self
    }

    /// By what a node's own breaker opens, and the node votes. Default: that of [`Breaker`]: 5 failures in a row, or half of
    /// 20 calls in the [window](Self::window). With a [`Trip::SlowRate`], a slow probe is a failed one.
    pub fn trips(mut self, trips: impl IntoIterator<Item = Trip>) -> Self {
        self.trips = Some(trips.into_iter().collect());
        self
    }

    /// How far back counts and rates look, from 100 ms to a day. Default: 10 s.
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// How long it is open before it lets a probe through, from 10 ms to a day: the fleet's, and a node's own (up to a tenth
    /// shorter, by chance). Default: 60 s.
    pub fn open_for(mut self, time: Duration) -> Self {
        self.open_for = time;
        self
    }

    /// How many probes may be under way at once in the whole fleet, 1 to 100. Default: 1.
    pub fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    /// How many probes must end well before it closes, 1 to 100. Default: 1.
    pub fn close_after(mut self, successes: u32) -> Self {
        self.close_after = successes;
        self
    }

    /// How long a probe may take, from 10 ms to an hour; one that takes longer has failed. The permit of a node that dies is
    /// another's two heartbeats after this time. Should be longer than a call may take. Default: 10 s.
    pub fn probe_within(mut self, time: Duration) -> Self {
        self.probe_within = time;
        self
    }

    /// How often a node says that it is there, and asks what the breaker is in case that no message told it, from 20 ms to
    /// a minute. Default: 1 s.
    pub fn heartbeat(mut self, every: Duration) -> Self {
        self.heartbeat = every;
        self
    }

    /// How long a call may wait for leave to be a probe, from 1 ms to a minute. Default: 50 ms.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// Validates, makes the breaker, and begins to take part in the fleet's: by a task of the runtime in which it is called.
    /// It waits for nothing: until Redis has answered, the node goes by its own breaker.
    ///
    /// # Errors
    /// [`Error::Config`], naming the option, what is wrong with it and what is allowed.
    pub fn build(self) -> Result<FleetBreaker<E>, Error>
    where
        E: 'static,
    {
        let config =
            |field, problem: String, allowed| Err(Error::Config { field, problem, allowed });
        for (field, text) in [("name", &self.name), ("node", &self.node)] {
            if text.is_empty() || text.len() > 64 {
                return config(field, format!("{text:?}"), "1 to 64 bytes");
            }
        }
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let times: [(_, _, RangeInclusive<Duration>, _); 4] = [
            ("open_for", self.open_for, ms(10)..=s(24 * 3_600), "10 ms to a day"),
            ("probe_within", self.probe_within, ms(10)..=s(3_600), "10 ms to an hour"),
            ("heartbeat", self.heartbeat, ms(20)..=s(60), "20 ms to a minute"),
            ("budget", self.budget, ms(1)..=s(60), "1 ms to a minute"),
        ];
        for (field, time, range, allowed) in times {
            if !range.contains(&time) {
                return config(field, format!("{time:?}"), allowed);
            }
        }
        for (field, count) in [("probes", self.probes), ("close_after", self.close_after)] {
            if !(1..=100).contains(&count) {
                return config(field, count.to_string(), "1 to 100");
            }
        }
        let slow = self.trips.iter().flatten().find_map(|trip| match trip {
            Trip::SlowRate { over, .. } => Some(*over),
            _ => None,
        });
        let own = self.own()?;
        let Ok(runtime) = Handle::try_current() else {
            return config("runtime", "none".into(), "in a runtime of tokio");
        };
        let redis = self.redis.without_waiting().with_durability(Durability::Async);
        let rules = Rules {
            open_for: micros(self.open_for),
            probes: self.probes,
            lasts: micros(self.probe_within + self.heartbeat * TELLING),
            close_after: self.close_after,
            fresh: micros(self.heartbeat * SILENT),
            there: micros(self.heartbeat * THERE),
            settling: micros(self.heartbeat * SETTLING),
            fields: FIELDS,
            kept: micros(KEPT.max(self.open_for * 2)) / 1_000,
        };
        let [key, channel] = keys::breaker(&self.space, &self.name);
        let parts = Parts {
            name: self.name.into(),
            node: self.node.into(),
            space: self.space,
            place: Place { key, channel, time: Bytes::new() },
            rules,
            heartbeat: self.heartbeat,
            probe_within: self.probe_within,
            slow,
            quick: redis.with_deadline(self.budget),
            patient: redis.with_deadline(self.heartbeat),
            own,
        };
        Ok(FleetBreaker::start(parts, self.redis, self.judge, &runtime))
    }

    /// The node's own breaker.
    fn own(&self) -> Result<Breaker<E>, Error>
    where
        E: 'static,
    {
        let judge = self.judge.clone();
        let builder = Breaker::builder_for(&self.name, move |error| judge(error))
            .window(self.window)
            .open_for(Backoff::constant(self.open_for).jitter(0.1))
            .probes(self.probes)
            .close_after(self.close_after)
            .probe_within(self.probe_within);
        let builder = match &self.trips {
            Some(trips) => builder.trips(trips.iter().copied()),
            None => builder,
        };
        builder.build().map_err(|error| match error.kind() {
            ErrorKind::Config { field, problem, allowed } => {
                Error::Config { field, problem: problem.clone(), allowed }
            }
            _ => Error::Redis(error),
        })
    }
}

impl<E> fmt::Debug for FleetBreakerBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetBreakerBuilder")
            .field("name", &self.name)
            .field("node", &self.node)
            .field("trips", &self.trips)
            .field("open_for", &self.open_for)
            .finish_non_exhaustive()
    }
}
