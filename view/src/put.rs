//! Storing a file: its price, and the result.

use std::collections::BTreeSet;

use serde::Serialize;
use symbolon_client::{self as client, PutOutcome, PutReport, Quote, StatView};
use symbolon_protocol::Amount;

use crate::plain::{Id, Money, Scheme};

/// A file that is stored.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileStored {
    /// What was done.
    pub outcome: StoredOutcome,
    /// Its name.
    pub name: String,
    /// Its object.
    pub object: Id,
    /// Bytes of the file.
    pub length: u64,
    /// How many of its shards are needed to read it.
    pub scheme: Scheme,
    /// Segments it was cut into.
    pub segments: u32,
    /// Shards of all segments.
    pub shards: usize,
    /// The nodes that keep them.
    pub nodes: Vec<Id>,
    /// What the file cost in all.
    pub cost: Money,
    /// What publishing the names cost.
    pub index_cost: Money,
    /// The first epoch that is not paid.
    pub paid_until_epoch: u64,
    /// A warning about this way of storing it.
    pub warning: Option<String>,
}

impl FileStored {
    /// The result of a put. For a file that was stored already, `stat` says where its shards are.
    #[must_use]
    pub fn new(
        stored: &PutReport,
        stat: Option<&StatView>,
        index_cost: Amount,
        warning: Option<String>,
    ) -> Self {
        let (nodes, shards, paid_until_epoch) = match stat {
            None => (stored.nodes.clone(), stored.shards as usize, stored.end),
            Some(StatView { segments, .. }) => {
                let shards = segments.iter().flat_map(|segment| &segment.shards);
                let nodes: BTreeSet<_> = shards.clone().map(|shard| shard.node).collect();
                let paid_until = segments.iter().map(|segment| segment.end).min().unwrap_or(0);
                (nodes, shards.count(), paid_until)
            }
        };
        Self {
            outcome: match stored.outcome {
                PutOutcome::Stored => StoredOutcome::Stored,
                PutOutcome::Resumed => StoredOutcome::Resumed,
                PutOutcome::Already => StoredOutcome::Already,
                PutOutcome::Renewed => StoredOutcome::Renewed,
            },
            name: stored.name.to_string(),
            object: stored.object.into(),
            length: stored.length,
            scheme: stored.scheme.into(),
            segments: stored.segments,
            shards,
            nodes: Id::list(&nodes),
            cost: stored.cost.into(),
            index_cost: index_cost.into(),
            paid_until_epoch,
            warning,
        }
    }
}

/// What a put did.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum StoredOutcome {
    /// It stored all of it.
    Stored,
    /// It went on where an earlier one had stopped.
    Resumed,
    /// Nothing: it was stored already.
    Already,
    /// The same file was stored before; its nodes are paid for longer.
    Renewed,
}

/// What storing a file would cost, and its expected durability.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileQuote {
    /// The name it would get.
    pub name: String,
    /// Bytes of the file.
    pub length: u64,
    /// How many of its shards would be needed to read it.
    pub scheme: Scheme,
    /// Nodes that answer.
    pub nodes: usize,
    /// Segments it would be cut into.
    pub segments: u32,
    /// Bytes of all shards.
    pub stored_bytes: u64,
    /// For how many epochs.
    pub epochs: u64,
    /// What it would cost.
    pub cost: FileCost,
    /// The expected durability.
    pub durability: Durability,
    /// A warning about this way of storing it.
    pub warning: Option<String>,
}

impl FileQuote {
    /// For a file of this name and length; `index` is the most that telling the other devices may cost, `total` all
    /// that may be paid.
    #[must_use]
    pub fn new(
        (name, length): (&str, u64),
        quote: &Quote,
        (index, total): (Amount, Amount),
    ) -> Self {
        let price = &quote.price;
        Self {
            name: name.to_owned(),
            length,
            scheme: price.scheme.into(),
            nodes: price.nodes,
            segments: price.segments,
            stored_bytes: price.stored_bytes,
            epochs: price.epochs,
            cost: FileCost {
                storage: price.storage.into(),
                reserve: price.reserve.into(),
                fee: price.fee.into(),
                deposit: price.deposit.into(),
                index: index.into(),
                total: total.into(),
                month: quote.month.into(),
            },
            durability: (&quote.durability).into(),
            warning: price.warning.clone(),
        }
    }
}

/// What storing a file would cost.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileCost {
    /// Paid to nodes, epoch by epoch.
    pub storage: Money,
    /// For repair; the unused part comes back.
    pub reserve: Money,
    /// The network's.
    pub fee: Money,
    /// For the deals' rows on the ledger; it comes back some time after their end.
    pub deposit: Money,
    /// The most that publishing its name may cost.
    pub index: Money,
    /// All that may be paid.
    pub total: Money,
    /// What 30 days of the file cost, all-in.
    pub month: Money,
}

/// The expected durability of a file: estimates, on which no rule depends.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Durability {
    /// The mean up-time of the nodes that would keep it, between 0 and 1.
    pub up_time: f64,
    /// The number of epochs for which the node with the shortest history has been counted.
    pub history_epochs: u64,
    /// The probability that it cannot be read at a given moment.
    pub unavailable: f64,
    /// The same probability when a segment has lost so many shards that repair is due.
    pub unavailable_at_repair: f64,
    /// The probability that it is lost while it is paid for, without repair.
    pub loss: f64,
    /// Whether that is enough to store it without `--accept-risk`.
    pub safe: bool,
}

impl From<&client::Durability> for Durability {
    fn from(durability: &client::Durability) -> Self {
        Self {
            up_time: durability.up,
            history_epochs: durability.epochs,
            unavailable: durability.unavailable,
            unavailable_at_repair: durability.unavailable_at_repair,
            loss: durability.loss,
            safe: durability.safe,
        }
    }
}

/// Why something is not stored: it would be out of reach too often.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NotDurable {
    /// The expected durability.
    pub durability: Durability,
}
