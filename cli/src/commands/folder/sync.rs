//! `symbolon sync`: make a local and a stored folder the same, copying only the differences.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use symbolon_client::{FolderOptions, Pattern, PutOptions, Replace, shown};
use symbolon_protocol::Amount;

use super::{bytes, get::Bring, name, options, put::Store};
use crate::{
    auto::Auto,
    context::{self, Context},
    error::Error,
    output::Report,
    units::{self, Term},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon sync ~/photos :photos              up: store what is new or changed
  symbolon sync :photos ~/photos              down: write what is new or changed
  symbolon sync ~/photos :photos --delete     also remove what is no longer there
  symbolon sync ~/photos :photos --checksum   compare every byte
  symbolon sync . : --exclude target --dry-run

Stored names begin with a colon; a colon alone stands for all of them. A file counts as unchanged if its
length and time are the same; with --checksum, if its content is, and small files are read back for that.
sync removes nothing without --delete. With an empty source, --yes is not enough to remove everything:
--max-delete has to allow that many files.")]
pub(crate) struct Args {
    /// The source: a local folder, or a stored folder written as :NAME
    source: OsString,
    /// The target: :NAME, or a local folder
    target: OsString,
    /// Remove from the target what the source does not have
    #[arg(long)]
    delete: bool,
    /// With --delete, remove at most this many files, without asking
    #[arg(long, value_name = "NUMBER", requires = "delete")]
    max_delete: Option<u64>,
    /// Compare files by content instead of by size and time
    #[arg(long)]
    checksum: bool,
    /// Skip files that match: *.tmp, build/, photos/**/raw
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<OsString>,
    /// Keep this many older versions of each file
    #[arg(long, value_name = "NUMBER")]
    keep: Option<u32>,
    /// How long to pay for storage: 30d, 1y, 100epochs [default: 30d]. Files that are stored already and
    /// whose term ends sooner, by more than a tenth, are stored again
    #[arg(long = "for", value_name = "TERM", value_parser = units::term)]
    term: Option<Term>,
    /// Do not pay more than this in total
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    max_cost: Option<Amount>,
    /// Store even when the nodes are offline too often to read it reliably
    #[arg(long)]
    accept_risk: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

/// A stored name: what comes after the colon.
fn stored(argument: &OsString) -> Option<&[u8]> {
    let name = bytes(argument).strip_prefix(b":")?;
    Some(name.strip_suffix(b"/").unwrap_or(name))
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let sides = (stored(&args.source), stored(&args.target));
    let folder = FolderOptions {
        delete: args.delete,
        checksum: args.checksum,
        ..options(&args.exclude, args.keep)
    };
    match sides {
        (None, Some(to)) => {
            let client = context.client_synced().await?;
            let chain = client.recent_chain().await?;
            let (epochs, least) = units::epochs(args.term, chain.params.epoch_ms);
            let folder = FolderOptions { least, epochs, ..folder };
            let options = PutOptions {
                epochs: Some(epochs),
                least: Some(least),
                cost_max: args.max_cost,
                replace: Replace::Overwrite,
                keep: args.keep,
                ..PutOptions::default()
            };
            let to = if to.is_empty() { None } else { Some(name(OsStr::from_bytes(to))?) };
            let (root, dry_run, yes) = (Path::new(&args.source), args.dry_run, args.yes);
            let (accept_risk, max_delete) = (args.accept_risk, args.max_delete);
            let (auto, care) = (Auto::default(), true);
            let store = Store {
                root,
                to,
                folder,
                options,
                accept_risk,
                care,
                dry_run,
                yes,
                auto,
                max_delete,
            };
            store.run_and_close(client, context).await
        }
        (Some(from), None) => {
            let client = context.client_synced().await?;
            let target = Some(Path::new(&args.target));
            let plan = client.plan_get(&Pattern::whole(from), target, &folder).await;
            let plan = plan?.ok_or_else(|| {
                Error::usage("that is a single file; sync is for folders")
                    .hint("fetch it with: symbolon get NAME")
            })?;
            let bring = Bring {
                plan,
                replace: true,
                dry_run: args.dry_run,
                yes: args.yes,
                from: format!(":{}", shown(from)),
                max_delete: args.max_delete,
            };
            let report = bring.run(&client, context).await;
            context::close(client).await;
            report
        }
        _ => Err(Error::usage(
            "one side has to be a folder here, the other a stored name with a colon",
        )
        .hint("up: symbolon sync DIR :NAME; down: symbolon sync :NAME DIR")),
    }
}
