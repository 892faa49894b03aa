//! Removing: the names that went, the money that came back, and the receipts of nodes.

use serde::Serialize;
use symbolon_client::{self as client, Sale};
use symbolon_protocol::{deletion::DeletionReceipt, id::hex};

use crate::plain::{Id, Money};

/// Names that are gone.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Removed {
    /// What was asked for: a name, or how many.
    pub name: String,
    /// How many names went.
    pub names: u64,
    /// How many of them were files.
    pub files: u64,
    /// Bytes of those.
    pub length: u64,
    /// Names with kept versions.
    pub kept: u64,
    /// Uploads that were ended.
    pub uploads: u32,
    /// Deals that were ended.
    pub deals: u32,
    /// What came back.
    pub refunded: Money,
    /// The deletion of the shards.
    pub deletion: Deletion,
    /// Listings that were ended.
    pub listings: Vec<Id>,
    /// The number of buyers who had paid for access that is not over.
    pub buyers: u64,
    /// Objects that stay stored for these buyers: their deals cannot end before.
    pub bound: u32,
    /// When the last of these buyers loses access; null if there is none.
    pub access_until_ms: Option<u64>,
}

impl Removed {
    /// The result of a removal; `files` are the number of files and their bytes, `sales` what was sold of them.
    #[must_use]
    pub fn new(
        name: String,
        (files, length): (u64, u64),
        removed: &client::Removed,
        sales: &[Sale],
    ) -> Self {
        Self {
            name,
            names: removed.names,
            files,
            length,
            kept: removed.kept,
            uploads: removed.uploads,
            deals: removed.deals,
            refunded: removed.refunded.into(),
            deletion: (&removed.deletion).into(),
            listings: Id::list(&removed.listings),
            buyers: sales.iter().map(|sale| sale.buyers).sum(),
            bound: removed.bound,
            access_until_ms: sales
                .iter()
                .filter(|sale| 0 < sale.buyers)
                .map(|sale| sale.access_until_ms.0)
                .max(),
        }
    }
}

/// The deletion of shards.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Deletion {
    /// How many shards there were.
    pub shards: u32,
    /// How many nodes had them.
    pub nodes: usize,
    /// How many of those signed that they have deleted all theirs.
    pub nodes_confirmed: usize,
    /// The others; they delete by themselves once they see the ledger.
    pub unconfirmed: Vec<Id>,
    /// What nodes signed.
    pub receipts: Vec<Receipt>,
}

impl From<&client::Deletion> for Deletion {
    fn from(deletion: &client::Deletion) -> Self {
        let confirmed = deletion.confirmed().len();
        Self {
            shards: deletion.shards,
            nodes: confirmed + deletion.unconfirmed.len(),
            nodes_confirmed: confirmed,
            unconfirmed: Id::list(&deletion.unconfirmed),
            receipts: deletion.receipts.iter().map(Receipt::from).collect(),
        }
    }
}

/// A node's signed receipt that it has deleted a shard from its disk.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Receipt {
    /// The shard's deal.
    pub deal: Id,
    /// The shard's index.
    pub index: u8,
    /// The node that had it.
    pub node: Id,
    /// The shard's root.
    pub root: Id,
    /// When it was deleted.
    pub time_ms: u64,
    /// The node's signature: 64 bytes in lower-case hexadecimal.
    pub signature: String,
}

impl From<&DeletionReceipt> for Receipt {
    fn from(receipt: &DeletionReceipt) -> Self {
        Self {
            deal: receipt.deal.into(),
            index: receipt.index,
            node: receipt.node.into(),
            root: receipt.root.into(),
            time_ms: receipt.time_ms.0,
            signature: hex(&receipt.signature),
        }
    }
}
