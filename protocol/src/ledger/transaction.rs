//! What an account asks of the ledger: one signed action under an id its sender chose.

use alloc::{boxed::Box, string::String, vec::Vec};

use ed25519_dalek::SigningKey;

use crate::{
    amount::Amount,
    choice,
    custody::{CustodyAcceptance, DeliveryKey, Release, VaultKey},
    id::{
        AccountId, ChainId, DealId, Hash, LinkId, ListingId, NodeId, ObjectId, OrderId, PeerId,
        TransactionId, VaultId,
    },
    ledger::{
        rows::{Access, PublicRef, Terms},
        signing,
    },
    proof::LeafProof,
    record,
    signature::{self, SignatureError},
};

record! {
    /// A signed action.
    pub struct Transaction {
        /// The ledger it is for.
        pub chain: ChainId,
        /// Whose action it is.
        pub sender: AccountId,
        /// Chosen by the sender: the same id and content are applied once, however often they are sent.
        pub id: TransactionId,
        /// Last height it may be applied at.
        pub valid_until: u64,
        /// What is asked.
        pub action: Action,
        /// By the sender, over everything above.
        pub signature: [u8; 64],
    }
}

record! {
    /// The terms of a deal, all but who keeps which shard: what a node accepts and an owner opens.
    pub struct DealTerms {
        /// Made of an opening that the owner chose.
        pub deal: DealId,
        /// Who pays.
        pub owner: AccountId,
        /// The stored file version.
        pub object: ObjectId,
        /// Which segment of it, from 0.
        pub segment: u32,
        /// Shards that give the segment back.
        pub required: u8,
        /// Shards that are made.
        pub total: u8,
        /// Bytes of each shard.
        pub length: u64,
        /// Who may read.
        pub access: Access,
        /// For how many epochs, from the next one.
        pub epochs: u64,
    }
}

record! {
    /// A node's word that it holds a shard, synced to disk, and keeps it on these terms.
    pub struct Acceptance {
        /// Who accepts.
        pub node: NodeId,
        /// Which shard.
        pub index: u8,
        /// Its BLAKE3 root, as the node computed it from the bytes it received.
        pub root: Hash,
        /// Price per GiB and epoch.
        pub price: Amount,
        /// Until when the deal must be opened, in milliseconds since the Unix epoch.
        pub expires_ms: u64,
        /// By the node, over chain, terms and everything above.
        pub signature: [u8; 64],
    }
}

choice! {
    /// What can be asked of the ledger.
    pub enum Action {
        /// Play money on a development network.
        Faucet = 1,
        /// Moves money to another account.
        Transfer = 2 {
            /// Who receives.
            to: AccountId,
            /// How much.
            amount: Amount,
        },
        /// Announces or changes the sender as a storage node.
        RegisterNode = 10 {
            /// The account that earns.
            payout: AccountId,
            /// Where the node answers.
            addresses: Vec<String>,
            /// Where vault shares are sealed to, if the node keeps custody.
            custody_key: Option<[u8; 32]>,
            /// Asking price per GiB and epoch.
            price: Amount,
            /// Bytes offered.
            capacity: u64,
        },
        /// Opens a deal and pays for all of it.
        OpenDeal = 11 {
            /// What the deal's id is made of.
            opening: Hash,
            /// The terms.
            terms: DealTerms,
            /// The nodes that keep the shards.
            acceptances: Vec<Acceptance>,
            /// The most the sender pays, all-in.
            cost_max: Amount,
        },
        /// Ends a deal with the current epoch; what was paid for later epochs comes back.
        EndDeal = 12 {
            /// Which.
            deal: DealId,
        },
        /// A node's storage proof for the current epoch.
        Prove = 13 {
            /// The epoch.
            epoch: u64,
            /// The challenged leaves, in the order of the challenges.
            leaves: Vec<LeafProof>,
        },
        /// Opens a vault.
        OpenVault = 20 {
            /// Chosen by the sender.
            vault: VaultId,
            /// Its public side.
            key: VaultKey,
            /// Its custodians, by share index.
            custodians: Vec<CustodyAcceptance>,
        },
        /// Lists something for sale.
        List = 21 {
            /// Chosen by the sender.
            listing: ListingId,
            /// On what terms.
            terms: Box<Terms>,
        },
        /// Posts the preview cells the beacon picked.
        Preview = 22 {
            /// Of which listing.
            listing: ListingId,
            /// Where they are.
            preview: PublicRef,
        },
        /// Ends a listing; orders already made go on.
        EndListing = 23 {
            /// Which.
            listing: ListingId,
        },
        /// Buys: pays into escrow.
        Order = 24 {
            /// Chosen by the sender.
            order: OrderId,
            /// What is bought.
            listing: ListingId,
            /// The peer key the grant shall be bound to.
            holder: PeerId,
            /// The one-time key the custodians release to.
            delivery: DeliveryKey,
            /// The price the buyer saw.
            price: Amount,
            /// The licence the buyer accepts.
            licence: Hash,
        },
        /// A custodian puts its release on the ledger.
        PostRelease = 25 {
            /// For which order.
            order: OrderId,
            /// The release.
            release: Release,
        },
        /// The buyer has what was listed: the seller is paid now.
        Acknowledge = 26 {
            /// Which order.
            order: OrderId,
            /// The custodians whose releases the buyer used.
            custodians: Vec<u8>,
        },
        /// Kills a grant link and everything below it.
        Revoke = 30 {
            /// Which link.
            link: LinkId,
        },
        /// Puts the sender's root record in the place of the one it has read.
        SetRoot = 31 {
            /// The version that is replaced; 0 when there is no record yet.
            expected_version: u64,
            /// The sealed record.
            blob: Vec<u8>,
        },
    }
}

