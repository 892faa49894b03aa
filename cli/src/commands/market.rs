//! `symbolon market`: what is for sale.

mod preview;
mod serve;

use std::path::PathBuf;

use symbolon_client::{Client, Kept, ListingFilter, ListingView};
use symbolon_protocol::{
    Amount, LedgerTime,
    id::{AccountId, ListingId},
    ledger::rows::ListingState,
};
use symbolon_view::market::{Detail, Ended, Listing, Listings};

use super::vault;
use crate::{
    context::{self, Context},
    error::{Error, Kind},
    grants,
    output::{Align, Report, Table},
    units::{self, count, show_amount, show_duration, show_size, show_time},
};

/// Fewest digits that a listing is named by.
const ID_DIGITS_MIN: usize = 4;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon market list
  symbolon market list penguins --max-price 10
  symbolon market show 3f2a
  symbolon market preview 3f2a
  symbolon market preview 3f2a --fresh
  symbolon market serve --listen 0.0.0.0:4160
  symbolon market end 3f2a")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List what is for sale
    #[command(after_help = "Example:\n  symbolon market list penguins --max-price 10")]
    List(ListArgs),
    /// Show one listing with its whole description
    #[command(after_help = "Example:\n  symbolon market show 3f2a")]
    Show {
        /// The listing's id, or as many of its first digits as are unique
        listing: String,
    },
    /// Show what anyone may see of the file, checked against the file that is sold
    #[command(
        after_help = "Examples:\n  symbolon market preview 3f2a --output cells/\n  symbolon market preview 3f2a --fresh --cells 4"
    )]
    Preview {
        /// The listing's id, or as many of its first digits as are unique
        listing: String,
        /// Draw a number and have the seller, who must be online, open the cells that it picks
        #[arg(long)]
        fresh: bool,
        /// How many cells your number picks
        #[arg(long, default_value_t = 2, requires = "fresh", value_name = "CELLS")]
        cells: u8,
        /// Write each cell to a file in this folder
        #[arg(long, short, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Open cells of your listings that viewers' own numbers pick, while it runs
    Serve(serve::Args),
    /// End one of your listings; orders that were made before go on
    #[command(after_help = "Example:\n  symbolon market end 3f2a")]
    End {
        /// The listing's id, or as many of its first digits as are unique
        listing: String,
    },
}

#[derive(Debug, Default, clap::Args)]
struct ListArgs {
    /// Only listings whose title has all these words, in upper or lower case
    words: Vec<String>,
    /// Only listings that cost at most this
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    max_price: Option<Amount>,
    /// Only listings of this seller: account, recipient1..., or an identity in this home
    #[arg(long, value_name = "WHO")]
    seller: Option<String>,
    /// Also show listings that have ended
    #[arg(long)]
    ended: bool,
}

impl Args {
    /// Whether the command runs until it is stopped.
    pub(crate) fn runs_on(&self) -> bool {
        matches!(self.verb, Some(Verb::Serve(_)))
    }
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<(), Error> {
    let verb = args.verb.unwrap_or_else(|| Verb::List(ListArgs::default()));
    let verb = match verb {
        Verb::Serve(args) => return serve::run(args, context).await,
        verb => verb,
    };
    let client = context.client().await?;
    let report = match verb {
        Verb::List(args) => list(&client, args, context).await,
        Verb::Show { listing } => show(&client, &listing).await,
        Verb::Preview { listing, fresh, cells, output } => {
            let fresh = fresh.then_some(cells);
            preview::run(&client, &listing, fresh, output).await
        }
        Verb::Serve(_) => Err(Error::internal("it serves elsewhere")),
        Verb::End { listing } => end(&client, &listing).await,
    };
    context::close(client).await;
    context.out.report(&report?)
}

/// The listing whose digits begin with `text`, when exactly one does.
pub(crate) async fn find(client: &Client, text: &str) -> Result<ListingId, Error> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !digits || text.len() < ID_DIGITS_MIN || text.len() > 2 * ListingId::BYTES {
        return Err(Error::usage(format!("{text:?} is not a listing"))
            .hint("name it by its first digits, at least 4, as symbolon market list shows them"));
    }
    let text = text.to_ascii_lowercase();
    let ids = client.listing_ids().await?;
    let mut fitting = ids.into_iter().filter(|id| id.to_string().starts_with(&text));
    match (fitting.next(), fitting.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(Error::new(Kind::NotFound, format!("no listing begins with {text}"))
            .hint("see what is for sale with: symbolon market list")),
        (Some(_), Some(_)) => {
            Err(Error::usage(format!("several listings begin with {text}")).hint("use more digits"))
        }
    }
}

