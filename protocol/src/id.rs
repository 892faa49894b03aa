//! Every identifier of the protocol, each a type of its own.

use alloc::{string::String, vec::Vec};
use core::{fmt, str::FromStr};

use thiserror::Error;

use crate::codec::{Decode, DecodeError, Encode, Reader};

/// A text that is not this identifier.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("expected {expected} hexadecimal digits")]
pub struct IdError {
    /// How many digits the identifier has.
    pub expected: usize,
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The bytes of a hexadecimal text, or `None`.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let nibble =
        |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits = text.as_bytes();
    if digits.len() % 2 == 1 {
        return None;
    }
    digits.chunks_exact(2).map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident [$size:literal];)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $size]);

        impl $name {
            /// How many bytes it has.
            pub const BYTES: usize = $size;

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({}..)", stringify!($name), hex(&self.0[..4]))
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let bytes = unhex(text).ok_or(IdError { expected: 2 * $size })?;
                bytes.try_into().map(Self).map_err(|_| IdError { expected: 2 * $size })
            }
        }

        impl Encode for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0);
            }
        }

        impl Decode for $name {
            fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
                input.array().map(Self)
            }
        }
    )*
        /// All identifiers: name, bytes, and description, as source text.
        pub const IDS: &[(&str, usize, &[&str])] =
            &[$((stringify!($name), $size, &[$(stringify!($meta)),*])),*];
    };
}

ids! {
    /// An ed25519 public key that owns money.
    AccountId[32];
    /// An ed25519 public key that answers on the network: a peer's QUIC identity, and so the key of a
    /// grant's holder.
    PeerId[32];
    /// A BLAKE3 hash.
    Hash[32];
    /// The identity of one ledger: the hash of its genesis. Every signature is bound to one ledger.
    ChainId[32];
    /// A storage agreement for one segment. It follows from its owner and an opening.
    DealId[16];
    /// One stored file version, as nodes and the ledger know it: random to everyone but the owner.
    ObjectId[16];
    /// A listing's id. It follows from the seller and an opening.
    ListingId[16];
    /// An order's id. It follows from the buyer and an opening.
    OrderId[16];
    /// A vault's id. It follows from its owner and an opening.
    VaultId[16];
    /// What an account chooses to get an id of its own: of a deal, a vault, a listing or an order.
    Opening[32];
    /// A transaction's id, chosen by its sender. The same id and content have one result, and count once.
    TransactionId[16];
    /// A grant link's revocation id.
    LinkId[16];
}

macro_rules! owned {
    ($($name:ident = $context:literal;)*) => {$(
        impl $name {
            /// The id that `owner` gets with `opening`. No other account gets it with any opening. So the owner may
            /// show both before the id is on the ledger.
            #[must_use]
            pub fn of(owner: &AccountId, opening: &Opening) -> Self {
                let mut chosen = [0; AccountId::BYTES + Opening::BYTES];
                chosen[..AccountId::BYTES].copy_from_slice(&owner.0);
                chosen[AccountId::BYTES..].copy_from_slice(&opening.0);
                let hash = blake3::derive_key($context, &chosen);
                Self(core::array::from_fn(|at| hash[at]))
            }
        }
    )*};
}

owned! {
    DealId = "symbolon 2026 deal id v2";
    ListingId = "symbolon 2026 listing id v1";
    OrderId = "symbolon 2026 order id v1";
    VaultId = "symbolon 2026 vault id v1";
}

/// A storage node's id is the key of its endpoint.
pub type NodeId = PeerId;

impl From<PeerId> for AccountId {
    /// A node signs its own transactions: the same key, seen as an account.
    fn from(peer: PeerId) -> Self {
        Self(peer.0)
    }
}

impl From<AccountId> for PeerId {
    fn from(account: AccountId) -> Self {
        Self(account.0)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, string::ToString};

    use super::*;

    #[test]
    fn text_goes_there_and_back() {
        let id = DealId([0xa5; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("a5".parse::<DealId>(), Err(IdError { expected: 32 }));
        assert_eq!("zz".repeat(16).parse::<DealId>(), Err(IdError { expected: 32 }));
        assert_eq!(unhex("abc"), None);
    }

    #[test]
    fn an_id_is_of_one_kind_one_owner_and_one_opening() {
        let ids = |owner: u8, opening: u8| {
            let (owner, opening) = (AccountId([owner; 32]), Opening([opening; 32]));
            [
                DealId::of(&owner, &opening).0,
                ListingId::of(&owner, &opening).0,
                OrderId::of(&owner, &opening).0,
                VaultId::of(&owner, &opening).0,
            ]
        };
        let all = [ids(1, 1), ids(1, 2), ids(2, 1)];
        assert_eq!(all.iter().flatten().collect::<BTreeSet<_>>().len(), 12);
        assert_eq!(ids(1, 1), all[0]);
    }
}
