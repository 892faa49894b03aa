//! A ledger in memory. It runs the real rules, answers the real messages over the network, records
//! the requests, and can send false events.

use std::sync::{Arc, Mutex, MutexGuard};

use ed25519_dalek::SigningKey;
use symbolon_ledger::{Ledger, LedgerTicket, Remote};
use symbolon_net::{Alpn, Connection, Host, MemoryNetwork, PeerAddress};
use symbolon_protocol::{
    Encode as _, LedgerTime,
    id::{AccountId, PeerId},
    ledger::{
        Params, Status,
        beacon::Onions,
        block::{Block, Event, Genesis, SignedHeader},
        commit::Validators,
        execute::{self, BlockBuilder, Executed, Pushed},
        rows::{Chain, Chains, Deals, Leaves, Nodes, Slots, Table},
        state::{MemoryState, State as _, StateExt as _, Update},
        transaction::Transaction,
        tree,
    },
    wire::ledger::{Request, Response, Row},
};
use tokio::sync::watch;

use crate::world::now;

/// The secret of the validator, which signs. It is not the server's key, so every answer needs a
/// proof.
const VALIDATOR: [u8; 32] = [1; 32];
/// The secret of the server, which answers.
const SERVER: [u8; 32] = [2; 32];

#[derive(Clone)]
pub(crate) struct Counted {
    inner: Arc<Mutex<Inner>>,
    height: Arc<watch::Sender<u64>>,
    host: Host,
    ticket: LedgerTicket,
}

struct Inner {
    state: MemoryState,
    blocks: Vec<Block>,
    genesis: Genesis,
    key: SigningKey,
    onions: Onions,
    asked: Vec<Asked>,
}

/// A request: the peer that sent it, its kind, and the bytes of request and answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) by: PeerId,
    pub(crate) what: &'static str,
    pub(crate) question: usize,
    pub(crate) answer: usize,
}

impl Counted {
    /// Creates a ledger that begins now, with these rows on top of its genesis.
    pub(crate) fn found(
        network: &MemoryNetwork,
        host: &Host,
        params: Params,
        rows: Update,
    ) -> Self {
        let key = SigningKey::from_bytes(&VALIDATOR);
        let validators = Validators::alone(AccountId(key.verifying_key().to_bytes()));
        let mut onions = Onions::new(&VALIDATOR, [9; 32]);
        let starts = vec![onions.start()];
        let genesis = Genesis { params, validators, time_ms: now(host), onions: starts };
        let mut state = MemoryState::default();
        let executed = execute::genesis(&genesis);
        state.commit(&executed.update);
        let first = genesis.header(&executed);
        // The rows come with block 1. No rule makes them, which only a client that applies the rules could notice.
        let facts = onions.inputs(&state, 0, now(host)).unwrap();
        let executed = execute::replay(&state, &facts, &[]).unwrap();
        state.commit(&executed.update);
        let (root, nodes) = tree::update(&state, &rows.rows);
        state.commit(&rows);
        state.commit(&Update { rows: nodes });
        let executed = Executed { events: Vec::new(), state_root: root, ..executed };
        let second = first.next(facts, &[], &executed);
        let block = |header| Block {
            header: SignedHeader::build(header, &key),
            last: None,
            transactions: Vec::new(),
            events: Vec::new(),
        };
        let blocks = vec![block(first), block(second)];
        let endpoint = network.endpoint(SERVER);
        let address = PeerAddress { id: endpoint.id(), addresses: Vec::new() };
        let ticket = LedgerTicket { chain: genesis.chain(), peers: vec![address] };
        let inner = Inner { state, blocks, genesis, key, onions, asked: Vec::new() };
        let ledger = Self {
            inner: Arc::new(Mutex::new(inner)),
            height: Arc::new(watch::Sender::new(1)),
            host: host.clone(),
            ticket,
        };
        let serving = ledger.clone();
        tokio::spawn(async move {
            while let Some(connection) = endpoint.accept().await {
                tokio::spawn(serving.clone().serve(connection));
            }
        });
        ledger
    }

    /// The ledger, reached from an endpoint.
    pub(crate) fn reach(&self, endpoint: &symbolon_net::Endpoint) -> Ledger {
        Remote::new(endpoint.clone(), self.ticket.clone()).into()
    }

    pub(crate) fn chain(&self) -> Chain {
        self.get(Chains, &()).unwrap()
    }

    pub(crate) fn get<T: Table>(&self, table: T, key: &T::Key) -> Option<T::Row> {
        self.lock().state.get(table, key)
    }

    /// When a rule of the ledger is due.
    pub(crate) fn due(&self) -> LedgerTime {
        execute::next_due(&self.lock().state).unwrap()
    }

    /// The requests of a peer since the last call, without those for the genesis and for the head,
    /// which every program makes.
    pub(crate) fn take_asked(&self, by: PeerId) -> Vec<Asked> {
        let asked = std::mem::take(&mut self.lock().asked);
        asked
            .into_iter()
            .filter(|asked| asked.by == by && !["head", "genesis"].contains(&asked.what))
            .collect()
    }

