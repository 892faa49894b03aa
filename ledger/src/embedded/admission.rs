//! Admission: judges submissions before they reach the sequencer, many at the same time.
//!
//! The sequencer is one thread, and each block waits for it. So bytes that no block will have must not reach it. A task
//! for each lane takes what has come, splits it over the processors, and judges each part on the rows of the last block:
//! first its age and id, then the sender's signature, then all rules. What they refuse is answered at once. What they
//! accept goes on with the knowledge that its signatures verify. The order of submissions within a lane stays.
//!
//! A transaction may need an earlier one of its sender that has no place in a block yet. So one that the last block
//! refuses goes on if another one of its sender waits: only with its sender's signature, and a few of each sender. What
//! others submit in a sender's name takes none of these places.

use std::{
    collections::BTreeSet,
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    thread::available_parallelism,
};

use symbolon_net::Host;
use symbolon_protocol::{
    LedgerTime, MachineTime,
    codec::Encode,
    id::Hash,
    ledger::{
        Status,
        admission::{Signatures, judge},
        execute::Pushed,
        rows::Chains,
        state::StateExt,
        transaction::Transaction,
    },
};
use tokio::sync::mpsc;

use super::queue::{Lanes, Senders, Submission, Turn};
use crate::{
    error::LedgerError,
    executor::{Replica, Rows, guarded},
    port::Outcome,
};

/// One lane's way from the callers to the sequencer.
pub(super) struct Admission {
    host: Host,
    replica: Replica,
    refused: Arc<Refused>,
    hopes: Arc<Senders>,
    entrance: mpsc::Receiver<Submission>,
    exit: mpsc::Sender<Submission>,
}

impl Admission {
    /// Starts the tasks of both lanes. Returns the lanes behind them. The tasks end with the callers' side.
    pub(super) fn start(host: &Host, replica: &Replica, lanes: Lanes) -> Lanes {
        let (refused, hopes) = (Arc::<Refused>::default(), Arc::<Senders>::default());
        let start = |entrance| {
            let (exit, admitted) = mpsc::channel(ADMITTED);
            let (host, replica) = (host.clone(), replica.clone());
            let (refused, hopes) = (refused.clone(), hopes.clone());
            tokio::spawn(Self { host, replica, refused, hopes, entrance, exit }.run());
            admitted
        };
        Lanes { urgent: start(lanes.urgent), ordinary: start(lanes.ordinary) }
    }

    async fn run(mut self) {
        let mut batch = Vec::new();
        while self.entrance.recv_many(&mut batch, BATCH).await != 0 {
            for admitted in self.judge_all(std::mem::take(&mut batch)).await {
                if self.exit.send(admitted).await.is_err() {
                    return;
                }
            }
        }
    }

    /// Answers those that are refused. Returns the others in their order.
    async fn judge_all(&self, batch: Vec<Submission>) -> Vec<Submission> {
        let parts = available_parallelism().map_or(1, NonZero::get);
        let size = batch.len().div_ceil(parts);
        let mut rest = batch.into_iter();
        let mut judging = Vec::new();
        loop {
            let part: Vec<_> = rest.by_ref().take(size).collect();
            if part.is_empty() {
                break;
            }
            let (refused, hopes) = (self.refused.clone(), self.hopes.clone());
            let now_ms = self.host.now_ms();
            let work = move |rows: &Rows| judge_part(rows, now_ms, (&refused, &hopes), part);
            let replica = self.replica.clone();
            judging.push(tokio::spawn(async move { replica.with_rows(work).await }));
        }
        let mut admitted = Vec::new();
        for part in judging {
            match part.await {
                Ok(Ok((part, _))) => admitted.extend(part),
                // The callers see that the ledger has closed.
                Ok(Err(error)) => tracing::error!(%error, "submissions were not judged"),
                Err(error) => tracing::error!(%error, "submissions were not judged"),
            }
        }
        admitted
    }
}

