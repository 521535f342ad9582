use std::sync::Arc;
use std::time::Duration;

use super::slot::SLOTS;
use super::{Cluster, Member, View};
use crate::{Conn, Error, Reply, Result, Server};

/// How many slots are worked on in one pipeline.
const SLOTS_AT_ONCE: usize = 256;

/// How many keys of a slot are moved by one command, which blocks both servers.
const KEYS_AT_ONCE: &str = "100";

/// How long one pipeline may take.
const PIPELINE: Duration = Duration::from_secs(10);

/// How long one MIGRATE may take, in milliseconds.
const MIGRATE: &str = "5000";

impl Cluster {
    /// Moves slots with their keys from one primary to another, step by step as `redis-cli` does, and waits until every
    /// living node sees it. Returns how many keys were moved.
    ///
    /// Meanwhile clients meet ASK, MOVED and, for several keys at once, TRYAGAIN.
    ///
    /// # Errors
    /// As [`Cluster::open_slots`], [`OpenSlots::move_keys`] and [`OpenSlots::assign`].
    pub async fn reshard(
        &self,
        slots: impl IntoIterator<Item = u16>,
        from: &Server,
        to: &Server,
    ) -> Result<u64> {
        let open = self.open_slots(slots, from, to).await?;
        let moved = open.move_keys().await?;
        open.assign().await?;
        Ok(moved)
    }

    /// Begins to move slots from one primary to another, and holds them open: no key is moved, no slot changes hands
    /// before the value that is returned says so.
    ///
    /// # Errors
    /// [`Error::Config`] about slots that `from` does not own, or a node that is none of this cluster's;
    /// [`Error::Refused`] if a server does not want to.
    pub async fn open_slots(
        &self,
        slots: impl IntoIterator<Item = u16>,
        from: &Server,
        to: &Server,
    ) -> Result<OpenSlots<'_>> {
        let slots: Vec<u16> = slots.into_iter().collect();
        let (from, to) = self.parties(&slots, from, to).await?;
        let open = OpenSlots { cluster: self, slots, from, to };
        // The target first: else it would send away those whom the source sends to it.
        open.set(&open.to, &["IMPORTING", &open.from.id]).await?;
        open.set(&open.from, &["MIGRATING", &open.to.id]).await?;
        Ok(open)
    }

    /// Who gives and who takes slots.
    pub(super) async fn parties(
        &self,
        slots: &[u16],
        from: &Server,
        to: &Server,
    ) -> Result<(Member, Member)> {
        let (from, to) = (self.member(from)?, self.member(to)?);
        let wrong = |field, reason: String| Err(Error::Config { field, reason });
        if from.id == to.id {
            return wrong("to", "it is the node that the slots come from".to_owned());
        }
        if slots.is_empty() {
            return wrong("slots", "there are none".to_owned());
        }
        let view = View::of(&from.server).await?;
        let owned = |slot: u16| view.owner(slot).is_some_and(|owner| owner.id == from.id);
        match slots.iter().find(|slot| !owned(**slot)) {
            Some(slot) if *slot < SLOTS => {
                wrong("slots", format!("{} does not own {slot}", from.server.port()))
            }
            Some(slot) => wrong("slots", format!("{slot} is none; there are {SLOTS}")),
            None => Ok((from, to)),
        }
    }
}

/// Slots that are open between two primaries; made by [`Cluster::open_slots`].
///
/// The source answers for the keys that it still has, and sends clients on with ASK for all others. The slots stay open
/// for as long as a test likes, also after this value is dropped: [`OpenSlots::assign`] closes them.
///
/// ```no_run
/// # async fn run() -> russet_testkit::Result<()> {
/// use russet_testkit::{Cluster, slot_of};
///
/// let cluster = Cluster::start(3, 0).await?;
/// let (from, to) = (cluster.primary_of(0).await?, cluster.primary_of(16_383).await?);
/// let open = cluster.open_slots(0..=99, &from, &to).await?;
/// // Keys that are there: answered by `from`. New ones: ASK.
/// open.move_keys().await?;
/// // All keys: ASK.
/// open.assign().await?;
/// // All keys: MOVED.
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "the slots stay open until they are assigned"]
pub struct OpenSlots<'a> {
    cluster: &'a Cluster,
    slots: Vec<u16>,
    from: Member,
    to: Member,
}

