//! `symbolon keep`: keep everything stored while it runs.

use std::time::Duration;

use symbolon_client::{Client, KeepOptions, KeepReport};
use symbolon_protocol::Amount;
use symbolon_view::keep::Kept;

use crate::{
    context::{Consent, Context},
    error::Error,
    interrupt::Interrupt,
    names::{self, Pay},
    output::Report,
    progress,
    units::{self, Term, count, show_amount, show_duration},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon keep                      look now and again, until Ctrl-C stops it
  symbolon keep --once               look once: for a timer such as cron
  symbolon keep --for 1y --max-cost 20

Files that end within half of the term are paid for longer, and lost shards are computed from the others and given to
other nodes. Nodes go on proving what they have in between: it is enough to run this from time to time.")]
pub(crate) struct Args {
    /// How long everything is kept: 30d, 1y, 100epochs [default: 30d]
    #[arg(long = "for", value_name = "TERM", value_parser = units::term)]
    term: Option<Term>,
    /// Do not pay more than this in total while it runs
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    max_cost: Option<Amount>,
    /// Look once, and end
    #[arg(long)]
    once: bool,
    /// Do not ask before paying
    #[arg(long, short)]
    yes: bool,
}

impl Args {
    /// Whether it runs until it is stopped.
    pub(crate) const fn runs_on(&self) -> bool {
        !self.once
    }
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<(), Error> {
    let client = context.client_synced().await?;
    let chain = client.recent_chain().await?;
    let epoch_ms = chain.params.epoch_ms;
    let (epochs, _) = units::epochs(args.term, epoch_ms);
    let lasts = show_duration(epochs.saturating_mul(epoch_ms.0));
    let question = match args.max_cost {
        Some(most) => format!("Keep everything for {lasts}, for at most {}?", show_amount(most)),
        None => format!("Keep everything for {lasts}, whatever it costs?"),
    };
    context.consent(&chain, &question, Consent::from(args.yes, args.max_cost))?;
    // Half of the term: what is renewed now is left alone for as long.
    let mut options = KeepOptions { epochs, least: epochs.div_ceil(2), cost_max: args.max_cost };
    let mut interrupt = Interrupt::listen();
    let pause = Duration::from_millis((epoch_ms.0 / 2).clamp(SHORTEST_MS, LONGEST_MS));
    let mut first = true;
    let kept = loop {
        let Some(looked) = interrupt.or(look(&client, &options, context)).await else {
            break Ok(());
        };
        let report = match looked {
            Ok(report) => report,
            Err(error) if first || args.once => break Err(error),
            // The network may be away for a while.
            Err(error) => {
                context.out.warn(&error.message);
                if interrupt.or(tokio::time::sleep(pause)).await.is_none() {
                    break Ok(());
                }
                continue;
            }
        };
        let left = |limit: Amount| limit.checked_sub(report.cost).unwrap_or(Amount::ZERO);
        options.cost_max = options.cost_max.map(left);
        let words = words(&report);
        if first {
            context.out.report(&Report::new(&Kept::from(&report)).text(words))?;
        } else if report.renewed + report.repaired + report.lost + report.over > 0 {
            context.out.note(&words);
        }
        first = false;
        if args.once || interrupt.or(tokio::time::sleep(pause)).await.is_none() {
            break Ok(());
        }
    };
    crate::context::close(client).await;
    kept
}

async fn look(
    client: &Client,
    options: &KeepOptions,
    context: &Context,
) -> Result<KeepReport, Error> {
    let bar = progress::bar(&context.out, "keeping");
    let kept = client.keep(options, &bar.progress()).await;
    bar.finish();
    let report = kept?;
    names::publish(client, Pay::Ask, &context.out).await;
    Ok(report)
}

/// What was found and done, in one line.
fn words(report: &KeepReport) -> String {
    let mut words = format!("{}: ", count(report.objects, "object"));
    let mut parts = Vec::new();
    if report.renewed > 0 {
        parts.push(format!("{} renewed", report.renewed));
    }
    if report.repaired > 0 {
        parts.push(format!("{} repaired", count(report.repaired, "shard")));
    }
    if report.lost > 0 {
        let why = report.fault.as_deref().unwrap_or("unknown");
        parts.push(format!("{} not repaired ({why})", count(report.lost, "lost shard")));
    }
    if report.limited > 0 {
        parts.push(format!("{} end soon, as nodes agree to no more", report.limited));
    }
    if report.over > 0 {
        parts.push(format!("{} over: put them again", report.over));
    }
    match parts.as_slice() {
        [] => words.push_str("all is well"),
        parts => words.push_str(&parts.join(", ")),
    }
    if report.cost > Amount::ZERO {
        words.push_str(&format!("; paid {}", show_amount(report.cost)));
    }
    words + "."
}

/// The shortest pause between two looks, in milliseconds.
const SHORTEST_MS: u64 = 2_000;
/// The longest one.
const LONGEST_MS: u64 = 3_600_000;
