//! Real QUIC, over iroh.
//!
//! Nothing here contacts an outside host unless [`BindOptions`] names one: no relay, no address
//! look-up, no port mapping, no probes. A peer is dialled at the socket addresses that the caller
//! hands in.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use ::iroh::{
    EndpointAddr, EndpointId, RelayMode, RelayUrl, SecretKey, TransportAddr,
    address_lookup::{DnsAddressLookup, PkarrPublisher, PkarrResolver},
    endpoint::{
        self as quic, BindOpts, ConnectError, ConnectOptions, ConnectWithOptsError,
        ConnectingError, ConnectionError, Incoming, IncomingAddr, MtuDiscoveryConfig,
        NetReportConfig, PortmapperConfig, QuicTransportConfig, ReadError, StoppedError, VarInt,
        WriteError, presets,
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
    address::{Alpn, Announced, PeerAddress},
    cipher::Cipher,
    congestion::Congestion,
    crowd::{Bounds, Group},
    endpoint::{self, ConnectionKind},
    error::NetError,
    gate::Gate,
};

/// How to open a QUIC endpoint.
#[derive(Clone)]
pub struct BindOptions {
    /// The endpoint's ed25519 secret: its public half is the peer id.
    pub secret: [u8; 32],
    /// Where to listen: at most one IPv4 and one IPv6 address. Port 0 takes any free port. `[::]`
    /// alone means all addresses of both families. The endpoint dials over both families,
    /// independent of this list.
    pub listen: Vec<SocketAddr>,
    /// Addresses and names under which others reach this endpoint from outside, for example a forwarded port.
    pub announce: Vec<Announced>,
    /// The protocols that are answered. A client, which no peer calls, names none.
    pub accept: Vec<Alpn>,
    /// Relay servers, for peers that cannot be reached directly. They are contacted as soon as one
    /// is named.
    pub relays: Vec<String>,
    /// Pkarr servers (`https://…/pkarr`). This endpoint publishes its address to them and resolves
    /// others' addresses from them.
    pub pkarr: Vec<String>,
    /// DNS origin domains from which addresses are resolved.
    pub dns: Vec<String>,
    /// The cipher that is proposed first when a peer is dialled.
    pub cipher: Cipher,
    /// How this endpoint decides how many bytes may be in flight.
    pub congestion: Congestion,
}

impl BindOptions {
    /// An endpoint on this machine only. It answers every protocol and contacts no outside host.
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
            congestion: Congestion::default(),
        }
    }

    /// Whether this endpoint answers over a family, and does not only dial over it.
    fn answers(&self, v6: bool) -> bool {
        let everywhere = |address: &SocketAddr| address.is_ipv6() && address.ip().is_unspecified();
        self.listen.iter().any(|address| address.is_ipv6() == v6 || !v6 && everywhere(address))
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
            .transport_config(transport(OF_NODES, ANSWERED_WINDOW_BYTES, self.congestion)?)
            .clear_ip_transports();
        for (address, needed) in sockets(&self.listen) {
            builder = builder
                .bind_addr_with_opts(address, BindOpts::default().set_is_required(needed))
                .map_err(|error| bind(&address.to_string(), error.to_string()))?;
        }
        for address in &self.announce {
            if let Announced::Socket(address) = address {
                builder = builder.external_addr(*address);
            }
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
            .field("congestion", &self.congestion)
            .finish_non_exhaustive()
    }
}

