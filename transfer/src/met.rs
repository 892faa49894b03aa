//! Chooses the nodes to ask whether they are there. They are few, even if the ledger lists many,
//! and nodes that answered before come first.
//!
//! Any account may register addresses without a machine behind them. So nodes that answered before
//! count more than other listed nodes. A part of the asked nodes is drawn at random from all
//! others, so that new nodes get a chance and no account can fill the list.
//!
//! The addresses of nodes are remembered too, so that they can be dialled while the ledger is. A
//! wrong address does no harm: the node that answers proves its key, and its bytes are checked
//! against the ledger.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use symbolon_net::PeerAddress;
use symbolon_protocol::{
    Decode, Encode, MachineTime, Millis,
    id::{DealId, NodeId},
    record,
};

/// Nodes that are asked at once: twice as many as the widest scheme that is chosen automatically
/// needs.
pub(crate) const ASKED: usize = 64;

/// Nodes among these that are drawn from those that have not answered before.
const STRANGERS: usize = 16;

/// Nodes that are asked in a search, when too few of the first ones answered. Searches are at least
/// [`FRESH`] apart.
const SEARCHED: usize = 192;

/// Answers that are enough: the widest scheme that is chosen automatically needs no more.
const ENOUGH: usize = 32;

/// Nodes that are remembered.
const KEPT: usize = 256;

/// Missed answers after which a remembered node is treated like an unknown one.
const SILENT_MAX: u32 = 3;

/// Time after which a remembered answer is outdated and is written again.
const FRESH: Millis = Millis(10 * 60 * 1000);

/// Nodes that are dialled in advance, because an operation may need them.
const GREETED: usize = 16;

/// Most bytes of the remembered nodes. It allows more than eight addresses of 256 bytes for each
/// node.
pub const BYTES_MAX: u64 = 1024 * 1024;

record! {
    /// A remembered node.
    pub(crate) struct Met {
        pub(crate) address: PeerAddress,
        /// When it answered last.
        pub(crate) answered_ms: MachineTime,
        /// How often it has not answered since then.
        pub(crate) silent: u32,
        /// How many shards in a row it has failed to take.
        pub(crate) failed: u32,
    }
}

/// This client's experience with a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Experience {
    /// It has answered, and failed at nothing since.
    Good,
    /// There is none.
    #[default]
    None,
    /// It has failed so many times in a row.
    Failed(u32),
}

record! {
    /// The remembered nodes, as they are stored beyond this process.
    struct MetFile {
        nodes: Vec<Met>,
        /// When the last search took place.
        searched_ms: MachineTime,
        /// Whether the ledger had more nodes than are listed at once.
        many: bool,
    }
}

/// The nodes that answered before, and their addresses.
#[derive(Debug, Default)]
pub struct Acquaintance {
    met: BTreeMap<NodeId, Met>,
    searched_ms: MachineTime,
    many: bool,
    /// Whether there are changes to store.
    is_changed: bool,
}

/// The nodes to ask first, and those to ask in a search.
#[derive(Debug)]
pub(crate) struct Asked<T> {
    pub(crate) first: Vec<T>,
    /// How many of the first nodes are expected to answer. Once most of them have, the others are
    /// not waited for.
    pub(crate) expected: usize,
    pub(crate) search: Vec<T>,
}

