//! Invalidations that Redis has not taken: this process repeats them until it has, and uses nothing of them before.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use russet_core_conn::{Cmd, Key};
use tokio_util::task::AbortOnDropHandle;

use crate::cache::{Cache, Inner};
use crate::error::Error;
use crate::invalidation::What;

/// More than these become one where there is a journal: everything. Elsewhere the oldest end with their TTL.
const MOST: usize = 10_000;

/// How many are sent at once.
const PIECE: usize = 500;

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Debt {
    Key(Key),
    Tag(Bytes),
    All,
}

/// In the order in which they came up, none twice.
#[derive(Debug, Default)]
pub(crate) struct Owed {
    debts: Mutex<Debts>,
    count: AtomicUsize,
    payer: Mutex<Option<AbortOnDropHandle<()>>>,
}

#[derive(Debug, Default)]
struct Debts {
    order: BTreeMap<u64, Debt>,
    /// When it came up last: what is owed again meanwhile is not paid by what was sent before.
    places: HashMap<Debt, u64>,
    /// Those that are more than a key.
    wide: usize,
    last: u64,
    /// Somebody pays, and looks again before it ends.
    paying: bool,
}

impl Debt {
    fn is_wide(&self) -> bool {
        !matches!(self, Self::Key(_))
    }
}

impl Debts {
    fn add(&mut self, debt: Debt) {
        self.remove(&debt);
        self.last += 1;
        self.wide += usize::from(debt.is_wide());
        self.order.insert(self.last, debt.clone());
        self.places.insert(debt, self.last);
    }

    fn remove(&mut self, debt: &Debt) {
        if let Some(place) = self.places.remove(debt) {
            self.order.remove(&place);
            self.wide -= usize::from(debt.is_wide());
        }
    }
}

impl Owed {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Acquire)
    }

    /// Whether more is owed than keys: then nothing that is cached may be used before.
    pub(crate) fn is_wide(&self) -> bool {
        self.count() > 0 && self.lock().wide > 0
    }

    /// Whether what is cached under the key must not be used before.
    pub(crate) fn holds(&self, key: &Key) -> bool {
        if self.count() == 0 {
            return false;
        }
        let owed = self.lock();
        owed.wide > 0 || owed.places.contains_key(&Debt::Key(key.clone()))
    }

    pub(crate) fn add(&self, debts: impl Iterator<Item = Debt>, journal: bool) {
        let mut owed = self.lock();
        debts.for_each(|debt| owed.add(debt));
        if owed.order.len() > MOST && journal {
            tracing::warn!("more invalidations are owed than are kept one by one: all is invalid");
            let Debts { last, paying, .. } = *owed;
            *owed = Debts { last, paying, ..Debts::default() };
            owed.add(Debt::All);
        }
        while owed.order.len() > MOST {
            tracing::warn!(
                "too many invalidations are owed: one is given up, its entry ends by its TTL"
            );
            if let Some((_, oldest)) = owed.order.pop_first() {
                owed.places.remove(&oldest);
            }
        }
        self.count.store(owed.order.len(), Release);
    }

    fn first(&self) -> Vec<(u64, Debt)> {
        let owed = self.lock();
        owed.order.iter().take(PIECE).map(|(place, debt)| (*place, debt.clone())).collect()
    }

    /// What was said of them after that stands.
    fn paid(&self, debts: impl Iterator<Item = (u64, Debt)>) {
        let mut owed = self.lock();
        for (place, debt) in debts {
            if owed.places.get(&debt) == Some(&place) {
                owed.remove(&debt);
            }
        }
        self.count.store(owed.order.len(), Release);
    }

    /// A later write has made them needless.
    fn settled<'a>(&self, debts: impl Iterator<Item = &'a Debt>) {
        let mut owed = self.lock();
        debts.for_each(|debt| owed.remove(debt));
        self.count.store(owed.order.len(), Release);
    }

    /// Whether nothing is left, and whoever pays may go: what comes up from here on needs another.
    fn ends(&self) -> bool {
        let mut owed = self.lock();
        owed.paying = !owed.order.is_empty();
        !owed.paying
    }

    fn lock(&self) -> MutexGuard<'_, Debts> {
        self.debts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// After Redis was told of these, or was to be: what it did not take is owed. What is kept of them is to be
    /// forgotten then, not before: from here on it is not kept again.
    pub(crate) fn told<T>(
        &self,
        result: Result<T, Error>,
        debts: impl Iterator<Item = Debt>,
    ) -> Result<T, Error> {
        let owed = &self.inner.owed;
        match &result {
            Ok(_) => {
                let said: Vec<Debt> = debts.collect();
                if owed.count() > 0 {
                    owed.settled(said.iter());
                }
                self.inner.recent.note(said.into_iter());
                self.watch();
            }
            Err(error) if error.is_retryable() => {
                owed.add(debts, self.inner.tracked.is_some());
                self.pay();
            }
            Err(_) => {}
        }
        result
    }

    /// Also where the runtime of the one before has ended.
    pub(crate) fn pay(&self) {
        let mut payer = self.inner.owed.payer.lock().unwrap_or_else(PoisonError::into_inner);
        let alive = payer.as_ref().is_some_and(|task| !task.is_finished());
        if std::mem::replace(&mut self.inner.owed.lock().paying, true) && alive {
            return;
        }
        let inner = Arc::downgrade(&self.inner);
        *payer = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let mut delay = FIRST_DELAY;
            loop {
                tokio::time::sleep(delay).await;
                let Some(inner) = inner.upgrade() else { return };
                match inner.pay_first().await {
                    Ok(true) => return,
                    Ok(false) => delay = Duration::ZERO,
                    Err(error) => {
                        tracing::debug!(%error, "invalidations are owed still");
                        delay = (delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
                    }
                }
            }
        })));
    }
}

