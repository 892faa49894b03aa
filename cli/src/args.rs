//! The command line: the verbs, and the options of every verb.

use std::path::PathBuf;

use clap::{ArgAction, Parser, Subcommand};
use symbolon_net::Congestion;

use crate::{commands, env, log::LogFormat};

/// Store files encrypted on independent nodes that prove they keep them, and sell access to them.
#[derive(Debug, Parser)]
#[command(
    name = "symbolon",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "\
A first look, with nothing to set up:
  symbolon demo

Your own network on this machine:
  symbolon up
  symbolon put report.pdf        (in another terminal)

Exit codes: 0 done, 2 usage, 3 not found, 4 exists, 5 not allowed, 6 unreachable, 7 not enough
nodes or shards, 8 corrupt, 9 balance too low, 10 refused by the ledger, 11 input/output, 12 disk
full, 13 in use, 14 passphrase or key, 15 partly done, 16 a node's disk is empty or
another's, 17 the ledger's rules are newer than this program, 130 interrupted, 141 closed pipe, 1 anything else."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb understands.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Keep everything in this folder instead of the platform's data folder
    #[arg(long, global = true, value_name = "DIR", env = env::HOME, hide_env_values = true)]
    pub(crate) home: Option<PathBuf>,

    /// Use the identity of this name
    #[arg(long = "as", global = true, value_name = "NAME", env = env::AS, hide_env_values = true)]
    pub(crate) who: Option<String>,

    /// Use the ledger with this ticket: `ledger1...`, @FILE
    #[arg(long, global = true, value_name = "TICKET", env = env::LEDGER, hide_env_values = true)]
    pub(crate) ledger: Option<String>,

    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Print only results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    /// Report progress even when stderr is not a terminal: as lines, or as JSON lines with --json
    #[arg(long, global = true, conflicts_with = "quiet")]
    pub(crate) progress: bool,

    /// Congestion control: bbr3, which packet loss does not slow down, or cubic [default: bbr3; cubic on one
    /// machine]
    #[arg(long, global = true, value_name = "CONTROL", env = env::CONGESTION, hide_env_values = true)]
    pub(crate) congestion: Option<Congestion>,

    /// How log lines are written on stderr: for people, or as one JSON object a line
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t, env = env::LOG_FORMAT, hide_env_values = true)]
    pub(crate) log_format: LogFormat,

    /// Log more: -v events, -vv details, -vvv everything
    #[arg(long, short, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run every feature once with real processes, in a temporary home
    Demo(commands::demo::Args),
    /// Run your own network on this machine
    Up(commands::up::Args),
    /// Stop the network that `up` runs
    Down(commands::down::Args),
    /// Create an identity
    Init(commands::init::Args),
    /// Restore an identity from its recovery phrase
    Restore(commands::restore::Args),
    /// Show your identity, and the text that others need to share with you
    Id(commands::id::Args),
    /// Store a file or a folder
    Put(commands::put::Args),
    /// Fetch a file or a folder, by name, pattern or with a grant
    Get(commands::get::Args),
    /// Make a local folder and a stored folder the same, copying only the differences
    Sync(commands::folder::sync::Args),
    /// List stored files
    #[command(visible_alias = "list")]
    Ls(commands::ls::Args),
    /// Show which nodes hold a file, and whether enough of them prove it
    Stat(commands::stat::Args),
    /// Rename a file or folder
    Mv(commands::mv::Args),
    /// Show the size and cost of files and folders
    Du(commands::du::Args),
    /// List the versions of a file
    Versions(commands::versions::Args),
    /// Bring back a removed file, or an older version
    Undelete(commands::versions::UndeleteArgs),
    /// Keep stored files for longer
    Renew(commands::renew::Args),
    /// Renew and repair everything while it runs
    Keep(commands::keep::Args),
    /// Show which nodes repair your files while you are away, name them, or take that back
    Care(commands::care::Args),
    /// Stop paying for files, and delete them from the nodes
    Rm(commands::rm::Args),
    /// Check that the nodes still hold a file's shards undamaged
    Verify(commands::verify::Args),
    /// Check all that a ledger did, from its blocks alone
    Audit(commands::audit::Args),
    /// Let another person read a file or folder
    Share(commands::share::Args),
    /// Redeem a voucher: get what somebody shared with you before you had an identity
    Redeem(commands::redeem::Args),
    /// Inspect grants, pass them on, or revoke them
    Grant(commands::grant::Args),
    /// Offer access to a file for sale
    Sell(commands::sell::Args),
    /// Choose and replace the nodes that keep the key to what you sell
    Vault(commands::vault::Args),
    /// See what is for sale
    Market(commands::market::Args),
    /// Buy access, and fetch what was bought
    Buy(commands::buy::Args),
    /// Show an order, complain about what was bought, or acknowledge it
    Order(commands::order::Args),
    /// List what you bought and sold
    Orders(commands::orders::Args),
    /// Money: balance, history, faucet, send
    Account(commands::account::Args),
    /// Run a storage node, or show the nodes of the network
    Node(commands::node::Args),
    /// Run a ledger, or show its state
    Ledger(commands::ledger::Args),
    /// Take part in ordering a ledger, or show who does
    Validator(commands::validator::Args),
    /// Vote on parameters, the treasury and the rules of a ledger, or see what is voted on
    Gov(commands::gov::Args),
    /// Show a summary of network, account and files
    Status(commands::status::Args),
    /// Print a completion script for a shell
    Completions(commands::completions::Args),
}
