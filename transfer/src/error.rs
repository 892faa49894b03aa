//! What can go wrong between an owner and the nodes.

use std::{collections::BTreeMap, error::Error, io, path::PathBuf};

use symbolon_ledger::LedgerError;
use symbolon_net::NetError;
use symbolon_protocol::{
    Amount,
    content::{LayoutError, Scheme},
    id::{DealId, NodeId},
    ledger::{OutOfRange, Status},
    session::NodeFault,
    wire::storage::RefusalCode,
};
use thiserror::Error;

use crate::NODES_PAGE;

/// Why something was not so, by whoever found it out: an error of a rule, or words.
pub type Reason = Box<dyn Error + Send + Sync>;

/// Why a transfer did not succeed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The price is above what the user allowed.
    #[error("this costs {cost} credits, more than the {limit} allowed")]
    CostTooHigh {
        /// The price, all-in.
        cost: Amount,
        /// What was allowed.
        limit: Amount,
    },
    /// The price is above what an amount can say.
    #[error("the price exceeds every amount")]
    PriceTooLarge,
    /// Stored bytes do not open under a key that was checked.
    #[error("segment {segment} of the file is corrupt: {why}")]
    Corrupt {
        /// Which segment.
        segment: u32,
        /// What failed.
        #[source]
        why: Reason,
    },
    /// The deal of a segment is not on the ledger.
    #[error(
        "the ledger knows no deal {deal} for segment {segment}: the file was removed, or its deals ended"
    )]
    DealGone {
        /// Which segment.
        segment: u32,
        /// Its deal.
        deal: DealId,
    },
    /// The deal of a segment has ended, and its nodes have deleted what they kept for it.
    #[error("the time this was stored for is over: its nodes have deleted segment {segment}")]
    DealOver {
        /// Which segment.
        segment: u32,
        /// Since when, in milliseconds since the Unix epoch.
        since_ms: u64,
    },
    /// The source changed while it was read.
    #[error("the source changed while it was being stored")]
    SourceChanged {
        /// The file, where it is one.
        path: Option<PathBuf>,
    },
    /// A segment that was begun before is no longer kept, or kept otherwise.
    #[error("segment {segment} of the upload that was begun before is no longer kept by the nodes")]
    Lapsed {
        /// Which segment.
        segment: u32,
    },
    /// A grant that cannot be used here.
    #[error("the grant cannot be used: {0}")]
    Grant(#[source] Reason),
    /// A local file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No object has this shape.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A field of what was asked for that the ledger would not take.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The ledger could not be asked.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger refused.
    #[error("the ledger refused: {0}")]
    LedgerRefused(Status),
    /// Too few nodes to store on.
    #[error("{accepted} of the {needed} nodes needed took a shard{}", told(faults))]
    NotEnoughNodes {
        /// How many took one.
        accepted: u8,
        /// How many are needed.
        needed: u8,
        /// What the others did.
        faults: Vec<(NodeId, NodeFault)>,
    },
    /// Enough nodes, but too few with room.
    #[error("{fitting} of the {needed} nodes needed have room for a shard of {bytes} bytes")]
    NoRoom {
        /// How many have room.
        fitting: usize,
        /// How many are needed.
        needed: u8,
        /// Bytes of a shard.
        bytes: u64,
    },
    /// No node at all.
    #[error("no storage node can be reached; the ledger knows {}{known}", if *known < NODES_PAGE { "" } else { "at least " })]
    NoNodes {
        /// How many the ledger knows; of many, how many were looked at.
        known: usize,
    },
    /// The scheme asks for more nodes than there are.
    #[error("scheme {}/{} needs {} nodes, {reachable} can be reached", scheme.required, scheme.total, scheme.total)]
    SchemeTooWide {
        /// The scheme.
        scheme: Scheme,
        /// How many answer.
        reachable: usize,
    },
    /// Too few shards to read.
    #[error(
        "segment {segment} cannot be read: {usable} of the {required} shards needed answer{}",
        told(faults)
    )]
    NotEnoughShards {
        /// Which segment.
        segment: u32,
        /// How many shards answer.
        usable: u8,
        /// How many are needed.
        required: u8,
        /// What the nodes of the others did.
        faults: Vec<(NodeId, NodeFault)>,
    },
    /// The network.
    #[error(transparent)]
    Net(#[from] NetError),
    /// What was to be remembered could not be, or what was remembered is lost. Whoever gave the
    /// [`Memory`](crate::upload::Memory) gets its own error back.
    #[error("{0}")]
    Memory(#[source] Reason),
    /// A rule of this program broke.
    #[error("internal error: {0}")]
    Internal(String),
}

impl TransferError {
    /// Whether somebody said no who may: a grant that is not for this, or nodes that were shown it.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        use RefusalCode as Code;
        let denied = |fault: &NodeFault| {
            matches!(
                fault,
                NodeFault::Refused {
                    code: Code::NotAllowed
                        | Code::NotYourGrant
                        | Code::OutOfTime
                        | Code::Revoked
                        | Code::QuotaUsed
                }
            )
        };
        match self {
            Self::Grant(_) => true,
            Self::NotEnoughShards { faults, .. } => faults.iter().any(|(_, fault)| denied(fault)),
            _ => false,
        }
    }
}

/// Nodes that are named in one sentence; of the others it says how many did what.
const NAMED: usize = 8;

/// What nodes did wrong, in brackets, behind a sentence that does not name them; nothing where none did.
#[must_use]
pub fn told(faults: &[(NodeId, NodeFault)]) -> String {
    let (named, others) = faults.split_at(faults.len().min(NAMED));
    let mut parts: Vec<String> = named
        .iter()
        .map(|(node, fault)| format!("node {} {fault}", &node.to_string()[..8]))
        .collect();
    let mut counts = BTreeMap::<NodeFault, usize>::new();
    for (_, fault) in others {
        *counts.entry(*fault).or_default() += 1;
    }
    parts.extend(counts.iter().map(|(fault, count)| format!("{count} more {fault}")));
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::id::PeerId;

    use super::*;

    #[test]
    fn many_faults_are_counted_instead_of_named() {
        let offline = |count: u8| -> Vec<_> {
            (0..count).map(|number| (PeerId([number; 32]), NodeFault::Offline)).collect()
        };
        assert_eq!(told(&[]), "");
        assert_eq!(told(&offline(2)), " (node 00000000 offline, node 01010101 offline)");
        assert_eq!(told(&offline(8)).matches("node ").count(), NAMED);
        let mut many = offline(64);
        many[60].1 = NodeFault::Slow;
        let told = told(&many);
        assert!(
            told.ends_with("node 07070707 offline, 55 more offline, 1 more too slow)"),
            "{told}"
        );
    }
}
