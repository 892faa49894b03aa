//! Which nodes are asked whether they are there: a few, however many the ledger knows, and first those that
//! answered before.
//!
//! Anybody may register addresses where nobody answers. Who was met counts more than who is listed, and a part of
//! those that are asked is drawn from all others, so that new nodes come in and nobody can fill the list.
//!
//! Where nodes were met is remembered too: they are dialled while the ledger is. An address is believed by nobody:
//! whoever answers there proves that it is the node, and what it sends is checked against the ledger.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use symbolon_net::PeerAddress;
use symbolon_protocol::{
    Decode, Encode,
    id::{DealId, NodeId},
    record,
};

/// Nodes that are asked at once: twice as many as the widest scheme needs that is chosen by itself.
pub(crate) const ASKED: usize = 64;

/// How many of these are drawn from all that were not met, where there are as many.
const STRANGERS: usize = 16;

/// Nodes that are asked besides, when too few of the first answered, and not before [`FRESH_MS`] have passed since.
const SEARCHED: usize = 192;

/// So many answers are enough: the widest scheme that is chosen by itself.
const ENOUGH: usize = 32;

/// Nodes that are remembered.
const KEPT: usize = 256;

/// A node that was silent so often is asked like one that was never met.
const SILENT_MAX: u32 = 3;

/// What is remembered is written down again when it is so old, in milliseconds.
const FRESH_MS: u64 = 10 * 60 * 1000;

/// Nodes that are dialled because they may be wanted for something that is read.
const GREETED: usize = 16;

/// Bytes of what is remembered at most: eight addresses of 256 bytes each for every node, and more.
pub const BYTES_MAX: u64 = 1024 * 1024;

record! {
    /// A node that was asked whether it is there.
    pub(crate) struct Met {
        pub(crate) address: PeerAddress,
        /// When it answered last.
        pub(crate) answered_ms: u64,
        /// How often it did not since then.
        pub(crate) silent: u32,
    }
}

record! {
    /// What is remembered beyond this process.
    struct MetFile {
        nodes: Vec<Met>,
        /// When many were asked last, because few of these answered.
        searched_ms: u64,
        /// Whether the ledger knew more nodes than are listed at once.
        many: bool,
    }
}

/// Who answered before, and where.
#[derive(Debug, Default)]
pub struct Acquaintance {
    met: BTreeMap<NodeId, Met>,
    searched_ms: u64,
    many: bool,
    /// Whether there is something to be written down.
    news: bool,
}

/// Who is asked first, and who besides.
#[derive(Debug)]
pub(crate) struct Asked<T> {
    pub(crate) first: Vec<T>,
    /// How many of the first answered before: when they have, nobody waits for the others.
    pub(crate) expected: usize,
    pub(crate) besides: Vec<T>,
}

