//! `symbolon node`: run a storage node, look after it, or show the nodes of the network.

mod doctor;
mod earnings;
mod exit;
mod limit;
mod run;
mod scrub;
mod stake;
mod status;

use std::path::PathBuf;

use crate::{context::Context, error::Error};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon node run --ledger ledger1qq... --capacity 100GiB --dir /srv/node
  symbolon node status
  symbolon node doctor --dir /srv/node")]
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
    /// Run a storage node, until Ctrl-C or SIGTERM
    Run(Box<run::RunArgs>),
    /// Show every node, or how one on this machine does
    #[command(after_help = "\
Examples:
  symbolon node status
  symbolon node status 3f2a              only nodes whose digits begin so
  symbolon node status --dir /srv/node   the node of this folder, by what it has noted itself")]
    Status {
        /// Only nodes whose id begins with these digits
        #[arg(conflicts_with = "dir")]
        node: Option<String>,
        /// The folder of a node on this machine
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Show what a node earns, and a forecast
    Earnings(earnings::EarningsArgs),
    /// Check a node from its machine, and say what to do
    Doctor(doctor::DoctorArgs),
    /// Read all shards of a node and check them
    Scrub(scrub::ScrubArgs),
    /// Set bandwidth, scrub and pause of a running node
    Limit(limit::LimitArgs),
    /// Stake collateral on a node, or take some back
    Stake(stake::StakeArgs),
    /// Hand all shards of a node to others, and retire it
    Exit(exit::ExitArgs),
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Error> {
    let report = match args.verb {
        Verb::Run(args) => return run::run(*args, context).await,
        Verb::Status { dir: Some(dir), .. } => status::of_folder(&dir),
        Verb::Status { node, dir: None } => {
            status::of_network(node.as_deref().unwrap_or(""), context).await
        }
        Verb::Earnings(args) => earnings::run(&args, context).await,
        Verb::Doctor(args) => doctor::run(&args, context).await,
        Verb::Scrub(args) => scrub::run(args, context).await,
        Verb::Limit(args) => limit::run(&args),
        Verb::Stake(args) => stake::run(&args, context).await,
        Verb::Exit(args) => exit::run(&args, context).await,
    }?;
    context.out.report(&report)
}
