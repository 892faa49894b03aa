//! The queue of submissions before the sequencer. It has two lanes: one for transactions with a deadline that others
//! could make their sender miss, and one for all others. Each lane is bounded in number and in bytes. A caller beyond
//! either limit waits outside the queue.
//!
//! ```text
//! submit ─▶ lane ─▶ admission: judge many at the same time ─▶ lane ─▶ sequencer
//! ```

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use symbolon_protocol::{
    id::AccountId,
    ledger::{
        Status,
        admission::{Signatures, is_urgent},
        transaction::{Action, Transaction},
    },
    limits::BLOCK_BYTES_MAX,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};

use crate::{
    error::LedgerError,
    executor::{Replica, Rows},
    figures::Counts,
    port::Outcome,
};

/// How a transaction came to this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Its sender gave it to this machine, and other validators do not know it yet.
    Submitted,
    /// Another validator has told of it.
    Told,
}

/// A transaction, and where to send its outcome.
pub(super) struct Submission {
    pub(super) transaction: Transaction,
    /// Bytes of the transaction.
    pub(super) bytes: usize,
    /// Its place among the urgent ones of its sender, if it is one.
    pub(super) urgent: Option<Turn>,
    /// Its signatures, as far as they were checked.
    pub(super) signatures: Signatures,
    /// Its place among those of its sender that were let through although the last block refuses them, if it is one.
    pub(super) hope: Option<Turn>,
    /// Who was given it.
    pub(super) way: Way,
    answer: oneshot::Sender<Result<Outcome, LedgerError>>,
    /// Its place among those of its sender, held until it is answered.
    pub(super) turn: Turn,
    /// The transaction's share of the lane's bytes, held until it is answered.
    room: OwnedSemaphorePermit,
}

impl Submission {
    /// Gives up its places, then answers: the next transaction of a caller that has its answer finds them free.
    pub(super) fn answer(self, outcome: Outcome) {
        let Self { answer, turn, urgent, hope, room, .. } = self;
        drop((turn, urgent, hope, room));
        // A caller that no longer waits can submit the same transaction again.
        drop(answer.send(Ok(outcome)));
    }
}

/// One lane: the way in for submissions, and its room.
#[derive(Clone)]
struct Lane {
    submissions: mpsc::Sender<Submission>,
    room: Arc<Semaphore>,
}

impl Lane {
    fn new() -> (Self, mpsc::Receiver<Submission>) {
        let (submissions, out) = mpsc::channel(SUBMISSIONS);
        (Self { submissions, room: Arc::new(Semaphore::new(BYTES)) }, out)
    }

    /// Puts a transaction into the lane. A sender waits for room. What another validator has told is left out if there is
    /// none: that validator keeps it.
    async fn enter(
        &self,
        transaction: Transaction,
        bytes: usize,
        (urgent, turn): (Option<Turn>, Turn),
        way: Way,
    ) -> Result<Answer, LedgerError> {
        let wanted = u32::try_from(bytes).expect("a transaction's limit has 18 bits");
        let room = self.room.clone();
        let room = match way {
            Way::Submitted => room.acquire_many_owned(wanted).await.ok(),
            Way::Told => room.try_acquire_many_owned(wanted).ok(),
        };
        let room = room.ok_or(LedgerError::Closed)?;
        let (answer, outcome) = oneshot::channel();
        let (signatures, hope) = (Signatures::UNCHECKED, None);
        let submission =
            Submission { transaction, bytes, urgent, signatures, hope, way, answer, turn, room };
        let sent = match way {
            Way::Submitted => self.submissions.send(submission).await.is_ok(),
            Way::Told => self.submissions.try_send(submission).is_ok(),
        };
        if sent { Ok(Answer(outcome)) } else { Err(LedgerError::Closed) }
    }
}

/// Where the outcome of a transaction in the queue will arrive. It does not keep the engine running.
pub(super) struct Answer(oneshot::Receiver<Result<Outcome, LedgerError>>);

impl Answer {
    /// Waits for the outcome.
    pub(super) async fn outcome(self) -> Result<Outcome, LedgerError> {
        self.0.await.map_err(|_| LedgerError::Closed)?
    }
}

/// The way in. Clones are the same queue.
#[derive(Clone)]
pub(super) struct Queue {
    inner: Arc<Inner>,
}

/// A queue that does not keep its engine running.
#[derive(Clone)]
pub(super) struct WeakQueue {
    inner: Weak<Inner>,
}

struct Inner {
    replica: Replica,
    counts: Arc<Counts>,
    urgent: Lane,
    ordinary: Lane,
    /// Bounds how many callers look at the same time whether their transaction is urgent.
    looks: Arc<Semaphore>,
    senders: Arc<Senders>,
    /// The senders of urgent transactions.
    urgent_senders: Arc<Senders>,
}

