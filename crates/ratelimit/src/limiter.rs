//! Limits of one program, and decisions over several of them.

use std::sync::Arc;
#[cfg(any(test, feature = "test-util"))]
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use russet_core_conn::{Agreed, KeySpace, Redis, Topology};
use tokio::sync::OnceCell;

use crate::decide::{Outcome, decide};
use crate::error::Error;
use crate::level::Level;
use crate::scripts::Mode;
use crate::{Decision, Limit, LimitBuilder, Quota, Reservation};

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
#[derive(Clone)]
pub struct Limiter {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) redis: Redis,
    pub(crate) space: KeySpace,
    agreed: Agreed,
    /// Whether keys of different slots may lie on different servers.
    slots: OnceCell<bool>,
    #[cfg(any(test, feature = "test-util"))]
    time: AtomicU64,
}

impl Limiter {
    /// Limits in this key space. Nothing is sent.
    ///
    /// A call waits for [`redis`](Redis::with_deadline)'s deadline at most, and makes one round trip; the first one makes
    /// sure of the key space's layout, too.
    pub fn new(redis: &Redis, space: &KeySpace) -> Self {
        Self {
            inner: Arc::new(Inner {
                redis: redis.clone(),
                space: space.clone(),
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
        Ok(Reservation::new(self.clone(), decision, receipts))
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
        Ok(self.agreed.check(&self.redis, &self.space).await?)
    }

    /// Whether levels in different slots need a script each. A server that does not say what it is may be one of a
    /// cluster.
    pub(crate) async fn splits(&self) -> Result<bool, Error> {
        let ask = || async {
            let topology = self.redis.info().await?.topology;
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
