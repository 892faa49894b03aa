//! `symbolon buy`: buy access, and fetch what was bought.

use std::path::PathBuf;

use symbolon_client::{
    BuyOutcome, BuyReport, CheckedListing, Checks, Client, ClientError, ListingView, Progress,
    Readable,
};
use symbolon_protocol::{Amount, id::ListingId, ledger::rows::Chain};
use symbolon_view::{
    get::FileFetched,
    market::{Bought, Purchase},
};

use crate::{
    commands::{get::Fetch, market, order, vault},
    context::{Consent, Context},
    error::{Error, Kind},
    interrupt::{self, Interrupt},
    names::{self, Pay},
    output::Report,
    progress, target,
    units::{self, count, show_amount, show_duration, show_size, show_time},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon buy 3f2a
  symbolon buy 3f2a -o penguins.csv      buy, fetch, check, and pay the seller
  symbolon buy 3f2a --max-price 5 --yes
  symbolon buy 3f2a -o penguins.csv --auto-dispute

Before you pay, buy checks that the ledger knows the file is kept for as long as access is sold, that access
is long enough to check and to complain, that enough nodes answer, that the hashes of all cells lead to what is
sold, that the preview is part of it, and that PATH can be written.
The money waits in escrow. The seller gets it when you have fetched the file and it is what was
listed, or when the checking time is over. If no key is delivered, you get it back. If the key or a cell
is not what was listed, you can prove it to the ledger and get it back, with half of the seller's bond.")]
pub(crate) struct Args {
    /// The listing's id, or as many of its first digits as are unique
    listing: String,
    /// Fetch the file to this path after paying
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Do not pay more than this in all: price, fees and deposit
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    max_price: Option<Amount>,
    /// Overwrite an existing file
    #[arg(long)]
    replace: bool,
    /// If what was bought is not what was listed, complain to the ledger without asking
    #[arg(long)]
    auto_dispute: bool,
    /// Do not ask before paying
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(mut args: Args, context: &Context) -> Result<Report, Error> {
    args.output = args.output.map(target::named);
    let to_stdout = args.output.as_deref().is_some_and(target::is_stdout);
    if to_stdout && context.out.is_json() {
        return Err(Error::usage("the file and the JSON document would share stdout")
            .hint("choose a path with -o"));
    }
    let (client, id) = client_and_listing(&args.listing, context).await?;
    let chain = client.recent_chain().await?;
    let view = writable(&args, &client, &id).await?;
    let bar = progress::bar(&context.out, "buying");
    let mut interrupt = Interrupt::listen();
    let progress = bar.progress();
    let checked = checked(&client, &id, &progress, &mut interrupt, context).await?;
    let limit = agreed(&args, &client, &chain, &view, context).await?;
    let buying = async {
        match checked {
            Some(checked) => client.buy_checked(checked, limit, &progress).await,
            None => client.buy(&id, limit, &progress).await,
        }
    };
    let bought = interrupt.or(buying).await;
    bar.finish();
    let Some(bought) = bought else {
        names::publish_and_close(client, Pay::Ask, &context.out).await;
        let hint = "run the same command again to go on; nothing is paid twice";
        return Err(interrupt::stopped(String::from("buy stopped before the key arrived"), hint));
    };
    let bought = match bought {
        Ok(bought) => bought,
        Err(error) => {
            // Other devices are told of an order that is paid for. From here on, a signal ends the program at once.
            drop(interrupt);
            let error = after_buying(&client, error, args.auto_dispute, context).await;
            names::publish_and_close(client, Pay::Ask, &context.out).await;
            return Err(error);
        }
    };
    let fetched = match args.output {
        None => None,
        Some(output) => {
            let what = Readable::Token(bought.token.clone());
            let fetch = Fetch { what, output, range: None, replace: args.replace };
            Some(fetch.run_told(&client, &context.out, &mut interrupt).await)
        }
    };
    drop(interrupt);
    let fetched = match fetched {
        Some(Err(error)) => {
            let auto = args.auto_dispute;
            Some(Err(order::after_failure(&client, bought.order, error, auto, context).await))
        }
        fetched => fetched,
    };
    names::publish_and_close(client, Pay::Ask, &context.out).await;
    match fetched {
        None => Ok(report(&view.title, &bought, None).text(format!(
            "Fetch it with: symbolon buy {} -o PATH; nothing is paid twice.",
            &id.to_string()[..12]
        ))),
        Some(Ok(_)) if to_stdout => Ok(Report::nothing()),
        Some(Ok((fetched, sentence))) => {
            Ok(report(&view.title, &bought, Some(fetched)).text(sentence))
        }
        Some(Err(error)) => Err(partly(error, &bought)),
    }
}

/// What is done about a key that is not the listed one.
async fn after_buying(client: &Client, error: ClientError, auto: bool, context: &Context) -> Error {
    match error {
        ClientError::NotAsListed { order, .. } => {
            order::after_failure(client, order, error.into(), auto, context).await
        }
        _ => error.into(),
    }
}

/// The listing, after a check that its file can be written.
async fn writable(args: &Args, client: &Client, id: &ListingId) -> Result<ListingView, Error> {
    // Before any money moves. After that, the file may be there because an earlier run fetched it.
    let taken = args.output.as_ref().filter(|path| {
        path.symlink_metadata().is_ok() && !target::is_stream(path) && !args.replace
    });
    if let Some(path) = taken
        && !client.has_bought(id).await?
    {
        return Err(Error::new(Kind::Exists, format!("{} already exists", path.display()))
            .hint("choose another path with -o, or --replace"));
    }
    let view = client.listing_view(id).await?;
    if let Some(path) = &args.output {
        target::check(path, if path.exists() { 0 } else { view.length })?;
    }
    Ok(view)
}

/// What is checked before anything is paid; nothing if it was bought before: that need not be right any more to be read.
async fn checked(
    client: &Client,
    id: &ListingId,
    progress: &Progress,
    interrupt: &mut Interrupt,
    context: &Context,
) -> Result<Option<CheckedListing>, Error> {
    if client.has_bought(id).await? {
        return Ok(None);
    }
    let checked = interrupt.or(client.check_listing(id, progress)).await;
    let Some(checked) = checked else {
        let hint = "nothing was paid; the same command again begins anew";
        return Err(interrupt::stopped(String::from("buy stopped before it paid"), hint));
    };
    let checked = checked?;
    context.out.note(&was_checked(&checked.checks));
    Ok(Some(checked))
}

/// What was checked of a listing before it is paid for, in words.
fn was_checked(checks: &Checks) -> String {
    let preview = match checks.preview_cells {
        0 => String::from("there is no preview"),
        cells => format!("{} of the preview are part of it", count(cells, "cell")),
    };
    format!(
        "Checked: the file is kept until {} and access lasts until {}; {} of it answer; the hashes of all {} lead to what \
         is sold; {preview}. You have {} to check it. If it is not what was listed, you get the price back and half of a \
         bond of {}.",
        show_time(checks.covered_until_ms),
        show_time(checks.access_until_ms),
        count(checks.nodes, "node"),
        count(checks.cells, "cell"),
        show_duration(checks.window_ms.0),
        show_amount(checks.bond),
    )
}

/// The most that may be paid in all, after the user agreed to the price.
async fn agreed(
    args: &Args,
    client: &Client,
    chain: &Chain,
    view: &ListingView,
    context: &Context,
) -> Result<Amount, Error> {
    let extra = client.price_of_order().await?;
    let all_in = view.price.checked_add(extra.total()).unwrap_or(Amount(u128::MAX));
    let more = match extra.total() {
        Amount::ZERO => String::new(),
        _ => format!(
            " in all: {} is the price, {} a fee, and {} a deposit, which comes back after the access",
            show_amount(view.price),
            show_amount(extra.fee),
            show_amount(extra.deposit)
        ),
    };
    // The ledger makes listings tell of own custodians: without a word there are none.
    let own = match view.own_custodians {
        false => String::new(),
        true => {
            let custody = client.custody_of(&view.id).await?;
            let can_block = custody.seller_can_block();
            let words = vault::own_words(custody.custodians, custody.own, can_block);
            context.out.warn(&format!("{words}: see symbolon market show"));
            format!(" ({words})")
        }
    };
    let question = format!(
        "Buy {:?} ({}){own} for {}{more}?",
        view.title,
        show_size(view.length),
        show_amount(all_in)
    );
    context.consent(chain, &question, Consent::from(args.yes, args.max_price))?;
    Ok(args.max_price.unwrap_or(all_in))
}

/// The buyer's client, and the listing. If the listing is named in full, the client asks at once for all that it checks
/// before it pays.
async fn client_and_listing(text: &str, context: &Context) -> Result<(Client, ListingId), Error> {
    let named = text.parse::<ListingId>().ok();
    let ahead = async |client: &Client| {
        if let Some(id) = &named {
            client.ahead_of_buy(id).await;
        }
    };
    let client = context.client_synced_ahead(ahead).await?;
    let id = market::find(&client, text).await?;
    if named.is_none() {
        client.ahead_of_buy(&id).await;
    }
    Ok((client, id))
}

/// The error for a purchase that was paid for but not fetched: it carries the purchase.
fn partly(mut error: Error, bought: &BuyReport) -> Error {
    let message = format!("bought (order {}), but not fetched: {}", bought.order, error.message);
    // A complaint was made: its outcome is what counts.
    if error.details.is_some() {
        error.message = message;
        return error;
    }
    let hint = match error.kind {
        Kind::Corrupt => {
            format!("get the money back with: symbolon order dispute {}", bought.order)
        }
        _ => String::from("the same command again fetches it and pays nothing twice"),
    };
    // A user who stopped it knows that it is not done, so an interruption keeps its own exit code.
    let kind = if error.kind == Kind::Interrupted { error.kind } else { Kind::Partial };
    Error::new(kind, message).hint(hint).details(Purchase::from(bought))
}

fn report(title: &str, bought: &BuyReport, fetched: Option<FileFetched>) -> Report {
    let document = Bought::new(bought, fetched);
    let paid = show_amount(bought.paid);
    let did = match bought.outcome {
        BuyOutcome::Bought => format!("Bought {title:?} for {paid}, now in escrow."),
        BuyOutcome::Resumed => format!("Bought {title:?} for {paid}, now in escrow, paid once."),
        BuyOutcome::Already => {
            format!("{title:?} was bought before, for {paid}; nothing was paid now.")
        }
    };
    let order = bought.order.to_string();
    Report::new(&document).text(did).field("order", order).essence(document.grant)
}
