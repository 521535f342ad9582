//! Leases: locks that tell the truth.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod ask;
mod builder;
mod fence;
mod grant;
mod held;
mod line;
mod outcome;
mod script;
mod wait;

pub use self::builder::LeasesBuilder;
pub use self::fence::Fence;
pub use self::held::Lease;
pub use self::outcome::{Acquired, Busy, Extended, Loss, Ran, Released};

use self::ask::Ask;
use self::line::Lines;
use self::script::Lifetime;

use crate::{Agreed, Error, KeySpace, Redis, Segments, keys};

/// Leases: locks with an end, that tell the truth about what they are. Cheap to clone.
///
/// ```no_run
/// # async fn write_report(_: russet_core_conn::Fence) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use russet_core_conn::{Acquired, KeySpace, Leases, Ran, Redis};
///
/// let redis = Redis::connect("redis://localhost").await?;
/// let leases = Leases::new(&redis, &KeySpace::new("shop")?)?;
/// match leases.acquire("nightly-report", Duration::from_secs(5)).await? {
///     Acquired::Held(lease) => match lease.run(write_report).await {
///         Ran::Done { output, .. } => output?,
///         Ran::Cut(loss) => println!("stopped half-way: {loss:?}"),
///     },
///     Acquired::Busy(busy) => println!("another writes it, for {:?} at least", busy.retry_after),
/// }
/// # Ok(()) }
/// ```
///
/// Use them to keep two processes from doing the same work twice, or from being in each other's way. Where doing it
/// twice would be *wrong*, a lease is half of the answer: the other half is a resource that checks the
/// [`Fence`]. The example `fenced_resource` shows one.
///
/// # What is promised
/// - **One holder, by the server's clock.** While a lease lasts there, nobody else is granted it.
/// - **A holder that can't renew stops in time.** Its token ([`Lease::lost`]) is cancelled while the server would still
///   refuse others, also when Redis is away: time is counted by this process's monotonic clock from when the last
///   confirmed renewal was *sent*, and the [`margin`](LeasesBuilder::margin) is taken off.
/// - **Each grant has a higher fencing number** than all before it: `max(the last + 1, the server's clock in µs)`. The
///   last one is kept for a [day](LeasesBuilder::memory) after the lease's end.
/// - **Nobody's lease but one's own is given back or renewed.** Each acquire draws 128 random bits as its token.
/// - **A dead holder frees it** within the TTL.
/// - **A lost reply makes no second grant.** An acquire asks again with the same token, and is told the same number. If
///   it gives up, or its future is dropped, and may have been granted unheard, that is given back in the background;
///   failing this, and for a question that arrives later still, such an orphan ends by its TTL.
///
/// # What a lock with an end can't promise
/// That nobody else works while you do. The end comes by the server's clock, and you may not notice:
/// - **Pauses.** A process that is stopped (a debugger, swapping, a hypervisor) between looking at the clock and acting
///   acts late. It learns of its loss as soon as it runs; the resource must refuse what it did in between. A machine
///   that sleeps may even stop its monotonic clock: then it learns from the next renewal.
/// - **Clock steps of the server.** Forward by more than what is left (also back to the right time), and the lease is
///   over at once: another may be granted it, with a higher number, and the first learns of that by its next renewal,
///   due a third of the TTL after the last; where none is [made](LeasesBuilder::renewal) or answered, by the end that it
///   counts itself. If nobody asked in between, the renewal takes it up again. Backward, and a dead holder's lease lasts
///   longer by as much; no holder counts on more than it asked for. Numbers grow all the same.
/// - **Failover.** Redis replicates asynchronously: a replica that is promoted may not know of the lease and grant it
///   again. With a handle that [waits for replicas](Redis::with_durability) a grant counts only when they have it, and
///   one of them, promoted, knows it; too few acknowledgements are an error of unknown outcome. The number still tells the two holders apart as long as the new server's clock is not behind the old
///   one's by more than the failover took.
///
/// Martin Kleppmann, [How to do distributed locking](https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html)
/// (2016), shows why any lock with a TTL needs fencing, and Salvatore Sanfilippo's answer,
/// [Is Redlock safe?](http://antirez.com/news/101) (2016), on which bounds of time the contrary view rests. This is
/// one server's lease with fencing, not Redlock: five servers would bound the damage of one's clock, not of a pause.
///
/// # Waiting
/// [`acquire`](Self::acquire) asks, and then waits until the lease is given back or ends. Of all tasks that wait on one
/// `Leases` for one name only the first asks, the others stand in line behind it: so a release calls one task of each
/// process, and that one waits for a random moment first, the longer the more often it was called in vain (up to 32
/// ms). It is called by a message to the sharded channel of the key's name, which the handle's [`Hub`](crate::Hub)
/// hears, on a connection that the first one who waits opens. In case that no message comes it asks once a second, and
/// just after the holder's end; where the hub does not hear, after growing, jittered delays up to 250 ms. No fairness is
/// promised: whoever asks at the right moment gets it, and a process that has just given it back is the nearest.
///
/// # When Redis is away
/// An acquire fails as any call does, within the handle's deadline; one that waits goes on until its own time is over.
/// Renewals are tried again until the lease counts as lost. [`Redis::close`] ends them too: give leases back before.
///
/// # Keys and cost
/// One hash per name, `{prefix:p}:lease:<name>`, with `owner`, `fence` and `until`; no other kind of key of this key
/// space may be called `lease`. It ends by its TTL. `acquire`, `release` and [`extend`](Lease::extend) are one script
/// and one round trip each; renewal is one every third of the TTL. A held lease is one task.
///
/// # Errors
/// Busy, lost and expired are values. An error means that no answer could be given.
#[derive(Clone)]
pub struct Leases {
    inner: Arc<Inner>,
}

