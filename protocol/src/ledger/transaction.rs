//! An account's request to the ledger: one signed action under an id that its sender chose.

use alloc::{boxed::Box, string::String, vec::Vec};

use ed25519_dalek::SigningKey;

use crate::{
    amount::Amount,
    choice,
    custody::{CustodyAcceptance, DeliveryKey, Release, VaultKey},
    dispute::Complaint,
    id::{
        AccountId, ChainId, DealId, Hash, LinkId, ListingId, NodeId, ObjectId, Opening, OrderId,
        PeerId, TransactionId, VaultId,
    },
    ledger::{
        block::OnionStart,
        evidence::Evidence,
        rows::{Access, Choice, Measure, PublicRef, Terms},
        signing,
    },
    proof::LeafProof,
    record,
    signature::{self, SignatureError},
    time::LedgerTime,
};

record! {
    /// A signed action.
    pub struct Transaction {
        /// The ledger it is for.
        pub chain: ChainId,
        /// The account that acts.
        pub sender: AccountId,
        /// Chosen by the sender. The same id and content are applied once, however often they are sent.
        pub id: TransactionId,
        /// The last height at which it may be applied.
        pub valid_until: u64,
        /// The requested action.
        pub action: Action,
        /// By the sender, over everything above.
        pub signature: [u8; 64],
    }
}

record! {
    /// The terms of a deal without its nodes: a node accepts them, and an owner opens the deal with them.
    pub struct DealTerms {
        /// The account that pays.
        pub owner: AccountId,
        /// Chosen by the owner: the deal's id follows from both.
        pub opening: Opening,
        /// The stored file version.
        pub object: ObjectId,
        /// The segment of it, from 0.
        pub segment: u32,
        /// Shards that suffice to give the segment back.
        pub required: u8,
        /// Shards that are made.
        pub total: u8,
        /// Bytes of each shard.
        pub length: u64,
        /// Who may read the shards.
        pub access: Access,
        /// The number of epochs, beginning with the next one.
        pub epochs: u64,
    }
}

record! {
    /// A node's signed statement that it holds a shard, synced to disk, and keeps it on these terms.
    pub struct Acceptance {
        /// The node that accepts.
        pub node: NodeId,
        /// The shard's index.
        pub index: u8,
        /// Its BLAKE3 root, as the node computed it from the bytes it received.
        pub root: Hash,
        /// Price per GiB and epoch.
        pub price: Amount,
        /// The first epoch for which the node does not agree to this price. Until then the deal may be extended.
        pub until: u64,
        /// The time until which the ledger must have it, in milliseconds since the Unix epoch.
        pub expires_ms: LedgerTime,
        /// By the node, over chain, terms and everything above.
        pub signature: [u8; 64],
    }
}

record! {
    /// A shard that its node has lost.
    #[derive(Copy)]
    pub struct LostShard {
        /// Its deal.
        pub deal: DealId,
        /// Its index.
        pub index: u8,
    }
}

record! {
    /// A deal that gets caretakers.
    pub struct CaredDeal {
        /// The opening of the deal.
        pub opening: Opening,
        /// `care key XOR index key` of each shard, by index.
        pub pads: Vec<[u8; 32]>,
    }
}

