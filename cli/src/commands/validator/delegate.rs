//! `symbolon validator delegate` and `undelegate`: stake of a person on a validator.

use symbolon_client::{Client, Price};
use symbolon_ledger::Ledger;
use symbolon_protocol::{
    Amount,
    id::AccountId,
    ledger::rows::{Table as _, ValidatorsTable},
};
use symbolon_view::validators::StakeChanged;

use crate::{
    context::{self, Consent, Context},
    error::{Error, Kind},
    output::Report,
    units::{self, show_amount, show_duration},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon validator list                          whom to choose: uptime, commission, own stake
  symbolon validator delegate 3f2a9c 100
  symbolon validator delegate 3f2a9c 100 --yes

What is staked earns a part of the validator's rewards, less its commission. It loses a part if the validator signs two
things that exclude each other, and a little with each turn that the validator misses.")]
pub(super) struct DelegateArgs {
    /// The validator: its 64 digits, or the first ones
    validator: String,
    /// How much, in credits
    #[arg(value_parser = units::amount)]
    amount: Amount,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon validator undelegate 3f2a9c 50
  symbolon validator undelegate 3f2a9c all

It stays bound for a while, in which it earns nothing and can still be lost. Then it is paid out by itself: see when
with symbolon validator list --mine.")]
pub(super) struct UndelegateArgs {
    /// The validator: its 64 digits, or the first ones
    validator: String,
    /// How much, in credits, or all
    #[arg(default_value = "all", value_parser = part)]
    amount: Part,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

/// How much is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    All,
    Of(Amount),
}

fn part(text: &str) -> Result<Part, String> {
    match text {
        "all" => Ok(Part::All),
        amount => units::amount(amount).map(Part::Of),
    }
}

pub(super) async fn delegate(args: DelegateArgs, context: &Context) -> Result<Report, Error> {
    if args.amount == Amount::ZERO {
        return Err(Error::usage("there is nothing to stake"));
    }
    let client = context.client().await?;
    let done = async {
        let validator = found(client.ledger(), &args.validator).await?;
        let price = client.price_of_delegation(validator, args.amount).await?;
        let chain = client.recent_chain().await?;
        let bound = show_duration(chain.params.unbonding_ms.0);
        let question = format!(
            "Stake {} on validator {validator}?{} It comes back {bound} after you take it back.",
            show_amount(args.amount),
            costs(&price)
        );
        context.consent(&chain, &question, Consent::from(args.yes, None))?;
        let height = client.delegate(validator, args.amount).await?;
        changed(&client, validator, height).await
    };
    let done = done.await;
    context::close(client).await;
    done
}

pub(super) async fn undelegate(args: UndelegateArgs, context: &Context) -> Result<Report, Error> {
    let amount = match args.amount {
        Part::All => None,
        Part::Of(amount) => Some(amount),
    };
    let client = context.client().await?;
    let done = async {
        let validator = found(client.ledger(), &args.validator).await?;
        let price = client.price_of_undelegation(validator, amount).await?;
        let chain = client.recent_chain().await?;
        let (bound, what) = (show_duration(chain.params.unbonding_ms.0), what(amount));
        let question = format!(
            "Take {what} back from validator {validator}?{} It is paid out after {bound}.",
            costs(&price)
        );
        context.consent(&chain, &question, Consent::from(args.yes, None))?;
        let height = client.undelegate(validator, amount).await?;
        changed(&client, validator, height).await
    };
    let done = done.await;
    context::close(client).await;
    done
}

fn what(amount: Option<Amount>) -> String {
    amount.map_or_else(|| String::from("all"), |amount| show_amount(amount).to_string())
}

fn costs(price: &Price) -> String {
    match price.total() {
        Amount::ZERO => String::new(),
        total => format!(" That costs {}.", show_amount(total)),
    }
}

/// The one validator whose key begins with these digits.
async fn found(ledger: &Ledger, digits: &str) -> Result<AccountId, Error> {
    if let Ok(whole) = digits.parse() {
        return Ok(whole);
    }
    let digits = digits.to_lowercase();
    let rows = ledger.scan_all(ValidatorsTable, &[]).await?;
    let keys = rows.iter().filter_map(|(key, _)| ValidatorsTable::parse(key));
    let mut fitting = keys.filter(|key| key.to_string().starts_with(&digits));
    match (fitting.next(), fitting.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => {
            let message = format!("several validators begin with {digits}");
            Err(Error::usage(message).hint("give more digits: symbolon validator list --json"))
        }
        _ => Err(Error::new(Kind::NotFound, format!("no validator begins with {digits}"))
            .hint("see whom there is with: symbolon validator list")),
    }
}

/// What the account has on a validator now.
async fn changed(client: &Client, validator: AccountId, height: u64) -> Result<Report, Error> {
    let (view, stakes) = (client.account().await?, client.stakes().await?);
    let staked = stakes.delegated.iter().find(|one| one.validator == validator);
    let staked = staked.map_or(Amount::ZERO, |one| one.amount);
    let bound = stakes.unbinding.iter().filter(|one| one.validator == validator);
    let bound = bound.fold(Amount::ZERO, |sum, one| Amount(sum.0.saturating_add(one.amount.0)));
    let document = StakeChanged {
        validator: validator.into(),
        delegated: staked.into(),
        unbonding: bound.into(),
        balance: view.balance.into(),
        height,
    };
    let mut text = format!("{} stand for validator {validator}.", show_amount(staked));
    if bound > Amount::ZERO {
        text += &format!(" {} were taken back and come later.", show_amount(bound));
    }
    Ok(Report::new(&document).text(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_an_amount_or_all() {
        assert_eq!(part("all"), Ok(Part::All));
        assert_eq!(part("2.5"), units::amount("2.5").map(Part::Of));
        assert!(part("everything").is_err());
    }
}
