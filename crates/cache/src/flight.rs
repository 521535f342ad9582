//! Loads under way in this process: one a key, which all who miss it share.

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use russet_core_conn::Key;
use tokio::sync::SetOnce;

use crate::lookup::Lookup;
use crate::seal::Seal;

/// One load, or the wait for another process's.
#[derive(Debug)]
pub(crate) struct Flight<V> {
    landed: SetOnce<Landed<V>>,
}

/// How it ended.
#[derive(Debug, Clone)]
pub(crate) struct Landed<V> {
    pub(crate) outcome: Result<Lookup<V>, Failure>,
    /// Before the origin, or Redis, was read.
    pub(crate) began: Instant,
    /// Redis took it: nothing was invalidated since it was begun.
    pub(crate) sound: bool,
    pub(crate) seal: Option<Seal>,
}

#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The loader's error, of whatever type whoever began has.
    Loader(Arc<dyn Any + Send + Sync>),
    /// It panicked, or its runtime has ended.
    Aborted,
    /// Too many wait for the origin.
    Overloaded,
}

impl<V> Landed<V> {
    pub(crate) fn failed(failure: Failure, began: Instant) -> Self {
        Self { outcome: Err(failure), began, sound: false, seal: None }
    }

    /// Whether it answers who asked then: not what was read before, and perhaps invalidated before they asked.
    pub(crate) fn answers(&self, asked: Instant) -> bool {
        self.outcome.is_err() || self.sound || self.began >= asked
    }
}

impl<V> Flight<V> {
    fn new() -> Arc<Self> {
        Arc::new(Self { landed: SetOnce::new() })
    }

    pub(crate) async fn landed(&self) -> &Landed<V> {
        self.landed.wait().await
    }
}

/// Those that can be joined.
#[derive(Debug)]
pub(crate) struct Flights<V>(Mutex<HashMap<Key, Arc<Flight<V>>>>);

impl<V> Default for Flights<V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<V> Flights<V> {
    /// Another's, or else one's own, which is to be carried out.
    pub(crate) fn join(self: &Arc<Self>, key: &Key) -> Result<Arc<Flight<V>>, Pilot<V>> {
        match self.lock().entry(key.clone()) {
            Entry::Occupied(there) => Ok(there.get().clone()),
            Entry::Vacant(free) => {
                let flight = free.insert(Flight::new()).clone();
                Err(Pilot { flights: self.clone(), key: key.clone(), flight })
            }
        }
    }

    /// One's own, in the place of any other: whoever has the lease knows better.
    pub(crate) fn begin(self: &Arc<Self>, key: &Key) -> Pilot<V> {
        let flight = Flight::new();
        self.lock().insert(key.clone(), flight.clone());
        Pilot { flights: self.clone(), key: key.clone(), flight }
    }

    /// Whoever asks from here on does not join the one that is under way: what it has read is invalid.
    pub(crate) fn close(&self, key: &Key) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<Flight<V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever carries a flight out. It lands however that ends.
#[derive(Debug)]
pub(crate) struct Pilot<V> {
    flights: Arc<Flights<V>>,
    key: Key,
    flight: Arc<Flight<V>>,
}

impl<V> Pilot<V> {
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn flight(&self) -> &Arc<Flight<V>> {
        &self.flight
    }

    /// Nobody joins from here on.
    pub(crate) fn depart(&self) {
        let mut flights = self.flights.lock();
        if flights.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            flights.remove(&self.key);
        }
    }

    pub(crate) fn land(&self, landed: Landed<V>) {
        self.depart();
        // Only its pilot lands it, once.
        let _ = self.flight.landed.set(landed);
    }
}

impl<V> Drop for Pilot<V> {
    fn drop(&mut self) {
        if self.flight.landed.get().is_none() {
            self.land(Landed::failed(Failure::Aborted, Instant::now()));
        }
    }
}