impl<V: Send + Sync + 'static> Inner<V> {
    /// Whether nothing is owed any more.
    async fn pay_first(&self) -> Result<bool, Error> {
        let debts = self.owed.first();
        let (mut keys, mut tags, mut all) = (Vec::new(), Vec::new(), false);
        for (_, debt) in &debts {
            match debt {
                Debt::Key(key) => keys.push(key),
                Debt::Tag(tag) => tags.push(tag.clone()),
                Debt::All => all = true,
            }
        }
        let paid = async {
            self.agree(&self.redis).await?;
            if !keys.is_empty() {
                let removals = keys.iter().map(|key| Cmd::idempotent("UNLINK").key(key));
                for reply in self.redis.pipeline(removals).await {
                    reply?;
                }
                self.tell(What::Removed, &keys).await?;
            }
            if let Some(tracked) = &self.tracked {
                let here = self.here(tracked);
                if !tags.is_empty() {
                    tracked.journal.write(&self.redis, What::Tags, &tags, &here).await?;
                }
                if all {
                    tracked.journal.write(&self.redis, What::All, &[], &here).await?;
                }
            }
            Ok(())
        };
        match paid.await {
            Err(error) if Error::is_retryable(&error) => return Err(error),
            Err(error) => tracing::warn!(%error, "invalidations are refused, and not repeated"),
            Ok(()) => self.recent.note(debts.iter().map(|(_, debt)| debt.clone())),
        }
        self.owed.paid(debts.into_iter());
        Ok(self.owed.ends())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &'static str) -> Debt {
        Debt::Key(Key::raw(name))
    }

    #[test]
    fn what_is_owed_again_meanwhile_is_not_paid_by_what_was_sent_before() {
        let owed = Owed::default();
        owed.add([key("a"), key("b")].into_iter(), false);
        let sent = owed.first();
        owed.add([key("a"), Debt::All].into_iter(), false);
        owed.paid(sent.into_iter());
        let left: Vec<Debt> = owed.first().into_iter().map(|(_, debt)| debt).collect();
        assert_eq!(left, [key("a"), Debt::All]);
        assert!(owed.is_wide() && !owed.ends());
        owed.settled(left.iter());
        assert!(!owed.is_wide() && owed.ends() && owed.count() == 0);
    }
}