fn judge_part(
    rows: &Rows,
    now_ms: MachineTime,
    (refused, hopes): (&Refused, &Arc<Senders>),
    part: Vec<Submission>,
) -> Result<Vec<Submission>, LedgerError> {
    let damaged = || LedgerError::Damaged("it has no chain row".into());
    let chain = rows.get(Chains, &()).ok_or_else(damaged)?;
    let now = now_ms.within(chain.time_ms, LedgerTime::NEVER);
    let mut admitted = Vec::new();
    for mut submission in part {
        let (judged, signatures) = refused.or_judge(rows, now, &submission.transaction);
        submission.signatures = signatures;
        let judged = judged.or_else(|status| {
            // One that came before it, and has no place in a block yet, may be what it needs.
            match !status.is_final() && 1 < submission.turn.number {
                true => may_hope(&mut submission, (refused, hopes), status),
                false => Err(status),
            }
        });
        match judged {
            Ok(Pushed::Applied) => admitted.push(submission),
            Ok(Pushed::Already { height }) => {
                submission.answer(Outcome { height, status: Status::Applied });
            }
            Err(status) => submission.answer(Outcome { height: chain.height, status }),
        }
    }
    Ok(admitted)
}

/// Gives a transaction that the last block refuses a place among those of its sender that wait for a later block.
fn may_hope(
    submission: &mut Submission,
    (refused, hopes): (&Refused, &Arc<Senders>),
    status: Status,
) -> Result<Pushed, Status> {
    let transaction = &submission.transaction;
    if !submission.signatures.check_sender(transaction) {
        refused.remember(name(transaction), Status::BadSignature);
        return Err(Status::BadSignature);
    }
    let hope = Turn::take(hopes, transaction.sender);
    if HOPES < hope.number {
        return Err(status);
    }
    submission.hope = Some(hope);
    Ok(Pushed::Applied)
}

/// What was refused for its own bytes not long ago. The same bytes cost a hash, no signature.
#[derive(Default)]
struct Refused(Mutex<[BTreeSet<(Hash, Status)>; 2]>);

impl Refused {
    fn or_judge(
        &self,
        rows: &Rows,
        now: LedgerTime,
        transaction: &Transaction,
    ) -> (Result<Pushed, Status>, Signatures) {
        let name = name(transaction);
        if let Some(status) = self.of(name) {
            return (Err(status), Signatures::UNCHECKED);
        }
        let judged = guarded(|| judge(rows, now, transaction));
        let judged = judged.unwrap_or((Err(Status::RuleBroken), Signatures::UNCHECKED));
        if let Err(status) = judged.0
            && status.is_final()
        {
            self.remember(name, status);
        }
        judged
    }

    fn of(&self, name: Hash) -> Option<Status> {
        let sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = (name, Status::Applied)..;
        let mut found = sets.iter().filter_map(|set| set.range(all.clone()).next());
        found.find(|(of, _)| *of == name).map(|(_, status)| *status)
    }

    /// Keeps the last so many, and forgets the older half when there are more.
    fn remember(&self, name: Hash, status: Status) {
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let [new, old] = &mut *sets;
        if REMEMBERED <= new.len() {
            *old = std::mem::take(new);
        }
        new.insert((name, status));
    }
}

/// What refused bytes are known by.
pub(super) fn name(transaction: &Transaction) -> Hash {
    Hash(blake3::hash(&transaction.to_bytes()).into())
}

