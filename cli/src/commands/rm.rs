//! `symbolon rm`: stop paying for a file and have it deleted.

use serde_json::{Value, json};
use symbolon_client::Deletion;
use symbolon_protocol::{deletion::DeletionReceipt, id::hex};

use crate::{
    context::{Consent, Context},
    error::Error,
    names,
    output::Report,
    units::{count, show_amount},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  symbolon rm report.pdf
  symbolon rm report.pdf --yes

What was paid for later epochs comes back. Every node is asked to delete its shards now and signs that it
has; one that is away deletes them when it is back. Grants to the file are dead.")]
pub(crate) struct Args {
    /// The file's name
    name: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn run(args: &Args, context: &Context) -> Result<Report, Error> {
    let client = context.client_synced().await?;
    let name = &args.name;
    let question = format!("Delete {name} from every node, for good?");
    context.consent_to_loss(&question, Consent::from(args.yes, None))?;
    let removed = client.remove(name).await;
    names::publish_and_close(client, 0, &context.out).await;
    let removed = removed?;
    let json = json!({
        "name": name,
        "deals": removed.deals,
        "refunded": removed.refunded.to_string(),
        "deletion": deletion_json(&removed.deletion),
    });
    let deals = count(removed.deals, "deal");
    Ok(Report::new(json).text(format!(
        "{name} is gone: {deals} ended, {} came back. {}",
        show_amount(removed.refunded),
        deletion_words(&removed.deletion),
    )))
}

fn deletion_json(deletion: &Deletion) -> Value {
    let receipt = |receipt: &DeletionReceipt| {
        json!({
            "deal": receipt.deal.to_string(),
            "index": receipt.index,
            "node": receipt.node.to_string(),
            "root": receipt.root.to_string(),
            "time_ms": receipt.time_ms,
            "signature": hex(&receipt.signature),
        })
    };
    let nodes: Vec<_> = deletion.unconfirmed.iter().map(ToString::to_string).collect();
    json!({
        "shards": deletion.shards,
        "nodes": deletion.confirmed().len() + deletion.unconfirmed.len(),
        "nodes_confirmed": deletion.confirmed().len(),
        "unconfirmed": nodes,
        "receipts": deletion.receipts.iter().map(receipt).collect::<Vec<_>>(),
    })
}

fn deletion_words(deletion: &Deletion) -> String {
    let (confirmed, away) = (deletion.confirmed().len(), deletion.unconfirmed.len());
    let nodes = count(confirmed + away, "node");
    match away {
        0 => format!("{confirmed} of {nodes} signed that their shards are deleted."),
        _ => format!(
            "{confirmed} of {nodes} signed that their shards are deleted; the rest will when they are back."
        ),
    }
}
