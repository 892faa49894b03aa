//! `symbolon put`: store a file; `folder::put` stores a folder.

mod preview;

use std::{ffi::OsString, path::PathBuf};

use symbolon_client::{
    Client, FolderOptions, Growth, Name, PutOptions, PutOutcome, PutReport, Replace, Source, Stored,
};
use symbolon_protocol::{Amount, Millis, content::Scheme, ledger::rows::Chain};
use symbolon_view::put::FileStored;

use super::{
    care,
    folder::{self, bytes},
};
use crate::{
    auto::Auto,
    context::{self, Consent, Context},
    durability,
    error::Error,
    interrupt::{self, Interrupt},
    names::{self, Pay},
    output::Report,
    progress, target,
    units::{self, GIB, Term, count, show_amount, show_duration, show_size},
};
use preview::Preview;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon put report.pdf
  symbolon put report.pdf reports/2026.pdf --for 1y --max-cost 2.5
  tar c photos | symbolon put - photos.tar
  symbolon put big.iso --dry-run          show the cost and the expected durability
  symbolon put big.iso --scheme 16/32     any 16 of 32 shards suffice to read it
  symbolon put photos                     a folder and everything in it
  symbolon put src code --exclude target --exclude '*.o'
  symbolon put notes.txt --keep 5         keep five older versions from now on
  symbolon put notes.txt --for 1y --auto --max-monthly 1
                                          renew it without being asked

