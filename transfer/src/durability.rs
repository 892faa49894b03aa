//! Estimates from the proofs of nodes how likely stored bytes are to stay available, before
//! anything is paid.
//!
//! Floating point is good enough here. The figures inform a person and guard a put. No rule of the
//! network and no money depends on them.

use symbolon_protocol::{Millis, content::Scheme, ledger::rows::Node};

/// Epochs below which a node's record says little.
pub const HISTORY_EPOCHS: u64 = 20;

/// The up-time that is assumed of an unknown node.
const UP_PRIOR: f64 = 0.999;
/// Epochs of a node's own record that weigh as much as the assumption.
const UP_PRIOR_EPOCHS: f64 = HISTORY_EPOCHS as f64;

/// Epochs that a node must miss in a row before its shards count as lost. The owner should not wait
/// longer.
pub const LOST_EPOCHS: u32 = 10;

/// Epochs that a node must miss in a row before it counts as gone for good. It is twice
/// [`LOST_EPOCHS`], because a wrongly counted departure distorts every later estimate.
const LEFT_EPOCHS: u32 = 20;

const _: () = assert!(LOST_EPOCHS < LEFT_EPOCHS);

/// Milliseconds that a node is assumed to stay while nothing is known: three years. It counts as
/// one departure in that time.
const LIFE_PRIOR_MS: f64 = 3.0 * 365.0 * 24.0 * 3_600_000.0;

/// The largest allowed probability that a file is unavailable when its repair is due: one in ten
/// thousand.
pub const UNAVAILABLE_MAX: f64 = 0.0001;

/// A node's record of proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Epochs that it proved.
    pub passed: u64,
    /// Epochs that it missed.
    pub missed: u64,
    /// Epochs that it has missed in a row until now.
    pub missed_in_row: u32,
    /// Whether the ledger has taken its shards from it.
    pub dead: bool,
}

impl Record {
    /// The record in a node's row.
    #[must_use]
    pub fn of(row: &Node) -> Self {
        let Node { passed, missed, missed_in_row, dead, .. } = *row;
        Self { passed, missed, missed_in_row, dead }
    }

    /// Epochs in which it had something to prove.
    #[must_use]
    pub fn epochs(&self) -> u64 {
        self.passed.saturating_add(self.missed)
    }

    /// The expected share of epochs in which the node is up, from its record and the assumption.
    #[must_use]
    pub fn up(&self) -> f64 {
        (float(self.passed) + UP_PRIOR * UP_PRIOR_EPOCHS) / (float(self.epochs()) + UP_PRIOR_EPOCHS)
    }
}

/// The durability of a scheme on certain nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Durability {
    /// The mean up-time of the chosen nodes, from 0 to 1.
    pub up: f64,
    /// Epochs in the shortest record of these nodes.
    pub epochs: u64,
    /// The probability that the file is unavailable at a given moment while all shards are placed.
    pub unavailable: f64,
    /// The same probability when so few shards are left that repair is due, on the worst of these
    /// nodes.
    pub unavailable_at_repair: f64,
    /// The probability that too many nodes leave for good during the paid time, without any repair.
    pub loss: f64,
    /// Whether the file is available often enough when its repair is due.
    pub safe: bool,
}

/// Estimates the durability of `scheme` on nodes with these records. `network` holds the records of
/// all present and former nodes, or of a random sample. The file has `segments` independent
/// segments and is stored for `term_ms`.
#[must_use]
pub fn durability(
    scheme: Scheme,
    nodes: &[Record],
    network: &[Record],
    segments: u32,
    (epoch_ms, term_ms): (Millis, Millis),
) -> Durability {
    let chosen = &nodes[..nodes.len().min(usize::from(scheme.total))];
    let mut ups: Vec<f64> = chosen.iter().map(Record::up).collect();
    let up = ups.iter().sum::<f64>() / float(ups.len().max(1) as u64);
    let required = usize::from(scheme.required);
    let any = |lost: f64| -f64::exp_m1(f64::from(segments) * f64::ln_1p(-lost.min(1.0)));
    let unavailable = any(fewer_than(required, &ups));
    // Schemes of two and three shards are repaired only when no shard is to spare. Then one more is
    // counted.
    let left = usize::from(scheme.repair_at()).max(required + 1).min(ups.len());
    ups.sort_by(f64::total_cmp);
    let unavailable_at_repair = fewer_than(required, &ups[..left]);
    let is_gone = |record: &&Record| record.dead || LEFT_EPOCHS <= record.missed_in_row;
    let gone = network.iter().filter(is_gone).count();
    let seen_ms =
        network.iter().map(|record| float(record.epochs())).sum::<f64>() * float(epoch_ms.0);
    let rate = (float(gone as u64) + 1.0) / (seen_ms + LIFE_PRIOR_MS);
    let stays = f64::exp(-rate * float(term_ms.0));
    let loss = any(fewer_than(required, &vec![stays; usize::from(scheme.total)]));
    Durability {
        up,
        epochs: chosen.iter().map(Record::epochs).min().unwrap_or(0),
        unavailable,
        unavailable_at_repair,
        loss,
        // A scheme with one node has a warning of its own, and leaves no choice.
        safe: scheme.total == 1 || unavailable_at_repair <= UNAVAILABLE_MAX,
    }
}

