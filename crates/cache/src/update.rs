//! Hearing of changes of the origin, with their versions.

use std::iter;
use std::time::{Duration, Instant};

use futures_util::future::join;
use russet_core_conn::{Canonical, Key, Segments};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::Cache;
use crate::error::Error;
use crate::invalidation::What;
use crate::load::Load;
use crate::owed::Debt;
use crate::scripts;
use crate::write::Written;

impl<V: Serialize + DeserializeOwned + Send + Sync + 'static> Cache<V> {
    /// [`insert`](Self::insert), but only over an entry with an older [version](Load::version), or with none: what is not
    /// cached stays so, and will not be filled by a load that is under way. For those who hear of changes of the origin, in
    /// whichever order: loaders and writers give their versions, too, or what they have cached counts as older. Answers
    /// whether it was written. One round trip; another with a journal.
    ///
    /// A [`Written`] tells what else is out of date with that change: it is removed and invalidated at the same time,
    /// whether the value itself was news or not, as by [`remove_many`](Self::remove_many) and
    /// [`invalidate_tags`](Self::invalidate_tags). That is not one step: repeat it where this process may have died over it.
    ///
    /// # Errors
    /// As for `insert`, and for what else is out of date those of `remove_many` and `invalidate_tags`. It may be repeated.
    pub async fn update(
        &self,
        key: impl Segments,
        version: u64,
        value: impl Into<Written<V>>,
    ) -> Result<bool, Error> {
        let Written { load, related } = value.into();
        let (key, load) = (self.inner.keys.entry(&Canonical::of(&key)), load.version(version));
        let (updated, outdated) =
            join(self.update_key(&key, version, &load), self.outdate(&related)).await;
        outdated?;
        updated
    }

    async fn update_key(&self, key: &Key, version: u64, load: &Load<V>) -> Result<bool, Error> {
        let inner = &self.inner;
        let updated = async {
            self.ready(&inner.redis, Instant::now()).await?;
            let fill = self.encoded(key, load, Duration::ZERO, inner.stamp())?;
            let channel = inner.wakes.channel();
            let updated = scripts::update(&inner.redis, key, version, fill, channel).await?;
            if updated {
                inner.counters.fill(true);
            }
            // Also where it was refused: what others keep may be older than that.
            let what = if updated { What::Written } else { What::Removed };
            inner.tell(what, &[key]).await?;
            Ok(updated)
        };
        let updated = match updated.await {
            // What stands there is what it was: a removal that is owed is owed still.
            Ok(false) => {
                inner.recent.note(iter::once(Debt::Key(key.clone())));
                self.watch();
                Ok(false)
            }
            other => self.told(other, iter::once(Debt::Key(key.clone()))),
        };
        inner.forget(key);
        updated
    }
}
