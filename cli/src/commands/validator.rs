//! `symbolon validator`: take part in ordering a ledger.

mod delegate;
mod list;
mod run;
mod stake;

use std::path::Path;

use symbolon_protocol::ledger::rows::ValidatorState;

use crate::{
    context::Context,
    error::{Error, Kind},
    output::Report,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
A ledger belongs to its validators: they agree on every block, and more than two thirds of their power must sign it.
Who has staked most is chosen, at the beginning of each epoch.

Examples, for who becomes one:
  symbolon validator run --ledger TICKET --dir /srv/validator --listen 0.0.0.0:4150 --announce 203.0.113.7:4150
  symbolon account send VALIDATOR 11              its account, which `run` prints, pays stake and fees
  symbolon validator join --dir /srv/validator --stake 10
  symbolon validator status

For who stakes on one:
  symbolon validator list
  symbolon validator delegate VALIDATOR 100")]
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
    /// Stake money of this identity on a validator
    Delegate(delegate::DelegateArgs),
    /// Take money of this identity back from a validator
    Undelegate(delegate::UndelegateArgs),
    /// List the validators with their records, or what you have staked
    List(list::ListArgs),
    /// Show each validator: power, state, and how well it works
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
        Verb::Delegate(args) => delegate::delegate(args, context).await,
        Verb::Undelegate(args) => delegate::undelegate(args, context).await,
        Verb::List(args) => list::list(&args, context).await,
        Verb::Status => list::status(context).await,
    };
    report.and_then(|report: Report| context.out.report(&report))
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

/// The folder's own words for what is missing.
fn no_folder(dir: &Path) -> Error {
    Error::new(Kind::NotFound, format!("{} has no validator", dir.display()))
        .hint("start it first: symbolon validator run --dir DIR --ledger TICKET")
}
