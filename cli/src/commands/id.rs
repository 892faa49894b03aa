//! `symbolon id`: who you are, and what others need to share with you.

use serde_json::json;

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
        let json = json!({ "name": name, "phrase": *words });
        return Ok(Report::new(json).text(words.to_string()).essence(words.to_string()));
    }
    let identity = context.identity()?;
    let recipient = identity.recipient();
    let text = recipient.to_text();
    let json = json!({
        "name": name,
        "account": recipient.account.to_string(),
        "access": recipient.access.to_string(),
        "recipient": text,
    });
    Ok(Report::new(json)
        .field("name", name)
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
        list.push(json!({ "name": name, "recipient": recipient }));
        table.row(vec![name.clone(), recipient]);
    }
    let report = Report::new(json!({ "identities": list })).essence(names.join("\n"));
    Ok(if names.is_empty() {
        report.text("No identities yet. Make one: symbolon init")
    } else {
        report.table(table)
    })
}
