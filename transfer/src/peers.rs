//! Connections to storage nodes: opened once, used for every stream, opened anew when they broke.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use symbolon_net::{Alpn, Connection, Endpoint, Host, NetError, PeerAddress, Receiver, Sender};
use symbolon_protocol::{
    codec::Encode,
    id::NodeId,
    session::NodeFault,
    wire::storage::{Refusal, Request, Response},
};
use thiserror::Error;
use tokio::sync::Mutex;

/// How long a node has to say that it is there, where all are that slow. Whoever asks several gives up on
/// those that are much slower than the others.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

/// Why an exchange with a node failed.
#[derive(Debug, Error)]
pub enum PeerError {
    /// No connection, or it broke.
    #[error(transparent)]
    Net(#[from] NetError),
    /// It said no.
    #[error("the node refused ({:?}): {}", .0.code, .0.message)]
    Refused(Refusal),
    /// Its answer is none to what was asked, or carries a false signature.
    #[error("the node gave a false answer")]
    Confused,
    /// It did not answer in time.
    #[error("the node did not answer in time")]
    TimedOut,
}

impl PeerError {
    /// What the node did wrong.
    #[must_use]
    pub fn fault(&self) -> NodeFault {
        match self {
            Self::Net(error) => {
                tracing::debug!(%error, "a node did not answer");
                NodeFault::Offline
            }
            Self::Refused(refusal) => NodeFault::Refused { code: refusal.code },
            Self::Confused => NodeFault::Confused,
            Self::TimedOut => NodeFault::Slow,
        }
    }
}

/// For how long a node that could not be reached is not tried again, in milliseconds: many streams
/// want it at once, and each would wait for the same silence.
const DOWN_MS: u64 = 5_000;

#[derive(Debug, Default)]
struct State {
    open: Option<Connection>,
    down_until_ms: u64,
}

type Slot = Arc<Mutex<State>>;

/// One connection per node, and per addresses it was dialled at: what was known of a node before the ledger was
/// asked may be out of date, and then nobody waits for it.
#[derive(Debug)]
pub struct Peers {
    endpoint: Endpoint,
    host: Host,
    slots: Mutex<BTreeMap<PeerAddress, Slot>>,
}

/// Of all addresses of a node the first in order.
fn lowest(node: NodeId) -> PeerAddress {
    PeerAddress { id: node, addresses: Vec::new() }
}

/// The connection of a slot, if it is open and nobody is dialling.
fn open_one(slot: &Slot) -> Option<Connection> {
    let slot = slot.try_lock().ok()?;
    slot.open.as_ref().filter(|open| open.close_reason().is_none()).cloned()
}

impl Peers {
    /// Nobody is dialled yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, host: Host) -> Self {
        Self { endpoint, host, slots: Mutex::new(BTreeMap::new()) }
    }

    /// The connection to a node, dialled when there is none. Nodes are dialled side by side; callers
    /// for the same node share one dial. It goes on when who waits for it gives up, as readers do that
    /// have enough without this node: else a node that is gone would be dialled for ever and never be
    /// known to be gone.
    async fn connection(&self, node: &PeerAddress) -> Result<Connection, NetError> {
        if let Some((_, connection)) = self.open_to(node.id).await {
            return Ok(connection);
        }
        let slot = self.slots.lock().await.entry(node.clone()).or_default().clone();
        let mut slot = slot.lock_owned().await;
        if let Some(connection) = slot.open.as_ref().filter(|open| open.close_reason().is_none()) {
            return Ok(connection.clone());
        }
        if self.host.ticks_ms() < slot.down_until_ms {
            let peer = node.id;
            return Err(NetError::Unreachable {
                peer,
                why: "it did not answer a moment ago".into(),
            });
        }
        let (endpoint, host, address) = (self.endpoint.clone(), self.host.clone(), node.clone());
        let dial = tokio::spawn(async move {
            let dialled = endpoint.connect(&address, Alpn::Storage).await;
            match &dialled {
                Ok(connection) => slot.open = Some(connection.clone()),
                Err(_) => slot.down_until_ms = host.ticks_ms() + DOWN_MS,
            }
            dialled
        });
        dial.await.unwrap_or_else(|error| {
            Err(NetError::Unreachable { peer: node.id, why: error.to_string() })
        })
    }

