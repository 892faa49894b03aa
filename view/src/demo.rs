//! The demo: steps that held, with figures that are for people.

use serde::Serialize;

use crate::plain::{Id, Money};

/// A demo that held.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Held {
    /// That every step held.
    pub held: bool,
    /// How long it took.
    pub took_ms: u64,
    /// One for each step.
    pub steps: Vec<Step>,
}

/// The steps that held before one did not.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Broken {
    /// How long it took.
    pub took_ms: u64,
    /// One for each step.
    pub steps: Vec<Step>,
}

/// A step that held.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Step {
    /// What it is, for people.
    pub step: String,
    /// When it was done, counted from the beginning.
    pub at_ms: u64,
    /// Its figures; each step has its own.
    pub figures: Figures,
}

/// The figures of a step.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Figures {
    /// A network is there.
    Network {
        /// How many nodes it has.
        nodes: usize,
        /// How long an epoch is.
        epoch_ms: u64,
    },
    /// An owner, a buyer and a thief are there.
    People {
        /// What the faucet gave.
        faucet: Money,
    },
    /// The owner stored a file.
    Put {
        /// Bytes of the file.
        length: u64,
        /// How long it took.
        took_ms: u64,
        /// Segments it was cut into.
        segments: u32,
        /// How many shards of a segment are needed.
        required: u8,
        /// How many shards a segment has.
        total: u8,
        /// Shards of all segments.
        shards: usize,
        /// Nodes that keep them.
        nodes: usize,
        /// Bytes of all shards.
        stored_bytes: u64,
        /// What it cost in all.
        cost: Money,
    },
    /// All nodes proved that they keep their shards.
    Prove {
        /// How many nodes.
        nodes: usize,
        /// The epoch it is then.
        epoch: u64,
        /// What the ledger paid them.
        earned: Money,
    },
    /// Nodes were killed, and the owner read the file all the same.
    Kill {
        /// The first digits of those nodes.
        killed: Vec<String>,
        /// How long reading took.
        took_ms: u64,
    },
    /// The owner listed the file.
    Sell {
        /// The listing.
        listing: Id,
        /// The price of one access.
        price: Money,
        /// How many custodians share its key.
        custodians: usize,
        /// How many of those are needed.
        threshold: usize,
    },
    /// The buyer found it, and saw a part of it.
    Find {
        /// Cells of the file.
        cells: u64,
        /// The cell that anyone may read.
        preview_cell: u64,
        /// Bytes of that.
        bytes: usize,
    },
    /// The buyer paid, and read it.
    Buy {
        /// The order.
        order: Id,
        /// What was paid.
        paid: Money,
        /// How long it took until the key was there.
        key_ms: u64,
        /// How long reading took.
        fetch_ms: u64,
        /// What the owner has more than before.
        income: Money,
    },
    /// The thief was turned away.
    Steal {
        /// By how many nodes.
        refused: usize,
    },
    /// A buyer was cheated, and got the money back.
    Cheat {
        /// The order.
        order: Id,
        /// What was paid.
        paid: Money,
        /// How long it took from the order until the money was back.
        took_ms: u64,
        /// What came back of the order.
        refunded: Money,
        /// The buyer's part of the seller's bond.
        from_bond: Money,
    },
    /// All money that was issued is there.
    AddUp {
        /// In accounts.
        accounts: Money,
        /// In escrow.
        holds: Money,
        /// For proofs to come.
        storage: Money,
        /// For repair.
        repair: Money,
        /// The network's.
        treasury: Money,
        /// Deposits for rows that stay.
        deposits: Money,
        /// What nodes stand for their bytes with.
        collateral: Money,
        /// All that was ever issued.
        issued: Money,
    },
}
