//! `symbolon node stake`: collateral of a node, from its own account and back to its payout account.

use std::path::PathBuf;

use symbolon_node::OwnKey;
use symbolon_protocol::{
    Amount,
    id::{AccountId, NodeId, TransactionId},
    ledger::{
        Status, fee,
        rows::{Accounts, Nodes},
        transaction::Action,
    },
};
use symbolon_view::operator::Staked;

use super::limit;
use crate::{
    context::{self, Context},
    error::{Error, Kind},
    home,
    output::Report,
    units::{self, show_amount},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon account send NODE 25                   give the node's account the money first
  symbolon node stake --dir /srv/node 25
  symbolon node stake --dir /srv/node 5 --back    to the account that is paid, as far as it is not needed

The node's own account pays. A network says what a node needs: see symbolon node status.")]
pub(crate) struct StakeArgs {
    /// The folder of the node
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The amount, in credits
    #[arg(value_parser = units::amount)]
    amount: Amount,
    /// Take it back
    #[arg(long)]
    back: bool,
}

pub(crate) async fn run(args: &StakeArgs, context: &Context) -> Result<Report, Error> {
    limit::is_node(&args.dir)?;
    let key = OwnKey::new(&home::secret(&args.dir.join("key"), context.host.random())?);
    let account = AccountId::from(key.node());
    let (ledger, endpoint) = context.ledger().await?;
    let sent = async {
        let chain = context::chain(&ledger).await?;
        let (node, amount): (NodeId, _) = (key.node(), args.amount);
        let action = match args.back {
            true => Action::Unstake { amount },
            false => Action::Stake { node, amount },
        };
        let fee = fee(&chain.params, &action);
        let id = TransactionId(context.host.random());
        let valid_until = chain.height.saturating_add(chain.params.validity_blocks_max);
        let transaction = key.sign(chain.id, id, valid_until, action);
        let outcome = ledger.submit(transaction).await?;
        if outcome.status != Status::Applied {
            return Err(refused(outcome.status, account, fee));
        }
        let row = ledger.row(Nodes, &node).await?;
        let row = row.ok_or_else(|| Error::new(Kind::NotFound, "the node is not registered"))?;
        let balance = ledger.row(Accounts, &account).await?.map_or(Amount::ZERO, |row| row.balance);
        Ok(Staked {
            node: node.into(),
            collateral: row.collateral.into(),
            withheld: row.withheld.into(),
            needs: row.needs(&chain.params).into(),
            takes: row.takes(&chain.params, chain.epoch),
            balance: balance.into(),
        })
    };
    let sent = sent.await;
    context::hang_up(endpoint).await;
    let document = sent?;
    let text = format!(
        "{} staked and {} withheld stand for the node's bytes; it needs {}.",
        document.collateral.as_str(),
        document.withheld.as_str(),
        document.needs.as_str()
    );
    Ok(Report::new(&document).text(text))
}

fn refused(status: Status, account: AccountId, fee: Amount) -> Error {
    let hint = match status {
        Status::BalanceTooLow | Status::FeeNotCovered => format!(
            "the node's own account pays: send it money with symbolon account send {account}; the fee is {}",
            show_amount(fee)
        ),
        Status::CollateralTooLow => {
            String::from("only what the node does not need comes back: see symbolon node status")
        }
        Status::UnknownNode => String::from("start it first with: symbolon node run"),
        _ => String::from("see symbolon node doctor"),
    };
    let kind = match status {
        Status::BalanceTooLow | Status::FeeNotCovered => Kind::BalanceTooLow,
        Status::UnknownNode => Kind::NotFound,
        _ => Kind::LedgerRefused,
    };
    Error::new(kind, format!("the ledger refuses it: {status}")).hint(hint)
}
