//! From one who tells to many who listen, none of whom can hold it up.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tokio::sync::broadcast;

use super::Event;

/// Either an event, or how many this listener was too slow for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice<T = Event> {
    /// The next event.
    Event(T),
    /// This many events, the oldest ones, were dropped: the listener lagged behind.
    Missed(u64),
}

/// A listener's end of the events: bounded, and never in anybody's way.
///
/// Each listener sees what happened after it was made. The last 256 events are kept for it; a slower listener is told
/// how many it missed. Nobody needs to listen.
#[derive(Debug)]
pub struct Events<T = Event>(broadcast::Receiver<T>);

impl<T: Clone> Events<T> {
    /// The next event or gap; `None` once there will be no more (what they are of is closed or dropped) and everything
    /// was read.
    pub async fn next(&mut self) -> Option<Notice<T>> {
        match self.0.recv().await {
            Ok(event) => Some(Notice::Event(event)),
            Err(broadcast::error::RecvError::Lagged(count)) => Some(Notice::Missed(count)),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// The sending end of [`Events`]. Clones send to the same listeners.
#[derive(Debug)]
pub struct Broadcast<T> {
    /// None after the end.
    sender: Arc<ArcSwapOption<broadcast::Sender<T>>>,
}

impl<T: Clone> Broadcast<T> {
    /// With no listener yet.
    #[must_use]
    pub fn new() -> Self {
        let sender = Arc::new(broadcast::Sender::new(256));
        Self { sender: Arc::new(ArcSwapOption::new(Some(sender))) }
    }

    /// From here on.
    #[must_use]
    pub fn listen(&self) -> Events<T> {
        match &*self.sender.load() {
            Some(sender) => Events(sender.subscribe()),
            // Its sender is gone at once.
            None => Events(broadcast::Sender::new(1).subscribe()),
        }
    }

    /// To all who listen. Never waits.
    pub fn send(&self, event: T) {
        if let Some(sender) = &*self.sender.load() {
            // Nobody listening is fine.
            let _ = sender.send(event);
        }
    }

    /// There will be no more events, although what they are of may live on.
    pub fn end(&self) {
        self.sender.store(None);
    }
}

impl<T> Clone for Broadcast<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone() }
    }
}

impl<T: Clone> Default for Broadcast<T> {
    fn default() -> Self {
        Self::new()
    }
}
