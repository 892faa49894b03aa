//! `symbolon du`: the size and cost of stored names.

use std::ffi::OsString;

use symbolon_client::{Usage, shown};
use symbolon_view::files::Usages;

use super::folder::{bytes, pattern};
use crate::{
    context::{self, Context},
    error::Error,
    output::{Align, Report, Table},
    units::{count, show_amount, show_size},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon du
  symbolon du photos
  symbolon du 'photos/**/*.raw'

ON NODES is the size of all shards; a file in a pack counts with its part of them. OLDER is the size of kept
versions and removed names. du needs no network.")]
pub(crate) struct Args {
    /// A name, folder or pattern [default: everything]
    name: Option<OsString>,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let client = context.client_local().await?;
    let what = args.name.as_deref().unwrap_or_default();
    let usage = client.usage(&pattern(what)).await;
    context::close(client).await;
    let (each, all) = usage?;
    let mut table = Table::new(&[
        ("SIZE", Align::Right),
        ("OLDER", Align::Right),
        ("ON NODES", Align::Right),
        ("PAID", Align::Right),
        ("FILES", Align::Right),
        ("NAME", Align::Left),
    ]);
    for (name, usage) in &each {
        table.row(row(usage, name.to_string()));
    }
    table.row(row(&all, String::from("in all")));
    let document = Usages::new(shown(bytes(what)), &each, &all);
    let text = format!(
        "{}, {} of files, {} on nodes, {} paid.",
        count(all.files, "file"),
        show_size(all.bytes),
        show_size(all.stored_bytes),
        show_amount(all.cost)
    );
    Ok(Report::new(&document).table(table).text(text).essence(all.bytes.to_string()))
}

fn row(usage: &Usage, name: String) -> Vec<String> {
    vec![
        show_size(usage.bytes),
        show_size(usage.older_bytes),
        show_size(usage.stored_bytes),
        usage.cost.to_string(),
        usage.files.to_string(),
        name,
    ]
}
