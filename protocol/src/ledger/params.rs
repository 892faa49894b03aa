//! The parameters of a network: every number of the rules, with its range and reason.

use thiserror::Error;

use crate::{amount::Amount, limits::VALIDATORS_MAX, record, time::Millis};

/// Hundredths of a percent in one whole.
pub const BP: u64 = 10_000;

/// Longest window a seller may give, and longest `window_ms_min`, in milliseconds: a year. Escrow that
/// is bound for longer is most likely a mistake of units.
pub const WINDOW_MS_MAX: Millis = Millis::DAY.saturating_mul(365);

/// Longest `trusting_ms`, in milliseconds: a hundred years, for a ledger whose validators never change.
pub const TRUSTING_MS_MAX: Millis = Millis::DAY.saturating_mul(36_500);

record! {
    /// The parameters of a ledger: its genesis has the first ones, and motions may change some of them.
    pub struct Params {
        /// Length of an epoch in milliseconds: every node proves once per epoch. 1 s to 30 days.
        pub epoch_ms: Millis,
        /// How many blocks ahead a transaction's last valid height may lie: bounds the table of seen ids.
        pub validity_blocks_max: u64,
        /// Fee on storage, in hundredths of a percent of the price, to the treasury. 0 to 1000.
        pub storage_fee_bp: u16,
        /// Repair reserve on storage, in hundredths of a percent of the price. 0 to 10000.
        pub repair_reserve_bp: u16,
        /// Fee on a sale, in hundredths of a percent of the amount, to the treasury. 0 to 1000.
        pub sale_fee_bp: u16,
        /// The part of a sale that goes to the custodians who released, in hundredths of a percent. 0 to
        /// 1000.
        pub custody_fee_bp: u16,
        /// How long custodians have to release a sold key, in milliseconds; then the buyer is refunded.
        pub delivery_ms: Millis,
        /// Shortest time a buyer has to check a delivery before the seller is paid, in milliseconds.
        pub window_ms_min: Millis,
        /// The bond of a listing, in hundredths of a percent of its price. 0 to 100000.
        pub listing_bond_bp: u32,
        /// The bond of a complaint: lost with one that is dismissed.
        pub complaint_bond: Amount,
        /// Longest deal, in epochs: bounds how far ahead money is bound.
        pub deal_epochs_max: u64,
        /// The amount of a faucet request; zero closes the faucet. Only for development networks.
        pub faucet: Amount,
        /// How many blocks an account waits between two faucet requests.
        pub faucet_blocks: u64,
        /// How long a light client trusts a header, in milliseconds: less than a validator's stake stays bound after it
        /// has left. One operator binds none.
        pub trusting_ms: Millis,
        /// The fee of every transaction, to the treasury. 0 to 10^18, as the other prices of transactions.
        pub fee_base: Amount,
        /// The fee for each byte of a transaction, with its signature.
        pub fee_byte: Amount,
        /// The fee for each verification unit: a signature or a group operation.
        pub fee_check: Amount,
        /// The part of the fee that proofs, releases and acknowledgements pay, in hundredths of a percent. 0 to 10000.
        pub duty_fee_bp: u16,
        /// The deposit for each unit of weight of what a transaction leaves in the state.
        pub deposit: Amount,
        /// After how many epochs missed in a row a node loses all its shards. 2 to 1000.
        pub dead_after_epochs: u32,
        /// For how many epochs a caretaker's claim of a repair runs, at most. 1 to 1000.
        pub claim_epochs: u32,
        /// For how many epochs of its pay a node needs collateral. 0 to 1000.
        pub collateral_epochs: u32,
        /// What the repair of lost bytes costs, per GiB. 0 to 10^18, as the two amounts below.
        pub repair_price: Amount,
        /// How much collateral a node needs for the repair of its bytes, in hundredths of a percent of what that costs.
        pub repair_cover_bp: u16,
        /// How much a node may need beyond its collateral before it has earned anything.
        pub allowance: Amount,
        /// How much more it may need, in hundredths of a percent of what it has earned without faults. At most the fee on
        /// storage: so to buy it by deals with oneself is not cheaper than collateral.
        pub allowance_growth_bp: u16,
        /// The part of its collateral that a node loses by a third or later miss within 30 epochs, in hundredths of a
        /// percent. 0 to 10000.
        pub miss_penalty_bp: u16,
        /// The part of its collateral that a custodian loses by keeping silent about an order that is refunded for it, in
        /// hundredths of a percent. 0 to 10000.
        pub silence_penalty_bp: u16,
        /// The deposit of a node for each GiB that it offers.
        pub capacity_deposit: Amount,
        /// Validators in the set at most. 0 to 128; with 0 no account may join, and all founding validators may stay.
        pub validators_max: u16,
        /// What the operator of a validator that is to be in the set must have staked on it itself. 0 to 10^18.
        pub stake_min: Amount,
        /// How much stake gives one unit of power. 1 to 10^18.
        pub stake_unit: Amount,
        /// The part of the power of all that one validator has at most, in hundredths of a percent: in a small set at least an
        /// equal share. 1 to 10000.
        pub power_cap_bp: u16,
        /// The highest commission, in hundredths of a percent of a validator's rewards. 0 to 10000.
        pub commission_max_bp: u16,
        /// How much a validator may raise its commission within an epoch, in hundredths of a percent. 0 to 10000.
        pub commission_rise_bp: u16,
        /// What a missed turn costs, to the treasury, as far as the stake reaches. 0 to 10^18.
        pub turn_penalty: Amount,
        /// After how many turns missed in a row a validator is jailed. 1 to 1000.
        pub turns_missed_max: u32,
        /// How long a jailed validator stays out at least, in milliseconds. 0 to 30 days.
        pub jail_ms: Millis,
        /// The part of its stake, and of what is being paid out of it, that a validator loses by signing two things that
        /// exclude each other, in hundredths of a percent. 0 to 10000.
        pub equivocation_penalty_bp: u16,
        /// How long stake stays bound after it was taken back, in milliseconds. 1 s to 36500 days.
        pub unbonding_ms: Millis,
        /// The part of the fees of transactions that validators share, in hundredths of a percent. 0 to 10000.
        pub validators_fee_bp: u16,
        /// For how many epochs a motion is voted on. 1 to 1000.
        pub voting_epochs: u32,
        /// For how many epochs a motion that was passed waits before it takes effect. 1 to 1000.
        pub lock_epochs: u32,
        /// What a motion binds while it is voted on. 0 to 10^18.
        pub motion_deposit: Amount,
        /// The part of what may vote that must have voted, in hundredths of a percent. 1000 to 10000.
        pub quorum_bp: u16,
        /// A motion is passed by more than this part of those who did not abstain, in hundredths of a percent. 5000 to 9900.
        pub majority_bp: u16,
        /// More than this part of all who voted stops a motion by a veto, in hundredths of a percent. 1000 to 10000.
        pub veto_bp: u16,
    }
}