    /// An open connection to a node, whatever address it was dialled at: who answers has proven to be it.
    async fn open_to(&self, node: NodeId) -> Option<(PeerAddress, Connection)> {
        let slots = self.slots.lock().await;
        let own = slots.range(lowest(node)..).take_while(|(address, _)| address.id == node);
        own.filter_map(|(address, slot)| Some((address.clone(), open_one(slot)?))).next()
    }

    /// Where a node is connected to just now.
    pub async fn connected(&self, node: NodeId) -> Option<PeerAddress> {
        self.open_to(node).await.map(|(address, _)| address)
    }

    /// All nodes that are connected to just now.
    pub async fn all_connected(&self) -> Vec<PeerAddress> {
        let slots = self.slots.lock().await;
        let open = slots.iter().filter(|(_, slot)| open_one(slot).is_some());
        open.map(|(address, _)| address.clone()).collect()
    }

    /// Begins to dial nodes that may be wanted soon.
    pub fn greet(self: &Arc<Self>, nodes: Vec<PeerAddress>) {
        for node in nodes {
            let peers = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = peers.connection(&node).await {
                    tracing::debug!(node = %node.id, %error, "a node that was met before is away");
                }
            });
        }
    }

    /// Whether a node answers now. A connection alone says little: one to a machine that was switched
    /// off looks open until it times out.
    pub async fn answers(&self, node: &PeerAddress) -> bool {
        let answer = self.ask(node, &Request::Info, ANSWER_PATIENCE).await;
        if matches!(answer, Err(PeerError::TimedOut)) {
            let down = State { open: None, down_until_ms: self.host.ticks_ms() + DOWN_MS };
            let mut slots = self.slots.lock().await;
            slots.retain(|address, _| address.id != node.id);
            slots.insert(node.clone(), Arc::new(Mutex::new(down)));
        }
        matches!(answer, Ok(Response::Info { .. }))
    }

    /// Opens a stream and sends a request.
    pub async fn request(
        &self,
        node: &PeerAddress,
        request: &Request,
    ) -> Result<(Sender, Receiver), PeerError> {
        tracing::trace!(node = %node.id, kind = request.to_bytes().first(), "asking a node");
        let connection = self.connection(node).await?;
        let (mut sender, receiver) = connection.open().await?;
        sender.send(request).await?;
        Ok((sender, receiver))
    }

    /// Sends a request that has one answer.
    pub async fn ask(
        &self,
        node: &PeerAddress,
        request: &Request,
        patience: Duration,
    ) -> Result<Response, PeerError> {
        let exchange = async {
            let (mut sender, mut receiver) = self.request(node, request).await?;
            sender.finish();
            response(&mut receiver).await
        };
        self.within(patience, exchange).await
    }

    /// Bounds an exchange in time.
    pub async fn within<T>(
        &self,
        patience: Duration,
        exchange: impl Future<Output = Result<T, PeerError>>,
    ) -> Result<T, PeerError> {
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let until = self.host.ticks_ms().saturating_add(patience_ms);
        tokio::select! {
            biased;
            done = exchange => done,
            () = self.host.sleep_until_tick(until) => Err(PeerError::TimedOut),
        }
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.endpoint.close().await;
    }
}

/// Reads an answer; a refusal is an error.
pub async fn response(receiver: &mut Receiver) -> Result<Response, PeerError> {
    match receiver.receive::<Response>().await? {
        Response::Refused { refusal } => Err(PeerError::Refused(refusal)),
        response => Ok(response),
    }
}
