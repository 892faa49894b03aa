//! What a network may set: every number of the rules, with its range and reason.

use crate::{amount::Amount, record};

record! {
    /// The parameters of a ledger, fixed in its genesis.
    pub struct Params {
        /// Length of an epoch in milliseconds: every node proves once per epoch. 1 s to 30 days.
        pub epoch_ms: u64,
        /// How many blocks ahead a transaction's last valid height may lie: bounds the table of seen ids.
        pub validity_blocks_max: u64,
        /// Fee on storage, in hundredths of a percent of the price, to the treasury. 0 to 1000.
        pub storage_fee_bp: u16,
        /// Repair reserve on storage, in hundredths of a percent of the price. 0 to 10000.
        pub repair_reserve_bp: u16,
        /// Fee on a sale, in hundredths of a percent of the amount, to the treasury. 0 to 1000.
        pub sale_fee_bp: u16,
        /// What the custodians who released share of a sale, in hundredths of a percent. 0 to 1000.
        pub custody_fee_bp: u16,
        /// How long custodians have to release a sold key, in milliseconds; then the buyer is refunded.
        pub delivery_ms: u64,
        /// Shortest time a buyer has to check a delivery before the seller is paid, in milliseconds.
        pub window_ms_min: u64,
        /// Longest deal, in epochs: bounds how far ahead money is bound.
        pub deal_epochs_max: u64,
        /// What a faucet request gives; zero closes the faucet. Only for development networks.
        pub faucet: Amount,
        /// How many blocks an account waits between two faucet requests.
        pub faucet_blocks: u64,
    }
}
