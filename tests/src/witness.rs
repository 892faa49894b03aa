//! Nodes that remember every byte they received, from every sender, and compare.
//!
//! A shard's mask and a cell's key are used once: two nodes that were given the same place of the same
//! shard with different bytes have, together, what was in both. So [`Given`] holds all that any node was
//! ever given, also of shards that were never finished, and finds every place that was given twice and
//! differently. What is to happen when so many bytes have come in is told to it before.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use symbolon_net::{Connection, Endpoint, NetError, Receiver, Sender, peer_id};
use symbolon_protocol::{
    Amount, LedgerTime,
    id::{ChainId, DealId, PeerId},
    ledger::transaction::{Acceptance, DealTerms},
    limits::{CELL_BYTES, SLICE_BYTES},
    proof::{Outboard, ShardHasher, unit_path},
    wire::storage::{Refusal, RefusalCode, Request, Response, SliceHead},
};
use tokio::task::JoinSet;

use crate::sim::{Station, World};

/// How long an acceptance is good for, in milliseconds.
const GOOD_FOR_MS: u64 = 60_000;

/// Bytes a witness says it has room for.
const ROOM: u64 = 1 << 30;

type Place = (DealId, u8);

/// Something that happens when so many bytes were given.
pub type Act = Box<dyn FnOnce() + Send>;

/// What all witnesses were given together.
#[derive(Clone, Default)]
pub struct Given {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    shards: BTreeMap<Place, Vec<u8>>,
    whole: BTreeMap<(PeerId, Place), (Acceptance, u64)>,
    bytes: u64,
    twice: u64,
    findings: Vec<String>,
    acts: BTreeMap<u64, Vec<Act>>,
    failing: Vec<PeerId>,
}

impl std::fmt::Debug for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Given").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Given {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no witness panics while it writes")
    }

    /// Bytes given altogether.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// Bytes that were given more than once, and were the same.
    #[must_use]
    pub fn twice(&self) -> u64 {
        self.lock().twice
    }

    /// What was given twice and differently.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        self.lock().findings.clone()
    }

    /// Does something as soon as so many bytes more were given.
    pub fn after(&self, more: u64, act: Act) {
        let mut state = self.lock();
        let at = state.bytes + more;
        state.acts.entry(at).or_default().push(act);
    }

    /// Forgets what was still to happen.
    pub fn nothing_more(&self) {
        let mut state = self.lock();
        state.acts.clear();
        state.failing.clear();
    }

    /// A node that takes nothing more of what is sent to it just now.
    pub fn fail(&self, node: PeerId) {
        self.lock().failing.push(node);
    }

    /// Takes note of bytes; gives what is to happen now.
    fn take(&self, place: Place, at: usize, bytes: &[u8]) -> Vec<Act> {
        let mut state = self.lock();
        let shard = state.shards.entry(place).or_default();
        let known = shard.len().min(at + bytes.len()).saturating_sub(at);
        let same = shard[at..at + known] == bytes[..known];
        if at + bytes.len() > shard.len() {
            shard.extend_from_slice(&bytes[known..]);
        }
        state.twice += known as u64;
        if !same {
            let (deal, index) = place;
            state.findings.push(format!(
                "shard {index} of deal {deal} was given with other bytes around {at}"
            ));
        }
        state.bytes += bytes.len() as u64;
        let later = state.bytes + 1;
        let later = state.acts.split_off(&later);
        std::mem::replace(&mut state.acts, later).into_values().flatten().collect()
    }

    fn fails(&self, node: &PeerId) -> bool {
        let mut state = self.lock();
        let before = state.failing.len();
        state.failing.retain(|failing| failing != node);
        state.failing.len() < before
    }

    /// Answers in the name of a node that does not run.
    pub fn stand_in(&self, world: &World, station: &Station) {
        assert!(!station.runs(), "the node is killed first");
        self.answer_as(world, station.secret, station.price);
    }

    /// Answers as the node that has this secret and asks this price.
    pub fn answer_as(&self, world: &World, secret: [u8; 32], price: Amount) {
        let witness = Witness {
            given: self.clone(),
            chain: world.ledger().chain(),
            key: SigningKey::from_bytes(&secret),
            me: peer_id(&secret),
            price,
            clock: world.clock(),
        };
        tokio::spawn(answer_all(world.network.endpoint(secret), Arc::new(witness)));
    }
}

struct Witness {
    given: Given,
    chain: ChainId,
    key: SigningKey,
    me: PeerId,
    price: Amount,
    clock: symbolon_net::Host,
}

