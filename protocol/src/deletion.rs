//! A node's signed word that a shard is gone.
//!
//! A receipt proves what a node said, not what its disk holds: nobody can prove that bytes are nowhere.
//! It settles who is to blame: a node that signed one and gives the shard away later is convicted by its
//! own signature. See `spec/wire.md`.

use alloc::vec::Vec;

use ed25519_dalek::SigningKey;

use crate::{
    codec::Encode,
    id::{ChainId, DealId, Hash, NodeId, PeerId},
    record,
    signature::{self, SignatureError},
};

record! {
    /// That a node keeps a shard no more.
    pub struct DeletionReceipt {
        /// Of which deal.
        pub deal: DealId,
        /// Which shard.
        pub index: u8,
        /// Who says so.
        pub node: NodeId,
        /// The root the shard had, as the ledger has it.
        pub root: Hash,
        /// When, by the node's clock, in milliseconds since the Unix epoch.
        pub time_ms: u64,
        /// By the node, over the chain and everything above.
        pub signature: [u8; 64],
    }
}

impl DeletionReceipt {
    /// Signs a node's word.
    #[must_use]
    pub fn build(
        chain: &ChainId,
        key: &SigningKey,
        (deal, index): (DealId, u8),
        root: Hash,
        time_ms: u64,
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
