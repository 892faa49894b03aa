//! The in-memory transport: the same connections and streams without sockets, for tests and the
//! simulator.
//!
//! Streams are FIFO and bounded, so a slow reader holds up its writer as QUIC's flow control does.
//! A byte can be read once its latency has passed on tokio's clock, which a simulation pauses.
//! Bytes that have not arrived when a connection ends are lost, as in QUIC. Nothing here depends on
//! the order of a hash map or on real time.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use symbolon_protocol::id::PeerId;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    address::{Alpn, PeerAddress},
    endpoint::{self, ConnectionKind},
    error::NetError,
    quic::peer_id,
    watch,
};

/// How long a byte travels one way. Every pair of peers has one fixed latency between `min` and
/// `max`. It is drawn from the seed and the two ids, so it does not depend on who connects first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The seed of the draw.
    pub seed: u64,
    /// The shortest latency.
    pub min: Duration,
    /// The longest latency.
    pub max: Duration,
}

impl Latency {
    fn between(&self, one: PeerId, other: PeerId) -> Duration {
        let (low, high) = if one < other { (one, other) } else { (other, one) };
        let mut hasher = blake3::Hasher::new_derive_key("symbolon 2026 simulated latency v1");
        hasher.update(&self.seed.to_le_bytes()).update(&low.0).update(&high.0);
        let mut draw = [0; 8];
        hasher.finalize_xof().fill(&mut draw);
        let spread = self.max.saturating_sub(self.min);
        let spread_us = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX);
        let draw_us = match spread_us.checked_add(1) {
            Some(count) => u64::from_le_bytes(draw) % count,
            None => u64::from_le_bytes(draw),
        };
        self.min + Duration::from_micros(draw_us)
    }
}

/// A network inside one process. Clones are the same network.
#[derive(Clone, Debug, Default)]
pub struct MemoryNetwork {
    latency: Latency,
    peers: Arc<Mutex<BTreeMap<PeerId, Entry>>>,
    called: Arc<Mutex<BTreeMap<PeerId, BTreeSet<PeerId>>>>,
    /// Those that are parted from all others.
    parted: Arc<Mutex<BTreeSet<PeerId>>>,
}

/// An endpoint as the network knows it.
struct Entry {
    accept: Vec<Alpn>,
    accepted: mpsc::Sender<endpoint::Connection>,
    links: Vec<Weak<Link>>,
    closed: watch::Sender<bool>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("accept", &self.accept).finish_non_exhaustive()
    }
}

impl MemoryNetwork {
    /// A network where everything arrives at once.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A network with latency.
    #[must_use]
    pub fn with_latency(latency: Latency) -> Self {
        Self { latency, ..Self::default() }
    }

    /// An endpoint that answers every protocol. An endpoint with the same secret that already
    /// exists is killed first, as a restarted program takes the place of the one before.
    #[must_use]
    pub fn endpoint(&self, secret: [u8; 32]) -> endpoint::Endpoint {
        self.endpoint_accepting(secret, &Alpn::ALL)
    }

    /// An endpoint that answers these protocols only.
    #[must_use]
    pub fn endpoint_accepting(&self, secret: [u8; 32], accept: &[Alpn]) -> endpoint::Endpoint {
        let id = peer_id(&secret);
        self.kill(&id);
        let (sender, receiver) = mpsc::channel(ACCEPT_QUEUE);
        let closed = watch::Sender::new(false);
        let (accept, links) = (accept.to_vec(), Vec::new());
        let entry = Entry { accept, accepted: sender, links, closed: closed.clone() };
        self.lock().insert(id, entry);
        let accepted = Arc::new(tokio::sync::Mutex::new(receiver));
        endpoint::Endpoint::memory(Endpoint { id, network: self.clone(), accepted, closed })
    }

