//! Who is always admitted, and who never is.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use arc_swap::ArcSwapOption;
use russet_core_conn::{Canonical, Segments};

/// Subjects of a limit that are always admitted, or never: kept in this process, and decided there. They can be changed
/// at any time, each change copies the lists, so they are for hundreds of subjects, not for millions.
#[derive(Debug, Default)]
pub struct Lists {
    listed: ArcSwapOption<HashMap<Box<[u8]>, Listed>>,
    /// Whether there ever was anybody.
    used: AtomicBool,
}

/// On which list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    Allowed,
    Denied,
}

impl Lists {
    /// Always admits the subject, and spends nothing for it.
    pub fn allow(&self, subject: impl Segments) {
        self.put(&Canonical::of(&subject), Some(Listed::Allowed));
    }

    /// Never admits the subject: [`retry_after`](crate::Decision::retry_after) is `None`.
    pub fn deny(&self, subject: impl Segments) {
        self.put(&Canonical::of(&subject), Some(Listed::Denied));
    }

    /// Takes the subject off both lists.
    pub fn remove(&self, subject: impl Segments) {
        self.put(&Canonical::of(&subject), None);
    }

    #[inline]
    pub(crate) fn are_unused(&self) -> bool {
        !self.used.load(Acquire)
    }

    #[inline]
    pub(crate) fn find(&self, subject: &Canonical) -> Option<Listed> {
        self.listed.load().as_ref()?.get(subject.as_bytes()).copied()
    }

    fn put(&self, subject: &Canonical, on: Option<Listed>) {
        self.used.store(true, Release);
        self.listed.rcu(|lists| {
            let mut lists = lists.as_deref().cloned().unwrap_or_default();
            match on {
                Some(on) => lists.insert(subject.as_bytes().into(), on),
                None => lists.remove(subject.as_bytes()),
            };
            (!lists.is_empty()).then(|| Arc::new(lists))
        });
    }
}
