//! Real QUIC: the one place that names iroh.
//!
//! Nothing here contacts an outside host unless [`BindOptions`] names one: no relay, no address
//! look-up, no port mapping, no probes. A peer is dialled at the socket addresses it is known by.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ::iroh::{
    EndpointAddr, EndpointId, RelayMode, RelayUrl, SecretKey, TransportAddr,
    address_lookup::{DnsAddressLookup, PkarrPublisher, PkarrResolver},
    endpoint::{
        self as quic, BindOpts, ConnectError, ConnectWithOptsError, ConnectingError,
        ConnectionError, Incoming, MtuDiscoveryConfig, NetReportConfig, PortmapperConfig,
        QuicTransportConfig, ReadError, StoppedError, VarInt, WriteError, presets,
    },
};
use bytes::Bytes;
use symbolon_protocol::{
    id::PeerId,
    limits::{ADDRESS_BYTES_MAX, ADDRESSES_MAX},
};
use tokio::{
    sync::{Mutex, mpsc},
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::{
    address::{Alpn, PeerAddress},
    cipher::Cipher,
    endpoint::{self, ConnectionKind},
    error::NetError,
};

/// How to open a QUIC endpoint.
#[derive(Clone)]
pub struct BindOptions {
    /// The endpoint's ed25519 secret: its public half is the peer id.
    pub secret: [u8; 32],
    /// Where to listen: at most one IPv4 and one IPv6 address. Port 0 takes any free port.
    pub listen: Vec<SocketAddr>,
    /// Addresses under which others reach this endpoint from outside, for example a forwarded port.
    pub announce: Vec<SocketAddr>,
    /// What is answered; a client that is never called names nothing.
    pub accept: Vec<Alpn>,
    /// Relay servers, for peers that cannot be reached directly. Contacted as soon as any is named.
    pub relays: Vec<String>,
    /// Pkarr servers (`https://…/pkarr`) that addresses are published to and resolved from.
    pub pkarr: Vec<String>,
    /// DNS origin domains that addresses are resolved from.
    pub dns: Vec<String>,
    /// The cipher that is proposed first when a peer is dialled.
    pub cipher: Cipher,
}

impl BindOptions {
    /// An endpoint on this machine only, answering every protocol, contacting nobody by itself.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self {
            secret,
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            announce: Vec::new(),
            accept: Alpn::ALL.to_vec(),
            relays: Vec::new(),
            pkarr: Vec::new(),
            dns: Vec::new(),
            cipher: Cipher::Fastest,
        }
    }

    fn looks_up(&self) -> bool {
        !(self.pkarr.is_empty() && self.dns.is_empty())
    }

    fn builder(&self) -> Result<quic::Builder, NetError> {
        let bind = |what: &str, why: String| NetError::Bind { why: format!("{what}: {why}") };
        let alpns = self.accept.iter().map(|alpn| alpn.as_bytes().to_vec()).collect();
        let mut relays = Vec::new();
        for text in &self.relays {
            relays.push(text.parse::<RelayUrl>().map_err(|error| bind(text, error.to_string()))?);
        }
        let relay_mode = match relays.is_empty() {
            true => RelayMode::Disabled,
            false => RelayMode::custom(relays),
        };
        let mut builder = quic::Builder::new(presets::Minimal)
            .crypto_provider(self.cipher.provider())
            .secret_key(SecretKey::from_bytes(&self.secret))
            .alpns(alpns)
            .relay_mode(relay_mode)
            .clear_address_lookup()
            .portmapper_config(PortmapperConfig::Disabled)
            .net_report_config(NetReportConfig::minimal())
            .transport_config(transport()?)
            .clear_ip_transports();
        for address in &self.listen {
            builder = builder
                .bind_addr_with_opts(*address, BindOpts::default())
                .map_err(|error| bind(&address.to_string(), error.to_string()))?;
        }
        for address in &self.announce {
            builder = builder.external_addr(*address);
        }
        for text in &self.pkarr {
            let bad = |error: &dyn std::fmt::Display| bind(text, error.to_string());
            let publish = PkarrPublisher::builder(text.parse().map_err(|error| bad(&error))?);
            let resolve = PkarrResolver::builder(text.parse().map_err(|error| bad(&error))?);
            builder = builder.address_lookup(publish).address_lookup(resolve);
        }
        for origin in &self.dns {
            builder = builder.address_lookup(DnsAddressLookup::builder(origin.clone()));
        }
        Ok(builder)
    }
}