    /// An endpoint with a secret that another endpoint may already have. It only calls: no
    /// other endpoint can call it, and it takes no other endpoint's place.
    #[must_use]
    pub fn endpoint_beside(&self, secret: [u8; 32]) -> endpoint::Endpoint {
        let (_, receiver) = mpsc::channel(1);
        let accepted = Arc::new(tokio::sync::Mutex::new(receiver));
        let (id, closed) = (peer_id(&secret), watch::Sender::new(false));
        endpoint::Endpoint::memory(Endpoint { id, network: self.clone(), accepted, closed })
    }

    /// Ends an endpoint as a power cut does. It stops answering, and all its connections are
    /// lost at once on both sides.
    pub fn kill(&self, peer: &PeerId) {
        self.remove(peer, None, &Death::Lost);
    }

    /// Breaks all connections between two peers; they may connect again.
    pub fn cut(&self, one: &PeerId, other: &PeerId) {
        let links = self.lock().get(one).map(|entry| entry.links.clone()).unwrap_or_default();
        for link in links.iter().filter_map(Weak::upgrade) {
            if link.ends.contains(other) {
                link.end(Death::Lost);
            }
        }
    }

    /// Parts these peers from all others: what connects them breaks, and they cannot call each other until
    /// [`MemoryNetwork::heal`].
    pub fn part(&self, group: &[PeerId]) {
        let inside: BTreeSet<PeerId> = group.iter().copied().collect();
        self.parted.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&inside);
        let peers: Vec<PeerId> = self.lock().keys().copied().collect();
        for other in peers.iter().filter(|peer| !inside.contains(peer)) {
            for one in &inside {
                self.cut(one, other);
            }
        }
    }

    /// All peers can call each other again.
    pub fn heal(&self) {
        self.parted.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn are_parted(&self, one: &PeerId, other: &PeerId) -> bool {
        let inside = self.parted.lock().unwrap_or_else(PoisonError::into_inner);
        inside.contains(one) != inside.contains(other)
    }

    /// The peers that `peer` has called since the last call of this method, including calls
    /// that were not answered.
    #[must_use]
    pub fn called_by(&self, peer: &PeerId) -> BTreeSet<PeerId> {
        let mut called = self.called.lock().unwrap_or_else(PoisonError::into_inner);
        called.remove(peer).unwrap_or_default()
    }

    fn remove(&self, peer: &PeerId, only: Option<&watch::Sender<bool>>, death: &Death) {
        let entry = {
            let mut peers = self.lock();
            let same = |entry: &Entry| only.is_none_or(|closed| closed.same_channel(&entry.closed));
            match peers.get(peer) {
                Some(entry) if same(entry) => peers.remove(peer),
                _ => None,
            }
        };
        if let Some(entry) = entry {
            entry.closed.send_replace(true);
            for link in entry.links.iter().filter_map(Weak::upgrade) {
                link.end(death.clone());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, Entry>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    id: PeerId,
    network: MemoryNetwork,
    accepted: Arc<tokio::sync::Mutex<mpsc::Receiver<endpoint::Connection>>>,
    closed: watch::Sender<bool>,
}

impl Endpoint {
    pub(crate) fn id(&self) -> PeerId {
        self.id
    }

    pub(crate) fn address(&self) -> PeerAddress {
        PeerAddress { id: self.id, addresses: vec!["memory".into()] }
    }

    pub(crate) async fn connect(
        &self,
        peer: &PeerAddress,
        alpn: Alpn,
    ) -> Result<endpoint::Connection, NetError> {
        let unreachable =
            |why: &str| Err(NetError::Unreachable { peer: peer.id, why: why.to_string() });
        if peer.id == self.id {
            return unreachable("it is this endpoint itself");
        }
        {
            let mut called = self.network.called.lock().unwrap_or_else(PoisonError::into_inner);
            called.entry(self.id).or_default().insert(peer.id);
        }
        let latency = self.network.latency.between(self.id, peer.id);
        sleep(latency * 2).await;
        if self.network.are_parted(&self.id, &peer.id) {
            return unreachable("the network is parted");
        }
        let mut peers = self.network.lock();
        if *self.closed.borrow() {
            return Err(NetError::Closed { why: "this endpoint is closed".into() });
        }
        let Some(entry) = peers.get_mut(&peer.id) else {
            return unreachable("no peer answers");
        };
        if !entry.accept.contains(&alpn) {
            let why = "it does not speak this protocol".into();
            return Err(NetError::Refused { peer: peer.id, why });
        }
        let (ours, theirs) = connection_pair(self.id, peer.id, latency);
        let link = Arc::downgrade(&ours.side.link);
        let kind = ConnectionKind::Memory(theirs);
        let theirs = endpoint::Connection::new(alpn, self.id, kind);
        match entry.accepted.try_send(theirs) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return unreachable("no peer answers"),
            Err(mpsc::error::TrySendError::Full(_)) => {
                return Err(NetError::Refused { peer: peer.id, why: "busy".into() });
            }
        }
        for id in [self.id, peer.id] {
            if let Some(entry) = peers.get_mut(&id) {
                entry.links.retain(|link| 0 < link.strong_count());
                entry.links.push(link.clone());
            }
        }
        Ok(endpoint::Connection::new(alpn, peer.id, ConnectionKind::Memory(ours)))
    }

    pub(crate) async fn accept(&self) -> Option<endpoint::Connection> {
        let mut closed = self.closed.subscribe();
        let mut accepted = self.accepted.lock().await;
        tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => None,
            connection = accepted.recv() => connection,
        }
    }

    pub(crate) fn close(&self) {
        let death = Death::Closed { by: self.id, why: "the endpoint was closed".into() };
        self.network.remove(&self.id, Some(&self.closed), &death);
    }
}

#[derive(Clone, Debug)]
enum Death {
    Closed { by: PeerId, why: String },
    Lost,
}

/// What both ends of a connection share.
#[derive(Debug)]
struct Link {
    ends: [PeerId; 2],
    latency: Duration,
    death: watch::Sender<Option<Death>>,
}

impl Link {
    fn end(&self, death: Death) {
        self.death.send_if_modified(|now| {
            let first = now.is_none();
            if first {
                *now = Some(death);
            }
            first
        });
    }

    fn error(&self, seen_by: PeerId) -> Option<NetError> {
        self.death.borrow().as_ref().map(|death| match death {
            Death::Closed { by, .. } if *by == seen_by => {
                NetError::Closed { why: "closed here".into() }
            }
            Death::Closed { why, .. } => NetError::Closed { why: why.clone() },
            Death::Lost => NetError::Lost { why: "the peer is gone".into() },
        })
    }
}

/// One end of a connection. It closes the connection when the last handle and the last stream of
/// this end are gone.
#[derive(Debug)]
struct Side {
    me: PeerId,
    link: Arc<Link>,
    // One permit per stream that this end opened. The two halves of the stream hold it.
    streams: Arc<Semaphore>,
    announce: mpsc::UnboundedSender<Streams>,
}

impl Drop for Side {
    fn drop(&mut self) {
        self.link.end(Death::Closed { by: self.me, why: String::new() });
    }
}

impl Side {
    async fn dead(&self) -> NetError {
        let mut death = self.link.death.subscribe();
        // The sender lives in the link that is borrowed here, so waiting cannot fail.
        drop(death.wait_for(Option::is_some).await);
        self.link.error(self.me).expect("it has just been seen to be dead")
    }
}

/// The halves of a stream on their way to the other end.
#[derive(Debug)]
struct Streams {
    arrives: Instant,
    sender: PipeIn,
    receiver: PipeOut,
}

#[derive(Clone, Debug)]
pub(crate) struct Connection {
    side: Arc<Side>,
    incoming: Arc<tokio::sync::Mutex<Incoming>>,
}

/// Streams that the other end opened. A stream that is still on its way stays here until it is
/// given out. So a caller may stop waiting and lose nothing.
#[derive(Debug)]
struct Incoming {
    announced: mpsc::UnboundedReceiver<Streams>,
    next: Option<Streams>,
}

fn connection_pair(one: PeerId, other: PeerId, latency: Duration) -> (Connection, Connection) {
    let death = watch::Sender::new(None);
    let link = Arc::new(Link { ends: [one, other], latency, death });
    let (to_one, from_other) = mpsc::unbounded_channel();
    let (to_other, from_one) = mpsc::unbounded_channel();
    let end = |me, announce, incoming| {
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Connection {
            side: Arc::new(Side { me, link: link.clone(), streams, announce }),
            incoming: Arc::new(tokio::sync::Mutex::new(Incoming {
                announced: incoming,
                next: None,
            })),
        }
    };
    (end(one, to_other, from_other), end(other, to_one, from_one))
}

impl Connection {
    pub(crate) async fn open(&self) -> Result<(Sender, Receiver), NetError> {
        let side = &self.side;
        let permit = tokio::select! {
            biased;
            error = side.dead() => return Err(error),
            permit = side.streams.clone().acquire_owned() => {
                Arc::new(permit.expect("the semaphore is never closed"))
            }
        };
        let (there_in, there_out) = pipe();
        let (back_in, back_out) = pipe();
        let arrives = Instant::now();
        let announce = Some(Streams { arrives, sender: back_in, receiver: there_out });
        Ok((
            Sender { side: side.clone(), pipe: there_in, announce, _permit: Some(permit.clone()) },
            Receiver { side: side.clone(), pipe: back_out, next: None, _permit: Some(permit) },
        ))
    }

    pub(crate) async fn accept(&self) -> Result<(Sender, Receiver), NetError> {
        let mut incoming = self.incoming.lock().await;
        let Incoming { announced, next } = &mut *incoming;
        if next.is_none() {
            tokio::select! {
                biased;
                error = self.side.dead() => return Err(error),
                Some(streams) = announced.recv() => *next = Some(streams),
            }
        }
        let arrives = next.as_ref().map_or_else(Instant::now, |streams| streams.arrives);
        tokio::select! {
            biased;
            error = self.side.dead() => return Err(error),
            () = sleep_until(arrives) => {}
        }
        let streams = next.take().expect("it was waited for under the lock");
        let side = &self.side;
        let sender =
            Sender { side: side.clone(), pipe: streams.sender, announce: None, _permit: None };
        let pipe = streams.receiver;
        Ok((sender, Receiver { side: side.clone(), pipe, next: None, _permit: None }))
    }

    pub(crate) fn close(&self, reason: &str) {
        self.side.link.end(Death::Closed { by: self.side.me, why: reason.into() });
    }

    pub(crate) async fn closed(&self) -> NetError {
        self.side.dead().await
    }

    pub(crate) fn close_reason(&self) -> Option<NetError> {
        self.side.link.error(self.side.me)
    }
}

/// Bytes and when they arrive.
type Piece = (Instant, Bytes);

#[derive(Debug)]
struct PipeIn {
    // `None` once the stream is finished or reset.
    pieces: Option<mpsc::Sender<Piece>>,
    codes: Arc<Mutex<Codes>>,
}

#[derive(Debug)]
struct PipeOut {
    pieces: mpsc::Receiver<Piece>,
    codes: Arc<Mutex<Codes>>,
}

/// Why a stream ended early.
#[derive(Debug, Default)]
struct Codes {
    reset: Option<u32>,
    stopped: Option<u32>,
    // The connection ended before the writer finished the stream.
    cut: bool,
}

fn pipe() -> (PipeIn, PipeOut) {
    let (sender, receiver) = mpsc::channel(PIPE_PIECES);
    let codes = Arc::<Mutex<Codes>>::default();
    (PipeIn { pieces: Some(sender), codes: codes.clone() }, PipeOut { pieces: receiver, codes })
}

fn lock(codes: &Mutex<Codes>) -> MutexGuard<'_, Codes> {
    codes.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
pub(crate) struct Sender {
    side: Arc<Side>,
    pipe: PipeIn,
    // The streams that the peer learns of with the first byte.
    announce: Option<Streams>,
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Sender {
    fn announce(&mut self) {
        if let Some(mut streams) = self.announce.take() {
            streams.arrives = Instant::now() + self.side.link.latency;
            if self.side.announce.send(streams).is_err() {
                tracing::trace!("the other end is gone");
            }
        }
    }

    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), NetError> {
        self.announce();
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(PIECE_BYTES));
            let Some(pieces) = &self.pipe.pieces else {
                return Err(NetError::Closed { why: "the stream is finished".into() });
            };
            let permit = tokio::select! {
                biased;
                error = self.side.dead() => return Err(error),
                permit = pieces.reserve() => permit,
            };
            match permit {
                Ok(permit) => permit.send((Instant::now() + self.side.link.latency, piece)),
                Err(_) => {
                    let code = lock(&self.pipe.codes).stopped.unwrap_or(0);
                    return Err(NetError::Reset { code });
                }
            }
        }
        Ok(())
    }

    pub(crate) fn finish(&mut self) {
        if self.pipe.pieces.is_some() {
            self.announce();
            lock(&self.pipe.codes).cut = self.side.link.error(self.side.me).is_some();
            self.pipe.pieces = None;
        }
    }

    pub(crate) fn reset(&mut self, code: u32) {
        if self.pipe.pieces.is_some() {
            lock(&self.pipe.codes).reset = Some(code);
            self.finish();
        }
    }

    pub(crate) async fn delivered(&mut self) -> Result<(), NetError> {
        let stopped = lock(&self.pipe.codes).stopped;
        if let Some(code) = stopped {
            return Err(NetError::Reset { code });
        }
        tokio::select! {
            biased;
            error = self.side.dead() => Err(error),
            () = sleep(self.side.link.latency) => Ok(()),
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.finish();
    }
}

