//! `symbolon order`: what became of one order, and what a buyer can do about it.

use symbolon_client::{
    Client, DisputeOutcome, DisputeReport, ErrorKind, Examined, Finding, OrderDetail, OrderView,
    Readable, Wrong,
};
use symbolon_protocol::{
    Amount,
    id::{ListingId, OrderId},
    ledger::rows::{ListingState, OrderState},
};
use symbolon_view::market::{Acknowledged, Disputed, OrderShown, Refund, Side};

use crate::{
    context::{self, Consent, Context},
    error::{Error, Kind},
    output::Report,
    progress,
    units::{count, show_amount, show_duration, show_time},
};

/// Fewest digits that an order is named by.
const ID_DIGITS_MIN: usize = 4;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon order show 3f2a
  symbolon order dispute 3f2a
  symbolon order ack 3f2a

An order is named by its own first digits, or by those of its listing, as symbolon orders shows them.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show the state of an order, and what happens next
    #[command(after_help = "Example:\n  symbolon order show 3f2a")]
    Show {
        /// The order's id or its listing's, or as many of the first digits as are unique
        order: String,
    },
    /// Compare a bought file with its listing, and complain if it differs
    #[command(after_help = "\
Examples:
  symbolon order dispute 3f2a
  symbolon order dispute 3f2a --yes

The ledger judges a complaint from bytes alone: nothing is asked of the seller. A true one gives you the whole
price back, and half of the seller's bond. A cell that too few nodes give is asked of them by the ledger.")]
    Dispute {
        /// The order's id or its listing's, or as many of the first digits as are unique
        order: String,
        /// Do not ask before a complaint is made
        #[arg(long, short)]
        yes: bool,
    },
    /// Say that a file is what was listed: the seller is paid
    #[command(after_help = "Example:\n  symbolon order ack 3f2a")]
    Ack {
        /// The order's id or its listing's, or as many of the first digits as are unique
        order: String,
    },
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<Report, Error> {
    let client = context.client_synced().await?;
    let report = match args.verb {
        Verb::Show { order } => show(&client, &order).await,
        Verb::Dispute { order, yes } => dispute(&client, &order, yes, context).await,
        Verb::Ack { order } => ack(&client, &order).await,
    };
    context::close(client).await;
    report
}

/// The order whose digits, or whose listing's, begin with `text`. Of several orders for one listing it is the newest.
async fn find(client: &Client, text: &str) -> Result<OrderId, Error> {
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !digits || text.len() < ID_DIGITS_MIN || text.len() > 2 * OrderId::BYTES {
        return Err(Error::usage(format!("{text:?} is not an order"))
            .hint("name it by its first digits, at least 4, as symbolon orders shows them"));
    }
    let text = text.to_ascii_lowercase();
    let orders = client.orders().await?;
    let named: Vec<OrderId> = orders
        .iter()
        .map(|order| order.id)
        .filter(|id| id.to_string().starts_with(&text))
        .collect();
    match named.as_slice() {
        [id] => return Ok(*id),
        [] => {}
        _ => {
            return Err(
                Error::usage(format!("several orders begin with {text}")).hint("use more digits")
            );
        }
    }
    let of_listing: Vec<&OrderView> =
        orders.iter().filter(|order| order.listing.to_string().starts_with(&text)).collect();
    let mut listings: Vec<ListingId> = of_listing.iter().map(|order| order.listing).collect();
    listings.dedup();
    match (of_listing.first(), listings.len()) {
        // They come newest first.
        (Some(order), 1) => Ok(order.id),
        (Some(_), _) => Err(Error::usage(format!("orders for several listings begin with {text}"))
            .hint("use more digits")),
        (None, _) => match text.parse() {
            Ok(id) => Ok(id),
            Err(_) => Err(Error::new(Kind::NotFound, format!("no order begins with {text}"))
                .hint("see your orders with: symbolon orders")),
        },
    }
}

async fn show(client: &Client, text: &str) -> Result<Report, Error> {
    let id = find(client, text).await?;
    let detail = client.order(&id).await?;
    let document = OrderShown::new(client.identity().account(), &detail);
    let view = &detail.view;
    let report = Report::new(&document)
        .heading(detail.title.clone())
        .field("order", view.id.to_string())
        .field("listing", view.listing.to_string())
        .field("side", document.order.side.word())
        .field("amount", show_amount(view.amount).to_string())
        .field("ordered", show_time(view.ordered_ms))
        .field("access", format!("until {}", show_time(view.access_until_ms)))
        .field("check", format!("{} after delivery", show_duration(detail.window_ms.0)))
        .field(
            "bond",
            format!(
                "{}, of which the buyer gets half if a complaint is upheld",
                show_amount(detail.bond)
            ),
        )
        .field("state", document.order.state.word());
    Ok(report.text(next(&detail, document.order.side)))
}

