//! `symbolon stat`: where a file is and how well it is.

use serde_json::{Value, json};
use symbolon_client::{SegmentView, StatView};

use crate::{
    context::{self, Context},
    error::Error,
    output::{Align, Report, Table},
    units::{show_duration, show_size, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon stat report.pdf
  symbolon stat report.pdf --json

Health comes from the ledger: which shard's node proved it last, and when. To ask the nodes
themselves and check bytes, use: symbolon verify NAME")]
pub(crate) struct Args {
    /// The file's name
    name: String,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let client = context.client().await?;
    let chain = context.chain(&client).await?;
    let stat = client.stat(&args.name).await;
    context::close(client).await;
    let stat = stat?;
    let file = &stat.file;
    let mut table = Table::new(&[
        ("SEGMENT", Align::Right),
        ("SHARD", Align::Right),
        ("NODE", Align::Left),
        ("LAST PROOF", Align::Left),
    ]);
    for segment in &stat.segments {
        for shard in &segment.shards {
            table.row(vec![
                segment.segment.to_string(),
                shard.index.to_string(),
                shard.node.to_string(),
                shard
                    .last_proof
                    .map_or_else(|| "none yet".into(), |epoch| format!("epoch {epoch}")),
            ]);
        }
    }
    let paid_until = stat.segments.iter().map(|segment| segment.end).min().unwrap_or(0);
    let left = paid_until.saturating_sub(stat.epoch).saturating_mul(chain.params.epoch_ms);
    let scheme = file.scheme;
    Ok(Report::new(json(&stat))
        .field("name", file.name.clone())
        .field("object", file.object.to_string())
        .field(
            "size",
            format!("{}, {} on the nodes", show_size(file.length), show_size(file.stored_bytes)),
        )
        .field("stored", show_time(file.stored_ms))
        .field("code", format!("any {} of {} shards", scheme.required, scheme.total))
        .field("paid", format!("until epoch {paid_until}, {} from now", show_duration(left)))
        .field("health", health(&stat.segments))
        .table(table))
}

fn health(segments: &[SegmentView]) -> String {
    let spare = |segment: &&SegmentView| healthy(segment).saturating_sub(segment.required.into());
    let Some(worst) = segments.iter().min_by_key(spare) else { return "no segments".into() };
    let (healthy, required) = (healthy(worst), usize::from(worst.required));
    if healthy < required {
        let segment = worst.segment;
        return format!(
            "in danger: the nodes of segment {segment} that prove hold {healthy} shards, {required} are needed"
        );
    }
    let of = worst.shards.len();
    let spare = healthy - required;
    format!("good; {healthy} of {of} shards are on nodes that prove, {spare} more may be lost")
}

/// Shards whose node did not miss its last epoch.
fn healthy(segment: &SegmentView) -> usize {
    segment.shards.iter().filter(|shard| shard.missed_in_row == 0).count()
}

fn json(stat: &StatView) -> Value {
    let file = &stat.file;
    let segments = stat.segments.iter().map(|segment| {
        let shards = segment.shards.iter().map(|shard| {
            json!({
                "index": shard.index,
                "node": shard.node.to_string(),
                "root": shard.root.to_string(),
                "last_proof_epoch": shard.last_proof,
                "missed_in_row": shard.missed_in_row,
            })
        });
        json!({
            "segment": segment.segment,
            "deal": segment.deal.to_string(),
            "state": format!("{:?}", segment.state).to_lowercase(),
            "start_epoch": segment.start,
            "end_epoch": segment.end,
            "healthy": healthy(segment),
            "shard_length": segment.shard_length,
            "required": segment.required,
            "shards": shards.collect::<Vec<_>>(),
        })
    });
    json!({
        "name": file.name,
        "object": file.object.to_string(),
        "length": file.length,
        "scheme": { "required": file.scheme.required, "total": file.scheme.total },
        "stored_bytes": file.stored_bytes,
        "stored_ms": file.stored_ms,
        "cost": file.cost.to_string(),
        "epoch": stat.epoch,
        "segments": segments.collect::<Vec<_>>(),
    })
}