choice! {
    /// The actions of the ledger.
    pub enum Action {
        /// Play money on a development network.
        Faucet = 1,
        /// Moves money to another account.
        Transfer = 2 {
            /// The account that receives.
            to: AccountId,
            /// The amount.
            amount: Amount,
        },
        /// Announces or changes the sender as a storage node.
        RegisterNode = 10 {
            /// The account that gets the node's pay.
            payout: AccountId,
            /// Who runs the node; absent if the payout account stands for its operator.
            operator: Option<AccountId>,
            /// The node's addresses.
            addresses: Vec<String>,
            /// The key that vault shares are sealed to, if the node keeps custody.
            custody_key: Option<[u8; 32]>,
            /// Whether the node repairs what its owners name it for.
            caretaker: bool,
            /// Asking price per GiB and epoch.
            price: Amount,
            /// The first epoch for which it does not agree to keep what it has at this price. Until then its deals may be
            /// extended where they pay it no less.
            agrees_until: u64,
            /// Bytes offered.
            capacity: u64,
            /// Whether the node takes no new shards, because it wants to leave.
            leaving: bool,
        },
        /// Opens a deal and pays for all of it.
        OpenDeal = 11 {
            /// The terms.
            terms: DealTerms,
            /// The nodes that keep the shards.
            acceptances: Vec<Acceptance>,
            /// The most the sender pays, all-in.
            cost_max: Amount,
        },
        /// Ends a deal with the current epoch; the money for later epochs comes back.
        EndDeal = 12 {
            /// The deal.
            deal: DealId,
        },
        /// A node's storage proof for the current epoch.
        Prove = 13 {
            /// The epoch.
            epoch: u64,
            /// The challenged leaves, in the order of the challenges.
            leaves: Vec<LeafProof>,
        },
        /// Makes the terms of deals longer, at the prices their nodes agreed to. Anyone may pay for it.
        ExtendDeals = 14 {
            /// The deals.
            deals: Vec<DealId>,
            /// How many epochs are added to each.
            epochs: u64,
            /// The most the sender pays, all-in.
            cost_max: Amount,
        },
        /// Gives shards of a deal to other nodes: lost ones; its own, by a node that keeps it no longer; any, by the owner;
        /// those that it has claimed, by a caretaker.
        PlaceShards = 15 {
            /// The terms that the nodes accepted. Their number of epochs counts for nothing: the deal's end stays.
            terms: DealTerms,
            /// The nodes that keep the shards from now on.
            acceptances: Vec<Acceptance>,
            /// The most the sender pays, all-in.
            cost_max: Amount,
        },
        /// A node says that it has lost shards, before it is asked for them.
        DeclareLost = 16 {
            /// The shards.
            shards: Vec<LostShard>,
        },
        /// Names caretakers for deals of the sender, or others than before, or none.
        SetCare = 17 {
            /// The sender's vault, to which the pads are sealed.
            vault: VaultId,
            /// The nodes that may claim a repair.
            caretakers: Vec<NodeId>,
            /// A repair may be claimed while a deal could lose at most so many more shards.
            spare: u8,
            /// What a caretaker is paid for a rebuilt shard.
            fee: Amount,
            /// The most that the new node of a rebuilt shard may ask per GiB and epoch.
            price_max: Amount,
            /// The deals.
            deals: Vec<CaredDeal>,
        },
        /// A caretaker claims to rebuild lost shards of a deal.
        ClaimRepair = 18 {
            /// The deal.
            deal: DealId,
            /// The lost shards that it rebuilds, in ascending order.
            rebuild: Vec<u8>,
            /// The kept shards that it reads, in ascending order: as many as are required.
            read: Vec<u8>,
            /// The one-time key that the custodians release to.
            delivery: DeliveryKey,
        },
        /// A caretaker is paid for shards that it has rebuilt and their new nodes have proven.
        CollectRepair = 19 {
            /// Their deal.
            deal: DealId,
            /// Their indexes, in ascending order.
            shards: Vec<u8>,
        },
        /// The sender, a node that keeps nothing, is a node no longer: collateral, withheld pay and deposits go back.
        RetireNode = 7,
        /// Adds to a node's collateral. Anyone may; it is the node's from then on.
        Stake = 8 {
            /// The node.
            node: NodeId,
            /// How much.
            amount: Amount,
        },
        /// The sender, a node, gets collateral back that it does not need: withheld pay first.
        Unstake = 9 {
            /// How much, to its payout account.
            amount: Amount,
        },
        /// Announces the sender's key as a validator, and stakes for its operator.
        JoinValidators = 40 {
            /// The account that commands it, and gets its commission.
            operator: AccountId,
            /// The peer that speaks for it.
            peer: PeerId,
            /// The peer's addresses.
            addresses: Vec<String>,
            /// The operator's part of its rewards, in hundredths of a percent.
            commission_bp: u16,
            /// The onions with which it begins: its own numbers 0 and 1.
            onion: OnionStart,
            /// What is staked, for the operator.
            amount: Amount,
        },
        /// Changes what a validator says of itself. Only its operator may.
        ChangeValidator = 41 {
            /// The validator.
            validator: AccountId,
            /// The peer that speaks for it.
            peer: PeerId,
            /// The peer's addresses.
            addresses: Vec<String>,
            /// The operator's part of its rewards, in hundredths of a percent.
            commission_bp: u16,
        },
        /// Takes a validator out of the set. Only its operator may.
        LeaveValidators = 42 {
            /// The validator.
            validator: AccountId,
        },
        /// Lets a validator wait for a place in the set again, after it has left or was jailed. Only its operator may.
        RejoinValidators = 43 {
            /// The validator.
            validator: AccountId,
            /// New onions: those of the numbers that its row says.
            onion: OnionStart,
        },
        /// Adds to a validator's stake. The part is the sender's.
        Delegate = 44 {
            /// The validator.
            validator: AccountId,
            /// How much.
            amount: Amount,
        },
        /// Takes back from a validator's stake. It is paid out after the unbonding time.
        Undelegate = 45 {
            /// The validator.
            validator: AccountId,
            /// How much; absent for all that the sender has.
            amount: Option<Amount>,
        },
        /// Shows that a validator signed two things that exclude each other.
        ReportEquivocation = 46 {
            /// The two statements.
            evidence: Box<Evidence>,
        },
        /// Proposes that the rules or the treasury do something. Those with stake vote on it.
        ProposeMotion = 47 {
            /// What it would change.
            measure: Measure,
            /// Why, in the sender's words.
            text: String,
            /// What is bound while it is voted on. It goes to the treasury if too few vote, or by a veto.
            deposit: Amount,
        },
        /// Says something to a motion, for the sender's stake on a validator; for a validator's operator, for all of it whose
        /// owners say nothing.
        CastBallot = 48 {
            /// The motion's number.
            motion: u64,
            /// The validator.
            validator: AccountId,
            /// What.
            choice: Choice,
        },
        /// Says which version of the rules a validator's software knows. Its operator may, and its own key.
        DeclareRules = 49 {
            /// The validator.
            validator: AccountId,
            /// The newest version.
            version: u32,
        },
        /// Opens a vault.
        OpenVault = 20 {
            /// Chosen by the sender: the vault's id follows from both.
            opening: Opening,
            /// Its public side.
            key: VaultKey,
            /// Its custodians, by share index.
            custodians: Vec<CustodyAcceptance>,
        },
        /// Lists something for sale.
        List = 21 {
            /// Chosen by the sender: the listing's id follows from both.
            opening: Opening,
            /// Its terms.
            terms: Box<Terms>,
        },
        /// Posts the preview cells the beacon picked.
        Preview = 22 {
            /// The listing.
            listing: ListingId,
            /// Their place on the network.
            preview: PublicRef,
        },
        /// Ends a listing; earlier orders go on.
        EndListing = 23 {
            /// The listing.
            listing: ListingId,
        },
        /// Buys: pays into escrow.
        Order = 24 {
            /// Chosen by the sender: the order's id follows from both.
            opening: Opening,
            /// The listing.
            listing: ListingId,
            /// The peer key that the grant will be bound to.
            holder: PeerId,
            /// The one-time key that the custodians release to.
            delivery: DeliveryKey,
            /// The time of the listing that the buyer saw: an id may stand for another listing later.
            listed_ms: LedgerTime,
            /// The price that the buyer saw.
            price: Amount,
            /// The licence the buyer accepts.
            licence: Hash,
        },
        /// A custodian's release comes onto the ledger: sent by the custodian, or by the buyer who has it.
        PostRelease = 25 {
            /// The order.
            order: OrderId,
            /// The release.
            release: Release,
        },
        /// The buyer has what was listed: the seller is paid now.
        Acknowledge = 26 {
            /// The order.
            order: OrderId,
            /// The custodians whose releases the buyer used.
            custodians: Vec<u8>,
        },
        /// Deals the secret of the sender's vault anew, to other custodians or to the same. Its public key stays, so all that
        /// is sealed to the vault opens as before.
        RotateVault = 27 {
            /// The vault.
            vault: VaultId,
            /// Its public side: the first commitment is the vault's.
            key: VaultKey,
            /// Its custodians from now on, by share index.
            custodians: Vec<CustodyAcceptance>,
        },
        /// Shows the ledger deals that keep a listing's file: those of its next segments. Only their owner may.
        CoverListing = 28 {
            /// The listing.
            listing: ListingId,
            /// The first of the segments: 0 begins anew.
            first: u32,
            /// The deals, in the order of the segments.
            deals: Vec<DealId>,
        },
        /// A buyer says what is wrong with what was delivered.
        Complain = 29 {
            /// The order.
            order: OrderId,
            /// What is wrong, with everything that proves it.
            complaint: Box<Complaint>,
        },
        /// A node puts its cell on the ledger, since a buyer did not get it.
        AnswerCell = 32 {
            /// The order.
            order: OrderId,
            /// The cell as the node keeps it.
            kept: Vec<u8>,
            /// From it to the root of the node's shard.
            path: Vec<Hash>,
        },
        /// Ends a grant link and everything below it.
        Revoke = 30 {
            /// The link.
            link: LinkId,
            /// When the link ends by itself, in milliseconds since the Unix epoch; absent if it never does. The revocation
            /// leaves the state some time after that.
            until_ms: Option<LedgerTime>,
        },
        /// Redeems a voucher, once: the sender is the voucher's one-time account.
        Redeem = 34 {
            /// The peer that holds the grant from now on.
            holder: PeerId,
            /// When the voucher ends, in milliseconds since the Unix epoch. The redemption leaves the state some time after
            /// that.
            until_ms: LedgerTime,
        },
        /// Replaces the root record that the sender has read.
        SetRoot = 31 {
            /// The version to replace; 0 if there is no record yet.
            expected_version: u64,
            /// The sealed record.
            blob: Vec<u8>,
        },
    }
}

