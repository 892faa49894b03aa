//! The rows of a node's index.

use symbolon_protocol::{
    choice,
    id::{AccountId, DealId, Hash, ObjectId},
    ledger::rows::Access,
    record,
};

record! {
    /// What is known of a shard before its bytes come.
    pub struct ShardInfo {
        /// Which deal.
        pub deal: DealId,
        /// Which shard of it.
        pub index: u8,
        /// Who pays.
        pub owner: AccountId,
        /// The stored file version it belongs to.
        pub object: ObjectId,
        /// Who may read.
        pub access: Access,
        /// Its bytes.
        pub length: u64,
        /// The terms it was accepted under, as the caller encodes them.
        pub terms: Vec<u8>,
    }
}

choice! {
    /// Where a stored shard stands.
    #[derive(Copy)]
    pub enum ShardState {
        /// Accepted, no deal on the ledger yet.
        Unpaid = 1 {
            /// Until when one must come, in milliseconds since the Unix epoch.
            until_ms: u64,
        },
        /// In a deal that runs.
        Active = 2,
        /// In a deal that is over.
        Ended = 3,
    }
}

/// A stored shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// What it is.
    pub info: ShardInfo,
    /// Its BLAKE3 root, as computed when it came in.
    pub root: Hash,
    /// Where it stands.
    pub state: ShardState,
    /// The acceptance it was answered with; empty when there was none.
    pub acceptance: Vec<u8>,
}

record! {
    /// A shard's row.
    pub(super) struct Row {
        pub(super) info: ShardInfo,
        pub(super) root: Hash,
        pub(super) state: ShardState,
        pub(super) acceptance: Vec<u8>,
        /// The number of its file.
        pub(super) file: u64,
    }
}

impl Row {
    pub(super) fn into_shard(self) -> Shard {
        let Self { info, root, state, acceptance, file: _ } = self;
        Shard { info, root, state, acceptance }
    }
}

/// `deal | index`: shards of a deal stand together.
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

    /// `time in ms | deal | index`: in the order in which shards fall due.
    pub(super) fn due(&self, due_ms: u64) -> [u8; 8 + Self::BYTES] {
        let mut bytes = [0; 8 + Self::BYTES];
        bytes[..8].copy_from_slice(&due_ms.to_be_bytes());
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
    /// When the shard may be removed, if ever.
    pub(super) fn due_ms(self) -> Option<u64> {
        match self {
            Self::Unpaid { until_ms } => Some(until_ms),
            Self::Active => None,
            Self::Ended => Some(0),
        }
    }
}
