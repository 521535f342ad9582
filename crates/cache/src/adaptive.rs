//! A time to live by how often a key is asked for.

use std::time::Duration;

use russet_core_conn::Key;

use crate::cache::Cache;
use crate::keys::Keys;
use crate::load::Load;
use crate::policy::LONGEST_TTL;

#[cfg(test)]
mod replay;

/// How the time to live of a value grows with how often its key is asked for: `base × (1 + ln(n + 1))`, at most `max`. See
/// [`CacheBuilder::adaptive_ttl`](crate::CacheBuilder::adaptive_ttl).
///
/// ```
/// use std::time::Duration;
/// use russet_cache::AdaptiveTtl;
///
/// let adaptive = AdaptiveTtl::default().base(Duration::from_secs(60)).max(Duration::from_secs(600));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct AdaptiveTtl {
    base: Duration,
    max: Duration,
}

/// From 300 s on, at most 3,600 s.
impl Default for AdaptiveTtl {
    fn default() -> Self {
        Self { base: Duration::from_secs(300), max: Duration::from_secs(3_600) }
    }
}

impl AdaptiveTtl {
    /// The time to live of what nobody has asked for, from 1 ms. Not more than the longest.
    pub fn base(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// The longest, up to ten years: for so long a value may be out of date where nobody says that it is. Where the cache's
    /// [`ttl`](crate::CacheBuilder::ttl) is set and shorter, it is that.
    pub fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// No longer than that, where it is said.
    pub(crate) fn within(self, ttl: Option<Duration>) -> Self {
        Self { max: ttl.map_or(self.max, |ttl| ttl.min(self.max)), ..self }
    }

    pub(crate) fn longest(self) -> Duration {
        self.max
    }

    pub(crate) fn problem(self) -> Option<String> {
        let Self { base, max } = self;
        let possible = base >= Duration::from_millis(1) && base <= max && max <= LONGEST_TTL;
        (!possible).then(|| format!("{base:?} to {max:?}"))
    }

    /// For a key that was asked for so often, to the nearest millisecond.
    pub(crate) fn ttl(self, count: f64) -> Duration {
        let times = 1.0 + (count.max(0.0) + 1.0).ln();
        let ttl = Duration::try_from_secs_f64(self.base.as_secs_f64() * times);
        let millis = (ttl.unwrap_or(self.max).as_secs_f64() * 1_000.0).round();
        Duration::try_from_secs_f64(millis / 1_000.0).unwrap_or(self.max).min(self.max)
    }
}

impl<V: Send + Sync + 'static> Cache<V> {
    /// The time to live that a load of this key has, where it says none itself.
    pub(crate) fn adapted(&self, key: &Key, load: &Load<V>) -> Option<Duration> {
        if load.ttl.is_some() || load.value.is_none() {
            return load.ttl;
        }
        let Some(adaptive) = self.policy.adaptive else { return self.usual_ttl() };
        let name = Keys::name_of(&key.to_bytes());
        Some(adaptive.ttl(self.inner.insight.as_ref()?.count(&name)))
    }

    /// That of this handle's values, where it is one for all.
    pub(crate) fn usual_ttl(&self) -> Option<Duration> {
        let chosen = if self.policy.own_ttl { None } else { self.inner.ttl.get() };
        self.policy.adaptive.is_none().then(|| chosen.unwrap_or(self.policy.ttl))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_with_the_logarithm_up_to_its_end() {
        let adaptive = AdaptiveTtl::default();
        for (count, millis) in [
            (0.0, 300_000),
            (1.0, 507_944),
            (9.0, 990_776),
            (100.0, 1_684_536),
            (59_000.0, 3_595_593),
            (60_000.0, 3_600_000),
            (f64::INFINITY, 3_600_000),
            (-1.0, 300_000),
        ] {
            assert_eq!(adaptive.ttl(count), Duration::from_millis(millis), "{count}");
        }
        let short = AdaptiveTtl::default().base(Duration::from_millis(1));
        assert_eq!(short.ttl(1.0), Duration::from_millis(2), "1.69 to the nearest");
        assert_eq!(short.ttl(0.4), Duration::from_millis(1), "1.34 to the nearest");
    }
}
