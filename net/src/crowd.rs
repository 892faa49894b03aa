//! Decides who may stay when more want to be served than there is room for. It is a pure procedure
//! over places and the groups that hold them. The caller hands in the time.
//!
//! A place belongs to groups: a peer, an owner, a network address. Each group has a limit of
//! places, and all groups together have one. When there is no room for a newcomer, one holder gives
//! way:
//!
//! 1. the holder with the least recent progress, if that is below a minimum;
//! 2. otherwise, if one group has at least two places more than the newcomer's group, the slowest
//!    holder of that group.
//!
//! If no holder gives way, the newcomer is refused and may try again later. The caller decides what
//! progress is: bytes of an upload, or requests and pieces of answers on a connection.

use std::{
    collections::BTreeMap,
    mem::discriminant,
    net::{IpAddr, Ipv6Addr},
};

use symbolon_protocol::id::{AccountId, PeerId};

/// The limits of a crowd.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Places of all groups together.
    pub places: usize,
    /// Places of one peer.
    pub of_peer: usize,
    /// Places of one account.
    pub of_owner: usize,
    /// Places of one network address.
    pub of_address: usize,
    /// Length of a window in milliseconds. Recent progress is the progress in the current window
    /// and in the one before. A new holder keeps its place for at least one window.
    pub window_ms: u64,
    /// A holder whose recent progress is below this gives way to a newcomer.
    pub keeps_from: u64,
}

/// One of the parties that a place counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// A peer that has proven its key.
    Peer(PeerId),
    /// An account that has issued the grant which the peer showed.
    Owner(AccountId),
    /// An IPv4 address, or the /64 prefix of an IPv6 address.
    Address(IpAddr),
}

impl Group {
    /// The group of a network address. A machine is usually given a whole /64 of IPv6 and can call
    /// from any address in it, so a /64 is one group.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        Self::Address(match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => IpAddr::V4(v4),
                None => {
                    let [a, b, c, d, ..] = v6.segments();
                    IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
                }
            },
        })
    }
}

/// A place, by a number that is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u64);

/// There is no room, and no holder gives way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// The groups of one place, and its progress.
#[derive(Debug)]
struct Holder {
    groups: Vec<Group>,
    meter: Meter,
}

/// All holders of places.
#[derive(Debug)]
pub struct Crowd {
    bounds: Bounds,
    next: u64,
    holders: BTreeMap<Place, Holder>,
    counts: BTreeMap<Group, usize>,
}

impl Crowd {
    /// A crowd without holders.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, next: 0, holders: BTreeMap::new(), counts: BTreeMap::new() }
    }

    /// Gives a newcomer a place. Also returns the places that were taken away for it; the caller
    /// must send their holders away.
    pub fn enter(&mut self, groups: &[Group], now_ms: u64) -> Result<(Place, Vec<Place>), NoRoom> {
        let mut leaving = Vec::new();
        for group in groups {
            if self.count(group) - leaving_of(&leaving, group, self) >= self.most(group) {
                let of_group = |holder: &Holder| holder.groups.contains(group);
                leaving.push(self.slowest(&leaving, of_group, now_ms, true).ok_or(NoRoom)?);
            }
        }
        if self.holders.len() - leaving.len() >= self.bounds.places {
            let all = |_: &Holder| true;
            let slowest = self.slowest(&leaving, all, now_ms, true);
            let slowest = slowest.or_else(|| self.of_largest(&leaving, groups, now_ms));
            leaving.push(slowest.ok_or(NoRoom)?);
        }
        for place in &leaving {
            self.leave(*place);
        }
        let place = Place(self.next);
        self.next += 1;
        for group in groups {
            *self.counts.entry(*group).or_default() += 1;
        }
        let meter = Meter::new(self.bounds.window_ms, now_ms);
        self.holders.insert(place, Holder { groups: groups.to_vec(), meter });
        Ok((place, leaving))
    }

    /// Counts progress of a holder. Does nothing if the place is already gone.
    pub fn achieved(&mut self, place: Place, amount: u64, now_ms: u64) {
        if let Some(holder) = self.holders.get_mut(&place) {
            holder.meter.add(amount, now_ms);
        }
    }

    /// Whether a holder's recent progress is below `least`. Never true in a holder's first two
    /// windows.
    #[must_use]
    pub fn is_slow(&self, place: Place, least: u64, now_ms: u64) -> bool {
        self.holders.get(&place).is_some_and(|holder| {
            holder.meter.age_ms(now_ms) >= 2 * self.bounds.window_ms
                && holder.meter.recent(now_ms) < least
        })
    }

    /// Frees a place. Does nothing if it is already gone.
    pub fn leave(&mut self, place: Place) {
        let Some(holder) = self.holders.remove(&place) else { return };
        for group in &holder.groups {
            if let Some(count) = self.counts.get_mut(group) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(group);
                }
            }
        }
    }

    /// The number of places that are taken.
    #[must_use]
    pub fn len(&self) -> usize {
        self.holders.len()
    }

    /// Whether no place is taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    fn count(&self, group: &Group) -> usize {
        self.counts.get(group).copied().unwrap_or(0)
    }

    fn most(&self, group: &Group) -> usize {
        match group {
            Group::Peer(_) => self.bounds.of_peer,
            Group::Owner(_) => self.bounds.of_owner,
            Group::Address(_) => self.bounds.of_address,
        }
    }

    /// The holder with the least recent progress; among equals the one whose last progress is
    /// oldest. With `yields`, only holders that must give way to a newcomer are considered.
    fn slowest(
        &self,
        leaving: &[Place],
        of: impl Fn(&Holder) -> bool,
        now_ms: u64,
        yields: bool,
    ) -> Option<Place> {
        let stays = |place: &Place| !leaving.contains(place);
        let candidates = self.holders.iter().filter(|(place, holder)| stays(place) && of(holder));
        let candidates = candidates.filter(|(_, holder)| !yields || self.yields(holder, now_ms));
        let slowest = candidates.min_by_key(|(place, Holder { meter, .. })| {
            (meter.recent(now_ms), meter.last_ms, **place)
        });
        slowest.map(|(place, _)| *place)
    }

    fn yields(&self, holder: &Holder, now_ms: u64) -> bool {
        holder.meter.age_ms(now_ms) >= self.bounds.window_ms
            && holder.meter.recent(now_ms) < self.bounds.keeps_from
    }

    /// The slowest holder of the largest group of the same kind, if that group has at least two
    /// places more than the newcomer's group.
    fn of_largest(&self, leaving: &[Place], groups: &[Group], now_ms: u64) -> Option<Place> {
        groups.iter().find_map(|group| {
            let alike =
                |other: &Group| discriminant(other) == discriminant(group) && other != group;
            let others = self.counts.iter().filter(|(other, _)| alike(other));
            let (largest, count) = others.max_by_key(|(_, count)| **count)?;
            if *count < self.count(group) + 2 {
                return None;
            }
            self.slowest(leaving, |holder| holder.groups.contains(largest), now_ms, false)
        })
    }
}

