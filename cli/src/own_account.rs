//! Transactions of a node or a validator, signed with the key in its folder and paid by that key's own account.

use symbolon_ledger::Ledger;
use symbolon_net::Host;
use symbolon_node::OwnKey;
use symbolon_protocol::{
    Amount,
    id::{AccountId, TransactionId},
    ledger::{
        Status, fee,
        rows::{Accounts, Chain},
        transaction::Action,
    },
};

use crate::{
    context,
    error::{Error, Kind},
    units::show_amount,
};

/// The account of a node or a validator.
pub(crate) struct OwnAccount {
    key: OwnKey,
    /// The account, which is the key.
    pub(crate) id: AccountId,
    /// Whose it is, in words.
    whose: &'static str,
}

/// A transaction that the ledger has applied.
pub(crate) struct Applied {
    /// The ledger's row before.
    pub(crate) chain: Chain,
    /// The height of its block.
    pub(crate) height: u64,
}

impl OwnAccount {
    pub(crate) fn new(secret: &[u8; 32], whose: &'static str) -> Self {
        let key = OwnKey::new(secret);
        let id = AccountId::from(key.node());
        Self { key, id, whose }
    }

    /// Signs and submits what `make` says. `explain` says of a refusal that is not about the account's money what to do.
    pub(crate) async fn submit(
        &self,
        ledger: &Ledger,
        host: &Host,
        make: impl FnOnce(&Chain) -> Result<Action, Error>,
        explain: impl FnOnce(Status) -> (Kind, &'static str),
    ) -> Result<Applied, Error> {
        let chain = context::chain(ledger).await?;
        let action = make(&chain)?;
        let cost = fee(&chain.params, &action);
        let id = TransactionId(host.random());
        let valid_until = chain.height.saturating_add(chain.params.validity_blocks_max);
        let outcome = ledger.submit(self.key.sign(chain.id, id, valid_until, action)).await?;
        let (kind, hint) = match outcome.status {
            Status::Applied => return Ok(Applied { chain, height: outcome.height }),
            Status::BalanceTooLow | Status::FeeNotCovered => {
                let (whose, id, cost) = (self.whose, self.id, show_amount(cost));
                let send =
                    format!("send it money with symbolon account send {id}; the fee is {cost}");
                (Kind::BalanceTooLow, format!("the {whose}'s own account pays: {send}"))
            }
            status => {
                let (kind, hint) = explain(status);
                (kind, hint.to_owned())
            }
        };
        Err(Error::new(kind, format!("the ledger refuses it: {}", outcome.status)).hint(hint))
    }

    /// What it can spend.
    pub(crate) async fn balance(&self, ledger: &Ledger) -> Result<Amount, Error> {
        Ok(ledger.row(Accounts, &self.id).await?.map_or(Amount::ZERO, |row| row.balance))
    }
}
