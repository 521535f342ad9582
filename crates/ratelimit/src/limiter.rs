//! Limits of one program, and decisions over several of them.

use std::sync::Arc;
#[cfg(any(test, feature = "test-util"))]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use russet_core_conn::{Agreed, Breaker, Events, KeySpace, Redis, Topology};
use tokio::sync::OnceCell;

pub use self::builder::LimiterBuilder;

use crate::adaptive::Latency;
use crate::decide::{Outcome, decide};
use crate::error::Error;
use crate::event::{Health, LimiterEvent};
use crate::keeper::Keeper;
use crate::level::Level;
use crate::local::Local;
use crate::nodes::Fleet;
use crate::scripts::Mode;
use crate::ticks::ticks;
use crate::{Decision, Limit, LimitBuilder, Outage, Quota, Reservation};

mod builder;

/// Where limits are kept, and who decides over several of them at once. Cheap to clone.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use russet_core_conn::{KeySpace, Redis};
/// use russet_ratelimit::{Limiter, Quota};
///
/// let redis = Redis::connect("redis://localhost").await?;
/// let limiter = Limiter::new(&redis, &KeySpace::new("shop")?);
/// let minute = Duration::from_secs(60);
/// let user = limiter.limit("user", Quota::gcra(100, minute, 20)?)?;
/// let endpoint = limiter.limit("endpoint", Quota::strict(10_000, minute)?)?;
///
/// let decision = limiter.check(&[user.of("u17"), endpoint.of("/search")]).await?;
/// if let Some(level) = decision.limiting() {
///     println!("{} has had enough, for {:?}", level.name, decision.retry_after);
/// }
/// # Ok(()) }
/// ```
///
/// # One decision over several levels
///
/// All admit, or nothing is spent. Where one server holds all keys, that is one script, exactly. On a cluster, levels in
/// different slots are asked in parallel, and what some have spent is given back where another denies: for as
/// long as that takes, others may find less than there is, and nobody ever finds more. What a server may have spent
/// without answering is not given back: it is regained with time, or ends with its permits. The same where a caller
/// goes away in between.
///
/// # Without Redis
///
/// A decision that has no answer within the [budget](LimiterBuilder::budget) is made by what [`Outage`] says. After a few
/// of them the limiter's [breaker](LimiterBuilder::breaker) opens: the next ones wait for nothing, and one of them now and
/// then asks whether Redis is back, so that it is not met by all at once. [`Decision::source`] says who decided,
/// [`events`](Self::events), a line in the log and the metrics when it began and ended. Of a decision that was given up the
/// cost may be spent in Redis all the same: for as long as it takes to be regained, others may find less.
///
/// # The nodes
///
/// For what a share of a limit is, processes say that they are there, each by one small script in two seconds, as long as the
/// limiter lives and any limit needs it. [`nodes`](Self::nodes) is how many there were last.
#[derive(Clone)]
pub struct Limiter {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// For what is an error without it.
    pub(crate) redis: Redis,
    /// For decisions that go on without it.
    pub(crate) quick: Redis,
    /// For what nobody waits for.
    pub(crate) patient: Redis,
    pub(crate) space: KeySpace,
    pub(crate) outage: Outage,
    pub(crate) health: Health,
    pub(crate) local: Local,
    pub(crate) fleet: Fleet,
    pub(crate) keeper: Keeper,
    pub(crate) latency: Latency,
    born: Instant,
    agreed: Agreed,
    /// Whether keys of different slots may lie on different servers.
    slots: OnceCell<bool>,
    #[cfg(any(test, feature = "test-util"))]
    time: AtomicU64,
}

impl Limiter {
    /// Limits in this key space, with default [options](Self::options). Nothing is sent.
    ///
    /// A decision is one round trip of 50 ms at most, or is made [without Redis](Outage::Local); the first one makes sure
    /// of the key space's layout, too. Other calls wait for [`redis`](Redis::with_deadline)'s deadline at most.
    pub fn new(redis: &Redis, space: &KeySpace) -> Self {
        LimiterBuilder::plain(redis, space)
    }

    /// Options for a limiter.
    pub fn options(redis: &Redis, space: &KeySpace) -> LimiterBuilder {
        LimiterBuilder::new(redis, space)
    }

