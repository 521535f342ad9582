//! Waiting for what another process loads: woken by a message, with a poll for those that are lost.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use russet_core_conn::Key;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::task::AbortOnDropHandle;

use crate::store::Store;

/// Who waits in this process, and the one subscription for all of them, which is made when the first one waits.
pub(crate) struct Wakes {
    redis: Store,
    channel: Key,
    waiting: Arc<Waiting>,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

#[derive(Default)]
struct Waiting(Mutex<HashMap<Bytes, Arc<Notify>>>);

impl Wakes {
    pub(crate) fn new(redis: Store, channel: Key) -> Self {
        Self { redis, channel, waiting: Arc::default(), task: Mutex::default() }
    }

    /// Where those who wait are told.
    pub(crate) fn channel(&self) -> &Key {
        &self.channel
    }

    /// Wants to know when the key is filled or its lease given back.
    pub(crate) fn listen(&self, key: &Key) -> Listening<'_> {
        self.start();
        let notify = self.waiting.lock().entry(key.to_bytes()).or_default().clone();
        Listening { wakes: self, key: key.to_bytes(), notify }
    }

    /// Also where the runtime of the one before has ended, or the server did not let it subscribe.
    fn start(&self) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(AbortOnDropHandle::is_finished) {
            let (redis, waiting) = (self.redis.clone(), self.waiting.clone());
            let channel = self.channel.clone();
            *task = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                let mut heard = match redis.subscribe(&channel).await {
                    Ok(heard) => heard,
                    Err(error) => {
                        tracing::debug!(%error, "nobody tells who waits: they look by themselves");
                        return;
                    }
                };
                // What was told before that was told to nobody.
                waiting.wake_all();
                while let Some(message) = heard.next().await {
                    match message {
                        Some(key) => waiting.wake(&key),
                        None => waiting.wake_all(),
                    }
                }
            })));
        }
    }
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, key: &Bytes) {
        if let Some(notify) = self.lock().get(key) {
            notify.notify_waiters();
        }
    }

    fn wake_all(&self) {
        self.lock().values().for_each(|notify| notify.notify_waiters());
    }
}

impl fmt::Debug for Wakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wakes")
    }
}

/// One that waits.
pub(crate) struct Listening<'a> {
    wakes: &'a Wakes,
    key: Bytes,
    notify: Arc<Notify>,
}

impl Listening<'_> {
    pub(crate) fn woken(&self) -> Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let mut waiting = self.wakes.waiting.lock();
        // The map's and this one's.
        if Arc::strong_count(&self.notify) <= 2 {
            waiting.remove(&self.key);
        }
    }
}
