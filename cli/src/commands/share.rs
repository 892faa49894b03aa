//! `symbolon share`: let another person read a file or a folder.

use std::{ffi::OsString, path::PathBuf};

use symbolon_client::{Caveat, Client, FolderShared, GrantToken, Recipient, shown};
use symbolon_protocol::Amount;
use symbolon_view::grant::Attenuated;

use super::folder::{bytes, name};
use crate::{
    context::{self, Consent, Context},
    error::Error,
    grants::{self, Limits},
    names::{self, Pay},
    output::Report,
    progress,
    units::{self, count, show_amount},
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
grant is for it alone.

A folder is shared as it is now: symbolon share photos --to bob. The list of its files is stored as
a file of yours below .shared, and small files that share objects with files elsewhere are stored once
more, apart from those. What you put into the folder later is not in the grant; share it again then.
One grant revoke ends the access to all of it.")]
pub(crate) struct Args {
    /// The name of the file or folder
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
    if client.is_folder(&name(&args.name)?).await? {
        return share_folder(&args, (client, recipient, caveats), context).await;
    }
    let limit = price(&args, &client, context).await?;
    let bar = progress::bar(&context.out, "sharing");
    let progress = bar.progress();
    let name = name(&args.name)?;
    let token = client.share(&name, &recipient, caveats, limit, &progress).await;
    bar.finish();
    names::publish_and_close(client, Pay::Ask, &context.out).await;
    let token = token?;
    told(&args, &token, &recipient, name.to_string(), None)
}

/// Shares a folder and everything in it.
async fn share_folder(
    args: &Args,
    (client, recipient, caveats): (Client, Recipient, Vec<Caveat>),
    context: &Context,
) -> Result<Report, Error> {
    if args.limits.names_cells() {
        context::close(client).await;
        return Err(grants::no_cells_of_a_folder());
    }
    let folder = name(&args.name)?;
    let limit = match client.price_of_folder_share(&folder).await? {
        None => args.max_cost,
        Some(price) => {
            let chain = client.recent_chain().await?;
            let question = format!(
                "Store the list of {} for its readers, and its files apart from others, at {} all-in?",
                shown(bytes(&args.name)),
                show_amount(price)
            );
            context.consent(&chain, &question, Consent::from(args.yes, args.max_cost))?;
            args.max_cost.or(Some(price))
        }
    };
    let bar = progress::bar(&context.out, "sharing");
    let progress = bar.progress();
    let done = client.share_folder(&folder, &recipient, caveats, limit, &progress).await;
    bar.finish();
    names::publish_and_close(client, Pay::Ask, &context.out).await;
    let done = done?;
    if !done.left_out.is_empty() {
        let first = done.left_out.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let paths = count(done.left_out.len(), "path");
        context.out.note(&format!("{paths} not shared, as links or lost files: {first}"));
    }
    let FolderShared { token, files, .. } = done;
    told(args, &token, &recipient, folder.to_string(), Some(files))
}

/// Gives the grant to the user.
fn told(
    args: &Args,
    token: &GrantToken,
    recipient: &Recipient,
    name: String,
    files: Option<u64>,
) -> Result<Report, Error> {
    let text = token.to_text();
    let path = args.output.as_ref().map(|path| path.display().to_string());
    let given = Attenuated::new(token, recipient, grants::last_link(token), path);
    let report = Report::new(&given.of(name, files));
    let Some(path) = &args.output else {
        // Only the grant, so that `share .. > file` and `share .. | mail` work.
        return Ok(report.text(text.clone()).essence(text));
    };
    grants::write(path, &text)?;
    let shown = path.display();
    Ok(report
        .text(match files {
            None => format!("Wrote the grant to {shown}."),
            Some(files) => {
                format!(
                    "Wrote the grant to {shown}. It is for {} as they are now.",
                    count(files, "file")
                )
            }
        })
        .text(format!("Send it to its recipient; they fetch it with: symbolon get @{shown}")))
}
