//! Errors of transfers between an owner and nodes.

use std::{collections::BTreeMap, error::Error, io, path::PathBuf};

use symbolon_ledger::LedgerError;
use symbolon_net::NetError;
use symbolon_protocol::{
    Amount, LedgerTime,
    content::{LayoutError, Scheme},
    id::{DealId, NodeId, OrderId},
    ledger::{FieldFault, OutOfRange, Status},
    session::NodeFault,
    wire::storage::RefusalCode,
};
use thiserror::Error;

use crate::NODES_PAGE;

/// A reason: the error of a rule, or a text.
pub type Reason = Box<dyn Error + Send + Sync>;

/// Why a transfer failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The price is above the limit that the user set.
    #[error("this costs {cost} credits, more than the {limit} allowed")]
    CostTooHigh {
        /// The price, including everything.
        cost: Amount,
        /// The limit.
        limit: Amount,
    },
    /// The price is larger than the largest amount.
    #[error("the price is larger than any amount can be")]
    PriceTooLarge,
    /// The key was checked, but stored bytes do not open with it.
    #[error("segment {segment} of the file is corrupt: {why}")]
    Corrupt {
        /// The segment.
        segment: u32,
        /// The reason.
        #[source]
        why: Reason,
    },
    /// A cell of a bought file is not what its seller listed.
    #[error("cell {cell} is not what was listed for order {order}: do not acknowledge it")]
    NotListed {
        /// The order.
        order: OrderId,
        /// The cell, counted over the whole file from 0.
        cell: u64,
    },
    /// The deal of a segment is not on the ledger.
    #[error(
        "deal {deal} of segment {segment} is not on the ledger: the file was removed, or its deals ended"
    )]
    DealGone {
        /// The segment.
        segment: u32,
        /// Its deal.
        deal: DealId,
    },
    /// The deal of a segment has ended, so its nodes have deleted the shards.
    #[error("the paid time is over: the nodes have deleted segment {segment}")]
    DealOver {
        /// The segment.
        segment: u32,
        /// The end of the deal, in milliseconds since the Unix epoch.
        since_ms: LedgerTime,
    },
    /// The source changed while it was read.
    #[error("the source changed while it was being stored")]
    SourceChanged {
        /// The file, if the source is one.
        path: Option<PathBuf>,
    },
    /// The nodes no longer keep a segment of an earlier upload, or keep it differently.
    #[error("the nodes no longer keep segment {segment} of the earlier upload")]
    Lapsed {
        /// The segment.
        segment: u32,
    },
    /// A grant that cannot be used here.
    #[error("the grant cannot be used: {0}")]
    Grant(#[source] Reason),
    /// An operation on a local file failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// No object has this shape.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A field of the request is out of the ledger's range.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// The ledger did not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger refused a transaction.
    #[error("the ledger refused the transaction: {0}")]
    LedgerRefused(Status),
    /// The ledger refused a transaction because of a field.
    #[error("the ledger refused {action}: {fault}")]
    FieldRefused {
        /// The action of the transaction.
        action: &'static str,
        /// The field, its value and what the ledger allows.
        fault: FieldFault,
    },
    /// Too few nodes accepted a shard.
    #[error(
        "only {accepted} of the {needed} nodes needed took a shard{}",
        faults_in_brackets(faults)
    )]
    NotEnoughNodes {
        /// Number of nodes that accepted one.
        accepted: u8,
        /// Number of nodes needed.
        needed: u8,
        /// The faults of the other nodes.
        faults: Vec<(NodeId, NodeFault)>,
    },
    /// There are enough nodes, but too few of them have room.
    #[error("only {fitting} of the {needed} nodes needed have room for a shard of {bytes} bytes")]
    NoRoom {
        /// Number of nodes with room.
        fitting: usize,
        /// Number of nodes needed.
        needed: u8,
        /// Bytes of a shard.
        bytes: u64,
    },
    /// No node can be reached.
    #[error("no storage node can be reached; the ledger knows {}{known}", if *known < NODES_PAGE { "" } else { "at least " })]
    NoNodes {
        /// Number of nodes on the ledger, or of those that were tried if there are many.
        known: usize,
    },
    /// The scheme needs more nodes than can be reached.
    #[error(
        "scheme {}/{} needs {} nodes, but only {reachable} can be reached",
        scheme.required, scheme.total, scheme.total
    )]
    SchemeTooWide {
        /// The scheme.
        scheme: Scheme,
        /// Number of nodes that answer.
        reachable: usize,
    },
    /// Too few shards of a segment can be read.
    #[error(
        "segment {segment} cannot be read: only {usable} of the {required} shards needed can be read{}",
        faults_in_brackets(faults)
    )]
    NotEnoughShards {
        /// The segment.
        segment: u32,
        /// Number of shards that can be read.
        usable: u8,
        /// Number of shards needed.
        required: u8,
        /// The faults of the other shards' nodes.
        faults: Vec<(NodeId, NodeFault)>,
    },
    /// A connection failed.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The [`Memory`](crate::upload::Memory) failed or has lost its contents. Holds the memory's
    /// own error.
    #[error("{0}")]
    Memory(#[source] Reason),
    /// A rule of this program is broken.
    #[error("internal error: {0}")]
    Internal(String),
}

impl TransferError {
    /// Whether the ledger refused a transaction, so that it had no effect.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::LedgerRefused(_) | Self::FieldRefused { .. })
    }

    /// Whether the data itself could not be had as it was stored: too few shards, or bytes that do not open.
    #[must_use]
    pub fn is_of_data(&self) -> bool {
        matches!(self, Self::NotEnoughShards { .. } | Self::Corrupt { .. })
    }

    /// Whether access was denied: the grant does not allow the request, or a node refused it.
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
                        | Code::NotRedeemed
                        | Code::RedeemedElsewhere
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

/// Nodes that are named in one message. The other nodes are only counted for each fault.
const NAMED: usize = 8;

/// The faults of nodes in brackets, to end a message with. Empty if there are none.
#[must_use]
pub fn faults_in_brackets(faults: &[(NodeId, NodeFault)]) -> String {
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
        assert_eq!(faults_in_brackets(&[]), "");
        assert_eq!(
            faults_in_brackets(&offline(2)),
            " (node 00000000 offline, node 01010101 offline)"
        );
        assert_eq!(faults_in_brackets(&offline(8)).matches("node ").count(), NAMED);
        let mut many = offline(64);
        many[60].1 = NodeFault::Slow;
        let text = faults_in_brackets(&many);
        assert!(
            text.ends_with("node 07070707 offline, 55 more offline, 1 more too slow)"),
            "{text}"
        );
    }
}
