//! Placing the shards of one segment: which node gets which shard, which node is replaced, when the upload
//! is complete.
//!
//! A segment is sent in passes. A pass encodes the segment once and streams each shard without an
//! acceptance to the node it is assigned to. If a node fails, a spare node gets its shard in the next pass.
//! The upload is done when every shard has its acceptance. It is also done when enough shards have theirs
//! and the rest had their time: half as long again as the others took, and at least one second.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use super::NodeFault;
use crate::{content::Scheme, id::NodeId, ledger::transaction::Acceptance};

/// The shortest time for late nodes once enough shards are placed, in milliseconds.
const GRACE_MS_MIN: u64 = 1_000;

/// An event for the session.
#[derive(Clone, Debug)]
pub enum Input {
    /// The session begins.
    Start,
    /// A node signed for its shard.
    Accepted(Acceptance),
    /// A node did not sign for its shard.
    Failed {
        /// The shard's index.
        index: u8,
        /// The fault.
        fault: NodeFault,
    },
    /// The deadline has passed.
    Tick,
}

/// An action for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Encode the segment and send these shards to these nodes.
    Pass(Vec<(u8, NodeId)>),
    /// Stop sending this shard.
    Abandon(u8),
    /// Final: these shards are placed; a deal can be opened with them.
    Placed(Vec<Acceptance>),
    /// Final: too few nodes took a shard.
    Short {
        /// How many nodes accepted.
        accepted: u8,
        /// How many are needed.
        needed: u8,
        /// The fault of each other node.
        faults: Vec<(NodeId, NodeFault)>,
    },
}

#[derive(Debug)]
enum Shard {
    Open,
    Sending(NodeId),
    Accepted(Acceptance),
}

/// The session.
#[derive(Debug)]
pub struct Upload {
    enough: u8,
    shards: Vec<Shard>,
    first: BTreeMap<u8, NodeId>,
    spare: VecDeque<NodeId>,
    faults: BTreeMap<NodeId, NodeFault>,
    started_ms: u64,
    deadline_ms: Option<u64>,
    outputs: VecDeque<Output>,
    over: bool,
}

impl Upload {
    /// Places `scheme.total` shards on `nodes`, the preferred ones first. Each node gets at most one.
    /// `held` says which shards an earlier upload of the segment asked of which nodes: these nodes may have
    /// their shard already, and take no other one.
    #[must_use]
    pub fn new(
        scheme: Scheme,
        nodes: impl IntoIterator<Item = NodeId>,
        held: impl IntoIterator<Item = (u8, NodeId)>,
    ) -> Self {
        let mut spare: VecDeque<NodeId> = nodes.into_iter().collect();
        let mut first = BTreeMap::new();
        for (index, node) in held {
            if let Some(place) = spare.iter().position(|spare| *spare == node) {
                spare.remove(place);
                first.insert(index, node);
            }
        }
        Self {
            enough: scheme.enough(),
            shards: (0..scheme.total).map(|_| Shard::Open).collect(),
            first,
            spare,
            faults: BTreeMap::new(),
            started_ms: 0,
            deadline_ms: None,
            outputs: VecDeque::new(),
            over: false,
        }
    }