/// What happens next with an order, and what can be done.
fn next(detail: &OrderDetail, side: Side) -> String {
    let view = &detail.view;
    let due = show_time(view.due_ms);
    let is_open =
        matches!(view.state, OrderState::Paid | OrderState::Delivered | OrderState::Asked);
    if is_open && detail.listing_state == ListingState::Frozen {
        return format!(
            "A buyer has proven that the listing is not right: the buyer gets the money back by itself, at {due} at the latest."
        );
    }
    match view.state {
        OrderState::Paid => format!(
            "The money is in escrow. Custodians have until {due} to release the key; {} of the {} releases needed are on \
             the ledger. If too few are there then, and the buyer has not acknowledged, the buyer gets the money back by \
             itself.",
            detail.releases, detail.required
        ),
        OrderState::Delivered => {
            let what = match side {
                Side::Bought => {
                    " Compare the file with its listing, and get the money back if it is not what was listed, with: \
                     symbolon order dispute"
                }
                Side::Sold => "",
            };
            format!(
                "The key was delivered. The buyer has until {due} to check the file; then the seller is paid by itself.{what}"
            )
        }
        OrderState::Asked => {
            let (cell, answered) = detail.asked.unwrap_or_default();
            format!(
                "The buyer did not get cell {cell}: nodes have until {due} to put it on the ledger, and {} done so. If too \
                 few do, the buyer gets the money back by itself.",
                match answered {
                    0 => String::from("none has"),
                    1 => String::from("one has"),
                    more => format!("{more} have"),
                }
            )
        }
        OrderState::Settled => format!(
            "The seller is paid. The buyer may read the file until {}.",
            show_time(view.access_until_ms)
        ),
        OrderState::Refunded => {
            let why = view.refund.map_or("", |refund| Refund::from(refund).words());
            format!("The buyer has the money back: {why}.")
        }
    }
}

async fn ack(client: &Client, text: &str) -> Result<Report, Error> {
    let id = find(client, text).await?;
    client.acknowledge(&id).await?;
    Ok(Report::new(&Acknowledged { order: id.into() })
        .text(format!("Order {id} is acknowledged: the seller is paid.")))
}

async fn dispute(
    client: &Client,
    text: &str,
    yes: bool,
    context: &Context,
) -> Result<Report, Error> {
    let id = find(client, text).await?;
    let bar = progress::bar(&context.out, "examining");
    if client.order(&id).await?.view.state == OrderState::Asked {
        // An earlier call has made the complaint.
        let report = client.await_dispute(&id, &bar.progress()).await;
        bar.finish();
        let report = report?;
        return Ok(Report::new(&Disputed::new(None, &report)).text(came_to(&report)));
    }
    let examined = client.examine(&id, &bar.progress()).await;
    bar.finish();
    let finding = match examined? {
        Examined::AsListed { cells } => {
            return Ok(Report::new(&Disputed::nothing(id)).text(format!(
                "Nothing is wrong: the key and all {} are what was listed. No complaint was made.",
                count(cells, "cell")
            )));
        }
        Examined::Wrong(finding) => finding,
    };
    let question = question(client, &finding).await?;
    context.consent_to_loss(&question, Consent::from(yes, None))?;
    let report = complain(client, &finding, context).await?;
    Ok(Report::new(&Disputed::new(Some(finding.wrong), &report))
        .text(format!("{}.", capital(&words(finding.wrong))))
        .text(came_to(&report)))
}

async fn complain(
    client: &Client,
    finding: &Finding,
    context: &Context,
) -> Result<DisputeReport, Error> {
    let bar = progress::bar(&context.out, "complaining");
    let report = client.dispute(finding, &bar.progress()).await;
    bar.finish();
    Ok(report?)
}

/// What is asked before a complaint is made: what it says, what it publishes, and what it may cost.
async fn question(client: &Client, finding: &Finding) -> Result<String, Error> {
    let (price, bond) = client.price_of_dispute().await?;
    let fee = match price {
        Amount::ZERO => String::new(),
        price => format!(" Its fee is at most {}.", show_amount(price)),
    };
    Ok(format!(
        "{}. Complain to the ledger? {} A complaint that is dismissed loses a bond of {}.{fee}",
        capital(&words(finding.wrong)),
        publishes(finding.wrong),
        show_amount(bond)
    ))
}

fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

/// What was found, in words.
fn words(wrong: Wrong) -> String {
    match wrong {
        Wrong::Cell { cell } => {
            format!("cell {cell} is sealed as it was listed, but does not open to what was listed")
        }
        Wrong::Kept { cell } => format!("nodes keep another cell {cell} than the listed one"),
        Wrong::Missing { cell, usable, required } => {
            format!("only {usable} of the {required} shards needed for cell {cell} can be read")
        }
        _ => String::from("the custodians' releases open another key than the listed one"),
    }
}

/// What a complaint publishes.
fn publishes(wrong: Wrong) -> &'static str {
    match wrong {
        Wrong::Cell { .. } => {
            "This publishes that one cell and its key, which opens no other cell."
        }
        Wrong::Kept { .. } => {
            "This publishes that one cell as a node keeps it, and the keys of masks, which open no cell."
        }
        Wrong::Missing { .. } => {
            "This publishes the keys of the masks of one segment, which open no cell; nodes put that one cell on the \
             ledger, sealed."
        }
        _ => "This publishes the key that was delivered, which is not the listed one.",
    }
}

/// What a complaint came to, in words.
fn came_to(report: &DisputeReport) -> String {
    let lost = show_amount(report.lost);
    match report.outcome {
        DisputeOutcome::Refunded(refund) => {
            let bond = match report.from_bond {
                Amount::ZERO => String::new(),
                part => format!(", and {} of the seller's bond are yours", show_amount(part)),
            };
            format!(
                "You have {} back{bond}: {}.",
                show_amount(report.refunded),
                Refund::from(refund).words()
            )
        }
        DisputeOutcome::Given => format!(
            "Nodes have put the cell on the ledger, and it is the listed one; the bond of {lost} is theirs. Fetch the file \
             again: the order goes on."
        ),
        _ => format!("The complaint was dismissed, and its bond of {lost} is lost."),
    }
}

/// The order that a grant came from.
pub(crate) fn of_grant(what: &Readable) -> Option<OrderId> {
    match what {
        Readable::Token(token) => token.grant.sale.map(|sale| sale.order),
        _ => None,
    }
}

/// Whether something may be wrong with what was bought, so that the order is to be examined.
pub(crate) fn is_suspect(error: &Error) -> bool {
    matches!(error.kind, Kind::Corrupt | Kind::NotEnough | Kind::NotFound)
}

/// What to do about a bought file that could not be read, or is not what was listed: with consent, the client finds out
/// what is wrong and complains. Gives the error that the command ends with.
pub(crate) async fn after_failure(
    client: &Client,
    order: OrderId,
    error: Error,
    auto: bool,
    context: &Context,
) -> Error {
    let hint = format!(
        "find out what is wrong, and get the money back, with: symbolon order dispute {}",
        &order.to_string()[..12]
    );
    if !is_suspect(&error) || !(auto || context.out.can_ask()) {
        return if is_suspect(&error) { error.or_hint(hint) } else { error };
    }
    match try_complaint(client, order, auto, context).await {
        Ok(Some((finding, report))) => {
            let message =
                format!("{}: {} {}", error.message, words(finding.wrong), came_to(&report));
            Error::new(error.kind, message).details(Disputed::new(Some(finding.wrong), &report))
        }
        Ok(None) => error.or_hint(hint),
        Err(failed) => {
            let message = format!("{}; the complaint failed: {}", error.message, failed.message);
            Error::new(error.kind, message).hint(hint)
        }
    }
}

async fn try_complaint(
    client: &Client,
    order: OrderId,
    auto: bool,
    context: &Context,
) -> Result<Option<(Finding, DisputeReport)>, Error> {
    let bar = progress::bar(&context.out, "examining");
    let examined = client.examine(&order, &bar.progress()).await;
    bar.finish();
    let finding = match examined {
        Ok(Examined::Wrong(finding)) => *finding,
        Ok(Examined::AsListed { .. }) => return Ok(None),
        // An order of somebody else, or one that is closed.
        Err(error) if error.kind() == ErrorKind::LedgerRefused => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if !auto && !context.out.ask(&question(client, &finding).await?)? {
        return Ok(None);
    }
    let report = complain(client, &finding, context).await?;
    Ok(Some((finding, report)))
}
