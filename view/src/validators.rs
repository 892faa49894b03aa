//! Those who order a ledger.

use serde::{Deserialize, Serialize};
use symbolon_client::{AccountView, Delegated, Stakes, Unbinding};

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
    /// The turns that it has had.
    pub turns: u64,
    /// The turns that it has missed.
    pub missed: u64,
    /// How many of those in a row, up to now; 0 for one that is not in the set.
    pub missed_in_row: u64,
    /// The blocks that were made while it was in the set.
    pub blocks: u64,
    /// How many of them it has signed.
    pub signed: u64,
    /// The part of these blocks that it has signed, in hundredths of a percent; null if there are none.
    pub uptime_bp: Option<u16>,
    /// The height at which it joined; 0 for one that has founded the ledger.
    pub since: u64,
    /// The first time at which a jailed one may come back; null for any other.
    pub jailed_until_ms: Option<u64>,
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

/// What an account has staked on a validator.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Stake {
    /// The validator.
    pub validator: Id,
    /// What its part is worth now.
    pub amount: Money,
}

/// Stake that was taken back, and is still bound.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Bound {
    /// The validator for which it stood.
    pub validator: Id,
    /// What it is worth now.
    pub amount: Money,
    /// When it is paid out.
    pub due_ms: u64,
}

/// The stake of an account.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OwnStakes {
    /// Whose.
    pub account: Id,
    /// What stands for validators.
    pub delegated: Vec<Stake>,
    /// What was taken back and is still bound, the next to be paid out first.
    pub unbonding: Vec<Bound>,
    /// What the account can spend.
    pub balance: Money,
}

impl OwnStakes {
    /// Of an account.
    #[must_use]
    pub fn new(view: &AccountView, stakes: &Stakes) -> Self {
        let stake =
            |one: &Delegated| Stake { validator: one.validator.into(), amount: one.amount.into() };
        let bound = |one: &Unbinding| Bound {
            validator: one.validator.into(),
            amount: one.amount.into(),
            due_ms: one.due_ms.0,
        };
        Self {
            account: view.account.into(),
            delegated: stakes.delegated.iter().map(stake).collect(),
            unbonding: stakes.unbinding.iter().map(bound).collect(),
            balance: view.balance.into(),
        }
    }
}

/// What an account has staked on a validator after a change of it.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StakeChanged {
    /// The validator.
    pub validator: Id,
    /// What stands for it now.
    pub delegated: Money,
    /// What was taken back from it and is still bound.
    pub unbonding: Money,
    /// What the account can spend.
    pub balance: Money,
    /// The height of the block.
    pub height: u64,
}
