//! `symbolon gov`: those with stake decide on parameters, the treasury and the rules.

mod propose;
mod show;
mod signer;
mod vote;
mod words;

use crate::{
    context::{self, Context},
    error::{Error, Kind},
    output::Report,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Those whose stake stands for the validators vote. The operator of a validator speaks for all of its stake, and each one
who staked on it may speak for the own part. On a ledger of one operator it is the operator's word.

Examples:
  symbolon gov list
  symbolon gov propose params fee_base=0.001 --why 'transactions are spam'
  symbolon gov vote 1 yes
  symbolon gov show 1")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a motion
    Propose(propose::ProposeArgs),
    /// Vote on a motion
    Vote(vote::VoteArgs),
    /// List the motions
    #[command(after_help = "Example:\n  symbolon gov list --json")]
    List,
    /// Show what a motion would change, and how the vote stands
    Show(show::ShowArgs),
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<Report, Error> {
    match args.verb {
        Verb::Propose(args) => propose::propose(args, context).await,
        Verb::Vote(args) => vote::vote(args, context).await,
        Verb::List => {
            let (ledger, endpoint) = context.ledger().await?;
            let report = show::list(&ledger).await;
            context::hang_up(endpoint).await;
            report
        }
        Verb::Show(args) => show::show(args, context).await,
    }
}

fn no_motion(motion: u64) -> Error {
    Error::new(Kind::NotFound, format!("there is no motion {motion}"))
        .hint("see which there are with: symbolon gov list")
}
