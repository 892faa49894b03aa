//! A bound on the bytes per second of shards, which the caller sets: a caretaker is a node, and its operator may use the
//! line for other things too.
//!
//! What is read waits for its turn before it is asked for, so no node is held up by this side.

use std::{fmt, pin::Pin};

use bytes::Bytes;
use symbolon_net::{NetError, Sender};

use crate::Network;

/// A wait for the turn of some bytes.
pub type Turn<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Bytes that are sent at once where bandwidth is bounded: many streams take turns.
pub const PART_BYTES: usize = 16 * 1024;

/// Bounds both directions.
pub trait Pace: fmt::Debug + Send + Sync {
    /// Whether there is a bound now.
    fn is_bounded(&self) -> bool;

    /// Waits until so many bytes may be sent.
    fn send(&self, bytes: u64) -> Turn<'_>;

    /// Waits until so many bytes may be received.
    fn receive(&self, bytes: u64) -> Turn<'_>;
}

impl Network {
    /// Whether bandwidth is bounded now.
    pub(crate) fn is_bounded(&self) -> bool {
        self.inner.pace.as_ref().is_some_and(|pace| pace.is_bounded())
    }

    /// Waits until so many bytes of shards may be received.
    pub(crate) async fn may_receive(&self, bytes: u64) {
        if let Some(pace) = &self.inner.pace {
            pace.receive(bytes).await;
        }
    }

    /// Sends bytes of a shard, in parts where bandwidth is bounded.
    pub(crate) async fn write(
        &self,
        sender: &mut Sender,
        mut bytes: Bytes,
    ) -> Result<(), NetError> {
        let Some(pace) = &self.inner.pace else { return sender.write(bytes).await };
        while !bytes.is_empty() {
            let part = if pace.is_bounded() { PART_BYTES.min(bytes.len()) } else { bytes.len() };
            pace.send(part as u64).await;
            sender.write(bytes.split_to(part)).await?;
        }
        Ok(())
    }
}
