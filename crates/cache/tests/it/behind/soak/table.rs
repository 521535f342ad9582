//! The database, and what is found in it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use russet_cache::{Batch, Change, CommitError, Committed, Op, Sink};
use serde::{Deserialize, Serialize};

/// Each field has the number of the write that set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) c: u64,
}

pub(crate) const FIELDS: [&str; 3] = ["a", "b", "c"];

#[derive(Debug, Clone)]
pub(crate) struct Table {
    connection: Arc<Mutex<Connection>>,
    /// As long as this file is not there, some entities are poison.
    healed: PathBuf,
}

fn open(file: &Path) -> Connection {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(20)).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "NORMAL").unwrap();
    connection
}

pub(crate) fn create(file: &Path) {
    let tables = "CREATE TABLE rows (key INTEGER PRIMARY KEY, version INTEGER, gone INTEGER, a INTEGER, b INTEGER, c INTEGER);
         CREATE TABLE seen (id INTEGER PRIMARY KEY, key INTEGER, version INTEGER, lane INTEGER, fence INTEGER, again INTEGER, \
         applied INTEGER, process INTEGER);";
    open(file).execute_batch(tables).unwrap();
}

impl Table {
    pub(crate) fn open(folder: &Path) -> Self {
        let connection = Arc::new(Mutex::new(open(&folder.join("db"))));
        Self { connection, healed: folder.join("healed") }
    }
}

/// Until it is healed.
pub(crate) fn is_poison(key: u64) -> bool {
    key % 17 == 3
}

impl Sink<u64, Row> for Table {
    async fn commit(&self, batch: Batch<'_, u64, Row>) -> Result<Committed, CommitError> {
        let (this, changes) = (self.clone(), batch.changes.to_vec());
        let (lane, fence) = (batch.lane, batch.fence);
        let committing = tokio::task::spawn_blocking(move || {
            let poison = changes.iter().any(|change| is_poison(change.key));
            if poison && !this.healed.exists() {
                return Err(CommitError::Failed("poison".into()));
            }
            let mut connection = this.connection.lock().unwrap();
            let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
            let tx = tx.map_err(CommitError::away)?;
            for change in &changes {
                let applied = apply(&tx, change)?;
                tx.execute(
                    "INSERT INTO seen (key, version, lane, fence, again, applied, process) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    params![change.key, change.version, lane, fence, change.redelivered, applied, std::process::id()],
                )?;
            }
            tx.commit()?;
            Ok(Committed::all())
        });
        committing.await?
    }
}

/// Whether it was newer.
fn apply(tx: &Transaction<'_>, change: &Change<u64, Row>) -> rusqlite::Result<bool> {
    let (key, version) = (change.key, change.version);
    let kept = "SELECT version FROM rows WHERE key = ?";
    let kept: Option<u64> = tx.query_row(kept, [key], |row| row.get(0)).optional()?;
    if kept.is_some_and(|kept| kept >= version) {
        return Ok(false);
    }
    tx.execute("INSERT OR IGNORE INTO rows VALUES (?, 0, 1, 0, 0, 0)", [key])?;
    tx.execute("UPDATE rows SET version = ?2 WHERE key = ?1", [key, version])?;
    match &change.op {
        Op::Put(Row { a, b, c }) => {
            let put = "UPDATE rows SET gone = 0, a = ?2, b = ?3, c = ?4 WHERE key = ?1";
            tx.execute(put, [key, *a, *b, *c])?;
        }
        Op::Patch(patch) => {
            for field in patch.names() {
                let value: u64 = patch.field(field).unwrap().unwrap();
                tx.execute(&format!("UPDATE rows SET {field} = ?2 WHERE key = ?1"), [key, value])?;
            }
        }
        Op::Delete => {
            tx.execute("UPDATE rows SET gone = 1 WHERE key = ?1", [key])?;
        }
    }
    Ok(true)
}

/// How many lanes each process has committed last, the fewest first.
pub(crate) fn shares(file: &Path) -> Vec<u64> {
    let last = "SELECT COUNT(*) FROM (SELECT process, MAX(id) FROM seen GROUP BY lane) GROUP BY process ORDER BY 1";
    let connection = open(file);
    let mut last = connection.prepare(last).unwrap();
    last.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Given once more, and told so.
    pub(crate) repeated: u64,
    /// By one whose lane had another owner by then.
    pub(crate) late: u64,
    given: u64,
}

/// Each entity is what its writes may have made of it, and each of its versions came in order; what came once more was told
/// so, or came from one who was not the owner any more.
pub(crate) fn judge(file: &Path, possible: &HashMap<u64, Vec<Option<Row>>>) -> Found {
    let connection = open(file);
    let mut rows = connection.prepare("SELECT key, gone, a, b, c FROM rows").unwrap();
    let rows = rows.query_map([], |row| {
        let fields = Row { a: row.get(2)?, b: row.get(3)?, c: row.get(4)? };
        Ok((row.get::<_, u64>(0)?, (!row.get::<_, bool>(1)?).then_some(fields)))
    });
    let rows: HashMap<u64, Option<Row>> = rows.unwrap().map(Result::unwrap).collect();
    for (key, possible) in possible {
        let row = rows.get(key).copied().flatten();
        assert!(possible.contains(&row), "{key} is {row:?}, and may be {possible:?}");
    }
    let mut found = Found::default();
    let (mut versions, mut fences) = (HashMap::<u64, u64>::new(), HashMap::<u64, u64>::new());
    let seen = "SELECT key, version, lane, fence, again, applied FROM seen ORDER BY id";
    let mut seen = connection.prepare(seen).unwrap();
    let mut seen = seen.query([]).unwrap();
    while let Some(row) = seen.next().unwrap() {
        let number = |at: usize| row.get::<_, u64>(at).unwrap();
        let (key, version, fence) = (number(0), number(1), number(3));
        let (again, applied) = (number(4) == 1, number(5) == 1);
        let newest = versions.entry(key).or_default();
        let owner = fences.entry(number(2)).or_default();
        let late = fence < *owner;
        *owner = fence.max(*owner);
        assert_eq!(applied, version > *newest);
        assert!(version >= *newest || late, "{key}: {version} after {newest} by the owner");
        assert!(version > *newest || again || late, "{key}: {version} came once more");
        *newest = version.max(*newest);
        found.given += 1;
        found.repeated += u64::from(again);
        found.late += u64::from(late);
    }
    found
}
