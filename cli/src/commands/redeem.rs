//! `symbolon redeem`: get what a voucher is for, with an identity that it makes if there is none.

use std::path::PathBuf;

use symbolon_protocol::identity::{Identity, Phrase};
use symbolon_view::grant::Redeemed;

use crate::{
    commands::init::protection,
    context::Context,
    error::{Error, Kind},
    grants, keys,
    names::{self, Pay},
    output::Report,
    units::show_time,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon redeem                           asks for the voucher, and does not show it
  symbolon redeem @voucher.txt -o report.grant
  symbolon redeem - --ledger ledger1qq... < voucher.txt

A voucher is the text symbolon://redeem/... that somebody gave you. It works once: the first who redeems it
may read what it is for. The grant that you get for it is bound to your key: symbolon get @report.grant. You need no money
for this.

If this home has no identity yet, the command makes one. Everything that you have follows from its
recovery phrase: write it down, `symbolon id --phrase` shows it.")]
pub(crate) struct Args {
    /// @FILE, or - for stdin. Not the voucher itself: other users of this machine can see what stands here
    voucher: Option<String>,
    /// Write the grant to this file instead of printing it
    #[arg(long, short, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Do not encrypt the key of a new identity: only file permissions protect it
    #[arg(long)]
    no_passphrase: bool,
}

pub(crate) async fn run(args: Args, context: &Context) -> Result<Report, Error> {
    let voucher = grants::read_voucher(args.voucher.as_deref(), &context.out)?;
    if let Some(path) = &args.output {
        grants::check_target(path)?;
    }
    let ticket = context.ticket()?;
    if ticket.chain != voucher.token().chain {
        return Err(Error::new(Kind::NotAllowed, "the voucher is for another network")
            .hint("ask for the ticket of its network, and give it with --ledger TICKET"));
    }
    let (identity, made) = identity(&args, context)?;
    let client = context.client_reaching(identity).await?;
    let redeemed = client.redeem(&voucher).await;
    names::publish_and_close(client, Pay::Ask, &context.out).await;
    let token = redeemed?;
    let (name, text) = (context.name()?, token.to_text());
    let path = args.output.as_ref().map(|path| path.display().to_string());
    let document = Redeemed::new((&name, made), &token, (grants::last_link(&token), path));
    let report = Report::new(&document);
    let Some(path) = &args.output else {
        // Only the grant, as `share` prints it.
        return Ok(report.text(text.clone()).essence(text));
    };
    grants::write(path, &text)?;
    let (shown, until) = (path.display(), show_time(voucher.until_ms()));
    Ok(report
        .text(format!("Wrote the grant to {shown}. It is yours until {until}."))
        .text(format!("Fetch what it is for with: symbolon get @{shown}")))
}

/// The identity of the home, or a new one.
fn identity(args: &Args, context: &Context) -> Result<(Identity, bool), Error> {
    let name = context.name()?;
    if context.home.identity(&name)?.join("key").exists() {
        return Ok((context.identity()?, false));
    }
    // The next command finds the network without being told. This comes before the identity: a home that has one by a run
    // that was killed has its network too.
    if let Some(ticket) = context.named_ticket()? {
        context.home.set_ticket(&ticket)?;
    }
    let phrase = Phrase::from_entropy(&context.host.random());
    let protection = protection(args.no_passphrase);
    let identity =
        keys::create(&context.home, &name, &phrase, protection, &context.out, &context.host)?;
    context.out.note(&format!(
        "Made identity {name}. Everything that it has follows from its recovery phrase. Write it down: symbolon id --phrase"
    ));
    Ok((identity, true))
}
