//! Passes a node's alerts on to a program of its operator, one after the other.
//!
//! The program gets the alert as one JSON document on its stdin. It is run directly, not by a shell, so no word of an
//! alert is ever read as a command.

use std::{path::Path, process::Stdio, time::Duration};

use symbolon_net::Host;
use symbolon_node::Alert;
use symbolon_view::{
    operator::{self, AlertKind},
    plain::Id,
};
use tokio::{
    io::AsyncWriteExt as _, process::Command, sync::broadcast::error::RecvError, time::timeout,
};
use tracing::{info, warn};

use crate::{
    error::Error,
    output::document_bytes,
    serve::RunningNode,
    units::{show_amount, show_duration, show_size},
};

/// Passes alerts on for as long as the node runs. Without a program they are only in the log.
pub(crate) async fn pass_on(
    running: &RunningNode,
    program: Option<&Path>,
    host: &Host,
) -> Result<(), Error> {
    let mut alerts = running.node.alerts();
    loop {
        let alert = match alerts.recv().await {
            Ok(alert) => alert,
            Err(RecvError::Lagged(lost)) => {
                warn!(lost, "alerts were lost: the alert command is too slow");
                continue;
            }
            Err(RecvError::Closed) => return std::future::pending().await,
        };
        let document = document(&alert, running.id().into(), host.now_ms().0);
        warn!(what = document.what, "alert");
        let Some(program) = program else { continue };
        match timeout(PATIENCE, give(program, &document)).await {
            Ok(Ok(())) => info!(what = document.what, "the alert command has taken the alert"),
            Ok(Err(why)) => warn!(why, "the alert command failed"),
            Err(_) => warn!("the alert command was stopped: it took longer than a minute"),
        }
    }
}

async fn give(program: &Path, document: &operator::Alert) -> Result<(), String> {
    let mut command = Command::new(program);
    // What it prints is not for this process's stdout, where programs read documents.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read it breaks the pipe, as it may.
        stdin.write_all(&document_bytes(document)).await.ok();
    }
    let ended = child.wait().await.map_err(|error| error.to_string())?;
    if ended.success() { Ok(()) } else { Err(ended.to_string()) }
}

fn document(alert: &Alert, node: Id, at_ms: u64) -> operator::Alert {
    let (kind, what) = words(alert);
    let (deal, shard) = match alert {
        Alert::Damaged { deal, index, .. } => (Some(Id::from(deal)), Some(*index)),
        _ => (None, None),
    };
    operator::Alert { node, at_ms, alert: kind, what, deal, shard }
}

fn words(alert: &Alert) -> (AlertKind, String) {
    match alert {
        Alert::Damaged { deal, index, why } => {
            (AlertKind::Damaged, format!("shard {index} of deal {deal} is damaged: {why}"))
        }
        Alert::DiskFailed { why } => (AlertKind::DiskFailed, format!("the store failed: {why}")),
        Alert::DiskFull { free, reserve } => (
            AlertKind::DiskFull,
            format!(
                "the disk has {} left, and {} stay free: no new shards",
                show_size(*free),
                show_size(*reserve)
            ),
        ),
        Alert::Stale { age_ms: Some(age_ms) } => (
            AlertKind::Stale,
            format!("the newest blocks have not been known for {}", show_duration(*age_ms)),
        ),
        Alert::Stale { age_ms: None } => {
            (AlertKind::Stale, String::from("the newest blocks are not known since the start"))
        }
        Alert::ProofFailing { why } => {
            (AlertKind::ProofFailing, format!("the open window is not proven yet: {why}"))
        }
        Alert::Missed { epochs, in_row } => {
            (AlertKind::Missed, format!("{epochs} more epochs were missed, {in_row} in a row"))
        }
        Alert::CollateralLow { has, needs } => (
            AlertKind::CollateralLow,
            format!(
                "{} stand for the node's bytes, and it needs {}: a part of its pay is withheld",
                show_amount(*has),
                show_amount(*needs)
            ),
        ),
        other => (AlertKind::Other, format!("{other:?}")),
    }
}

/// How long the program may take for an alert.
const PATIENCE: Duration = Duration::from_mins(1);
