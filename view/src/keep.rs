//! Keeping everything stored: what was renewed and repaired.

use serde::{Deserialize, Serialize};
use symbolon_client::KeepReport;

use crate::plain::Money;

/// What one look at all stored objects found and did.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Kept {
    /// Objects that are stored: small files share one.
    pub objects: u64,
    /// Objects that are kept for longer now.
    pub renewed: u64,
    /// Objects that end too soon, since the limit does not allow to renew them.
    pub unpaid: u64,
    /// What it would cost to renew these.
    pub rest: Money,
    /// Objects that end too soon, since their nodes do not agree to their prices for longer.
    pub limited: u64,
    /// Shards that are kept on new terms, by their nodes or by others.
    pub moved: u64,
    /// Objects that were spread over more nodes, as the network has grown.
    pub widened: u64,
    /// Objects that could be spread over more nodes: the limit does not allow it, or the next look does it.
    pub narrow: u64,
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
    /// The process that goes on in the background; null if none was started.
    pub pid: Option<u32>,
}

/// The process that kept files in the background, and was stopped.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KeepStopped {
    /// The process.
    pub pid: u32,
    /// Whether it had to be killed.
    pub forced: bool,
}

impl Kept {
    /// Of one look, perhaps by a process in the background.
    #[must_use]
    pub fn new(report: &KeepReport, pid: Option<u32>) -> Self {
        Self {
            objects: report.objects,
            renewed: report.renewed,
            unpaid: report.unpaid,
            rest: report.rest.into(),
            limited: report.limited,
            moved: report.moved,
            widened: report.widened,
            narrow: report.narrow,
            over: report.over,
            repaired: report.repaired,
            lost: report.lost,
            fault: report.fault.clone(),
            paid: report.cost.into(),
            pid,
        }
    }
}
