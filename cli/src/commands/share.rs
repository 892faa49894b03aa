//! `symbolon share`: let another person read a file.

use std::{ffi::OsString, path::PathBuf};

use symbolon_client::{Client, shown};
use symbolon_protocol::Amount;
use symbolon_view::grant::Attenuated;

use super::folder::{bytes, name};
use crate::{
    context::{Consent, Context},
    error::Error,
    grants::{self, Limits},
    names::{self, Pay},
    output::Report,
    progress,
    units::{self, show_amount},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon share report.pdf --to recipient1qq... --until 7d
  symbolon share report.pdf --to @bob.txt --output report.grant
  symbolon share big.csv --to bob --cells 0..16 --reads 100

The recipient's text is what `symbolon id` prints on their machine. A grant is useless to anyone
but the recipient, so it may travel by mail or chat: get @report.grant

A small file that shares an object with others is stored once more by itself first, so that the
grant is for it alone.")]
pub(crate) struct Args {
    /// The name of the file
    name: OsString,
    /// The reader: recipient1..., @FILE, - for stdin, or an identity in this home
    #[arg(long, value_name = "RECIPIENT")]
    to: String,
    #[command(flatten)]
    limits: Limits,
    /// Write the grant to this file instead of printing it
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Do not pay more than this in total when a small file must be stored again by itself
    #[arg(long, value_name = "CREDITS", value_parser = units::amount)]
    max_cost: Option<Amount>,
    /// Do not ask before paying for that
    #[arg(long, short)]
    yes: bool,
}

/// The most that storing the file by itself may cost, after the user agreed to it.
async fn price(args: &Args, client: &Client, context: &Context) -> Result<Option<Amount>, Error> {
    let Some(price) = client.price_of_its_own(&name(&args.name)?).await? else {
        return Ok(args.max_cost);
    };
    let chain = client.recent_chain().await?;
    let name = shown(bytes(&args.name));
    let price_shown = show_amount(price);
    let question =
        format!("Store {name} by itself, so that it can be shared, at {price_shown} all-in?");
    context.consent(&chain, &question, Consent::from(args.yes, args.max_cost))?;
    Ok(args.max_cost.or(Some(price)))
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<Report, Error> {
    let recipient = grants::recipient(&args.to, &context.home)?;
    if let Some(path) = &args.output {
        grants::check_target(path)?;
    }
    let client = context.client_local().await?;
    let caveats = args.limits.caveats(names::now_ms(&client, context).await)?;
    let limit = price(&args, &client, context).await?;
    let bar = progress::bar(&context.out, "sharing");
    let progress = bar.progress();
    let name = name(&args.name)?;
    let token = client.share(&name, &recipient, caveats, limit, &progress).await;
    bar.finish();
    names::publish_and_close(client, Pay::Ask, &context.out).await;
    let token = token?;
    let text = token.to_text();
    let path = args.output.as_ref().map(|path| path.display().to_string());
    let given = Attenuated::new(&token, &recipient, grants::last_link(&token), path);
    let report = Report::new(&given.of(name.to_string()));
    let Some(path) = &args.output else {
        // Only the grant, so that `share .. > file` and `share .. | mail` work.
        return Ok(report.text(text.clone()).essence(text));
    };
    grants::write(path, &text)?;
    let shown = path.display();
    Ok(report
        .text(format!("Wrote the grant to {shown}."))
        .text(format!("Send it to its recipient; they fetch the file with: symbolon get @{shown}")))
}
