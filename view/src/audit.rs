//! What an audit says.

use serde::Serialize;
use symbolon_audit::Report;
use symbolon_protocol::Amount;

use crate::plain::{Id, Money};

/// A ledger's blocks, audited.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Audited {
    /// The ledger's identity.
    pub chain: Id,
    /// How many blocks were audited, from the first one on.
    pub blocks: u64,
    /// The digest of the last one's header.
    pub head: Id,
    /// The epoch after it.
    pub epoch: u64,
    /// Transactions in all blocks.
    pub transactions: u64,
    /// Epochs that nodes have proven.
    pub proven: u64,
    /// Epochs that nodes have missed.
    pub missed: u64,
    /// Leaves that were opened, each verified.
    pub leaves: u64,
    /// Deals that were opened.
    pub deals: u64,
    /// Orders.
    pub orders: AuditedOrders,
    /// The money that was ever issued.
    pub issued: Money,
    /// Where it is.
    pub money: AuditedMoney,
    /// A hash of the money at every place.
    pub books: Id,
}

/// Orders, as an audit counts them.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditedOrders {
    /// How many were made.
    pub made: u64,
    /// How many of these were settled.
    pub settled: u64,
    /// How many were refunded.
    pub refunded: u64,
}

/// Where the money is.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditedMoney {
    /// In accounts.
    pub accounts: Money,
    /// In holds.
    pub holds: Money,
    /// For epochs that are still to be proven.
    pub storage: Money,
    /// For repairs.
    pub repair: Money,
    /// Fees.
    pub treasury: Money,
    /// Deposits for rows.
    pub deposits: Money,
    /// Collateral of nodes, and pay that is withheld from them.
    pub collateral: Money,
}

impl From<&Report> for Audited {
    fn from(report: &Report) -> Self {
        let money = |amount| Money::from(Amount(amount));
        let [made, settled, refunded] = report.orders;
        Self {
            chain: report.chain.into(),
            blocks: report.blocks,
            head: report.head.into(),
            epoch: report.epoch,
            transactions: report.transactions,
            proven: report.proven,
            missed: report.missed,
            leaves: report.leaves,
            deals: report.deals,
            orders: AuditedOrders { made, settled, refunded },
            issued: money(report.issued),
            money: AuditedMoney {
                accounts: money(report.money.accounts),
                holds: money(report.money.holds),
                storage: money(report.money.storage),
                repair: money(report.money.repair),
                treasury: money(report.money.treasury),
                deposits: money(report.money.deposits),
                collateral: money(report.money.collateral),
            },
            books: report.books.into(),
        }
    }
}