impl Acquaintance {
    /// Decodes remembered nodes. Returns none if the bytes are invalid, because the nodes can be
    /// found again.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let Ok(MetFile { nodes, searched_ms, many }) = MetFile::from_bytes(bytes) else {
            return Self::default();
        };
        let met = nodes.into_iter().take(KEPT).map(|met| (met.address.id, met)).collect();
        Self { met, searched_ms, many, is_changed: false }
    }

    /// The encoded nodes, if they have changed since the last call.
    pub fn take_changes(&mut self) -> Option<Vec<u8>> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let mut nodes: Vec<_> = self.met.values().cloned().collect();
        nodes.sort_by_key(|met| (Reverse(met.answered_ms), met.silent, met.address.id));
        nodes.truncate(KEPT);
        Some(MetFile { nodes, searched_ms: self.searched_ms, many: self.many }.to_bytes())
    }

    /// Whether the ledger had more nodes than are listed at once, when it was asked last.
    pub(crate) fn are_many(&self) -> bool {
        self.many
    }

    /// Records whether the ledger has more nodes than are listed at once.
    pub(crate) fn found_many(&mut self, many: bool) {
        self.is_changed |= self.many != many;
        self.many = many;
    }

    /// Remembered nodes, as many as are asked at once. `draw` decides among equally reliable ones.
    pub(crate) fn some(&self, draw: impl Fn(&NodeId) -> [u8; 32]) -> Vec<NodeId> {
        let mut met: Vec<_> = self.met.iter().filter(|(_, met)| met.silent < SILENT_MAX).collect();
        met.sort_by_cached_key(|(id, met)| (met.silent, draw(id)));
        met.into_iter().take(ASKED).map(|(id, _)| *id).collect()
    }

    /// What is remembered of a node.
    pub(crate) fn experience(&self, node: &NodeId) -> Experience {
        match self.met.get(node) {
            None => Experience::None,
            Some(Met { silent: 0, failed: 0, .. }) => Experience::Good,
            Some(Met { silent, failed, .. }) => Experience::Failed(silent.saturating_add(*failed)),
        }
    }

    /// Records whether a node took a shard that it was sent. Unknown nodes are ignored.
    pub(crate) fn took(&mut self, node: &NodeId, is_good: bool) {
        let Some(met) = self.met.get_mut(node) else { return };
        let failed = if is_good { 0 } else { (met.failed + 1).min(SILENT_MAX) };
        self.is_changed |= met.failed != failed;
        met.failed = failed;
    }

    fn is_met(&self, node: &NodeId) -> bool {
        self.met.get(node).is_some_and(|met| met.silent < SILENT_MAX)
    }

    /// Addresses of nodes that answered when they were asked last, sorted by `order`.
    fn sorted<K: Ord>(&self, order: impl FnMut(&&Met) -> K) -> impl Iterator<Item = PeerAddress> {
        let mut met: Vec<_> = self.met.values().filter(|met| met.silent == 0).collect();
        met.sort_by_cached_key(order);
        met.into_iter().map(|met| met.address.clone())
    }

    /// Addresses of the nodes that answered most recently, which a put or purchase probably needs.
    #[must_use]
    pub fn latest(&self) -> Vec<PeerAddress> {
        self.sorted(|met| (Reverse(met.answered_ms), met.address.id)).take(GREETED).collect()
    }

    /// Addresses of nodes that may keep a deal's shards: others for each deal.
    pub(crate) fn likely_for(&self, deal: &DealId) -> Vec<PeerAddress> {
        self.sorted(|met| spread(deal, &met.address.id)).take(GREETED).collect()
    }

    /// Chooses the nodes to ask. `draw` decides among equals.
    pub(crate) fn choose<T>(
        &self,
        all: Vec<T>,
        id: impl Fn(&T) -> NodeId,
        draw: impl Fn(&NodeId) -> [u8; 32],
    ) -> Asked<T> {
        if all.len() <= ASKED {
            return Asked { expected: all.len(), first: all, search: Vec::new() };
        }
        let (mut met, mut others): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|node| self.is_met(&id(node)));
        let silent = |node: &T| self.met.get(&id(node)).map_or(0, |met| met.silent);
        met.sort_by_cached_key(|node| (silent(node), draw(&id(node))));
        others.sort_by_cached_key(|node| draw(&id(node)));
        let strangers = STRANGERS.max(ASKED.saturating_sub(met.len())).min(others.len());
        let mut search = met.split_off(met.len().min(ASKED - strangers));
        // If no node is remembered, all are equally likely to answer.
        let expected = if met.is_empty() { strangers } else { met.len() };
        let later = others.split_off(strangers);
        met.extend(others);
        search.extend(later);
        search.truncate(SEARCHED);
        Asked { first: met, expected, search }
    }

    /// Whether a search is needed after this many answers.
    pub(crate) fn needs_search(&self, answered: usize, now_ms: MachineTime) -> bool {
        answered < ENOUGH && (answered == 0 || self.searched_ms.saturating_add(FRESH) <= now_ms)
    }

    /// Records a search.
    pub(crate) fn searched(&mut self, now_ms: MachineTime) {
        self.searched_ms = now_ms;
        self.is_changed = true;
    }

    /// Records nodes that answered.
    pub fn answered(&mut self, nodes: Vec<PeerAddress>, now_ms: MachineTime) {
        for address in nodes {
            let fresh = |met: &Met| now_ms < met.answered_ms.saturating_add(FRESH);
            let known = self.met.get(&address.id);
            let same = |met: &&Met| met.silent == 0 && met.address == address && fresh(met);
            self.is_changed |= known.filter(same).is_none();
            let failed = known.map_or(0, |met| met.failed);
            self.met.insert(address.id, Met { address, answered_ms: now_ms, silent: 0, failed });
        }
    }

    /// Records nodes that were asked and did not answer. Unknown nodes are ignored.
    pub(crate) fn silent(&mut self, nodes: &BTreeSet<NodeId>) {
        for node in nodes {
            if let Some(met) = self.met.get_mut(node).filter(|met| met.silent < SILENT_MAX) {
                met.silent += 1;
                self.is_changed = true;
            }
        }
    }
}

