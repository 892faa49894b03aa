//! The rows of a node's index.

use symbolon_protocol::{
    LedgerTime, choice,
    id::{AccountId, DealId, Hash, ObjectId},
    ledger::rows::Access,
    record,
};

record! {
    /// The description of a shard before its bytes arrive.
    pub struct ShardInfo {
        /// The deal.
        pub deal: DealId,
        /// The index of the shard in its deal.
        pub index: u8,
        /// The owner, who pays.
        pub owner: AccountId,
        /// The stored file version that the shard belongs to.
        pub object: ObjectId,
        /// Who may read the shard.
        pub access: Access,
        /// Bytes of the shard.
        pub length: u64,
        /// The accepted terms, in the caller's encoding.
        pub terms: Vec<u8>,
    }
}

choice! {
    /// The state of a stored shard.
    #[derive(Copy)]
    pub enum ShardState {
        /// The shard is accepted, but its deal is not on the ledger yet.
        Unpaid = 1 {
            /// Milliseconds since the Unix epoch until which the deal must be opened.
            until_ms: LedgerTime,
        },
        /// The shard is in a running deal.
        Active = 2,
        /// The shard's deal is over.
        Ended = 3,
    }
}

/// A stored shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The description of the shard.
    pub info: ShardInfo,
    /// The BLAKE3 root, computed while the shard was stored.
    pub root: Hash,
    /// The state of the shard.
    pub state: ShardState,
    /// The acceptance that was given for it; empty if there was none.
    pub acceptance: Vec<u8>,
}

record! {
    /// The shards of an owner whose deals are not open.
    #[derive(Copy, Default)]
    pub struct Unpaid {
        /// How many there are.
        pub shards: u64,
        /// Their bytes.
        pub bytes: u64,
    }
}

/// The sums over all stored shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Stored shards.
    pub shards: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The unpaid ones among them, by owner.
    pub unpaid: Vec<(AccountId, Unpaid)>,
}

record! {
    /// A shard's row.
    pub(super) struct Row {
        pub(super) info: ShardInfo,
        pub(super) root: Hash,
        pub(super) state: ShardState,
        pub(super) acceptance: Vec<u8>,
        /// The number of the shard's file.
        pub(super) file: u64,
    }
}

impl Row {
    pub(super) fn into_shard(self) -> Shard {
        let Self { info, root, state, acceptance, file: _ } = self;
        Shard { info, root, state, acceptance }
    }
}

/// `deal | index`. The shards of a deal are neighbours in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ShardKey([u8; Self::BYTES]);

impl ShardKey {
    pub(super) const BYTES: usize = DealId::BYTES + 1;

    pub(super) fn new(deal: &DealId, index: u8) -> Self {
        let mut bytes = [index; Self::BYTES];
        bytes[..DealId::BYTES].copy_from_slice(&deal.0);
        Self(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// `time in ms | deal | index`. Keys sort in the order in which shards may be removed.
    pub(super) fn due(&self, due_ms: LedgerTime) -> [u8; 8 + Self::BYTES] {
        let mut bytes = [0; 8 + Self::BYTES];
        bytes[..8].copy_from_slice(&due_ms.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.0);
        bytes
    }
}

impl ShardInfo {
    pub(super) fn key(&self) -> ShardKey {
        ShardKey::new(&self.deal, self.index)
    }
}

impl ShardState {
    /// When the shard may be removed; `None` if it may not.
    pub(super) fn due_ms(self) -> Option<LedgerTime> {
        match self {
            Self::Unpaid { until_ms } => Some(until_ms),
            Self::Active => None,
            Self::Ended => Some(LedgerTime::ZERO),
        }
    }
}
