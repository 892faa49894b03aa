//! The address of a peer, and the protocol of a connection.

use std::{fmt, net::SocketAddr, str::FromStr};

use symbolon_protocol::{
    codec::{Decode, DecodeError, Encode, Reader},
    id::PeerId,
    limits::{ADDRESS_BYTES_MAX, ADDRESSES_MAX},
};
use thiserror::Error;

/// The purpose of a connection. Its text is agreed on in the TLS handshake (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Alpn {
    /// `wire::storage` with a storage node.
    Storage,
    /// `wire::ledger` with a ledger.
    Ledger,
    /// `wire::preview` with a seller.
    Preview,
    /// The agreement of a ledger's validators.
    Consensus,
}

impl Alpn {
    /// All protocols.
    pub const ALL: [Self; 4] = [Self::Storage, Self::Ledger, Self::Preview, Self::Consensus];

    /// The protocol's text on the wire. The number in it is the version of the messages.
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Storage => b"symbolon/storage/1",
            Self::Ledger => b"symbolon/ledger/1",
            Self::Preview => b"symbolon/preview/1",
            Self::Consensus => b"symbolon/consensus/1",
        }
    }

    /// The protocol that this text stands for.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|alpn| alpn.as_bytes() == bytes)
    }
}

/// A peer's key and the addresses at which it answers. An address is one of:
///
/// - a socket address such as `10.0.0.7:4433` or `[::1]:4433`
/// - a name with a port such as `node.example.org:4433`, which the dialling endpoint looks up
/// - a relay URL
///
/// A dialling endpoint skips any other text, so later versions can add further kinds of address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerAddress {
    /// The key that the peer answers with. A peer with another key is not connected to.
    pub id: PeerId,
    /// The addresses at which the peer answers.
    pub addresses: Vec<String>,
}

impl PeerAddress {
    /// The addresses that are socket addresses.
    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().filter_map(|text| text.parse().ok())
    }

    /// The addresses that are names with a port.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let texts = self.addresses.iter().map(String::as_str);
        texts.filter(|text| matches!(text.parse(), Ok(Announced::Name(_))))
    }
}

/// An address under which an endpoint says that it can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announced {
    /// An IP address and a port.
    Socket(SocketAddr),
    /// A name and a port. The dialling endpoint looks the name up.
    Name(String),
}

/// The text is not an address that can be announced.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{text:?} is neither an IP address with a port, such as 203.0.113.7:4150 or [2001:db8::1]:4150, \
     nor a name with a port, such as ledger.example.org:4150"
)]
pub struct NotAnAddress {
    /// The text.
    pub text: String,
}

impl FromStr for Announced {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(Self::Socket(socket));
        }
        let name = text.rsplit_once(':').filter(|(name, port)| {
            let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
            is_port && port.parse::<u16>().is_ok_and(|port| port != 0) && is_name(name)
        });
        match name {
            Some(_) => Ok(Self::Name(text.into())),
            None => Err(NotAnAddress { text: text.into() }),
        }
    }
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(socket) => socket.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Whether a text is the name of a machine (RFC 1123): labels of letters, digits and hyphens. A
/// name whose last label is a number is refused: it is more likely a mistyped IPv4 address.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !(label.starts_with('-') || label.ends_with('-'))
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or(text);
    text.len() <= 253 && text.split('.').all(label) && last.bytes().any(|b| !b.is_ascii_digit())
}

impl Encode for PeerAddress {
    fn encode(&self, out: &mut Vec<u8>) {
        self.id.encode(out);
        self.addresses.encode(out);
    }
}

impl Decode for PeerAddress {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let id = PeerId::decode(input)?;
        let addresses = Vec::<String>::decode(input)?;
        let too_many = |count: usize, max: usize| DecodeError::TooMany {
            what: "address",
            count: count as u64,
            max: max as u64,
        };
        if addresses.len() > ADDRESSES_MAX {
            return Err(too_many(addresses.len(), ADDRESSES_MAX));
        }
        match addresses.iter().find(|text| text.len() > ADDRESS_BYTES_MAX) {
            Some(text) => Err(too_many(text.len(), ADDRESS_BYTES_MAX)),
            None => Ok(Self { id, addresses }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_bounds() {
        let address = |count: usize, bytes: usize| PeerAddress {
            id: PeerId([7; 32]),
            addresses: vec!["a".repeat(bytes); count],
        };
        let good = address(ADDRESSES_MAX, ADDRESS_BYTES_MAX);
        assert_eq!(PeerAddress::from_bytes(&good.to_bytes()), Ok(good));
        for bad in [address(ADDRESSES_MAX + 1, 1), address(1, ADDRESS_BYTES_MAX + 1)] {
            let read = PeerAddress::from_bytes(&bad.to_bytes());
            assert!(matches!(read, Err(DecodeError::TooMany { what: "address", .. })));
        }
    }

    #[test]
    fn what_is_announced_is_an_address_or_a_name() {
        for text in ["203.0.113.7:4150", "[2001:db8::1]:4150", "[::1]:1"] {
            assert!(matches!(text.parse(), Ok(Announced::Socket(_))), "{text}");
        }
        let long = format!("{}:1", ["a".repeat(63), "b".repeat(63), "c".repeat(63)].join("."));
        for text in ["ledger.example.org:4150", "localhost:65535", "a-1.b2.:9", "4.a:9", &long] {
            assert_eq!(text.parse(), Ok(Announced::Name(text.into())));
            assert_eq!(Announced::Name(text.into()).to_string(), text);
        }
        let too_long = format!("{}:1", vec!["a".repeat(63); 4].join("."));
        let none = [
            "",
            ":",
            ":4150",
            "ledger.example.org",
            "ledger.example.org:",
            "ledger.example.org:0",
            "ledger.example.org:65536",
            "ledger.example.org:+1",
            "1.2.3:4150",
            "1.2.3.4.5:4150",
            "300.1.1.1:80",
            "-a.b:1",
            "a-.b:1",
            "a..b:1",
            "a b:1",
            "a_b:1",
            "https://a.b:1",
            "::1:80",
            "[::1]",
            "xn--\u{fc}:1",
            "a.b:1:1",
            &too_long,
        ];
        for text in none {
            assert_eq!(text.parse::<Announced>(), Err(NotAnAddress { text: text.into() }));
        }
        let addresses = ["192.0.2.1:1", "a.example:2", "https://relay.example/", "1.2.3:4", "b:3"];
        let addresses = addresses.map(String::from).to_vec();
        let peer = PeerAddress { id: PeerId([7; 32]), addresses };
        assert_eq!(peer.names().collect::<Vec<_>>(), ["a.example:2", "b:3"]);
        assert_eq!(peer.sockets().count(), 1);
    }

    #[test]
    fn an_alpn_goes_there_and_back() {
        for alpn in Alpn::ALL {
            assert_eq!(Alpn::from_bytes(alpn.as_bytes()), Some(alpn));
        }
        assert_eq!(Alpn::from_bytes(b"symbolon/storage/2"), None);
    }
}
