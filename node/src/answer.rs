//! The node's part of a dispute. A buyer who got too few cells asks the nodes of a deal to put one on the ledger. Each
//! node that keeps a shard of the deal posts its own cell with the path to the root of its shard.
//!
//! A node that keeps silent loses a part of its collateral. So the questions are found again after a restart, and an
//! answer that is not on the ledger yet is sent again until the question is settled.

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    id::{DealId, Hash, OrderId},
    ledger::{
        Status,
        rows::{Asked, Deals, Listings, Order, Orders, OrdersDue},
        transaction::Action,
    },
    limits::CELL_BYTES,
};
use symbolon_store::{Shards, StoreError};
use thiserror::Error;
use tracing::{error, info, warn};

use crate::{
    follow::for_each,
    key::transaction_id,
    serve::found_damaged,
    shared::{Backoff, Shared, Stopped},
    submit::submit,
};

/// Why an answer is not given yet.
#[derive(Debug, Error)]
enum AnswerError {
    /// The ledger did not answer.
    #[error("the ledger could not be asked: {0}")]
    Ledger(#[from] LedgerError),
    /// The cell is missing or damaged.
    #[error("the cell cannot be read: {0}")]
    Cell(String),
    /// The outcome of the transaction is unknown.
    #[error("{0}")]
    Submit(String),
}

/// A question that this node has to answer.
struct Question {
    order: Order,
    asked: Asked,
    index: u8,
    stripe: u32,
}

/// Answers questions until the node stops.
pub(crate) async fn answer_questions(shared: &Shared) {
    let mut backoff = Backoff::new(200, 30_000);
    // Questions that were asked while this node was down.
    while let Err(error) = find_questions(shared).await {
        warn!(%error, "the open questions could not be read yet");
        if backoff.wait(shared).await == Err(Stopped) {
            return;
        }
    }
    let questions = &shared.questions;
    loop {
        for id in questions.take_new() {
            answer(shared, id).await;
        }
        while let Some(id) = questions.take_due(shared.now_ms()) {
            answer(shared, id).await;
        }
        tokio::select! {
            biased;
            () = shared.stopped() => return,
            () = questions.wait(shared) => {}
        }
    }
}

/// Schedules every question that is open on the ledger.
pub(crate) async fn find_questions(shared: &Shared) -> Result<(), LedgerError> {
    let mut due = Vec::new();
    for_each(&shared.ledger, OrdersDue, |(_, order), _| due.push(order)).await?;
    for page in due.chunks(PAGE) {
        let rows = shared.ledger.rows(Orders, page).await?;
        for (id, row) in page.iter().zip(rows) {
            if row.is_some_and(|row| row.asked.is_some()) {
                shared.questions.add(*id);
            }
        }
    }
    Ok(())
}

/// Rows that are asked for at once.
const PAGE: usize = 256;

async fn answer(shared: &Shared, id: OrderId) {
    match try_answer(shared, id).await {
        Ok(Some(status)) => {
            info!(order = %id, %status, "a buyer's question for a cell is answered");
            shared.questions.done(&id);
        }
        Ok(None) => shared.questions.done(&id),
        Err(error @ AnswerError::Cell(_)) => {
            error!(order = %id, %error, "a buyer's question for a cell cannot be answered: this costs collateral");
            shared.questions.again(shared.now_ms(), id);
        }
        Err(error) => {
            warn!(order = %id, %error, "a buyer's question for a cell is not answered yet");
            shared.questions.again(shared.now_ms(), id);
        }
    }
}

/// Posts this node's cell. Returns `None` when it need not post any.
async fn try_answer(shared: &Shared, id: OrderId) -> Result<Option<Status>, AnswerError> {
    let Some(question) = question(shared, id).await? else { return Ok(None) };
    let Question { order, asked, index, stripe } = question;
    let (kept, path) = read_cell(shared, asked.deal, index, stripe).await?;
    // The same order may ask for several cells, one after the other, and its id may stand for a later order.
    let (ordered_ms, cell) = (order.ordered_ms.0.to_le_bytes(), asked.cell.to_le_bytes());
    let about: [&[u8]; 4] = [&id.0, &ordered_ms, &cell, &[order.given]];
    let transaction = transaction_id("symbolon 2026 answer transaction v1", &about);
    let action = Action::AnswerCell { order: id, kept, path };
    // One attempt only: the schedule tries again, so that no question delays another.
    let outcome = submit(shared, transaction, action, 0, Backoff::new(1, 1)).await;
    outcome.map(Some).map_err(|error| AnswerError::Submit(error.to_string()))
}

/// What is asked of this node, if anything is.
async fn question(shared: &Shared, id: OrderId) -> Result<Option<Question>, LedgerError> {
    let Some(order) = shared.ledger.row(Orders, &id).await? else { return Ok(None) };
    let Some(asked) = order.asked.clone() else { return Ok(None) };
    let (deal, listing) =
        shared.ledger.pair((Deals, &asked.deal), (Listings, &order.listing)).await?;
    let (Some(deal), Some(listing)) = (deal, listing) else { return Ok(None) };
    let Some((index, _)) = deal.kept_by(&shared.key.id()) else { return Ok(None) };
    if asked.answered.contains(&index) {
        return Ok(None);
    }
    let place = listing.terms.manifest.layout().ok().and_then(|layout| layout.cell(asked.cell));
    let Some(place) = place else {
        return Err(LedgerError::Forged { what: "a question is for a cell that the file has" });
    };
    Ok(Some(Question { order, asked, index, stripe: place.stripe }))
}

/// This node's cell of a stripe, and its path to the root of the shard.
async fn read_cell(
    shared: &Shared,
    deal: DealId,
    index: u8,
    stripe: u32,
) -> Result<(Vec<u8>, Vec<Hash>), AnswerError> {
    let read = move |store: &Shards| {
        let file = store.open_whole(&deal, index)?;
        file.unit(CELL_BYTES as u64, u64::from(stripe))
    };
    match shared.with_store(read).await {
        Ok(found) => Ok(found),
        Err(error @ StoreError::Damaged { .. }) => {
            let why = error.to_string();
            found_damaged(shared, (deal, index), error).await;
            Err(AnswerError::Cell(why))
        }
        Err(error) => Err(AnswerError::Cell(error.to_string())),
    }
}