/// The probability that fewer than `required` of independent nodes are up.
fn fewer_than(required: usize, ups: &[f64]) -> f64 {
    // `exactly[n]` is the probability that n of the nodes so far are up. Values of n from
    // `required` on do not matter.
    let mut exactly = vec![0.0; required];
    let Some(none) = exactly.first_mut() else { return 0.0 };
    *none = 1.0;
    for up in ups {
        for count in (0..required).rev() {
            let before = if count == 0 { 0.0 } else { exactly[count - 1] };
            exactly[count] = exactly[count] * (1.0 - up) + before * up;
        }
    }
    exactly.iter().sum::<f64>().clamp(0.0, 1.0)
}

/// Exact for counts below 2^53, which is enough for an estimate.
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(passed: u64, missed: u64) -> Record {
        Record { passed, missed, missed_in_row: 0, dead: false }
    }

    fn scheme(required: u8, total: u8) -> Scheme {
        Scheme { required, total }
    }

    const HOUR: Millis = Millis(3_600_000);

    fn of(required: u8, total: u8, nodes: &[Record]) -> Durability {
        durability(scheme(required, total), nodes, nodes, 1, (HOUR, Millis::DAY.saturating_mul(30)))
    }

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() <= other.abs() * 1e-6
    }

    #[test]
    fn the_binomial_is_right() {
        // One of two nodes with 0.9 is needed: the probability that both are down.
        assert!(near(fewer_than(1, &[0.9, 0.9]), 0.01));
        // Two of three nodes with 0.9, 0.8 and 0.5 are needed: computed by hand.
        let none = 0.1 * 0.2 * 0.5;
        let one = 0.9 * 0.2 * 0.5 + 0.1 * 0.8 * 0.5 + 0.1 * 0.2 * 0.5;
        assert!(near(fewer_than(2, &[0.9, 0.8, 0.5]), none + one));
        assert!(near(fewer_than(3, &[0.9, 0.9]), 1.0), "more than all nodes");
        // A tail that is too small to be computed as 1 - x.
        let tail = fewer_than(4, &[0.9999; 8]);
        assert!(0.9 * 56e-20 < tail && tail < 56e-20, "{tail}");
    }

    #[test]
    fn a_record_outweighs_the_assumption() {
        assert!(near(record(0, 0).up(), 0.999));
        assert!(record(20, 0).up() > 0.999);
        assert!(record(0, 20).up() < 0.51);
        assert!((record(9_000, 1_000).up() - 0.9).abs() < 0.001);
    }

    #[test]
    fn a_network_that_never_missed_is_safe_with_every_scheme_it_chooses() {
        for epochs in [0, 1, 20, 10_000] {
            for nodes in 1..100 {
                let scheme = Scheme::for_nodes(nodes);
                let records = vec![record(epochs, 0); nodes];
                let times = (HOUR, Millis::DAY.saturating_mul(30));
                let found = durability(scheme, &records, &records, 1, times);
                assert!(found.safe, "{nodes} nodes of {epochs} epochs: {found:?}");
                assert_eq!(found.epochs, epochs);
            }
        }
    }

    #[test]
    fn nodes_that_miss_are_not_safe() {
        // Nodes up nine times in ten: with six shards left of 4/8, fewer than four are up once in
        // sixty times.
        let bad = of(4, 8, &[record(900, 100); 8]);
        assert!(!bad.safe && bad.unavailable_at_repair > 0.01, "{bad:?}");
        assert!(bad.unavailable < bad.unavailable_at_repair);
        // Spare shards make up for one bad node among good ones.
        let mut mixed = vec![record(1_000, 0); 7];
        mixed.push(record(500, 500));
        assert!(of(4, 8, &mixed).safe);
        assert!(!of(8, 8, &mixed).safe, "nothing to spare");
    }

    #[test]
    fn loss_grows_with_time_segments_and_departures() {
        let nodes = [record(1_000, 0); 8];
        let reckon = |segments, days, network: &[Record]| {
            let times = (HOUR, Millis::DAY.saturating_mul(days));
            durability(scheme(4, 8), &nodes, network, segments, times).loss
        };
        let month = reckon(1, 30, &nodes);
        assert!(month > 0.0 && month < 1e-5, "{month}");
        assert!(reckon(1, 365, &nodes) > 100.0 * month);
        assert!(near(reckon(10, 30, &nodes), 10.0 * month) || reckon(10, 30, &nodes) > 9.9 * month);
        let left = Record { missed_in_row: 500, ..record(500, 500) };
        let network = [nodes.as_slice(), &[left; 4]].concat();
        assert!(reckon(1, 30, &network) > 10.0 * month);
    }
}
