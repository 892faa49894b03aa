//! `symbolon init`: make an identity, and say which network it is for.

use symbolon_protocol::identity::Phrase;
use symbolon_view::identity::Made;

use crate::{
    context::Context,
    error::Error,
    keys::{self, Protection},
    output::Report,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon init
  symbolon init --as bob --no-passphrase
  symbolon init --ledger ledger1qq...     for the network with this ticket

The recovery phrase is shown once. Write it down and keep it secret. `symbolon restore` brings
everything back from it. If you lose it and this machine, your files are lost. A person who has
it has everything.
For use without a terminal, SYMBOLON_PASSPHRASE_FILE names a file with the passphrase.")]
pub(crate) struct Args {
    /// Do not encrypt the key: only file permissions protect it
    #[arg(long)]
    no_passphrase: bool,
}

pub(crate) fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let name = context.name()?;
    let ticket = context.named_ticket()?;
    let phrase = Phrase::from_entropy(&context.host.random());
    let protection = protection(args.no_passphrase);
    let identity =
        keys::create(&context.home, &name, &phrase, protection, &context.out, &context.host)?;
    if let Some(ticket) = &ticket {
        context.home.set_ticket(ticket)?;
    }
    let words = phrase.words();
    let document = Made::new(&name, &identity, &words);
    let report = Report::new(&document)
        .essence(document.recipient.clone())
        .text(format!("Made identity {name}."))
        .heading("Your recovery phrase. Write it down; it is not shown again:")
        .text(lines(&words))
        .text("What others need to share files with you:")
        .text(document.recipient);
    Ok(if context.home.ticket()?.is_some() {
        report
    } else {
        report.text("Next: symbolon up, for a network of your own on this machine.")
    })
}

/// From `--no-passphrase`.
pub(crate) fn protection(none: bool) -> Protection {
    if none { Protection::FilePermissions } else { Protection::Passphrase }
}

/// 24 words in four lines of six.
fn lines(words: &str) -> String {
    let words: Vec<_> = words.split(' ').collect();
    let lines = words.chunks(6).map(|six| format!("  {}", six.join(" ")));
    lines.collect::<Vec<_>>().join("\n")
}
