//! A seller's vault: who keeps shares of its secret, and what was done about it.

use serde::Serialize;
use symbolon_client::{
    CustodianState, CustodianView, CustodyView, DealOutcome, DealReport, VaultView,
};

use crate::plain::{Id, Money};

/// The vault of an identity, if one is open.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VaultStatus {
    /// The vault; null if none is open.
    pub vault: Option<Vault>,
}

/// What opening a vault, or dealing its secret anew, did.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct VaultDealt {
    /// What was done.
    pub outcome: VaultOutcome,
    /// The vault as it is now.
    pub vault: Vault,
    /// The custodians that were none before.
    pub added: Vec<Id>,
    /// The custodians that are none any more.
    pub removed: Vec<Id>,
    /// What was paid.
    pub cost: Money,
}

/// What was done.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum VaultOutcome {
    /// It was opened.
    Created,
    /// Nothing: it was open before.
    Already,
    /// Its secret was dealt anew.
    Rotated,
    /// Nothing: all custodians are there and wanted.
    Kept,
}

/// A vault.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Vault {
    /// Which.
    pub vault: Id,
    /// The nodes that keep shares of its secret.
    pub custodians: Vec<Custodian>,
    /// How many of them are needed to release a key.
    pub threshold: usize,
    /// How many of them answer now.
    pub answering: usize,
    /// How many of them are lost: dead, or nodes no longer.
    pub lost: usize,
    /// How many were the seller's own nodes when the secret was dealt, as buyers see it.
    pub own: usize,
    /// How often the secret has been dealt.
    pub dealing: u64,
    /// When it was dealt last.
    pub since_ms: u64,
}

/// A custodian of a vault.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Custodian {
    /// The node.
    pub node: Id,
    /// Whether it is there.
    pub state: State,
    /// Whether it is the seller's own node now.
    pub own: bool,
}

/// Whether a custodian is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum State {
    /// It answers.
    Answers,
    /// It answers, and wants to leave.
    Leaves,
    /// It does not answer now.
    Silent,
    /// It counts as dead.
    Dead,
    /// It is a node no longer, or keeps no shares any more.
    Gone,
}

/// Who keeps the key of a listing.
#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Custody {
    /// How many custodians there are.
    pub custodians: usize,
    /// How many of them are needed to release the key.
    pub threshold: usize,
    /// How many of them are run by the seller.
    pub own: usize,
}

impl From<CustodyView> for Custody {
    fn from(view: CustodyView) -> Self {
        Self { custodians: view.custodians, threshold: view.threshold, own: view.own }
    }
}

impl From<&VaultView> for Vault {
    fn from(view: &VaultView) -> Self {
        let custodian = |custodian: &CustodianView| Custodian {
            node: custodian.node.into(),
            state: match custodian.state {
                CustodianState::Answers => State::Answers,
                CustodianState::Leaves => State::Leaves,
                CustodianState::Silent => State::Silent,
                CustodianState::Dead => State::Dead,
                CustodianState::Gone => State::Gone,
            },
            own: custodian.own,
        };
        Self {
            vault: view.id.into(),
            custodians: view.custodians.iter().map(custodian).collect(),
            threshold: view.threshold,
            answering: view.answering(),
            lost: view.lost(),
            own: view.own,
            dealing: view.dealing,
            since_ms: view.since_ms.0,
        }
    }
}

impl From<&DealReport> for VaultDealt {
    fn from(report: &DealReport) -> Self {
        let after = report.vault.custodians.iter().map(|custodian| custodian.node);
        let added = after.clone().filter(|node| !report.before.contains(node));
        let is_there = |node| after.clone().any(|there| there == node);
        let removed = report.before.iter().filter(|node| !is_there(**node));
        let is_new = report.outcome != DealOutcome::Already;
        Self {
            outcome: match report.outcome {
                DealOutcome::Created => VaultOutcome::Created,
                DealOutcome::Already => VaultOutcome::Already,
                DealOutcome::Rotated => VaultOutcome::Rotated,
                DealOutcome::Kept => VaultOutcome::Kept,
            },
            vault: (&report.vault).into(),
            added: added.filter(|_| is_new).map(Id::from).collect(),
            removed: Id::list(removed),
            cost: report.cost.into(),
        }
    }
}
