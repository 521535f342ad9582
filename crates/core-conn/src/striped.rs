//! Values kept once for each of a few threads.

use std::array;
use std::cell::Cell;
use std::ops::Deref;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

const STRIPES: usize = 16;

/// A value for each thread, or for each sixteenth: what all threads write all the time, they write faster apart, because
/// a core that writes takes the memory around it away from all others. For counters that are written with every call
/// and summed up now and then.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use russet_core_conn::Striped;
///
/// let calls: Striped<AtomicU64> = Striped::default();
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| calls.mine().fetch_add(1, Relaxed));
///     }
/// });
/// assert_eq!(calls.all().map(|count| count.load(Relaxed)).sum::<u64>(), 4);
/// ```
#[derive(Debug)]
pub struct Striped<T>([Apart<T>; STRIPES]);

impl<T> Striped<T> {
    /// The value of this thread, and of one thread in sixteen.
    #[inline]
    pub fn mine(&self) -> &T {
        &self.0[thread() % STRIPES]
    }

    /// The values of all threads.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(Deref::deref)
    }
}

impl<T: Default> Default for Striped<T> {
    fn default() -> Self {
        Self(array::from_fn(|_| Apart(T::default())))
    }
}

/// A value that shares its cache lines with none: also not with the next, which many processors fetch together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

impl<T> Deref for Apart<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The number of this thread, in the order in which they first asked.
#[inline]
pub(crate) fn thread() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static THREAD: Cell<usize> = Cell::new(THREADS.fetch_add(1, Relaxed)));
    THREAD.get()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn nothing_that_any_thread_counted_is_left_out() {
        let calls: Striped<AtomicU64> = Striped::default();
        std::thread::scope(|scope| {
            for _ in 0..3 * STRIPES {
                scope.spawn(|| calls.mine().fetch_add(1, Relaxed));
            }
        });
        assert_eq!(calls.all().map(|count| count.load(Relaxed)).sum::<u64>(), 3 * STRIPES as u64);
    }
}
