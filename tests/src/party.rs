//! Parties that play themselves: a key, the actions of the ledger and the messages to nodes, and no program that keeps
//! them honest. What they send is well formed and signed; what they leave out or make up is their own affair.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use symbolon_ledger::Ledger;
use symbolon_net::{Alpn, Endpoint, NetError, PeerAddress, Receiver, peer_id};
use symbolon_protocol::{
    Amount, Encode as _, LedgerTime,
    custody::{self, DeliveryKey, DeliverySecret},
    id::{AccountId, DealId, Hash, NodeId, ObjectId, Opening, TransactionId},
    ledger::{
        Status,
        rows::{Access, Node as NodeRow, Nodes, Slots},
        transaction::{Acceptance, Action, DealTerms, Transaction},
    },
    limits::LEAF_BYTES,
    proof::{self, Challenge, LeafProof, Outboard, ShardHasher},
    wire::storage::{RefusalCode, Request, Response},
};

use tokio::time::{Duration, sleep};

use crate::sim::{World, derive};

/// Blocks for which what a party sends is valid.
const VALID_BLOCKS: u64 = 500;

/// Milliseconds for which a party's acceptance is good.
const GOOD_FOR_MS: u64 = 60_000;

/// Rows that are asked for at once.
const ROWS: usize = 64;

/// Milliseconds between two looks of a [`Prover`].
const LOOK_MS: u64 = 500;

/// Somebody with a key.
#[derive(Clone, Debug)]
pub struct Party {
    secret: [u8; 32],
    ledger: Ledger,
    calls: Endpoint,
    sent: Arc<AtomicU64>,
}

impl Party {
    /// The party that has this secret.
    #[must_use]
    pub fn new(world: &World, secret: [u8; 32]) -> Self {
        let calls = world.network.endpoint_beside(secret);
        Self { secret, ledger: world.ledger(), calls, sent: Arc::default() }
    }

    /// The operator of a node that does not run.
    #[must_use]
    pub fn of_node(world: &World, number: usize) -> Self {
        Self::new(world, world.stations[number].secret)
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.secret)
    }

    /// Its id as a node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        peer_id(&self.secret)
    }

    /// Its account.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.id().into()
    }

    /// Sends an action, and gives what came of it.
    pub async fn send(&self, action: Action) -> Status {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let head = self.ledger.head().await.expect("the ledger answers").header.height;
        let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 simulated transaction v1");
        hasher.update(&number.to_le_bytes()).update(&head.to_le_bytes()).update(&action.to_bytes());
        let mut id = [0; TransactionId::BYTES];
        hasher.finalize_xof().fill(&mut id);
        let id = TransactionId(id);
        let signed =
            Transaction::build(self.ledger.chain(), &self.key(), id, head + VALID_BLOCKS, action);
        self.ledger.submit(signed).await.expect("the ledger answers").status
    }

    /// Signs for a shard, whether it has the bytes or not.
    #[must_use]
    pub fn accept(
        &self,
        terms: &DealTerms,
        shard: (u8, Hash),
        price: Amount,
        now_ms: u64,
    ) -> Acceptance {
        let (chain, expires_ms) = (self.ledger.chain(), LedgerTime(now_ms + GOOD_FOR_MS));
        Acceptance::build(&chain, terms, &self.key(), shard, (price, u64::MAX), expires_ms)
    }

    /// Claims a repair.
    pub async fn claim(&self, deal: DealId, rebuild: &[u8], read: &[u8]) -> Status {
        let context = custody::claim_context(&self.ledger.chain(), &deal, &self.id());
        let delivery = DeliveryKey::make(&self.delivery_secret(), &context, &self.secret);
        let (rebuild, read) = (rebuild.to_vec(), read.to_vec());
        self.send(Action::ClaimRepair { deal, rebuild, read, delivery }).await
    }

    /// The secret of its claims.
    #[must_use]
    pub fn delivery_secret(&self) -> DeliverySecret {
        DeliverySecret::from_seed(&self.secret)
    }

    /// Asks a node one thing; gives its answer, and what else it sends.
    pub async fn ask(
        &self,
        node: &NodeId,
        request: &Request,
    ) -> Result<(Response, Receiver), NetError> {
        let address = PeerAddress { id: *node, addresses: vec!["memory".into()] };
        let connection = self.calls.connect(&address, Alpn::Storage).await?;
        let (mut sender, mut receiver) = connection.open().await?;
        sender.send(request).await?;
        let answer = receiver.receive().await?;
        Ok((answer, receiver))
    }

    /// The code with which a node refuses to do something; `None` if it does it.
    pub async fn refused(&self, node: &NodeId, request: &Request) -> Option<RefusalCode> {
        match self.ask(node, request).await.expect("the node answers").0 {
            Response::Refused { refusal } => Some(refusal.code),
            _ => None,
        }
    }

    /// Sends bytes to a node as a shard.
    pub async fn store(
        &self,
        node: &NodeId,
        request: &Request,
        bytes: &[u8],
    ) -> Result<Response, NetError> {
        let address = PeerAddress { id: *node, addresses: vec!["memory".into()] };
        let connection = self.calls.connect(&address, Alpn::Storage).await?;
        let (mut sender, mut receiver) = connection.open().await?;
        sender.send(request).await?;
        match receiver.receive().await? {
            Response::Ready => {}
            answer => return Ok(answer),
        }
        sender.write(Bytes::copy_from_slice(bytes)).await?;
        sender.finish();
        receiver.receive().await
    }
}

