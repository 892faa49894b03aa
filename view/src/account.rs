//! Money: the balance, its history, and what was sent.

use serde::Serialize;
use symbolon_client::AccountView;

use crate::plain::{Id, Money};

/// What an account can spend.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Balance {
    /// Whose.
    pub account: Id,
    /// What it can spend.
    pub balance: Money,
    /// What is bound as deposits for what it has on the ledger. It comes back when that leaves.
    pub deposits: Money,
}

impl From<&AccountView> for Balance {
    fn from(view: &AccountView) -> Self {
        let (balance, deposits) = (view.balance.into(), view.deposits.into());
        Self { account: view.account.into(), balance, deposits }
    }
}

/// What moved an account's money, the newest first.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct History {
    /// Whose.
    pub account: Id,
    /// From when on the pay for storage proofs is listed; null when all of it is. All other movements are always
    /// listed.
    pub proofs_since_ms: Option<u64>,
    /// One for each movement.
    pub lines: Vec<Movement>,
}

/// Money that came or went.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Movement {
    /// The block it is in.
    pub height: u64,
    /// When that block was made.
    pub time_ms: u64,
    /// How much came (`+`) or went (`-`).
    pub amount: SignedMoney,
    /// What for, for people.
    pub what: String,
}

/// All that moved an account's money in a time, the oldest first, with the balance before and after.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Statement {
    /// Whose.
    pub account: Id,
    /// The time from which on all movements are listed; null if that is the beginning of the account.
    pub since_ms: Option<u64>,
    /// The balance before the first line.
    pub opening: Money,
    /// All that came.
    pub came: Money,
    /// All that went.
    pub went: Money,
    /// The balance after the last line: `opening` and all lines.
    pub closing: Money,
    /// One for each movement.
    pub lines: Vec<Movement>,
}

/// Credits as a decimal text with a sign: `+` came, `-` went.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SignedMoney(
    #[cfg_attr(test, schemars(regex(pattern = r"^[+-][0-9]+(\.[0-9]{1,9})?$")))] String,
);

impl SignedMoney {
    /// So much came.
    #[must_use]
    pub fn came(amount: symbolon_protocol::Amount) -> Self {
        Self(format!("+{amount}"))
    }

    /// So much went.
    #[must_use]
    pub fn went(amount: symbolon_protocol::Amount) -> Self {
        Self(format!("-{amount}"))
    }

    /// The sign and the credits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Money that was sent to another account.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Sent {
    /// The receiver.
    pub to: Id,
    /// How much.
    pub amount: Money,
    /// The block it is in.
    pub height: u64,
    /// Whether it was sent now.
    pub outcome: SentOutcome,
}

/// Whether money was sent now.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum SentOutcome {
    /// It was.
    Sent,
    /// An earlier command had sent it.
    Already,
}
