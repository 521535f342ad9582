//! What is told of several entries at once.

use std::sync::Arc;
use std::time::Duration;

use crate::{CloseReport, Error, Registry};

/// One answer for each entry of a [`Registry`](crate::Registry), by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryReport<T>(Vec<(Arc<str>, T)>);

impl<T> RegistryReport<T> {
    pub(super) fn new(mut entries: Vec<(Arc<str>, T)>) -> Self {
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        Self(entries)
    }

    /// The answer for this entry.
    pub fn get(&self, name: &str) -> Option<&T> {
        self.iter().find_map(|(entry, answer)| (entry == name).then_some(answer))
    }

    /// All answers, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(name, answer)| (&**name, answer))
    }
}

/// Whether an entry's server answers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Health {
    /// It answered a `PING`.
    Healthy {
        /// How long that took, without the time to connect.
        latency: Duration,
        /// Whether the server may remove keys by itself for want of memory, as
        /// [`ServerInfo::evicts`](crate::ServerInfo::evicts) has it: as it was when the connection was opened; `None`
        /// if it does not tell this user.
        evicts: Option<bool>,
    },
    /// It did not answer in time, or can't be reached, or says that it is not well.
    Unhealthy {
        /// Why. What is not connected tells the last error with which an attempt to connect failed.
        error: Error,
    },
}

impl RegistryReport<Health> {
    /// Whether all entries are healthy.
    pub fn is_healthy(&self) -> bool {
        self.iter().all(|(_, health)| matches!(health, Health::Healthy { .. }))
    }

    /// Whether the server of the entry [`STATE`](Registry::STATE) may remove what must not be lost. `None` if that is
    /// not known: it does not tell this user, it is not healthy, or there is no such entry.
    ///
    /// It is no part of [`is_healthy`](Self::is_healthy): to take a service away helps nobody whose state may be lost.
    pub fn state_evicts(&self) -> Option<bool> {
        match self.get(Registry::STATE)? {
            Health::Healthy { evicts, .. } => *evicts,
            Health::Unhealthy { .. } => None,
        }
    }
}

impl RegistryReport<CloseReport> {
    /// Whether everything that had been called was answered, in all entries.
    pub fn is_clean(&self) -> bool {
        self.iter().all(|(_, report)| report.is_clean())
    }
}
