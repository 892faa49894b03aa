//! What an audit says: figures that follow from the blocks alone, so that two machines say the same.

use symbolon_protocol::{
    Decode,
    id::{ChainId, Hash},
    ledger::block::Place,
};

use crate::Auditor;

/// The result of an audit up to a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The ledger.
    pub chain: ChainId,
    /// How many blocks were audited, from the first one on.
    pub blocks: u64,
    /// The digest of the last one's header.
    pub head: Hash,
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
    /// Orders that were made, settled and refunded.
    pub orders: [u64; 3],
    /// The money that was ever issued.
    pub issued: u128,
    /// Where it is: in accounts, in holds, and in each pool.
    pub money: Money,
    /// A hash of the money at every place: one account that has another amount gives another hash.
    pub books: Hash,
}

/// Where the money is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Money {
    /// In accounts.
    pub accounts: u128,
    /// In holds.
    pub holds: u128,
    /// For epochs that are still to be proven.
    pub storage: u128,
    /// For repairs.
    pub repair: u128,
    /// Fees.
    pub treasury: u128,
    /// Deposits for rows.
    pub deposits: u128,
    /// Collateral of nodes, and pay that is withheld from them.
    pub collateral: u128,
    /// Stake of validators.
    pub stake: u128,
    /// Stake that was taken back and is still bound.
    pub unbonding: u128,
    /// Fees that wait for validators.
    pub rewards: u128,
}

impl Auditor {
    /// What these books say now.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut money = Money::default();
        let mut books = blake3::Hasher::new_derive_key("symbolon 2026 audit books v1");
        for (place, amount) in self.money.iter().filter(|(_, amount)| 0 < **amount) {
            books.update(place).update(&amount.to_le_bytes());
            let sum = match Place::from_bytes(place) {
                Ok(Place::Account { .. }) => &mut money.accounts,
                Ok(Place::Hold { .. }) => &mut money.holds,
                Ok(Place::Storage) => &mut money.storage,
                Ok(Place::Repair) => &mut money.repair,
                Ok(Place::Treasury) => &mut money.treasury,
                Ok(Place::Deposits) => &mut money.deposits,
                Ok(Place::Collateral) => &mut money.collateral,
                Ok(Place::Stake) => &mut money.stake,
                Ok(Place::Unbonding) => &mut money.unbonding,
                Ok(Place::Rewards) => &mut money.rewards,
                Ok(Place::Outside) | Err(_) => continue,
            };
            *sum = sum.saturating_add(*amount);
        }
        let (proven, missed) = self.passed_and_missed();
        let (made, settled, refunded) = self.orders();
        Report {
            chain: self.chain,
            blocks: self.next,
            head: self.parent,
            epoch: self.epoch,
            transactions: self.transactions,
            proven,
            missed,
            leaves: self.tables.leaves,
            deals: self.deals_opened() as u64,
            orders: [made, settled, refunded].map(|count| count as u64),
            issued: self.issued,
            money,
            books: Hash(*books.finalize().as_bytes()),
        }
    }
}
