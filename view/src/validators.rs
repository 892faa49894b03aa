//! Those who order a ledger.

use serde::{Deserialize, Serialize};

use crate::{
    network::Ready,
    plain::{Id, Money},
};

/// Whether a machine votes on blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Votes {
    /// It does.
    Yes,
    /// It only follows the ledger.
    No,
}

/// A validator that runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ValidatorReady {
    /// That it runs.
    pub event: Ready,
    /// Its key, and its account.
    pub validator: Id,
    /// The ledger.
    pub chain: Id,
    /// Whether it votes at the start.
    pub votes: Votes,
}

/// A validator after it has told the ledger something of itself.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ValidatorChanged {
    /// The validator.
    pub validator: Id,
    /// `none`, `waiting`, `member`, `leaving`, `out`, `jailed` or `barred`.
    pub state: String,
    /// Its stake.
    pub stake: Money,
    /// What its own account has left.
    pub balance: Money,
    /// The height of the block.
    pub height: u64,
}

/// A validator as the ledger knows it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ValidatorShown {
    /// Its key.
    pub validator: Id,
    /// The account that commands it.
    pub operator: Id,
    /// `waiting`, `member`, `leaving`, `out`, `jailed` or `barred`.
    pub state: String,
    /// Its power in the set that commits the next block; 0 for one that is not in it.
    pub power: u64,
    /// Its stake.
    pub stake: Money,
    /// The operator's part of it.
    pub own_stake: Money,
    /// What was taken back and is still bound.
    pub unbonding: Money,
    /// The operator's part of its rewards, in hundredths of a percent.
    pub commission_bp: u16,
    /// The turns that it has had, up to the present epoch.
    pub turns: u64,
    /// The turns that it has missed.
    pub missed: u64,
    /// The blocks that were made while it was in the set.
    pub blocks: u64,
    /// How many of them it has signed.
    pub signed: u64,
}

/// The validators of a ledger.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ValidatorsShown {
    /// The power of the set that commits the next block.
    pub power: u64,
    /// All of them, those with the most power first.
    pub validators: Vec<ValidatorShown>,
}