impl std::fmt::Debug for BindOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BindOptions")
            .field("listen", &self.listen)
            .field("announce", &self.announce)
            .field("accept", &self.accept)
            .field("relays", &self.relays)
            .field("pkarr", &self.pkarr)
            .field("dns", &self.dns)
            .field("cipher", &self.cipher)
            .finish_non_exhaustive()
    }
}

/// The peer id of an endpoint with this secret.
#[must_use]
pub fn peer_id(secret: &[u8; 32]) -> PeerId {
    PeerId(*SecretKey::from_bytes(secret).public().as_bytes())
}

fn transport() -> Result<QuicTransportConfig, NetError> {
    let mut sizes = MtuDiscoveryConfig::default();
    sizes.upper_bound(DATAGRAM_BYTES_MAX);
    let idle = IDLE.try_into().map_err(|_| NetError::Bind { why: "idle timeout".into() })?;
    Ok(QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .keep_alive_interval(KEEP_ALIVE)
        .max_idle_timeout(Some(idle))
        .mtu_discovery_config(Some(sizes))
        .build())
}

#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    inner: quic::Endpoint,
    options: Arc<BindOptions>,
    accepted: Arc<Mutex<mpsc::Receiver<endpoint::Connection>>>,
    _driver: Arc<Driver>,
}

/// The task that completes handshakes; gone with the last endpoint handle.
#[derive(Debug)]
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Endpoint {
    pub(crate) async fn bind(options: BindOptions) -> Result<Self, NetError> {
        let bound = options.builder()?.bind().await;
        let inner = bound.map_err(|error| NetError::Bind { why: error.to_string() })?;
        let (sender, receiver) = mpsc::channel(ACCEPT_QUEUE);
        let driver = tokio::spawn(accept_loop(inner.clone(), sender));
        Ok(Self {
            inner,
            options: Arc::new(options),
            accepted: Arc::new(Mutex::new(receiver)),
            _driver: Arc::new(Driver(driver)),
        })
    }

    pub(crate) fn id(&self) -> PeerId {
        PeerId(*self.inner.id().as_bytes())
    }

    pub(crate) fn address(&self) -> PeerAddress {
        let bound = self.inner.bound_sockets();
        let mut sockets: BTreeSet<SocketAddr> = self.options.announce.iter().copied().collect();
        sockets.extend(bound.iter().filter(|address| !address.ip().is_unspecified()));
        let known = self.inner.addr();
        sockets.extend(known.ip_addrs());
        if sockets.is_empty() {
            // Bound everywhere, no interface known yet: at least this machine reaches it.
            sockets.extend(bound.iter().map(|address| match address {
                SocketAddr::V4(v4) => SocketAddr::from((Ipv4Addr::LOCALHOST, v4.port())),
                SocketAddr::V6(v6) => SocketAddr::from((Ipv6Addr::LOCALHOST, v6.port())),
            }));
        }
        let relays = known.relay_urls().map(ToString::to_string);
        let texts = sockets.iter().map(ToString::to_string).chain(relays);
        let addresses = texts.filter(|text| text.len() <= ADDRESS_BYTES_MAX).take(ADDRESSES_MAX);
        PeerAddress { id: self.id(), addresses: addresses.collect() }
    }

    pub(crate) async fn connect(
        &self,
        peer: &PeerAddress,
        alpn: Alpn,
    ) -> Result<endpoint::Connection, NetError> {
        let unreachable = |why: &str| NetError::Unreachable { peer: peer.id, why: why.into() };
        let id = EndpointId::from_bytes(&peer.id.0)
            .map_err(|_| unreachable("its id is not an ed25519 public key"))?;
        let mut addresses: Vec<_> = peer.sockets().map(TransportAddr::Ip).collect();
        if !self.options.relays.is_empty() {
            // Without relays of our own, a relay named by somebody else is not contacted either.
            let urls = peer.addresses.iter().filter(|text| text.contains("://"));
            addresses.extend(urls.filter_map(|text| text.parse().ok().map(TransportAddr::Relay)));
        }
        if addresses.is_empty() && !self.options.looks_up() {
            return Err(unreachable("none of its addresses can be dialled from here"));
        }
        let dial = self.inner.connect(EndpointAddr::from_parts(id, addresses), alpn.as_bytes());
        match timeout(CONNECT, dial).await {
            Err(_) => Err(timed_out(CONNECT)),
            Ok(Err(error)) => Err(connect_error(peer.id, &error)),
            Ok(Ok(inner)) => {
                let kind = ConnectionKind::Iroh(Connection { inner });
                Ok(endpoint::Connection::new(alpn, peer.id, kind))
            }
        }
    }

    pub(crate) async fn accept(&self) -> Option<endpoint::Connection> {
        self.accepted.lock().await.recv().await
    }

    pub(crate) async fn close(&self) {
        self.inner.close().await;
    }
}

