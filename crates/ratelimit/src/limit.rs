//! One limit.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use russet_core_conn::{Canonical, Cmd, Segments};

use crate::decide::{Outcome, decide};
use crate::decision::Source;
use crate::denials::Denials;
use crate::error::Error;
use crate::keys::Keys;
use crate::leases::Leases;
use crate::level::Level;
use crate::lists::Lists;
use crate::metrics;
use crate::rule::Rule;
use crate::scripts::{self, Mode};
use crate::ticks::{LONGEST, ticks};
use crate::{Decision, Limiter, Outage, Quota, Reservation};

pub use self::builder::LimitBuilder;

mod builder;

/// A limit: a name, and how much each subject may spend. Cheap to clone.
///
/// A subject is one [`Segment`](russet_core_conn::Segment) or several, as a user's id, or a tenant and an endpoint. It may
/// come straight from a request: of more than 128 bytes, what is kept is its hash. For addresses see [`Ip`](crate::Ip).
///
/// Each call is one round trip, and decides by the server's clock. `check` and `check_n` may ask for less: of limits that
/// [lease](LimitBuilder::leased) or [keep denials](LimitBuilder::cache_denials). What they are without Redis says
/// [`Outage`].
#[derive(Clone)]
pub struct Limit {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) limiter: Limiter,
    pub(crate) name: Arc<str>,
    pub(crate) quota: ArcSwap<Quota>,
    pub(crate) keys: Keys,
    pub(crate) lists: Lists,
    pub(crate) shadow: bool,
    pub(crate) blockable: bool,
    /// Else the limiter's.
    pub(crate) outage: Option<Outage>,
    pub(crate) denials: Option<Denials>,
    pub(crate) leases: Option<Leases>,
}

impl Limit {
    /// This limit for one subject, for decisions over several.
    pub fn of(&self, subject: impl Segments) -> Level {
        Level::new(self.clone(), Canonical::of(&subject))
    }

    /// Spends one unit, if it fits.
    ///
    /// # Errors
    /// [`Error::Redis`]: there is no decision, and what became of the unit is in its outcome.
    pub fn check(&self, subject: impl Segments) -> impl Future<Output = Result<Decision, Error>> {
        // No future around another: each of them moves the decision once more.
        self.check_n(subject, 1)
    }

    /// Spends so many units, if they fit together.
    ///
    /// # Errors
    /// [`Error::Unsatisfiable`] for more than can ever be there at once, or none; [`Error::Redis`].
    pub async fn check_n(&self, subject: impl Segments, units: u64) -> Result<Decision, Error> {
        let keeps = self.inner.keeps_denials();
        if keeps {
            give_way().await;
        }
        // Made anew where Redis is asked: kept until then, it would be moved into this future each time.
        if keeps && let Some(decision) = self.at_hand(&Canonical::of(&subject), units) {
            metrics::made(&decision);
            return Ok(decision);
        }
        self.asked(Canonical::of(&subject), units).await
    }

    /// Spends as many of so many units as fit. [`Decision::granted`] says how many.
    ///
    /// # Errors
    /// [`Error::Unsupported`] of a [queue](Quota::queue), whose units have a turn each; [`Error::Redis`].
    pub async fn at_most(&self, subject: impl Segments, units: u64) -> Result<Decision, Error> {
        self.one(self.of(subject).cost(units), Mode::Most).await
    }

    /// What [`check`](Self::check) would say. Changes nothing.
    ///
    /// # Errors
    /// As there.
    pub async fn peek(&self, subject: impl Segments) -> Result<Decision, Error> {
        self.one(self.of(subject), Mode::Peek).await
    }

    /// [`check_n`](Self::check_n), and what is spent can be [given back](Reservation::refund). Of a queue it is a place in
    /// it.
    ///
    /// # Errors
    /// As there.
    pub async fn reserve(&self, subject: impl Segments, units: u64) -> Result<Reservation, Error> {
        self.inner.limiter.reserve(&[self.of(subject).cost(units)]).await
    }

