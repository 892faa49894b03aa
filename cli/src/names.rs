//! The names index around a verb: what other devices changed comes first, what this one changed goes
//! last. Neither ever makes a verb fail: the index on this machine is enough to work with.

use std::time::Duration;

use symbolon_client::{Client, Progress, Step};

use crate::{context, error::Error, interrupt, output::Output};

/// How long a verb that needs no network waits for a ledger to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a command that was stopped takes to tell other devices.
const PATIENCE_STOPPED: Duration = Duration::from_secs(5);

/// Takes over what other devices changed.
pub(crate) async fn catch_up(client: &Client, out: &Output) {
    if let Err(error) = client.pull_names(&notes()).await {
        let why = Error::from(error).message;
        out.note(&format!("Names that other devices may have changed could not be fetched: {why}"));
    }
}

/// The same for a verb that works without a network, as far as the ledger answers at once.
pub(crate) async fn catch_up_soon(client: &Client, out: &Output) {
    if answers(client).await {
        catch_up(client, out).await;
    }
}

/// Publishes what this verb changed, to be kept for so many epochs at least, and ends the client's
/// connections.
pub(crate) async fn publish_and_close(client: Client, epochs: u64, out: &Output) {
    publish(&client, epochs, out).await;
    context::close(client).await;
}

/// Publishes what this verb changed.
pub(crate) async fn publish(client: &Client, epochs: u64, out: &Output) {
    if client.unpublished().is_ok_and(|rows| rows == 0) {
        return;
    }
    // Who stopped a command does not want to wait for long; what is not told now is told by the next one.
    let patience = if interrupt::was_told() { PATIENCE_STOPPED } else { Duration::MAX };
    let why = if answers(client).await {
        match tokio::time::timeout(patience, client.publish_names(epochs, &notes())).await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => Error::from(error).message,
            Err(_) => "the network takes too long".into(),
        }
    } else {
        "the ledger does not answer".into()
    };
    out.note(&format!(
        "Done. Your other devices cannot see it yet ({why}); the next command that changes something \
         will tell them."
    ));
}

async fn answers(client: &Client) -> bool {
    matches!(tokio::time::timeout(PATIENCE, client.ledger().head()).await, Ok(Ok(_)))
}

fn notes() -> Progress {
    Progress::new(|step| {
        if let Step::Note(text) = step {
            tracing::debug!(text, "names");
        }
    })
}
