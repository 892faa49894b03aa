//! Whom to call and what to talk about.

use std::net::SocketAddr;

use symbolon_protocol::{
    codec::{Decode, DecodeError, Encode, Reader},
    id::PeerId,
    limits::{ADDRESS_BYTES_MAX, ADDRESSES_MAX},
};

/// What a connection is for. Its text is agreed on in the TLS handshake (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Alpn {
    /// `wire::storage` with a storage node.
    Storage,
    /// `wire::ledger` with a ledger.
    Ledger,
}

impl Alpn {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Storage, Self::Ledger];

    /// Its text on the wire; the number is the version of the messages.
    #[must_use]
    pub const fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Storage => b"symbolon/storage/1",
            Self::Ledger => b"symbolon/ledger/1",
        }
    }

    /// What the text stands for.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|alpn| alpn.as_bytes() == bytes)
    }
}

/// Who a peer is and where it answers: socket addresses such as `10.0.0.7:4433` or `[::1]:4433`, or
/// relay URLs. A text that is neither is passed over when dialling, so that later kinds of address
/// can stand beside today's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// The key it answers with; a peer with another key is not connected to.
    pub id: PeerId,
    /// Where it answers.
    pub addresses: Vec<String>,
}

impl PeerAddress {
    /// The addresses that are socket addresses.
    pub fn sockets(&self) -> impl Iterator<Item = SocketAddr> {
        self.addresses.iter().filter_map(|text| text.parse().ok())
    }
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
    fn an_alpn_goes_there_and_back() {
        for alpn in Alpn::ALL {
            assert_eq!(Alpn::from_bytes(alpn.as_bytes()), Some(alpn));
        }
        assert_eq!(Alpn::from_bytes(b"symbolon/storage/2"), None);
    }
}