struct Inner {
    redis: Redis,
    space: KeySpace,
    options: Options,
    lines: Lines,
    agreed: Agreed,
}

const LONGEST_WAIT: Duration = Duration::from_secs(366 * 24 * 3600);

/// What an acquire must know.
#[derive(Debug, Clone, Copy)]
struct Options {
    life: Lifetime,
    margin: Duration,
    renewal: bool,
}

impl Leases {
    /// Leases in this key space, with a TTL of 10 s and renewal.
    ///
    /// # Errors
    /// None with these options; the signature is that of [`LeasesBuilder::build`].
    pub fn new(redis: &Redis, space: &KeySpace) -> Result<Self, Error> {
        Self::builder(redis, space).build()
    }

    /// Options for leases in this key space.
    pub fn builder(redis: &Redis, space: &KeySpace) -> LeasesBuilder {
        LeasesBuilder::new(redis, space)
    }

    fn assemble(
        redis: Redis,
        space: KeySpace,
        life: Lifetime,
        margin: Duration,
        renewal: bool,
    ) -> Self {
        let inner = Inner {
            redis,
            space,
            options: Options { life, margin, renewal },
            lines: Lines::default(),
            agreed: Agreed::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Takes the lease of this name if nobody has it. One round trip. The first call of all makes one more, to see that
    /// the key space is laid out as we think: programs that differ in that would not find each other's leases.
    ///
    /// # Errors
    /// Those of Redis. If the outcome is unknown the lease may have been granted to nobody: it is then given back in
    /// the background, and ends by its TTL at the latest. The same if this future is dropped.
    #[track_caller]
    pub fn try_acquire(
        &self,
        name: impl Segments,
    ) -> impl Future<Output = Result<Acquired, Error>> + Send {
        self.acquire(name, Duration::ZERO)
    }

    /// Takes the lease of this name, and waits for it if another has it. One round trip if nobody has.
    ///
    /// It may take as long as it may wait (`Duration::MAX`: a year), and the handle's deadline for its last question;
    /// once more the deadline for that of the layout, as long as that was never answered.
    ///
    /// # Errors
    /// Those of Redis that asking again does not mend, and, when the time is over, that of the last question. See
    /// [`try_acquire`](Self::try_acquire) for what becomes of a lease that may have been granted then.
    #[track_caller]
    pub fn acquire(
        &self,
        name: impl Segments,
        within: Duration,
    ) -> impl Future<Output = Result<Acquired, Error>> + Send {
        let site = Location::caller();
        let key = keys::lease(&self.inner.space, name);
        async move {
            let until = Instant::now() + within.min(LONGEST_WAIT);
            wait::acquire(self, Ask::new(self, key), until).await.map_err(|error| {
                let (operation, script) = (error.operation(), error.script());
                self.inner.redis.told(error, operation, script, site)
            })
        }
    }
}

impl fmt::Debug for Leases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leases")
            .field("space", &self.inner.space)
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}
