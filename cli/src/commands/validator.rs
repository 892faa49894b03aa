//! `symbolon validator`: take part in ordering a ledger.

mod run;
mod stake;

use std::path::Path;

use symbolon_ledger::Ledger;
use symbolon_protocol::{
    Amount,
    id::AccountId,
    ledger::{
        commit::Validators,
        rows::{Accounts, Table as _, ValidatorRow, ValidatorState, ValidatorsTable},
    },
};
use symbolon_view::validators::{ValidatorShown, ValidatorsShown};

use crate::{
    context::{self, Context},
    error::{Error, Kind},
    output::Report,
    units::{count, show_amount},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A ledger belongs to its validators: they agree on every block, and more than two thirds of their power must sign it.
Who has staked most is chosen, at the beginning of each epoch.

Examples, for who becomes one:
  symbolon validator run --ledger TICKET --dir /srv/validator --listen 0.0.0.0:4150 --announce 203.0.113.7:4150
  symbolon account send VALIDATOR 11              its account, which `run` prints, pays stake and fees
  symbolon validator join --dir /srv/validator --stake 10
  symbolon validator status")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

impl Args {
    /// Whether the command runs until it is stopped.
    pub(crate) fn runs_on(&self) -> bool {
        matches!(self.verb, Verb::Run(_))
    }
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Follow the ledger, and vote while it has this machine in its set
    Run(run::RunArgs),
    /// Stake, and ask for a place among the validators
    Join(stake::JoinArgs),
    /// Give up the place among the validators
    Leave(stake::FolderArgs),
    /// Take stake back, which stays bound for a while
    Unstake(stake::UnstakeArgs),
    /// Send money of the validator's account to another one
    Send(stake::SendArgs),
    /// List the validators: power, state, and how well they work
    #[command(after_help = "\
Examples:
  symbolon validator status
  symbolon validator status --json")]
    Status,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Error> {
    let report = match args.verb {
        Verb::Run(args) => return run::run(args, context).await,
        Verb::Join(args) => stake::join(&args, context).await,
        Verb::Leave(args) => stake::leave(&args, context).await,
        Verb::Unstake(args) => stake::unstake(&args, context).await,
        Verb::Send(args) => stake::send(&args, context).await,
        Verb::Status => status(context).await,
    };
    report.and_then(|report| context.out.report(&report))
}

async fn status(context: &Context) -> Result<Report, Error> {
    let (ledger, endpoint) = context.ledger().await?;
    let found = shown(&ledger).await;
    context::hang_up(endpoint).await;
    let shown = found?;
    let in_set = shown.validators.iter().filter(|one| one.power != 0).count();
    let mut report = Report::new(&shown).text(format!(
        "{} of {} order this ledger.",
        in_set,
        count(shown.validators.len(), "validator")
    ));
    for one in &shown.validators {
        report = report.text("").field("validator", one.validator.as_str().to_owned());
        report = report
            .field("state", one.state.clone())
            .field("power", format!("{} of {}", one.power, shown.power))
            .field(
                "stake",
                format!("{}, {} of it the operator's", one.stake.as_str(), one.own_stake.as_str()),
            )
            .field("commission", format!("{} hundredths of a percent", one.commission_bp))
            .field("turns", format!("{} missed of {}", one.missed, one.turns))
            .field("signed", format!("{} of {} blocks", one.signed, one.blocks));
    }
    Ok(report)
}

/// All validators, those with the most power first.
async fn shown(ledger: &Ledger) -> Result<ValidatorsShown, Error> {
    let set = context::chain(ledger).await?.validators;
    let rows = ledger.scan_all(ValidatorsTable, &[]).await?;
    let mut validators: Vec<_> = rows
        .into_iter()
        .filter_map(|(key, row)| Some(one(ValidatorsTable::parse(&key)?, &row, &set)))
        .collect();
    validators.sort_by_key(|one| std::cmp::Reverse(one.power));
    Ok(ValidatorsShown { power: set.power(), validators })
}

fn one(validator: AccountId, row: &ValidatorRow, set: &Validators) -> ValidatorShown {
    let part = |shares: u128| match row.shares {
        0 => Amount::ZERO,
        all => Amount(row.stake.0.saturating_mul(shares) / all),
    };
    ValidatorShown {
        validator: validator.into(),
        operator: row.operator.into(),
        state: in_words(row.state).into(),
        power: set.power_of(&validator),
        stake: row.stake.into(),
        own_stake: part(row.own_shares).into(),
        unbonding: row.unbonding.into(),
        commission_bp: row.commission_bp,
        turns: row.turns,
        missed: row.missed,
        blocks: row.blocks,
        signed: row.signed,
    }
}

/// A validator's state, as JSON and people read it.
fn in_words(state: ValidatorState) -> &'static str {
    match state {
        ValidatorState::Waiting => "waiting",
        ValidatorState::Member => "member",
        ValidatorState::Leaving => "leaving",
        ValidatorState::Out => "out",
        ValidatorState::Jailed { .. } => "jailed",
        ValidatorState::Barred => "barred",
    }
}

/// What a validator's own account has.
async fn balance(ledger: &Ledger, account: &AccountId) -> Result<Amount, Error> {
    Ok(ledger.row(Accounts, account).await?.map_or(Amount::ZERO, |row| row.balance))
}

/// The folder's own words for what is missing.
fn no_folder(dir: &Path) -> Error {
    Error::new(Kind::NotFound, format!("{} has no validator", dir.display()))
        .hint("start it first: symbolon validator run --dir DIR --ledger TICKET")
}

/// A sum in words.
fn words(amount: Amount) -> String {
    show_amount(amount).to_string()
}
