//! Keeping files for longer: until when, and what it costs.

use serde::Serialize;
use symbolon_client::{Agreement, Renewal};
use symbolon_protocol::Amount;

use crate::plain::Money;

/// Files that are kept for longer.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Renewed {
    /// What was asked for: a name, or how many.
    pub name: String,
    /// How many files.
    pub files: u64,
    /// Bytes of those.
    pub length: u64,
    /// How many of them were kept so long already.
    pub kept: u64,
    /// The names of files whose time is over: they cannot be renewed.
    pub over: Vec<String>,
    /// When the first of the others was to end before; null if all are kept so long already.
    pub ended_ms: Option<u64>,
    /// Until when all of them are kept now, or would be.
    pub until_ms: u64,
    /// Whether nodes agree to less than was asked.
    pub limited: bool,
    /// The price.
    pub price: Money,
    /// What was paid; null if nothing was to be paid yet.
    pub paid: Option<Money>,
    /// What publishing the changed list of names cost.
    pub index_paid: Money,
}

/// What is renewed without being asked.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Agreed {
    /// The names. A folder stands for everything in it.
    pub names: Vec<String>,
    /// The most that may be spent for that in thirty days.
    pub monthly_max: Money,
    /// What is left of it now.
    pub left: Money,
}

impl From<&Agreement> for Agreed {
    fn from(agreement: &Agreement) -> Self {
        Self {
            names: agreement.names.iter().map(|(name, _)| name.to_string()).collect(),
            monthly_max: agreement.monthly_max.into(),
            left: agreement.left().into(),
        }
    }
}

/// Names that are not renewed without being asked any more.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Unmarked {
    /// What was asked for: a name, or how many.
    pub name: String,
    /// How many marks were taken away.
    pub marks: u64,
    /// What is renewed now.
    pub agreed: Agreed,
}

impl Renewed {
    /// The result of a renewal; `paid` is absent if it was only priced.
    #[must_use]
    pub fn new(name: String, renewal: &Renewal, paid: Option<Amount>, index: Amount) -> Self {
        Self {
            name,
            files: renewal.files,
            length: renewal.bytes,
            kept: renewal.kept,
            over: renewal.over.iter().map(ToString::to_string).collect(),
            ended_ms: renewal.ends_ms.map(|time| time.0),
            until_ms: renewal.until_ms.0,
            limited: renewal.limited,
            price: renewal.cost.into(),
            paid: paid.map(Money::from),
            index_paid: index.into(),
        }
    }
}
