//! Keys held by strangers, released against a receipt: vault, capsule, release. See `spec/market.md`.

use alloc::vec::Vec;

use crate::record;

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
    /// One custodian's part of a key, for one order and no other, checkable by anyone.
    pub struct Release {
        /// Which custodian of the vault, from 1.
        pub index: u8,
        /// `U = rB`.
        pub u: Point,
        /// `V = x_i R + r Yb`.
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
    /// A buyer's one-time key for one order, and the proof that the buyer knows its secret.
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
    /// What is public of a vault's secret `x`.
    pub struct VaultKey {
        /// Feldman commitments to the sharing polynomial, lowest degree first; the first is `Y = xB`.
        /// Their count is the number of releases that open a capsule.
        pub commitments: Vec<Point>,
    }
}
