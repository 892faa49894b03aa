//! Connections between the validators of a ledger: each with each, under the keys with which they sign.
//!
//! A connection has three kinds of streams in each direction, so that none waits for another: one for votes, one for
//! transactions, and one for each block. What finds no room on its way is dropped: the agreement sends again what is
//! missing, and a transaction stays with the validator that received it first.
//!
//! Only validators of the ledger, and peers that this machine's operator names, are connected to. A peer that sends what no
//! honest one sends is cut off for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use symbolon_consensus::{Message, To};
use symbolon_net::{Alpn, Connection, Endpoint, NetError, PeerAddress, Receiver, Sender};
use symbolon_protocol::{
    choice,
    codec::{Decode, DecodeError, Encode, Reader},
    id::PeerId,
    ledger::transaction::Transaction,
};
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{Instant, sleep},
};

choice! {
    /// What the messages of a stream are. It is the stream's first message.
    #[derive(Copy)]
    enum Kind {
        /// Messages without a block.
        Votes = 1,
        /// One message with a block.
        Block = 2,
        /// Transactions.
        Transactions = 3,
    }
}

/// Bytes of a message, as its sender has encoded it.
#[derive(Clone, Debug)]
struct Raw(Arc<[u8]>);

impl Encode for Raw {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

impl Decode for Raw {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(input.take(input.remaining())?.into()))
    }
}

/// The machine's side of the connections. Clones are the same. All connections end with the last one.
#[derive(Clone)]
pub(super) struct Mesh {
    shared: Arc<Shared>,
    _open: Arc<Open>,
}

/// Ends all connections when it is dropped.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        *self.0.peers() = Peers::default();
    }
}

/// What arrives.
pub(super) struct Arriving {
    /// Messages of the agreement, with their senders.
    pub(super) messages: mpsc::Receiver<(PeerId, Vec<u8>)>,
    /// Transactions that other validators were given, with the validators.
    pub(super) transactions: mpsc::Receiver<(PeerId, Transaction)>,
}

struct Shared {
    endpoint: Endpoint,
    messages: mpsc::Sender<(PeerId, Vec<u8>)>,
    transactions: mpsc::Sender<(PeerId, Transaction)>,
    peers: Mutex<Peers>,
    /// Notified when a connection begins or ends.
    changed: Notify,
}

#[derive(Default)]
struct Peers {
    /// Whose connections are taken.
    allowed: BTreeSet<PeerId>,
    addresses: BTreeMap<PeerId, PeerAddress>,
    links: BTreeMap<PeerId, Link>,
    dials: BTreeMap<PeerId, Dial>,
    faults: BTreeMap<PeerId, Faults>,
    next_link: u64,
}

/// A connection to a peer.
struct Link {
    number: u64,
    /// Whether the end with the smaller key has dialled. Of two connections between two peers, both keep this one.
    is_preferred: bool,
    votes: mpsc::Sender<Raw>,
    blocks: mpsc::Sender<Raw>,
    transactions: mpsc::Sender<Raw>,
}

#[derive(Default)]
struct Dial {
    is_running: bool,
    not_before: Option<Instant>,
    failures: u32,
}

#[derive(Default)]
struct Faults {
    count: u32,
    until: Option<Instant>,
}

impl Mesh {
    /// Begins to connect with those that [`Mesh::set_peers`] names.
    pub(super) fn start(endpoint: Endpoint) -> (Self, Arriving) {
        let (messages, message_out) = mpsc::channel(MESSAGES);
        let (transactions, transaction_out) = mpsc::channel(TRANSACTIONS);
        let peers = Mutex::default();
        let changed = Notify::new();
        let shared = Arc::new(Shared { endpoint, messages, transactions, peers, changed });
        let weak = Arc::downgrade(&shared);
        tokio::spawn(async move {
            while let Some(shared) = weak.upgrade() {
                shared.dial();
                drop(shared);
                sleep(LOOK).await;
            }
        });
        let mesh = Self { _open: Arc::new(Open(shared.clone())), shared };
        (mesh, Arriving { messages: message_out, transactions: transaction_out })
    }

    /// Says with whom to be connected, and where those are that this machine can call.
    pub(super) fn set_peers(
        &self,
        allowed: impl IntoIterator<Item = PeerId>,
        addresses: impl IntoIterator<Item = PeerAddress>,
    ) {
        let own = self.shared.endpoint.id();
        let mut peers = self.shared.peers();
        peers.allowed = allowed.into_iter().filter(|id| *id != own).collect();
        let addresses = addresses.into_iter().map(|address| (address.id, address));
        peers.addresses = addresses.filter(|(id, _)| *id != own).collect();
        let Peers { allowed, links, .. } = &mut *peers;
        // Without its link, a connection ends.
        links.retain(|id, _| allowed.contains(id));
    }

