//! What writes that were acknowledged are worth, by a ledger of them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};

use russet_core_conn::{Cmd, Key, Redis, SendOutcome};
use russet_testkit::Server;
use tokio::task::JoinSet;

use crate::support::ms;

/// Of each durability.
pub(crate) const TASKS: usize = 8;

/// The writes of one durability.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) acknowledged: Vec<String>,
    pub(crate) unknown: u64,
    pub(crate) not_sent: u64,
    /// Of the acknowledged ones, those that the last primary has not.
    pub(crate) lost: u64,
}

impl Ledger {
    /// Acknowledged, unknown, lost.
    pub(crate) fn summary(&self) -> (usize, u64, u64) {
        (self.acknowledged.len(), self.unknown, self.lost)
    }
}

/// Their tasks, and how many of their writes were acknowledged.
pub(crate) fn writers(
    redis: &Redis,
    set: &'static str,
    over: &Arc<AtomicBool>,
) -> (JoinSet<Ledger>, Arc<AtomicU64>) {
    let mut tasks = JoinSet::new();
    let acknowledged = Arc::new(AtomicU64::new(0));
    for task in 0..TASKS {
        let (redis, over, acknowledged) = (redis.clone(), over.clone(), acknowledged.clone());
        tasks.spawn(async move {
            let mut ledger = Ledger::default();
            for turn in 0.. {
                if over.load(SeqCst) {
                    break;
                }
                let member = format!("{task}:{turn}");
                let add = Cmd::write("SADD").key(&Key::raw(set)).arg(&member);
                match redis.run::<i64>(add).await {
                    Ok(added) => {
                        assert_eq!(added, 1, "{member} was added twice");
                        ledger.acknowledged.push(member);
                        acknowledged.fetch_add(1, SeqCst);
                    }
                    Err(error) => match error.outcome() {
                        SendOutcome::Unknown => ledger.unknown += 1,
                        SendOutcome::NotSent | SendOutcome::Rejected => ledger.not_sent += 1,
                    },
                }
                // Enough to be in flight at any moment, and few enough that a ledger of minutes is small.
                tokio::time::sleep(ms(2)).await;
            }
            ledger
        });
    }
    (tasks, acknowledged)
}

/// All ledgers of one durability, held against what the primary has.
pub(crate) async fn settled(mut tasks: JoinSet<Ledger>, primary: &Server, set: &str) -> Ledger {
    let mut all = Ledger::default();
    while let Some(ledger) = tasks.join_next().await {
        let ledger = ledger.unwrap();
        all.acknowledged.extend(ledger.acknowledged);
        all.unknown += ledger.unknown;
        all.not_sent += ledger.not_sent;
    }
    let mut conn = primary.conn().await.unwrap();
    let members = conn.call(&["SMEMBERS", set]).await.unwrap();
    let members: HashSet<&str> =
        members.items().unwrap().iter().filter_map(|member| member.text()).collect();
    let lost = all.acknowledged.iter().filter(|member| !members.contains(member.as_str())).count();
    all.lost = lost as u64;
    all
}
