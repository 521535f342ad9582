//! Fencing numbers.

use std::fmt;

/// A fencing number: each holder of a lease gets a higher one than all before it.
///
/// Hand it to the resource that the lease protects, and have the resource remember the highest it has seen and refuse
/// anything lower. That is what makes a lease safe: a holder that was paused past its end can't know so, the resource
/// can. In SQL, with the number as a `BIGINT`:
///
/// ```sql
/// UPDATE report SET body = $1, fence = $2 WHERE id = $3 AND fence <= $2   -- no row: refused
/// ```
///
/// It is `max(the one before + 1, the server's clock in µs)`, above zero and below 2⁵³, so that it is exact in every
/// `BIGINT`, in a double and in JSON. Numbers of different leases don't compare.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    pub(super) fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl From<Fence> for u64 {
    fn from(fence: Fence) -> Self {
        fence.0
    }
}

/// For databases, whose integers have a sign.
impl From<Fence> for i64 {
    fn from(fence: Fence) -> Self {
        // Below 2⁵³.
        fence.0.cast_signed()
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fence({})", self.0)
    }
}
