//! `symbolon stat`: where a file is and how well it is.

use std::{collections::BTreeSet, ffi::OsString};

use symbolon_client::{
    SegmentView, ShardEventKind, ShardHealth, ShardHistory, ShardView, StatView,
};
use symbolon_protocol::{LedgerTime, id::AccountId, ledger::rows::DealState};
use symbolon_view::stat::Stat;

use super::folder;
use crate::{
    context::{self, Context},
    error::Error,
    output::{Align, Report, Table},
    units::{count, show_amount, show_duration, show_size, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon stat report.pdf
  symbolon stat report.pdf --json
  symbolon stat report.pdf --history       which nodes lost or took its shards, and who placed them

Health is what the ledger knows of a shard: proven in the last epoch, new, missed, gone (missed ten epochs
in a row), or over. Dates are estimates from the length of an epoch. To ask the nodes themselves and
check bytes, use: symbolon verify NAME")]
pub(crate) struct Args {
    /// The name of the file
    name: OsString,
    /// Show what happened to its shards too: reads all blocks that the ledger keeps
    #[arg(long)]
    history: bool,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let client = context.client_synced().await?;
    let chain = client.recent_chain().await?;
    let name = folder::name(&args.name)?;
    let stat = client.stat(&name).await;
    let history = match args.history && stat.is_ok() {
        true => client.shard_events(&name).await.map(Some),
        false => Ok(None),
    };
    context::close(client).await;
    let (stat, history) = (stat?, history?);
    let file = &stat.file;
    let paid_until = stat.segments.iter().map(|segment| segment.end).min().unwrap_or(0);
    let paid_until_ms = stat.segments.iter().map(|segment| segment.paid_until_ms).min();
    let left = paid_until.saturating_sub(stat.epoch).saturating_mul(chain.params.epoch_ms.0);
    let scheme = file.scheme;
    let ended = |segment: &&SegmentView| segment.state != DealState::Open;
    let over_since = stat.segments.iter().filter(ended).map(|one| one.paid_until_ms).min();
    let report = Report::new(&Stat::new(&stat, history.as_ref()))
        .field("name", file.name.to_string())
        .field("object", file.object.to_string())
        .field("content root", stat.content_root.to_string())
        .field(
            "size",
            format!("{}, {} on the nodes", show_size(file.length), show_size(file.stored_bytes)),
        )
        .field("stored", show_time(file.stored_ms))
        .field("scheme", format!("{scheme}: any {} of {} shards", scheme.required, scheme.total))
        .field("cost", format!("{} all-in", show_amount(file.cost)))
        .field(
            "paid",
            match over_since {
                Some(since) => format!("over since {} (epoch {paid_until})", show_time(since)),
                None => format!(
                    "until {} (epoch {paid_until}), {} from now",
                    show_time(paid_until_ms.unwrap_or(LedgerTime::ZERO)),
                    show_duration(left)
                ),
            },
        )
        .field("health", health(&stat.segments))
        .field("caretakers", caretakers(&stat.segments))
        .table(table(&stat));
    Ok(match history {
        Some(history) => with_history(report, &history),
        None => report,
    })
}

/// What happened to the shards, oldest first.
fn with_history(report: Report, history: &ShardHistory) -> Report {
    let since = match history.from_height {
        0 => String::from("From the ledger's first block on:"),
        height => format!("From block {height} on; older blocks are not kept:"),
    };
    let report = report.text(since);
    if history.events.is_empty() {
        return report.text("No shard was lost or moved.");
    }
    let mut table = Table::new(&[
        ("TIME", Align::Left),
        ("BLOCK", Align::Right),
        ("SEGMENT", Align::Right),
        ("SHARD", Align::Right),
        ("WHAT", Align::Left),
        ("NODE", Align::Left),
    ]);
    for event in &history.events {
        let what = match (event.kind, event.by) {
            (ShardEventKind::Lost, _) => String::from("lost by"),
            (ShardEventKind::PlacedByOwner, _) => String::from("placed by its owner at"),
            (ShardEventKind::HandedOn, by) => format!("handed on by {} to", short(by)),
            (ShardEventKind::Rebuilt, by) => format!("rebuilt by {} at", short(by)),
            (ShardEventKind::Claimed, _) => String::from("claimed by"),
        };
        table.row(vec![
            show_time(event.time_ms),
            event.height.to_string(),
            event.segment.to_string(),
            event.index.to_string(),
            what,
            event.node.to_string(),
        ]);
    }
    report.table(table)
}

fn short(account: Option<AccountId>) -> String {
    account.map_or_else(String::new, |account| account.to_string()[..8].to_owned())
}

/// Who rebuilds lost shards while the owner is away.
fn caretakers(segments: &[SegmentView]) -> String {
    let with = segments.iter().filter(|segment| !segment.caretakers.is_empty());
    let nodes: BTreeSet<_> = with.clone().flat_map(|segment| &segment.caretakers).collect();
    match (with.count(), segments.len()) {
        (0, _) => "none: only programs of yours repair it".into(),
        (some, all) if some < all => {
            format!("{}, for {some} of {all} segments", count(nodes.len(), "node"))
        }
        _ => count(nodes.len(), "node"),
    }
}

fn table(stat: &StatView) -> Table {
    let mut table = Table::new(&[
        ("SEGMENT", Align::Right),
        ("SHARD", Align::Right),
        ("NODE", Align::Left),
        ("HEALTH", Align::Left),
        ("LAST PROOF", Align::Left),
        ("KEPT", Align::Left),
    ]);
    for segment in &stat.segments {
        let number = segment.segment.to_string();
        for shard in &segment.shards {
            let proof = shard.last_proof.zip(shard.last_proof_ms);
            table.row(vec![
                number.clone(),
                shard.index.to_string(),
                shard.node.to_string(),
                words(shard),
                match proof {
                    Some((epoch, ms)) => format!("epoch {epoch}, {}", show_time(ms)),
                    None if shard.health == ShardHealth::New => {
                        format!("none yet, due by {}", show_time(shard.first_proof_until_ms))
                    }
                    None => "none yet".into(),
                },
                kept(shard),
            ]);
        }
        for index in &segment.absent {
            let (index, none) = (index.to_string(), String::from("-"));
            let row =
                [number.clone(), index, none.clone(), "not placed".into(), none.clone(), none];
            table.row(row.into());
        }
    }
    table
}

/// Since when its node keeps a shard, or until when it did.
fn kept(shard: &ShardView) -> String {
    let from = match (shard.moved, shard.rebuilt_by) {
        (_, Some(by)) => format!("rebuilt by {}, from epoch {}", &by.to_string()[..8], shard.from),
        (true, None) => format!("placed anew, from epoch {}", shard.from),
        (false, None) => String::from("from the beginning"),
    };
    match shard.lost {
        Some(epoch) => format!("{from}, to epoch {epoch}"),
        None => from,
    }
}

/// The health of a shard, for a person.
fn words(shard: &ShardView) -> String {
    match shard.health {
        ShardHealth::Missed => format!("missed {}", count(shard.missed_in_row, "epoch")),
        ShardHealth::Gone => format!("gone, missed {}", count(shard.missed_in_row, "epoch")),
        health => name(health).into(),
    }
}

fn name(health: ShardHealth) -> &'static str {
    match health {
        ShardHealth::Proven => "proven",
        ShardHealth::New => "new",
        ShardHealth::Missed => "missed",
        ShardHealth::Gone => "gone",
        ShardHealth::Lost => "lost",
        ShardHealth::Over => "over",
    }
}

fn health(segments: &[SegmentView]) -> String {
    let spare = |segment: &&SegmentView| healthy(segment).saturating_sub(segment.required.into());
    let Some(worst) = segments.iter().min_by_key(spare) else { return "no segments".into() };
    let (healthy, required) = (healthy(worst), usize::from(worst.required));
    if worst.shards.iter().all(|shard| shard.health == ShardHealth::Over) {
        return "over: the nodes are not paid for it any more".into();
    }
    if healthy < required {
        let segment = worst.segment;
        return format!(
            "in danger: the nodes of segment {segment} that prove hold {healthy} shards, {required} are needed"
        );
    }
    let of = worst.shards.len() + worst.absent.len();
    let spare = healthy - required;
    format!("good; {healthy} of {of} shards are on nodes that prove, {spare} more may be lost")
}

/// How many shards are well, as far as the ledger knows.
fn healthy(segment: &SegmentView) -> usize {
    segment.shards.iter().filter(|shard| shard.health.is_well()).count()
}