    /// Spends so many units whether they fit or not: into debt, until twice the limit is spent. For what turns out to have
    /// cost more than was asked for, and for misuse. Answers how many were spent.
    ///
    /// # Errors
    /// [`Error::Unsupported`] of [permits](Quota::permits); [`Error::Redis`].
    pub async fn penalize(&self, subject: impl Segments, units: u64) -> Result<u64, Error> {
        let level = self.of(subject).cost(units);
        let Outcome { receipts, .. } =
            decide(&self.inner.limiter, &[level], Mode::Force, true).await?;
        Ok(receipts.iter().map(|receipt| receipt.spent).sum())
    }

    /// Denies the subject everything for so long, at most 366 days; a longer block stays. What it has spent is kept beside.
    ///
    /// # Errors
    /// [`Error::Config`] for a limit that is not [`blockable`](LimitBuilder::blockable); [`Error::Redis`].
    pub async fn block(&self, subject: impl Segments, time: Duration) -> Result<(), Error> {
        let key = self.block_key(subject)?;
        let inner = &*self.inner.limiter.inner;
        inner.agree().await?;
        let ticks = ticks(time).clamp(1, LONGEST);
        Ok(scripts::block(&inner.redis, &key, ticks, inner.time()).await?)
    }

    /// Ends a block. Answers whether there was one.
    ///
    /// # Errors
    /// As [`block`](Self::block).
    pub async fn unblock(&self, subject: impl Segments) -> Result<bool, Error> {
        let key = self.block_key(&subject)?;
        let _forgotten = self.of(subject).forgetting();
        self.unlink(&key).await
    }

    /// Forgets what the subject has spent; a block stays. Answers whether there was anything. For administration: what
    /// was reserved before must not be refunded afterwards, or may be spent once more.
    ///
    /// # Errors
    /// [`Error::Redis`].
    pub async fn reset(&self, subject: impl Segments) -> Result<bool, Error> {
        let subject = Canonical::of(&subject);
        let key = self.inner.keys.state(&self.rule(), &subject);
        let _forgotten = Level::new(self.clone(), subject).forgetting();
        self.unlink(&key).await
    }

