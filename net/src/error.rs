//! Errors of connections, streams and messages.

use symbolon_protocol::{codec::DecodeError, id::PeerId};
use thiserror::Error;

/// Why a connection, a stream or a message failed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetError {
    /// This machine could not open its endpoint.
    #[error("cannot listen: {why}")]
    Bind {
        /// The error of the operating system.
        why: String,
    },
    /// No address of the peer could be used, or no peer answers there.
    #[error("cannot reach {peer}: {why}")]
    Unreachable {
        /// The peer that was called.
        peer: PeerId,
        /// What went wrong.
        why: String,
    },
    /// The peer answered and refused the connection: it does not speak the protocol, it is full, or
    /// it holds another key than the one called.
    #[error("{peer} refused the connection: {why}")]
    Refused {
        /// The peer that was called.
        peer: PeerId,
        /// The peer's reason.
        why: String,
    },
    /// The peer did not answer in time.
    #[error("no answer within {after_ms} ms")]
    TimedOut {
        /// Milliseconds until this side gave up.
        after_ms: u64,
    },
    /// One of the two sides closed the connection on purpose.
    #[error("the connection was closed: {why}")]
    Closed {
        /// The reason that this side gave.
        why: String,
    },
    /// The connection broke: the peer is gone, or the path to it is.
    #[error("the connection was lost: {why}")]
    Lost {
        /// What the transport noticed.
        why: String,
    },
    /// The peer gave up this stream.
    #[error("the peer reset the stream with code {code}")]
    Reset {
        /// The peer's code.
        code: u32,
    },
    /// The stream ended before all expected bytes had arrived.
    #[error("the stream ended {missing} bytes too early")]
    Ended {
        /// A lower bound of the missing bytes.
        missing: usize,
    },
    /// The peer sent a frame that is not a valid message. The peer is at fault.
    #[error("malformed message: {0}")]
    Malformed(DecodeError),
    /// A frame is larger than a message may be.
    #[error("a frame has {bytes} bytes, but at most {max} are allowed")]
    TooLarge {
        /// Bytes of the frame.
        bytes: usize,
        /// The largest allowed size in bytes.
        max: usize,
    },
}

impl NetError {
    /// Whether the peer broke the protocol. Asking it again is of no use then.
    #[must_use]
    pub fn peers_fault(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::TooLarge { .. } | Self::Ended { .. })
    }
}
