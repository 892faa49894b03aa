//! `symbolon rm`: stop paying for a file and have it deleted.

use serde_json::json;

use crate::{
    context::{self, Consent, Context},
    error::Error,
    output::Report,
    units::{count, show_amount},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon rm report.pdf
  symbolon rm report.pdf --yes

What was paid for later epochs comes back. Nodes delete the shards; grants to the file are dead.")]
pub(crate) struct Args {
    /// The file's name
    name: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let client = context.client().await?;
    let name = &args.name;
    let question = format!("Delete {name} from every node, for good?");
    context.consent_to_loss(&question, Consent::from(args.yes, None))?;
    let removed = client.remove(name).await;
    context::close(client).await;
    let removed = removed?;
    let json = json!({
        "name": name,
        "deals": removed.deals,
        "refunded": removed.refunded.to_string(),
    });
    let deals = count(removed.deals, "deal");
    Ok(Report::new(json).text(format!(
        "{name} is gone: {deals} ended, {} came back.",
        show_amount(removed.refunded)
    )))
}
