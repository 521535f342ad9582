//! How the map changes: by a redirection, or as a whole; what is told of it, and what becomes of nodes that have left.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;

use super::listing::{Listed, Listing};
use super::map::{Map, Seat};
use super::{Cluster, Member, Standing};
use crate::event::{Event, EventKind, Purpose};
use crate::info::Role;
use crate::target::Endpoint;

impl Cluster {
    /// A server says that another one is to be asked, and that the slot is its own if one is given. Answers by whom;
    /// `None` if that is no address.
    pub(super) fn redirect(
        self: &Arc<Self>,
        slot: Option<u16>,
        to: &str,
        from: &Endpoint,
    ) -> Option<Arc<Member>> {
        let endpoint = self.redirected(to, from)?;
        let changing = self.change();
        let map = self.map();
        let member = self.member(&endpoint, &map);
        let is_known = match slot {
            Some(slot) => map.owner(slot).is_some_and(|seat| Arc::ptr_eq(&seat.member, &member)),
            None => map.find(&member.place).is_some(),
        };
        if !is_known && !self.gate.is_closed() {
            self.map.store(Arc::new(map.with(slot, &member)));
            drop(changing);
            self.news.send_modify(|news| news.version += 1);
            self.start();
            self.mended.notify_one();
        }
        Some(member)
    }

    /// Takes over what a node said.
    pub(super) fn learn(self: &Arc<Self>, listing: Listing, from: &Endpoint) {
        let mut told = self.change();
        if self.gate.is_closed() {
            return;
        }
        let before = self.map();
        let mut members: Vec<(Arc<Member>, Listed)> = Vec::new();
        for listed in listing.nodes {
            let endpoint = self.endpoint(listed.host.as_deref(), listed.port, from);
            // A node that was wiped may stand there twice, by its old name and by its new one.
            let place = endpoint.to_string();
            let twin = members.iter().find(|(member, _)| *member.place == *place);
            let member = twin.map(|(member, _)| member.clone());
            members.push((member.unwrap_or_else(|| self.member(&endpoint, &before)), listed));
        }
        let map = Arc::new(Map::new(listing.epoch, listing.serves, &members));
        self.map.store(map.clone());
        for (member, listed) in &members {
            let was = before.listed(member).and_then(|was| was.follows.as_ref());
            if was != listed.follows.as_ref() {
                member.abreast.reset();
            }
        }
        let last = std::mem::replace(&mut *told, map.clone());
        for member in map.owners() {
            member.calls.start();
        }
        drop(told);
        self.tell(&last, &map);
        let gone = before.members().filter(|member| map.find(&member.place).is_none());
        gone.for_each(|member| self.dismiss(member));
        self.news.send_modify(|news| news.version += 1);
    }

    /// The member of this address.
    fn member(&self, endpoint: &Endpoint, map: &Map) -> Arc<Member> {
        match map.find(&endpoint.to_string()) {
            Some(member) => member.clone(),
            None => Member::new(endpoint.clone(), &self.settings, &self.announcer),
        }
    }

    /// Ends the connections to a member when its last call is answered.
    fn dismiss(self: &Arc<Self>, member: &Arc<Member>) {
        self.leaving().push(member.clone());
        let (cluster, member) = (self.clone(), member.clone());
        tokio::spawn(async move {
            let deadline = Instant::now() + crate::builder::DAY;
            let drained = join_all(member.nodes().map(|node| node.drain(deadline)));
            tokio::select! {
                _ = drained => {}
                () = cluster.ended.cancelled() => member.nodes().for_each(|node| node.end()),
            }
            cluster.leaving().retain(|other| !Arc::ptr_eq(other, &member));
        });
    }

    /// Where a node is, by what is said of it to whoever asked `from`.
    fn endpoint(&self, host: Option<&str>, port: u16, from: &Endpoint) -> Endpoint {
        let host = host.map_or_else(|| from.host().to_owned(), str::to_owned);
        let announced = Endpoint::place(&host, port);
        let translated = self.sites.translated.iter().find(|(given, _)| *given == announced);
        from.elsewhere(translated.map_or((host, port), |(_, place)| place.clone()))
    }

    /// The same of a redirection: `host:port`, or `:port` where whoever was asked is.
    fn redirected(&self, to: &str, from: &Endpoint) -> Option<Endpoint> {
        let (host, port) = to.rsplit_once(':')?;
        let host = Some(host).filter(|host| !host.is_empty() && *host != "?");
        Some(self.endpoint(host, port.parse().ok()?, from))
    }

    /// What has changed, as events.
    fn tell(&self, before: &Map, now: &Map) {
        for seat in &now.seats {
            let place = &seat.member.place;
            let was = before.seats.iter().find(|old| old.member.place == *place);
            match (was.and_then(|was| was.listed.as_ref()), &seat.listed) {
                (None, Some(_)) => self.announce(place, EventKind::NodeAdded),
                (Some(was), Some(is)) if was.role != is.role => {
                    let promoted = is.role == Role::Primary;
                    let kind = if promoted { EventKind::Promoted } else { EventKind::Demoted };
                    self.announce(place, kind);
                }
                _ => {}
            }
            let is_down = |seat: &Seat| {
                seat.listed.as_ref().is_some_and(|listed| listed.state == Standing::Failed)
            };
            match (was.is_some_and(is_down), is_down(seat)) {
                (false, true) => self.announce(place, EventKind::Down),
                (true, false) => self.announce(place, EventKind::Up),
                _ => {}
            }
        }
        let gone = before.seats.iter().filter(|seat| now.find(&seat.member.place).is_none());
        for seat in gone.filter(|seat| seat.listed.is_some()) {
            self.announce(&seat.member.place, EventKind::NodeRemoved);
        }
        let slots = now.moved(before);
        if slots > 0 {
            self.announce(&self.name, EventKind::SlotsMoved { slots });
        }
        self.announce(&self.name, EventKind::MapRefreshed { epoch: now.epoch });
    }

    fn announce(&self, node: &Arc<str>, kind: EventKind) {
        let (node, purpose) = (node.clone(), Purpose::Topology);
        self.announcer.announce(Event { node, purpose, connection: 0, generation: 0, kind });
    }
}
