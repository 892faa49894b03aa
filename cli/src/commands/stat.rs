//! `symbolon stat`: where a file is and how well it is.

use serde_json::{Value, json};
use symbolon_client::{SegmentView, StatView};

use crate::{
    context::Context,
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
    client.close().await;
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
                shard.node.map_or_else(|| "none".into(), |node| node.to_string()),
                shard.last_proof.map_or_else(|| "none yet".into(), |epoch| format!("epoch {epoch}")),
            ]);
        }
    }
    let paid_until = stat.segments.iter().map(|segment| segment.end).min().unwrap_or(0);
    let left = paid_until.saturating_sub(chain.epoch).saturating_mul(chain.params.epoch_ms);
    let scheme = file.scheme;
    Ok(Report::new(json(&stat))
        .field("name", file.name.clone())
        .field("object", file.object.to_string())
        .field("size", show_size(file.length))
        .field("stored", show_time(file.stored_ms))
        .field("code", format!("any {} of {} shards", scheme.required, scheme.total))
        .field("paid", format!("until epoch {paid_until}, {} from now", show_duration(left)))
        .field("health", health(&stat.segments))
        .table(table))
}

fn health(segments: &[SegmentView]) -> String {
    let worst = segments.iter().min_by_key(|segment| segment.healthy.saturating_sub(segment.required));
    match worst {
        None => "no segments".into(),
        Some(worst) if worst.healthy < worst.required => format!(
            "LOST: segment {} has {} healthy shards, {} are needed",
            worst.segment, worst.healthy, worst.required
        ),
        Some(worst) => format!(
            "readable; {} of {} shards healthy in the worst segment, {} more may be lost",
            worst.healthy,
            worst.shards.len(),
            worst.healthy - worst.required
        ),
    }
}

fn json(stat: &StatView) -> Value {
    let file = &stat.file;
    let segments = stat.segments.iter().map(|segment| {
        let shards = segment.shards.iter().map(|shard| {
            json!({
                "index": shard.index,
                "node": shard.node.map(|node| node.to_string()),
                "root": shard.root.map(|root| root.to_string()),
                "last_proof_epoch": shard.last_proof,
            })
        });
        json!({
            "segment": segment.segment,
            "deal": segment.deal.to_string(),
            "state": format!("{:?}", segment.state).to_lowercase(),
            "start_epoch": segment.start,
            "end_epoch": segment.end,
            "healthy": segment.healthy,
            "required": segment.required,
            "shards": shards.collect::<Vec<_>>(),
        })
    });
    json!({
        "name": file.name,
        "object": file.object.to_string(),
        "length": file.length,
        "scheme": { "required": file.scheme.required, "total": file.scheme.total },
        "stored_ms": file.stored_ms,
        "segments": segments.collect::<Vec<_>>(),
    })
}
