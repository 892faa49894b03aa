//! What waits for the writer: so many submissions, and so many bytes of them. Whoever comes beyond either waits
//! with its transaction where it is.

use std::sync::Arc;

use symbolon_protocol::{ledger::transaction::Transaction, limits::BLOCK_BYTES_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{error::LedgerError, port::Outcome};

/// A transaction and who waits for what comes of it.
pub(super) struct Submission {
    pub(super) transaction: Transaction,
    /// Of the transaction.
    pub(super) bytes: usize,
    pub(super) answer: oneshot::Sender<Result<Outcome, LedgerError>>,
    /// Its bytes of the queue, until it is answered.
    _room: OwnedSemaphorePermit,
}

#[derive(Clone)]
pub(super) struct Queue {
    submissions: mpsc::Sender<Submission>,
    room: Arc<Semaphore>,
}

impl Queue {
    /// The way in, and what the writer takes from.
    pub(super) fn new() -> (Self, mpsc::Receiver<Submission>) {
        let (submissions, queue) = mpsc::channel(SUBMISSIONS);
        (Self { submissions, room: Arc::new(Semaphore::new(BYTES)) }, queue)
    }

    /// Waits for room, and then for what comes of a transaction of so many bytes as one may have.
    pub(super) async fn submit(
        &self,
        transaction: Transaction,
        bytes: usize,
    ) -> Result<Outcome, LedgerError> {
        let wanted = u32::try_from(bytes).expect("a transaction's limit has 18 bits");
        let closed = |_| LedgerError::Closed;
        let room = self.room.clone().acquire_many_owned(wanted).await.map_err(closed)?;
        let (answer, outcome) = oneshot::channel();
        let submission = Submission { transaction, bytes, answer, _room: room };
        self.submissions.send(submission).await.map_err(|_| LedgerError::Closed)?;
        outcome.await.map_err(|_| LedgerError::Closed)?
    }
}

/// Submissions that wait: some blocks of small ones.
const SUBMISSIONS: usize = 4_096;
/// Bytes of those that wait: sixteen full blocks.
const BYTES: usize = 16 * BLOCK_BYTES_MAX;

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use ed25519_dalek::SigningKey;
    use symbolon_protocol::{
        id::{ChainId, TransactionId},
        ledger::transaction::Action,
        limits::TRANSACTION_BYTES_MAX,
    };
    use tokio::task::unconstrained;

    use super::{super::size, *};

    fn transaction(bytes: usize) -> Transaction {
        let (chain, id) = (ChainId([1; 32]), TransactionId([2; 16]));
        let sign = |blob: usize| {
            let action = Action::SetRoot { expected_version: 0, blob: vec![0; blob] };
            Transaction::build(chain, &SigningKey::from_bytes(&[3; 32]), id, 9, action)
        };
        let empty = size(&sign(0));
        sign(bytes - empty)
    }

    /// How many of so many submissions, all at once, come into the queue.
    async fn taken(count: usize, bytes: usize) -> usize {
        let (way_in, mut queue) = Queue::new();
        let transaction = transaction(bytes);
        // Without the runtime's budget for one task: all of them are polled by this one.
        let submit = |_| Box::pin(unconstrained(way_in.submit(transaction.clone(), bytes)));
        let mut waiting: Vec<_> = (0..count).map(submit).collect();
        poll_fn(|context| {
            for submission in &mut waiting {
                assert!(submission.as_mut().poll(context).is_pending(), "nobody answers");
            }
            Poll::Ready(())
        })
        .await;
        let in_queue = queue.len();
        // One that is answered makes room for the next.
        drop(queue.recv().await);
        poll_fn(|context| {
            waiting.retain_mut(|submission| submission.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(queue.len(), in_queue.min(count - 1));
        in_queue
    }

    #[tokio::test]
    async fn the_queue_is_bounded_in_bytes_and_in_number() {
        let full = BYTES / TRANSACTION_BYTES_MAX;
        assert_eq!(taken(full + 10, TRANSACTION_BYTES_MAX).await, full);
        assert_eq!(taken(SUBMISSIONS + 10, 1_000).await, SUBMISSIONS);
    }

    #[tokio::test]
    async fn who_waits_hears_that_the_writer_is_gone() {
        let (way_in, queue) = Queue::new();
        drop(queue);
        let outcome = way_in.submit(transaction(1_000), 1_000).await;
        assert!(matches!(outcome, Err(LedgerError::Closed)), "{outcome:?}");
    }
}
