//! The task of a limiter: it says that the process is there, and gives back what is leased and not used.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::decide::refund;
use crate::error::Error;
use crate::limit;
use crate::limiter::{Inner, Limiter};
use crate::scripts::Receipt;

/// So many round trips at a time.
const AT_ONCE: usize = 64;

/// Begun with the first decision that needs it, and ended with the last clone of its limiter.
#[derive(Debug)]
pub(crate) struct Keeper {
    needed: AtomicBool,
    runs: AtomicBool,
    over: CancellationToken,
    _end: DropGuard,
    task: Mutex<Option<JoinHandle<()>>>,
    /// Limits of which something is leased.
    leased: Mutex<Vec<Weak<limit::Inner>>>,
}

impl Default for Keeper {
    fn default() -> Self {
        let over = CancellationToken::new();
        Self {
            needed: AtomicBool::default(),
            runs: AtomicBool::default(),
            _end: over.clone().drop_guard(),
            over,
            task: Mutex::default(),
            leased: Mutex::default(),
        }
    }
}

impl Keeper {
    /// From now on there is something to do.
    pub(crate) fn needed(&self) {
        self.needed.store(true, Release);
    }

    pub(crate) fn leases(&self, limit: &Arc<limit::Inner>) {
        let mut leased = lock(&self.leased);
        leased.retain(|limit| limit.strong_count() > 0);
        leased.push(Arc::downgrade(limit));
        self.needed();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.is_cancelled()
    }

    fn limits(&self) -> Vec<Arc<limit::Inner>> {
        lock(&self.leased).iter().filter_map(Weak::upgrade).collect()
    }
}

impl Limiter {
    /// Begins what is to be done in the background, if there is anything.
    #[inline]
    pub(crate) fn keep(&self) {
        let keeper = &self.inner.keeper;
        if keeper.needed.load(Acquire) && !keeper.runs.load(Acquire) {
            self.start();
        }
    }

    #[cold]
    fn start(&self) {
        let keeper = &self.inner.keeper;
        if keeper.is_over() || keeper.runs.swap(true, AcqRel) {
            return;
        }
        let runs = Runs(Arc::downgrade(&self.inner));
        *lock(&keeper.task) = Some(tokio::spawn(keep(runs, keeper.over.clone())));
    }
}

impl Inner {
    pub(crate) async fn shutdown(&self) -> Result<(), Error> {
        self.keeper.over.cancel();
        let task = lock(&self.keeper.task).take();
        let Some(task) = task else { return Ok(()) };
        // One that ended with its runtime has nothing to say.
        let _ = task.await;
        let mut given = Ok(());
        for limit in self.keeper.limits() {
            let Some(leases) = &limit.leases else { continue };
            let back = leases.end().await;
            given = given.and(self.give_back(back).await);
        }
        match self.fleet.fixed {
            true => given,
            false => given.and(self.fleet.leave(&self.patient).await.map_err(Error::Redis)),
        }
    }

    /// What was leased and is not spent.
    pub(crate) async fn give_back(&self, back: Vec<(Receipt, u64)>) -> Result<(), Error> {
        let mut given = stream::iter(back)
            .map(|one| async move { refund(self, &self.patient, &[one]).await })
            .buffer_unordered(AT_ONCE);
        let mut whole = Ok(());
        while let Some(one) = given.next().await {
            whole = whole.and(one.map(drop));
        }
        whole
    }
}

/// It runs.
struct Runs(Weak<Inner>);

impl Drop for Runs {
    fn drop(&mut self) {
        // Perhaps with its runtime: then whoever comes next begins it anew.
        if let Some(inner) = self.0.upgrade() {
            inner.keeper.runs.store(false, Release);
        }
    }
}

async fn keep(runs: Runs, over: CancellationToken) {
    let Some(heartbeat) = runs.0.upgrade().map(|inner| inner.fleet.heartbeat) else { return };
    let each = heartbeat.min(Duration::from_millis(500));
    let mut tick = tokio::time::interval(each);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut beat: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            () = over.cancelled() => return,
            _ = tick.tick() => {}
        }
        let Some(inner) = runs.0.upgrade() else { return };
        let due = beat.is_none_or(|beat| beat.elapsed() + each / 2 >= heartbeat);
        if due && !inner.fleet.fixed {
            beat = Some(Instant::now());
            if let Err(error) = beats(&inner).await {
                tracing::debug!(%error, "the nodes that share the limits can't be counted");
            }
        }
        for limit in inner.keeper.limits() {
            let Some(leases) = &limit.leases else { continue };
            let back = leases.idle(Instant::now());
            if let Err(error) = inner.give_back(back).await {
                tracing::debug!(%error, "what was leased can't be given back");
            }
        }
    }
}

async fn beats(inner: &Inner) -> Result<(), Error> {
    inner.agree_by(&inner.patient).await?;
    Ok(inner.fleet.beat(&inner.patient).await?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
