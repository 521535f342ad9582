//! The layout of a key space, kept in Redis: whoever finds another one there must not read or write a key.

use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use crate::error::{Error, ErrorKind, SendOutcome};
use crate::{KeySpace, LAYOUT_VERSION, Redis, Script};

static AGREE: LazyLock<Script> =
    LazyLock::new(|| Script::new("agree", include_str!("scripts/agree.lua")));

impl Redis {
    /// Makes sure that this key space is laid out in Redis as this program lays it out: the same version, the same
    /// number of partitions. Whoever comes first writes them; two releases that agree run side by side. One round
    /// trip; pattern crates do it once before their first key, by [`Agreed`].
    ///
    /// # Errors
    /// [`ErrorKind::Layout`] if another layout is kept: a program that went on would look for every key elsewhere.
    #[track_caller]
    pub fn agree<'a>(
        &'a self,
        keys: &'a KeySpace,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'a {
        let ours = (LAYOUT_VERSION, keys.partition_count().get());
        let call = AGREE.key(&keys.layout_key()).arg(ours.0).arg(ours.1);
        let kept = self.script::<(u32, u16)>(call);
        async move {
            let kept = kept.await?;
            if kept == ours {
                return Ok(());
            }
            let kind = ErrorKind::Layout { prefix: keys.prefix().into(), kept, ours };
            Err(Error::new(kind, SendOutcome::Rejected))
        }
    }
}

/// Whether a key space is known to be laid out as this program thinks. For pattern crates, which
/// [`check`](Self::check) before they touch a key.
#[derive(Debug, Default)]
pub struct Agreed(AtomicBool);

impl Agreed {
    /// [`Redis::agree`] until it has succeeded, and nothing from then on. Whoever comes before that asks for itself, in
    /// its own time: nobody's may depend on another's.
    ///
    /// # Errors
    /// Those of [`Redis::agree`].
    #[inline]
    pub async fn check(&self, redis: &Redis, space: &KeySpace) -> Result<(), Error> {
        if !self.0.load(Acquire) {
            // Boxed: it must not make every call's future larger.
            Box::pin(redis.agree(space)).await?;
            self.0.store(true, Release);
        }
        Ok(())
    }
}
