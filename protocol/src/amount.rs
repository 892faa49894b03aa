//! Money: whole numbers of the smallest unit. Its arithmetic refuses instead of wrapping.

use alloc::{format, string::String, vec::Vec};
use core::fmt;

use thiserror::Error;

use crate::codec::{Decode, DecodeError, Encode, Reader};

/// Decimals of a credit, the local asset: nine, so that a 1 KiB shard for one epoch still has a price.
pub const DECIMALS: usize = 9;

/// Smallest units in one credit.
pub const CREDIT: u128 = 1_000_000_000;

/// An amount of money in the smallest unit.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(pub u128);

/// Why a text is not an amount.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AmountError {
    /// Something other than digits and one decimal point.
    #[error("an amount is digits with at most one decimal point, like 2.5")]
    Syntax,
    /// More decimals than the asset has.
    #[error("an amount has at most {DECIMALS} decimals")]
    TooFine,
    /// Larger than any amount.
    #[error("amount too large")]
    TooLarge,
}

impl Amount {
    /// Zero.
    pub const ZERO: Self = Self(0);

    /// Whole credits.
    #[must_use]
    pub const fn credits(count: u64) -> Self {
        Self(count as u128 * CREDIT)
    }

    /// The sum, or `None` past the largest amount.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The product, or `None` past the largest amount.
    #[must_use]
    pub fn checked_mul(self, factor: u64) -> Option<Self> {
        self.0.checked_mul(u128::from(factor)).map(Self)
    }

    /// `self * numerator / denominator`, rounded down; `None` past the largest amount or over zero.
    #[must_use]
    pub fn fraction(self, numerator: u64, denominator: u64) -> Option<Self> {
        let product = self.0.checked_mul(u128::from(numerator))?;
        product.checked_div(u128::from(denominator)).map(Self)
    }

    /// `self * numerator / denominator`, rounded up; `None` past the largest amount or over zero.
    #[must_use]
    pub fn fraction_up(self, numerator: u64, denominator: u64) -> Option<Self> {
        let product = self.0.checked_mul(u128::from(numerator))?;
        let down = product.checked_div(u128::from(denominator))?;
        Some(Self(down + u128::from(product % u128::from(denominator) != 0)))
    }

    /// A part of it in hundredths of a percent, at most the whole: rounded down, without passing the largest amount.
    #[must_use]
    pub fn part(self, share_bp: u16) -> Self {
        const WHOLE: u128 = 10_000;
        let (whole, rest, share) = (self.0 / WHOLE, self.0 % WHOLE, u128::from(share_bp));
        assert!(share <= WHOLE, "a part is at most the whole");
        Self(whole * share + rest * share / WHOLE)
    }

    /// Reads credits such as `12`, `0.5` or `2.000000001`.
    pub fn parse(text: &str) -> Result<Self, AmountError> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(part) || text.ends_with('.') {
            return Err(AmountError::Syntax);
        }
        if part.len() > DECIMALS {
            return Err(AmountError::TooFine);
        }
        let padded: String = format!("{whole}{part:0<DECIMALS$}");
        padded.parse().map(Self).map_err(|_| AmountError::TooLarge)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / CREDIT, self.0 % CREDIT);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let digits = format!("{part:09}");
        write!(f, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Amount({self})")
    }
}

impl Encode for Amount {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode for Amount {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u128::decode(input).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn text_and_units_agree() {
        for (text, units) in
            [("0", 0), ("12", 12 * CREDIT), ("0.5", CREDIT / 2), ("2.000000001", 2 * CREDIT + 1)]
        {
            assert_eq!(Amount::parse(text), Ok(Amount(units)));
            assert_eq!(Amount(units).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_an_amount_says_why() {
        for text in ["", ".5", "5.", "1e3", "-1", "1,5", " 1"] {
            assert_eq!(Amount::parse(text), Err(AmountError::Syntax), "{text:?}");
        }
        assert_eq!(Amount::parse("0.0000000001"), Err(AmountError::TooFine));
        assert_eq!(Amount::parse("999999999999999999999999999999999"), Err(AmountError::TooLarge));
    }

    #[test]
    fn rounding_is_named() {
        assert_eq!(Amount(10).fraction(1, 3), Some(Amount(3)));
        assert_eq!(Amount(10).fraction_up(1, 3), Some(Amount(4)));
        assert_eq!(Amount(9).fraction_up(1, 3), Some(Amount(3)));
        assert_eq!(Amount(1).fraction(1, 0), None);
        assert_eq!(Amount(u128::MAX).checked_add(Amount(1)), None);
    }
}
