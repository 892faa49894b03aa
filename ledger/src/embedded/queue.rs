//! The queue of submissions before the sequencer. It is bounded in number and in bytes. A caller
//! beyond either limit waits outside the queue.

use std::sync::Arc;

use symbolon_protocol::{ledger::transaction::Transaction, limits::BLOCK_BYTES_MAX};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{error::LedgerError, port::Outcome};

/// A transaction, and where to send its outcome.
pub(super) struct Submission {
    pub(super) transaction: Transaction,
    /// Bytes of the transaction.
    pub(super) bytes: usize,
    pub(super) answer: oneshot::Sender<Result<Outcome, LedgerError>>,
    /// The transaction's share of the queue's bytes, held until it is answered.
    _room: OwnedSemaphorePermit,
}

#[derive(Clone)]
pub(super) struct Queue {
    submissions: mpsc::Sender<Submission>,
    room: Arc<Semaphore>,
}

impl Queue {
    /// The queue, and the end from which the sequencer takes.
    pub(super) fn new() -> (Self, mpsc::Receiver<Submission>) {
        let (submissions, queue) = mpsc::channel(SUBMISSIONS);
        (Self { submissions, room: Arc::new(Semaphore::new(BYTES)) }, queue)
    }

    /// Waits for room in the queue and then for the outcome. `bytes` is the size of the
    /// transaction, which must be within the limit.
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

/// Most submissions in the queue: enough for several blocks of small ones.
const SUBMISSIONS: usize = 4_096;
/// Most bytes of all submissions in the queue: sixteen full blocks.
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

    /// Submits `count` transactions at once. Returns how many of them enter the queue.
    async fn entered(count: usize, bytes: usize) -> usize {
        let (entrance, mut queue) = Queue::new();
        let transaction = transaction(bytes);
        // Without the runtime's budget for one task, because this task polls all of them.
        let submit = |_| Box::pin(unconstrained(entrance.submit(transaction.clone(), bytes)));
        let mut waiting: Vec<_> = (0..count).map(submit).collect();
        poll_fn(|context| {
            for submission in &mut waiting {
                assert!(submission.as_mut().poll(context).is_pending(), "there is no answer yet");
            }
            Poll::Ready(())
        })
        .await;
        let in_queue = queue.len();
        // An answered submission makes room for the next one.
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
        assert_eq!(entered(full + 10, TRANSACTION_BYTES_MAX).await, full);
        assert_eq!(entered(SUBMISSIONS + 10, 1_000).await, SUBMISSIONS);
    }

    #[tokio::test]
    async fn a_submission_fails_once_the_sequencer_is_gone() {
        let (entrance, queue) = Queue::new();
        drop(queue);
        let outcome = entrance.submit(transaction(1_000), 1_000).await;
        assert!(matches!(outcome, Err(LedgerError::Closed)), "{outcome:?}");
    }
}
