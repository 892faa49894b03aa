//! `symbolon sell`: offer access to a file for money.

use std::ffi::OsString;

use symbolon_client::{
    ClientError, Custodians, SalePlan, SellOptions, SellReport, USUAL_LICENCE, market::TableFound,
};
use symbolon_net::Announced;
use symbolon_protocol::{
    Amount, Millis,
    id::NodeId,
    ledger::{Params, rows::Split},
};
use symbolon_view::market::ForSale;

use super::folder::name;
use crate::{
    context::{Consent, Context},
    error::Error,
    grants, home,
    home::Home,
    names::{self, Pay},
    output::Report,
    progress,
    units::{self, ByteRange, Term, count, show_amount, show_duration, show_size, show_time},
};

/// Bytes read of a description or licence.
const TEXT_BYTES_MAX: u64 = 256 * 1024;

/// The whole, in hundredths of a percent.
const WHOLE_BP: u64 = 10_000;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon sell penguins.csv --price 5 --title \"Palmer penguins\"
  symbolon sell scans.tar --price 40 --licence @licence.txt --access 365d --split carol:20
  symbolon sell birds.csv --price 5 --show-first 2 --sample 9MiB..9.1MiB

The key is shared among storage nodes as custodians, so sales go on while you are offline: a
buyer pays into escrow, the custodians release the key to the buyer, and you are paid. A hash of
every cell is listed, and a bond as high as the price is bound until the listing has ended: a buyer
who proves that the file is not what was listed gets the price back and half of the bond.")]
pub(crate) struct Args {
    /// The name of the stored file
    name: OsString,
    /// The price of one access, in credits
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    price: Amount,
    /// The title in the market [default: the file's name]
    #[arg(long)]
    title: Option<String>,
    /// The description: text, or @FILE
    #[arg(long, default_value = "", value_name = "TEXT")]
    description: String,
    /// The licence that a buyer accepts: text, or @FILE
    #[arg(
        long,
        default_value = USUAL_LICENCE,
        value_name = "TEXT"
    )]
    licence: String,
    /// How long a buyer may read the file [default: half of the time it is paid for, at most 30 days]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    access: Option<u64>,
    /// How long a buyer has to check the file before you are paid [default: a day, at most a quarter of the access]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    window: Option<u64>,
    /// A share of the income for another account, as WHO:PERCENT; may be given several times
    #[arg(long = "split", value_name = "WHO:PERCENT")]
    splits: Vec<String>,
    /// How many cells anyone may read as a preview; you cannot choose which
    #[arg(long, default_value_t = 1, value_name = "CELLS")]
    preview: u8,
    /// Show everyone this many cells from the beginning too, of up to 64 KiB each: of a table, its first rows
    #[arg(long, default_value_t = 0, value_name = "CELLS")]
    show_first: u8,
    /// Show everyone the cells of these bytes too, as START..END; may be given several times
    #[arg(long = "sample", value_name = "START..END", value_parser = units::range)]
    samples: Vec<ByteRange>,
    /// An address at which you answer viewers with market serve; may be given several times
    #[arg(long, value_name = "ADDRESS")]
    answer_at: Vec<Announced>,
    /// Do not say the columns of a table in the description
    #[arg(long)]
    no_columns: bool,
    /// How long the description and preview are stored [default: as long as the file]
    #[arg(long = "for", value_name = "TERM", value_parser = units::term)]
    term: Option<Term>,
    /// A node that keeps a share of the key; may be given up to five times, and then no other does [default: drawn]
    #[arg(long = "custodian", value_name = "NODE")]
    custodians: Vec<NodeId>,
    /// A node that keeps no share of the key; may be given several times
    #[arg(long, value_name = "NODE")]
    without: Vec<NodeId>,
    /// Allow nodes of your own to keep shares of the key; the listing then says so
    #[arg(long)]
    own: bool,
    /// Do not pay more than this in total for storing them
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    max_cost: Option<Amount>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<Report, Error> {
    let splits = splits(&args.splits, &context.home)?;
    let description = home::text_or_file(&args.description, TEXT_BYTES_MAX)?;
    let licence_text = home::text_or_file(&args.licence, TEXT_BYTES_MAX)?;
    let client = context.client_synced().await?;
    let chain = client.recent_chain().await?;
    let stored = name(&args.name)?;
    let name = stored.to_string();
    let mut options = SellOptions {
        title: args.title.unwrap_or_else(|| name.clone()),
        description,
        price: args.price,
        licence_text,
        access_ms: args.access.map(Millis),
        window_ms: args.window.map(Millis),
        splits,
        preview_cells: args.preview,
        show_first: args.show_first,
        samples: samples(&args.samples)?,
        says_columns: !args.no_columns,
        answers_at: args.answer_at,
        epochs: args.term.map(|term| term.epochs(chain.params.epoch_ms)),
        cost_max: args.max_cost,
        custodians: Custodians { named: args.custodians, without: args.without, own: args.own },
    };
    let plan = client.plan_sale(&stored, &options).await?;
    let cost = plan.cost;
    if let Some(limit) = args.max_cost.filter(|limit| *limit < cost) {
        return Err(ClientError::CostTooHigh { cost, limit }.into());
    }
    let question = format!(
        "List {name} at {} for {} of access, on sale until {}? Storing the parts of the listing costs \
         at most {}{}. A bond of {} comes back when the listing has ended, unless a buyer proves that it is not right. {}",
        show_amount(args.price),
        show_duration(plan.access_ms.0),
        show_time(plan.sold_until_ms),
        show_amount(cost),
        if has_fees(&chain.params) {
            ", with the network's fees, and deposits that come back"
        } else {
            ""
        },
        show_amount(plan.bond),
        public_words(&plan),
    );
    let given = Consent::from(args.yes, args.max_cost);
    if plan.shown.chosen.is_empty() {
        context.consent(&chain, &question, given)?;
    } else {
        // What everyone has read is never taken back, whatever money is worth on this network.
        context.consent_to_loss(&question, given)?;
    }
    // The cost that was shown is the limit.
    options.cost_max = args.max_cost.or(Some(cost));
    let bar = progress::bar(&context.out, "listing");
    let listed = client.sell(&stored, &options, &bar.progress()).await;
    bar.finish();
    names::publish_and_close(client, Pay::Ask, &context.out).await;
    Ok(report((&name, args.price), &plan, &listed?))
}

