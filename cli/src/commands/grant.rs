//! `symbolon grant`: inspect grants, pass them on, revoke them.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use symbolon_client::{Client, ReaderRow, Readers};
use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    grant::{Caveat, GrantToken, Link, Sale},
    id::LinkId,
    reads::{ReadBy, day_of},
};
use symbolon_view::grant::{
    Attenuated, Clock, Grants, Held, Inspected, ReadersShown, Revoked, VoucherState,
};

use super::folder;

use crate::{
    context::{self, Context},
    error::{Error, Kind},
    grants::{self, Limits},
    names,
    output::{Align, Report, Table},
    units::{self, count, show_amount, show_size},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon grant inspect @report.grant
  symbolon grant attenuate @report.grant --to carol --until 7d
  symbolon grant revoke @report.grant")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show what a grant allows, to whom, and until when; works without a network
    #[command(after_help = "\
The ledger's clock decides whether a grant has expired; if the ledger does not answer, this machine's clock does.

Example:
  symbolon grant inspect @report.grant")]
    Inspect {
        /// grant1..., @FILE, or - for stdin
        grant: String,
    },
    /// Pass a grant on to another person, with the same rights or fewer
    #[command(after_help = "\
Example:
  symbolon grant attenuate @report.grant --to recipient1qq... --until 7d --cells 0..16")]
    Attenuate {
        /// grant1..., @FILE, or - for stdin
        grant: String,
        /// The new holder: recipient1..., @FILE, - for stdin, or an identity in this home
        #[arg(long, value_name = "RECIPIENT")]
        to: String,
        #[command(flatten)]
        limits: Limits,
        /// Write the grant to this file instead of printing it
        #[arg(long, short, value_name = "PATH")]
        output: Option<PathBuf>,
    },
    /// Revoke a grant you gave, and every grant made from it
    #[command(after_help = "\
Examples:
  symbolon grant revoke @report.grant
  symbolon grant revoke 00112233445566778899aabbccddeeff   a link, as inspect shows it")]
    Revoke {
        /// grant1..., @FILE, - for stdin, or the 32 digits of a link
        grant: String,
    },
    /// List the grants you hold and have given, and who redeemed your vouchers
    #[command(after_help = "Example:\n  symbolon grant ls")]
    Ls,
    /// Show who read what you have stored, by the word of its nodes
    #[command(after_help = "\
Every node that keeps a file notes who reads it, and tells only its owner. It signs what it says. That proves
what the node said, and not what happened: a node may leave reads out, or make some up.

Examples:
  symbolon grant log report.pdf
  symbolon grant log report.pdf --since 7d
  symbolon grant log photos              a folder and everything in it
  symbolon grant log @report.grant       only what was read under this grant, or one made from it")]
    Log {
        /// A name, folder or pattern; or a grant that you gave: grant1..., @FILE, - for stdin
        what: OsString,
        /// Only the days from this long ago until now; without this, all that nodes keep, about a month
        #[arg(long, value_name = "TIME", value_parser = units::duration)]
        since: Option<u64>,
    },
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<Report, Error> {
    match args.verb {
        Verb::Inspect { grant } => inspect(&grants::parse_given(&grant)?, context).await,
        Verb::Attenuate { grant, to, limits, output } => {
            attenuate(&grants::parse(&grant)?, &to, &limits, output, context).await
        }
        Verb::Revoke { grant } => revoke(&grant, context).await,
        Verb::Ls => list(context).await,
        Verb::Log { what, since } => log(&what, since, context).await,
    }
}

/// The time to judge a grant by, and whose clock says it; `None` for a grant without a limit in time.
async fn clock(token: &GrantToken, context: &Context) -> (LedgerTime, Option<Clock>) {
    let mut caveats = token.grant.links.iter().flat_map(|link| &link.caveats);
    let begins = caveats.any(|of| matches!(of, Caveat::NotBefore { .. }));
    if !begins && token.grant.ends_ms().is_none() {
        return (names::machine_time(context), None);
    }
    match names::clock_of(context, &token.chain).await {
        Some(clock) => (clock.now_ms, Some(Clock::Ledger)),
        None => (names::machine_time(context), Some(Clock::Machine)),
    }
}

async fn inspect(token: &GrantToken, context: &Context) -> Result<Report, Error> {
    let ids = token.verify().map(|verified| verified.link_ids());
    let (now_ms, clock) = clock(token, context).await;
    let manifest = &token.manifest;
    let document = Inspected::new(token, &ids, (expired(token, now_ms), clock));
    let ids = match ids {
        Ok(ids) => ids,
        Err(fault) => {
            return Err(Error::new(Kind::NotAllowed, format!("this grant is not valid: {fault}"))
                .hint("ask the person who gave it for a new one")
                .details(document));
        }
    };
    let mut table =
        Table::new(&[("LINK", Align::Left), ("TO", Align::Left), ("ONLY", Align::Left)]);
    for (place, (link, id)) in token.grant.links.iter().zip(&ids).enumerate() {
        table.row(vec![id.to_string(), link.audience.to_string()[..16].to_owned(), only(link)]);
        if let Some(sale) = token.grant.sale.filter(|_| place == 0) {
            let holder = sale.holder.to_string()[..16].to_owned();
            table.row(vec![format!("order {}", sale.order), holder, until(&sale)]);
        }
    }
    let state =
        if document.expired { "the signatures are right, but it has expired" } else { "valid" };
    let holder = token.grant.holder().map(|holder| holder.to_string());
    let report = Report::new(&document).field("grant", state);
    let report = match clock {
        None => report,
        Some(Clock::Ledger) => report.field("by", "the ledger's clock"),
        Some(Clock::Machine) => {
            report.field("by", "this machine's clock: the grant's ledger was not reached")
        }
    };
    Ok(report
        .field("owner", token.grant.root.to_string())
        .field("holder", holder.unwrap_or_default())
        .field(
            if token.is_folder() { "list of a folder" } else { "object" },
            manifest.object.to_string(),
        )
        .field("size", show_size(manifest.length))
        .table(table)
        .text(
            "The grant does not show whether a link was revoked: the ledger and the nodes know it.",
        ))
}

fn expired(token: &GrantToken, now_ms: LedgerTime) -> bool {
    token.grant.ends_ms().is_some_and(|ends_ms| ends_ms <= now_ms)
}

fn until(sale: &Sale) -> String {
    let ends = Caveat::NotAfter { time_ms: sale.ends_ms };
    format!("{ends}; while it is not refunded")
}

fn only(link: &Link) -> String {
    let words: Vec<_> = link.caveats.iter().map(ToString::to_string).collect();
    if words.is_empty() { "no limits of its own".into() } else { words.join("; ") }
}

async fn attenuate(
    token: &GrantToken,
    to: &str,
    limits: &Limits,
    output: Option<PathBuf>,
    context: &Context,
) -> Result<Report, Error> {
    let recipient = grants::recipient(to, &context.home)?;
    if token.is_folder() && limits.names_cells() {
        return Err(grants::no_cells_of_a_folder());
    }
    let client = context.client_offline().await?;
    let caveats = limits.caveats(names::now_ms(&client, context).await)?;
    let narrowed = client.attenuate(token, &recipient, caveats);
    context::close(client).await;
    let narrowed = narrowed?;
    let path = output.as_ref().map(|path| path.display().to_string());
    let link = grants::last_link(&narrowed);
    let document = Attenuated::new(&narrowed, &recipient, link, path);
    let (report, text) = (Report::new(&document), document.grant);
    let Some(path) = output else {
        return Ok(report.text(text.clone()).essence(text));
    };
    grants::write(&path, &text)?;
    Ok(report.text(format!("Wrote the grant to {}.", path.display())))
}

async fn revoke(text: &str, context: &Context) -> Result<Report, Error> {
    let wanted = match text.parse::<LinkId>() {
        Ok(link) => Ok(link),
        Err(_) => Err(grants::parse_given(text)?),
    };
    let client = context.client().await?;
    let price = client.price_of_revocation().await?;
    if price.total() > Amount::ZERO {
        // A link alone does not say whose it is, so two keys revoke it.
        let times = if wanted.is_ok() { ", twice" } else { "" };
        let (fee, deposit) = (show_amount(price.fee), show_amount(price.deposit));
        context.out.note(&format!(
            "Revoking costs a fee of {fee} and a deposit of {deposit}, which comes back after the link's end{times}."
        ));
    }
    let revoked = match &wanted {
        Ok(link) => client.revoke_link(*link).await.map(|height| (*link, height)),
        Err(token) => client.revoke(token).await,
    };
    context::close(client).await;
    let (link, height) = revoked?;
    Ok(Report::new(&Revoked { link: link.into(), height }).text(format!(
        "Link {link} is revoked, as of block {height}. Nodes refuse it as soon as they see the block.",
    )))
}

async fn list(context: &Context) -> Result<Report, Error> {
    let client = context.client_local().await?;
    let (grants, now_ms) = (client.grants().await, names::now_ms(&client, context).await);
    let states = match &grants {
        Ok(grants) => voucher_states(&client, grants).await,
        Err(_) => Vec::new(),
    };
    context::close(client).await;
    let grants = grants?;
    let mut table = Table::new(&[
        ("SIZE", Align::Right),
        ("OBJECT", Align::Left),
        ("STATE", Align::Left),
        ("LABEL", Align::Left),
    ]);
    let mut list = Vec::new();
    for ((label, token), voucher) in grants.iter().zip(states) {
        let expired = expired(token, now_ms);
        let mut state = String::from(if expired { "expired" } else { "valid" });
        match &voucher {
            None => {}
            Some(VoucherState::Unknown) => state += ", a voucher",
            Some(VoucherState::Open) => state += ", a voucher that is not redeemed",
            Some(VoucherState::RedeemedBy(holder)) => {
                state += &format!(", a voucher redeemed by {}", &holder.as_str()[..SHORT]);
            }
        }
        table.row(vec![
            show_size(token.manifest.length),
            token.manifest.object.to_string(),
            state,
            label.clone(),
        ]);
        list.push(Held::new(label, token, expired, voucher));
    }
    let report = Report::new(&Grants { grants: list });
    Ok(if grants.is_empty() {
        report.text("No grants yet. They come from: symbolon buy LISTING; symbolon redeem")
    } else {
        report.table(table)
    })
}

/// What became of each grant that is a voucher, if the ledger answers soon.
async fn voucher_states(
    client: &Client,
    grants: &[(String, GrantToken)],
) -> Vec<Option<VoucherState>> {
    let mut answers = true;
    let mut states = Vec::with_capacity(grants.len());
    for (_, token) in grants {
        let last = token.grant.links.len().saturating_sub(1);
        if token.grant.once().is_none_or(|(place, _)| place != last) {
            states.push(None);
            continue;
        }
        let row = match answers {
            true => tokio::time::timeout(PATIENCE, client.redemption(token)).await.ok(),
            false => None,
        };
        states.push(Some(match row {
            Some(Ok(None)) => VoucherState::Open,
            Some(Ok(Some(row))) => VoucherState::RedeemedBy(row.holder.into()),
            // The others need not wait for it too.
            Some(Err(_)) | None => {
                answers = false;
                VoucherState::Unknown
            }
        }));
    }
    states
}

/// How long a ledger may take to say what became of a voucher.
const PATIENCE: Duration = Duration::from_secs(1);

async fn log(what: &OsString, since: Option<u64>, context: &Context) -> Result<Report, Error> {
    let token = match what.to_str() {
        Some(text) if grants::looks_like_one(text) => Some(grants::parse_given(text)?),
        _ => None,
    };
    let client = context.client_synced().await?;
    let now_ms = names::now_ms(&client, context).await;
    let from_day = since.map_or(0, |since| day_of(now_ms.saturating_sub(Millis(since))));
    let readers = match &token {
        Some(token) => client.readers_under(token, from_day).await,
        None => client.readers(&folder::pattern(what), from_day).await,
    };
    context::close(client).await;
    let readers = readers?;
    if readers.told.is_empty() {
        let nodes = count(readers.silent.len(), "node");
        let message = format!("no node tells who read this; {nodes} should");
        return Err(Error::new(Kind::Unreachable, message)
            .hint("see which nodes answer with: symbolon node status; then try again"));
    }
    Ok(report_log(&readers))
}

fn report_log(readers: &Readers) -> Report {
    let document = ReadersShown::from(readers);
    let several = 1 < readers.objects.len();
    let mut columns = vec![
        ("DAY", Align::Left),
        ("BY", Align::Left),
        ("READER", Align::Left),
        ("READS", Align::Right),
        ("SIZE", Align::Right),
        ("NODES", Align::Right),
    ];
    columns.extend(several.then_some(("FILE", Align::Left)));
    let mut table = Table::new(&columns);
    for row in &readers.rows {
        let day = Millis::DAY.0.saturating_mul(row.day.into());
        let mut cells = vec![
            LedgerTime(day).utc().to_string()[..DATE].to_owned(),
            right(row),
            reader(row),
            row.reads.to_string(),
            show_size(row.bytes),
            row.nodes.to_string(),
        ];
        cells.extend(several.then(|| files(row, readers)));
        table.row(cells);
    }
    let (reads, bytes) = (document.reads, show_size(document.bytes));
    let told = count(readers.told.len(), "node");
    let sum = match readers.rows.is_empty() {
        true => format!("No reads; {told} told."),
        false => {
            let reads = count(usize::try_from(reads).unwrap_or(usize::MAX), "read");
            format!("{reads}, {bytes} of shards; {told} told.")
        }
    };
    let mut report = Report::new(&document).table(table).text(sum);
    if !readers.silent.is_empty() {
        let silent = readers
            .silent
            .iter()
            .map(|(node, fault)| format!("{} ({fault})", &node.to_string()[..SHORT]));
        let silent = silent.collect::<Vec<_>>().join(", ");
        report = report.text(format!("These did not tell, so reads may be missing: {silent}"));
    }
    if readers.objects.values().any(|names| 1 < names.len()) {
        report = report.text("Small files share an object: the rows count reads of all of it.");
    }
    report
}

/// By what right, for a person.
fn right(row: &ReaderRow) -> String {
    match (&row.label, row.by) {
        (_, ReadBy::Grant { .. }) if row.own => String::from("you"),
        (Some(label), _) => label.clone(),
        (None, ReadBy::Grant { given, .. }) => format!("grant {given}"),
        (None, ReadBy::Order { order, .. }) => format!("order {order}"),
        (None, ReadBy::Claim) => String::from("repair"),
        (None, ReadBy::Others) => String::from("others"),
    }
}

/// The files of the object that was read.
fn files(row: &ReaderRow, readers: &Readers) -> String {
    let names = readers.objects.get(&row.object).map_or(&[][..], Vec::as_slice);
    match names {
        [] => format!("object {}", row.object),
        [one] => one.to_string(),
        [first, more @ ..] => format!("{first} and {} more in its pack", more.len()),
    }
}

fn reader(row: &ReaderRow) -> String {
    match row.by {
        ReadBy::Others => String::from("several"),
        _ => row.reader.to_string()[..SHORT].to_owned(),
    }
}

/// Letters of a date.
const DATE: usize = 10;
/// Digits of a key that a person sees.
const SHORT: usize = 16;
