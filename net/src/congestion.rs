//! Congestion control: how fast QUIC sends where the path between two peers is long or loses
//! packets.
//!
//! Each side chooses for the bytes that it sends: a client for its uploads, a node for its answers
//! to reads.

use std::{fmt, str::FromStr, sync::Arc};

use iroh::endpoint::ControllerFactory;
use noq_proto::congestion::{Bbr3Config, CubicConfig};

/// The algorithm by which an endpoint decides how many bytes may be in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// BBR version 3 (draft-ietf-ccwg-bbr). It follows the rate at which bytes are acknowledged. A
    /// lost packet alone does not slow it down.
    #[default]
    Bbr3,
    /// CUBIC (RFC 9438). It sends more until packets are lost, then less.
    Cubic,
}

impl Congestion {
    /// The usual choice for a peer on this machine or on another one. Within one machine no packet
    /// is lost, and CUBIC costs less processor time.
    #[must_use]
    pub const fn usual(is_local: bool) -> Self {
        if is_local { Self::Cubic } else { Self::Bbr3 }
    }

    pub(crate) fn factory(self) -> Arc<dyn ControllerFactory + Send + Sync> {
        match self {
            Self::Bbr3 => Arc::new(Bbr3Config::default()),
            Self::Cubic => Arc::new(CubicConfig::default()),
        }
    }
}

impl fmt::Display for Congestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bbr3 => "bbr3",
            Self::Cubic => "cubic",
        })
    }
}

/// The text is not the name of a [`Congestion`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a congestion control: bbr3 or cubic")]
pub struct UnknownCongestion;

impl FromStr for Congestion {
    type Err = UnknownCongestion;

    fn from_str(text: &str) -> Result<Self, UnknownCongestion> {
        match text {
            "bbr3" => Ok(Self::Bbr3),
            "cubic" => Ok(Self::Cubic),
            _ => Err(UnknownCongestion),
        }
    }
}
