//! An endpoint and its connections, over QUIC or in memory.

use std::net::IpAddr;

use symbolon_protocol::id::PeerId;

use crate::{
    address::{Alpn, PeerAddress},
    error::NetError,
    memory,
    quic::{self, BindOptions},
    stream::{Receiver, ReceiverKind, Sender, SenderKind},
};

/// The point from which this program dials and answers, under one key. Clones are the same
/// endpoint.
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

    /// The key that the endpoint answers with.
    #[must_use]
    pub fn id(&self) -> PeerId {
        match &self.kind {
            Kind::Iroh(endpoint) => endpoint.id(),
            Kind::Memory(endpoint) => endpoint.id(),
        }
    }

    /// The addresses at which others reach the endpoint.
    #[must_use]
    pub fn address(&self) -> PeerAddress {
        match &self.kind {
            Kind::Iroh(endpoint) => endpoint.address(),
            Kind::Memory(endpoint) => endpoint.address(),
        }
    }

    /// Calls a peer. Fails within the connect timeout when no peer answers. Fails when the
    /// answering peer does not hold the expected key.
    pub async fn connect(&self, peer: &PeerAddress, alpn: Alpn) -> Result<Connection, NetError> {
        match &self.kind {
            Kind::Iroh(endpoint) => endpoint.connect(peer, alpn).await,
            Kind::Memory(endpoint) => endpoint.connect(peer, alpn).await,
        }
    }

    /// The next connection that a caller made; `None` once the endpoint is closed. Handshakes run
    /// in tasks of their own, so a slow or broken caller does not delay the next one.
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

/// A connection with a peer whose key is proven. It closes when its last clone and its last stream
/// are dropped.
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

    /// The key of the peer at the other end.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// The IP address that the peer called from. `None` if this side dialled, and for connections
    /// over a relay or in memory.
    #[must_use]
    pub fn remote(&self) -> Option<IpAddr> {
        match &self.kind {
            ConnectionKind::Iroh(connection) => connection.remote(),
            ConnectionKind::Memory(_) => None,
        }
    }

    /// The protocol of the connection.
    #[must_use]
    pub fn alpn(&self) -> Alpn {
        self.alpn
    }

    /// Opens a stream. The peer learns of it with the first byte sent. Waits while this side has as
    /// many streams open as the peer allows.
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

    /// The next stream that the peer opened.
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

    /// Closes the connection and gives the peer the reason. Bytes that the peer has not received
    /// yet are lost.
    pub fn close(&self, reason: &str) {
        match &self.kind {
            ConnectionKind::Iroh(connection) => connection.close(reason),
            ConnectionKind::Memory(connection) => connection.close(reason),
        }
    }

    /// Waits until the connection has ended, and returns why.
    pub async fn closed(&self) -> NetError {
        match &self.kind {
            ConnectionKind::Iroh(connection) => connection.closed().await,
            ConnectionKind::Memory(connection) => connection.closed().await,
        }
    }

    /// Why the connection has ended; `None` while it is open.
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
