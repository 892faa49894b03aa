//! Keys that custodians hold in shares, and release for a paid order or for a claim of a repair: vault, capsule, release.
//! See `spec/market.md` and `spec/repair.md`.
//!
//! A seller deals a secret `x` to custodians ([`share`]). A [`Capsule`] encrypts a listing's key point `K`
//! to `Y = xB`, and proves that it was made for this seller, vault and content. For a paid order each
//! custodian makes a [`Release`]. It is encrypted to the buyer's [`DeliveryKey`], and anyone can check it.
//! Enough releases give `K` back ([`combine`]).
//!
//! All arithmetic is in ristretto255, a group of prime order: it has no small subgroups to guard against,
//! and every point and scalar has exactly one encoding. Proofs are sigma protocols; hashing the whole
//! statement makes them non-interactive. Nonces come from the secret, the statement and the caller's
//! entropy, so that bad entropy alone never reveals a secret.

mod capsule;
mod care;
mod curve;
mod delivery;
mod deposit;
mod release;
#[cfg(test)]
pub(crate) mod released;
mod sharing;
mod shown;

use alloc::vec::Vec;

use thiserror::Error;

use crate::{id::NodeId, record, time::LedgerTime};

pub use capsule::{label, listing_key, pad, unpad};
pub use care::{care_key, care_point, claim_context, combine_care};
pub use delivery::{DeliverySecret, release_context};
pub use deposit::CustodyTerms;
pub use release::{ClaimRequest, ReleaseRequest, combine, combine_posted};
pub use sharing::{Share, VaultSecret, required_max, share};

/// A compressed ristretto255 point.
pub type Point = [u8; 32];

/// A canonical ristretto255 scalar.
pub type Scalar = [u8; 32];

record! {
    /// A listing's key, encrypted to the seller's vault and bound to seller, vault and content.
    pub struct Capsule {
        /// `R = sB`.
        pub r: Point,
        /// `R2 = sB2`.
        pub r2: Point,
        /// `C = K + sY`.
        pub c: Point,
        /// Challenge of the proof that `R` and `R2` share `s`.
        pub e: Scalar,
        /// Response of that proof.
        pub f: Scalar,
    }
}

record! {
    /// One custodian's part of a key, for one order or one claim only; anyone can check it.
    pub struct Release {
        /// Which custodian of the vault, from 1.
        pub index: u8,
        /// `U = rB`.
        pub u: Point,
        /// `V = x_i R + r Yb`; for a shard of a claim, `R` is its care point.
        pub v: Point,
        /// Challenge of the proof.
        pub e: Scalar,
        /// Response for `x_i`.
        pub z_share: Scalar,
        /// Response for `r`.
        pub z_blind: Scalar,
    }
}

record! {
    /// A verified release on the ledger.
    #[derive(Copy)]
    pub struct PostedRelease {
        /// Which custodian, from 1.
        pub index: u8,
        /// The custodian: after a rotation its index is another node's.
        pub node: NodeId,
        /// `U`.
        pub u: Point,
        /// `V`.
        pub v: Point,
    }
}

record! {
    /// A node's signed statement that it keeps one share of a vault's secret, which it has checked against
    /// the commitments.
    pub struct CustodyAcceptance {
        /// The node that accepts.
        pub node: NodeId,
        /// Which share, from 1.
        pub index: u8,
        /// The time until which the ledger must have it, in milliseconds since the Unix epoch. The node keeps the share until
        /// then, and after that while the ledger has it.
        pub expires_ms: LedgerTime,
        /// By the node, over chain, vault, owner, commitments, index and the time above.
        pub signature: [u8; 64],
    }
}

record! {
    /// A one-time key for one order or one claim, and the proof that its maker knows its secret.
    pub struct DeliveryKey {
        /// `Yb = yb B`.
        pub point: Point,
        /// Challenge.
        pub e: Scalar,
        /// Response.
        pub z: Scalar,
    }
}

record! {
    /// What the releases of an order open, shown by its buyer: everyone can compute the key point from it.
    pub struct ShownKey {
        /// `D = yb S`, where `S` is the sum of `l_i U_i` over the releases that count.
        pub shared: Point,
        /// Challenge of the proof that `D` is to `S` as the delivery key is to `B`.
        pub e: Scalar,
        /// Response.
        pub z: Scalar,
    }
}

record! {
    /// The public side of a vault's secret `x`.
    pub struct VaultKey {
        /// Feldman commitments to the sharing polynomial, lowest degree first; the first is `Y = xB`.
        /// Their count is the number of releases that open a capsule.
        pub commitments: Vec<Point>,
    }
}

/// Why the rules refuse a value of a vault.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum CustodyError {
    /// Bytes that are not a ristretto255 point, or not its one encoding.
    #[error("{what} is not a canonical ristretto255 point")]
    Point {
        /// Which value.
        what: &'static str,
    },
    /// The neutral point, which hides nothing.
    #[error("{what} is the identity point")]
    Identity {
        /// Which value.
        what: &'static str,
    },
    /// A scalar that is not reduced.
    #[error("{what} is not a canonical scalar")]
    Scalar {
        /// Which value.
        what: &'static str,
    },
    /// A proof that does not hold for this statement.
    #[error("the proof of the {what} does not hold")]
    Proof {
        /// Which proof.
        what: &'static str,
    },
    /// A threshold that is not possible.
    #[error("no vault can have {total} custodians of which {required} suffice")]
    Sharing {
        /// Shares that open.
        required: usize,
        /// Shares in all.
        total: usize,
    },
    /// A share index that is not from 1 up to the largest vault.
    #[error("there is no share {index}")]
    Index {
        /// The index.
        index: u8,
    },
    /// A share that does not lie on the committed polynomial.
    #[error("share {index} does not match the vault's commitments")]
    Share {
        /// Its index.
        index: u8,
    },
    /// Two releases of one custodian.
    #[error("custodian {index} occurs twice")]
    Repeated {
        /// Its index.
        index: u8,
    },
    /// Too few releases to open.
    #[error("{found} releases, {required} are needed")]
    TooFew {
        /// How many releases were given.
        found: usize,
        /// How many releases open.
        required: usize,
    },
    /// A signature that does not hold.
    #[error("the signature of the {whose} does not hold")]
    Signature {
        /// Whose signature.
        whose: &'static str,
    },
    /// A sealed share that this key and these terms do not open.
    #[error("the sealed share does not open with this key for this vault, index and node")]
    Sealed,
}