#[derive(Debug)]
pub(crate) struct Receiver {
    side: Arc<Side>,
    pipe: PipeOut,
    next: Option<Piece>,
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Receiver {
    pub(crate) async fn read(&mut self) -> Result<Option<Bytes>, NetError> {
        if self.next.is_none() {
            self.next = match self.pipe.pieces.try_recv() {
                Ok(piece) => Some(piece),
                Err(_) => tokio::select! {
                    biased;
                    piece = self.pipe.pieces.recv() => piece,
                    error = self.side.dead() => return Err(error),
                },
            };
        }
        let Some((arrives, _)) = self.next else {
            let codes = lock(&self.pipe.codes);
            return match (codes.cut, codes.reset) {
                (true, _) => Err(self.side.link.error(self.side.me).expect("cut when it ended")),
                (false, Some(code)) => Err(NetError::Reset { code }),
                (false, None) if codes.stopped.is_some() => {
                    Err(NetError::Closed { why: "the stream was stopped here".into() })
                }
                (false, None) => Ok(None),
            };
        };
        if Instant::now() < arrives {
            tokio::select! {
                biased;
                error = self.side.dead() => return Err(error),
                () = sleep_until(arrives) => {}
            }
        }
        Ok(self.next.take().map(|(_, bytes)| bytes))
    }

    pub(crate) fn stop(&mut self, code: u32) {
        lock(&self.pipe.codes).stopped.get_or_insert(code);
        self.pipe.pieces.close();
    }
}

const ACCEPT_QUEUE: usize = 256;
/// Streams that one end may have open at once, as over QUIC.
const STREAMS_MAX: usize = 256;
/// Bytes of the largest piece that travels as one.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces on their way in one stream: 2 MiB.
const PIPE_PIECES: usize = 32;
