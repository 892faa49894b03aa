//! `symbolon id`: who you are, and what others need to share with you.

use symbolon_view::{
    identity::{Identities, Identity, IdentityName, Words},
    plain::Secret,
};

use crate::{
    context::Context,
    error::Error,
    keys,
    output::{Align, Report, Table},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon id
  symbolon id --quiet > me.txt           the recipient text alone, to send to others
  symbolon id --all                      every identity in this home
  symbolon id --phrase                   the recovery phrase again")]
pub(crate) struct Args {
    /// List every identity in this home
    #[arg(long, conflicts_with = "phrase")]
    all: bool,
    /// Show the recovery phrase
    #[arg(long)]
    phrase: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    if args.all {
        return all(context);
    }
    let name = context.name()?;
    if args.phrase {
        let words = keys::phrase(&context.home, &name, &context.out)?.words();
        let document = Words { name, phrase: Secret::new(&words) };
        return Ok(Report::new(&document).text(words.to_string()).essence(words.to_string()));
    }
    let identity = context.identity()?;
    let recipient = identity.recipient();
    let text = recipient.to_text();
    let document = Identity {
        name,
        account: recipient.account.into(),
        access: recipient.access.into(),
        recipient: text.clone(),
    };
    Ok(Report::new(&document)
        .field("name", document.name)
        .field("account", recipient.account.to_string())
        .field("access key", recipient.access.to_string())
        .field("recipient", text.clone())
        .essence(text))
}

fn all(context: &Context) -> Result<Report, Error> {
    let names = context.home.identities()?;
    let mut table = Table::new(&[("NAME", Align::Left), ("RECIPIENT", Align::Left)]);
    let mut list = Vec::new();
    for name in &names {
        let path = context.home.identity(name)?.join("recipient");
        let recipient = crate::home::read_if_there(&path)?.unwrap_or_default();
        let recipient = String::from_utf8_lossy(&recipient).trim().to_owned();
        list.push(IdentityName { name: name.clone(), recipient: recipient.clone() });
        table.row(vec![name.clone(), recipient]);
    }
    let report = Report::new(&Identities { identities: list }).essence(names.join("\n"));
    Ok(if names.is_empty() {
        report.text("No identities yet. Make one: symbolon init")
    } else {
        report.table(table)
    })
}
