//! Which parameters motions may change, and what that does to what is on the ledger already.
//!
//! A parameter that was copied into a row when the row was made can change at any time: the row keeps what it was promised.
//! One that the rules read again for rows of before may break a promise, or give back another sum than was bound. Such a
//! parameter never changes, or only in the direction that keeps all promises.

use thiserror::Error;

use crate::{
    amount::Amount,
    ledger::{
        params::{Params, ParamsError},
        rows::ParamChange,
    },
    time::Millis,
};

/// Parameters that one motion changes at most.
pub const CHANGES_MAX: usize = 16;

/// How a parameter may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Within its range.
    Freely,
    /// Only to less.
    Less,
    /// Within its range, but neither from nor to 0.
    NotZero,
    /// Never.
    Never,
}

/// What the rules say of a parameter's changes.
#[derive(Clone, Copy)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// How it may change.
    pub change: Change,
    /// What a change does to what exists already, or why there is none.
    pub existing: &'static str,
    get: fn(&Params) -> u128,
    set: fn(&mut Params, u128) -> Option<()>,
}

/// A change of a parameter that the rules do not allow.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ChangeError {
    /// There is no such parameter.
    #[error("there is no parameter of number {param}")]
    Unknown {
        /// Its number.
        param: u8,
    },
    /// It never changes.
    #[error("parameter {name} never changes")]
    Fixed {
        /// The parameter.
        name: &'static str,
    },
    /// It may only become less.
    #[error("parameter {name} may only become less")]
    More {
        /// The parameter.
        name: &'static str,
    },
    /// It is 0 for ever, or never.
    #[error("parameter {name} can neither become 0 nor stop being 0")]
    Zero {
        /// The parameter.
        name: &'static str,
    },
    /// The value does not fit its type.
    #[error("parameter {name} cannot be as large as {value}")]
    Size {
        /// The parameter.
        name: &'static str,
        /// The value.
        value: u128,
    },
    /// The parameters would not go together.
    #[error(transparent)]
    Range(#[from] ParamsError),
}

/// A number of a parameter.
trait Number: Copy {
    fn wide(self) -> u128;
    fn of(value: u128) -> Option<Self>;
}

macro_rules! numbers {
    ($($kind:ty),*) => {$(
        impl Number for $kind {
            fn wide(self) -> u128 {
                self.into()
            }

            fn of(value: u128) -> Option<Self> {
                value.try_into().ok()
            }
        }
    )*};
}

numbers!(u16, u32, u64);

impl Number for Millis {
    fn wide(self) -> u128 {
        self.0.into()
    }

    fn of(value: u128) -> Option<Self> {
        value.try_into().ok().map(Self)
    }
}

impl Number for Amount {
    fn wide(self) -> u128 {
        self.0
    }

    fn of(value: u128) -> Option<Self> {
        Some(Self(value))
    }
}

macro_rules! params {
    ($($name:ident: $change:ident, $existing:literal;)*) => {
        /// All parameters, in the order of the fields of [`Params`].
        pub const PARAMS: &[Param] = &[$(Param {
            name: stringify!($name),
            change: Change::$change,
            existing: $existing,
            get: |params| Number::wide(params.$name),
            set: |params, value| {
                params.$name = Number::of(value)?;
                Some(())
            },
        }),*];
    };
}

params! {
    epoch_ms: Never, "Ticks, windows, terms and what was paid for them are counted in epochs since the genesis.";
    validity_blocks_max: Freely, "A transaction that is valid for longer waits until it is near enough. Ids are remembered as long as they were to be.";
    storage_fee_bp: Freely, "Deals have paid their fee when they were opened or made longer.";
    repair_reserve_bp: Freely, "A deal's reserve is bound when the deal is opened or made longer.";
    sale_fee_bp: Freely, "An order keeps the fee with which it was made. Listings stay: the fee of their next orders is the new one.";
    custody_fee_bp: Freely, "An order keeps the part with which it was made.";
    delivery_ms: Less, "An order keeps its deadlines. More time would let deliveries end after accesses that were sold.";
    window_ms_min: Freely, "A listing keeps its window.";
    listing_bond_bp: Freely, "A listing keeps its bond.";
    complaint_bond: Freely, "A complaint keeps its bond.";
    deal_epochs_max: Freely, "Deals keep their terms. One that is longer cannot be made longer still.";
    faucet: Less, "More would make money that stake and prices do not know. It becomes 0 only if light clients trust for less than stake stays bound.";
    faucet_blocks: Freely, "Accounts wait as long as the new number says since their last request.";
    trusting_ms: Never, "Light clients have it from the genesis, and follow no change of it.";
    fee_base: Freely, "A transaction pays the fee of the block that applies it, also if it was signed before.";
    fee_byte: Freely, "As `fee_base`.";
    fee_check: Freely, "As `fee_base`.";
    duty_fee_bp: Freely, "As `fee_base`.";
    deposit: Never, "Deposits go back by the weight of what leaves: at another price more or less would go back than was bound.";
    dead_after_epochs: Freely, "Misses in a row count on: a node that has missed as many dies by its next miss.";
    claim_epochs: Freely, "A claim keeps its end.";
    collateral_epochs: Freely, "A node that has too little takes no new shards and cannot take collateral back; a part of its pay is withheld.";
    repair_price: Freely, "As `collateral_epochs`. What a lost shard costs its node is judged when it is lost, and is never more than its share.";
    repair_cover_bp: Freely, "As `collateral_epochs`.";
    allowance: Freely, "As `collateral_epochs`.";
    allowance_growth_bp: Less, "More would give trust for what was earned at a lower fee. It is at most `storage_fee_bp`.";
    miss_penalty_bp: Freely, "It is judged by the miss.";
    silence_penalty_bp: Freely, "It is judged when the order is refunded.";
    capacity_deposit: Freely, "A node keeps its deposit until it registers again.";
    validators_max: NotZero, "The weakest leave the set with the epoch. 0 says that no stake stands for validators, and light clients were told so.";
    stake_min: Never, "The ranks of all validators follow from it.";
    stake_unit: Never, "The ranks of all validators follow from it, and the weights of founders are in it.";
    power_cap_bp: Freely, "The set of this epoch is chosen by it.";
    commission_max_bp: Freely, "A validator keeps a higher commission until it changes what it says of itself.";
    commission_rise_bp: Freely, "It is judged by the change.";
    turn_penalty: Freely, "It is judged by the turn.";
    turns_missed_max: Freely, "Turns missed in a row count on.";
    jail_ms: Freely, "A jailed validator keeps the time at which it may come back.";
    equivocation_penalty_bp: Freely, "It is judged by the evidence: what was signed before costs what it costs now.";
    unbonding_ms: Freely, "What was taken back keeps its time. Evidence counts for the new time. It stays above `trusting_ms` if stake is no play money.";
    validators_fee_bp: Freely, "Fees are shared when they are paid.";
    voting_epochs: Freely, "A motion keeps its end.";
    lock_epochs: Freely, "A motion keeps the epoch in which it takes effect.";
    motion_deposit: Freely, "A motion keeps its deposit.";
    quorum_bp: Freely, "A motion keeps the quorum with which it was made.";
    majority_bp: Freely, "A motion keeps the majority with which it was made.";
    veto_bp: Freely, "A motion keeps the veto with which it was made.";
}

