//! A gate that closes once.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use tokio_util::sync::CancellationToken;

/// Whether a node still takes calls. Each call looks, so that looking must cost no lock, which the token's own look does.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: AtomicBool,
    token: CancellationToken,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.closed.store(true, Release);
        self.token.cancel();
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Acquire)
    }

    /// Waits until it is closed.
    pub(crate) async fn closed(&self) {
        self.token.cancelled().await;
    }
}