fn has_fees(params: &Params) -> bool {
    [params.fee_base, params.fee_byte, params.fee_check, params.deposit]
        .iter()
        .any(|price| *price > Amount::ZERO)
}

/// The ranges of bytes that are to be shown.
fn samples(ranges: &[ByteRange]) -> Result<Vec<(u64, u64)>, Error> {
    let range =
        |range: &ByteRange| match range {
            ByteRange::Between(start, end) => Ok((*start, *end)),
            ByteRange::Last(_) => Err(Error::usage("a sample has a start")
                .hint("say where it begins: --sample 9MiB..9.1MiB")),
        };
    ranges.iter().map(range).collect()
}

/// How much of the file becomes public.
fn public_words(plan: &SalePlan) -> String {
    let shown = &plan.shown;
    // In hundredths of a percent, rounded up: a little is not nothing.
    let part = |bytes: u64| {
        let whole = u128::from(shown.length.max(1));
        let part = (u128::from(bytes) * 10_000).div_ceil(whole);
        format!("{}.{:02} %", part / 100, part % 100)
    };
    let (public, length) = (shown.public_bytes_max, shown.length);
    let mut words = format!(
        "Up to {} of the file's {} ({}) become public: everyone can read them for ever.",
        show_size(public),
        show_size(length),
        part(public)
    );
    if !shown.chosen.is_empty() {
        let rows = match shown.rows {
            0 => String::new(),
            rows => format!(", with the first {}", count(rows, "row")),
        };
        words.push_str(&format!(
            " {} of that ({}) are {} that you chose{rows}; viewers are told that you chose them.",
            show_size(shown.chosen_bytes),
            part(shown.chosen_bytes),
            count(shown.chosen.len(), "cell"),
        ));
    }
    if let Some(schema) = plan.table.schema() {
        let columns = count(schema.columns.len(), "column");
        words.push_str(&format!(" The names and types of its {columns} are public too."));
    }
    words
}

/// What the description says of the columns.
fn columns_words(table: &TableFound) -> String {
    match table {
        TableFound::Table(schema) => format!(
            "{} of {}, in the description",
            count(schema.columns.len(), "column"),
            schema.format.word()
        ),
        TableFound::Withheld => String::from("not in the description, as you wanted"),
        TableFound::Unreadable(why) => format!("not in the description: {why}"),
        TableFound::OtherFile => String::from(
            "not in the description: the file's name ends as that of no table (csv, tsv, jsonl)",
        ),
    }
}

/// Reads `WHO:PERCENT` texts.
fn splits(texts: &[String], home: &Home) -> Result<Vec<Split>, Error> {
    let problem = |text: &str| {
        Error::usage(format!("{text:?} is not a split"))
            .hint("it looks like carol:20 or carol:12.5")
    };
    let mut splits = Vec::new();
    let mut total = 0;
    for text in texts {
        let (who, percent) = text.rsplit_once(':').ok_or_else(|| problem(text))?;
        let (whole, part) = percent.split_once('.').unwrap_or((percent, ""));
        if part.len() > 2 {
            return Err(problem(text));
        }
        let digits = format!("{whole}{part:0<2}");
        let share: u64 = digits.parse().map_err(|_| problem(text))?;
        total += share;
        let share_bp = u16::try_from(share).map_err(|_| problem(text))?;
        splits.push(Split { account: grants::account(who, home)?, share_bp });
    }
    if total > WHOLE_BP {
        return Err(Error::usage("the splits are more than the whole income"));
    }
    Ok(splits)
}

fn report((name, price): (&str, Amount), plan: &SalePlan, listed: &SellReport) -> Report {
    let listing = listed.listing.to_string();
    Report::new(&ForSale::new((name, price), plan, listed))
        .text(format!("{name} is for sale at {}.", show_amount(price)))
        .field("listing", listing.clone())
        .field(
            "custody",
            format!(
                "{}, any {} of them release the key to a buyer who paid",
                count(listed.custodians.len(), "node"),
                listed.threshold
            ),
        )
        .field("access", format!("{} from the order", show_duration(listed.access_ms.0)))
        .field("check", format!("{} after delivery", show_duration(listed.window_ms.0)))
        .field(
            "bond",
            format!("{}, which comes back after the listing has ended", show_amount(listed.bond)),
        )
        .field(
            "until",
            format!(
                "{}: a later order would outlast the storage that is paid for",
                show_time(listed.sold_until_ms)
            ),
        )
        .field(
            "open",
            format!(
                "{} drawn by the ledger's beacon, {} that you chose",
                count(listed.preview_cells.len(), "cell"),
                count(listed.chosen_cells.len(), "cell"),
            ),
        )
        .field("columns", columns_words(&plan.table))
        .text("You can go offline now; sales go on.")
        .text(format!("End it with: symbolon market end {}", &listing[..12]))
        .essence(listing)
}
