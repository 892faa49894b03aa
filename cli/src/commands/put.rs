//! `symbolon put`: store a file.

use std::path::PathBuf;

use serde_json::{Value, json};
use symbolon_client::{PutOptions, PutOutcome, PutReport, Quote, Replace, Source, StatView};
use symbolon_protocol::Amount;

use crate::{
    context::{self, Consent, Context},
    error::Error,
    output::Report,
    progress,
    units::{self, Term, count, show_amount, show_duration, show_size},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon put report.pdf
  symbolon put report.pdf reports/2026.pdf --for 1y --max-cost 2.5
  tar c photos | symbolon put - photos.tar
  symbolon put big.iso --dry-run          what it would cost

The same command again after an interruption goes on where it stopped and pays once.")]
pub(crate) struct Args {
    /// The file to store; - reads stdin
    path: PathBuf,
    /// The name to store it under; without it, the file's own
    name: Option<String>,
    /// How long to keep it: 30d, 1y, 100epochs
    #[arg(long = "for", value_name = "TERM", default_value = "30d", value_parser = units::term)]
    term: Term,
    /// Refuse to pay more than this, all-in
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    max_cost: Option<Amount>,
    /// Say what it would cost, and store nothing
    #[arg(long)]
    dry_run: bool,
    /// Take the place of the file that has the name now
    #[arg(long)]
    replace: bool,
    /// Do not ask before paying
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<Report, Error> {
    let (source, length) = source(&args)?;
    let name = name(&args)?;
    let client = context.client().await?;
    let chain = context.chain(&client).await?;
    let epoch_ms = chain.params.epoch_ms;
    let options = PutOptions {
        epochs: args.term.epochs(epoch_ms),
        cost_max: args.max_cost,
        scheme: None,
        replace: if args.replace { Replace::Replace } else { Replace::Refuse },
    };
    let mut warning = None;
    if let Some(length) = length {
        let quote = client.quote(length, &options).await?;
        if let Some(warning) = &quote.warning {
            context.out.warn(warning);
        }
        warning.clone_from(&quote.warning);
        if args.dry_run {
            context::close(client).await;
            return Ok(quote_report(&name, length, &quote, epoch_ms));
        }
        let question = format!(
            "Store {} for {} at {} all-in?",
            show_size(length),
            show_duration(quote.epochs.saturating_mul(epoch_ms)),
            show_amount(quote.total),
        );
        context.consent(&chain, &question, Consent::from(args.yes, args.max_cost))?;
    } else {
        let question = format!("Store what comes from stdin as {name}, whatever its size costs?");
        context.consent(&chain, &question, Consent::from(args.yes, args.max_cost))?;
    }
    let bar = progress::bar(&context.out, "storing");
    let stored = client.put(source, &name, &options, &bar.progress()).await;
    bar.finish();
    let stored = stored?;
    let stat = client.stat(&name).await;
    context::close(client).await;
    Ok(put_report(&stored, &stat?, epoch_ms).with("warning", warning.into()))
}

fn source(args: &Args) -> Result<(Source, Option<u64>), Error> {
    if args.path.as_os_str() == "-" {
        if args.dry_run {
            return Err(Error::usage("a dry run needs a file, to know its size"));
        }
        return Ok((Source::Stdin, None));
    }
    let path = &args.path;
    let about = std::fs::metadata(path).map_err(|error| Error::io("read", path, &error))?;
    if about.is_dir() {
        let shown = path.display();
        return Err(Error::usage(format!("{shown} is a folder; put stores one file"))
            .hint(format!("pack it on the way: tar c {shown} | symbolon put - {shown}.tar")));
    }
    if !about.is_file() {
        return Err(Error::usage(format!("{} is not a file", path.display()))
            .hint("send it through stdin: symbolon put - NAME"));
    }
    // Found out before anything is quoted or asked.
    drop(std::fs::File::open(path).map_err(|error| Error::io("read", path, &error))?);
    Ok((Source::File(path.clone()), Some(about.len())))
}

fn name(args: &Args) -> Result<String, Error> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    let own = args.path.file_name().filter(|_| args.path.as_os_str() != "-");
    match own {
        None => Err(Error::usage("what comes from stdin has no name of its own")
            .hint("name it: symbolon put - NAME")),
        Some(name) => name.to_str().map(str::to_owned).ok_or_else(|| {
            Error::usage("the file's name is not Unicode")
                .hint("name it yourself: symbolon put PATH NAME")
        }),
    }
}

fn quote_report(name: &str, length: u64, quote: &Quote, epoch_ms: u64) -> Report {
    let lasts = show_duration(quote.epochs.saturating_mul(epoch_ms));
    let json = json!({
        "name": name,
        "length": length,
        "scheme": scheme_json(quote.scheme),
        "nodes": quote.nodes,
        "segments": quote.segments,
        "stored_bytes": quote.stored_bytes,
        "epochs": quote.epochs,
        "cost": {
            "storage": quote.storage.to_string(),
            "reserve": quote.reserve.to_string(),
            "fee": quote.fee.to_string(),
            "total": quote.total.to_string(),
        },
        "warning": quote.warning,
    });
    Report::new(json)
        .text(format!("Storing {name} would cost {} all-in.", show_amount(quote.total)))
        .field("file", show_size(length))
        .field("on the nodes", format!("{} in {}", show_size(quote.stored_bytes), shards(quote)))
        .field("for", format!("{lasts} ({})", count(quote.epochs, "epoch")))
        .field("storage", format!("{}, paid to nodes epoch by epoch", show_amount(quote.storage)))
        .field(
            "reserve",
            format!("{}, for repair; unused it comes back", show_amount(quote.reserve)),
        )
        .field("fee", show_amount(quote.fee).to_string())
        .essence(quote.total.to_string())
}

fn shards(quote: &Quote) -> String {
    let scheme = quote.scheme;
    let segments = count(quote.segments, "segment");
    format!("{segments} of {} shards, any {} suffice", scheme.total, scheme.required)
}

fn scheme_json(scheme: symbolon_protocol::content::Scheme) -> Value {
    json!({ "required": scheme.required, "total": scheme.total })
}

fn put_report(stored: &PutReport, stat: &StatView, epoch_ms: u64) -> Report {
    let outcome = match stored.outcome {
        PutOutcome::Stored => "stored",
        PutOutcome::Resumed => "resumed",
        PutOutcome::Already => "already",
    };
    let nodes: std::collections::BTreeSet<_> =
        stat.segments.iter().flat_map(|segment| &segment.shards).map(|shard| shard.node).collect();
    let shards: usize = stat.segments.iter().map(|segment| segment.shards.len()).sum();
    let paid_until = stat.segments.iter().map(|segment| segment.end).min().unwrap_or(0);
    let json = json!({
        "outcome": outcome,
        "name": stored.name,
        "object": stored.object.to_string(),
        "length": stored.length,
        "scheme": scheme_json(stored.scheme),
        "segments": stored.segments,
        "shards": shards,
        "nodes": nodes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "cost": stored.cost.to_string(),
        "paid_until_epoch": paid_until,
    });
    let scheme = stored.scheme;
    let did = match stored.outcome {
        PutOutcome::Already => "is stored already; nothing was sent or paid",
        PutOutcome::Resumed => "is stored; the upload went on where it had stopped",
        PutOutcome::Stored => "is stored",
    };
    let price = match stored.outcome {
        PutOutcome::Already => "Paid".to_owned(),
        _ => format!("Paid {} in all,", show_amount(stored.cost)),
    };
    Report::new(json)
        .text(format!("{} ({}) {did}.", stored.name, show_size(stored.length)))
        .text(format!(
            "{} on {}; any {} of {} give it back.",
            count(shards, "shard"),
            count(nodes.len(), "node"),
            scheme.required,
            scheme.total
        ))
        .text(format!(
            "{price} until epoch {paid_until} (one epoch is {}).",
            show_duration(epoch_ms)
        ))
}
