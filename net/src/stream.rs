//! One stream of a connection: framed messages and raw bytes, the same over both transports.
//!
//! A frame is the message's length as `u32` in little-endian order, then its canonical bytes. A
//! frame above [`MESSAGE_BYTES_MAX`] is refused before any byte of it is kept. Memory grows only
//! with bytes that have arrived. See `spec/wire.md`.

use bytes::{Buf, Bytes};
use symbolon_protocol::{
    codec::{Decode, Encode},
    limits::MESSAGE_BYTES_MAX,
};

use crate::{error::NetError, memory, quic};

/// The sending half of a stream. Dropping it finishes the stream. Its methods are not cancel-safe:
/// drop the sender when one of them was cancelled.
#[derive(Debug)]
pub struct Sender {
    kind: SenderKind,
}

#[derive(Debug)]
pub(crate) enum SenderKind {
    Iroh(quic::Sender),
    Memory(memory::Sender),
}

impl Sender {
    pub(crate) fn new(kind: SenderKind) -> Self {
        Self { kind }
    }

    /// Sends a message in a frame.
    pub async fn send(&mut self, message: &impl Encode) -> Result<(), NetError> {
        let mut frame = vec![0; LENGTH_BYTES];
        message.encode(&mut frame);
        let bytes = frame.len() - LENGTH_BYTES;
        let length = match u32::try_from(bytes) {
            Ok(length) if bytes <= MESSAGE_BYTES_MAX => length,
            _ => return Err(NetError::TooLarge { bytes, max: MESSAGE_BYTES_MAX }),
        };
        frame[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
        self.write(Bytes::from(frame)).await
    }

    /// Sends raw bytes.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), NetError> {
        match &mut self.kind {
            SenderKind::Iroh(sender) => sender.write(bytes).await,
            SenderKind::Memory(sender) => sender.write(bytes).await,
        }
    }

    /// Tells the peer that the stream ends here. Bytes that were sent are still delivered while the
    /// connection lives.
    pub fn finish(&mut self) {
        match &mut self.kind {
            SenderKind::Iroh(sender) => sender.finish(),
            SenderKind::Memory(sender) => sender.finish(),
        }
    }

    /// Gives up the stream: the peer sees [`NetError::Reset`] instead of an end.
    pub fn reset(&mut self, code: u32) {
        match &mut self.kind {
            SenderKind::Iroh(sender) => sender.reset(code),
            SenderKind::Memory(sender) => sender.reset(code),
        }
    }

    /// Finishes the stream and waits until the peer's machine has received everything. Call it
    /// before closing a connection right after its last answer. If the peer closes the connection
    /// as soon as it has read the answer, this may return [`NetError::Closed`].
    pub async fn delivered(&mut self) -> Result<(), NetError> {
        self.finish();
        match &mut self.kind {
            SenderKind::Iroh(sender) => sender.delivered().await,
            SenderKind::Memory(sender) => sender.delivered().await,
        }
    }
}

/// The receiving half of a stream. Dropping it before the end makes the peer's sending fail. Only
/// [`Receiver::read`] is cancel-safe.
#[derive(Debug)]
pub struct Receiver {
    kind: ReceiverKind,
    // Bytes that arrived beyond what the caller asked for.
    rest: Bytes,
}

#[derive(Debug)]
pub(crate) enum ReceiverKind {
    Iroh(quic::Receiver),
    Memory(memory::Receiver),
}

impl Receiver {
    pub(crate) fn new(kind: ReceiverKind) -> Self {
        Self { kind, rest: Bytes::new() }
    }

    /// The next message. The end of the stream is an error.
    pub async fn receive<T: Decode>(&mut self) -> Result<T, NetError> {
        match self.receive_or_end().await? {
            Some(message) => Ok(message),
            None => Err(NetError::Ended { missing: LENGTH_BYTES }),
        }
    }

    /// The next message, or `None` when the stream ends before one begins.
    pub async fn receive_or_end<T: Decode>(&mut self) -> Result<Option<T>, NetError> {
        let mut length = [0; LENGTH_BYTES];
        let Some(first) = self.read(LENGTH_BYTES).await? else {
            return Ok(None);
        };
        length[..first.len()].copy_from_slice(&first);
        self.read_exact(&mut length[first.len()..]).await?;
        let bytes = u32::from_le_bytes(length) as usize;
        if MESSAGE_BYTES_MAX < bytes {
            return Err(NetError::TooLarge { bytes, max: MESSAGE_BYTES_MAX });
        }
        // Never reserve memory for bytes that the sender only claims.
        let mut body = Vec::with_capacity(bytes.min(RESERVE_BYTES));
        while body.len() < bytes {
            let missing = bytes - body.len();
            match self.read(missing).await? {
                Some(piece) => body.extend_from_slice(&piece),
                None => return Err(NetError::Ended { missing }),
            }
        }
        T::from_bytes(&body).map(Some).map_err(NetError::Malformed)
    }

    /// The next piece of raw bytes, at least one and at most `max`; `None` at the end.
    pub async fn read(&mut self, max: usize) -> Result<Option<Bytes>, NetError> {
        if self.rest.is_empty() {
            let piece = match &mut self.kind {
                ReceiverKind::Iroh(receiver) => receiver.read(max).await?,
                ReceiverKind::Memory(receiver) => receiver.read().await?,
            };
            match piece {
                Some(piece) => self.rest = piece,
                None => return Ok(None),
            }
        }
        Ok(Some(self.rest.split_to(max.min(self.rest.len()))))
    }

    /// Puts the next raw bytes into `out`, which must not be empty, and returns their number: at
    /// least one, or 0 at the end. Many packets are copied under one lock of the connection, which
    /// costs less for bulk than reading piece by piece.
    pub async fn read_into(&mut self, out: &mut [u8]) -> Result<usize, NetError> {
        if self.rest.is_empty() {
            match &mut self.kind {
                ReceiverKind::Iroh(receiver) => return receiver.read_into(out).await,
                ReceiverKind::Memory(receiver) => match receiver.read().await? {
                    Some(piece) => self.rest = piece,
                    None => return Ok(0),
                },
            }
        }
        let count = out.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut out[..count]);
        Ok(count)
    }

    /// Fills `out` with raw bytes.
    pub async fn read_exact(&mut self, out: &mut [u8]) -> Result<(), NetError> {
        let mut filled = 0;
        while filled < out.len() {
            match self.read_into(&mut out[filled..]).await? {
                0 => return Err(NetError::Ended { missing: out.len() - filled }),
                count => filled += count,
            }
        }
        Ok(())
    }

    /// Asks the peer to stop: its sending fails with [`NetError::Reset`].
    pub fn stop(&mut self, code: u32) {
        match &mut self.kind {
            ReceiverKind::Iroh(receiver) => receiver.stop(code),
            ReceiverKind::Memory(receiver) => receiver.stop(code),
        }
    }
}

const LENGTH_BYTES: usize = 4;
/// Bytes that a frame's buffer starts with. Most messages are smaller.
const RESERVE_BYTES: usize = 16 * 1024;