/// A shard that a [`Prover`] has.
#[derive(Clone, Debug)]
struct Kept {
    bytes: Vec<u8>,
    outboard: Outboard,
}

/// A node that is nothing but its key and what is on its disk. It answers what it is asked for; where it lacks a leaf, it
/// sends another one.
#[derive(Clone, Debug)]
pub struct Prover {
    /// Who acts.
    pub party: Party,
    /// The account for its pay.
    pub payout: AccountId,
    disk: BTreeMap<(DealId, u8), Kept>,
    /// The leaves that it has opened, where it keeps these instead of shards.
    opened: Option<BTreeMap<Place, LeafProof>>,
    /// The last window that it has answered.
    answered: Option<u64>,
}

/// A leaf of a shard of a deal.
type Place = (DealId, u8, u64);

/// What came of the answer of a [`Prover`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proved {
    /// The ledger took it.
    All,
    /// It lacked something, and the ledger refused the rest.
    Lacks,
    /// No window is open that it has not answered.
    Nothing,
}

/// Bytes of a shard that follow from its place.
#[must_use]
pub fn shard_bytes(deal: &DealId, index: u8, length: u64) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 simulated shard v1");
    hasher.update(&deal.0).update(&[index]);
    let mut bytes = vec![0; usize::try_from(length).expect("simulated shards are small")];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

impl Prover {
    /// The node of a party, with an empty disk.
    #[must_use]
    pub fn new(party: Party, payout: AccountId) -> Self {
        Self { party, payout, disk: BTreeMap::new(), opened: None, answered: None }
    }

    /// A new node under a name.
    pub async fn register(world: &World, name: &str, price: Amount) -> Self {
        let party = Party::new(world, derive(world.seed, name));
        let payout = AccountId(derive(world.seed, &format!("payout of {name}")));
        let prover = Self::new(party, payout);
        let status = prover.party.send(prover.registration(price, false)).await;
        assert_eq!(status, Status::Applied, "{name} is a node");
        prover
    }

    /// What it says of itself.
    #[must_use]
    pub fn registration(&self, price: Amount, leaving: bool) -> Action {
        Action::RegisterNode {
            payout: self.payout,
            operator: None,
            addresses: vec!["memory".into()],
            custody_key: None,
            caretaker: false,
            price,
            capacity: 1 << 30,
            agrees_until: 0,
            leaving,
        }
    }

    /// Writes bytes to its disk in the place of a shard; gives their root.
    pub fn write(&mut self, deal: DealId, index: u8, bytes: Vec<u8>) -> Hash {
        let mut hasher = ShardHasher::new();
        hasher.update(&bytes);
        let (root, outboard) = hasher.finish();
        self.disk.insert((deal, index), Kept { bytes, outboard });
        root
    }

    /// Takes a shard, and signs for it.
    pub fn take(&mut self, terms: &DealTerms, index: u8, price: Amount, now_ms: u64) -> Acceptance {
        let bytes = shard_bytes(&terms.deal(), index, terms.length);
        let root = self.write(terms.deal(), index, bytes);
        self.party.accept(terms, (index, root), price, now_ms)
    }

    /// Deletes the shards of these deals.
    pub fn drop_shards(&mut self, deals: &[DealId]) {
        self.disk.retain(|(deal, _), _| !deals.contains(deal));
    }

    /// From now on it keeps the leaves that it opens, and no shard.
    pub fn keep_only_what_was_asked(&mut self) {
        self.opened = Some(BTreeMap::new());
    }