/// How many of the leaving places are held by a group.
fn leaving_of(leaving: &[Place], group: &Group, crowd: &Crowd) -> usize {
    let of_group = |place: &&Place| crowd.holders[place].groups.contains(group);
    leaving.iter().filter(of_group).count()
}

/// Counts recent progress.
#[derive(Clone, Copy, Debug)]
struct Meter {
    window_ms: u64,
    began_ms: u64,
    last_ms: u64,
    /// When the current window began. `current` is the progress in it, `previous` the progress in
    /// the window before.
    window_began_ms: u64,
    current: u64,
    previous: u64,
}

impl Meter {
    fn new(window_ms: u64, now_ms: u64) -> Self {
        let window_ms = window_ms.max(1);
        let (began_ms, last_ms, window_began_ms) = (now_ms, now_ms, now_ms);
        Self { window_ms, began_ms, last_ms, window_began_ms, current: 0, previous: 0 }
    }

    fn add(&mut self, amount: u64, now_ms: u64) {
        (self.window_began_ms, self.current, self.previous) = self.turned(now_ms);
        self.current = self.current.saturating_add(amount);
        self.last_ms = now_ms;
    }

    fn recent(&self, now_ms: u64) -> u64 {
        let (_, current, previous) = self.turned(now_ms);
        current.saturating_add(previous)
    }