    /// Takes a connection that a peer has made.
    pub(super) fn meet(&self, connection: Connection) {
        let peer = connection.peer();
        if !self.shared.peers().takes(&peer) {
            connection.close("only validators of this ledger are connected to");
            return;
        }
        let shared = self.shared.clone();
        tokio::spawn(async move { shared.keep(connection, peer < shared.endpoint.id()).await });
    }

    /// Sends a message of the agreement.
    pub(super) fn send(&self, to: To, message: &Message) {
        let has_block = matches!(message, Message::Proposal { .. } | Message::Committed { .. });
        let raw = Raw(message.to_bytes().into());
        self.shared.send(to, |link| if has_block { &link.blocks } else { &link.votes }, &raw);
    }

    /// Tells all others of a transaction.
    pub(super) fn tell(&self, transaction: &Transaction) {
        let raw = Raw(transaction.to_bytes().into());
        self.shared.send(To::All, |link| &link.transactions, &raw);
    }

    /// A peer has sent what no honest one sends.
    pub(super) fn fault(&self, peer: PeerId) {
        let mut peers = self.shared.peers();
        let faults = peers.faults.entry(peer).or_default();
        faults.count += 1;
        if FAULTS_MAX < faults.count {
            *faults = Faults { count: 0, until: Some(Instant::now() + BANNED) };
            peers.links.remove(&peer);
        }
    }

    /// The peers with which there is a connection.
    pub(super) fn connected(&self) -> BTreeSet<PeerId> {
        self.shared.peers().links.keys().copied().collect()
    }

    /// Waits until a connection has begun or ended.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }
}

impl Peers {
    /// Whether a connection with a peer may be.
    fn takes(&self, peer: &PeerId) -> bool {
        let faults = self.faults.get(peer);
        let banned = faults.and_then(|faults| faults.until);
        self.allowed.contains(peer) && banned.is_none_or(|until| until <= Instant::now())
    }

    /// Those that are to be called now.
    fn begin_dials(&mut self) -> Vec<PeerAddress> {
        let now = Instant::now();
        let due: Vec<PeerId> = self.addresses.keys().copied().collect();
        let mut found = Vec::new();
        for id in due {
            if self.links.contains_key(&id) || !self.takes(&id) {
                continue;
            }
            let dial = self.dials.entry(id).or_default();
            if !dial.is_running && dial.not_before.is_none_or(|at| at <= now) {
                dial.is_running = true;
                found.extend(self.addresses.get(&id).cloned());
            }
        }
        found
    }
}

impl Shared {
    fn peers(&self) -> MutexGuard<'_, Peers> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, to: To, lane: impl Fn(&Link) -> &mpsc::Sender<Raw>, raw: &Raw) {
        let peers = self.peers();
        let links: Vec<&Link> = match to {
            To::All => peers.links.values().collect(),
            To::Peer(peer) => peers.links.get(&peer).into_iter().collect(),
        };
        for link in links {
            // Without room it is dropped: see above.
            lane(link).try_send(raw.clone()).ok();
        }
    }

    /// Calls those that it is time to call.
    fn dial(self: &Arc<Self>) {
        let due = self.peers().begin_dials();
        for address in due {
            let shared = self.clone();
            tokio::spawn(async move {
                let peer = address.id;
                let dialled = shared.endpoint.connect(&address, Alpn::Consensus).await;
                let is_up = dialled.is_ok();
                if let Err(error) = &dialled {
                    tracing::debug!(%peer, %error, "a validator was not reached");
                }
                {
                    let mut peers = shared.peers();
                    let dial = peers.dials.entry(peer).or_default();
                    dial.failures = if is_up { 0 } else { dial.failures.saturating_add(1) };
                    let wait = (DIAL_AGAIN * dial.failures.max(1)).min(DIAL_AGAIN_MAX);
                    dial.not_before = Some(Instant::now() + wait);
                    dial.is_running = false;
                }
                if let Ok(connection) = dialled {
                    let is_preferred = shared.endpoint.id() < peer;
                    shared.keep(connection, is_preferred).await;
                }
            });
        }
    }

    /// Keeps a connection until it ends, or is not needed.
    async fn keep(self: &Arc<Self>, connection: Connection, is_preferred: bool) {
        let peer = connection.peer();
        let (votes, vote_out) = mpsc::channel(VOTES);
        let (blocks, block_out) = mpsc::channel(BLOCKS);
        let (transactions, transaction_out) = mpsc::channel(TRANSACTIONS);
        let number = {
            let mut peers = self.peers();
            let known = peers.links.get(&peer);
            if !peers.takes(&peer) || known.is_some_and(|known| known.is_preferred && !is_preferred)
            {
                drop(peers);
                connection.close("there is a connection already");
                return;
            }
            peers.next_link += 1;
            let number = peers.next_link;
            let link = Link { number, is_preferred, votes, blocks, transactions };
            peers.links.insert(peer, link);
            number
        };
        self.changed.notify_one();
        tracing::debug!(%peer, "connected to a validator");
        let weak = Arc::downgrade(self);
        let ended = tokio::select! {
            error = write_all(&connection, Kind::Votes, vote_out) => error,
            error = write_all(&connection, Kind::Transactions, transaction_out) => error,
            error = write_blocks(&connection, block_out) => error,
            error = self.read_all(&connection) => Some(error),
            error = connection.closed() => Some(error),
        };
        connection.close("this connection is over");
        let ended = ended.map_or_else(|| "it is not needed".into(), |error| error.to_string());
        tracing::debug!(%peer, %ended, "a connection to a validator has ended");
        if let Some(shared) = weak.upgrade() {
            let mut peers = shared.peers();
            if peers.links.get(&peer).is_some_and(|link| link.number == number) {
                peers.links.remove(&peer);
                drop(peers);
                shared.changed.notify_one();
            }
        }
    }

    /// Reads the peer's streams.
    async fn read_all(&self, connection: &Connection) -> NetError {
        let peer = connection.peer();
        let mut streams = JoinSet::new();
        loop {
            let stream = tokio::select! {
                biased;
                Some(ended) = streams.join_next() => match ended {
                    Ok(Err(error)) => return error,
                    _ => continue,
                },
                stream = connection.accept(), if streams.len() < STREAMS_MAX => stream,
            };
            let receiver = match stream {
                Ok((_, receiver)) => receiver,
                Err(error) => return error,
            };
            let (messages, transactions) = (self.messages.clone(), self.transactions.clone());
            streams.spawn(read(peer, receiver, messages, transactions));
        }
    }
}

