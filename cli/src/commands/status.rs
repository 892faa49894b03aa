//! `symbolon status`: everything at a glance.

use symbolon_client::{Agreement, CareSums, FilesView, IndexView, SOON};
use symbolon_view::network::{NetworkStatus, NodeCounts, Status};

use super::{folder::first_few, vault};
use crate::{
    context::{self, Context},
    error::{Error, Kind},
    names, nodes,
    output::Report,
    units::{count, show_amount, show_duration, show_size},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon status
  symbolon status --json")]
pub(crate) struct Args {}

pub(crate) async fn run(_: &Args, context: &Context) -> Result<Report, Error> {
    let name = context.name()?;
    let home = context.home.root().display().to_string();
    let pid = context.home.running();
    let identities = context.home.identities()?;
    if !identities.contains(&name) {
        return Err(Error::new(Kind::NotFound, format!("there is no identity {name} in {home}"))
            .hint("for a network of your own: symbolon up; for another network: symbolon init --ledger TICKET"));
    }
    let client = context.client_synced().await?;
    let chain = client.recent_chain().await?;
    let account = client.account().await?;
    let clock = client.clock().await?;
    names::tell_clock(&clock, &context.out);
    let known = nodes::all(client.ledger()).await?;
    let ticket = context.ticket()?;
    let endpoint = context.endpoint(&ticket, context.host.random()).await?;
    let answers = nodes::call(&known, &endpoint).await;
    context::hang_up(endpoint).await;
    let files = client.files(clock.now_ms).await;
    let (index, unfinished) = (client.index().await, client.unfinished().await);
    let (agreement, care) = (client.agreement().await, client.care_sums().await);
    let custodians = client.lost_custodians().await;
    context::close(client).await;
    let (index, unfinished, agreement) = (index?, unfinished?, agreement?);
    let (files, care, custodians) = (files?, care?, custodians?);
    let up = answers.iter().filter(|answer| **answer).count();
    let capacity = known.iter().map(|(_, row)| row.capacity).fold(0, u64::saturating_add);
    let used = known.iter().map(|(_, row)| row.used).fold(0, u64::saturating_add);
    let document = Status::new(
        (home, name),
        &account,
        (
            NetworkStatus::new(&chain, pid),
            NodeCounts { known: known.len(), answering: up, capacity, used },
        ),
        (&files, care, &agreement, unfinished),
        custodians,
        &index,
    );
    let runs = match pid {
        Some(pid) => format!("its own, process {pid}"),
        None => "not run from this home".into(),
    };
    let (used, capacity) = (show_size(used), show_size(capacity));
    let nodes = format!("{up} of {} answer; {used} of {capacity} used", known.len());
    let epoch = show_duration(chain.params.epoch_ms.0);
    let ledger = format!("block {}, epoch {} of {epoch} each", chain.height, chain.epoch);
    let report = Report::new(&document)
        .field("home", document.home)
        .field("identity", format!("{}, account {}", document.identity, account.account))
        .field("balance", show_amount(account.balance).to_string())
        .field("network", runs)
        .field("ledger", ledger)
        .field("nodes", nodes)
        .field("files", files_words(&files))
        .field("care", care_words(&care));
    let report = with_vault(report, custodians);
    let report = with_agreed(report, &agreement);
    let report = with_unfinished(report, &document.unfinished);
    Ok(report.field("index", index_words(&index)))
}

fn files_words(files: &FilesView) -> String {
    let over = match files.over {
        0 => String::new(),
        over => format!("; {over} of them are paid for no longer: put them again, or rm them"),
    };
    let soon = match files.soon {
        0 => String::new(),
        soon => format!("; {soon} of them end within {}: renew them", show_duration(SOON.0)),
    };
    format!("{}, {}{over}{soon}", count(files.count, "file"), show_size(files.bytes))
}

/// Which of the stored objects have caretakers, and what was repaired lately.
fn care_words(care: &CareSums) -> String {
    if care.objects == 0 {
        return String::from("nothing that runs is stored");
    }
    let of = match care.is_all {
        true => count(care.objects, "object"),
        false => format!("the first {}", count(care.objects, "object")),
    };
    let mut words = format!("{} of {of} have caretakers", care.cared);
    let without = care.objects - care.cared - care.unwanted;
    if 0 < without {
        words.push_str(&format!("; {without} have none: see symbolon care"));
    }
    if 0 < care.unwanted {
        words.push_str(&format!("; off for {}", care.unwanted));
    }
    if 0 < care.lost {
        let (lost, claimed) = (count(care.lost, "shard"), care.claimed);
        words.push_str(&format!("; {lost} lost, {claimed} of them being rebuilt"));
    }
    if 0 < care.moved {
        let moved = count(care.moved, "shard");
        words.push_str(&format!("; {moved} repaired or handed on in 7 days"));
    }
    words
}

/// Who keeps shares of the key to what is sold, and how many of them are lost.
fn with_vault(report: Report, custodians: Option<(usize, usize)>) -> Report {
    match custodians {
        None => report,
        Some((lost, total)) => {
            let words = vault::lost_words(lost, total);
            report.field("vault", words.unwrap_or_else(|| count(total, "custodian")))
        }
    }
}

fn with_agreed(report: Report, agreement: &Agreement) -> Report {
    if agreement.names.is_empty() {
        return report;
    }
    let names: Vec<_> = agreement.names.iter().map(|(name, _)| name.to_string()).collect();
    let (left, most) = (show_amount(agreement.left()), show_amount(agreement.monthly_max));
    let words =
        format!("{}, for at most {most} in 30 days, of which {left} is left", first_few(&names));
    report.field("renewed", words)
}

fn with_unfinished(report: Report, names: &[String]) -> Report {
    if names.is_empty() {
        return report;
    }
    let words = format!("{}; the same put goes on, rm gives it up", first_few(names));
    report.field("unfinished", words)
}

fn index_words(index: &IndexView) -> String {
    match index.unpublished {
        0 => "on the network; the recovery phrase brings it back".to_owned(),
        rows => format!("{} not on the network yet", count(rows, "row")),
    }
}