impl Acquaintance {
    /// What was remembered; nobody, where that cannot be read: then it is found out again.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let Ok(MetFile { nodes, searched_ms, many }) = MetFile::from_bytes(bytes) else {
            return Self::default();
        };
        let met = nodes.into_iter().take(KEPT).map(|met| (met.address.id, met)).collect();
        Self { met, searched_ms, many, news: false }
    }

    /// What to remember, if anything is new since the last time this was asked.
    pub fn take_news(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.news) {
            return None;
        }
        let mut nodes: Vec<_> = self.met.values().cloned().collect();
        nodes.sort_by_key(|met| (Reverse(met.answered_ms), met.silent, met.address.id));
        nodes.truncate(KEPT);
        Some(MetFile { nodes, searched_ms: self.searched_ms, many: self.many }.to_bytes())
    }

    /// Whether the ledger knew more nodes than are listed at once, the last time it was asked.
    pub(crate) fn are_many(&self) -> bool {
        self.many
    }

    /// Takes note of whether there are many.
    pub(crate) fn found_many(&mut self, many: bool) {
        self.news |= self.many != many;
        self.many = many;
    }

    /// Nodes that were met, as many as are asked at once; `draw` decides among those that are as likely to be there.
    pub(crate) fn some(&self, draw: impl Fn(&NodeId) -> [u8; 32]) -> Vec<NodeId> {
        let mut met: Vec<_> = self.met.iter().filter(|(_, met)| met.silent < SILENT_MAX).collect();
        met.sort_by_cached_key(|(id, met)| (met.silent, draw(id)));
        met.into_iter().take(ASKED).map(|(id, _)| *id).collect()
    }

    fn is_met(&self, node: &NodeId) -> bool {
        self.met.get(node).is_some_and(|met| met.silent < SILENT_MAX)
    }

    /// Where those are that are likely to be there, those first that come first by `order`.
    fn sorted<K: Ord>(&self, order: impl FnMut(&&Met) -> K) -> impl Iterator<Item = PeerAddress> {
        let mut met: Vec<_> = self.met.values().filter(|met| met.silent == 0).collect();
        met.sort_by_cached_key(order);
        met.into_iter().map(|met| met.address.clone())
    }

    /// Where those are that answered last: whoever stores or buys something will want them.
    #[must_use]
    pub fn latest(&self) -> Vec<PeerAddress> {
        self.sorted(|met| (Reverse(met.answered_ms), met.address.id)).take(GREETED).collect()
    }

    /// Where those are that may keep a deal's shards: nodes of one price are chosen in this order.
    pub(crate) fn likely_for(&self, deal: &DealId) -> Vec<PeerAddress> {
        self.sorted(|met| spread(deal, &met.address.id)).take(GREETED).collect()
    }

    /// Whom to ask of all there are. `draw` decides among equals.
    pub(crate) fn choose<T>(
        &self,
        all: Vec<T>,
        id: impl Fn(&T) -> NodeId,
        draw: impl Fn(&NodeId) -> [u8; 32],
    ) -> Asked<T> {
        if all.len() <= ASKED {
            return Asked { expected: all.len(), first: all, besides: Vec::new() };
        }
        let (mut met, mut others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|node| self.is_met(&id(node)));
        let silent = |node: &T| self.met.get(&id(node)).map_or(0, |met| met.silent);
        met.sort_by_cached_key(|node| (silent(node), draw(&id(node))));
        others.sort_by_cached_key(|node| draw(&id(node)));
        let strangers = STRANGERS.max(ASKED.saturating_sub(met.len())).min(others.len());
        let mut besides = met.split_off(met.len().min(ASKED - strangers));
        // Where nobody was met, all are as likely to be there.
        let expected = if met.is_empty() { strangers } else { met.len() };
        let later = others.split_off(strangers);
        met.extend(others);
        besides.extend(later);
        besides.truncate(SEARCHED);
        Asked { first: met, expected, besides }
    }

    /// Whether more are to be asked when so many answered.
    pub(crate) fn is_to_search(&self, answered: usize, now_ms: u64) -> bool {
        answered < ENOUGH && (answered == 0 || self.searched_ms.saturating_add(FRESH_MS) <= now_ms)
    }

    /// Takes note of a search.
    pub(crate) fn searched(&mut self, now_ms: u64) {
        self.searched_ms = now_ms;
        self.news = true;
    }

    /// Takes note of who answered.
    pub fn answered(&mut self, nodes: Vec<PeerAddress>, now_ms: u64) {
        for address in nodes {
            let fresh = |met: &Met| now_ms < met.answered_ms.saturating_add(FRESH_MS);
            let known = self.met.get(&address.id);
            let same = |met: &&Met| met.silent == 0 && met.address == address && fresh(met);
            self.news |= known.filter(same).is_none();
            self.met.insert(address.id, Met { address, answered_ms: now_ms, silent: 0 });
        }
    }

    /// Takes note of who was asked and did not answer. Of a stranger that is no news.
    pub(crate) fn silent(&mut self, nodes: &BTreeSet<NodeId>) {
        for node in nodes {
            if let Some(met) = self.met.get_mut(node).filter(|met| met.silent < SILENT_MAX) {
                met.silent += 1;
                self.news = true;
            }
        }
    }
}