    fn assemble(
        redis: Redis,
        quick: Redis,
        patient: Redis,
        space: KeySpace,
        outage: Outage,
        fleet: Fleet,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                redis,
                quick,
                patient,
                space,
                outage,
                health: Health::default(),
                local: Local::default(),
                fleet,
                keeper: Keeper::default(),
                latency: Latency::default(),
                born: Instant::now(),
                agreed: Agreed::default(),
                slots: OnceCell::new(),
                #[cfg(any(test, feature = "test-util"))]
                time: AtomicU64::new(0),
            }),
        }
    }

    /// A limit with default options. Two limits of one name, one algorithm and one key space are the same one.
    ///
    /// # Errors
    /// Those of [`LimitBuilder::build`].
    pub fn limit(&self, name: &str, quota: Quota) -> Result<Limit, Error> {
        self.builder(name, quota).build()
    }

    /// Options for a limit.
    pub fn builder(&self, name: &str, quota: Quota) -> LimitBuilder {
        LimitBuilder::new(self, name, quota)
    }

    /// Whether each level admits its cost: then it is spent on all, else on none. 1 to 16 levels, no two of them of the
    /// same limit and subject.
    ///
    /// # Errors
    /// [`Error::Unsatisfiable`], [`Error::Config`] for levels that can't be, [`Error::Redis`].
    pub async fn check(&self, levels: &[Level]) -> Result<Decision, Error> {
        decide(self, levels, Mode::All, false).await.map(|outcome| outcome.decision)
    }

    /// [`check`](Self::check) with as much of `units` as all levels admit, in the place of their costs.
    /// [`Decision::granted`] says how much.
    ///
    /// # Errors
    /// As there; [`Error::Unsupported`] with a [queue](Quota::queue).
    pub async fn at_most(&self, levels: &[Level], units: u64) -> Result<Decision, Error> {
        let levels: Vec<_> = levels.iter().cloned().map(|level| level.cost(units)).collect();
        decide(self, &levels, Mode::Most, false).await.map(|outcome| outcome.decision)
    }

    /// What [`check`](Self::check) would say, with nothing spent. Changes nothing, and may be asked of a replica.
    ///
    /// # Errors
    /// As there.
    pub async fn peek(&self, levels: &[Level]) -> Result<Decision, Error> {
        decide(self, levels, Mode::Peek, false).await.map(|outcome| outcome.decision)
    }

    /// [`check`](Self::check), and what is spent can be [given back](Reservation::refund).
    ///
    /// # Errors
    /// As there.
    pub async fn reserve(&self, levels: &[Level]) -> Result<Reservation, Error> {
        let Outcome { decision, receipts } = decide(self, levels, Mode::All, true).await?;
        Ok(Reservation::new(self.clone(), decision, receipts, levels))
    }

    /// Listens to what happens to it from now on.
    pub fn events(&self) -> Events<LimiterEvent> {
        self.inner.health.listen()
    }

    /// Whether decisions are made without Redis now, because it does not answer.
    pub fn is_away(&self) -> bool {
        self.inner.health.is_away()
    }

    /// How many nodes share the limits, this one included: as many as there were when Redis was last heard of, and 1 before
    /// that.
    pub fn nodes(&self) -> u32 {
        self.inner.nodes()
    }

    /// The breaker of its decisions: forced open, it shows what a program does without Redis.
    pub fn breaker(&self) -> Option<&Breaker> {
        self.inner.quick.breaker()
    }

    /// Gives back what it has [leased](crate::Leasing), and takes this process out of the nodes that share the limits. Limits
    /// go on as before, without leases. A round trip for each subject with a lease, 64 at a time, and one more, each
    /// within the handle's deadline. To be called before [`Redis::close`]; calling it again does nothing more.
    ///
    /// Where the last clone is dropped instead, leases are regained with time, and the process counts for three heartbeats
    /// more.
    ///
    /// # Errors
    /// Those of Redis: the same is true then.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.inner.shutdown().await
    }

    /// A time for all decisions, in the place of the server's: of so many ticks of 125 ns since 2024. For tests; keys
    /// end by the server's all the same.
    #[cfg(any(test, feature = "test-util"))]
    pub fn set_time(&self, ticks: u64) {
        self.inner.time.store(ticks, Relaxed);
    }
}

impl Inner {
    pub(crate) async fn agree(&self) -> Result<(), Error> {
        self.agree_by(&self.redis).await
    }

    #[inline]
    pub(crate) async fn agree_by(&self, redis: &Redis) -> Result<(), Error> {
        Ok(self.agreed.check(redis, &self.space).await?)
    }

    pub(crate) fn nodes(&self) -> u32 {
        self.fleet.nodes()
    }

    /// The time of what is decided in this process, in ticks.
    pub(crate) fn elapsed(&self) -> u64 {
        self.time().unwrap_or_else(|| ticks(self.born.elapsed()) + 1)
    }

    /// Whether levels in different slots need a script each. A server that does not say what it is may be one of a
    /// cluster.
    pub(crate) async fn splits(&self, redis: &Redis) -> Result<bool, Error> {
        let ask = || async {
            let topology = redis.info().await?.topology;
            Ok::<_, Error>(topology != Some(Topology::Standalone))
        };
        self.slots.get_or_try_init(ask).await.copied()
    }

    /// The time that a test has set.
    pub(crate) fn time(&self) -> Option<u64> {
        #[cfg(any(test, feature = "test-util"))]
        return Some(self.time.load(Relaxed)).filter(|time| *time > 0);
        #[cfg(not(any(test, feature = "test-util")))]
        None
    }
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("space", &self.inner.space).finish_non_exhaustive()
    }
}
