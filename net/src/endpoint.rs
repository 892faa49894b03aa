//! An endpoint and its connections, over either transport.

use std::net::IpAddr;

use symbolon_protocol::id::PeerId;

use crate::{
    address::{Alpn, PeerAddress},
    error::NetError,
    memory,
    quic::{self, BindOptions},
    stream::{Receiver, ReceiverKind, Sender, SenderKind},
};

/// Where this program answers and dials from, under one key. Clones are the same endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Iroh(quic::Endpoint),
    Memory(memory::Endpoint),
}

impl Endpoint {
    /// Opens a QUIC endpoint.
    pub async fn iroh(options: BindOptions) -> Result<Self, NetError> {
        Ok(Self { kind: Kind::Iroh(quic::Endpoint::bind(options).await?) })
    }

    pub(crate) fn memory(endpoint: memory::Endpoint) -> Self {
        Self { kind: Kind::Memory(endpoint) }
    }

    /// The key it answers with.
    #[must_use]
    pub fn id(&self) -> PeerId {
        match &self.kind {
            Kind::Iroh(endpoint) => endpoint.id(),
            Kind::Memory(endpoint) => endpoint.id(),
        }
    }

    /// How others reach it.
    #[must_use]
    pub fn address(&self) -> PeerAddress {
        match &self.kind {
            Kind::Iroh(endpoint) => endpoint.address(),
            Kind::Memory(endpoint) => endpoint.address(),
        }
    }

    /// Calls a peer. Fails within the connect timeout when nobody answers, and when whoever answers
    /// does not hold the peer's key.
    pub async fn connect(&self, peer: &PeerAddress, alpn: Alpn) -> Result<Connection, NetError> {
        match &self.kind {
            Kind::Iroh(endpoint) => endpoint.connect(peer, alpn).await,
            Kind::Memory(endpoint) => endpoint.connect(peer, alpn).await,
        }
    }

    /// The next connection somebody made; `None` once the endpoint is closed. Handshakes go on
    /// beside this, so neither a slow nor a broken caller holds up the next one.
    pub async fn accept(&self) -> Option<Connection> {
        match &self.kind {
            Kind::Iroh(endpoint) => endpoint.accept().await,
            Kind::Memory(endpoint) => endpoint.accept().await,
        }
    }

    /// Closes all connections and stops answering.
    pub async fn close(&self) {
        match &self.kind {
            Kind::Iroh(endpoint) => endpoint.close().await,
            Kind::Memory(endpoint) => endpoint.close(),
        }
    }
}

/// A connection with a peer whose key is proven. Closed when the last clone and stream is dropped.
#[derive(Clone, Debug)]
pub struct Connection {
    alpn: Alpn,
    peer: PeerId,
    kind: ConnectionKind,
}

#[derive(Clone, Debug)]
pub(crate) enum ConnectionKind {
    Iroh(quic::Connection),
    Memory(memory::Connection),
}

impl Connection {
    pub(crate) fn new(alpn: Alpn, peer: PeerId, kind: ConnectionKind) -> Self {
        Self { alpn, peer, kind }
    }

    /// Who is at the other end.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// The address from which somebody called; `None` for one that was called from here, over a relay or in memory.
    #[must_use]
    pub fn remote(&self) -> Option<IpAddr> {
        match &self.kind {
            ConnectionKind::Iroh(connection) => connection.remote(),
            ConnectionKind::Memory(_) => None,
        }
    }

    /// What the connection is for.
    #[must_use]
    pub fn alpn(&self) -> Alpn {
        self.alpn
    }

    /// Opens a stream. The peer learns of it with the first byte sent. Waits while the peer has as
    /// many streams open as it allows.
    pub async fn open(&self) -> Result<(Sender, Receiver), NetError> {
        match &self.kind {
            ConnectionKind::Iroh(connection) => {
                let (sender, receiver) = connection.open().await?;
                Ok(iroh_streams(sender, receiver))
            }
            ConnectionKind::Memory(connection) => {
                let (sender, receiver) = connection.open().await?;
                Ok(memory_streams(sender, receiver))
            }
        }
    }

    /// The next stream the peer opened.
    pub async fn accept(&self) -> Result<(Sender, Receiver), NetError> {
        match &self.kind {
            ConnectionKind::Iroh(connection) => {
                let (sender, receiver) = connection.accept().await?;
                Ok(iroh_streams(sender, receiver))
            }
            ConnectionKind::Memory(connection) => {
                let (sender, receiver) = connection.accept().await?;
                Ok(memory_streams(sender, receiver))
            }
        }
    }

    /// Closes the connection; the peer is told why. What it has not received yet is lost.
    pub fn close(&self, reason: &str) {
        match &self.kind {
            ConnectionKind::Iroh(connection) => connection.close(reason),
            ConnectionKind::Memory(connection) => connection.close(reason),
        }
    }

    /// Waits until the connection has ended, and says why.
    pub async fn closed(&self) -> NetError {
        match &self.kind {
            ConnectionKind::Iroh(connection) => connection.closed().await,
            ConnectionKind::Memory(connection) => connection.closed().await,
        }
    }

    /// Why the connection has ended; `None` while it lives.
    #[must_use]
    pub fn close_reason(&self) -> Option<NetError> {
        match &self.kind {
            ConnectionKind::Iroh(connection) => connection.close_reason(),
            ConnectionKind::Memory(connection) => connection.close_reason(),
        }
    }
}

fn iroh_streams(sender: quic::Sender, receiver: quic::Receiver) -> (Sender, Receiver) {
    (Sender::new(SenderKind::Iroh(sender)), Receiver::new(ReceiverKind::Iroh(receiver)))
}

fn memory_streams(sender: memory::Sender, receiver: memory::Receiver) -> (Sender, Receiver) {
    (Sender::new(SenderKind::Memory(sender)), Receiver::new(ReceiverKind::Memory(receiver)))
}
