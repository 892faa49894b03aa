//! A node's signed statement that a shard is gone.
//!
//! A receipt proves what a node said, not what its disk holds: no proof can show that bytes exist nowhere.
//! It settles who is to blame: if a node signs a receipt and gives out the shard later, its own signature
//! convicts it. See `spec/wire.md`.

use alloc::vec::Vec;

use ed25519_dalek::SigningKey;

use crate::{
    codec::Encode,
    id::{ChainId, DealId, Hash, NodeId, PeerId},
    record,
    signature::{self, SignatureError},
    time::LedgerTime,
};

record! {
    /// A node's statement that it no longer keeps a shard.
    pub struct DeletionReceipt {
        /// The deal.
        pub deal: DealId,
        /// The shard's index.
        pub index: u8,
        /// The node that says so.
        pub node: NodeId,
        /// The shard's root, as the ledger has it.
        pub root: Hash,
        /// The time by the node's clock, in milliseconds since the Unix epoch.
        pub time_ms: LedgerTime,
        /// By the node, over the chain and everything above.
        pub signature: [u8; 64],
    }
}

impl DeletionReceipt {
    /// Signs the statement for a node.
    #[must_use]
    pub fn build(
        chain: &ChainId,
        key: &SigningKey,
        (deal, index): (DealId, u8),
        root: Hash,
        time_ms: LedgerTime,
    ) -> Self {
        let node = PeerId(key.verifying_key().to_bytes());
        let mut receipt = Self { deal, index, node, root, time_ms, signature: [0; 64] };
        receipt.signature = signature::sign(key, &receipt.digest(chain));
        receipt
    }

    /// Hash of what the node signs: the chain and everything but the signature.
    #[must_use]
    pub fn digest(&self, chain: &ChainId) -> Hash {
        let Self { deal, index, node, root, time_ms, signature: _ } = self;
        let mut bytes = Vec::new();
        chain.encode(&mut bytes);
        deal.encode(&mut bytes);
        index.encode(&mut bytes);
        node.encode(&mut bytes);
        root.encode(&mut bytes);
        time_ms.encode(&mut bytes);
        Hash(blake3::derive_key("symbolon 2026 deletion receipt v1", &bytes))
    }

    /// Checks the node's signature.
    pub fn verify(&self, chain: &ChainId) -> Result<(), SignatureError> {
        signature::verify(&self.node.0, &self.digest(chain), &self.signature)
    }
}