impl core::fmt::Debug for Param {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Param").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Param {
    /// The parameter of this name, with its number.
    #[must_use]
    pub fn named(name: &str) -> Option<(u8, &'static Self)> {
        (0..).zip(PARAMS).find(|(_, param)| param.name == name)
    }

    /// Its value.
    #[must_use]
    pub fn of(&self, params: &Params) -> u128 {
        (self.get)(params)
    }

    fn change(&self, params: &mut Params, value: u128) -> Result<(), ChangeError> {
        let (name, before) = (self.name, self.of(params));
        match self.change {
            Change::Never => return Err(ChangeError::Fixed { name }),
            Change::Less if before < value => return Err(ChangeError::More { name }),
            Change::NotZero if (before == 0) != (value == 0) => {
                return Err(ChangeError::Zero { name });
            }
            Change::Less | Change::NotZero | Change::Freely => {}
        }
        (self.set)(params, value).ok_or(ChangeError::Size { name, value })
    }
}

impl Params {
    /// These parameters with changes, if each may be and all of them go together.
    pub fn changed(&self, changes: &[ParamChange]) -> Result<Self, ChangeError> {
        let mut params = self.clone();
        for ParamChange { param, value } in changes {
            let found = PARAMS.get(usize::from(*param));
            let found = found.ok_or(ChangeError::Unknown { param: *param })?;
            found.change(&mut params, *value)?;
        }
        params.check()?;
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::describe::{Described as _, Shape};

    #[test]
    fn each_field_has_its_place() {
        let Shape::Record(fields) = Params::DESCRIPTION.shape else { unreachable!() };
        let fields: Vec<&str> = fields.iter().map(|field| field.name).collect();
        let named: Vec<&str> = PARAMS.iter().map(|param| param.name).collect();
        assert_eq!(named, fields);
    }

    fn change(name: &str, value: u128) -> Result<Params, ChangeError> {
        let (param, _) = Param::named(name).unwrap();
        Params::development().changed(&[ParamChange { param, value }])
    }

    #[test]
    fn what_may_change_changes() {
        assert_eq!(change("fee_base", 7).unwrap().fee_base, Amount(7));
        assert_eq!(change("jail_ms", 5).unwrap().jail_ms, Millis(5));
        assert_eq!(change("dead_after_epochs", 3).unwrap().dead_after_epochs, 3);
        assert_eq!(change("delivery_ms", 2_000).unwrap().delivery_ms, Millis(2_000));
    }

    #[test]
    fn what_may_not_change_stays() {
        let fixed = ["epoch_ms", "trusting_ms", "deposit", "stake_min", "stake_unit"];
        for name in fixed {
            assert_eq!(change(name, 1), Err(ChangeError::Fixed { name }));
        }
        let more = u128::from(Params::development().delivery_ms.0) + 1;
        let name = "delivery_ms";
        assert_eq!(change(name, more), Err(ChangeError::More { name }));
        let name = "validators_max";
        assert_eq!(change(name, 0), Err(ChangeError::Zero { name }));
        let (name, value) = ("quorum_bp", 1 << 16);
        assert_eq!(change(name, value), Err(ChangeError::Size { name, value }));
        assert!(matches!(change("quorum_bp", 999), Err(ChangeError::Range(_))));
        let unknown = ParamChange { param: 200, value: 0 };
        let error = Params::development().changed(&[unknown]);
        assert_eq!(error, Err(ChangeError::Unknown { param: 200 }));
    }

    #[test]
    fn no_change_makes_light_clients_trust_for_too_long() {
        // A faucet that closes makes stake out of play money.
        assert!(matches!(change("faucet", 0), Err(ChangeError::Range(_))));
    }
}
