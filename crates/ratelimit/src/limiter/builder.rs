//! Options, validated by `build()`.

use std::time::Duration;

use russet_core_conn::{Breaker, Durability, KeySpace, Redis, Trip};

use super::Limiter;
use crate::Outage;
use crate::error::Error;
use crate::nodes::Fleet;

/// The options of a [`Limiter`]: from [`Limiter::options`].
#[derive(Debug)]
#[must_use = "nothing happens before `build()`"]
pub struct LimiterBuilder {
    redis: Redis,
    space: KeySpace,
    outage: Outage,
    budget: Duration,
    breaker: Option<Breaker>,
    node: Option<String>,
    nodes: Option<u32>,
    heartbeat: Duration,
}

impl LimiterBuilder {
    pub(super) fn new(redis: &Redis, space: &KeySpace) -> Self {
        Self {
            redis: redis.clone(),
            space: space.clone(),
            outage: Outage::default(),
            budget: Duration::from_millis(50),
            breaker: None,
            node: None,
            nodes: None,
            heartbeat: Duration::from_secs(2),
        }
    }

    /// What a decision is while Redis does not answer, where a [limit](crate::LimitBuilder::on_outage) does not say
    /// otherwise. Default: [`Outage::Local`], for the reason given there.
    pub fn on_outage(mut self, outage: Outage) -> Self {
        self.outage = outage;
        self
    }

    /// How long a decision may take before it is made without Redis, from 1 ms to a minute, each round trip of it; never
    /// longer than the handle's own deadline. Not for those whose policy is [`Outage::Error`]: they have the handle's.
    /// Default: 50 ms, which a person does not notice, and a server that is well answers in.
    ///
    /// Of a decision that was given up its cost may be spent all the same.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// By which calls are spared waiting for a server that does not answer. Default: the handle's own, if it has one, else
    /// one that opens after 5 failures in a row, for 0.2 to 2 s, half of it chance, and lets one probe through then. It
    /// stands before all nodes of a cluster, where the rest goes on while one is away: there it opens when of 20 calls or
    /// more 95 percent have failed within a second, and what a single node costs until its link is known to be down is
    /// the budget of each call to it.
    pub fn breaker(mut self, breaker: &Breaker) -> Self {
        self.breaker = Some(breaker.clone());
        self
    }

    /// By which name this process counts among the nodes that share the limits; best one that it keeps when it is started
    /// again. Default: one drawn by chance, the same for all limiters of this process.
    pub fn node(mut self, node: &str) -> Self {
        self.node = Some(node.to_owned());
        self
    }

    /// So many nodes share the limits, 1 to 10,000: they are not counted then. Default: they are, in Redis, by their
    /// heartbeats.
    pub fn nodes(mut self, nodes: u32) -> Self {
        self.nodes = Some(nodes);
        self
    }

    /// How often the process says that it is there, from 20 ms to a minute: one round trip. It counts for three of them.
    /// Default: 2 s.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.heartbeat = heartbeat;
        self
    }

    /// Validates, and makes the limiter. Nothing is sent.
    ///
    /// # Errors
    /// [`Error::Config`], naming the option, what is wrong with it and what is allowed.
    pub fn build(self) -> Result<Limiter, Error> {
        let config = |field, problem, allowed| Err(Error::Config { field, problem, allowed });
        let (ms, minute) = (Duration::from_millis, Duration::from_secs(60));
        let times = [
            ("budget", self.budget, ms(1), "1 ms to a minute"),
            ("heartbeat", self.heartbeat, ms(20), "20 ms to a minute"),
        ];
        for (field, time, least, allowed) in times {
            if time < least || time > minute {
                return config(field, format!("{time:?}"), allowed);
            }
        }
        if let Some(node) = self.node.as_ref().filter(|node| node.is_empty() || node.len() > 64) {
            return config("node", format!("{node:?}"), "1 to 64 bytes");
        }
        if let Some(nodes) = self.nodes.filter(|nodes| !(1..=10_000).contains(nodes)) {
            return config("nodes", nodes.to_string(), "1 to 10,000");
        }
        let fleet = Fleet::new(&self.space, self.node, self.nodes, self.heartbeat);
        Ok(Self::make(self.redis, self.space, self.outage, self.budget, self.breaker, fleet))
    }

    /// With default options.
    pub(super) fn plain(redis: &Redis, space: &KeySpace) -> Limiter {
        let Self { redis, space, outage, budget, breaker, heartbeat, .. } = Self::new(redis, space);
        let fleet = Fleet::new(&space, None, None, heartbeat);
        Self::make(redis, space, outage, budget, breaker, fleet)
    }

    fn make(
        redis: Redis,
        space: KeySpace,
        outage: Outage,
        budget: Duration,
        breaker: Option<Breaker>,
        fleet: Fleet,
    ) -> Limiter {
        let breaker = breaker.or_else(|| redis.breaker().cloned());
        let breaker = breaker.unwrap_or_else(|| breaker_of(&redis));
        let quick = redis.without_waiting().with_deadline(budget.min(redis.deadline()));
        let quick = quick.with_breaker(&breaker);
        // What is only counted need not be safe.
        let patient = redis.without_waiting().with_durability(Durability::Async);
        Limiter::assemble(redis, quick, patient, space, outage, fleet)
    }
}

/// On a cluster the death of a node, or of two in three, is no reason to ask none of them.
fn breaker_of(redis: &Redis) -> Breaker {
    let plain = || Breaker::new("ratelimit");
    if !redis.is_clustered() {
        return plain();
    }
    let nearly_all = Trip::FailureRate { percent: 95, calls: 20 };
    let builder = Breaker::builder("ratelimit").trips([nearly_all]);
    builder.window(Duration::from_secs(1)).build().unwrap_or_else(|_| plain())
}