    /// Notes what happened.
    pub fn handle(&mut self, now_ms: u64, input: Input) {
        if self.over {
            return;
        }
        match input {
            Input::Start => self.started_ms = now_ms,
            Input::Accepted(acceptance) => {
                let index = usize::from(acceptance.index);
                if let Some(shard @ Shard::Sending(_)) = self.shards.get_mut(index) {
                    *shard = Shard::Accepted(acceptance);
                }
            }
            Input::Failed { index, fault } => self.fail(index, fault),
            Input::Tick => {
                if self.deadline_ms.is_some_and(|deadline| deadline <= now_ms) {
                    self.abandon_rest();
                }
            }
        }
        self.advance(now_ms);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle` with [`Input::Tick`] if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        self.deadline_ms.filter(|_| !self.over)
    }

    fn fail(&mut self, index: u8, fault: NodeFault) {
        if let Some(shard) = self.shards.get_mut(usize::from(index))
            && let Shard::Sending(node) = *shard
        {
            self.faults.insert(node, fault);
            *shard = Shard::Open;
        }
    }

    fn abandon_rest(&mut self) {
        for index in 0..self.shards.len() {
            if matches!(self.shards[index], Shard::Sending(_)) {
                let index = u8::try_from(index).expect("a scheme has at most 128 shards");
                self.outputs.push_back(Output::Abandon(index));
                self.fail(index, NodeFault::Slow);
            }
        }
    }

    fn accepted(&self) -> Vec<Acceptance> {
        let accepted = self.shards.iter().filter_map(|shard| match shard {
            Shard::Accepted(acceptance) => Some(acceptance.clone()),
            _ => None,
        });
        accepted.collect()
    }

    fn advance(&mut self, now_ms: u64) {
        let accepted = self.accepted();
        let accepted_count = u8::try_from(accepted.len()).expect("at most 128 shards");
        let sending = self.shards.iter().any(|shard| matches!(shard, Shard::Sending(_)));
        if sending {
            if accepted_count >= self.enough && self.deadline_ms.is_none() {
                let grace = (now_ms.saturating_sub(self.started_ms) / 2).max(GRACE_MS_MIN);
                self.deadline_ms = Some(now_ms + grace);
            }
            return;
        }
        let late = self.deadline_ms.is_some_and(|deadline| deadline <= now_ms);
        let complete = accepted.len() == self.shards.len();
        let pass = if complete || late { Vec::new() } else { self.assign() };
        if !pass.is_empty() {
            self.outputs.push_back(Output::Pass(pass));
            return;
        }
        self.over = true;
        self.outputs.push_back(if accepted_count >= self.enough {
            Output::Placed(accepted)
        } else {
            let faults = self.faults.iter().map(|(node, fault)| (*node, *fault)).collect();
            Output::Short { accepted: accepted_count, needed: self.enough, faults }
        });
    }

    fn assign(&mut self) -> Vec<(u8, NodeId)> {
        let mut pass = Vec::new();
        for (index, shard) in self.shards.iter_mut().enumerate() {
            if matches!(shard, Shard::Open) {
                let index = u8::try_from(index).expect("at most 128 shards");
                let node = self.first.remove(&index).or_else(|| self.spare.pop_front());
                let Some(node) = node else { continue };
                *shard = Shard::Sending(node);
                pass.push((index, node));
            }
        }
        pass
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::{
        amount::Amount,
        id::{Hash, PeerId},
        time::LedgerTime,
    };

    fn node(byte: u8) -> NodeId {
        PeerId([byte; 32])
    }

    fn receipt(index: u8, by: u8) -> Input {
        Input::Accepted(Acceptance {
            node: node(by),
            index,
            root: Hash([0; 32]),
            price: Amount::ZERO,
            until: u64::MAX,
            expires_ms: LedgerTime::ZERO,
            signature: [0; 64],
        })
    }

    fn start(scheme: Scheme, nodes: u8) -> Upload {
        let mut upload = Upload::new(scheme, (0..nodes).map(node), []);
        upload.handle(0, Input::Start);
        upload
    }

    const SCHEME: Scheme = Scheme { required: 4, total: 8 };

    #[test]
    fn all_receipts_end_it_at_once() {
        let mut upload = start(SCHEME, 8);
        let pass = (0..8).map(|byte| (byte, node(byte))).collect();
        assert_eq!(upload.poll(), Some(Output::Pass(pass)));
        for index in 0..8 {
            assert_eq!(upload.poll(), None);
            upload.handle(10, receipt(index, index));
        }
        assert!(matches!(upload.poll(), Some(Output::Placed(placed)) if placed.len() == 8));
        assert_eq!((upload.poll(), upload.deadline()), (None, None));
    }

    #[test]
    fn a_failed_node_is_replaced_in_a_second_pass() {
        let mut upload = start(SCHEME, 9);
        upload.poll();
        upload.handle(5, Input::Failed { index: 3, fault: NodeFault::Offline });
        for index in [0, 1, 2, 4, 5, 6, 7] {
            upload.handle(10, receipt(index, index));
        }
        assert_eq!(upload.poll(), Some(Output::Pass(vec![(3, node(8))])));
        upload.handle(20, receipt(3, 8));
        assert!(matches!(upload.poll(), Some(Output::Placed(placed)) if placed.len() == 8));
    }

    #[test]
    fn a_node_asked_before_is_asked_for_the_same_shard_again() {
        // Node 3 is gone. Nodes 5 and 7 were asked for shards 0 and 6 before, node 3 for shard 1.
        let nodes = [0, 1, 2, 4, 5, 6, 7].map(node);
        let held = [(0, node(5)), (1, node(3)), (6, node(7))];
        let mut upload = Upload::new(SCHEME, nodes, held);
        upload.handle(0, Input::Start);
        let pass = [(0, 5), (1, 0), (2, 1), (3, 2), (4, 4), (5, 6), (6, 7)];
        let pass = pass.map(|(index, byte)| (index, node(byte))).to_vec();
        assert_eq!(upload.poll(), Some(Output::Pass(pass)));
    }

    #[test]
    fn a_straggler_is_abandoned_when_enough_are_placed() {
        let mut upload = start(SCHEME, 8);
        upload.poll();
        for index in 0..7 {
            upload.handle(4_000, receipt(index, index));
        }
        assert_eq!(upload.deadline(), Some(6_000));
        upload.handle(6_000, Input::Tick);
        assert_eq!(upload.poll(), Some(Output::Abandon(7)));
        assert!(matches!(upload.poll(), Some(Output::Placed(placed)) if placed.len() == 7));
    }

    #[test]
    fn too_few_receipts_name_every_fault() {
        let mut upload = start(SCHEME, 8);
        upload.poll();
        for index in 0..6 {
            upload.handle(10, receipt(index, index));
        }
        upload.handle(11, Input::Failed { index: 6, fault: NodeFault::Offline });
        upload.handle(12, Input::Failed { index: 7, fault: NodeFault::Slow });
        let faults = vec![(node(6), NodeFault::Offline), (node(7), NodeFault::Slow)];
        assert_eq!(upload.poll(), Some(Output::Short { accepted: 6, needed: 7, faults }));
        upload.handle(13, receipt(6, 6));
        assert_eq!(upload.poll(), None, "a session ends once");
    }

    #[test]
    fn an_acceptance_that_no_one_waits_for_changes_nothing() {
        let mut upload = start(SCHEME, 8);
        upload.poll();
        upload.handle(1, receipt(200, 1));
        upload.handle(1, Input::Failed { index: 201, fault: NodeFault::Slow });
        assert_eq!(upload.poll(), None);
    }
}