async fn list(client: &Client, args: ListArgs, context: &Context) -> Result<Report, Error> {
    let seller: Option<AccountId> =
        args.seller.as_deref().map(|who| grants::account(who, &context.home)).transpose()?;
    let filter =
        ListingFilter { words: args.words, price_max: args.max_price, seller, ended: args.ended };
    let (listings, now_ms) = (client.listings(&filter).await?, client.clock().await?.now_ms);
    let mut table = Table::new(&[
        ("LISTING", Align::Left),
        ("PRICE", Align::Right),
        ("SIZE", Align::Right),
        ("SOLD", Align::Right),
        ("TITLE", Align::Left),
    ]);
    for view in &listings {
        let title = match state(view, now_ms) {
            None => view.title.clone(),
            Some(state) => format!("{} ({state})", view.title),
        };
        table.row(vec![
            view.id.to_string()[..12].to_owned(),
            view.price.to_string(),
            show_size(view.length),
            view.sold.to_string(),
            title,
        ]);
    }
    let ids: Vec<_> = listings.iter().map(|view| view.id.to_string()).collect();
    let document = Listings { listings: listings.iter().map(Listing::from).collect() };
    let report = Report::new(&document);
    Ok(if listings.is_empty() {
        report.text("No listing matches.")
    } else {
        report.table(table).essence(ids.join("\n"))
    })
}

/// Why a listing cannot be bought, when it cannot.
fn state(view: &ListingView, now_ms: LedgerTime) -> Option<String> {
    match view.state {
        ListingState::Open => {}
        ListingState::Ended => return Some(String::from("ended")),
        ListingState::Frozen => {
            return Some(String::from("frozen: a buyer has proven that it is not right"));
        }
    }
    if !view.is_covered(now_ms) && view.kept.is_some_and(|kept| matches!(kept, Kept::Until { .. }))
    {
        return Some(String::from(
            "the ledger was not shown that the file is kept for long enough",
        ));
    }
    match view.kept {
        Some(Kept::Over { since_ms: Some(since) }) => {
            Some(format!("not stored any more, since {}", show_time(since)))
        }
        Some(Kept::Over { since_ms: None }) => Some(String::from("not stored")),
        Some(Kept::Until { time_ms, .. }) if !view.can_be_bought(now_ms) => {
            Some(format!("stored until {} only", show_time(time_ms)))
        }
        _ => None,
    }
}

async fn show(client: &Client, listing: &str) -> Result<Report, Error> {
    let id = find(client, listing).await?;
    let (detail, now_ms) = (client.listing(&id).await?, client.clock().await?.now_ms);
    let view = &detail.view;
    let document = Detail::from(&detail);
    let mut report = Report::new(&document)
        .heading(view.title.clone())
        .field("listing", view.id.to_string())
        .field("seller", view.seller.to_string())
        .field("price", show_amount(view.price).to_string())
        .field("size", format!("{}, {}", show_size(view.length), count(view.cells, "cell")))
        .field("access", format!("for {} from the order", show_duration(view.access_ms.0)))
        .field(
            "check",
            format!(
                "{} after delivery, before the seller is paid",
                show_duration(view.window_ms.0)
            ),
        )
        .field(
            "bond",
            format!(
                "{}, which the seller loses if the listing is not right",
                show_amount(view.bond)
            ),
        )
        .field(
            "kept",
            match view.covered_until_ms {
                Some(until) => format!("until {}, as the ledger was shown", show_time(until)),
                None => String::from("the ledger was not shown for how long"),
            },
        )
        .field("custody", vault::custody_words(&detail.custody))
        .field("licence", view.licence.to_string())
        .field("listed", show_time(view.listed_ms))
        .field("sold", count(view.sold, "time"))
        .field("state", state(view, now_ms).unwrap_or_else(|| String::from("takes orders")));
    for (key, name) in [("description", "about"), ("license", "terms")] {
        if let Some(text) = document.says(key) {
            report = report.field(name, text);
        }
    }
    Ok(report)
}

async fn end(client: &Client, listing: &str) -> Result<Report, Error> {
    let id = find(client, listing).await?;
    let ended = client.end_listing(&id).await?;
    let bond = match (ended.bond, ended.due_ms) {
        (Amount::ZERO, _) => String::new(),
        (bond, None) => format!(" The bond of {} has come back.", show_amount(bond)),
        (bond, Some(due_ms)) => format!(
            " The bond of {} comes back with the last of its {}: until {}, unless a buyer complains.",
            show_amount(bond),
            count(ended.open, "open order"),
            show_time(due_ms)
        ),
    };
    Ok(Report::new(&Ended::from(&ended)).text(format!("Listing {id} takes no more orders.{bond}")))
}