impl OpenSlots<'_> {
    /// The slots.
    #[must_use]
    pub fn slots(&self) -> &[u16] {
        &self.slots
    }

    /// Who gives them away.
    #[must_use]
    pub fn from(&self) -> &Arc<Server> {
        &self.from.server
    }

    /// Who is to have them.
    #[must_use]
    pub fn to(&self) -> &Arc<Server> {
        &self.to.server
    }

    /// Moves one key, so that its slot is here and there; false if the source does not have it.
    ///
    /// # Errors
    /// [`Error::Refused`] with the server's reason.
    pub async fn move_key(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        let reply = self.source().await?.demand(&self.migrate(&[key.as_ref()])).await?;
        Ok(reply.is_ok())
    }

    /// Moves all keys of the slots that the source has, and returns how many. The slots stay with the source.
    ///
    /// # Errors
    /// [`Error::Refused`] with the server's reason, for example that the target does not answer; what was moved before
    /// stays moved.
    pub async fn move_keys(&self) -> Result<u64> {
        let mut conn = self.source().await?;
        let mut moved = 0;
        for slots in self.slots.chunks(SLOTS_AT_ONCE) {
            loop {
                let lists = slots.iter().map(|slot| {
                    ["CLUSTER", "GETKEYSINSLOT", &slot.to_string(), KEYS_AT_ONCE].map(str::to_owned)
                });
                let lists = conn.demand_all(&lists.collect::<Vec<_>>()).await?;
                let keys = lists.iter().map(|list| {
                    let keys = list.items().unwrap_or_default().iter();
                    keys.filter_map(Reply::bytes).collect::<Vec<_>>()
                });
                let keys: Vec<_> = keys.filter(|keys| !keys.is_empty()).collect();
                if keys.is_empty() {
                    break;
                }
                moved += keys.iter().map(|keys| keys.len() as u64).sum::<u64>();
                let moves: Vec<_> = keys.iter().map(|keys| self.migrate(keys)).collect();
                conn.demand_all(&moves).await?;
            }
        }
        Ok(moved)
    }

    /// Gives the slots to the target, and waits until every living node sees it.
    ///
    /// # Errors
    /// [`Error::Config`] if the source still has keys of them, which nobody would find any more; then nothing was done.
    /// [`Error::Refused`], [`Error::NotReached`].
    pub async fn assign(self) -> Result<()> {
        self.check_empty().await?;
        // The target first: if it died before it knew, nobody would own them.
        self.set(&self.to, &["NODE", &self.to.id]).await?;
        self.set(&self.from, &["NODE", &self.to.id]).await?;
        for member in self.cluster.living() {
            let party = member.id == self.from.id || member.id == self.to.id;
            // Replicas learn it from their primaries.
            let view = View::of(&member.server).await?;
            if !party && view.node(&member.id).is_some_and(super::NodeView::is_primary) {
                self.set(&member, &["NODE", &self.to.id]).await?;
            }
        }
        let what = format!("{} as the primary of the slots", self.to.server.port());
        self.cluster.agreed(&self.slots, Some(&self.to), &what).await.map(drop)
    }

    async fn check_empty(&self) -> Result<()> {
        let mut conn = self.source().await?;
        for slots in self.slots.chunks(SLOTS_AT_ONCE) {
            let counts = slots
                .iter()
                .map(|slot| ["CLUSTER", "COUNTKEYSINSLOT", &slot.to_string()].map(str::to_owned));
            let counts = conn.demand_all(&counts.collect::<Vec<_>>()).await?;
            let full = slots.iter().zip(&counts).find(|(_, count)| count.int() != Some(0));
            if let Some((slot, _)) = full {
                let reason = format!("keys of {slot} are still at the source; move them first");
                return Err(Error::Config { field: "slots", reason });
            }
        }
        Ok(())
    }

    /// `CLUSTER SETSLOT` for each slot.
    async fn set(&self, node: &Member, how: &[&str]) -> Result<()> {
        let mut conn = node.server.conn().await?.with_deadline(PIPELINE);
        for slots in self.slots.chunks(SLOTS_AT_ONCE) {
            let commands = slots.iter().map(|slot| {
                let slot = slot.to_string();
                let words = ["CLUSTER", "SETSLOT", &slot].into_iter().chain(how.iter().copied());
                words.map(str::to_owned).collect::<Vec<_>>()
            });
            conn.demand_all(&commands.collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    async fn source(&self) -> Result<Conn> {
        Ok(self.from.server.conn().await?.with_deadline(PIPELINE))
    }

    /// `MIGRATE` of keys of one slot.
    fn migrate<'k>(&'k self, keys: &[&'k [u8]]) -> Vec<Vec<u8>> {
        let port = self.to.server.port().to_string();
        let mut words: Vec<&[u8]> =
            [b"MIGRATE".as_slice(), b"127.0.0.1", port.as_bytes(), b"", b"0", MIGRATE.as_bytes()]
                .into();
        if let Some(password) = self.cluster.node.secret() {
            words.extend([b"AUTH", password.0.as_bytes()]);
        }
        words.push(b"KEYS");
        words.extend(keys);
        words.into_iter().map(<[u8]>::to_vec).collect()
    }
}
