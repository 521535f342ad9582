//! Options of a hub.

use std::time::Duration;

use super::mailbox::Limits;
use super::state::Settings;
use super::{Hub, Shared};
use crate::{Error, Redis};

/// The options of a [`Hub`] with a connection of its own. See [`Hub::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens before `build()`"]
pub struct HubBuilder {
    redis: Redis,
    settings: Settings,
}

/// As the handle's probe, and with bounds that suit short messages.
pub(super) fn defaults(settings: &crate::node::Settings) -> Settings {
    Settings {
        limits: Limits { messages: 1_024, bytes: 16 << 20 },
        max_message: 16 << 20,
        interval: settings.probe_interval,
        timeout: settings.probe_timeout,
    }
}

impl HubBuilder {
    pub(super) fn new(redis: &Redis) -> Self {
        Self { redis: redis.clone(), settings: defaults(redis.inner.nodes.settings()) }
    }

    /// How many messages wait for one subscriber at most; beyond, its oldest are dropped, and it is told how many.
    /// Default: 1,024, a second's worth of a busy channel.
    pub fn queue(mut self, messages: usize) -> Self {
        self.settings.limits.messages = messages;
        self
    }

    /// How many bytes of messages, with the names of their channels, wait for one subscriber at most; the newest always
    /// does, however long it is. Default: 16 MiB.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.settings.limits.bytes = bytes;
        self
    }

    /// The longest payload that is taken. A longer one is read and thrown away as it comes in: its subscribers are
    /// told [`Missed(1)`](super::Delivery::Missed), and nobody else notices. (Ending the connection would not help:
    /// whoever published it may publish the next one, and each would cost everybody a gap.) Default: 16 MiB; the
    /// server itself takes 512 MB.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.settings.max_message = bytes;
        self
    }

    /// How often it is checked that the connection lives and hears, and how long any answer may take before the
    /// connection is replaced. Time in which there is something unread does not count. Defaults: as the handle's
    /// [`probe`](crate::RedisBuilder::probe).
    pub fn heartbeat(mut self, interval: Duration, timeout: Duration) -> Self {
        (self.settings.interval, self.settings.timeout) = (interval, timeout);
        self
    }

    /// Validates, and makes the hub. Nothing connects before the first subscription.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming the option, what is wrong with it and what is allowed.
    pub fn build(self) -> Result<Hub, Error> {
        let Self { redis, settings } = self;
        let times =
            [("heartbeat.interval", settings.interval), ("heartbeat.timeout", settings.timeout)];
        for (field, time) in times {
            if time.is_zero() || time > Duration::from_secs(24 * 3600) {
                return Err(Error::config(field, format!("{time:?}"), "above zero, at most a day"));
            }
        }
        let sizes = [
            ("queue", settings.limits.messages, 16_777_216),
            ("queue_bytes", settings.limits.bytes, isize::MAX as usize),
            // The most that a server can be set to send.
            ("max_message", settings.max_message, 4 << 30),
        ];
        for (field, size, max) in sizes {
            if size == 0 || size > max {
                let allowed = "1 or more, within reason";
                return Err(Error::config(field, format!("{size} (the most is {max})"), allowed));
            }
        }
        let shared = Shared::new(&redis.inner.nodes, settings);
        Ok(Hub::new(redis, shared))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_options_are_named() {
        let redis = Redis::builder("redis://localhost").build().unwrap();
        let ok = || Hub::builder(&redis);
        assert!(ok().build().is_ok());
        let second = Duration::from_secs(1);
        for (builder, field) in [
            (ok().queue(0), "queue"),
            (ok().queue_bytes(0), "queue_bytes"),
            (ok().max_message(0), "max_message"),
            (ok().heartbeat(Duration::ZERO, second), "heartbeat.interval"),
            (ok().heartbeat(second, Duration::ZERO), "heartbeat.timeout"),
        ] {
            let error = builder.build().unwrap_err().to_string();
            assert!(error.starts_with(field) && error.contains("allowed"), "{error}");
        }
    }
}
