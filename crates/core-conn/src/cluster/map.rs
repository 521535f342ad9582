//! Which node serves which slot.

use std::sync::Arc;

use super::listing::Listed;
use super::member::Member;
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
        Self { epoch: 0, serves: true, seats: Vec::new(), slots }
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
                follows(listed, other) && other.state == super::Standing::Up
            });
            places.map(|(place, _)| place_of(place)).collect()
        };
        let seats = members.iter().map(|(member, listed)| Seat {
            member: member.clone(),
            listed: Some(Arc::new(listed.clone())),
            replicas: replicas(listed),
        });
        map.seats = seats.collect();
        map
    }

    /// The same, but that this member serves the slot.
    pub(super) fn with(&self, slot: u16, member: &Arc<Member>) -> Self {
        let mut map = self.clone();
        let known = map.seats.iter().position(|seat| Arc::ptr_eq(&seat.member, member));
        let place = known.unwrap_or_else(|| {
            let seat = Seat { member: member.clone(), listed: None, replicas: Vec::new() };
            map.seats.push(seat);
            map.seats.len() - 1
        });
        map.slots[usize::from(slot)] = place_of(place);
        map
    }

    /// The primary of a slot.
    #[inline]
    pub(crate) fn owner(&self, slot: u16) -> Option<&Seat> {
        self.seats.get(usize::from(self.slots[usize::from(slot)]))
    }

    pub(crate) fn replicas<'a>(
        &'a self,
        seat: &'a Seat,
    ) -> impl ExactSizeIterator<Item = &'a Arc<Member>> {
        seat.replicas.iter().map(|&place| &self.seats[usize::from(place)].member)
    }

    pub(super) fn find(&self, place: &str) -> Option<&Arc<Member>> {
        self.members().find(|member| *member.place == *place)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.seats.iter().map(|seat| &seat.member)
    }

    /// The members that serve slots.
    pub(crate) fn owners(&self) -> impl Iterator<Item = &Arc<Member>> {
        let mut serves = vec![false; self.seats.len()];
        for &place in self.slots.iter().filter(|&&place| place != NOBODY) {
            serves[usize::from(place)] = true;
        }
        self.members().zip(serves).filter(|(_, serves)| *serves).map(|(member, _)| member)
    }

    /// Whether each slot has an owner.
    pub(super) fn is_whole(&self) -> bool {
        !self.slots.contains(&NOBODY)
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