/// The order of a node among equals. It differs for each deal, so that the load
/// spreads.
pub(crate) fn spread(deal: &DealId, node: &NodeId) -> [u8; 32] {
    *blake3::Hasher::new().update(&deal.0).update(&node.0).finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::id::PeerId;

    use super::*;

    const FRESH_MS: u64 = FRESH.0;

    fn at_ms(time_ms: u64) -> MachineTime {
        MachineTime(time_ms)
    }

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
    fn a_bounded_number_is_asked_and_nodes_that_answered_come_first() {
        for count in [0, 1, 8, ASKED] {
            let asked = choose(&Acquaintance::default(), count);
            assert_eq!((asked.first.len(), asked.expected), (count, count), "few are all asked");
            assert_eq!(asked.search.len(), 0);
        }
        // Eight live nodes among a thousand dead addresses: once they have answered, they are asked
        // first.
        let mut known = Acquaintance::default();
        assert!(known.needs_search(8, at_ms(FRESH_MS)));
        known.answered(at(500..508), at_ms(FRESH_MS));
        known.searched(at_ms(FRESH_MS));
        let asked = choose(&known, 1000);
        assert_eq!((asked.first.len(), asked.expected, asked.search.len()), (ASKED, 8, SEARCHED));
        assert!(asked.first[..8].iter().all(|node| set(500..508).contains(node)));
        let all: BTreeSet<_> = asked.first.iter().chain(&asked.search).collect();
        assert_eq!(all.len(), ASKED + SEARCHED, "no node is asked twice");
        // There are no other live nodes: the search is not repeated each time.
        assert!(
            !known.needs_search(8, at_ms(FRESH_MS + 1))
                && known.needs_search(0, at_ms(FRESH_MS + 1))
        );
        assert!(
            known.needs_search(8, at_ms(3 * FRESH_MS))
                && !known.needs_search(ENOUGH, at_ms(3 * FRESH_MS))
        );
        // Even if many nodes are remembered, unknown ones get a chance.
        known.answered(at(0..200), at_ms(FRESH_MS));
        let asked = choose(&known, 1000);
        assert_eq!((asked.first.len(), asked.expected), (ASKED, ASKED - STRANGERS));
        assert_eq!(known.latest().len(), GREETED);
    }

    #[test]
    fn a_silent_node_is_dropped_and_known_facts_are_no_change() {
        let mut known = Acquaintance::default();
        let changed = |known: &mut Acquaintance| std::mem::take(&mut known.is_changed);
        known.silent(&set(1..2));
        assert!(!changed(&mut known), "an unknown node");
        known.answered(at(1..2), at_ms(FRESH_MS));
        assert!(changed(&mut known) && known.is_met(&id(1)));
        known.answered(at(1..2), at_ms(FRESH_MS + 1));
        assert!(!changed(&mut known));
        known.answered(at(1..2), at_ms(3 * FRESH_MS));
        assert!(changed(&mut known), "the last answer was long ago");
        let moved = PeerAddress { id: id(1), addresses: vec!["there".into()] };
        known.answered(vec![moved.clone()], at_ms(3 * FRESH_MS + 1));
        assert!(changed(&mut known) && known.latest() == [moved]);
        for silent in 1..=SILENT_MAX {
            known.silent(&set(1..2));
            assert_eq!((changed(&mut known), known.is_met(&id(1))), (true, silent < SILENT_MAX));
            assert_eq!(known.latest(), [], "a silent node is not dialled in advance");
        }
        known.silent(&set(1..2));
        assert!(!changed(&mut known));
        known.answered(at(1..2), at_ms(3 * FRESH_MS));
        assert!(known.is_met(&id(1)), "it has answered again");
    }

    #[test]
    fn failures_are_remembered_until_a_node_takes_a_shard() {
        let mut known = Acquaintance::default();
        known.took(&id(1), false);
        assert_eq!(known.experience(&id(1)), Experience::None, "an unknown node");
        known.answered(at(1..2), at_ms(1));
        assert_eq!(known.experience(&id(1)), Experience::Good);
        for failed in [1, 2, 3, 3] {
            known.took(&id(1), false);
            // An answer to a question is no shard.
            known.answered(at(1..2), at_ms(2));
            assert_eq!(known.experience(&id(1)), Experience::Failed(failed));
        }
        known.took(&id(1), true);
        assert_eq!(known.experience(&id(1)), Experience::Good);
        known.silent(&set(1..2));
        assert_eq!(known.experience(&id(1)), Experience::Failed(1));
    }

    #[test]
    fn stored_nodes_are_read_back_and_torn_bytes_hold_none() {
        assert!(Acquaintance::from_bytes(&[]).met.is_empty());
        let mut known = Acquaintance::default();
        assert!(known.take_changes().is_none(), "there is no change yet");
        known.answered(at(0..KEPT + 10), at_ms(7));
        let bytes = known.take_changes().unwrap();
        assert!(known.take_changes().is_none());
        let read = Acquaintance::from_bytes(&bytes);
        assert_eq!(read.met.len(), KEPT);
        assert!(read.met.values().all(|met| met.answered_ms == at_ms(7)));
        assert!(Acquaintance::from_bytes(&bytes[..bytes.len() - 1]).met.is_empty());
    }
}