    /// Makes a block at the current time. Returns the outcomes of its transactions.
    pub(crate) fn block(&self, transactions: &[Transaction]) -> Vec<Status> {
        self.block_at(now(&self.host), transactions, Vec::new())
    }

    /// Makes a block at a time. The server adds `lies` to its events.
    pub(crate) fn block_at(
        &self,
        time_ms: LedgerTime,
        transactions: &[Transaction],
        lies: Vec<Event>,
    ) -> Vec<Status> {
        let mut lock = self.lock();
        let inner = &mut *lock;
        let facts = inner.onions.inputs(&inner.state, 0, time_ms).unwrap();
        let (mut applied, mut statuses) = (Vec::new(), Vec::new());
        let mut builder = BlockBuilder::new(&inner.state, &facts).unwrap();
        for transaction in transactions {
            statuses.push(match builder.push(transaction) {
                Ok(Pushed::Applied) => {
                    applied.push(transaction.clone());
                    Status::Applied
                }
                Ok(Pushed::Already { .. }) => Status::Applied,
                Err(status) => status,
            });
        }
        let mut executed = builder.finish();
        executed.events.extend(lies);
        inner.state.commit(&executed.update);
        let parent = &inner.blocks.last().unwrap().header.header;
        let header = parent.next(facts, &applied, &executed);
        let height = header.height;
        let header = SignedHeader::build(header, &inner.key);
        let (transactions, events) = (applied, executed.events);
        inner.blocks.push(Block { header, last: None, transactions, events });
        drop(lock);
        self.height.send_replace(height);
        statuses
    }

    async fn serve(self, connection: Connection) {
        assert_eq!(connection.alpn(), Alpn::Ledger);
        while let Ok((mut sender, mut receiver)) = connection.accept().await {
            let (ledger, by) = (self.clone(), connection.peer());
            tokio::spawn(async move {
                let Ok(request) = receiver.receive::<Request>().await else { return };
                if let Request::Follow { height } = request {
                    ledger.feed(height, &mut sender).await;
                    return;
                }
                let (what, response) = ledger.respond(&request);
                let (question, answer) = (request.to_bytes().len(), response.to_bytes().len());
                ledger.lock().asked.push(Asked { by, what, question, answer });
                if sender.send(&response).await.is_ok() {
                    sender.finish();
                }
            });
        }
    }

    /// Sends blocks as they are made, until the peer stops reading.
    async fn feed(&self, from: u64, sender: &mut symbolon_net::Sender) {
        let mut height = self.height.subscribe();
        let mut next = from;
        loop {
            let block = self.lock().blocks.get(usize::try_from(next).unwrap()).cloned();
            match block {
                Some(block) => {
                    if sender.send(&Response::Block { block }).await.is_err() {
                        return;
                    }
                    next += 1;
                }
                None => height.changed().await.unwrap(),
            }
        }
    }

    fn respond(&self, request: &Request) -> (&'static str, Response) {
        match request {
            Request::Genesis => {
                ("genesis", Response::Genesis { genesis: Box::new(self.lock().genesis.clone()) })
            }
            Request::Head => ("head", Response::Head { header: self.head() }),
            Request::Rows { keys } => {
                let inner = self.lock();
                let rows = keys
                    .iter()
                    .map(|key| Row { key: key.clone(), value: inner.state.row(key) })
                    .collect();
                let proof = tree::prove_rows(&inner.state, keys.iter().map(Vec::as_slice));
                let header = inner.blocks.last().unwrap().header.clone();
                // What a node looks up before it deletes a shard.
                let deletes = [Deals::TAG, Nodes::TAG, Leaves::TAG].contains(&keys[0][0]);
                let what = if deletes { "deals" } else { "rows" };
                (what, Response::Rows { header, rows, proof, more: false })
            }
            Request::Scan { prefix, after, limit } => {
                let inner = self.lock();
                let limit = usize::try_from(*limit).unwrap();
                let mut rows = inner.state.scan(prefix, after.as_deref(), limit + 1);
                let more = limit < rows.len();
                rows.truncate(limit);
                let until = rows.last().filter(|_| more).map(|(key, _)| key.as_slice());
                let range = tree::Range { prefix, after: after.as_deref(), until };
                let proof = tree::prove_range(&inner.state, &range);
                let row = |(key, value)| Row { key, value: Some(value) };
                let rows = rows.into_iter().map(row).collect();
                let header = inner.blocks.last().unwrap().header.clone();
                let what = if prefix[0] == Slots::TAG { "slots" } else { "scan" };
                (what, Response::Rows { header, rows, proof, more })
            }
            Request::Submit { transaction } => {
                let status = self.block(std::slice::from_ref(transaction))[0];
                let height = self.head().header.height;
                ("submit", Response::Outcome { height, status })
            }
            other => panic!("a node never sends this request: {other:?}"),
        }
    }

    fn head(&self) -> SignedHeader {
        self.lock().blocks.last().unwrap().header.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }
}