/// Submissions that are judged together: a few milliseconds of work for each processor.
const BATCH: usize = 128;
/// Admitted submissions that wait for the sequencer.
const ADMITTED: usize = 1_024;
/// Transactions of one sender that wait for a later block although the last one refuses them.
const HOPES: u32 = 64;
/// Refused transactions that are remembered, and as many older ones.
const REMEMBERED: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use symbolon_protocol::{
        Amount,
        id::{AccountId, ChainId, TransactionId},
        ledger::{Params, transaction::Action},
    };

    use super::{
        super::{Embedded, Options, queue::Queue, size},
        *,
    };

    fn account(number: u8) -> AccountId {
        AccountId(SigningKey::from_bytes(&[number; 32]).verifying_key().to_bytes())
    }

    fn sign(chain: ChainId, sender: u8, id: u8, action: Action) -> Transaction {
        let key = SigningKey::from_bytes(&[sender; 32]);
        Transaction::build(chain, &key, TransactionId([id; 16]), 9, action)
    }

    fn transfer() -> Action {
        Action::Transfer { to: AccountId([9; 32]), amount: Amount(1) }
    }

    #[tokio::test]
    async fn what_the_rules_refuse_does_not_reach_the_sequencer() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::system();
        let options = Options { key: [7; 32], params: Params::development(), host: host.clone() };
        let ledger = Embedded::open(folder.path(), options).await.unwrap();
        let chain = ledger.chain();
        let (queue, lanes) = Queue::new(ledger.replica.clone(), Arc::default());
        let mut lanes = Admission::start(&host, &ledger.replica, lanes);
        let submit = |transaction: Transaction| {
            let queue = queue.clone();
            let bytes = size(&transaction);
            tokio::spawn(async move { queue.submit(transaction, bytes).await.unwrap().status })
        };
        let mut forged = sign(chain, 1, 1, transfer());
        forged.signature[5] ^= 1;
        let mut old = sign(chain, 1, 2, transfer());
        // Its signature would not verify either, but that is not looked at.
        old.valid_until = 0;
        let poor = sign(chain, 1, 3, transfer());
        let elsewhere = sign(ChainId([5; 32]), 1, 4, transfer());
        for (refused, status) in [
            (&forged, Status::BadSignature),
            // Now by memory.
            (&forged, Status::BadSignature),
            (&old, Status::Expired),
            (&poor, Status::BalanceTooLow),
            (&elsewhere, Status::WrongChain),
        ] {
            assert_eq!(submit(refused.clone()).await.unwrap(), status);
        }
        // The transfer needs the money of the faucet, which is on its way: the sequencer decides.
        let faucet = sign(chain, 1, 5, Action::Faucet);
        drop((submit(faucet.clone()), submit(poor.clone())));
        let mut admitted = [lanes.next().await.unwrap(), lanes.next().await.unwrap()];
        admitted.sort_by_key(|submission| submission.transaction.id);
        let ids = admitted.each_ref().map(|submission| submission.transaction.id);
        assert_eq!(ids, [poor.id, faucet.id]);
        assert_ne!(
            admitted[1].signatures,
            Signatures::UNCHECKED,
            "its signature is not checked again"
        );
        assert!(lanes.ordinary.is_empty() && lanes.urgent.is_empty(), "nothing else came through");
    }

    /// An engine, a queue of its own, and what is behind its admission.
    struct Door {
        _folder: tempfile::TempDir,
        ledger: Embedded,
        queue: Queue,
        lanes: Lanes,
        host: Host,
    }

    impl Door {
        async fn new(params: Params) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let host = Host::system();
            let options = Options { key: [7; 32], params, host: host.clone() };
            let ledger = Embedded::open(folder.path(), options).await.unwrap();
            let (queue, lanes) = Queue::new(ledger.replica.clone(), Arc::default());
            Self { _folder: folder, ledger, queue, lanes, host }
        }

        /// Submits a transaction, which then waits before admission.
        async fn submit(
            &self,
            transaction: Transaction,
        ) -> tokio::task::JoinHandle<Result<Outcome, LedgerError>> {
            let (queue, bytes, waiting) =
                (self.queue.clone(), size(&transaction), self.lanes.ordinary.len());
            let submitted = tokio::spawn(async move { queue.submit(transaction, bytes).await });
            while self.lanes.ordinary.len() == waiting {
                tokio::task::yield_now().await;
            }
            submitted
        }

        /// Admits what waits.
        fn open(self) -> (Lanes, Embedded) {
            (Admission::start(&self.host, &self.ledger.replica, self.lanes), self.ledger)
        }
    }

    /// A transaction that only its signature keeps from being one of this sender.
    fn forge(chain: ChainId, sender: u8, number: u16, action: Action) -> Transaction {
        let mut forged = sign(chain, sender, 1, action);
        forged.signature[..2].copy_from_slice(&number.to_le_bytes());
        forged
    }

    async fn takes_no_place(params: Params) {
        let door = Door::new(params).await;
        let chain = door.ledger.chain();
        let faucet = door.submit(sign(chain, 1, 5, Action::Faucet)).await;
        let mut forged = Vec::new();
        for number in 0..2 * u16::try_from(HOPES).unwrap() {
            forged.push(door.submit(forge(chain, 1, number, transfer())).await);
        }
        let mut pay = door.submit(sign(chain, 1, 6, transfer())).await;
        let (mut lanes, _ledger) = door.open();
        // The transfer needs the money of the faucet, which waits before it.
        for id in [5, 6] {
            let admitted = tokio::select! {
                biased;
                admitted = lanes.next() => admitted.unwrap(),
                refused = &mut pay => panic!("{refused:?}"),
            };
            assert_eq!(admitted.transaction.id, TransactionId([id; 16]));
            assert_ne!(admitted.signatures, Signatures::UNCHECKED);
            admitted.answer(Outcome { height: 1, status: Status::Applied });
        }
        for forged in forged {
            assert_eq!(forged.await.unwrap().unwrap().status, Status::BadSignature);
        }
        for submitted in [faucet, pay] {
            assert_eq!(submitted.await.unwrap().unwrap().status, Status::Applied);
        }
    }

    #[tokio::test]
    async fn what_others_make_in_a_senders_name_takes_none_of_its_places() {
        takes_no_place(Params::development()).await;
        // With fees, a sender without money costs no signature, unless another one of its transactions waits.
        takes_no_place(Params { fee_base: Amount(1), ..Params::development() }).await;
    }

    #[tokio::test]
    async fn a_sender_has_a_few_that_wait_for_what_they_need() {
        let door = Door::new(Params::development()).await;
        let chain = door.ledger.chain();
        let mut sent = Vec::new();
        for id in 0..100 {
            sent.push(door.submit(sign(chain, 1, id, transfer())).await);
        }
        let last = door.submit(sign(chain, 2, 1, Action::Faucet)).await;
        let (mut lanes, _ledger) = door.open();
        // All are judged together and go on in their order, so what is let through comes before the last one.
        let mut waiting = Vec::new();
        while waiting.last().is_none_or(|one: &Submission| one.transaction.sender == account(1)) {
            waiting.push(lanes.next().await.unwrap());
        }
        assert_eq!(waiting.len(), 1 + usize::try_from(HOPES).unwrap());
        drop((waiting, last));
        let (mut closed, mut refused) = (0, 0);
        for submitted in sent {
            match submitted.await.unwrap() {
                Err(LedgerError::Closed) => closed += 1,
                Ok(Outcome { status: Status::BalanceTooLow, .. }) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((closed, refused), (HOPES, 100 - HOPES));
    }

    #[test]
    fn refused_bytes_are_remembered_for_a_while() {
        let refused = Refused::default();
        let name = |number: usize| Hash(blake3::hash(&number.to_le_bytes()).into());
        for number in 0..REMEMBERED {
            refused.remember(name(number), Status::BadSignature);
        }
        refused.remember(name(REMEMBERED), Status::BadLabel);
        assert_eq!(refused.of(name(0)), Some(Status::BadSignature));
        assert_eq!(refused.of(name(REMEMBERED)), Some(Status::BadLabel));
        assert_eq!(refused.of(name(REMEMBERED + 1)), None);
        for number in REMEMBERED + 1..=2 * REMEMBERED {
            refused.remember(name(number), Status::BadSignature);
        }
        assert_eq!(refused.of(name(0)), None, "the oldest are forgotten");
        assert_eq!(refused.of(name(2 * REMEMBERED)), Some(Status::BadSignature));
    }
}
