//! Waiting for what another process loads: woken by a message, with a poll for those that are lost.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use russet_core_conn::{Delivery, Key, Redis, Topic};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio_util::task::AbortOnDropHandle;

/// Who waits in this process, and the one subscription for all of them, which is made when the first one waits.
pub(crate) struct Wakes {
    redis: Redis,
    channel: Key,
    waiting: Arc<Waiting>,
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

#[derive(Default)]
struct Waiting(Mutex<HashMap<Bytes, Arc<Notify>>>);

impl Wakes {
    pub(crate) fn new(redis: Redis, channel: Key) -> Self {
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
            let (hub, waiting) = (self.redis.hub(), self.waiting.clone());
            let topic = Topic::channel(&self.channel);
            *task = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                let mut heard = match hub.subscribe(topic).await {
                    Ok(heard) => heard,
                    Err(error) => {
                        tracing::debug!(%error, "nobody tells who waits: they look by themselves");
                        return;
                    }
                };
                // What was told before that was told to nobody.
                waiting.wake_all();
                while let Some(delivery) = heard.next().await {
                    match delivery {
                        Delivery::Message(message) => waiting.wake(message.payload()),
                        _ => waiting.wake_all(),
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
