//! Stake on validators: money of the account that stands for them, and how it comes back.

use symbolon_ledger::ROWS_MAX;
use symbolon_protocol::{
    Amount, LedgerTime,
    id::{AccountId, TransactionId},
    ledger::{
        rows::{Delegations, Table as _, Unbondings, ValidatorRow, ValidatorsTable},
        transaction::Action,
    },
};
use symbolon_transfer::place::Price;

use crate::{error::ClientError, wallet::Wallet};

/// What an account has staked on a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delegated {
    /// The validator.
    pub validator: AccountId,
    /// What its part is worth now.
    pub amount: Amount,
}

/// Stake that an account has taken back, and that is still bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unbinding {
    /// The validator for which it stood.
    pub validator: AccountId,
    /// What it is worth now: it can still be lost.
    pub amount: Amount,
    /// When it is paid out.
    pub due_ms: LedgerTime,
}

/// All stake of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stakes {
    /// What stands for validators, in the order of their keys.
    pub delegated: Vec<Delegated>,
    /// What was taken back, the next to be paid out first.
    pub unbinding: Vec<Unbinding>,
}

impl Wallet {
    /// Stakes money on a validator. Gives the block's height.
    pub async fn delegate(&self, validator: AccountId, amount: Amount) -> Result<u64, ClientError> {
        let id = TransactionId(self.host().random());
        Ok(self.send(id, Action::Delegate { validator, amount }).await?.height)
    }

    /// Takes stake back from a validator, all of it without an amount. It is paid out once it is bound no longer. Gives the
    /// block's height.
    pub async fn undelegate(
        &self,
        validator: AccountId,
        amount: Option<Amount>,
    ) -> Result<u64, ClientError> {
        let id = TransactionId(self.host().random());
        Ok(self.send(id, Action::Undelegate { validator, amount }).await?.height)
    }

    /// What it costs to stake on a validator, besides what is staked.
    pub async fn price_of_delegation(
        &self,
        validator: AccountId,
        amount: Amount,
    ) -> Result<Price, ClientError> {
        self.price_of_action(&Action::Delegate { validator, amount }).await
    }

    /// What it costs to take stake back.
    pub async fn price_of_undelegation(
        &self,
        validator: AccountId,
        amount: Option<Amount>,
    ) -> Result<Price, ClientError> {
        self.price_of_action(&Action::Undelegate { validator, amount }).await
    }

    /// The account's stake on all validators, and what it has taken back.
    pub async fn stakes(&self) -> Result<Stakes, ClientError> {
        let validators = self.ledger().scan_all(ValidatorsTable, &[]).await?;
        let validators = validators.into_iter();
        let validators: Vec<(AccountId, ValidatorRow)> = validators
            .filter_map(|(key, row)| Some((ValidatorsTable::parse(&key)?, row)))
            .collect();
        let delegated = self.delegated(&validators).await?;
        let unbinding = self.unbinding(&validators).await?;
        Ok(Stakes { delegated, unbinding })
    }

    async fn delegated(
        &self,
        validators: &[(AccountId, ValidatorRow)],
    ) -> Result<Vec<Delegated>, ClientError> {
        let (me, mut found) = (self.me(), Vec::new());
        for some in validators.chunks(ROWS_MAX) {
            let keys: Vec<_> = some.iter().map(|(validator, _)| (*validator, me)).collect();
            let rows = self.ledger().rows(Delegations, &keys).await?;
            for ((validator, row), part) in some.iter().zip(rows) {
                // The operator's own part stands in the validator's row.
                let own = if row.operator == me { row.own_shares } else { 0 };
                let shares = part.map_or(own, |part| part.shares);
                if shares > 0 {
                    let amount = row.worth(shares);
                    found.push(Delegated { validator: *validator, amount });
                }
            }
        }
        Ok(found)
    }

    async fn unbinding(
        &self,
        validators: &[(AccountId, ValidatorRow)],
    ) -> Result<Vec<Unbinding>, ClientError> {
        let me = self.me();
        // They stand in the order of their times: one account's are spread among all others'.
        let rows = self.ledger().scan_all(Unbondings, &[]).await?;
        let own = rows.into_iter().filter_map(|(key, row)| {
            let (due_ms, (validator, account)) = Unbondings::parse(&key)?;
            (account == me).then_some((due_ms, validator, row.shares))
        });
        let found = own.filter_map(|(due_ms, validator, shares)| {
            let at = validators.binary_search_by_key(&validator, |(key, _)| *key).ok()?;
            let amount = validators[at].1.worth_unbonding(shares);
            Some(Unbinding { validator, amount, due_ms })
        });
        Ok(found.collect())
    }
}
