//! What a reader knows of the nodes while it reads an object: how long they take, and which of them it
//! shuns.
//!
//! One value is lent to every session that reads the object, one after the other or at the same time. What
//! one session learns, the others know. If a node failed or was late, it is *shunned*: all others are asked
//! before it. That lasts half a minute, and twice as long each further time in a row, until the node
//! answers. A node that sent corrupt bytes is shunned for good.
//!
//! The times are those of pieces of one size. A reader of cells and a reader of slices need a standing
//! each.

use alloc::{
    collections::{BTreeMap, VecDeque},
    vec::Vec,
};

use super::NodeFault;
use crate::id::NodeId;

/// The percentile covers this many recent answer times.
const SAMPLES: usize = 64;

/// How late the very first answers may be before the session asks another node, in milliseconds.
pub(super) const FIRST_LATE_MS: u64 = 500;

/// How long a node is shunned the first time, and how long its answer times count, in milliseconds.
const SHUN_MS: u64 = 30_000;

/// How often that time doubles: up to a quarter of an hour.
const DOUBLINGS: u32 = 5;

/// What a reader knows of the nodes of an object.
#[derive(Debug, Default)]
pub struct Standing {
    nodes: BTreeMap<NodeId, Known>,
    /// The times of the last answers, of all nodes.
    samples: VecDeque<u64>,
}

#[derive(Debug, Default)]
struct Known {
    mean_ms: u64,
    /// When it last answered, if it ever did.
    answered_ms: Option<u64>,
    shunned_until_ms: u64,
    /// How often it was shunned since its last answer.
    shunned: u32,
}

impl Standing {
    /// Notes a good answer: the node is no longer shunned, unless it once sent corrupt bytes.
    pub(super) fn answered(&mut self, now_ms: u64, node: NodeId, took_ms: u64) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(took_ms);
        let before = self.mean_ms(now_ms, node);
        let known = self.nodes.entry(node).or_default();
        known.mean_ms = before.map_or(took_ms, |mean| (3 * mean + took_ms) / 4);
        known.answered_ms = Some(now_ms);
        known.shunned = 0;
        if known.shunned_until_ms != u64::MAX {
            known.shunned_until_ms = 0;
        }
    }

    /// Notes a late answer.
    pub(super) fn late(&mut self, now_ms: u64, node: NodeId) {
        let known = self.nodes.entry(node).or_default();
        // Several answers of one node that are late at the same time count as one.
        if known.shunned_until_ms <= now_ms {
            known.shunned_until_ms = now_ms.saturating_add(SHUN_MS << known.shunned);
            known.shunned = (known.shunned + 1).min(DOUBLINGS);
        }
    }

    /// Notes a fault.
    pub(super) fn failed(&mut self, now_ms: u64, node: NodeId, fault: NodeFault) {
        match fault {
            NodeFault::Corrupt => {
                self.nodes.entry(node).or_default().shunned_until_ms = u64::MAX;
            }
            _ => self.late(now_ms, node),
        }
    }

    /// Whether all others are asked before this node.
    #[must_use]
    pub fn is_shunned(&self, now_ms: u64, node: NodeId) -> bool {
        self.nodes.get(&node).is_some_and(|known| now_ms < known.shunned_until_ms)
    }

    /// How long a node's answers take, if it answered recently.
    pub(super) fn mean_ms(&self, now_ms: u64, node: NodeId) -> Option<u64> {
        let known = self.nodes.get(&node)?;
        let answered_ms = known.answered_ms?;
        (now_ms < answered_ms.saturating_add(SHUN_MS)).then_some(known.mean_ms)
    }

    /// The time after which an answer is late, if `required` answers are enough: half as long again as the
    /// 95th percentile, plus `margin_ms`.
    pub(super) fn late_ms(&self, required: u8, margin_ms: u64) -> u64 {
        if self.samples.len() < usize::from(required) {
            return FIRST_LATE_MS;
        }
        let mut sorted: Vec<_> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        let at = (sorted.len() * 95 / 100).min(sorted.len().saturating_sub(1));
        let p95 = sorted.get(at).copied().unwrap_or(FIRST_LATE_MS);
        p95 + p95 / 2 + margin_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PeerId;

    const NODE: NodeId = PeerId([1; 32]);

    #[test]
    fn a_node_is_shunned_twice_as_long_each_time_until_it_answers() {
        let mut standing = Standing::default();
        let mut now = 5;
        for times in [1, 2, 4, 8, 16, 32, 32] {
            assert!(!standing.is_shunned(now, NODE));
            standing.late(now, NODE);
            // A second request to the same node brings no new knowledge.
            standing.failed(now + 1, NODE, NodeFault::Offline);
            now += SHUN_MS * times;
            assert!(standing.is_shunned(now - 1, NODE), "{times}");
        }
        standing.late(now, NODE);
        standing.answered(now, NODE, 10);
        assert!(!standing.is_shunned(now, NODE), "it is forgiven");
        standing.late(now, NODE);
        assert!(!standing.is_shunned(now + SHUN_MS, NODE), "and what was is forgotten");
    }

    #[test]
    fn corrupt_bytes_are_not_forgiven() {
        let mut standing = Standing::default();
        standing.failed(0, NODE, NodeFault::Corrupt);
        standing.answered(1, NODE, 1);
        standing.late(2, NODE);
        assert!(standing.is_shunned(u64::MAX - 1, NODE));
        assert!(!standing.is_shunned(3, PeerId([2; 32])));
    }

    #[test]
    fn what_is_late_follows_from_what_is_usual() {
        let mut standing = Standing::default();
        for number in 0..4 {
            assert_eq!(standing.late_ms(4, 25), FIRST_LATE_MS, "{number} answers say little");
            standing.answered(0, NODE, 100);
        }
        assert_eq!(standing.late_ms(4, 25), 175);
        assert_eq!(standing.late_ms(4, 100), 250);
        // One in twenty may take long.
        for _ in 0..SAMPLES {
            standing.answered(0, NODE, 20);
        }
        standing.answered(0, NODE, 9_000);
        assert_eq!(standing.late_ms(4, 25), 55, "the first answers are forgotten");
        (0..3).for_each(|_| standing.answered(0, NODE, 9_000));
        assert_eq!(standing.late_ms(4, 25), 13_525);
    }

    #[test]
    fn how_long_a_node_takes_is_known_for_a_while() {
        let mut standing = Standing::default();
        assert_eq!(standing.mean_ms(0, NODE), None);
        standing.answered(0, NODE, 100);
        standing.answered(10, NODE, 20);
        assert_eq!(standing.mean_ms(11, NODE), Some(80));
        assert_eq!(standing.mean_ms(10 + SHUN_MS, NODE), None);
        standing.answered(10 + SHUN_MS, NODE, 20);
        assert_eq!(standing.mean_ms(10 + SHUN_MS, NODE), Some(20), "what was long ago is out");
    }
}