/// Highest fee per transaction, byte or unit, and highest deposit: a billion credits. No sum of them exceeds its type.
const PRICE_MAX: u64 = 1_000_000_000_000_000_000;

/// A parameter outside its range.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("parameter {name} is {value}, its range is {min} to {max}")]
pub struct ParamsError {
    /// The parameter.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// Its least value.
    pub min: u64,
    /// Its greatest value.
    pub max: u64,
}

impl Params {
    /// For a private network: minutes instead of days, and a faucet.
    #[must_use]
    pub const fn development() -> Self {
        Self {
            epoch_ms: Millis(60_000),
            validity_blocks_max: 10_000,
            storage_fee_bp: 200,
            repair_reserve_bp: 2000,
            sale_fee_bp: 200,
            custody_fee_bp: 100,
            delivery_ms: Millis(10 * 60_000),
            window_ms_min: Millis(60_000),
            listing_bond_bp: 10_000,
            complaint_bond: Amount::credits(1),
            deal_epochs_max: 100_000,
            faucet: Amount::credits(1000),
            faucet_blocks: 100,
            trusting_ms: TRUSTING_MS_MAX,
            fee_base: Amount::ZERO,
            fee_byte: Amount::ZERO,
            fee_check: Amount::ZERO,
            duty_fee_bp: 0,
            deposit: Amount::ZERO,
            dead_after_epochs: 10,
            claim_epochs: 3,
            collateral_epochs: 0,
            repair_price: Amount::ZERO,
            repair_cover_bp: 15_000,
            allowance: Amount::ZERO,
            allowance_growth_bp: 0,
            miss_penalty_bp: 200,
            silence_penalty_bp: 200,
            capacity_deposit: Amount::ZERO,
            validators_max: 128,
            stake_min: Amount::credits(1),
            stake_unit: Amount::credits(1),
            power_cap_bp: 10_000,
            commission_max_bp: 2_000,
            commission_rise_bp: 100,
            turn_penalty: Amount(1_000_000),
            turns_missed_max: 5,
            jail_ms: Millis(10 * 60_000),
            equivocation_penalty_bp: 1_000,
            unbonding_ms: Millis(10 * 60_000),
            validators_fee_bp: 0,
            voting_epochs: 5,
            lock_epochs: 2,
            motion_deposit: Amount::credits(10),
            quorum_bp: 4_000,
            majority_bp: 5_000,
            veto_bp: 3_334,
        }
    }

