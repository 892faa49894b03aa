//! `symbolon vault`: who keeps shares of the key to what you sell, and how lost ones are replaced.

use symbolon_client::{
    Client, CustodianState, Custodians, CustodyView, DealOutcome, DealReport, Rotation, VaultView,
};
use symbolon_protocol::{Amount, id::NodeId};
use symbolon_view::vault::{Vault, VaultDealt, VaultStatus};

use crate::{
    context::{self, Consent, Context},
    error::Error,
    output::{Align, Report, Table},
    progress,
    units::{self, count, show_amount, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon vault create              choose the nodes before you sell; otherwise sell does
  symbolon vault status              which nodes keep shares of your key, and which of them are lost
  symbolon vault rotate              put others in place of the lost ones

The key to what you sell is shared among nodes, its custodians. Most of them together release it to a buyer who paid,
and rebuilders of your files get their keys from them. Fewer can neither release nor block it. A rotation deals the same
key anew: nothing that is listed changes, and open orders go on.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Open your vault: share a new key among nodes
    #[command(after_help = "Example:\n  symbolon vault create --without 3f2a...")]
    Create(Wanted),
    /// Show who keeps shares of your key, and who is lost
    #[command(after_help = "Example:\n  symbolon vault status --json")]
    Status,
    /// Share the same key anew: among those that are there, and others in place of the lost ones
    #[command(after_help = "\
Examples:
  symbolon vault rotate
  symbolon vault rotate --without 3f2a...   trust a node no more
  symbolon vault rotate --anew              also if none is lost")]
    Rotate {
        #[command(flatten)]
        wanted: Wanted,
        /// Share it anew even if all custodians are there
        #[arg(long)]
        anew: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Wanted {
    /// A node that keeps a share; may be given up to five times, and then no other does [default: drawn]
    #[arg(long = "custodian", value_name = "NODE")]
    custodians: Vec<NodeId>,
    /// A node that keeps no share; may be given several times
    #[arg(long, value_name = "NODE")]
    without: Vec<NodeId>,
    /// Allow nodes of your own; every listing then says so
    #[arg(long)]
    own: bool,
    /// Do not pay more than this in total
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    max_cost: Option<Amount>,
    /// Do not ask before paying
    #[arg(long, short)]
    yes: bool,
}

impl Wanted {
    fn custodians(&self) -> Custodians {
        let (named, without) = (self.custodians.clone(), self.without.clone());
        Custodians { named, without, own: self.own }
    }
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let client = context.client_synced().await?;
    let done = match &args.verb {
        Verb::Status => status(&client).await,
        Verb::Create(wanted) => create(&client, wanted, context).await,
        Verb::Rotate { wanted, anew } => rotate(&client, (wanted, *anew), context).await,
    };
    context::close(client).await;
    done
}

async fn status(client: &Client) -> Result<Report, Error> {
    let view = client.vault_status().await?;
    let document = VaultStatus { vault: view.as_ref().map(Vault::from) };
    let report = Report::new(&document);
    Ok(match &view {
        None => report
            .text("No vault is open.")
            .text("Open one with: symbolon vault create; sell does so too"),
        Some(view) => shown(report, view),
    })
}

async fn create(client: &Client, wanted: &Wanted, context: &Context) -> Result<Report, Error> {
    let limit = agreed(client, wanted, "Share a new key among nodes", context).await?;
    let bar = progress::bar(&context.out, "sharing");
    let created = client.create_vault(&wanted.custodians(), limit, &bar.progress()).await;
    bar.finish();
    Ok(dealt(&created?))
}

async fn rotate(
    client: &Client,
    (wanted, anew): (&Wanted, bool),
    context: &Context,
) -> Result<Report, Error> {
    let limit = agreed(client, wanted, "Share your key anew among nodes", context).await?;
    let rotation = Rotation { custodians: wanted.custodians(), anew };
    let bar = progress::bar(&context.out, "sharing");
    let rotated = client.rotate_vault(&rotation, limit, &bar.progress()).await;
    bar.finish();
    Ok(dealt(&rotated?))
}

/// Asks before anything is paid. Returns the most that may be paid.
async fn agreed(
    client: &Client,
    wanted: &Wanted,
    what: &str,
    context: &Context,
) -> Result<Option<Amount>, Error> {
    let chain = client.recent_chain().await?;
    let price = client.price_of_vault().await?;
    let cost = match price.total() {
        Amount::ZERO => String::new(),
        _ if price.deposit == Amount::ZERO => {
            format!(", for a fee of at most {}", show_amount(price.fee))
        }
        _ => format!(
            ", for a fee of at most {} and a deposit of {}, which does not come back",
            show_amount(price.fee),
            show_amount(price.deposit)
        ),
    };
    let question = format!("{what}{cost}?");
    context.consent(&chain, &question, Consent::from(wanted.yes, wanted.max_cost))?;
    Ok(wanted.max_cost.or(Some(price.total())))
}

fn dealt(report: &DealReport) -> Report {
    let document = VaultDealt::from(report);
    let short = |ids: &[symbolon_view::plain::Id]| {
        let first: Vec<_> = ids.iter().map(|id| id.as_str()[..12].to_owned()).collect();
        first.join(", ")
    };
    let text = match report.outcome {
        DealOutcome::Created => String::from("Your vault is open."),
        DealOutcome::Already => String::from("Your vault was open before."),
        DealOutcome::Kept => String::from(
            "All custodians are there; nothing was changed. --anew shares the key anew.",
        ),
        DealOutcome::Rotated => {
            String::from("Your key is shared anew. What is listed stays, and open orders go on.")
        }
    };
    let mut out = Report::new(&document).text(text);
    if !document.removed.is_empty() {
        out = out.field("replaced", short(&document.removed));
    }
    if !document.added.is_empty() && report.outcome == DealOutcome::Rotated {
        out = out.field("new", short(&document.added));
    }
    if Amount::ZERO < report.cost {
        out = out.field("paid", show_amount(report.cost).to_string());
    }
    shown(out, &report.vault)
}

fn shown(report: Report, view: &VaultView) -> Report {
    let mut table =
        Table::new(&[("SHARE", Align::Right), ("CUSTODIAN", Align::Left), ("STATE", Align::Left)]);
    for (index, custodian) in (1..).zip(&view.custodians) {
        let state = match custodian.state {
            CustodianState::Answers => "answers",
            CustodianState::Leaves => "answers, wants to leave",
            CustodianState::Silent => "does not answer now",
            CustodianState::Dead => "lost: it counts as dead",
            CustodianState::Gone => "lost: it keeps no shares any more",
        };
        let own = if custodian.own { "; your own node" } else { "" };
        table.row(vec![index.to_string(), custodian.node.to_string(), format!("{state}{own}")]);
    }
    let (total, needed) = (view.custodians.len(), view.threshold);
    let mut report = report
        .field("vault", view.id.to_string())
        .field("releases", format!("any {needed} of {}", count(total, "custodian")))
        .field("answering", format!("{} of {total}", view.answering()))
        .field("since", format!("{}, dealing {}", show_time(view.since_ms), view.dealing));
    if 0 < view.own {
        report = report.field("own", format!("{} of {total}; listings say so", view.own));
    }
    report = report.table(table).essence(view.id.to_string());
    match lost_words(view.lost(), total) {
        Some(words) => report.text(words),
        None if view.answering() < needed => {
            report.text("Fewer answer than are needed: nothing that you sell is delivered now.")
        }
        None => report,
    }
}

/// What is to be said of lost custodians, if there are any.
pub(super) fn lost_words(lost: usize, total: usize) -> Option<String> {
    (0 < lost).then(|| {
        let are = if lost == 1 { "is" } else { "are" };
        format!(
            "{lost} of the {} of your vault {are} lost; replace with: symbolon vault rotate",
            count(total, "custodian")
        )
    })
}

/// Who keeps the key of a listing, in plain sight.
pub(super) fn custody_words(custody: &CustodyView) -> String {
    let CustodyView { custodians, threshold, own } = *custody;
    let any = format!("any {threshold} of {} release the key", count(custodians, "custodian"));
    match own {
        0 => format!("{any}; none is known to be run by the seller"),
        own => format!("{any}; {}", own_words(custodians, own, custody.seller_can_block())),
    }
}

/// That the seller runs custodians.
pub(super) fn own_words(custodians: usize, own: usize, can_block: bool) -> String {
    let are = if own == 1 { "is" } else { "are" };
    let block = if can_block { ", who can keep the key back" } else { "" };
    format!("{own} of {} {are} run by the seller{block}", count(custodians, "custodian"))
}
