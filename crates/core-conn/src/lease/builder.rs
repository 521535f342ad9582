//! Options, validated by `build()`.

use std::time::Duration;

use super::Leases;
use super::script::Lifetime;
use crate::{Error, KeySpace, Redis};

/// The options of [`Leases`]. See [`Leases::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `build()`"]
pub struct LeasesBuilder {
    redis: Redis,
    space: KeySpace,
    ttl: Duration,
    margin: Option<Duration>,
    renewal: bool,
    memory: Duration,
}

impl LeasesBuilder {
    pub(super) fn new(redis: &Redis, space: &KeySpace) -> Self {
        Self {
            redis: redis.clone(),
            space: space.clone(),
            ttl: Duration::from_secs(10),
            margin: None,
            renewal: true,
            memory: Duration::from_secs(24 * 3600),
        }
    }

    /// How long a lease lasts without being renewed, 50 ms to a day. Default: 10 s, which a lost connection or a
    /// restart of the server does not end, and after which a dead holder is in nobody's way any more.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long before its end a lease counts as lost: the time for the work to stop in, and for clocks that run
    /// unequally. 5 ms to half of the TTL. Default: a tenth of the TTL.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = Some(margin);
        self
    }

    /// Whether leases are renewed until they are given back or dropped. Default: yes. Without, a lease ends after its
    /// TTL unless [`extend`](super::Lease::extend) is called.
    pub fn renewal(mut self, renewal: bool) -> Self {
        self.renewal = renewal;
        self
    }

    /// How long after a lease's end its key is kept, with its last fencing number: a minute to a year. Default: a day.
    ///
    /// While the key is there, numbers grow whatever the clocks do. Once it is gone they are as good as the clock: they
    /// would fall if the server's clock had been set back by more than this. It costs about 200 bytes a name that was
    /// used within this time.
    pub fn memory(mut self, memory: Duration) -> Self {
        self.memory = memory;
        self
    }

    /// Validates. Nothing is sent.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming the option, what is wrong with it and what is allowed.
    pub fn build(self) -> Result<Leases, Error> {
        check_ttl("ttl", self.ttl)?;
        let margin = self.margin.unwrap_or(self.ttl / 10);
        if margin < Duration::from_millis(5) || margin > self.ttl / 2 {
            return Err(Error::config("margin", format!("{margin:?}"), "5 ms to half of the TTL"));
        }
        let (minute, year) = (Duration::from_secs(60), Duration::from_secs(366 * 24 * 3600));
        if self.memory < minute || self.memory > year {
            return Err(Error::config(
                "memory",
                format!("{:?}", self.memory),
                "a minute to a year",
            ));
        }
        let life = Lifetime { ttl: self.ttl, memory: self.memory };
        Ok(Leases::assemble(self.redis, self.space, life, margin, self.renewal))
    }
}

/// Short enough to be waited for, long enough to be renewed.
pub(super) fn check_ttl(field: &'static str, ttl: Duration) -> Result<(), Error> {
    if ttl < Duration::from_millis(50) || ttl > Duration::from_secs(24 * 3600) {
        return Err(Error::config(field, format!("{ttl:?}"), "50 ms to a day"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_options_are_named() {
        let redis = Redis::builder("redis://localhost").build().unwrap();
        let ok = || Leases::builder(&redis, &KeySpace::new("t").unwrap());
        assert!(ok().build().is_ok());
        let ms = Duration::from_millis;
        assert!(ok().ttl(ms(50)).margin(ms(25)).build().is_ok());
        for (builder, field) in [
            (ok().ttl(ms(49)), "ttl"),
            (ok().ttl(Duration::from_secs(24 * 3600 + 1)), "ttl"),
            (ok().margin(ms(4)), "margin"),
            (ok().margin(ms(5_001)), "margin"),
            (ok().memory(ms(59_999)), "memory"),
            (ok().memory(Duration::MAX), "memory"),
        ] {
            let error = builder.build().unwrap_err().to_string();
            assert!(error.starts_with(field) && error.contains("allowed"), "{error}");
        }
    }
}