    /// From now on it has what is on another one's disk, besides its own if it keeps that.
    pub fn share_disk(&mut self, other: &Self, keeps_own: bool) {
        if !keeps_own {
            self.disk.clear();
        }
        self.disk.extend(other.disk.iter().map(|(place, kept)| (*place, kept.clone())));
    }

    /// Its row.
    pub async fn row(&self) -> NodeRow {
        let row = self.party.ledger.row(Nodes, &self.party.id()).await;
        row.expect("the ledger answers").expect("it is registered")
    }

    /// Answers its open window once.
    pub async fn prove(&mut self) -> Proved {
        let (ledger, id, row) = (self.party.ledger.clone(), self.party.id(), self.row().await);
        let Some(window) = row.window.filter(|window| self.answered < Some(window.epoch)) else {
            return Proved::Nothing;
        };
        self.answered = Some(window.epoch);
        let places: Vec<_> = (0..row.slots).map(|position| (id, position)).collect();
        let mut slots = Vec::new();
        for page in places.chunks(ROWS) {
            let page = ledger.rows(Slots, page).await.expect("the ledger answers");
            slots.extend(page.into_iter().flatten());
        }
        let seed = row.challenge_seed(&ledger.chain(), &id, &window);
        let length_of = |position: u32| slots[position as usize].length;
        let asked = proof::challenges(&seed, row.slots, row.longest(), row.slot_bytes, length_of);
        let place = |challenge: &Challenge| {
            let slot = &slots[challenge.slot as usize];
            ((slot.deal, slot.index, challenge.leaf), slot.length)
        };
        let asked: Vec<_> = asked.iter().map(place).collect();
        let leaves = asked.iter().map(|(place, length)| self.open(*place, *length)).collect();
        if let Some(opened) = &mut self.opened {
            // What it lacks it fetches, too late for this window.
            for ((deal, index, leaf), length) in asked {
                let kept = &self.disk[&(deal, index)];
                opened.insert((deal, index, leaf), kept.leaf(leaf, length));
            }
        }
        let action = Action::Prove { epoch: window.epoch, leaves };
        match self.party.send(action).await {
            Status::Applied => Proved::All,
            Status::BadProof => Proved::Lacks,
            status => panic!("a proof is {status}"),
        }
    }

    /// The leaf that it is asked for, or the best that it has.
    fn open(&self, (deal, index, leaf): Place, length: u64) -> LeafProof {
        if let Some(opened) = &self.opened {
            let mut best = opened.get(&(deal, index, leaf)).into_iter().chain(opened.values());
            return best.next().cloned().unwrap_or_else(nothing);
        }
        let same_deal = self.disk.range((deal, 0)..=(deal, u8::MAX));
        let mut best = self.disk.get(&(deal, index)).into_iter();
        let mut best = best.by_ref().chain(same_deal.map(|(_, kept)| kept));
        best.next().map_or_else(nothing, |kept| kept.leaf(leaf, length))
    }
}

/// What is sent by a node that has nothing.
fn nothing() -> LeafProof {
    LeafProof { leaf: vec![0; LEAF_BYTES], path: Vec::new() }
}

impl Kept {
    fn leaf(&self, leaf: u64, length: u64) -> LeafProof {
        let group = proof::group_range(length, leaf).expect("a challenge is within the shard");
        let at = |byte| usize::try_from(byte).expect("simulated shards are small");
        let group = &self.bytes[at(group.start)..at(group.end)];
        proof::leaf_proof(&self.outboard, length, leaf, group).expect("the outboard is its own")
    }
}

/// Proves what these nodes are asked for, until this epoch begins.
pub async fn prove_until(world: &World, provers: &mut [Prover], epoch: u64) {
    while world.epoch().await < epoch {
        for prover in &mut *provers {
            prover.prove().await;
        }
        sleep(Duration::from_millis(LOOK_MS)).await;
    }
}

/// Terms of a deal that its owner makes by hand.
#[must_use]
pub fn terms(owner: AccountId, number: u64, (required, total): (u8, u8), length: u64) -> DealTerms {
    let mut opening = [0; Opening::BYTES];
    opening[..8].copy_from_slice(&number.to_le_bytes());
    DealTerms {
        owner,
        opening: Opening(opening),
        object: ObjectId([1; 16]),
        segment: u32::try_from(number).expect("simulated deals are few"),
        required,
        total,
        length,
        access: Access::Granted,
        epochs: 5_000,
    }
}