After an interruption (Ctrl-C, a crash), run the same command again: it goes on where it stopped and pays once.
put refuses a scheme if the nodes were offline so often that the file would be out of reach too often.")]
pub(crate) struct Args {
    /// The file or folder to store; - reads stdin
    path: PathBuf,
    /// The name to store it under [default: its own name]
    name: Option<OsString>,
    /// How long to pay for storage: 30d, 1y, 100epochs [default: 30d]. Files that are stored already and
    /// whose term ends sooner, by more than a tenth, are paid for longer
    #[arg(long = "for", value_name = "TERM", value_parser = units::term)]
    term: Option<Term>,
    /// Do not pay more than this in total
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    max_cost: Option<Amount>,
    /// How many shards are needed to read the file, of how many in total [default: chosen by the number of nodes]
    #[arg(long, value_name = "REQUIRED/TOTAL", value_parser = units::scheme)]
    scheme: Option<Scheme>,
    /// Store even when the nodes are offline too often to read it reliably
    #[arg(long)]
    accept_risk: bool,
    /// Show the cost and the expected durability, and store nothing
    #[arg(long)]
    dry_run: bool,
    /// Overwrite a file that has this name; in a folder, also a file whose name is now a folder's
    #[arg(long)]
    replace: bool,
    /// Keep this many older versions of each file; storing under an existing name then adds a version
    #[arg(long, value_name = "NUMBER")]
    keep: Option<u32>,
    /// Skip files of a folder that match: *.tmp, build/, photos/**/raw
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<OsString>,
    /// Compare files of a folder by content instead of by size and time
    #[arg(long)]
    checksum: bool,
    /// Name no caretakers: only programs of yours repair the file. symbolon care --on names them later
    #[arg(long)]
    no_care: bool,
    #[command(flatten)]
    auto: Auto,
    /// Do not ask before paying
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<Report, Error> {
    if args.path.is_dir() {
        return run_folder(args, context).await;
    }
    let (source, length) = source(&args)?;
    let typed = typed_name(&args)?;
    let name = folder::name(&typed)?;
    let shown_name = name.to_string();
    let client = context.client_synced_ahead(async |client| client.ahead_of_put().await).await?;
    args.auto.check(&client).await?;
    let chain = client.recent_chain().await?;
    let epoch_ms = chain.params.epoch_ms;
    let (epochs, least) = units::epochs(args.term, epoch_ms);
    let mut options = PutOptions {
        epochs: Some(epochs),
        least: Some(least),
        cost_max: args.max_cost,
        scheme: args.scheme,
        replace: if args.replace { Replace::Overwrite } else { Replace::Refuse },
        keep: args.keep,
    };
    let quote = client.quote(length.unwrap_or(GIB), &options).await?;
    let growth = Growth::file(name.as_bytes().len(), args.path.as_os_str().len());
    let index = client.quote_index(&growth, epochs).await?;
    if let Some(warning) = &quote.price.warning {
        context.out.warn(warning);
    }
    // The length of standard input is unknown: the price is shown for a GiB.
    let preview = Preview {
        name: &shown_name,
        length: length.unwrap_or(GIB),
        quote: &quote,
        index,
        epoch_ms,
    };
    if args.dry_run {
        context::close(client).await;
        return Ok(preview.report());
    }
    if !args.accept_risk && is_new(&client, &name, args.replace).await? {
        let scheme = (quote.price.scheme, args.scheme);
        durability::judge(&context.out, &chain.params, scheme, &quote.durability)?;
    }
    ask(&args, context, &chain, &preview)?;
    // Without --max-cost, the price that was shown is the limit. A stream of unknown length then has none.
    options.cost_max = args.max_cost.or(length.map(|_| quote.price.total));
    let stored = store(&client, source, &name, &options, context).await;
    if let Ok(stored) = &stored {
        care_of(&args, &client, stored, &options, context).await?;
    }
    // An upload reports where its shards are. For a file that was stored already, the ledger is asked.
    let stat = match &stored {
        Ok(PutReport { outcome: PutOutcome::Already | PutOutcome::Renewed, .. }) => {
            Some(client.stat(&name).await)
        }
        _ => None,
    };
    let agreed = match &stored {
        Ok(_) => args.auto.agree(&client, std::slice::from_ref(&name), epochs).await,
        Err(_) => Ok(()),
    };
    let paid = names::publish_and_close(client, Pay::Said(index), &context.out).await;
    let stored = stored?;
    agreed?;
    let stat = stat.transpose()?;
    let document = FileStored::new(&stored, stat.as_ref(), paid, quote.price.warning);
    Ok(report(&stored, &document, epoch_ms))
}

/// Names caretakers for what was stored, or notes that it is to have none.
async fn care_of(
    args: &Args,
    client: &Client,
    stored: &PutReport,
    options: &PutOptions,
    context: &Context,
) -> Result<(), Error> {
    let which = Stored::Object(stored.object);
    if args.no_care {
        return Ok(client.allow_care(&which, false).await?);
    }
    let rest = options.cost_max.map(|most| most.checked_sub(stored.cost).unwrap_or(Amount::ZERO));
    care::name_caretakers(client, which, rest, context).await;
    Ok(())
}

/// Whether the put would store something new. An unfinished upload was judged when it began. A name that is taken is
/// either the same file, or the put is refused.
async fn is_new(client: &Client, name: &Name, replace: bool) -> Result<bool, Error> {
    let taken = !replace && client.is_file(name).await?;
    Ok(!taken && !client.unfinished().await?.contains(&name.to_string()))
}

/// Shows what would be paid for, then asks.
fn ask(args: &Args, context: &Context, chain: &Chain, shown: &Preview<'_>) -> Result<(), Error> {
    let given = Consent::from(args.yes, args.max_cost);
    let question = if target::is_stdin(&args.path) {
        let cost = show_amount(shown.all_in());
        format!("Store what comes from stdin as {}, at {cost} all-in for each GiB?", shown.name)
    } else {
        shown.question()
    };
    if given == Consent::Open && chain.params.faucet == Amount::ZERO {
        context.out.note(&shown.lines());
    }
    context.consent(chain, &question, given)
}

/// Stores the file, unless a signal stops it.
async fn store(
    client: &Client,
    source: Source,
    name: &Name,
    options: &PutOptions,
    context: &Context,
) -> Result<PutReport, Error> {
    let from_stdin = matches!(source, Source::Reader(_));
    let mut interrupt = Interrupt::listen();
    let bar = progress::bar(&context.out, "storing");
    let stored = interrupt.or(client.put(source, name, options, &bar.progress())).await;
    bar.finish();
    let Some(stored) = stored else {
        let message = format!("put stopped at {}", bar.so_far());
        return Err(interrupt::stopped(
            message,
            match from_stdin {
                true => {
                    "stdin cannot be read again: run the command again to store it anew; unused payment comes back"
                }
                false => "run the same command again to go on; nothing is paid twice",
            },
        ));
    };
    Ok(stored?)
}

fn source(args: &Args) -> Result<(Source, Option<u64>), Error> {
    if target::is_stdin(&args.path) {
        if args.dry_run {
            return Err(Error::usage("a dry run needs a file, to know its size"));
        }
        return Ok((Source::reader("stdin", tokio::io::stdin(), None), None));
    }
    let path = &args.path;
    let about = std::fs::metadata(path).map_err(|error| Error::io("read", path, &error))?;
    if !about.is_file() {
        // A pipe may wait for ever, and a device may have no end: a user who wants that uses stdin.
        return Err(Error::usage(format!("{} is a pipe, socket or device", path.display()))
            .hint(format!("send it through stdin: symbolon put - NAME < {}", path.display())));
    }
    // An unreadable file is refused before anything is quoted or asked.
    drop(std::fs::File::open(path).map_err(|error| Error::io("read", path, &error))?);
    Ok((Source::File(path.clone()), Some(about.len())))
}

async fn run_folder(args: Args, context: &Context) -> Result<Report, Error> {
    let own = match &args.name {
        Some(name) => name.clone(),
        None => folder::put::own_name(&args.path)?,
    };
    let client = context.client_synced_ahead(async |client| client.ahead_of_put().await).await?;
    args.auto.check(&client).await?;
    let chain = client.recent_chain().await?;
    let (epochs, least) = units::epochs(args.term, chain.params.epoch_ms);
    let store = folder::put::Store {
        root: &args.path,
        to: Some(folder::name(&own)?),
        folder: FolderOptions {
            replace: args.replace,
            checksum: args.checksum,
            least,
            epochs,
            ..folder::options(&args.exclude, args.keep)
        },
        options: PutOptions {
            epochs: Some(epochs),
            least: Some(least),
            cost_max: args.max_cost,
            scheme: args.scheme,
            replace: Replace::Overwrite,
            keep: args.keep,
        },
        accept_risk: args.accept_risk,
        care: !args.no_care,
        dry_run: args.dry_run,
        yes: args.yes,
        auto: args.auto,
        max_delete: None,
    };
    store.run_and_close(client, context).await
}

fn typed_name(args: &Args) -> Result<OsString, Error> {
    let own = args.path.file_name().filter(|_| !target::is_stdin(&args.path));
    match (&args.name, own) {
        (Some(name), own) if bytes(name).ends_with(b"/") => {
            let mut name = name.clone();
            name.push(own.unwrap_or_default());
            Ok(name)
        }
        (Some(name), _) => Ok(name.clone()),
        (None, Some(own)) => Ok(own.to_owned()),
        (None, None) => Err(Error::usage("what comes from stdin has no name of its own")
            .hint("name it: symbolon put - NAME")),
    }
}

fn report(stored: &PutReport, document: &FileStored, epoch_ms: Millis) -> Report {
    let scheme = stored.scheme;
    let did = match stored.outcome {
        PutOutcome::Already => "is stored already; nothing was sent or paid",
        PutOutcome::Renewed => "is stored already, and is kept for longer now; nothing was sent",
        PutOutcome::Resumed => "is stored; the upload went on where it had stopped",
        PutOutcome::Stored => "is stored",
    };
    let price = match stored.outcome {
        PutOutcome::Already => "Paid".to_owned(),
        _ => format!("Paid {} in all,", show_amount(stored.cost)),
    };
    Report::new(document)
        .text(format!("{} ({}) {did}.", stored.name, show_size(stored.length)))
        .text(format!(
            "{} on {}; any {} of {} suffice to read it.",
            count(document.shards, "shard"),
            count(document.nodes.len(), "node"),
            scheme.required,
            scheme.total
        ))
        .text(format!(
            "{price} until epoch {} (one epoch is {}).",
            document.paid_until_epoch,
            show_duration(epoch_ms.0)
        ))
}