    /// Whether every number is in its range. The rules are safe only with such numbers.
    pub fn check(&self) -> Result<(), ParamsError> {
        let units = |amount: Amount| u64::try_from(amount.0).unwrap_or(u64::MAX);
        let month = Millis::DAY.saturating_mul(30).0;
        let ranges = [
            // In less than a second no honest node could answer in time.
            ("epoch_ms", self.epoch_ms.0, 1000, month),
            // The ledger keeps every seen id for this long.
            ("validity_blocks_max", self.validity_blocks_max, 1, 10_000_000),
            ("storage_fee_bp", u64::from(self.storage_fee_bp), 0, 1000),
            ("repair_reserve_bp", u64::from(self.repair_reserve_bp), 0, BP),
            // Together with the custody fee at most a fifth, so that a seller always gets something.
            ("sale_fee_bp", u64::from(self.sale_fee_bp), 0, 1000),
            ("custody_fee_bp", u64::from(self.custody_fee_bp), 0, 1000),
            ("delivery_ms", self.delivery_ms.0, 1_000, month),
            ("window_ms_min", self.window_ms_min.0, 0, WINDOW_MS_MAX.0),
            // At ten prices no seller lists.
            ("listing_bond_bp", u64::from(self.listing_bond_bp), 0, 10 * BP),
            ("complaint_bond", units(self.complaint_bond), 0, PRICE_MAX),
            // A hundred years of days.
            ("deal_epochs_max", self.deal_epochs_max, 1, 100_000_000),
            // A device that is used every day keeps its trust.
            ("trusting_ms", self.trusting_ms.0, Millis::DAY.0, TRUSTING_MS_MAX.0),
            ("fee_base", units(self.fee_base), 0, PRICE_MAX),
            ("fee_byte", units(self.fee_byte), 0, PRICE_MAX),
            ("fee_check", units(self.fee_check), 0, PRICE_MAX),
            ("duty_fee_bp", u64::from(self.duty_fee_bp), 0, BP),
            ("deposit", units(self.deposit), 0, PRICE_MAX),
            // One missed epoch is an accident. In a thousand days no owner's data is left.
            ("dead_after_epochs", u64::from(self.dead_after_epochs), 2, 1000),
            // A claim that is not used keeps others from the repair.
            ("claim_epochs", u64::from(self.claim_epochs), 1, 1000),
            // Years of pay keep honest nodes away.
            ("collateral_epochs", u64::from(self.collateral_epochs), 0, 1000),
            ("repair_price", units(self.repair_price), 0, PRICE_MAX),
            ("allowance", units(self.allowance), 0, PRICE_MAX),
            // A deal with oneself costs the fee, so trust that is bought costs no less than it covers.
            (
                "allowance_growth_bp",
                u64::from(self.allowance_growth_bp),
                0,
                u64::from(self.storage_fee_bp),
            ),
            ("miss_penalty_bp", u64::from(self.miss_penalty_bp), 0, BP),
            ("silence_penalty_bp", u64::from(self.silence_penalty_bp), 0, BP),
            ("capacity_deposit", units(self.capacity_deposit), 0, PRICE_MAX),
        ];
        for (name, value, min, max) in ranges.into_iter().chain(self.validator_ranges()) {
            if value < min || max < value {
                return Err(ParamsError { name, value, min, max });
            }
        }
        Ok(())
    }