/// The sockets of an endpoint that listens at these addresses, each with a flag: whether the
/// endpoint is of no use without it.
///
/// A family without a listening address gets a socket to dial from, because a peer may be known by
/// addresses of that family alone. If all listening addresses are loopback addresses, that socket
/// is one too.
fn sockets(listen: &[SocketAddr]) -> Vec<(SocketAddr, bool)> {
    let mut sockets: Vec<_> = listen.iter().map(|address| (*address, true)).collect();
    let here_only = listen.iter().all(|address| address.ip().is_loopback());
    let everywhere =
        listen.iter().find(|address| address.is_ipv6() && address.ip().is_unspecified());
    if !listen.is_empty() && !listen.iter().any(SocketAddr::is_ipv4) {
        let ip = if here_only { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        sockets.push((SocketAddr::from((ip, everywhere.map_or(0, SocketAddr::port))), false));
    }
    if !listen.is_empty() && !listen.iter().any(SocketAddr::is_ipv6) {
        let ip = if here_only { Ipv6Addr::LOCALHOST } else { Ipv6Addr::UNSPECIFIED };
        sockets.push((SocketAddr::from((ip, 0)), false));
    }
    sockets
}

/// The peer id of an endpoint with this secret.
#[must_use]
pub fn peer_id(secret: &[u8; 32]) -> PeerId {
    PeerId(*SecretKey::from_bytes(secret).public().as_bytes())
}

/// How soon a silent peer is given up. An idle connection carries a packet every `keep_alive`, so a
/// peer is given up after at most the sum of both.
#[derive(Clone, Copy, Debug)]
struct Silence {
    keep_alive: Duration,
    idle: Duration,
}

fn transport(
    silence: Silence,
    window_bytes: u32,
    congestion: Congestion,
) -> Result<QuicTransportConfig, NetError> {
    let mut sizes = MtuDiscoveryConfig::default();
    sizes.upper_bound(DATAGRAM_BYTES_MAX);
    let idle =
        silence.idle.try_into().map_err(|_| NetError::Bind { why: "idle timeout".into() })?;
    Ok(QuicTransportConfig::builder()
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(window_bytes))
        .send_window(u64::from(SEND_WINDOW_BYTES))
        .keep_alive_interval(silence.keep_alive)
        .max_idle_timeout(Some(idle))
        .mtu_discovery_config(Some(sizes))
        .congestion_controller_factory(congestion.factory())
        .build())
}

#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    inner: quic::Endpoint,
    options: Arc<BindOptions>,
    accepted: Arc<Mutex<mpsc::Receiver<endpoint::Connection>>>,
    _driver: Arc<Driver>,
}

