//! `symbolon restore`: bring an identity back from its recovery phrase.

use symbolon_client::IndexView;
use symbolon_protocol::{Amount, identity::Identity};
use symbolon_view::identity::Restored;

use crate::{
    commands::init::protection,
    context::{self, Context},
    error::Error,
    keys,
    output::Report,
    units::{count, show_amount},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon restore --ledger ledger1qq...
  symbolon restore --as work < phrase.txt
  symbolon restore --from phrase.txt --no-passphrase

The phrase brings back the account and all keys. The names of your files, your grants and purchases
are fetched from the network whose ticket is given, or is known in this home. Where it cannot be
reached now, the next command that reaches it fetches them.")]
pub(crate) struct Args {
    /// Read the recovery phrase from this file; - for stdin
    #[arg(long, value_name = "FILE")]
    from: Option<String>,
    /// Do not encrypt the key: only file permissions protect it
    #[arg(long)]
    no_passphrase: bool,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let name = context.name()?;
    let ticket = context.named_ticket()?;
    let phrase = keys::read_phrase(args.from.as_deref(), &context.out)?;
    let protection = protection(args.no_passphrase);
    let identity =
        keys::create(&context.home, &name, &phrase, protection, &context.out, &context.host)?;
    if let Some(ticket) = &ticket {
        context.home.set_ticket(ticket)?;
    }
    let back = format!("Identity {name} is back: account {}.", identity.account());
    let mut document = Restored::new(&name, &identity);
    let more = if context.ticket().is_err() {
        String::from(
            "Its files come back on the network they are stored on: symbolon ls --ledger TICKET",
        )
    } else {
        match fetch(context, identity).await {
            Ok((index, balance)) => {
                document.index = Some((&index).into());
                document.balance = Some(balance.into());
                format!(
                    "Back with it: {}, {}, {}, and {}.",
                    count(index.names, "name"),
                    count(index.grants, "grant"),
                    count(index.purchases, "purchase"),
                    show_amount(balance),
                )
            }
            Err(error) => {
                let why = context.explain(error).message;
                context.out.warn(&format!("the names of its files are not back yet: {why}"));
                String::from("The next command that reaches the network fetches them: symbolon ls")
            }
        }
    };
    Ok(Report::new(&document).essence(document.recipient).text(back).text(more))
}

/// Fetches the index and the balance.
async fn fetch(context: &Context, identity: Identity) -> Result<(IndexView, Amount), Error> {
    let client = context.client_reaching(identity).await?;
    let fetched = async {
        client.pull_names(&symbolon_client::Progress::silent()).await?;
        Ok::<_, Error>((client.index().await?, client.account().await?.balance))
    };
    let fetched = fetched.await;
    context::close(client).await;
    fetched
}
