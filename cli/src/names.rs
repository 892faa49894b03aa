//! Keeps the index of names the same on all devices. Before a verb, this device takes over what other devices changed;
//! after it, this device publishes its own changes. Neither makes a verb fail: the local index is enough to work with.
//!
//! Most of the time publishing costs nothing. Where it costs something, the cost is part of the price that the user
//! accepted, or the command asks. Without a terminal to ask at, the changes wait for the next command with a price.

use std::{pin::pin, time::Duration};

use symbolon_client::{Client, ClientError, Growth, LedgerClock, Name, Progress, PullReport, Step};
use symbolon_protocol::{Amount, LedgerTime, id::ChainId};

use crate::{
    context::{self, Context},
    error::Error,
    interrupt,
    output::Output,
    units::{show_amount, show_duration},
};

/// How long a verb that needs no network waits for a ledger to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a stopped command may take to publish its changes.
const PATIENCE_STOPPED: Duration = Duration::from_secs(5);

/// What publishing may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pay {
    /// At most this amount, which is part of the price that the user accepted.
    Said(Amount),
    /// The verb has no price: it asks the user, unless all money is play money.
    Ask,
}

/// Takes over what other devices changed.
pub(crate) async fn catch_up(client: &Client, out: &Output) {
    match client.pull_names(&notes()).await {
        Ok(report) => tell(report.as_ref(), out),
        Err(error) => {
            let why = Error::from(error).message;
            out.note(&format!(
                "Names that other devices may have changed could not be fetched: {why}"
            ));
        }
    }
}

/// Warns of changes by other devices that the user should know of.
fn tell(report: Option<&PullReport>, out: &Output) {
    let Some(report) = report else { return };
    if report.set_back {
        out.warn(
            "the ledger has an older or another list of names than this device has seen: the ledger was set \
             back, or it shows others something else. Nothing on this device is lost; it is published again",
        );
    }
    for name in &report.merged {
        out.warn(&format!(
            "{name} was changed on two devices at once; both contents are kept: symbolon versions"
        ));
    }
}

/// The same for a verb that works without a network, if the ledger answers at once. Its first answer also tells the
/// ledger's time.
pub(crate) async fn catch_up_soon(client: &Client, out: &Output) {
    let mut catching = pin!(catch_up(client, out));
    let heard = async {
        let heard = tokio::time::timeout(PATIENCE, client.recent_chain()).await;
        matches!(heard, Ok(Ok(_)))
    };
    let heard = tokio::select! {
        biased;
        heard = heard => heard,
        () = &mut catching => return,
    };
    if heard {
        catching.await;
    }
}

/// Publishes names that this verb gave to stored files, and ends the client's connections. Fails if another device
/// deleted the bytes at the same moment; `lost` are the names that were known to be lost before.
pub(crate) async fn publish_given(
    client: Client,
    name: &Name,
    lost: &[Name],
    out: &Output,
) -> Result<(), Error> {
    publish(&client, Pay::Ask, out).await;
    let gone = client.lost(name).await;
    context::close(client).await;
    match gone?.into_iter().find(|name| !lost.contains(name)) {
        None => Ok(()),
        Some(name) => Err(ClientError::Lost { name: name.to_string() }.into()),
    }
}

/// Publishes what this verb changed and ends the client's connections. Returns the cost.
pub(crate) async fn publish_and_close(client: Client, pay: Pay, out: &Output) -> Amount {
    let cost = publish(&client, pay, out).await;
    context::close(client).await;
    cost
}

/// Publishes what this verb changed. Returns the cost.
pub(crate) async fn publish(client: &Client, pay: Pay, out: &Output) -> Amount {
    if client.unpublished().await.is_ok_and(|rows| rows == 0) {
        return Amount::ZERO;
    }
    // A user who stopped the command does not want to wait long. The next command publishes the rest.
    let patience = if interrupt::was_told() { PATIENCE_STOPPED } else { Duration::MAX };
    let why = if answers(client).await {
        match tokio::time::timeout(patience, try_publish(client, pay, out)).await {
            Ok(Ok(cost)) => return cost,
            Ok(Err(error)) => error.message,
            Err(_) => "the network takes too long".into(),
        }
    } else {
        "the ledger does not answer".into()
    };
    out.note(&format!(
        "Done. Your other devices cannot see it yet ({why}); the next command that changes something \
         will tell them."
    ));
    Amount::ZERO
}

async fn try_publish(client: &Client, pay: Pay, out: &Output) -> Result<Amount, Error> {
    let most = match pay {
        Pay::Said(most) => most,
        Pay::Ask => asked(client, out).await?,
    };
    let report = client.publish_names(Some(most), &notes()).await?;
    tell(report.as_ref().and_then(|report| report.pulled.as_ref()), out);
    Ok(report.map_or(Amount::ZERO, |report| report.cost))
}

/// The most that a verb without a price may pay for publishing; asks the user if it costs anything.
async fn asked(client: &Client, out: &Output) -> Result<Amount, Error> {
    let most = client.quote_index(&Growth::default(), 0).await?;
    if most == Amount::ZERO || client.recent_chain().await?.params.faucet > Amount::ZERO {
        return Ok(most);
    }
    let cost = show_amount(most);
    let can_ask = out.can_ask() && !interrupt::was_told();
    if can_ask && out.ask(&format!("Storing the list of names costs {cost}. Pay?"))? {
        return Ok(most);
    }
    // The changes may still fit into the root record, which costs nothing.
    Ok(Amount::ZERO)
}

/// The current time by the ledger's clock, which decides about grants and terms. If the ledger does not answer at once,
/// the time of this machine.
pub(crate) async fn now_ms(client: &Client, context: &Context) -> LedgerTime {
    match tokio::time::timeout(PATIENCE, client.recent_clock()).await {
        Ok(Ok(clock)) => {
            tell_clock(&clock, &context.out);
            clock.now_ms
        }
        _ => machine_time(context),
    }
}

/// The time by this machine's clock, when no ledger was asked.
pub(crate) fn machine_time(context: &Context) -> LedgerTime {
    context.host.now_ms().within(LedgerTime::ZERO, LedgerTime::NEVER)
}

/// The clock of this home's ledger, if it answers at once. It needs no identity, so the command asks for no
/// passphrase.
pub(crate) async fn clock_of(context: &Context, chain: &ChainId) -> Option<LedgerClock> {
    context.ticket().ok().filter(|ticket| ticket.chain == *chain)?;
    let asked = async {
        let (ledger, endpoint) = context.ledger().await.ok()?;
        let row = context::chain(&ledger).await.ok();
        Some((row, endpoint))
    };
    let (row, endpoint) = tokio::time::timeout(PATIENCE, asked).await.ok()??;
    context::hang_up(endpoint).await;
    let clock = LedgerClock::read(&row?, context.host.now_ms());
    tell_clock(&clock, &context.out);
    Some(clock)
}

/// Warns of a clock that is wrong.
pub(crate) fn tell_clock(clock: &LedgerClock, out: &Output) {
    let Some(off_ms) = clock.off_ms else { return };
    let by = show_duration(off_ms.unsigned_abs());
    let side = if off_ms < 0 { "behind" } else { "ahead of" };
    out.warn(&format!(
        "this machine's clock is {by} {side} the ledger's; times go by the ledger's"
    ));
}

async fn answers(client: &Client) -> bool {
    matches!(tokio::time::timeout(PATIENCE, client.ledger().recent_height()).await, Ok(Ok(_)))
}

fn notes() -> Progress {
    Progress::new(|step| {
        if let Step::Note(text) = step {
            tracing::debug!(text, "names");
        }
    })
}
