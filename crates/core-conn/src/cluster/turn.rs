//! Whose turn it is.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// Goes round among however many there are.
#[derive(Debug, Default)]
pub(crate) struct Turn(AtomicUsize);

impl Turn {
    /// All of them, each once, beginning with another one than the last time.
    pub(crate) fn among<'a, T>(&self, all: &'a [T]) -> impl Iterator<Item = &'a T> + use<'a, T> {
        let first = self.0.fetch_add(1, Relaxed);
        (0..all.len()).map(move |offset| &all[first.wrapping_add(offset) % all.len()])
    }
}