    /// The ranges of what is about validators and motions.
    fn validator_ranges(&self) -> [(&'static str, u64, u64, u64); 19] {
        let units = |amount: Amount| u64::try_from(amount.0).unwrap_or(u64::MAX);
        let month = Millis::DAY.saturating_mul(30).0;
        // A light client must not trust validators that have their stake back. Play money is no stake.
        let is_play = self.faucet > Amount::ZERO || self.validators_max == 0;
        let trusting_max = match is_play {
            true => TRUSTING_MS_MAX.0,
            false => self.unbonding_ms.0.saturating_sub(1),
        };
        [
            ("validators_max", u64::from(self.validators_max), 0, VALIDATORS_MAX as u64),
            ("stake_min", units(self.stake_min), 0, PRICE_MAX),
            ("stake_unit", units(self.stake_unit), 1, PRICE_MAX),
            ("power_cap_bp", u64::from(self.power_cap_bp), 1, BP),
            ("commission_max_bp", u64::from(self.commission_max_bp), 0, BP),
            ("commission_rise_bp", u64::from(self.commission_rise_bp), 0, BP),
            ("turn_penalty", units(self.turn_penalty), 0, PRICE_MAX),
            // In a thousand turns the ledger waits for a dead one a thousand times.
            ("turns_missed_max", u64::from(self.turns_missed_max), 1, 1000),
            ("jail_ms", self.jail_ms.0, 0, month),
            ("equivocation_penalty_bp", u64::from(self.equivocation_penalty_bp), 0, BP),
            ("unbonding_ms", self.unbonding_ms.0, 1000, TRUSTING_MS_MAX.0),
            ("validators_fee_bp", u64::from(self.validators_fee_bp), 0, BP),
            ("trusting_ms", self.trusting_ms.0, 0, trusting_max),
            ("voting_epochs", u64::from(self.voting_epochs), 1, 1000),
            // Without a lock, those who are against a motion could not leave before it takes effect.
            ("lock_epochs", u64::from(self.lock_epochs), 1, 1000),
            ("motion_deposit", units(self.motion_deposit), 0, PRICE_MAX),
            // Less than a tenth of the stake never decides for all.
            ("quorum_bp", u64::from(self.quorum_bp), 1000, BP),
            ("majority_bp", u64::from(self.majority_bp), 5000, 9900),
            ("veto_bp", u64::from(self.veto_bp), 1000, BP),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_kept() {
        let good = Params::development();
        assert_eq!(good.check(), Ok(()));
        let mut greedy = good.clone();
        greedy.sale_fee_bp = 1001;
        assert_eq!(greedy.check().unwrap_err().name, "sale_fee_bp");
        let mut hasty = good;
        hasty.epoch_ms = Millis(999);
        assert_eq!(hasty.check().unwrap_err().name, "epoch_ms");
    }
}
