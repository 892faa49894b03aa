//! `symbolon ls`: list stored files.

use serde_json::json;
use symbolon_client::FileKind;

use crate::{
    context::{self, Context},
    error::Error,
    output::{Align, Report, Table},
    units::{count, show_size, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon ls
  symbolon ls reports/
  symbolon ls --json

The list is this identity's own, kept on this machine: it needs no network, and is brought up to
what your other devices stored when the ledger answers.")]
pub(crate) struct Args {
    /// Only names that begin with this
    prefix: Option<String>,
    /// Also what is stored for listings: descriptions and previews
    #[arg(long)]
    all: bool,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let client = context.client_local().await?;
    let prefix = args.prefix.as_deref().unwrap_or("");
    let files = client.list();
    context::close(client).await;
    let files: Vec<_> = files?
        .into_iter()
        .filter(|file| args.all || file.kind == FileKind::Own)
        .filter(|file| file.name.starts_with(prefix))
        .collect();
    let mut table = Table::new(&[
        ("SIZE", Align::Right),
        ("STORED", Align::Left),
        ("SHARDS", Align::Right),
        ("NAME", Align::Left),
    ]);
    for file in &files {
        table.row(vec![
            show_size(file.length),
            show_time(file.stored_ms),
            format!("{} of {}", file.scheme.required, file.scheme.total),
            file.name.clone(),
        ]);
    }
    let total = files.iter().map(|file| file.length).sum();
    let json = files.iter().map(|file| {
        json!({
            "name": file.name,
            "kind": kind(file.kind),
            "object": file.object.to_string(),
            "length": file.length,
            "scheme": { "required": file.scheme.required, "total": file.scheme.total },
            "segments": file.segments,
            "stored_ms": file.stored_ms,
            "cost": file.cost.to_string(),
        })
    });
    let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
    let report = Report::new(json!({ "files": json.collect::<Vec<_>>() }));
    Ok(if files.is_empty() {
        report.text("No files yet. Store one: symbolon put PATH")
    } else {
        let names = names.join("\n");
        let total = format!("{}, {}", count(files.len(), "file"), show_size(total));
        report.table(table).text(total).essence(names)
    })
}

fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Own => "own",
        FileKind::Document { .. } => "listing_description",
        FileKind::Preview { .. } => "listing_preview",
        FileKind::Index => "index",
    }
}
