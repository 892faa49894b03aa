//! The number of shards, and how many of them give the file back.

use alloc::vec::Vec;
use core::fmt;

use thiserror::Error;

use crate::{
    codec::{Decode, DecodeError, Encode, Reader},
    limits::SHARDS_MAX,
};

/// Why two numbers are not a scheme.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemeError {
    /// No shard would suffice, or more than exist.
    #[error("{required} of {total} shards cannot give a file back")]
    Required {
        /// Shards that should suffice.
        required: u8,
        /// Shards that are made.
        total: u8,
    },
    /// More shards than a segment may have.
    #[error("{total} shards are more than {max}")]
    TooMany {
        /// Shards that are made.
        total: u8,
        /// The most that is allowed.
        max: u8,
    },
}

/// Any `required` of `total` shards give a segment back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scheme {
    /// Shards that suffice.
    pub required: u8,
    /// Shards that are made.
    pub total: u8,
}

impl Scheme {
    /// A scheme, when `1 <= required <= total <= SHARDS_MAX`.
    pub fn new(required: u8, total: u8) -> Result<Self, SchemeError> {
        Self { required, total }.check()
    }

    /// The scheme for this many independent nodes: as safe as they allow at about twice the bytes. As the
    /// network grows, an owner codes a file again under a larger scheme. Without any node the scheme is
    /// 1/1, and the caller has no node for the shard.
    #[must_use]
    pub fn for_nodes(nodes: usize) -> Self {
        let (required, total) = match nodes {
            0..=1 => (1, 1),
            2 => (1, 2),
            3..=4 => (2, 3),
            5..=7 => (3, 5),
            8..=19 => (4, 8),
            20..=35 => (8, 20),
            36..=79 => (16, 32),
            _ => (32, 72),
        };
        Self { required, total }
    }

    /// Shards beyond the required ones.
    #[must_use]
    pub const fn parity(self) -> u8 {
        self.total.saturating_sub(self.required)
    }

    /// Repair begins when this many healthy shards are left or fewer: half of the spare ones are gone, and
    /// at least one. Zero means that there is nothing to repair from.
    #[must_use]
    pub const fn repair_at(self) -> u8 {
        let half = self.required + self.parity() / 2;
        if half < self.total { half } else { self.total - 1 }
    }

    /// Acceptances that end an upload: half way between repair and all shards. The client fills in the rest
    /// in the background, so that one slow node delays no upload.
    #[must_use]
    pub const fn enough(self) -> u8 {
        self.repair_at() + (self.total - self.repair_at()).div_ceil(2)
    }

    /// Bytes stored per 1,000 bytes sealed.
    #[must_use]
    pub fn expansion_milli(self) -> u32 {
        u32::from(self.total) * 1000 / u32::from(self.required.max(1))
    }

    /// The scheme itself, if it can be coded: the fields are public, and peers fill them.
    pub(crate) fn check(self) -> Result<Self, SchemeError> {
        let Self { required, total } = self;
        if total > SHARDS_MAX {
            return Err(SchemeError::TooMany { total, max: SHARDS_MAX });
        }
        if required == 0 || total < required {
            return Err(SchemeError::Required { required, total });
        }
        Ok(self)
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.required, self.total)
    }
}

impl Encode for Scheme {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.required, self.total]);
    }
}

impl Decode for Scheme {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let [required, total] = input.array()?;
        Self::new(required, total).map_err(|_| DecodeError::Invalid { what: "scheme" })
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn the_elastic_table() {
        let expected = [
            (0, "1/1", 0, 1),
            (1, "1/1", 0, 1),
            (2, "1/2", 1, 2),
            (3, "2/3", 2, 3),
            (4, "2/3", 2, 3),
            (5, "3/5", 4, 5),
            (7, "3/5", 4, 5),
            (8, "4/8", 6, 7),
            (19, "4/8", 6, 7),
            (20, "8/20", 14, 17),
            (35, "8/20", 14, 17),
            (36, "16/32", 24, 28),
            (79, "16/32", 24, 28),
            (80, "32/72", 52, 62),
            (usize::MAX, "32/72", 52, 62),
        ];
        for (nodes, text, repair_at, enough) in expected {
            let scheme = Scheme::for_nodes(nodes);
            assert_eq!(scheme.to_string(), text, "{nodes} nodes");
            assert_eq!(scheme.repair_at(), repair_at, "{text}");
            assert_eq!(scheme.enough(), enough, "{text}");
            assert_eq!(Scheme::from_bytes(&scheme.to_bytes()), Ok(scheme));
        }
        assert_eq!(Scheme::for_nodes(80).expansion_milli(), 2250);
    }

    #[test]
    fn every_scheme_repairs_before_it_loses_and_ends_uploads_above_repair() {
        for required in 1..=SHARDS_MAX {
            for total in required..=SHARDS_MAX {
                let scheme = Scheme::new(required, total).unwrap();
                assert!(scheme.repair_at() < total);
                assert!(scheme.parity() == 0 || required <= scheme.repair_at());
                assert!(scheme.repair_at() < scheme.enough() && scheme.enough() <= total);
            }
        }
    }

    #[test]
    fn what_is_not_a_scheme() {
        assert_eq!(Scheme::new(0, 3), Err(SchemeError::Required { required: 0, total: 3 }));
        assert_eq!(Scheme::new(4, 3), Err(SchemeError::Required { required: 4, total: 3 }));
        assert_eq!(Scheme::new(3, 129), Err(SchemeError::TooMany { total: 129, max: 128 }));
        assert_eq!(Scheme::from_bytes(&[0, 0]), Err(DecodeError::Invalid { what: "scheme" }));
        assert_eq!(Scheme::from_bytes(&[2, 1]), Err(DecodeError::Invalid { what: "scheme" }));
    }
}