impl CaredDeal {
    /// The deal's id, if this is its owner.
    #[must_use]
    pub fn deal(&self, owner: &AccountId) -> DealId {
        DealId::of(owner, &self.opening)
    }
}

impl DealTerms {
    /// The deal's id.
    #[must_use]
    pub fn deal(&self) -> DealId {
        DealId::of(&self.owner, &self.opening)
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
            Self::ExtendDeals { .. } => "ExtendDeals",
            Self::PlaceShards { .. } => "PlaceShards",
            Self::DeclareLost { .. } => "DeclareLost",
            Self::SetCare { .. } => "SetCare",
            Self::ClaimRepair { .. } => "ClaimRepair",
            Self::CollectRepair { .. } => "CollectRepair",
            Self::RetireNode => "RetireNode",
            Self::Stake { .. } => "Stake",
            Self::Unstake { .. } => "Unstake",
            Self::JoinValidators { .. } => "JoinValidators",
            Self::ChangeValidator { .. } => "ChangeValidator",
            Self::LeaveValidators { .. } => "LeaveValidators",
            Self::RejoinValidators { .. } => "RejoinValidators",
            Self::Delegate { .. } => "Delegate",
            Self::Undelegate { .. } => "Undelegate",
            Self::ReportEquivocation { .. } => "ReportEquivocation",
            Self::ProposeMotion { .. } => "ProposeMotion",
            Self::CastBallot { .. } => "CastBallot",
            Self::DeclareRules { .. } => "DeclareRules",
            Self::OpenVault { .. } => "OpenVault",
            Self::RotateVault { .. } => "RotateVault",
            Self::List { .. } => "List",
            Self::Preview { .. } => "Preview",
            Self::EndListing { .. } => "EndListing",
            Self::Order { .. } => "Order",
            Self::PostRelease { .. } => "PostRelease",
            Self::Acknowledge { .. } => "Acknowledge",
            Self::CoverListing { .. } => "CoverListing",
            Self::Complain { .. } => "Complain",
            Self::AnswerCell { .. } => "AnswerCell",
            Self::Revoke { .. } => "Revoke",
            Self::Redeem { .. } => "Redeem",
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
    /// Signs a node's acceptance.
    #[must_use]
    pub fn build(
        chain: &ChainId,
        terms: &DealTerms,
        key: &SigningKey,
        (index, root): (u8, Hash),
        (price, until): (Amount, u64),
        expires_ms: LedgerTime,
    ) -> Self {
        let node = PeerId(key.verifying_key().to_bytes());
        let signature = [0; 64];
        let mut accepted = Self { node, index, root, price, until, expires_ms, signature };
        accepted.signature = signature::sign(key, &accepted.digest(chain, terms));
        accepted
    }

    /// Hash of everything that the node signs: chain, terms and its own fields without the signature.
    #[must_use]
    pub fn digest(&self, chain: &ChainId, terms: &DealTerms) -> Hash {
        signing::hash_parts(
            "symbolon 2026 acceptance v2",
            &[
                chain,
                terms,
                &self.node,
                &self.index,
                &self.root,
                &self.price,
                &self.until,
                &self.expires_ms,
            ],
        )
    }

    /// Checks the node's signature.
    pub fn verify(&self, chain: &ChainId, terms: &DealTerms) -> Result<(), SignatureError> {
        signature::verify(&self.node.0, &self.digest(chain, terms), &self.signature)
    }
}
