//! Connections to storage nodes. A connection is opened once, used for all streams, and opened
//! again when it breaks.

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

/// The longest time for a node to answer whether it is there. A caller that asks several nodes
/// gives up earlier on those that are much slower than the others.
const ANSWER_PATIENCE: Duration = Duration::from_secs(15);

/// Why an exchange with a node failed.
#[derive(Debug, Error)]
pub enum PeerError {
    /// The connection could not be opened, or it broke.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The node refused the request.
    #[error("the node refused ({:?}): {}", .0.code, .0.message)]
    Refused(Refusal),
    /// The answer does not fit the request, or its signature is false.
    #[error("the node gave a false answer")]
    Confused,
    /// The node did not answer in time.
    #[error("the node did not answer in time")]
    TimedOut,
}

impl PeerError {
    /// The node's fault.
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

/// Milliseconds after a failed dial during which a node is not dialled again. Many streams may need
/// it at once, and each would wait for the same silent node.
const DOWN_MS: u64 = 5_000;

#[derive(Debug, Default)]
struct State {
    open: Option<Connection>,
    down_until_ms: u64,
}

type Slot = Arc<Mutex<State>>;

/// One connection for each node and each list of addresses that it was dialled at. Addresses from
/// before the ledger was asked may be out of date, so a dial with newer ones does not wait for
/// them.
#[derive(Debug)]
pub struct Peers {
    endpoint: Endpoint,
    host: Host,
    slots: Mutex<BTreeMap<PeerAddress, Slot>>,
}

/// A key that sorts before all addresses of a node.
fn lowest(node: NodeId) -> PeerAddress {
    PeerAddress { id: node, addresses: Vec::new() }
}

/// The connection of a slot, if it is open and no task is dialling.
fn open_one(slot: &Slot) -> Option<Connection> {
    let slot = slot.try_lock().ok()?;
    slot.open.as_ref().filter(|open| open.close_reason().is_none()).cloned()
}

impl Peers {
    /// The endpoint that dials them, for peers that are no nodes.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// No connections yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, host: Host) -> Self {
        Self { endpoint, host, slots: Mutex::new(BTreeMap::new()) }
    }

    /// The connection to a node, dialled if there is none. Different nodes are dialled side by
    /// side. Callers for the same node share one dial.
    ///
    /// The dial goes on when its callers give up, as readers do that have enough without this node.
    /// Otherwise an absent node would be dialled again and again, and its absence would never be
    /// recorded.
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

    /// An open connection to a node, at any address: the node has proven its key.
    async fn open_to(&self, node: NodeId) -> Option<(PeerAddress, Connection)> {
        let slots = self.slots.lock().await;
        let own = slots.range(lowest(node)..).take_while(|(address, _)| address.id == node);
        own.filter_map(|(address, slot)| Some((address.clone(), open_one(slot)?))).next()
    }

    /// The address at which a node is connected now.
    pub async fn connected(&self, node: NodeId) -> Option<PeerAddress> {
        self.open_to(node).await.map(|(address, _)| address)
    }

    /// The addresses of all nodes that are connected now.
    pub async fn all_connected(&self) -> Vec<PeerAddress> {
        let slots = self.slots.lock().await;
        let open = slots.iter().filter(|(_, slot)| open_one(slot).is_some());
        open.map(|(address, _)| address.clone()).collect()
    }

    /// Dials nodes that may be needed soon, in tasks of their own.
    pub fn greet(self: &Arc<Self>, nodes: Vec<PeerAddress>) {
        for node in nodes {
            let peers = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = peers.connection(&node).await {
                    tracing::debug!(node = %node.id, %error, "a node that answered before is unreachable");
                }
            });
        }
    }

    /// Whether a node answers now. An open connection proves little: one to a machine that was
    /// switched off looks open until it times out.
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

    /// Limits the time of an exchange.
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

    /// Closes all connections.
    pub async fn close(&self) {
        self.endpoint.close().await;
    }
}

/// Reads an answer. A refusal is an error.
pub async fn response(receiver: &mut Receiver) -> Result<Response, PeerError> {
    match receiver.receive::<Response>().await? {
        Response::Refused { refusal } => Err(PeerError::Refused(refusal)),
        response => Ok(response),
    }
}
