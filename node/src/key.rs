//! The keys that a node derives from its one secret.

use std::fmt;

use ed25519_dalek::SigningKey;
use symbolon_protocol::{
    Amount, LedgerTime,
    custody::{CustodyAcceptance, CustodyTerms, DeliverySecret},
    deletion::DeletionReceipt,
    envelope,
    id::{AccountId, ChainId, DealId, Hash, NodeId, ObjectId, PeerId, TransactionId},
    ledger::transaction::{Acceptance, Action, DealTerms, Transaction},
    reads::{ReadLog, ReadRow},
};
use zeroize::Zeroizing;

/// A node's keys. One ed25519 key is its identity on the network and on the ledger. All other keys
/// are derived from the same secret, so the operator has to keep only one.
pub(crate) struct NodeKey {
    signing: SigningKey,
    custody: Zeroizing<[u8; 32]>,
    release: Zeroizing<[u8; 32]>,
    claim: Zeroizing<[u8; 32]>,
}

impl NodeKey {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let derive = |context| Zeroizing::new(blake3::derive_key(context, secret));
        Self {
            signing: SigningKey::from_bytes(secret),
            custody: derive("symbolon 2026 node custody key v1"),
            release: derive("symbolon 2026 node release entropy v1"),
            claim: derive("symbolon 2026 node claim secret v1"),
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        PeerId(self.signing.verifying_key().to_bytes())
    }

    /// Opens shares that owners seal to [`Self::custody_public`].
    pub(crate) fn custody_secret(&self) -> &[u8; 32] {
        &self.custody
    }

    /// The public key that owners seal vault shares to.
    pub(crate) fn custody_public(&self) -> [u8; 32] {
        envelope::public_key(&self.custody)
    }

    /// Entropy for the release of an order. It is the same each time, so a second request gets the
    /// same release. It is secret, so it cannot be predicted.
    pub(crate) fn release_entropy(&self, context: &Hash) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*blake3::keyed_hash(&self.release, &context.0).as_bytes())
    }

    /// The one-time secret of this node's claims of a deal. It is the same each time, so a node that was restarted goes on
    /// with its claim.
    pub(crate) fn claim_secret(&self, chain: &ChainId, deal: &DealId) -> DeliverySecret {
        let mut hasher = blake3::Hasher::new_keyed(&self.claim);
        hasher.update(&chain.0).update(&deal.0);
        DeliverySecret::from_seed(hasher.finalize().as_bytes())
    }

    /// A signed transaction.
    pub(crate) fn transaction(
        &self,
        chain: ChainId,
        id: TransactionId,
        valid_until: u64,
        action: Action,
    ) -> Transaction {
        Transaction::build(chain, &self.signing, id, valid_until, action)
    }

    /// The node's signed acceptance of a shard, at a price until an epoch.
    pub(crate) fn accept(
        &self,
        chain: &ChainId,
        terms: &DealTerms,
        shard: (u8, Hash),
        price: (Amount, u64),
        expires_ms: LedgerTime,
    ) -> Acceptance {
        Acceptance::build(chain, terms, &self.signing, shard, price, expires_ms)
    }

    /// The node's signed receipt that a shard is deleted.
    pub(crate) fn deleted(
        &self,
        chain: &ChainId,
        place: (DealId, u8),
        root: Hash,
        time_ms: LedgerTime,
    ) -> DeletionReceipt {
        DeletionReceipt::build(chain, &self.signing, place, root, time_ms)
    }

    /// The node's signed statement of who read an object.
    pub(crate) fn who_read(
        &self,
        chain: &ChainId,
        of: (AccountId, ObjectId),
        days: std::ops::Range<u32>,
        time_ms: LedgerTime,
        rows: Vec<ReadRow>,
    ) -> ReadLog {
        ReadLog::build(chain, &self.signing, of, days, time_ms, rows)
    }

    /// The node's signed acceptance of a vault share.
    pub(crate) fn accept_share(
        &self,
        terms: &CustodyTerms<'_>,
        expires_ms: LedgerTime,
    ) -> CustodyAcceptance {
        terms.accept(&self.signing, expires_ms)
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.id())
    }
}

/// A node's key, for what its operator does with it beside the running node: its money.
#[derive(Debug)]
pub struct OwnKey(NodeKey);

impl OwnKey {
    /// The key with this secret, from the node's folder.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(NodeKey::new(secret))
    }

    /// The node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.0.id()
    }

    /// Signs an action of the node.
    #[must_use]
    pub fn sign(
        &self,
        chain: ChainId,
        id: TransactionId,
        valid_until: u64,
        action: Action,
    ) -> Transaction {
        self.0.transaction(chain, id, valid_until, action)
    }
}

/// A transaction's id, derived from its purpose. Sending it again is the same transaction.
pub(crate) fn transaction_id(context: &'static str, parts: &[&[u8]]) -> TransactionId {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    let mut id = [0; TransactionId::BYTES];
    hasher.finalize_xof().fill(&mut id);
    TransactionId(id)
}