/// The task that completes handshakes. It ends with the last endpoint handle.
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
        let answered = |address: &SocketAddr| self.options.answers(address.is_ipv6());
        let bound: Vec<_> = self.inner.bound_sockets().into_iter().filter(answered).collect();
        let announced = self.options.announce.iter();
        let (mut sockets, mut names) = (BTreeSet::new(), Vec::new());
        for announced in announced {
            match announced {
                Announced::Socket(socket) => drop(sockets.insert(*socket)),
                Announced::Name(name) => names.push(name.clone()),
            }
        }
        sockets.extend(bound.iter().filter(|address| !address.ip().is_unspecified()));
        let known = self.inner.addr();
        sockets.extend(known.ip_addrs().copied().filter(answered));
        if sockets.is_empty() {
            // Bound to all addresses, and no interface is known yet: at least this machine can
            // reach it.
            sockets.extend(bound.iter().map(|address| match address {
                SocketAddr::V4(v4) => SocketAddr::from((Ipv4Addr::LOCALHOST, v4.port())),
                SocketAddr::V6(v6) => SocketAddr::from((Ipv6Addr::LOCALHOST, v6.port())),
            }));
        }
        let relays = known.relay_urls().map(ToString::to_string);
        let texts = names.into_iter().chain(sockets.iter().map(ToString::to_string)).chain(relays);
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
        let mut sockets: BTreeSet<SocketAddr> = peer.sockets().collect();
        sockets.extend(look_up(peer).await);
        let mut addresses: Vec<_> = sockets.into_iter().map(TransportAddr::Ip).collect();
        if !self.options.relays.is_empty() {
            // Without relays of its own, this endpoint does not contact a relay that a peer names.
            let urls = peer.addresses.iter().filter(|text| text.contains("://"));
            addresses.extend(urls.filter_map(|text| text.parse().ok().map(TransportAddr::Relay)));
        }
        if addresses.is_empty() && !self.options.looks_up() {
            return Err(unreachable("none of its addresses can be dialled from here"));
        }
        let (silence, longest) = match alpn {
            Alpn::Storage | Alpn::Preview => (OF_NODES, CONNECT),
            Alpn::Ledger | Alpn::Consensus => (OF_LEDGERS, CONNECT_LEDGER),
        };
        let transport = transport(silence, DIALLED_WINDOW_BYTES, self.options.congestion)?;
        let options = ConnectOptions::new().with_transport_config(transport);
        let address = EndpointAddr::from_parts(id, addresses);
        let dial = async {
            let dialled = self.inner.connect_with_opts(address, alpn.as_bytes(), options).await;
            let dialled = dialled.map_err(|error| connect_error(peer.id, &error.into()))?;
            dialled.await.map_err(|error| connect_error(peer.id, &error.into()))
        };
        match timeout(longest, dial).await {
            Err(_) => Err(timed_out(longest)),
            Ok(Err(error)) => Err(error),
            Ok(Ok(inner)) => {
                let kind = ConnectionKind::Iroh(Connection { inner, remote: None });
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

/// The addresses that a peer's names stand for. Bounded in the number of names, in the addresses of
/// each name and in time. The time is shortest when the peer has addresses besides its names.
async fn look_up(peer: &PeerAddress) -> Vec<SocketAddr> {
    let patience = if peer.sockets().next().is_some() { LOOK_UP_BESIDE } else { LOOK_UP };
    let mut looking = JoinSet::new();
    for name in peer.names().take(NAMES_MAX) {
        let name = name.to_owned();
        looking.spawn(async move {
            match timeout(patience, tokio::net::lookup_host(name.as_str())).await {
                Ok(Ok(resolved)) => resolved.take(ADDRESSES_OF_NAME_MAX).collect(),
                Ok(Err(error)) => {
                    tracing::debug!(name, %error, "a peer's name was not found");
                    Vec::new()
                }
                Err(_) => {
                    tracing::debug!(name, "looking up a peer's name took too long");
                    Vec::new()
                }
            }
        });
    }
    let mut addresses = Vec::new();
    while let Some(resolved) = looking.join_next().await {
        addresses.extend(resolved.unwrap_or_default());
    }
    addresses
}

/// Accepts callers until the endpoint closes. Each handshake is a task of its own with a deadline,
/// and an error in it ends only that task. When there are too many handshakes, one that takes long
/// gives way.
async fn accept_loop(endpoint: quic::Endpoint, accepted: mpsc::Sender<endpoint::Connection>) {
    let gate = Gate::new(HANDSHAKES);
    let mut handshakes = JoinSet::new();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            Some(_) = handshakes.join_next() => continue,
        };
        let Some(incoming) = incoming else {
            return;
        };
        let remote = match incoming.remote_addr() {
            IncomingAddr::Ip(address) => Some(address.ip()),
            _ => None,
        };
        let groups: Vec<_> = remote.into_iter().map(Group::of_address).collect();
        let Ok(pass) = gate.enter(&groups) else {
            tracing::debug!("too many handshakes at once: caller refused");
            incoming.refuse();
            continue;
        };
        let accepted = accepted.clone();
        handshakes.spawn(async move {
            let shaken = tokio::select! {
                biased;
                () = pass.gives_way() => return,
                shaken = timeout(HANDSHAKE, handshake(incoming, remote)) => shaken,
            };
            match shaken {
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

async fn handshake(
    incoming: Incoming,
    remote: Option<IpAddr>,
) -> Result<endpoint::Connection, NetError> {
    let accepting = incoming.accept().map_err(|error| connection_error(&error))?;
    let inner = accepting.await.map_err(|error| NetError::Lost { why: error.to_string() })?;
    let peer = PeerId(*inner.remote_id().as_bytes());
    match Alpn::from_bytes(inner.alpn()) {
        Some(alpn) => {
            let kind = ConnectionKind::Iroh(Connection { inner, remote });
            Ok(endpoint::Connection::new(alpn, peer, kind))
        }
        None => Err(NetError::Refused { peer, why: "unknown protocol".into() }),
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Connection {
    inner: quic::Connection,
    // The address that the peer called from; `None` if this side dialled.
    remote: Option<IpAddr>,
}

impl Connection {
    pub(crate) fn remote(&self) -> Option<IpAddr> {
        self.remote
    }

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

/// Codes of this protocol are `u32`. A larger one comes from a foreign program.
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
        // The handshake reached the peer and ended with an alert: no common protocol, wrong key, or
        // full.
        ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::TransportError(_) => {
            NetError::Refused { peer, why: connection.to_string() }
        }
        ConnectionError::TimedOut => timed_out(OF_NODES.idle),
        other => NetError::Unreachable { peer, why: other.to_string() },
    }
}

/// The longest time a dialled node may take. A client does not wait longer for one of many nodes.
const CONNECT: Duration = Duration::from_secs(5);
/// The longest time a ledger may take. It covers a first packet and one more after a second. The
/// caller dials again at once.
const CONNECT_LEDGER: Duration = Duration::from_secs(3);
/// The longest time for the look-up of a name.
const LOOK_UP: Duration = Duration::from_secs(2);
/// The same for a peer that is also known by addresses: these should not wait long for a name.
const LOOK_UP_BESIDE: Duration = Duration::from_millis(500);
/// Names of one peer that are looked up.
const NAMES_MAX: usize = 4;
/// Addresses of one name that are dialled.
const ADDRESSES_OF_NAME_MAX: usize = 8;
/// The longest time a caller may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Limits of handshakes at once. Further callers are refused, which costs one packet, unless a
/// handshake that has taken two seconds gives way.
///
/// Asking callers to come again (Retry, RFC 9000 8.1.2) would keep forged addresses from taking
/// places. But iroh 1.4.1 makes the 32-byte key of its tokens with the first cipher of the
/// provider, and panics when that is AES-128.
const HANDSHAKES: Bounds = Bounds {
    places: 256,
    of_peer: 256,
    of_owner: 256,
    of_address: 192,
    window_ms: 2_000,
    keeps_from: 1,
};
/// Connections that may wait for [`Endpoint::accept`].
const ACCEPT_QUEUE: usize = 256;
/// Between clients and nodes. Two lost keep-alives do not end a connection, and a node that is gone
/// is noticed within an epoch of ten seconds.
const OF_NODES: Silence =
    Silence { keep_alive: Duration::from_millis(2_500), idle: Duration::from_millis(7_500) };
/// From clients and nodes to ledgers. A lost connection costs a new one and nothing else. A killed
/// ledger has forgotten its connections when it is back; this is noticed within an epoch of three
/// seconds.
///
/// A stateless reset (RFC 9000 10.3) would tell the peer at once, but iroh 1.4.1 draws the key for
/// its tokens anew at each start.
const OF_LEDGERS: Silence =
    Silence { keep_alive: Duration::from_millis(600), idle: Duration::from_millis(2_000) };
/// The largest datagram that is tried on a path. It is what an Ethernet frame holds over IPv4, and
/// what iroh tells peers it accepts. Path MTU discovery finds paths that carry less.
const DATAGRAM_BYTES_MAX: u16 = 1472;
/// Streams that a peer may have open at once.
const STREAMS_MAX: u32 = 256;
/// Receive window of one stream: 80 Mbit/s at a round trip of 200 ms. A client that wants more
/// opens several streams.
///
/// It cannot be much larger. noq 1.4.0 keeps unread bytes frame by frame and joins only frames that
/// left a sixth of their packet empty. Above 2048 frames it ends the whole connection ("too many
/// gaps in stream buffer"). After one lost packet a whole window waits unread. So 2048 of the
/// smallest full packets, about 1150 bytes each, must fill the window.
const STREAM_WINDOW_BYTES: u32 = 2_000_000;
/// Receive window of all streams of a connection that this side dialled. At 1 Gbit/s and a round
/// trip of 200 ms, 25 MB are in flight, and a window is given out again only once an eighth of it
/// was read.
const DIALLED_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// Receive window of all streams of a connection that a peer dialled: how much a stranger can make
/// this machine hold. It is enough for eight shards in flight at once, each on a stream of its own.
const ANSWERED_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// Bytes that are sent on a connection and not yet acknowledged: as many as a dialling peer
/// accepts.
const SEND_WINDOW_BYTES: u32 = DIALLED_WINDOW_BYTES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_socket_for_each_family() {
        let bound = |listen: &[&str]| {
            let listen: Vec<_> = listen.iter().map(|text| text.parse().expect("one")).collect();
            let texts = sockets(&listen).into_iter().map(|(one, needed)| (one.to_string(), needed));
            texts.collect::<Vec<_>>()
        };
        let expected = |texts: &[(&str, bool)]| {
            texts.iter().map(|(text, needed)| (String::from(*text), *needed)).collect::<Vec<_>>()
        };
        assert_eq!(bound(&["127.0.0.1:5"]), expected(&[("127.0.0.1:5", true), ("[::1]:0", false)]));
        assert_eq!(bound(&["[::1]:5"]), expected(&[("[::1]:5", true), ("127.0.0.1:0", false)]));
        assert_eq!(bound(&["[::]:5"]), expected(&[("[::]:5", true), ("0.0.0.0:5", false)]));
        assert_eq!(bound(&["0.0.0.0:5"]), expected(&[("0.0.0.0:5", true), ("[::]:0", false)]));
        let both = ["192.0.2.1:5", "[2001:db8::1]:6"];
        assert_eq!(bound(&both), expected(&[(both[0], true), (both[1], true)]));
        assert_eq!(bound(&[]), expected(&[]));
    }
}
