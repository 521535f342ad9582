//! A closed loop: so many tasks, each of which begins its next operation when the last has ended.

use crate::Result;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

/// The body of one task: it runs operations as long as [`Ops::next`] says so.
///
/// A whole loop and not one operation, so that clients are cloned once a task and nothing of the
/// harness but one load and one addition is measured.
pub trait Side: Fn(Ops) -> Self::Task {
    /// What the task does.
    type Task: Future<Output = Result> + Send + 'static;
}

impl<F: Fn(Ops) -> T, T: Future<Output = Result> + Send + 'static> Side for F {
    type Task = T;
}

/// Counts a task's operations, and says when it is time to stop.
#[derive(Debug)]
pub struct Ops {
    begun: u64,
    task: usize,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
}

impl Ops {
    /// Whether to begin one more operation. The one before counts as done.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator could not be asked across awaits as lightly"
    )]
    #[inline]
    pub fn next(&mut self) -> bool {
        let go = !self.shared.stop.load(Relaxed);
        self.begun += u64::from(go);
        go
    }

    /// The number of this task, from 0: for keys of its own.
    #[must_use]
    pub fn task(&self) -> usize {
        self.task
    }
}

impl Drop for Ops {
    fn drop(&mut self) {
        self.shared.done.fetch_add(self.begun, Relaxed);
    }
}

/// Operations a second of `tasks` tasks over `window`.
pub(crate) async fn throughput(side: &impl Side, tasks: usize, window: Duration) -> Result<f64> {
    let shared = Arc::new(Shared::default());
    let mut running = JoinSet::new();
    let start = Instant::now();
    for task in 0..tasks {
        running.spawn(side(Ops { begun: 0, task, shared: Arc::clone(&shared) }));
    }
    tokio::select! {
        () = tokio::time::sleep(window) => {}
        // No task ends before it is told to, but by an error.
        Some(ended) = running.join_next() => {
            ended??;
            return Err("a task ended before its time".into());
        }
    }
    shared.stop.store(true, Relaxed);
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(shared.done.load(Relaxed) as f64 / start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_operation_of_every_task_counts() {
        let counted = Arc::new(AtomicU64::new(0));
        let side = |mut ops: Ops| {
            let counted = Arc::clone(&counted);
            async move {
                while ops.next() {
                    counted.fetch_add(1, Relaxed);
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
        };
        let start = Instant::now();
        let rate = throughput(&side, 8, Duration::from_millis(50)).await.unwrap();
        let most = counted.load(Relaxed) as f64 / 0.05;
        let least = counted.load(Relaxed) as f64 / start.elapsed().as_secs_f64();
        assert!(least <= rate && rate <= most, "{least} {rate} {most}");
    }

    #[tokio::test]
    async fn a_failed_operation_ends_the_benchmark() {
        let side = |_: Ops| async { Err("no".into()) };
        assert!(throughput(&side, 2, Duration::from_secs(60)).await.is_err());
    }
}
