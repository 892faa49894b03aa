//! How fast QUIC sends where the path between two peers is long or loses packets.
//!
//! Each side decides for what it sends: a client for what it puts, a node for what is read from it.

use std::{fmt, str::FromStr, sync::Arc};

use iroh::endpoint::ControllerFactory;
use noq_proto::congestion::{Bbr3Config, CubicConfig};

/// What an endpoint goes by when it decides how much may be on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// BBR version 3 (draft-ietf-ccwg-bbr): the rate at which bytes were acknowledged. A lost packet alone
    /// slows nothing.
    #[default]
    Bbr3,
    /// CUBIC (RFC 9438): more until packets are lost, then less.
    Cubic,
}

impl Congestion {
    /// What suits a peer on this machine, or another one: on one machine no packet is lost, and CUBIC costs less.
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

/// A name that stands for no [`Congestion`].
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
