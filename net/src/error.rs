//! Why talking failed.

use symbolon_protocol::{codec::DecodeError, id::PeerId};
use thiserror::Error;

/// Why a connection, stream or message did not come about.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetError {
    /// This machine could not open its endpoint.
    #[error("cannot listen: {why}")]
    Bind {
        /// What the system said.
        why: String,
    },
    /// No address of the peer could be used, or nobody is there.
    #[error("cannot reach {peer}: {why}")]
    Unreachable {
        /// Who was called.
        peer: PeerId,
        /// What went wrong.
        why: String,
    },
    /// The peer answered and does not want this connection: it does not speak the protocol, is full,
    /// or holds another key than the one called.
    #[error("{peer} refused the connection: {why}")]
    Refused {
        /// Who was called.
        peer: PeerId,
        /// What it said.
        why: String,
    },
    /// Nothing came back in time.
    #[error("no answer within {after_ms} ms")]
    TimedOut {
        /// How long was waited.
        after_ms: u64,
    },
    /// The peer, or this side, closed the connection on purpose.
    #[error("the connection was closed: {why}")]
    Closed {
        /// The reason that was given.
        why: String,
    },
    /// The connection broke: the peer is gone, or the path to it.
    #[error("the connection was lost: {why}")]
    Lost {
        /// What was noticed.
        why: String,
    },
    /// The other side gave up this stream.
    #[error("the peer reset the stream with code {code}")]
    Reset {
        /// The code it gave.
        code: u32,
    },
    /// The stream ended where more was due.
    #[error("the stream ended {missing} bytes too early")]
    Ended {
        /// At least how many bytes were still due.
        missing: usize,
    },
    /// The peer sent a frame that is no message: the peer's fault.
    #[error("malformed message: {0}")]
    Malformed(DecodeError),
    /// A frame larger than any message may be.
    #[error("a frame of {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// How large.
        bytes: usize,
        /// How large it may be.
        max: usize,
    },
}

impl NetError {
    /// Whether the peer broke the protocol, so that asking it again is no use.
    #[must_use]
    pub fn peers_fault(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::TooLarge { .. } | Self::Ended { .. })
    }
}
