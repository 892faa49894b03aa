//! Keeping everything stored: what was renewed and repaired.

use serde::Serialize;
use symbolon_client::KeepReport;

use crate::plain::Money;

/// What one look at all stored objects found and did.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Kept {
    /// Objects that are stored: small files share one.
    pub objects: u64,
    /// Objects that are kept for longer now.
    pub renewed: u64,
    /// Objects that end too soon, since their nodes do not agree to their prices for longer.
    pub limited: u64,
    /// Objects that are over.
    pub over: u64,
    /// Lost shards that have a node again.
    pub repaired: u64,
    /// Lost shards that have none.
    pub lost: u64,
    /// Why the first of these was not repaired; null if none is left.
    pub fault: Option<String>,
    /// What was paid.
    pub paid: Money,
}

impl From<&KeepReport> for Kept {
    fn from(report: &KeepReport) -> Self {
        Self {
            objects: report.objects,
            renewed: report.renewed,
            limited: report.limited,
            over: report.over,
            repaired: report.repaired,
            lost: report.lost,
            fault: report.fault.clone(),
            paid: report.cost.into(),
        }
    }
}
