//! Caretakers for what was stored: named after `put`, and by `keep` for what has none.

use symbolon_client::{Client, Progress, Stored};
use symbolon_protocol::Amount;

use crate::{
    context::Context,
    units::{count, show_amount},
};

/// Names caretakers for objects. What is stored is stored without them too, so a failure is only told.
pub(super) async fn name_caretakers(
    client: &Client,
    which: Stored,
    cost_max: Option<Amount>,
    context: &Context,
) -> Amount {
    let cared = Box::pin(client.care(which, cost_max, &Progress::silent())).await;
    match cared {
        Ok(report) => {
            if 0 < report.new {
                let mut words =
                    format!("Nodes repair {} while you are away", count(report.new, "segment"));
                if Amount::ZERO < report.cost {
                    words.push_str(&format!("; deposits and fees: {}", show_amount(report.cost)));
                }
                context.out.note(&(words + "."));
            }
            report.cost
        }
        Err(error) => {
            context.out.note(&format!(
                "No node repairs this while you are away ({error}); `symbolon keep` tries again."
            ));
            Amount::ZERO
        }
    }
}
