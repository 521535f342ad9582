//! Which node serves which slot.

use std::sync::Arc;

use super::listing::Listed;
use super::member::Member;
use super::turn::Turn;
use crate::info::Role;
use crate::keyspace::SLOTS;

/// The cluster as it was last heard of. Each change makes another map.
#[derive(Debug, Clone)]
pub(crate) struct Map {
    pub(crate) epoch: u64,
    /// Whether the cluster takes calls.
    pub(crate) serves: bool,
    pub(crate) seats: Vec<Seat>,
    /// For each slot the place of its primary among the seats, or [`NOBODY`].
    slots: Box<[u16]>,
    /// The members that serve slots.
    owners: Vec<Arc<Member>>,
}

/// A node's place in the map.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) member: Arc<Member>,
    /// What was said of it; `None` for one that only a redirection has named.
    pub(crate) listed: Option<Arc<Listed>>,
    /// The places of its replicas that can be read from.
    replicas: Vec<u16>,
}

const NOBODY: u16 = u16::MAX;

impl Map {
    pub(super) fn empty() -> Self {
        let slots = vec![NOBODY; usize::from(SLOTS)].into();
        Self { epoch: 0, serves: true, seats: Vec::new(), slots, owners: Vec::new() }
    }

    /// `members`: of each listed node, in the same order.
    pub(super) fn new(epoch: u64, serves: bool, members: &[(Arc<Member>, Listed)]) -> Self {
        let mut map = Self { epoch, serves, ..Self::empty() };
        for (place, (_, listed)) in members.iter().enumerate() {
            for slot in listed.slots.iter().cloned().flatten().filter(|&slot| slot < SLOTS) {
                map.slots[usize::from(slot)] = place_of(place);
            }
        }
        let follows = |listed: &Listed, other: &Listed| {
            other.role == Role::Replica && other.follows.as_ref() == Some(&listed.id)
        };
        let replicas = |listed: &Listed| {
            let places = members.iter().enumerate().filter(|(_, (_, other))| {
                follows(listed, other) && other.state != super::Standing::Failed
            });
            places.map(|(place, _)| place_of(place)).collect()
        };
        let seats = members.iter().map(|(member, listed)| Seat {
            member: member.clone(),
            listed: Some(Arc::new(listed.clone())),
            replicas: replicas(listed),
        });
        map.seats = seats.collect();
        map.count_owners();
        map
    }

    /// The same, but that this member is there, and serves the slot if one is given.
    pub(super) fn with(&self, slot: Option<u16>, member: &Arc<Member>) -> Self {
        let mut map = self.clone();
        let known = map.seats.iter().position(|seat| Arc::ptr_eq(&seat.member, member));
        let place = known.unwrap_or_else(|| {
            let seat = Seat { member: member.clone(), listed: None, replicas: Vec::new() };
            map.seats.push(seat);
            map.seats.len() - 1
        });
        if let Some(slot) = slot {
            map.slots[usize::from(slot)] = place_of(place);
            map.count_owners();
        }
        map
    }

    fn count_owners(&mut self) {
        let mut serves = vec![false; self.seats.len()];
        for &place in self.slots.iter().filter(|&&place| place != NOBODY) {
            serves[usize::from(place)] = true;
        }
        let owners = self.members().zip(serves).filter(|(_, serves)| *serves);
        self.owners = owners.map(|(member, _)| member.clone()).collect();
    }

    /// The primary of a slot.
    #[inline]
    pub(crate) fn owner(&self, slot: u16) -> Option<&Seat> {
        self.seats.get(usize::from(self.slots[usize::from(slot)]))
    }

    /// The replicas of a primary that can be read from, beginning with another one each time.
    pub(super) fn replicas<'a>(
        &'a self,
        seat: &'a Seat,
        turn: &Turn,
    ) -> impl Iterator<Item = &'a Arc<Member>> {
        turn.among(&seat.replicas).map(|&place| self.at(place))
    }

    fn at(&self, place: u16) -> &Arc<Member> {
        &self.seats[usize::from(place)].member
    }

    /// Each primary that has replicas, and these.
    pub(super) fn shards(&self) -> impl Iterator<Item = (&Arc<Member>, Vec<&Arc<Member>>)> {
        let shards = self.seats.iter().filter(|seat| !seat.replicas.is_empty());
        let all = |seat: &Seat| seat.replicas.iter().map(|&place| self.at(place)).collect();
        shards.map(move |seat| (&seat.member, all(seat)))
    }

    pub(super) fn find(&self, place: &str) -> Option<&Arc<Member>> {
        self.members().find(|member| *member.place == *place)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.seats.iter().map(|seat| &seat.member)
    }

    /// The members that serve slots.
    pub(crate) fn owners(&self) -> &[Arc<Member>] {
        &self.owners
    }

    /// What was said of this member.
    pub(super) fn listed(&self, member: &Arc<Member>) -> Option<&Arc<Listed>> {
        self.seats.iter().find(|seat| Arc::ptr_eq(&seat.member, member))?.listed.as_ref()
    }

    /// All that may hold keys.
    pub(crate) fn primaries(&self) -> impl Iterator<Item = &Arc<Member>> {
        let is_primary =
            |seat: &&Seat| seat.listed.as_ref().is_none_or(|listed| listed.role == Role::Primary);
        self.seats.iter().filter(is_primary).map(|seat| &seat.member)
    }

    /// A slot without an owner, if there is one.
    pub(super) fn unserved(&self) -> Option<u16> {
        let place = self.slots.iter().position(|&place| place == NOBODY)?;
        u16::try_from(place).ok()
    }

    /// How many slots have another owner than in `before`.
    pub(super) fn moved(&self, before: &Self) -> usize {
        let place = |map: &Self, slot: u16| map.owner(slot).map(|seat| seat.member.place.clone());
        (0..SLOTS).filter(|&slot| place(self, slot) != place(before, slot)).count()
    }
}

/// A cluster has at most as many nodes as slots.
fn place_of(place: usize) -> u16 {
    u16::try_from(place).unwrap_or(NOBODY)
}

#[cfg(test)]
mod tests;