impl Action {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Faucet => "Faucet",
            Self::Transfer { .. } => "Transfer",
            Self::RegisterNode { .. } => "RegisterNode",
            Self::OpenDeal { .. } => "OpenDeal",
            Self::EndDeal { .. } => "EndDeal",
            Self::Prove { .. } => "Prove",
            Self::OpenVault { .. } => "OpenVault",
            Self::List { .. } => "List",
            Self::Preview { .. } => "Preview",
            Self::EndListing { .. } => "EndListing",
            Self::Order { .. } => "Order",
            Self::PostRelease { .. } => "PostRelease",
            Self::Acknowledge { .. } => "Acknowledge",
            Self::Revoke { .. } => "Revoke",
            Self::SetRoot { .. } => "SetRoot",
        }
    }
}

impl Transaction {
    /// Signs an action.
    #[must_use]
    pub fn build(
        chain: ChainId,
        key: &SigningKey,
        id: TransactionId,
        valid_until: u64,
        action: Action,
    ) -> Self {
        let sender = AccountId(key.verifying_key().to_bytes());
        let mut transaction = Self { chain, sender, id, valid_until, action, signature: [0; 64] };
        transaction.signature = signature::sign(key, &transaction.digest());
        transaction
    }

    /// Hash of the signed content: everything but the signature.
    #[must_use]
    pub fn digest(&self) -> Hash {
        signing::hash_parts(
            "symbolon 2026 transaction v1",
            &[&self.chain, &self.sender, &self.id, &self.valid_until, &self.action],
        )
    }

    /// Checks the sender's signature.
    pub fn verify(&self) -> Result<(), SignatureError> {
        signature::verify(&self.sender.0, &self.digest(), &self.signature)
    }
}

impl Acceptance {
    /// Signs a node's word.
    #[must_use]
    pub fn build(
        chain: &ChainId,
        terms: &DealTerms,
        key: &SigningKey,
        (index, root): (u8, Hash),
        price: Amount,
        expires_ms: u64,
    ) -> Self {
        let node = PeerId(key.verifying_key().to_bytes());
        let mut accepted = Self { node, index, root, price, expires_ms, signature: [0; 64] };
        accepted.signature = signature::sign(key, &accepted.digest(chain, terms));
        accepted
    }

    /// Hash of what the node signs: chain, terms and everything of its own but the signature.
    #[must_use]
    pub fn digest(&self, chain: &ChainId, terms: &DealTerms) -> Hash {
        signing::hash_parts(
            "symbolon 2026 acceptance v1",
            &[chain, terms, &self.node, &self.index, &self.root, &self.price, &self.expires_ms],
        )
    }

    /// Checks the node's signature.
    pub fn verify(&self, chain: &ChainId, terms: &DealTerms) -> Result<(), SignatureError> {
        signature::verify(&self.node.0, &self.digest(chain, terms), &self.signature)
    }
}