/// The ends of the lanes, from which the sequencer takes.
pub(super) struct Lanes {
    pub(super) urgent: mpsc::Receiver<Submission>,
    pub(super) ordinary: mpsc::Receiver<Submission>,
}

impl Lanes {
    /// The next submission, an urgent one if there is one. `None` once all submitters are gone.
    pub(super) async fn next(&mut self) -> Option<Submission> {
        tokio::select! {
            biased;
            Some(urgent) = self.urgent.recv() => Some(urgent),
            Some(ordinary) = self.ordinary.recv() => Some(ordinary),
            else => None,
        }
    }

    /// The next submission, if one is there already.
    pub(super) fn ready(&mut self) -> Option<Submission> {
        self.urgent.try_recv().or_else(|_| self.ordinary.try_recv()).ok()
    }
}

impl Queue {
    /// The queue, and the ends of its lanes.
    pub(super) fn new(replica: Replica, counts: Arc<Counts>) -> (Self, Lanes) {
        let (urgent, urgent_out) = Lane::new();
        let (ordinary, ordinary_out) = Lane::new();
        let looks = Arc::new(Semaphore::new(LOOKS));
        let (senders, urgent_senders) = (Arc::default(), Arc::default());
        let inner = Inner { replica, counts, urgent, ordinary, looks, senders, urgent_senders };
        (Self { inner: Arc::new(inner) }, Lanes { urgent: urgent_out, ordinary: ordinary_out })
    }

    /// Waits for room in a lane and then for the outcome. `bytes` is the size of the transaction, which must be within
    /// the limit.
    pub(super) async fn submit(
        &self,
        transaction: Transaction,
        bytes: usize,
    ) -> Result<Outcome, LedgerError> {
        let began = Instant::now();
        let answer = self.inner.enter(transaction, bytes, Way::Submitted).await?;
        let outcome = answer.outcome().await?;
        if outcome.status == Status::Applied {
            self.inner.counts.submitted.note(began.elapsed());
        }
        Ok(outcome)
    }

    /// The same queue for who must not keep the engine running.
    pub(super) fn downgrade(&self) -> WeakQueue {
        WeakQueue { inner: Arc::downgrade(&self.inner) }
    }
}

impl WeakQueue {
    /// Puts a transaction into the queue that another validator has told of.
    pub(super) async fn tell(
        &self,
        transaction: Transaction,
        bytes: usize,
    ) -> Result<Answer, LedgerError> {
        let inner = self.inner.upgrade().ok_or(LedgerError::Closed)?;
        inner.enter(transaction, bytes, Way::Told).await
    }
}

impl Inner {
    async fn enter(
        &self,
        transaction: Transaction,
        bytes: usize,
        way: Way,
    ) -> Result<Answer, LedgerError> {
        let turn = Turn::take(&self.senders, transaction.sender);
        let (is_urgent, transaction) = self.look(transaction).await?;
        // Only a transaction that its sender has signed counts here. So none that another party has made in the
        // sender's name takes a place of the sender's in the urgent lane.
        let urgent = is_urgent.then(|| Turn::take(&self.urgent_senders, transaction.sender));
        let urgent = urgent.filter(|turn| turn.number <= URGENT_OF_SENDER);
        let lane = if urgent.is_some() { &self.urgent } else { &self.ordinary };
        lane.enter(transaction, bytes, (urgent, turn), way).await
    }

    /// Whether a transaction is urgent, and signed by its sender.
    async fn look(&self, transaction: Transaction) -> Result<(bool, Transaction), LedgerError> {
        let may_be = matches!(
            transaction.action,
            Action::Prove { .. } | Action::PostRelease { .. } | Action::Acknowledge { .. }
        );
        if !may_be {
            return Ok((false, transaction));
        }
        let _look = self.looks.acquire().await.map_err(|_| LedgerError::Closed)?;
        let looking = move |rows: &Rows| {
            let is_urgent = is_urgent(rows, &transaction) && transaction.verify().is_ok();
            Ok((is_urgent, transaction))
        };
        Ok(self.replica.with_rows(looking).await?.0)
    }
}

/// How many transactions of each sender are in the queue, or of a kind of them.
#[derive(Default)]
pub(super) struct Senders(Mutex<BTreeMap<AccountId, u32>>);

/// A transaction's place among those of its sender.
pub(super) struct Turn {
    senders: Arc<Senders>,
    sender: AccountId,
    /// How many transactions of the sender there are with this one. Others may have made some of them.
    pub(super) number: u32,
}