/// Takes in callers until the endpoint closes. Each handshake is a task of its own with a deadline;
/// whatever goes wrong in it ends with it.
async fn accept_loop(endpoint: quic::Endpoint, accepted: mpsc::Sender<endpoint::Connection>) {
    let mut handshakes = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Some(_) = handshakes.join_next() => continue,
        };
        let Some(incoming) = incoming else {
            return;
        };
        if HANDSHAKES_MAX <= handshakes.len() {
            tracing::debug!("too many handshakes at once: caller refused");
            incoming.refuse();
            continue;
        }
        let accepted = accepted.clone();
        handshakes.spawn(async move {
            match timeout(HANDSHAKE, handshake(incoming)).await {
                Err(_) => tracing::debug!("a caller did not complete its handshake in time"),
                Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                Ok(Ok(connection)) => {
                    if let Err(error) = accepted.try_send(connection) {
                        error.into_inner().close("busy");
                    }
                }
            }
        });
    }
}

async fn handshake(incoming: Incoming) -> Result<endpoint::Connection, NetError> {
    let accepting = incoming.accept().map_err(|error| connection_error(&error))?;
    let inner = accepting.await.map_err(|error| NetError::Lost { why: error.to_string() })?;
    let peer = PeerId(*inner.remote_id().as_bytes());
    match Alpn::from_bytes(inner.alpn()) {
        Some(alpn) => {
            let kind = ConnectionKind::Iroh(Connection { inner });
            Ok(endpoint::Connection::new(alpn, peer, kind))
        }
        None => Err(NetError::Refused { peer, why: "unknown protocol".into() }),
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Connection {
    inner: quic::Connection,
}

impl Connection {
    pub(crate) async fn open(&self) -> Result<(Sender, Receiver), NetError> {
        let (sender, receiver) =
            self.inner.open_bi().await.map_err(|error| connection_error(&error))?;
        Ok((Sender { inner: sender }, Receiver { inner: receiver }))
    }

    pub(crate) async fn accept(&self) -> Result<(Sender, Receiver), NetError> {
        let (sender, receiver) =
            self.inner.accept_bi().await.map_err(|error| connection_error(&error))?;
        Ok((Sender { inner: sender }, Receiver { inner: receiver }))
    }

    pub(crate) fn close(&self, reason: &str) {
        self.inner.close(VarInt::from_u32(0), reason.as_bytes());
    }

    pub(crate) async fn closed(&self) -> NetError {
        connection_error(&self.inner.closed().await)
    }

    pub(crate) fn close_reason(&self) -> Option<NetError> {
        self.inner.close_reason().map(|error| connection_error(&error))
    }
}

#[derive(Debug)]
pub(crate) struct Sender {
    inner: quic::SendStream,
}

impl Sender {
    pub(crate) async fn write(&mut self, bytes: Bytes) -> Result<(), NetError> {
        self.inner.write_chunk(bytes).await.map_err(|error| match error {
            WriteError::Stopped(code) => NetError::Reset { code: code_of(code) },
            WriteError::ConnectionLost(error) => connection_error(&error),
            error => NetError::Closed { why: error.to_string() },
        })
    }

    pub(crate) fn finish(&mut self) {
        // Fails only when the stream has already been finished or reset.
        if let Err(error) = self.inner.finish() {
            tracing::trace!(%error, "finish");
        }
    }

    pub(crate) fn reset(&mut self, code: u32) {
        if let Err(error) = self.inner.reset(VarInt::from_u32(code)) {
            tracing::trace!(%error, "reset");
        }
    }

    pub(crate) async fn delivered(&mut self) -> Result<(), NetError> {
        match self.inner.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(NetError::Reset { code: code_of(code) }),
            Err(StoppedError::ConnectionLost(error)) => Err(connection_error(&error)),
            Err(error) => Err(NetError::Closed { why: error.to_string() }),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Receiver {
    inner: quic::RecvStream,
}

impl Receiver {
    pub(crate) async fn read(&mut self, max: usize) -> Result<Option<Bytes>, NetError> {
        self.inner.read_chunk(max).await.map_err(read_error)
    }

    pub(crate) async fn read_into(&mut self, out: &mut [u8]) -> Result<usize, NetError> {
        Ok(self.inner.read(out).await.map_err(read_error)?.unwrap_or(0))
    }

    pub(crate) fn stop(&mut self, code: u32) {
        if let Err(error) = self.inner.stop(VarInt::from_u32(code)) {
            tracing::trace!(%error, "stop");
        }
    }
}

fn read_error(error: ReadError) -> NetError {
    match error {
        ReadError::Reset(code) => NetError::Reset { code: code_of(code) },
        ReadError::ConnectionLost(error) => connection_error(&error),
        error => NetError::Closed { why: error.to_string() },
    }
}

/// Codes of this protocol are `u32`; a larger one comes from a foreign program.
fn code_of(code: VarInt) -> u32 {
    u32::try_from(code.into_inner()).unwrap_or(u32::MAX)
}

fn timed_out(after: Duration) -> NetError {
    NetError::TimedOut { after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX) }
}

fn connection_error(error: &ConnectionError) -> NetError {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            NetError::Closed { why: String::from_utf8_lossy(&close.reason).into_owned() }
        }
        ConnectionError::LocallyClosed => NetError::Closed { why: "closed here".into() },
        error => NetError::Lost { why: error.to_string() },
    }
}

fn connect_error(peer: PeerId, error: &ConnectError) -> NetError {
    let connection = match error {
        ConnectError::Connect { source: ConnectWithOptsError::EndpointClosed { .. }, .. } => {
            return NetError::Closed { why: "this endpoint is closed".into() };
        }
        ConnectError::Connecting {
            source: ConnectingError::ConnectionError { source, .. },
            ..
        }
        | ConnectError::Connection { source, .. } => source,
        error => return NetError::Unreachable { peer, why: error.to_string() },
    };
    match connection {
        // The handshake reached the peer and ended with an alert: no common protocol, wrong key, full.
        ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::TransportError(_) => {
            NetError::Refused { peer, why: connection.to_string() }
        }
        ConnectionError::TimedOut => timed_out(IDLE),
        other => NetError::Unreachable { peer, why: other.to_string() },
    }
}

/// Longest a dialled peer may take: nobody waits longer for one of many nodes.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest a caller may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at once: more callers are refused, which costs one packet. Asking them to come again (Retry, RFC
/// 9000 8.1.2) would keep made-up addresses from taking places; iroh 1.4.1 makes the token's key of 32 bytes with
/// the first cipher of the provider, and panics where that is AES-128.
const HANDSHAKES_MAX: usize = 256;
/// Connections that wait for [`Endpoint::accept`].
const ACCEPT_QUEUE: usize = 256;
/// A third of the idle timeout: two lost keep-alives do not end a connection.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// How long a silent peer is believed to be alive.
const IDLE: Duration = Duration::from_secs(15);
/// The largest datagram that is tried on a path: what an Ethernet frame holds over IPv4, and what iroh
/// tells peers it takes. Paths that carry less show it, and get less.
const DATAGRAM_BYTES_MAX: u16 = 1472;
/// Streams a peer may have open at once.
const STREAMS_MAX: u32 = 256;
/// One stream: 160 Mbit/s at a round trip of 100 ms; whoever wants more opens several. It cannot be
/// larger: noq 1.4.0 keeps what has not been read packet by packet and ends the whole connection
/// ("too many gaps in stream buffer") at 2048 packets, so 2048 packets of the smallest full size,
/// about 1150 bytes, must fill the window.
const STREAM_WINDOW_BYTES: u32 = 2_000_000;
/// All streams of a connection: what one peer can make this machine hold.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
