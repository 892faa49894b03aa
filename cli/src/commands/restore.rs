//! `symbolon restore`: bring an identity back from its recovery phrase.

use crate::{
    commands::init::{made, protection},
    context::Context,
    error::Error,
    keys,
    output::Report,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon restore
  symbolon restore --as work < phrase.txt
  symbolon restore --from phrase.txt --no-passphrase

The phrase brings back the account and all keys. The list of file names is kept on the machine
where files were stored; it is not on the network.")]
pub(crate) struct Args {
    /// Read the phrase from this file; - for stdin
    #[arg(long, value_name = "FILE")]
    from: Option<String>,
    /// Protect the key by file permissions alone
    #[arg(long)]
    no_passphrase: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let name = context.name()?;
    let ticket = context.named_ticket()?;
    let phrase = keys::read_phrase(args.from.as_deref(), &context.out)?;
    let protection = protection(args.no_passphrase);
    let identity =
        keys::create(&context.home, &name, &phrase, protection, &context.out, &context.host)?;
    if let Some(ticket) = &ticket {
        context.home.set_ticket(ticket)?;
    }
    Ok(made(&name, &identity, None)
        .text(format!("Identity {name} is back: account {}.", identity.account())))
}