    fn age_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.began_ms)
    }

    /// The start of the window that contains `now_ms`, and the progress in it and in the one
    /// before.
    fn turned(&self, now_ms: u64) -> (u64, u64, u64) {
        let windows = now_ms.saturating_sub(self.window_began_ms) / self.window_ms;
        let began = self.window_began_ms + windows * self.window_ms;
        match windows {
            0 => (began, self.current, self.previous),
            1 => (began, 0, self.current),
            _ => (began, 0, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        places: 4,
        of_peer: 3,
        of_owner: 2,
        of_address: 3,
        window_ms: 1_000,
        keeps_from: 10,
    };

    fn peer(number: u8) -> Group {
        Group::Peer(PeerId([number; 32]))
    }

    fn owner(number: u8) -> Group {
        Group::Owner(AccountId([number; 32]))
    }

    fn address(text: &str) -> Group {
        Group::of_address(text.parse().expect("an address"))
    }

    /// A crowd that is full of peers 1 to 4, and their places.
    fn full() -> (Crowd, Vec<Place>) {
        let mut crowd = Crowd::new(BOUNDS);
        let places = (1..=4).map(|number| crowd.enter(&[peer(number)], 0).expect("room").0);
        let places = places.collect();
        (crowd, places)
    }

    #[test]
    fn no_holder_gives_way_at_first_or_while_all_work() {
        let (mut crowd, places) = full();
        assert_eq!(crowd.enter(&[peer(5)], 999), Err(NoRoom), "all holders are new");
        for (place, amount) in places.iter().zip([10, 10, 10, 10]) {
            crowd.achieved(*place, amount, 1_500);
        }
        assert_eq!(crowd.enter(&[peer(5)], 2_000), Err(NoRoom), "all holders work");
        crowd.achieved(places[0], 10, 3_500);
        let (_, gone) = crowd.enter(&[peer(5)], 3_500).expect("the others have stopped");
        assert_eq!(gone, [places[1]], "the oldest of them gives way");
        assert_eq!(crowd.len(), 4);
    }

    #[test]
    fn the_slowest_gives_way() {
        let (mut crowd, places) = full();
        for (place, amount) in places.iter().zip([9, 8, 7, 9]) {
            crowd.achieved(*place, amount, 1_100);
        }
        assert_eq!(crowd.enter(&[peer(5)], 1_200).map(|entered| entered.1), Ok(vec![places[2]]));
        crowd.achieved(places[2], 1_000, 1_200);
        crowd.leave(places[2]);
        assert_eq!(crowd.len(), 4, "leaving again frees nothing");
    }

    #[test]
    fn the_longest_idle_gives_way_among_equals() {
        let (mut crowd, places) = full();
        for (place, at_ms) in places.iter().zip([1_300, 1_200, 1_400, 1_500]) {
            crowd.achieved(*place, 1, at_ms);
        }
        assert_eq!(crowd.enter(&[peer(5)], 1_600).map(|entered| entered.1), Ok(vec![places[1]]));
    }

    #[test]
    fn a_group_keeps_its_limit() {
        let mut crowd = Crowd::new(BOUNDS);
        let mine = [peer(1), owner(1), address("192.0.2.1")];
        let first = crowd.enter(&mine, 0).expect("room").0;
        crowd.enter(&mine, 0).expect("room");
        assert_eq!(crowd.enter(&mine, 0), Err(NoRoom), "an owner has two");
        crowd.enter(&[peer(1), owner(2), address("192.0.2.1")], 0).expect("another owner");
        assert_eq!(crowd.enter(&[peer(1), owner(3)], 0), Err(NoRoom), "a peer has three");
        assert_eq!(crowd.enter(&[peer(2), address("192.0.2.1")], 0), Err(NoRoom), "an address too");
        crowd.leave(first);
        crowd.enter(&[peer(2), address("192.0.2.1")], 0).expect("one has gone");
        crowd.enter(&[peer(1), owner(1)], 0).expect("one has gone");
        // The group's own slow holder gives way to the new one, and only one of them.
        let (_, gone) = crowd.enter(&[peer(1), owner(1)], 1_000).expect("room after that");
        assert_eq!(gone.len(), 1);
    }

    #[test]
    fn a_place_taken_away_counts_for_all_its_groups() {
        let mut crowd = Crowd::new(Bounds { of_peer: 1, of_owner: 1, of_address: 1, ..BOUNDS });
        let mine = [peer(1), owner(1), address("192.0.2.1")];
        let first = crowd.enter(&mine, 0).expect("room").0;
        assert_eq!(crowd.enter(&mine, 1_000).map(|entered| entered.1), Ok(vec![first]));
        assert_eq!(crowd.len(), 1);
    }

    #[test]
    fn a_large_group_gives_a_place_to_a_newcomer_however_busy() {
        let mut crowd = Crowd::new(BOUNDS);
        let places: Vec<_> = (0..3).map(|_| crowd.enter(&[peer(1)], 0).expect("room").0).collect();
        let other = crowd.enter(&[peer(2)], 0).expect("room").0;
        for (place, amount) in places.iter().chain([&other]).zip([90, 50, 70, 20]) {
            crowd.achieved(*place, amount, 10);
        }
        let entered = crowd.enter(&[peer(3)], 20).expect("a fair share");
        assert_eq!(entered.1, [places[1]], "the slowest of the group that has three");
        assert_eq!(crowd.enter(&[peer(3)], 20), Err(NoRoom), "two and one and one are fair");
    }

    #[test]
    fn a_trickle_is_slow_and_a_beginning_is_not() {
        let mut crowd = Crowd::new(BOUNDS);
        let place = crowd.enter(&[peer(1)], 0).expect("room").0;
        for second in 1..=5 {
            crowd.achieved(place, 1, second * 500);
            assert_eq!(crowd.is_slow(place, 5, second * 500), second >= 4);
        }
        crowd.achieved(place, 100, 2_600);
        assert!(!crowd.is_slow(place, 5, 3_900), "recent progress counts");
        assert!(crowd.is_slow(place, 5, 4_100), "old progress does not");
    }

    #[test]
    fn a_network_of_ipv6_is_one_group() {
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff:1"));
        assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
        assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    }
}
