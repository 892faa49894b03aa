//! What the ledger does until its machine crashes: payments, root records, deals that end, and the proofs of two nodes,
//! over several epochs.

use ed25519_dalek::SigningKey;
use symbolon_net::Host;
use symbolon_protocol::{
    Amount, LedgerTime,
    id::{AccountId, NodeId, ObjectId, Opening, PeerId, TransactionId},
    ledger::{
        Status,
        rows::{Access, Chains, Nodes, Roots, Slots},
        transaction::{Acceptance, Action, DealTerms, Transaction},
    },
    limits::{LEAF_BYTES, ROOT_BYTES_MAX, ROOT_STEP_BYTES},
};

use super::{
    EPOCH_MS, below,
    disk::Disk,
    shards::{leaves, shard_root},
};
use crate::{Ledger, Outcome};

/// Blocks that a transaction may wait. The ledger forgets ids early, so that it forgets some in every life.
const VALID_BLOCKS: u64 = 20;
const OWNERS: [u8; 4] = [1, 2, 3, 4];
const NODES: [u8; 2] = [11, 12];
/// Price per GiB and epoch that makes a small shard earn something.
const PRICE: Amount = Amount(3_000_000);

/// An answer, and how many operations the disk had done before it.
pub(super) struct Answered {
    pub(super) after: usize,
    pub(super) transaction: Transaction,
    pub(super) outcome: Outcome,
}

/// The callers of a ledger.
pub(super) struct Work {
    pub(super) ledger: Ledger,
    pub(super) host: Host,
    pub(super) disk: Disk,
    pub(super) answered: Vec<Answered>,
}

impl Work {
    /// Does so many things, one after another.
    pub(super) async fn run(&mut self, steps: usize) {
        for number in NODES {
            self.submit(vec![(number, register(number))]).await;
        }
        for _ in 0..steps {
            let actions = self.next_actions().await;
            self.submit(actions).await;
            self.prove().await;
        }
    }

    async fn next_actions(&self) -> Vec<(u8, Action)> {
        let owner = self.one_of(&OWNERS);
        match below(&self.host, 8) {
            0 => vec![(owner, Action::Faucet)],
            1 | 2 => (0..=below(&self.host, 6)).map(|_| self.pay()).collect(),
            3 => {
                let root = self.ledger.row(Roots, &account(owner)).await.unwrap();
                let steps = 1 + below(&self.host, (ROOT_BYTES_MAX / ROOT_STEP_BYTES) as u64);
                let mut blob = vec![0; usize::try_from(steps).unwrap() * ROOT_STEP_BYTES];
                self.host.fill(&mut blob);
                let expected_version = root.map_or(0, |root| root.version);
                vec![(owner, Action::SetRoot { expected_version, blob })]
            }
            4 | 5 => vec![(owner, self.open_deal(owner))],
            6 => {
                let node = self.one_of(&NODES);
                vec![(node, register(node)), (owner, Action::Faucet), self.pay()]
            }
            _ => {
                self.host.sleep_ms(below(&self.host, EPOCH_MS)).await;
                Vec::new()
            }
        }
    }

    fn pay(&self) -> (u8, Action) {
        let to = account(self.one_of(&OWNERS));
        let amount = Amount(u128::from(below(&self.host, 1_000_000)));
        (self.one_of(&OWNERS), Action::Transfer { to, amount })
    }

    fn open_deal(&self, owner: u8) -> Action {
        let opening = Opening(self.host.random());
        let terms = DealTerms {
            owner: account(owner),
            opening,
            object: ObjectId(self.host.random()),
            segment: 0,
            required: 1,
            total: 2,
            length: LEAF_BYTES as u64 * (1 + below(&self.host, 8)),
            access: Access::Public,
            epochs: 1 + below(&self.host, 4),
        };
        let chain = self.ledger.chain();
        let accept = |(index, number): (u8, &u8)| {
            let root = shard_root(&terms.deal(), index, terms.length);
            let (accepted, key) = ((index, root), key(*number));
            Acceptance::build(&chain, &terms, &key, accepted, (PRICE, u64::MAX), LedgerTime::NEVER)
        };
        let acceptances = (0..).zip(&NODES).map(accept).collect();
        Action::OpenDeal { terms, acceptances, cost_max: Amount::credits(1) }
    }

    /// Submits the proofs of all windows that are open.
    async fn prove(&mut self) {
        let mut proofs = Vec::new();
        for number in NODES {
            let id = node(number);
            let row = self.ledger.row(Nodes, &id).await.unwrap().unwrap();
            let Some(window) = row.window.filter(|open| row.passed_epoch != Some(open.epoch))
            else {
                continue;
            };
            let keys: Vec<_> = (0..row.slots).map(|position| (id, position)).collect();
            let slots = self.ledger.rows(Slots, &keys).await.unwrap();
            let slots: Vec<_> = slots.into_iter().flatten().collect();
            let leaves = leaves(&self.ledger.chain(), (&id, &row), &window, &slots);
            proofs.push((number, Action::Prove { epoch: window.epoch, leaves }));
        }
        let count = proofs.len();
        self.submit(proofs).await;
        let last = self.answered.len() - count..;
        let (applied, late) = (Status::Applied, Status::WrongEpoch);
        let is_fine = |one: &Answered| [applied, late].contains(&one.outcome.status);
        assert!(self.answered[last].iter().all(is_fine), "the proofs are good");
    }

    /// Submits at the same time, and notes the answers.
    async fn submit(&mut self, actions: Vec<(u8, Action)>) {
        let height = self.ledger.row(Chains, &()).await.unwrap().unwrap().height;
        let mut waiting = tokio::task::JoinSet::new();
        for (sender, action) in actions {
            let (ledger, disk) = (self.ledger.clone(), self.disk.clone());
            let (id, until) = (TransactionId(self.host.random()), height + VALID_BLOCKS);
            let transaction = Transaction::build(ledger.chain(), &key(sender), id, until, action);
            waiting.spawn(async move {
                let outcome = ledger.submit(transaction.clone()).await.unwrap();
                Answered { after: disk.operations(), transaction, outcome }
            });
        }
        self.answered.extend(waiting.join_all().await);
    }

    fn one_of<const N: usize>(&self, numbers: &[u8; N]) -> u8 {
        numbers[usize::try_from(below(&self.host, N as u64)).unwrap()]
    }
}

pub(super) fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn account(number: u8) -> AccountId {
    AccountId(key(number).verifying_key().to_bytes())
}

fn node(number: u8) -> NodeId {
    PeerId(account(number).0)
}

fn register(number: u8) -> Action {
    Action::RegisterNode {
        payout: account(number + 100),
        addresses: vec![format!("127.0.0.1:{}", 4_000 + u16::from(number))],
        custody_key: None,
        caretaker: false,
        price: PRICE,
        capacity: 1 << 30,
        operator: None,
        agrees_until: 0,
        leaving: false,
    }
}
