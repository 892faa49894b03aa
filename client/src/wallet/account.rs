//! Money: the balance, the history, and transactions that ask the ledger to move it.

use symbolon_ledger::{History, Outcome};
use symbolon_protocol::{
    Amount, LedgerTime,
    id::{AccountId, LinkId, TransactionId},
    ledger::{Status, fee, rows::Accounts, transaction::Action},
};

use crate::{error::ClientError, wallet::Wallet};
pub(crate) use symbolon_transfer::{place::Price, transaction_id};

/// An account.
#[derive(Clone, Copy, Debug)]
pub struct AccountView {
    /// The account's id.
    pub account: AccountId,
    /// The amount that it can spend.
    pub balance: Amount,
    /// The amount that is bound as deposits for what it has on the ledger.
    pub deposits: Amount,
}

/// The key that an identity signs a transaction with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    /// The key of the account that holds its money.
    Account,
    /// The key that it holds grants with.
    Access,
}

impl Wallet {
    /// The account's balance.
    pub async fn account(&self) -> Result<AccountView, ClientError> {
        let account = self.me();
        let row = self.ledger().row(Accounts, &account).await?;
        let (balance, deposits) =
            row.map_or((Amount::ZERO, Amount::ZERO), |row| (row.balance, row.deposits));
        Ok(AccountView { account, balance, deposits })
    }

    /// The balance as it was a moment ago, less all that was paid from here since. It is good enough to refuse a cost
    /// that the account cannot cover before any work begins. The ledger checks again.
    pub(crate) async fn balance_lately(&self) -> Result<Amount, ClientError> {
        let row = self.ledger().row_lately(Accounts, &self.me()).await?;
        Ok(row.map_or(Amount::ZERO, |row| row.balance))
    }

    /// What moved the account's money, newest first.
    pub async fn history(&self, limit: usize) -> Result<History, ClientError> {
        let (ledger, me) = (self.ledger(), self.me());
        let mut history = ledger.history(&me, u64::MAX, limit).await?;
        // A ledger gives a limited number of lines at once.
        while let Some(last) = history.lines.last().filter(|_| history.lines.len() < limit) {
            let left = limit - history.lines.len();
            let earlier = ledger.history(&me, last.place(), left).await?;
            // The ledger may have dropped lines since the first answer.
            history.oldest = earlier.oldest;
            if earlier.lines.is_empty() {
                break;
            }
            history.lines.extend(earlier.lines);
        }
        Ok(history)
    }

    /// Asks a development network for play money. Gives the new balance.
    pub async fn faucet(&self) -> Result<Amount, ClientError> {
        self.send(TransactionId(self.host().random()), Action::Faucet).await?;
        Ok(self.account().await?.balance)
    }

    /// What revoking one link costs. The deposit comes back some time after the link has ended, if it has an end.
    pub async fn price_of_revocation(&self) -> Result<Price, ClientError> {
        let until_ms = Some(LedgerTime::ZERO);
        self.price_of_action(&Action::Revoke { link: LinkId([0; 16]), until_ms }).await
    }

    /// What a transaction with this action costs, where what it makes is new.
    pub(crate) async fn price_of_action(&self, action: &Action) -> Result<Price, ClientError> {
        let params = self.network().params().await?;
        Ok(Price::of(&params, action))
    }

    /// What sending money costs besides the money: the fee, and the row of an account that has none yet.
    pub async fn price_of_transfer(
        &self,
        to: &AccountId,
        amount: Amount,
    ) -> Result<Amount, ClientError> {
        let params = self.network().params().await?;
        let fee = fee(&params, &Action::Transfer { to: *to, amount });
        let has_row =
            params.deposit == Amount::ZERO || self.ledger().row(Accounts, to).await?.is_some();
        let row = if has_row { Amount::ZERO } else { params.deposit };
        Ok(fee.checked_add(row).unwrap_or(Amount(u128::MAX)))
    }

    /// Submits an action under an id. A refusal is an error.
    pub(crate) async fn send(
        &self,
        id: TransactionId,
        action: Action,
    ) -> Result<Outcome, ClientError> {
        self.send_as(Key::Account, id, action).await
    }

    /// Submits an action whose id determines all of it. So an action that was applied before counts as applied now.
    pub(crate) async fn send_once(
        &self,
        key: Key,
        id: TransactionId,
        action: Action,
    ) -> Result<(), ClientError> {
        match self.send_as(key, id, action).await {
            // An id is used up only when its action was applied.
            Ok(_) | Err(ClientError::LedgerRefused(Status::IdReused)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Does the same as [`Wallet::send`] in the name of another key of this identity.
    pub(crate) async fn send_as(
        &self,
        key: Key,
        id: TransactionId,
        action: Action,
    ) -> Result<Outcome, ClientError> {
        let key = match key {
            Key::Account => self.identity().account_key(),
            Key::Access => self.identity().access_key(),
        };
        Ok(self.network().send(&key, id, action).await?)
    }
}
