//! The graceful end.

use std::time::{Duration, Instant};

use crate::Redis;
use crate::redis::Inner;

/// What closing left undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CloseReport {
    /// Calls that were waiting for a connection or a place: not sent.
    pub not_sent: u64,
    /// Calls in flight that did not finish in time: outcome unknown.
    pub unknown: u64,
    /// How long it took.
    pub took: Duration,
}

impl CloseReport {
    /// Whether everything that had been called was answered.
    pub fn is_clean(&self) -> bool {
        self.not_sent == 0 && self.unknown == 0
    }
}

pub(crate) async fn drain(handle: &Inner, deadline: Duration) -> CloseReport {
    let started = Instant::now();
    let (not_sent, unknown) = handle.drain(started + deadline).await;
    handle.announcer.end();
    CloseReport {
        not_sent,
        unknown: u64::try_from(unknown).unwrap_or(u64::MAX),
        took: started.elapsed(),
    }
}

pub(crate) async fn on_signal(redis: &Redis) -> std::io::Result<CloseReport> {
    at_signals(redis.close(), redis.close_within(Duration::ZERO)).await
}

/// Waits for a signal to close, and if another comes before it has closed, cuts.
pub(crate) async fn at_signals<T>(
    close: impl Future<Output = T>,
    cut: impl Future<Output = T>,
) -> std::io::Result<T> {
    let mut signals = Signals::listen()?;
    signals.next().await;
    tracing::info!("closing; another signal cuts what is in flight");
    tokio::select! {
        report = close => Ok(report),
        () = signals.next() => Ok(cut.await),
    }
}

#[cfg(unix)]
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // Without a handler there is nothing to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
