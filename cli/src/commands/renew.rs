//! `symbolon renew`: keep stored files for longer.

use std::{collections::BTreeSet, ffi::OsString};

use symbolon_client::{Client, Growth, Name, Renewal, shown};
use symbolon_protocol::Amount;
use symbolon_view::renew::{Agreed, Renewed, Unmarked};

use super::folder::{self, bytes, pattern};
use crate::{
    auto::Auto,
    context::{Consent, Context},
    error::Error,
    names::{self, Pay},
    output::Report,
    progress,
    units::{self, Term, count, show_amount, show_size, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon renew report.pdf                 keep it for 30 more days from now
  symbolon renew photos --for 1y            a folder and everything in it
  symbolon renew 'photos/*.jpg' --for 90d --max-cost 2
  symbolon renew photos --for 1y --dry-run  show the cost, and pay nothing
  symbolon renew photos --for 90d --auto --max-monthly 1
                                            and again each time half of it is over
  symbolon renew photos --no-auto           let it end when it ends

No byte moves: the nodes that keep the shards are paid for longer. A file that is kept so long already costs
nothing, so the command may run every day. Nodes say until when they agree to their price. A file whose time is
over cannot be renewed, since nodes delete it then: put it again.")]
pub(crate) struct Args {
    /// The files, folders or patterns to keep
    #[arg(required = true, value_name = "NAME")]
    names: Vec<OsString>,
    /// How long to keep them from now on: 30d, 1y, 100epochs [default: 30d]
    #[arg(long = "for", value_name = "TERM", value_parser = units::term)]
    term: Option<Term>,
    /// Do not pay more than this in total
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    max_cost: Option<Amount>,
    /// Show the cost, and pay nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    auto: Auto,
    /// Pay nothing, and do not renew it without being asked any more
    #[arg(long, conflicts_with_all = ["auto", "term", "max_cost", "dry_run"])]
    no_auto: bool,
    /// Do not ask before paying
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let client = context.client_synced().await?;
    if args.no_auto {
        return disagree(args, client).await;
    }
    args.auto.check(&client).await?;
    let chain = client.recent_chain().await?;
    let (epochs, _) = units::epochs(args.term, chain.params.epoch_ms);
    let growth = Growth::file(0, 0);
    let index = client.quote_index(&growth, epochs).await?;
    let done = renew(args, &client, context, (epochs, index)).await;
    let paid = names::publish_and_close(client, Pay::Said(index), &context.out).await;
    let (renewal, cost) = done?;
    Ok(report(what(args), &renewal, cost, paid))
}

fn what(args: &Args) -> String {
    match args.names.as_slice() {
        [one] => shown(bytes(one)),
        more => count(more.len(), "name"),
    }
}

/// The names as they were typed, if they are names and no patterns, and the names that patterns choose: a folder stands
/// for what will be in it too.
async fn marked(args: &Args, client: &Client) -> Result<Vec<Name>, Error> {
    let mut marked = BTreeSet::new();
    for typed in &args.names {
        match folder::name(typed) {
            Ok(name) => drop(marked.insert(name)),
            Err(_) => marked.extend(client.select(&pattern(typed), false).await?.names),
        }
    }
    Ok(marked.into_iter().collect())
}

/// Takes the marks from names.
async fn disagree(args: &Args, client: Client) -> Result<Report, Error> {
    let names = marked(args, &client).await?;
    let marks = client.disagree(&names).await?;
    let agreement = client.agreement().await?;
    crate::context::close(client).await;
    let what = what(args);
    let text = match marks {
        0 => format!("{what}: nothing was to be renewed without being asked."),
        _ => format!("{what}: not renewed without being asked any more."),
    };
    Ok(Report::new(&Unmarked { name: what, marks, agreed: Agreed::from(&agreement) }).text(text))
}

/// Gives what it takes, and what was paid for it.
async fn renew(
    args: &Args,
    client: &Client,
    context: &Context,
    (epochs, index): (u64, Amount),
) -> Result<(Renewal, Option<Amount>), Error> {
    let mut chosen: BTreeSet<Name> = BTreeSet::new();
    for name in &args.names {
        chosen.extend(client.select(&pattern(name), false).await?.names);
    }
    let chosen: Vec<_> = chosen.into_iter().collect();
    let renewal = client.renewal(&chosen, epochs).await?;
    for name in &renewal.over {
        context.out.warn(&format!("{name} is over, and nodes delete it: put it again"));
    }
    if renewal.limited {
        let until = show_time(renewal.until_ms);
        context.out.warn(&format!("nodes agree to their prices until {until} only"));
    }
    if args.dry_run {
        return Ok((renewal, None));
    }
    if renewal.is_nothing() {
        args.auto.agree(client, &marked(args, client).await?, epochs).await?;
        return Ok((renewal, Some(Amount::ZERO)));
    }
    let all_in = renewal.cost.checked_add(index).unwrap_or(renewal.cost);
    let question = format!(
        "Keep {} ({}) until {}, for {} all-in?",
        count(renewal.files, "file"),
        show_size(renewal.bytes),
        show_time(renewal.until_ms),
        show_amount(all_in),
    );
    let chain = client.recent_chain().await?;
    context.consent(&chain, &question, Consent::from(args.yes, args.max_cost))?;
    let limit = args.max_cost.unwrap_or(renewal.cost);
    let bar = progress::bar(&context.out, "renewing");
    let paid = client.renew(&renewal, Some(limit), &bar.progress()).await;
    bar.finish();
    let paid = paid?;
    args.auto.agree(client, &marked(args, client).await?, epochs).await?;
    Ok((renewal, Some(paid)))
}

fn report(what: String, renewal: &Renewal, cost: Option<Amount>, index: Amount) -> Report {
    let document = Renewed::new(what.clone(), renewal, cost, index);
    let until = show_time(renewal.until_ms);
    let (files, price) = (count(renewal.files, "file"), show_amount(renewal.cost));
    let text = match cost {
        _ if renewal.files == renewal.over.len() as u64 => {
            format!("{what}: nothing can be renewed, all of it is over.")
        }
        None if renewal.is_nothing() => format!("{what}: {files}, kept until {until} already."),
        None => format!("{what}: {files} until {until} would cost {price}."),
        Some(_) if renewal.is_nothing() => {
            format!("{what}: {files}, kept until {until} already; nothing was paid.")
        }
        Some(cost) => format!("{what}: {files} kept until {until}; paid {}.", show_amount(cost)),
    };
    Report::new(&document).text(text)
}
