//! What a node earns, what is withheld and forfeited, and what to expect.

use serde::Serialize;

use crate::plain::{Id, Money};

/// What a node earns.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Earnings {
    /// The node.
    pub node: Id,
    /// The account that is paid.
    pub payout: Id,
    /// The epoch it is now.
    pub epoch: u64,
    /// How long an epoch is.
    pub epoch_ms: u64,
    /// What it is paid if it proves the next epoch with the shards that it has.
    pub rate: Money,
    /// What was staked on it.
    pub collateral: Money,
    /// Pay of its that is withheld until it has the collateral that it needs. It is not in what is listed below.
    pub withheld: Money,
    /// Collateral and withheld pay that came back to the account that is paid, as far as it is listed.
    pub given_back: Money,
    /// What that account was paid for rebuilt shards. It does not say by which of its nodes.
    pub repairs: Vec<RepairPay>,
    /// All of that.
    pub repaired: Money,
    /// What no account's history has, from the blocks that the ledger keeps; null unless it was asked for.
    pub blocks: Option<FromBlocks>,
    /// The collateral that it needs for what it keeps.
    pub needs: Money,
    /// Epochs that it has proven, ever.
    pub proven: u64,
    /// Epochs that it has missed, ever.
    pub missed: u64,
    /// All that is listed below.
    pub total: Money,
    /// From when on the pay is listed; null if all of it is.
    pub since_ms: Option<u64>,
    /// Pay by day, in UTC, the newest first.
    pub days: Vec<Day>,
    /// Pay by epoch, the newest first.
    pub epochs: Vec<Epoch>,
    /// Epochs between the first and the last of these that brought no pay, the newest first.
    pub unpaid: Vec<Unpaid>,
    /// What it will earn in 30 days, if nothing changes.
    pub forecast: Forecast,
}

/// The pay for rebuilt shards of a deal.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RepairPay {
    /// The deal.
    pub deal: Id,
    /// The block in which it was paid.
    pub height: u64,
    /// When that was made.
    pub time_ms: u64,
    /// The pay.
    pub amount: Money,
}

/// What happened to a node's pay and collateral on the way, from the blocks that the ledger keeps.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FromBlocks {
    /// The oldest block that was read.
    pub from_height: u64,
    /// Pay that was withheld, by epoch, the newest first.
    pub withheld: Vec<Epoch>,
    /// Collateral and withheld pay that the node has forfeited, the newest first.
    pub forfeited: Vec<Forfeit>,
}

/// Collateral that a node has forfeited.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Forfeit {
    /// The deal whose repair it pays for; null if it went to the pool for repairs.
    pub deal: Option<Id>,
    /// The block.
    pub height: u64,
    /// When that was made.
    pub time_ms: u64,
    /// How much.
    pub amount: Money,
}

/// The pay of a day.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Day {
    /// When the day begins, in UTC.
    pub day_ms: u64,
    /// How many epochs were paid.
    pub epochs: u64,
    /// The pay.
    pub amount: Money,
}

/// The pay of an epoch.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Epoch {
    /// Which.
    pub epoch: u64,
    /// The block in which it was paid.
    pub height: u64,
    /// When that was made.
    pub time_ms: u64,
    /// The pay.
    pub amount: Money,
}

/// An epoch without pay.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unpaid {
    /// Which.
    pub epoch: u64,
    /// The pay of the paid epoch before it: about what it cost.
    pub about: Money,
}

/// What a node will earn if nothing changes.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Forecast {
    /// For how long.
    pub days: u64,
    /// Epochs in that time.
    pub epochs: u64,
    /// If it proves all of them.
    pub at_best: Money,
    /// If it misses as large a part of them as so far.
    pub as_so_far: Money,
    /// What this takes for granted, for people.
    pub assumes: String,
}
