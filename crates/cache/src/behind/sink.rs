//! Where writes go in the end.

use std::fmt;

use super::change::Change;

/// Where the writes of one sort of entity are committed: a database, another service.
///
/// ```
/// use russet_cache::{Batch, CommitError, Committed, Op, Sink};
/// # struct Pool;
/// # struct Transaction;
/// # impl Pool { async fn begin(&self) -> Result<Transaction, std::io::Error> { Ok(Transaction) } }
/// # impl Transaction {
/// #     async fn execute(&mut self, _: &str, _: (u64, u32, u64)) -> Result<u64, std::io::Error> { Ok(1) }
/// #     async fn commit(self) -> Result<(), std::io::Error> { Ok(()) }
/// # }
///
/// struct Orders(Pool);
///
/// impl Sink<u64, u32> for Orders {
///     async fn commit(&self, batch: Batch<'_, u64, u32>) -> Result<Committed, CommitError> {
///         // That the database is away is nobody's fault: tried again until it is back.
///         let mut tx = self.0.begin().await.map_err(CommitError::away)?;
///         for change in batch.changes {
///             let (id, version) = (change.key, change.version);
///             match &change.op {
///                 Op::Put(cents) => tx.execute(
///                     "INSERT INTO orders (id, cents, version) VALUES (?1, ?2, ?3)
///                      ON CONFLICT (id) DO UPDATE SET cents = ?2, version = ?3, gone = FALSE WHERE version < ?3",
///                     (id, *cents, version),
///                 ),
///                 Op::Patch(_) => tx.execute("UPDATE … WHERE id = ?1 AND version < ?3", (id, 0, version)),
///                 Op::Delete => tx.execute(
///                     "UPDATE orders SET gone = TRUE, version = ?3 WHERE id = ?1 AND version < ?3",
///                     (id, 0, version),
///                 ),
///             }
///             .await?;
///         }
///         tx.commit().await?;
///         Ok(Committed::all())
///     }
/// }
/// ```
///
/// # What it must do
/// - **Commit only what is newer**: write an entity where the version that is there is lower than the change's, and keep
///   that version with it. A process that is stopped with a batch in its hands and wakes after another has gone on would
///   else write what is old; and a batch that was committed by one who died before saying so comes again.
/// - **All of a batch or none of it**, in one transaction; or say which entities it did not commit.
/// - **Bear being dropped** where it waits: so it ends when its lease is lost, when it takes longer than
///   [`commit_timeout`](crate::WriteBehindBuilder::commit_timeout), and with the program. What it had committed then comes
///   again, [told so](Change::redelivered).
pub trait Sink<K, V>: Send + Sync + 'static {
    /// Commits these changes, of as many entities as there are.
    ///
    /// An error of any type becomes a [`CommitError::Failed`] by `?`. A panic counts as one.
    fn commit(
        &self,
        batch: Batch<'_, K, V>,
    ) -> impl Future<Output = Result<Committed, CommitError>> + Send;
}

/// What is to be committed at once.
#[derive(Debug)]
#[non_exhaustive]
pub struct Batch<'a, K, V> {
    /// Each of another entity.
    pub changes: &'a [Change<K, V>],
    /// The lane that they are in, 0 to 15: it is always the same one for an entity.
    pub lane: u16,
    /// The fencing number of the lane's owner: whoever owned it before had a lower one. Where an entity has no place to
    /// keep a version in, keep the highest number by lane, and commit nothing that comes with a lower one.
    pub fence: u64,
}

/// What was committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "it is what `Sink::commit` answers"]
pub struct Committed {
    pub(super) except: Vec<(usize, String)>,
}

impl Committed {
    /// All of it, or it was there already, or something newer is.
    pub fn all() -> Self {
        Self::default()
    }

    /// All but the change of this index, for this reason. That one is tried again by itself, later.
    pub fn except(mut self, index: usize, reason: impl fmt::Display) -> Self {
        self.except.push((index, reason.to_string()));
        self
    }
}

/// Why nothing was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitError {
    /// Whoever commits is away. No entity is to blame: all are tried again, later, for as long as it takes.
    Away(String),
    /// Something in the batch can't be committed. It is halved, until that stands alone.
    Failed(String),
}

impl CommitError {
    /// [`Away`](Self::Away), by the error that tells so.
    pub fn away(error: impl fmt::Display) -> Self {
        Self::Away(error.to_string())
    }
}

impl<E: std::error::Error> From<E> for CommitError {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}
