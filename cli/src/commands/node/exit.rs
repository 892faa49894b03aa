//! `symbolon node exit`: a node hands its shards to others, gets back what is its own, and retires.

use std::path::PathBuf;

use symbolon_node::Settings;
use symbolon_view::operator::{Exit, ExitStage, Exited, HeldVault};

use super::limit;
use crate::{
    context::Context,
    error::{Error, Kind},
    health::Noted,
    home::{self, Home},
    interrupt::{self, Interrupt},
    output::Report,
    units::{count, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon node exit --dir /srv/node            begin, and show how far it is
  symbolon node exit --dir /srv/node --wait     until the node has retired
  symbolon node exit --dir /srv/node --cancel   the node stays after all

The node has to run: it takes no new shards, hands each of its shards to another node, proves until those begin, and
retires. Collateral, withheld pay and deposits come back then. If it is killed meanwhile, it goes on when it is started
again. Where another node asks more for a shard, the node's own account pays the difference. Shares of vaults are not
handed on: while an owner of one has paid orders or care, the node waits, unless it is told to abandon them.")]
pub(crate) struct ExitArgs {
    /// The folder of the node
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Wait until the node has retired
    #[arg(long, conflicts_with = "cancel")]
    wait: bool,
    /// The node stays: it keeps what it has not handed on, and takes new shards again
    #[arg(long)]
    cancel: bool,
    /// Retire even though owners of vaults count on the node's shares: with too few custodians left, paid orders are not
    /// delivered, and caretakers cannot repair
    #[arg(long, conflicts_with = "cancel")]
    abandon_vaults: bool,
}

pub(crate) async fn run(args: &ExitArgs, context: &Context) -> Result<Report, Error> {
    limit::is_node(&args.dir)?;
    let mut settings =
        Settings::read(&args.dir).map_err(|error| Error::usage(error.to_string()))?;
    let before = settings;
    settings.leaving = !args.cancel;
    settings.abandons_vaults = !args.cancel && (settings.abandons_vaults || args.abandon_vaults);
    if settings != before {
        home::write_whole(&args.dir.join(Settings::FILE), settings.to_text().as_bytes())?;
    }
    if !args.wait {
        return document(args).map(|document| report(&document));
    }
    let mut interrupt = Interrupt::listen();
    match interrupt.or(retired(args, context)).await {
        Some(retired) => retired.map(|document| report(&document)),
        None => {
            let hint =
                "the node goes on leaving; see how far it is with: symbolon node exit --dir DIR";
            Err(interrupt::stopped(String::from("stopped before the node has retired"), hint))
        }
    }
}

/// How far the node has noted that it is.
fn document(args: &ExitArgs) -> Result<Exited, Error> {
    let running = Home::at(args.dir.clone()).running().is_some();
    let exit = match Noted::read(&args.dir) {
        Ok(health) => health.exit,
        // It has noted nothing yet.
        Err(error) if error.kind == Kind::NotFound => Exit::default(),
        Err(error) => return Err(error),
    };
    Ok(Exited { leaving: !args.cancel, running, exit })
}

/// Follows the node until it has retired.
async fn retired(args: &ExitArgs, context: &Context) -> Result<Exited, Error> {
    let mut told = String::new();
    loop {
        let document = document(args)?;
        if document.exit.stage == ExitStage::Retired {
            return Ok(document);
        }
        if !document.running {
            return Err(Error::new(Kind::Unreachable, "the node does not run")
                .hint("start it with: symbolon node run; it goes on leaving then"));
        }
        let now = words(&document);
        if now != told {
            context.out.note(&now);
            told = now;
        }
        context.host.sleep_ms(LOOK_MS).await;
    }
}

fn report(document: &Exited) -> Report {
    let mut report = Report::new(document).text(words(document));
    if document.leaving && document.exit.stage != ExitStage::Retired {
        for held in &document.exit.vaults {
            report = report.text(vault(held));
        }
    }
    if let Some(problem) = &document.exit.problem {
        report = report.field("problem", problem.clone());
    }
    report
}

fn words(document: &Exited) -> String {
    let Exited { leaving, running, exit } = document;
    if !leaving {
        return String::from("The node stays.");
    }
    let (left, kept) = (count(exit.left, "shard"), count(exit.kept, "shard"));
    match exit.stage {
        ExitStage::Retired => String::from(
            "The node has retired, and has back what was its own. Its folder is needed no longer.",
        ),
        _ if !running => String::from("The node leaves as soon as it runs."),
        ExitStage::Stays => String::from("The node begins to leave within some seconds."),
        ExitStage::Announces => {
            String::from("The node tells the ledger that it takes no new shards.")
        }
        ExitStage::Hands => format!("{left} to be handed on, {} handed on.", exit.handed),
        ExitStage::Custody => custody(exit),
        ExitStage::Proves => {
            format!("All shards are handed on. The node proves {kept} until the next nodes begin.")
        }
    }
}

/// Which vaults keep a node from retiring.
fn custody(exit: &Exit) -> String {
    let needed: Vec<&HeldVault> =
        exit.vaults.iter().filter(|vault| vault.until_ms.is_some()).collect();
    let until_ms = needed.iter().filter_map(|vault| vault.until_ms).max().unwrap_or(0);
    format!(
        "All shards are handed on. The node keeps shares of {} that owners count on, the last of them until about {}. \
         Shares are not handed on: it retires when no owner needs them, or at once with --abandon-vaults.",
        count(needed.len(), "vault"),
        show_time(until_ms)
    )
}

/// A vault of which the node keeps a share, and what for.
fn vault(held: &HeldVault) -> String {
    let HeldVault { vault, owner, orders, listings, deals, until_ms } = held;
    let until = until_ms
        .map_or_else(|| String::from("not needed now"), |ms| format!("until {}", show_time(ms)));
    format!(
        "vault {} of account {}: {}, {}, care of {}; {until}",
        &vault.as_str()[..8],
        &owner.as_str()[..8],
        count(*orders, "paid order"),
        count(*listings, "open listing"),
        count(*deals, "deal")
    )
}

/// Milliseconds between two looks at what the node has noted.
const LOOK_MS: u64 = 1_000;
