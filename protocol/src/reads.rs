//! Who read an object, in a node's signed words.
//!
//! A node counts what it serves under each grant, and tells only the object's owner. What it signs proves what it
//! said, and not what it did: it may leave reads out, and may invent some. See `spec/grant.md`.

use alloc::vec::Vec;

use ed25519_dalek::SigningKey;
use thiserror::Error;

use crate::{
    choice,
    codec::Encode,
    id::{AccountId, ChainId, Hash, LinkId, NodeId, ObjectId, OrderId, PeerId},
    limits::READ_ROWS_MAX,
    record,
    signature::{self, SignatureError},
    time::{LedgerTime, Millis},
};

choice! {
    /// By what right an object was read.
    #[derive(Copy, PartialOrd, Ord)]
    pub enum ReadBy {
        /// A grant.
        Grant = 1 {
            /// Its first link, which the owner gave.
            given: LinkId,
            /// Its last link, which names its holder.
            link: LinkId,
        },
        /// A grant that was bought.
        Order = 2 {
            /// The order.
            order: OrderId,
            /// Its last link: the mandate, or the buyer's delegation.
            link: LinkId,
        },
        /// A claim on the ledger to rebuild lost shards.
        Claim = 3,
        /// More rights or readers on one day than a node lists: the rest of them together. The reader is all zeros.
        Others = 4,
    }
}

record! {
    /// What one reader read of an object on one day under one right, on one node.
    #[derive(Copy)]
    pub struct ReadRow {
        /// The day, counted from 1 January 1970, by the ledger's time.
        pub day: u32,
        /// By what right.
        pub by: ReadBy,
        /// The peer that read.
        pub reader: PeerId,
        /// Read requests.
        pub reads: u64,
        /// Bytes of shards that they asked for.
        pub bytes: u64,
    }
}

record! {
    /// A node's statement of who read an object from it, for whole days.
    pub struct ReadLog {
        /// The node that says so.
        pub node: NodeId,
        /// The object's owner.
        pub owner: AccountId,
        /// The object.
        pub object: ObjectId,
        /// The first day that it is about.
        pub from_day: u32,
        /// The first day that it is no longer about.
        pub end_day: u32,
        /// When it was made, by the node's clock. The day of this time may go on.
        pub time_ms: LedgerTime,
        /// The rows, by day.
        pub rows: Vec<ReadRow>,
        /// By the node, over the chain and everything above.
        pub signature: [u8; 64],
    }
}

/// Why a node's log is not believed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadLogError {
    /// The node did not sign it.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It is about no day, or a row is outside its days, out of order, or there are too many.
    #[error("the node's rows are not those of its days")]
    Rows,
}

impl ReadLog {
    /// Signs the statement for a node.
    #[must_use]
    pub fn build(
        chain: &ChainId,
        key: &SigningKey,
        (owner, object): (AccountId, ObjectId),
        days: core::ops::Range<u32>,
        time_ms: LedgerTime,
        rows: Vec<ReadRow>,
    ) -> Self {
        let (node, from_day, end_day) =
            (PeerId(key.verifying_key().to_bytes()), days.start, days.end);
        let signature = [0; 64];
        let mut log = Self { node, owner, object, from_day, end_day, time_ms, rows, signature };
        log.signature = signature::sign(key, &log.digest(chain));
        log
    }

    /// Hash of what the node signs: the chain and everything but the signature.
    #[must_use]
    pub fn digest(&self, chain: &ChainId) -> Hash {
        let Self { node, owner, object, from_day, end_day, time_ms, rows, signature: _ } = self;
        let mut bytes = chain.to_bytes();
        node.encode(&mut bytes);
        owner.encode(&mut bytes);
        object.encode(&mut bytes);
        from_day.encode(&mut bytes);
        end_day.encode(&mut bytes);
        time_ms.encode(&mut bytes);
        rows.encode(&mut bytes);
        Hash(blake3::derive_key("symbolon 2026 read log v1", &bytes))
    }

    /// Checks the node's signature, and that each row is of a day that the log is about. Whether that is the object
    /// and the day that were asked for, the caller checks.
    pub fn verify(&self, chain: &ChainId) -> Result<(), ReadLogError> {
        signature::verify(&self.node.0, &self.digest(chain), &self.signature)?;
        let days = self.from_day..self.end_day;
        let sorted = self.rows.is_sorted_by_key(|row| row.day);
        let inside = self.rows.iter().all(|row| days.contains(&row.day));
        match !days.is_empty() && sorted && inside && self.rows.len() <= READ_ROWS_MAX {
            true => Ok(()),
            false => Err(ReadLogError::Rows),
        }
    }
}

/// What an owner signs to ask a node who read an object. It names the peer that asks, whose key the connection proves,
/// and the node. So the words of one request are of no use to another peer, or at another node.
#[must_use]
pub fn question(
    chain: &ChainId,
    node: &NodeId,
    peer: &PeerId,
    (owner, object): (&AccountId, &ObjectId),
) -> Hash {
    let mut bytes = chain.to_bytes();
    node.encode(&mut bytes);
    peer.encode(&mut bytes);
    owner.encode(&mut bytes);
    object.encode(&mut bytes);
    Hash(blake3::derive_key("symbolon 2026 read question v1", &bytes))
}

/// The day of a time.
#[must_use]
pub fn day_of(time_ms: LedgerTime) -> u32 {
    u32::try_from(time_ms.0 / Millis::DAY.0).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: ChainId = ChainId([1; 32]);

    fn row(day: u32) -> ReadRow {
        let by = ReadBy::Grant { given: LinkId([2; 16]), link: LinkId([3; 16]) };
        ReadRow { day, by, reader: PeerId([4; 32]), reads: 5, bytes: 6 }
    }

    fn log(days: core::ops::Range<u32>, rows: Vec<ReadRow>) -> ReadLog {
        let key = SigningKey::from_bytes(&[7; 32]);
        let of = (AccountId([8; 32]), ObjectId([9; 16]));
        ReadLog::build(&CHAIN, &key, of, days, LedgerTime(10), rows)
    }

    #[test]
    fn a_log_is_of_its_node_ledger_and_days() {
        let good = log(5..7, alloc::vec![row(5), row(6)]);
        assert_eq!(good.verify(&CHAIN), Ok(()));
        let signature = Err(ReadLogError::Signature(SignatureError));
        assert_eq!(good.verify(&ChainId([9; 32])), signature);
        let fewer = ReadLog { rows: alloc::vec![row(5)], ..good.clone() };
        assert_eq!(fewer.verify(&CHAIN), signature);
        let longer = ReadLog { end_day: 8, ..good.clone() };
        assert_eq!(longer.verify(&CHAIN), signature);
        for bad in [
            log(5..7, alloc::vec![row(6), row(5)]),
            log(5..7, alloc::vec![row(7)]),
            log(5..7, alloc::vec![row(4)]),
            log(5..5, Vec::new()),
            log(5..7, alloc::vec![row(5); READ_ROWS_MAX + 1]),
        ] {
            assert_eq!(bad.verify(&CHAIN), Err(ReadLogError::Rows));
        }
    }

    #[test]
    fn days_are_of_the_ledgers_time() {
        assert_eq!(day_of(LedgerTime(Millis::DAY.0 - 1)), 0);
        assert_eq!(day_of(LedgerTime(Millis::DAY.0)), 1);
        assert_eq!(day_of(LedgerTime::NEVER), u32::MAX);
    }
}
