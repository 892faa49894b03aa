//! Who proposes or votes: an identity, or a validator with the key in its folder.

use std::path::Path;

use symbolon_client::Client;
use symbolon_ledger::Ledger;
use symbolon_net::Endpoint;
use symbolon_protocol::{
    Amount,
    id::AccountId,
    ledger::{
        deposit, fee,
        rows::{Delegations, Table as _, ValidatorsTable},
        transaction::Action,
    },
};

use crate::{
    context::{self, Context},
    error::{Error, Kind},
    home,
    own_account::OwnAccount,
};

/// Who signs.
pub(super) enum Signer {
    Person(Client),
    Validator(Box<Own>),
}

/// A validator, whose own account pays.
pub(super) struct Own {
    account: OwnAccount,
    ledger: Ledger,
    endpoint: Endpoint,
}

/// Stake with which somebody votes.
pub(super) struct Voting {
    pub(super) validator: AccountId,
    pub(super) stake: Amount,
    pub(super) is_operator: bool,
}

impl Signer {
    pub(super) async fn of(dir: Option<&Path>, context: &Context) -> Result<Self, Error> {
        let Some(dir) = dir else { return Ok(Self::Person(context.client().await?)) };
        let missing = || {
            Error::new(Kind::NotFound, format!("{} has no validator", dir.display())).hint(
                "name the folder of a ledger or a validator that has run, or leave --dir out to sign as a person",
            )
        };
        let secret = home::read_if_there(&dir.join("key"))?.ok_or_else(missing)?;
        let secret: [u8; 32] = secret.try_into().map_err(|_| missing())?;
        let account = OwnAccount::new(&zeroize::Zeroizing::new(secret), "validator");
        let (ledger, endpoint) = context.ledger().await?;
        Ok(Self::Validator(Box::new(Own { account, ledger, endpoint })))
    }

    pub(super) fn ledger(&self) -> &Ledger {
        match self {
            Self::Person(client) => client.ledger(),
            Self::Validator(own) => &own.ledger,
        }
    }

    pub(super) fn account(&self) -> AccountId {
        match self {
            Self::Person(client) => client.identity().account(),
            Self::Validator(own) => own.account.id,
        }
    }

    /// With what the signer votes, for each validator.
    pub(super) async fn voting(&self) -> Result<Vec<Voting>, Error> {
        voting(self.ledger(), self.account()).await
    }

    /// What a transaction with this action costs besides what it binds for a motion.
    pub(super) async fn price(&self, action: &Action) -> Result<Amount, Error> {
        let params = context::chain(self.ledger()).await?.params;
        let (fee, deposit) = (fee(&params, action), deposit(&params, action));
        Ok(fee.checked_add(deposit).unwrap_or(Amount(u128::MAX)))
    }

    /// Signs and submits. Gives the height of the block.
    pub(super) async fn send(&self, action: Action, context: &Context) -> Result<u64, Error> {
        let own = match self {
            Self::Person(client) => {
                let height = match action {
                    Action::ProposeMotion { measure, text, deposit } => {
                        client.propose(measure, text, deposit).await
                    }
                    Action::CastBallot { motion, validator, choice } => {
                        client.vote(motion, validator, choice).await
                    }
                    other => return Err(Error::internal(format!("{} is no vote", other.name()))),
                };
                return Ok(height?);
            }
            Self::Validator(own) => own,
        };
        let explain =
            |_| (Kind::LedgerRefused, "see how the motion stands with: symbolon gov list");
        let applied =
            own.account.submit(&own.ledger, &context.host, |_| Ok(action), explain).await?;
        Ok(applied.height)
    }

    pub(super) async fn close(self) {
        match self {
            Self::Person(client) => context::close(client).await,
            Self::Validator(own) => context::hang_up(own.endpoint).await,
        }
    }
}

/// With what an account votes.
pub(super) async fn voting(ledger: &Ledger, account: AccountId) -> Result<Vec<Voting>, Error> {
    let rows = ledger.scan_all(ValidatorsTable, &[]).await?;
    let rows = rows.into_iter();
    let rows: Vec<_> =
        rows.filter_map(|(key, row)| Some((ValidatorsTable::parse(&key)?, row))).collect();
    let keys: Vec<_> = rows.iter().map(|(validator, _)| (*validator, account)).collect();
    let parts = ledger.rows(Delegations, &keys).await?;
    let found = rows.into_iter().zip(parts).filter_map(|((validator, row), part)| {
        let is_operator = row.operator == account;
        let shares = if is_operator { row.own_shares } else { part?.shares };
        Some(Voting { validator, stake: row.worth(shares), is_operator })
    });
    Ok(found.collect())
}
