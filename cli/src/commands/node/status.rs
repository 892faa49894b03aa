//! `symbolon node status`: the nodes of the network by the ledger, or one node on this machine by itself.

use std::path::Path;

use symbolon_protocol::ledger::{Params, rows::Node as Row};
use symbolon_view::{
    network::{Node, Nodes},
    operator::Care,
};

use crate::{
    context::{self, Context},
    error::Error,
    health::{self, Noted},
    nodes,
    output::{Align, Report, Table},
    units::{count, show_amount, show_duration, show_size, show_time},
};

pub(crate) async fn of_network(prefix: &str, context: &Context) -> Result<Report, Error> {
    let (ledger, endpoint) = context.ledger().await?;
    let chain = context::chain(&ledger).await?;
    let all = nodes::all(&ledger).await?;
    let wanted: Vec<_> =
        all.into_iter().filter(|(id, _)| id.to_string().starts_with(prefix)).collect();
    let answers = nodes::call(&wanted, &endpoint).await;
    context::hang_up(endpoint).await;
    let mut table = Table::new(&[
        ("NODE", Align::Left),
        ("ANSWERS", Align::Left),
        ("USED", Align::Right),
        ("OF", Align::Right),
        ("TAKES", Align::Right),
        ("SHARDS", Align::Right),
        ("PROVEN", Align::Right),
        ("MISSED", Align::Right),
        ("LAST PROOF", Align::Left),
        ("EARNS PER EPOCH", Align::Right),
        ("DUE NOW", Align::Right),
        ("COLLATERAL", Align::Right),
        ("ADDRESS", Align::Left),
    ]);
    let mut list = Vec::new();
    for ((id, row), answer) in wanted.iter().zip(&answers) {
        table.row(vec![
            id.to_string()[..16].to_owned(),
            if *answer { "yes".into() } else { "no".into() },
            show_size(row.used),
            show_size(row.capacity),
            show_size(row.takes(&chain.params, chain.epoch)),
            row.slots.to_string(),
            row.passed.to_string(),
            row.missed.to_string(),
            row.passed_epoch.map_or_else(|| "none yet".into(), |epoch| format!("epoch {epoch}")),
            row.rate.to_string(),
            row.due().to_string(),
            collateral(row, &chain.params),
            row.addresses.first().cloned().unwrap_or_default(),
        ]);
        list.push(Node::new(id, row, &chain, *answer));
    }
    let up = answers.iter().filter(|answer| **answer).count();
    let price = wanted.iter().map(|(_, row)| row.price).min().unwrap_or_default();
    let document = Nodes { epoch: chain.epoch, nodes: list };
    let total = count(wanted.len(), "node");
    Ok(Report::new(&document).table(table).text(format!(
        "{total}, {up} answering; epoch {}; from {} per GiB and epoch.",
        chain.epoch,
        show_amount(price)
    )))
}

/// How the node of a folder does, as it has noted itself.
pub(crate) fn of_folder(dir: &Path) -> Result<Report, Error> {
    let health = Noted::read(dir)?;
    let state = match health.running {
        true => format!("runs as process {}, since {}", health.pid, at(health.started_ms)),
        false => format!("does not run; what follows was noted at {}", at(health.at_ms)),
    };
    let view = match health.view_age_ms {
        Some(age_ms) => format!(
            "block {}, epoch {}; known to be the newest {} ago",
            health.height,
            health.epoch,
            show_duration(age_ms)
        ),
        None => format!("block {}; whether that is the newest is not known yet", health.height),
    };
    let view = match (health.block_ms, health.block_age_ms) {
        (Some(block_ms), Some(age_ms)) => {
            format!("{view}; that block is of {}, {} old", at(block_ms), show_duration(age_ms))
        }
        _ => view,
    };
    let proofs = match (health.proven_epoch, health.missed) {
        (Some(epoch), Some(missed)) => format!("epoch {epoch} proven last; {missed} missed ever"),
        (Some(epoch), None) => format!("epoch {epoch} proven last"),
        (None, Some(missed)) => format!("none since its start; {missed} missed ever"),
        (None, None) => String::from("none since its start"),
    };
    let mut report = Report::new(&health)
        .field("node", health.node.as_str())
        .field("state", state)
        .field("version", health.version.as_str())
        .field(
            "stored",
            format!(
                "{} of {}, {}",
                show_size(health.used),
                show_size(health.capacity),
                count(health.shards, "shard")
            ),
        )
        .field(
            "disk",
            format!(
                "{} free, {} of it stay free",
                show_size(health.disk_free),
                show_size(health.disk_reserve)
            ),
        )
        .field("ledger", view)
        .field("proofs", proofs)
        .field("earned", format!("{} since its start", health.earned.as_str()))
        .field(
            "moved",
            format!(
                "{} sent, {} received since its start",
                show_size(health.sent),
                show_size(health.received)
            ),
        )
        .field("scrub", health::scrub_words(&health.scrub))
        .field("limits", health::settings_words(&health.settings));
    if let Some(care) = &health.care {
        report = report.field("care", care_words(care));
    }
    if health.damaged > 0 {
        let damaged = count(health.damaged, "shard");
        report = report.field("damaged", format!("{damaged}: see symbolon node scrub"));
    }
    Ok(report)
}

/// What the node does as a caretaker.
fn care_words(care: &Care) -> String {
    let mut words = count(care.claims.len(), "claim") + " of repairs";
    for claim in &care.claims {
        let (deal, shards) = (&claim.deal.as_str()[..8], count(claim.shards, "shard"));
        let (fee, until) = (claim.fee.as_str(), claim.until_epoch);
        words.push_str(&format!("; deal {deal}: {shards} for {fee} each, until epoch {until}"));
    }
    if 0 < care.waiting {
        let waiting = count(care.waiting, "rebuilt shard");
        words.push_str(&format!("; {waiting} to be proven, for {}", care.owed.as_str()));
    }
    words
}

/// What stands for a node's bytes, and what it needs if that is more.
fn collateral(row: &Row, params: &Params) -> String {
    let (has, needs) = (row.backing(), row.needs(params));
    if has < needs { format!("{has} of {needs}") } else { has.to_string() }
}

/// A time of the machine's clock.
fn at(ms: u64) -> String {
    show_time(ms)
}
