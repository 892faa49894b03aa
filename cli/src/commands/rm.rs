//! `symbolon rm`: stop paying for files and have them deleted.

use std::{collections::BTreeSet, ffi::OsString};

use symbolon_client::{Client, Deletion, ErrorKind, Name, Sale, shown};
use symbolon_view::rm::Removed;

use super::folder::{bytes, pattern};
use crate::{
    context::{Consent, Context},
    error::Error,
    names::{self, Pay},
    output::Report,
    progress,
    units::{count, show_amount, show_size, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon rm report.pdf
  symbolon rm report.pdf --yes
  symbolon rm -r photos/2019
  symbolon rm 'photos/*.tmp'
  symbolon rm notes.txt --forever          also its kept versions
  symbolon rm big.iso                      also an unfinished put

Removing a file ends its listings. If buyers may still read it, it stays stored for them until their access
ends, and its payment comes back no sooner; the question says until when.
The payment for later epochs comes back. Every node is asked to delete its shards now, and signs that it
has; a node that is offline deletes them when it is back. Grants to the file stop working.
Files with kept versions (put --keep) can be brought back with: symbolon undelete")]
pub(crate) struct Args {
    /// The names, folders or patterns to remove
    #[arg(required = true, value_name = "NAME")]
    names: Vec<OsString>,
    /// Remove folders with everything inside them
    #[arg(long, short)]
    recursive: bool,
    /// Remove kept versions too
    #[arg(long)]
    forever: bool,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

/// What will be removed.
#[derive(Default)]
struct Chosen {
    names: BTreeSet<Name>,
    files: u64,
    bytes: u64,
    uploads: usize,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let client = context.client_synced().await?;
    let report = remove(args, &client, context).await;
    names::publish_and_close(client, Pay::Ask, &context.out).await;
    report
}

async fn remove(args: &Args, client: &Client, context: &Context) -> Result<Report, Error> {
    let chosen = choose(args, client).await?;
    let what = match args.names.as_slice() {
        [one] => shown(bytes(one)),
        more => count(more.len(), "name"),
    };
    let size = match (chosen.names.len(), chosen.files) {
        (1, 0) if chosen.uploads > 0 => String::from(" (an unfinished put)"),
        (1, _) => String::new(),
        _ => format!(" ({}, {})", count(chosen.files, "file"), show_size(chosen.bytes)),
    };
    let names: Vec<_> = chosen.names.into_iter().collect();
    let sales = client.sales_in(&names, args.forever).await?;
    let breaks = breaks(&sales);
    let question = format!("Delete {what}{size} from every node, for good?{breaks}");
    context.consent_to_loss(&question, Consent::from(args.yes, None))?;
    let bar = progress::bar(&context.out, "removing");
    let removed = client.remove(&names, args.forever, &bar.progress()).await;
    bar.finish();
    let removed = removed?;
    let files = (chosen.files, chosen.bytes);
    let document = Removed::new(what.clone(), files, &removed, &sales);
    let stays = match removed.bound {
        0 => "",
        _ => " What they bought stays stored until then, so its deals were not ended.",
    };
    let deals = count(removed.deals, "deal");
    let kept = match removed.kept {
        0 => String::new(),
        kept => format!(" Versions of {} are kept.", count(kept, "name")),
    };
    Ok(Report::new(&document).text(format!(
        "{what}{size} is gone: {deals} ended, {} came back.{kept} {}{breaks}{stays}",
        show_amount(removed.refunded),
        deletion_words(&removed.deletion),
    )))
}

/// What ends with the files and what does not: listings, and the access that buyers have paid for.
fn breaks(sales: &[Sale]) -> String {
    let open: Vec<_> =
        sales.iter().filter(|sale| sale.open).map(|sale| sale.listing.to_string()).collect();
    let mut text = match open.as_slice() {
        [] => String::new(),
        [one] => format!(" It is for sale: listing {} ends.", &one[..12]),
        more => format!(" {} end.", count(more.len(), "listing")),
    };
    let buyers = sales.iter().map(|sale| sale.buyers).sum::<u64>();
    if let Some(until) = sales.iter().map(|sale| sale.access_until_ms).max().filter(|_| buyers > 0)
    {
        let may = if buyers == 1 { "keeps" } else { "keep" };
        let (buyers, until) = (count(buyers, "buyer"), show_time(until));
        text.push_str(&format!(" {buyers} {may} access until {until}."));
    }
    text
}

fn deletion_words(deletion: &Deletion) -> String {
    let (confirmed, away) = (deletion.confirmed().len(), deletion.unconfirmed.len());
    let nodes = count(confirmed + away, "node");
    match away {
        0 => format!("{confirmed} of {nodes} signed that their shards are deleted."),
        _ => format!(
            "{confirmed} of {nodes} signed that their shards are deleted; the rest will when they are back."
        ),
    }
}

async fn choose(args: &Args, client: &Client) -> Result<Chosen, Error> {
    let mut chosen = Chosen::default();
    for name in &args.names {
        let selection = match client.select(&pattern(name), args.forever).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // An earlier rm may have been cut off after it had removed the name.
                client.tidy().await?;
                return Err(error.into());
            }
            selection => selection?,
        };
        if selection.has_folder && !args.recursive {
            let shown = shown(bytes(name));
            return Err(Error::usage(format!("{shown} is a folder, or matches one"))
                .hint("remove it with everything in it: symbolon rm -r NAME"));
        }
        chosen.files += selection.files;
        chosen.bytes += selection.bytes;
        chosen.uploads += selection.uploads;
        chosen.names.extend(selection.names);
    }
    Ok(chosen)
}