impl Turn {
    pub(super) fn take(senders: &Arc<Senders>, sender: AccountId) -> Self {
        let mut counts = senders.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(sender).or_default();
        *count = count.saturating_add(1);
        let number = *count;
        drop(counts);
        Self { senders: senders.clone(), sender, number }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self.senders.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = counts.get_mut(&self.sender) else { return };
        *count -= 1;
        if *count == 0 {
            counts.remove(&self.sender);
        }
    }
}

/// Most submissions in a lane: enough for several blocks of small ones.
const SUBMISSIONS: usize = 4_096;
/// Most bytes of all submissions in a lane: sixteen full blocks.
const BYTES: usize = 16 * BLOCK_BYTES_MAX;
/// Callers that look at the same time whether their transaction is urgent.
const LOOKS: usize = 2;
/// Urgent transactions of one sender at the same time: a proof, and the next one.
const URGENT_OF_SENDER: u32 = 2;

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

    fn turn(senders: &Arc<Senders>) -> Turn {
        Turn::take(senders, AccountId([3; 32]))
    }

    async fn submit_one(
        lane: &Lane,
        bytes: usize,
        urgent: Option<Turn>,
        turn: Turn,
    ) -> Result<Outcome, LedgerError> {
        let turns = (urgent, turn);
        lane.enter(transaction(bytes), bytes, turns, Way::Submitted).await?.outcome().await
    }

    /// Submits `count` transactions at once. Returns how many of them enter the lane.
    async fn entered(count: usize, bytes: usize) -> usize {
        let (lane, mut out) = Lane::new();
        let senders = Arc::default();
        // Without the runtime's budget for one task, because this task polls all of them.
        let submit = |_| {
            let turn = turn(&senders);
            Box::pin(unconstrained(submit_one(&lane, bytes, None, turn)))
        };
        let mut waiting: Vec<_> = (0..count).map(submit).collect();
        poll_fn(|context| {
            for submission in &mut waiting {
                assert!(submission.as_mut().poll(context).is_pending(), "there is no answer yet");
            }
            Poll::Ready(())
        })
        .await;
        let in_lane = out.len();
        // An answered submission makes room for the next one.
        drop(out.recv().await);
        poll_fn(|context| {
            waiting.retain_mut(|submission| submission.as_mut().poll(context).is_pending());
            Poll::Ready(())
        })
        .await;
        assert_eq!(out.len(), in_lane.min(count - 1));
        in_lane
    }

    #[tokio::test]
    async fn a_lane_is_bounded_in_bytes_and_in_number() {
        let full = BYTES / TRANSACTION_BYTES_MAX;
        assert_eq!(entered(full + 10, TRANSACTION_BYTES_MAX).await, full);
        assert_eq!(entered(SUBMISSIONS + 10, 1_000).await, SUBMISSIONS);
    }

    #[tokio::test]
    async fn a_submission_fails_once_the_sequencer_is_gone() {
        let (lane, out) = Lane::new();
        drop(out);
        let outcome = submit_one(&lane, 1_000, None, turn(&Arc::default())).await;
        assert!(matches!(outcome, Err(LedgerError::Closed)), "{outcome:?}");
    }

    #[tokio::test]
    async fn urgent_submissions_come_first_however_many_others_wait() {
        let ((urgent, urgent_out), (ordinary, ordinary_out)) = (Lane::new(), Lane::new());
        let mut lanes = Lanes { urgent: urgent_out, ordinary: ordinary_out };
        let senders = Arc::default();
        let submit = |lane: &Lane, is_urgent: bool| {
            let (lane, urgent) = (lane.clone(), is_urgent.then(|| turn(&senders)));
            let turn = turn(&senders);
            tokio::spawn(async move { submit_one(&lane, 1_000, urgent, turn).await })
        };
        for _ in 0..SUBMISSIONS + 1 {
            drop(submit(&ordinary, false));
        }
        while lanes.ordinary.len() < SUBMISSIONS {
            tokio::task::yield_now().await;
        }
        drop(submit(&urgent, true));
        while lanes.urgent.is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(lanes.next().await.unwrap().urgent.is_some());
        assert!(lanes.next().await.unwrap().urgent.is_none());
        drop((urgent, ordinary));
    }

    #[test]
    fn the_transactions_of_a_sender_are_counted_while_they_wait() {
        let senders = Arc::default();
        let (first, second) = (turn(&senders), turn(&senders));
        assert_eq!((first.number, second.number), (1, 2));
        assert_eq!(Turn::take(&senders, AccountId([4; 32])).number, 1, "another sender");
        drop(first);
        assert_eq!(turn(&senders).number, 2);
        drop(second);
        assert!(senders.0.lock().unwrap().is_empty(), "no row stays of a sender without any");
        assert_eq!(turn(&senders).number, 1);
    }
}
