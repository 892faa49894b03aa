//! `symbolon node stake`: collateral of a node, from its own account and back to its payout account.

use std::path::PathBuf;

use symbolon_ledger::Ledger;
use symbolon_protocol::{
    Amount,
    id::NodeId,
    ledger::{Status, rows::Nodes, transaction::Action},
};
use symbolon_view::operator::Staked;

use super::limit;
use crate::{
    context::{self, Context},
    error::{Error, Kind},
    home,
    output::Report,
    own_account::OwnAccount,
    units,
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
    let secret = home::secret(&args.dir.join("key"), context.host.random())?;
    let own = OwnAccount::new(&secret, "node");
    let (ledger, endpoint) = context.ledger().await?;
    let sent = sent(&own, args, &ledger, context).await;
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

async fn sent(
    own: &OwnAccount,
    args: &StakeArgs,
    ledger: &Ledger,
    context: &Context,
) -> Result<Staked, Error> {
    let (node, amount) = (NodeId::from(own.id), args.amount);
    let action = match args.back {
        true => Action::Unstake { amount },
        false => Action::Stake { node, amount },
    };
    let applied = own.submit(ledger, &context.host, |_| Ok(action), explain).await?;
    let row = ledger.row(Nodes, &node).await?;
    let row = row.ok_or_else(|| Error::new(Kind::NotFound, "the node is not registered"))?;
    let chain = &applied.chain;
    Ok(Staked {
        node: node.into(),
        collateral: row.collateral.into(),
        withheld: row.withheld.into(),
        needs: row.needs(&chain.params).into(),
        takes: row.takes(&chain.params, chain.epoch),
        balance: own.balance(ledger).await?.into(),
    })
}

fn explain(status: Status) -> (Kind, &'static str) {
    match status {
        Status::CollateralTooLow => (
            Kind::LedgerRefused,
            "only what the node does not need comes back: see symbolon node status",
        ),
        Status::UnknownNode => (Kind::NotFound, "start it first with: symbolon node run"),
        _ => (Kind::LedgerRefused, "see symbolon node doctor"),
    }
}
