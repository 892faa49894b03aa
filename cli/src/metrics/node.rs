//! Figures of a storage node: `spec/node.md`, "Figures".

use std::time::Duration;

use symbolon_node::{NodeHealth, NodeStatus};
use tokio::time::timeout;

use super::Page;
use crate::serve::{NodePlan, RunningNode};

/// The page; `None` if the store cannot be read. What only the ledger knows is left out while it does not answer.
pub(crate) async fn page(running: &RunningNode, plan: &NodePlan) -> Option<String> {
    let health = running.node.health().await.ok()?;
    let status = timeout(LEDGER_PATIENCE, running.node.status()).await;
    Some(render(&health, plan.capacity, status.ok().and_then(Result::ok).as_ref()))
}

fn render(health: &NodeHealth, capacity: u64, status: Option<&NodeStatus>) -> String {
    let mut page = Page::new("symbolon_node");
    page.gauge("capacity_bytes", "Bytes the node offers.", capacity);
    page.gauge("used_bytes", "Bytes of stored shards.", health.used);
    page.gauge("shards", "Stored shards.", health.shards);
    page.gauge("damaged_shards", "Shards that are known to be damaged.", health.damaged);
    page.gauge("disk_free_bytes", "Bytes the file system has left.", health.disk_free);
    page.gauge("disk_reserve_bytes", "Bytes of those that stay free.", health.disk_reserve);
    page.gauge("ledger_height", "The last block that the node has followed.", health.height);
    page.gauge("epoch", "The present epoch.", health.epoch);
    if let Some(age_ms) = health.view_age_ms {
        page.seconds("ledger_view_age_seconds", "How old the view of the ledger is.", age_ms);
    }
    page.gauge(
        "registered",
        "1 if the ledger has the node's row as it is.",
        health.registered.into(),
    );
    page.counter("sent_bytes_total", "Bytes of shards sent since the start.", health.sent);
    page.counter(
        "received_bytes_total",
        "Bytes of shards received since the start.",
        health.received,
    );
    let earned = ("earned_credits_total", "counter");
    page.credits(earned, "Credits earned since the start.", health.earned);
    page.counter("scrub_passes_total", "How often all shards were read.", health.scrub.passes);
    page.gauge("scrub_pass_bytes", "Bytes that were read in the present pass.", health.scrub.bytes);
    if let Some(status) = status {
        page.gauge("unpaid_shards", "Stored shards whose deal is not open.", status.unpaid_shards);
        page.gauge("unpaid_bytes", "Bytes whose deal is not open.", status.unpaid_bytes);
        page.gauge("slots", "Shards that the node must prove.", status.slots.into());
        page.counter("proven_epochs_total", "Epochs proven, ever.", status.passed);
        page.counter("missed_epochs_total", "Epochs missed, ever.", status.missed);
    }
    page.text
}

/// How long the ledger may take for what only it knows.
const LEDGER_PATIENCE: Duration = Duration::from_secs(2);