    /// Gives a bucket so many units, at most as many as it lacks, beside what it regains by itself. Answers how many.
    /// Apart from a refund: it is given whether or not anything was reserved; and what was reserved before can't
    /// be given back any more.
    ///
    /// # Errors
    /// [`Error::Unsupported`] of what is no bucket or window; [`Error::Redis`].
    pub async fn top_up(&self, subject: impl Segments, units: u64) -> Result<u64, Error> {
        let rule = self.rule();
        if !matches!(rule, Rule::Bucket { .. } | Rule::Window { .. }) {
            return Err(self.unsupported("top_up", &rule));
        }
        let subject = Canonical::of(&subject);
        let key = self.inner.keys.state(&rule, &subject);
        let _forgotten = Level::new(self.clone(), subject).forgetting();
        let inner = &*self.inner.limiter.inner;
        inner.agree().await?;
        Ok(scripts::top_up(&inner.redis, &key, &rule, units, inner.time()).await?)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What it allows now.
    pub fn quota(&self) -> Quota {
        **self.inner.quota.load()
    }

    /// Allows something else from the next decision of this process on; others have to be told, too.
    ///
    /// What is spent stays spent, and counts by the new quota:
    ///
    /// | | what is carried over |
    /// |---|---|
    /// | bucket, meter, queue | the time that is ahead: what was spent takes as long to be regained as before; units that it stands for change with the rate |
    /// | window, interval | the units, until the window's end, at most one new window away |
    /// | counter, strict | the units that still count; where the length of windows changes, as if they had just been spent |
    /// | log, permits | each unit, until it would have ended, at most one new window away |
    ///
    /// Another algorithm begins anew, with nothing spent.
    pub fn change(&self, quota: Quota) {
        self.inner.quota.store(Arc::new(quota));
        if let Some(denials) = &self.inner.denials {
            denials.forget_all();
        }
        if let Some(leases) = &self.inner.leases {
            leases.forget_all();
        }
    }

    /// Who is always admitted, and who never is.
    pub fn lists(&self) -> &Lists {
        &self.inner.lists
    }

    pub(crate) fn rule(&self) -> Rule {
        self.inner.quota.load().0
    }

    pub(crate) fn unsupported(&self, call: &'static str, rule: &Rule) -> Error {
        let allowed = match call {
            "top_up" => "buckets and windows",
            "process" => "queues",
            "acquire" => "permits",
            "statistics" => "logs and permits",
            "at_most" => "all but queues",
            _ => "all but permits",
        };
        let (policy, algorithm) = (self.inner.name.clone(), rule.name());
        Error::Unsupported { policy, call, algorithm, allowed }
    }

    async fn asked(&self, subject: Canonical, units: u64) -> Result<Decision, Error> {
        if self.inner.leases.is_some()
            && let Some(decision) = self.by_lease(&subject, units).await
        {
            return decision;
        }
        self.one(Level::new(self.clone(), subject).cost(units), Mode::All).await
    }

    /// What this process knows by itself.
    #[inline(always)]
    pub(crate) fn at_hand(&self, subject: &Canonical, units: u64) -> Option<Decision> {
        let inner = &*self.inner;
        if !inner.lists.are_unused() || inner.limiter.inner.time().is_some() {
            return None;
        }
        let now = Instant::now();
        if inner.leases.is_some()
            && let Some(decision) = self.leased(subject, units, now)
        {
            return Some(decision);
        }
        let denied = inner.denials.as_ref()?.find(subject, (units, 0), now)?;
        Some(denied.decision(&inner.name, Source::DenyCache, now))
    }

    async fn one(&self, level: Level, mode: Mode) -> Result<Decision, Error> {
        let outcome = decide(&self.inner.limiter, std::slice::from_ref(&level), mode, false);
        outcome.await.map(|outcome| outcome.decision)
    }

    fn block_key(&self, subject: impl Segments) -> Result<russet_core_conn::Key, Error> {
        if self.inner.blockable {
            return Ok(self.inner.keys.block(&Canonical::of(&subject)));
        }
        let problem = format!("{} can't be blocked", self.inner.name);
        Err(Error::Config { field: "blockable", problem, allowed: "limits built with it" })
    }

    async fn unlink(&self, key: &russet_core_conn::Key) -> Result<bool, Error> {
        let inner = &*self.inner.limiter.inner;
        inner.agree().await?;
        Ok(inner.redis.run::<u64>(Cmd::idempotent("UNLINK").key(key)).await? > 0)
    }
}

impl Inner {
    pub(crate) fn keeps_denials(&self) -> bool {
        self.denials.is_some() || self.leases.is_some()
    }

    /// What was denied may be admitted now.
    pub(crate) fn forget(&self, subject: &Canonical) {
        if let Some(denials) = &self.denials {
            denials.forget(subject);
        }
        if let Some(leases) = &self.leases {
            leases.forget(subject);
        }
    }
}

/// Whoever waits for nothing must not keep others from running. But a unit of the runtime's budget is for what takes
/// microseconds: a decision of this process takes a tenth of one.
#[inline]
async fn give_way() {
    thread_local!(static MADE: Cell<u8> = const { Cell::new(0) });
    let made = MADE.get().wrapping_add(1);
    MADE.set(made);
    if made.is_multiple_of(32) {
        tokio::task::coop::consume_budget().await;
    }
}

impl std::fmt::Debug for Limit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Inner { name, quota, shadow, blockable, .. } = &*self.inner;
        f.debug_struct("Limit")
            .field("name", name)
            .field("quota", &**quota.load())
            .field("shadow", shadow)
            .field("blockable", blockable)
            .finish_non_exhaustive()
    }
}