async fn answer_all(endpoint: Endpoint, witness: Arc<Witness>) {
    let mut connections = JoinSet::new();
    while let Some(connection) = endpoint.accept().await {
        connections.spawn(answer_one(connection, witness.clone()));
    }
}

async fn answer_one(connection: Connection, witness: Arc<Witness>) {
    let mut streams = JoinSet::new();
    // Ends with an error when the connection does.
    while let Ok((sender, receiver)) = connection.accept().await {
        let witness = witness.clone();
        streams.spawn(async move { witness.answer(sender, receiver).await.ok() });
    }
}

impl Witness {
    async fn answer(&self, mut sender: Sender, mut receiver: Receiver) -> Result<(), NetError> {
        match receiver.receive::<Request>().await? {
            Request::Info => {
                let (chain, node, price) = (self.chain, self.me, self.price);
                sender.send(&Response::Info { chain, node, price, free: ROOM }).await
            }
            Request::Store { terms, index, .. } => {
                self.store(&terms, index, (&mut sender, &mut receiver)).await
            }
            Request::Read { deal, index, first, count: 1, .. } => {
                self.read((deal, index), SLICE_BYTES, first, &mut sender).await
            }
            Request::ReadCell { deal, index, cell, .. } => {
                self.read((deal, index), CELL_BYTES, cell, &mut sender).await
            }
            _ => refuse(&mut sender).await,
        }
    }

    async fn store(
        &self,
        terms: &DealTerms,
        index: u8,
        (sender, receiver): (&mut Sender, &mut Receiver),
    ) -> Result<(), NetError> {
        let place = (terms.deal(), index);
        let now_ms = self.clock.now_ms().0;
        let held = self.given.lock().whole.get(&(self.me, place)).cloned();
        if let Some((acceptance, _)) = held.filter(|(held, _)| now_ms < held.expires_ms.0 / 2) {
            return sender.send(&Response::Accepted { acceptance }).await;
        }
        sender.send(&Response::Ready).await?;
        let mut hasher = ShardHasher::new();
        let mut at = 0;
        while (at as u64) < terms.length {
            let left = usize::try_from(terms.length).expect("shards are small here") - at;
            let Some(bytes) = receiver.read(left.min(CELL_BYTES)).await? else { return Ok(()) };
            for act in self.given.take(place, at, &bytes) {
                act();
            }
            if self.given.fails(&self.me) {
                sender.reset(1);
                receiver.stop(1);
                return Ok(());
            }
            hasher.update(&bytes);
            at += bytes.len();
        }
        let (root, _) = hasher.finish();
        let until_ms = LedgerTime(now_ms + GOOD_FOR_MS);
        let shard = (index, root);
        let acceptance = Acceptance::build(
            &self.chain,
            terms,
            &self.key,
            shard,
            (self.price, u64::MAX),
            until_ms,
        );
        let kept = (acceptance.clone(), terms.length);
        self.given.lock().whole.insert((self.me, place), kept);
        sender.send(&Response::Accepted { acceptance }).await
    }

    async fn read(
        &self,
        place: Place,
        unit_bytes: usize,
        unit: u32,
        sender: &mut Sender,
    ) -> Result<(), NetError> {
        let found = {
            let state = self.given.lock();
            let whole = state.whole.contains_key(&(self.me, place));
            whole.then(|| state.shards[&place].clone())
        };
        let Some(shard) = found else { return refuse(sender).await };
        let (bytes, path) = piece(&shard, unit_bytes, unit);
        sender.send(&Response::Slices { count: 1 }).await?;
        let length = u32::try_from(bytes.len()).expect("a piece has at most a mebibyte");
        sender.send(&SliceHead { length, path }).await?;
        sender.write(bytes).await?;
        sender.finish();
        Ok(())
    }
}

fn piece(shard: &[u8], unit_bytes: usize, unit: u32) -> (Bytes, Vec<symbolon_protocol::id::Hash>) {
    let mut hasher = ShardHasher::new();
    hasher.update(shard);
    let (_, outboard): (_, Outboard) = hasher.finish();
    let length = shard.len() as u64;
    let path = unit_path(&outboard, length, unit_bytes as u64, u64::from(unit));
    let start = unit as usize * unit_bytes;
    let bytes = shard[start..shard.len().min(start + unit_bytes)].to_vec();
    (bytes.into(), path.expect("the client asks for cells that exist"))
}

async fn refuse(sender: &mut Sender) -> Result<(), NetError> {
    let refusal = Refusal::new(RefusalCode::NotFound, "I was never given that");
    sender.send(&Response::Refused { refusal }).await
}