/// Reads a stream to its end.
async fn read(
    peer: PeerId,
    mut receiver: Receiver,
    messages: mpsc::Sender<(PeerId, Vec<u8>)>,
    transactions: mpsc::Sender<(PeerId, Transaction)>,
) -> Result<(), NetError> {
    let closed = || NetError::Closed { why: "the validator stops".into() };
    match receiver.receive::<Kind>().await? {
        Kind::Votes | Kind::Block => {
            while let Some(Raw(bytes)) = receiver.receive_or_end::<Raw>().await? {
                messages.send((peer, bytes.to_vec())).await.map_err(|_| closed())?;
            }
        }
        Kind::Transactions => {
            while let Some(transaction) = receiver.receive_or_end::<Transaction>().await? {
                transactions.send((peer, transaction)).await.map_err(|_| closed())?;
            }
        }
    }
    Ok(())
}

/// Writes what comes to one stream. `None` if nothing more can come.
async fn write_all(
    connection: &Connection,
    kind: Kind,
    mut out: mpsc::Receiver<Raw>,
) -> Option<NetError> {
    let writing = async {
        let mut stream: Option<(Sender, Receiver)> = None;
        while let Some(raw) = out.recv().await {
            let (sender, _) = match &mut stream {
                Some(open) => open,
                None => {
                    let open = stream.insert(connection.open().await?);
                    open.0.send(&kind).await?;
                    open
                }
            };
            sender.send(&raw).await?;
        }
        Ok(())
    };
    writing.await.err()
}

/// Writes each block to a stream of its own.
async fn write_blocks(connection: &Connection, mut out: mpsc::Receiver<Raw>) -> Option<NetError> {
    let writing = async {
        while let Some(raw) = out.recv().await {
            let (mut sender, _receiver) = connection.open().await?;
            sender.send(&Kind::Block).await?;
            sender.send(&raw).await?;
            sender.finish();
        }
        Ok(())
    };
    writing.await.err()
}

/// Messages from all peers that wait to be read.
const MESSAGES: usize = 1_024;
/// Votes that wait to be sent to a peer: those of a hundred validators in several rounds.
const VOTES: usize = 1_024;
/// Blocks that wait to be sent to a peer.
const BLOCKS: usize = 8;
/// Transactions that wait to be sent to a peer, or were received and wait.
const TRANSACTIONS: usize = 1_024;
/// Streams of a peer that are read at the same time: two that last, and blocks.
const STREAMS_MAX: usize = 8;
/// How often it is looked whom to call.
const LOOK: Duration = Duration::from_millis(100);
/// How long after a call the next one to the same peer is made, and that for each failure.
const DIAL_AGAIN: Duration = Duration::from_millis(250);
/// The longest pause between calls.
const DIAL_AGAIN_MAX: Duration = Duration::from_secs(3);
/// Faults of a peer before it is cut off.
const FAULTS_MAX: u32 = 16;
/// How long it is cut off.
const BANNED: Duration = Duration::from_secs(60);