/// The order of a node among those of one price, for one deal: another for each, so that load spreads.
pub(crate) fn spread(deal: &DealId, node: &NodeId) -> [u8; 32] {
    *blake3::Hasher::new().update(&deal.0).update(&node.0).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::id::PeerId;

    use super::*;

    fn id(number: usize) -> NodeId {
        PeerId(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    fn at(numbers: std::ops::Range<usize>) -> Vec<PeerAddress> {
        let address = |number| PeerAddress { id: id(number), addresses: vec!["here".into()] };
        numbers.map(address).collect()
    }

    fn set(numbers: std::ops::Range<usize>) -> BTreeSet<NodeId> {
        numbers.map(id).collect()
    }

    fn choose(known: &Acquaintance, count: usize) -> Asked<NodeId> {
        let by_hash = |node: &NodeId| *blake3::hash(&node.0).as_bytes();
        known.choose((0..count).map(id).collect(), |node| *node, by_hash)
    }

    #[test]
    fn however_many_are_listed_a_bounded_number_is_asked_and_those_that_answered_first() {
        for count in [0, 1, 8, ASKED] {
            let asked = choose(&Acquaintance::default(), count);
            assert_eq!((asked.first.len(), asked.expected), (count, count), "few are all asked");
            assert_eq!(asked.besides.len(), 0);
        }
        // Eight live among a thousand addresses where nobody is: met once, they are asked first.
        let mut known = Acquaintance::default();
        assert!(known.is_to_search(8, FRESH_MS));
        known.answered(at(500..508), FRESH_MS);
        known.searched(FRESH_MS);
        let asked = choose(&known, 1000);
        assert_eq!((asked.first.len(), asked.expected, asked.besides.len()), (ASKED, 8, SEARCHED));
        assert!(asked.first[..8].iter().all(|node| set(500..508).contains(node)));
        let all: BTreeSet<_> = asked.first.iter().chain(&asked.besides).collect();
        assert_eq!(all.len(), ASKED + SEARCHED, "nobody is asked twice");
        // They are all there are: nobody searches for others each time.
        assert!(!known.is_to_search(8, FRESH_MS + 1) && known.is_to_search(0, FRESH_MS + 1));
        assert!(known.is_to_search(8, 3 * FRESH_MS) && !known.is_to_search(ENOUGH, 3 * FRESH_MS));
        // Where many were met, strangers come in all the same.
        known.answered(at(0..200), FRESH_MS);
        let asked = choose(&known, 1000);
        assert_eq!((asked.first.len(), asked.expected), (ASKED, ASKED - STRANGERS));
        assert_eq!(known.latest().len(), GREETED);
    }

    #[test]
    fn who_is_silent_is_forgotten_and_nothing_is_written_for_what_is_known() {
        let mut known = Acquaintance::default();
        let news = |known: &mut Acquaintance| std::mem::take(&mut known.news);
        known.silent(&set(1..2));
        assert!(!news(&mut known), "a stranger");
        known.answered(at(1..2), FRESH_MS);
        assert!(news(&mut known) && known.is_met(&id(1)));
        known.answered(at(1..2), FRESH_MS + 1);
        assert!(!news(&mut known));
        known.answered(at(1..2), 3 * FRESH_MS);
        assert!(news(&mut known), "that was long ago");
        let moved = PeerAddress { id: id(1), addresses: vec!["there".into()] };
        known.answered(vec![moved.clone()], 3 * FRESH_MS + 1);
        assert!(news(&mut known) && known.latest() == [moved]);
        for silent in 1..=SILENT_MAX {
            known.silent(&set(1..2));
            assert_eq!((news(&mut known), known.is_met(&id(1))), (true, silent < SILENT_MAX));
            assert_eq!(known.latest(), [], "nobody is dialled in advance who may be away");
        }
        known.silent(&set(1..2));
        assert!(!news(&mut known));
        known.answered(at(1..2), 3 * FRESH_MS);
        assert!(known.is_met(&id(1)), "until it answers");
    }

    #[test]
    fn what_is_written_is_read_and_what_is_torn_is_nobody() {
        assert!(Acquaintance::from_bytes(&[]).met.is_empty());
        let mut known = Acquaintance::default();
        assert!(known.take_news().is_none(), "there was nothing to be written");
        known.answered(at(0..KEPT + 10), 7);
        let bytes = known.take_news().unwrap();
        assert!(known.take_news().is_none());
        let read = Acquaintance::from_bytes(&bytes);
        assert_eq!(read.met.len(), KEPT);
        assert!(read.met.values().all(|met| met.answered_ms == 7));
        assert!(Acquaintance::from_bytes(&bytes[..bytes.len() - 1]).met.is_empty());
    }
}
