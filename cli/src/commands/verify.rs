//! `symbolon verify`: check that a file's shards are there and unharmed.

use std::ffi::OsString;

use serde_json::{Value, json};
use symbolon_client::{Depth, VerifyReport, shown};

use super::folder::bytes;
use crate::{
    context::{self, Context},
    error::{Error, Kind},
    output::{Align, Report, Table},
    progress,
    units::{count, show_size},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon verify report.pdf             a sample of every shard
  symbolon verify report.pdf --deep      every byte of every shard; names each damaged cell of 64 KiB

Exit codes: 0 all shards are well; 15 the file reads, but shards are missing or damaged;
7 too few shards are left to read it.")]
pub(crate) struct Args {
    /// The file's name
    name: OsString,
    /// Fetch and check every byte of every shard, not a sample
    #[arg(long)]
    deep: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Error> {
    let client = context.client_synced().await?;
    let depth = if args.deep { Depth::Deep } else { Depth::Sample };
    let bar = progress::bar(&context.out, "checking");
    let checked = client.verify(bytes(&args.name), depth, &bar.progress()).await;
    bar.finish();
    context::close(client).await;
    let checked = checked?;
    let name = shown(bytes(&args.name));
    let bad = checked.shards.iter().filter(|shard| shard.fault.is_some()).count();
    let json = json(&name, depth, &checked);
    if bad == 0 {
        return context.out.report(&report(json, &checked));
    }
    if !context.out.is_json() {
        context.out.report(&report(json.clone(), &checked))?;
    }
    let total = checked.shards.len();
    let message = format!("{bad} of {} of {name} did not pass", count(total, "shard"));
    Err(if checked.readable {
        Error::new(Kind::Partial, message)
            .hint("the file still reads; store it anew to have all its shards back: get, then put --replace")
    } else {
        Error::new(Kind::NotEnough, format!("{message}; too few are left to read it"))
            .hint("nodes may only be away for a while: try again later")
    }
    .details(json))
}

fn report(json: Value, checked: &VerifyReport) -> Report {
    let mut table = Table::new(&[
        ("SEGMENT", Align::Right),
        ("SHARD", Align::Right),
        ("NODE", Align::Left),
        ("VERDICT", Align::Left),
    ]);
    for shard in &checked.shards {
        table.row(vec![
            shard.segment.to_string(),
            shard.index.to_string(),
            shard.node.to_string()[..16].to_owned(),
            shard.fault.clone().unwrap_or_else(|| "well".into()),
        ]);
    }
    let cells = count(checked.checked_cells, "cell");
    let shards = count(checked.shards.len(), "shard");
    let read = show_size(checked.checked_bytes);
    Report::new(json).table(table).text(format!(
        "Checked {cells} of {shards} against the shards' roots; {read} are what they should be."
    ))
}

fn json(name: &str, depth: Depth, checked: &VerifyReport) -> Value {
    let shards = checked.shards.iter().map(|shard| {
        json!({
            "segment": shard.segment,
            "index": shard.index,
            "node": shard.node.to_string(),
            "well": shard.fault.is_none(),
            "cells": shard.good_cells + shard.bad_cells.len() as u64,
            "bad_cells": shard.bad_cells,
            "fault": shard.fault,
        })
    });
    json!({
        "name": name,
        "depth": match depth { Depth::Deep => "deep", Depth::Sample => "sample" },
        "readable": checked.readable,
        "checked_slices": checked.checked_slices,
        "checked_cells": checked.checked_cells,
        "checked_bytes": checked.checked_bytes,
        "shards": shards.collect::<Vec<_>>(),
    })
}
