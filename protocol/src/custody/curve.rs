//! Points, scalars, challenges and nonces: the arithmetic that all parts of custody share.

use blake3::{Hasher, OutputReader};
use curve25519_dalek::{
    ristretto::{CompressedRistretto, RistrettoPoint},
    scalar::Scalar as Number,
    traits::{Identity, IsIdentity},
};
use zeroize::Zeroize;

use super::{CustodyError, Point, Scalar};

/// `B2`, the second base. No party knows its logarithm to the base `B`, since it is a hash of a constant.
/// It is `RistrettoPoint::from_uniform_bytes` of 64 bytes of `derive_key` output over nothing. A test
/// computes it again.
pub(super) const B2: Point = [
    0xf4, 0xbc, 0x33, 0x33, 0xf8, 0x27, 0x3b, 0xaf, 0x10, 0xe1, 0xad, 0x8e, 0x90, 0xd3, 0x6d, 0x8a,
    0xb2, 0x8f, 0x58, 0xee, 0x8d, 0x0a, 0xe7, 0x69, 0x2e, 0x25, 0x8d, 0x22, 0x15, 0xa7, 0xfb, 0x7b,
];

/// The constant that hashes to `B2`.
#[cfg(test)]
pub(super) const SECOND_BASE: &str = "symbolon 2026 custody second base v1";

/// A point from its one encoding. It refuses the identity.
pub(super) fn point(bytes: &Point, what: &'static str) -> Result<RistrettoPoint, CustodyError> {
    let point = CompressedRistretto(*bytes).decompress().ok_or(CustodyError::Point { what })?;
    if point.is_identity() {
        return Err(CustodyError::Identity { what });
    }
    Ok(point)
}

/// A scalar from its one encoding.
pub(super) fn number(bytes: &Scalar, what: &'static str) -> Result<Number, CustodyError> {
    Option::from(Number::from_canonical_bytes(*bytes)).ok_or(CustodyError::Scalar { what })
}

/// The second base as a point.
pub(super) fn second_base() -> RistrettoPoint {
    CompressedRistretto(B2).decompress().expect("the constant is a point, which a test checks")
}

/// A hash into the scalars: 64 bytes reduced, so that the bias is below 2^-250.
pub(super) fn challenge(context: &str, parts: &[&[u8]]) -> Number {
    Stream::new(context, parts).number()
}

/// Scalars and points that come from a hash of secret, entropy and statement.
pub(super) struct Stream(OutputReader);

impl Stream {
    /// Begins a stream. Each part must have a fixed size, or contain its size.
    pub(super) fn new(context: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = Hasher::new_derive_key(context);
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize_xof())
    }

    /// The next 64 bytes as a scalar.
    pub(super) fn number(&mut self) -> Number {
        let mut wide = [0; 64];
        self.0.fill(&mut wide);
        let number = Number::from_bytes_mod_order_wide(&wide);
        wide.zeroize();
        number
    }

    /// The next 64 bytes as a point.
    pub(super) fn point(&mut self) -> RistrettoPoint {
        let mut wide = [0; 64];
        self.0.fill(&mut wide);
        let point = RistrettoPoint::from_uniform_bytes(&wide);
        wide.zeroize();
        point
    }
}

/// `factor * point` for a public small factor, in variable time.
pub(super) fn small_multiple(point: &RistrettoPoint, factor: u8) -> RistrettoPoint {
    let mut sum = RistrettoPoint::identity();
    for bit in (0..u8::BITS).rev() {
        sum += sum;
        if factor >> bit & 1 == 1 {
            sum += point;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::RISTRETTO_BASEPOINT_POINT;

    use super::*;

    #[test]
    fn the_second_base_is_a_hash_of_its_name() {
        let hashed = Stream::new(SECOND_BASE, &[]).point().compress().to_bytes();
        assert_eq!(hashed, B2, "{hashed:?}");
        assert_ne!(second_base(), RISTRETTO_BASEPOINT_POINT);
    }

    #[test]
    fn small_multiples_are_multiples() {
        let base = second_base();
        for factor in [0, 1, 2, 31, 255] {
            assert_eq!(small_multiple(&base, factor), base * Number::from(factor));
        }
    }

    #[test]
    fn only_canonical_values_are_read() {
        assert_eq!(point(&[0; 32], "R"), Err(CustodyError::Identity { what: "R" }));
        assert_eq!(point(&[0xff; 32], "R"), Err(CustodyError::Point { what: "R" }));
        assert_eq!(number(&[0xff; 32], "e"), Err(CustodyError::Scalar { what: "e" }));
        // The group order itself: it is zero, but not zero's encoding.
        let mut order = (-Number::ONE).to_bytes();
        order[0] += 1;
        assert_eq!(number(&order, "e"), Err(CustodyError::Scalar { what: "e" }));
    }
}
