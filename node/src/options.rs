//! The settings that an operator chooses for a node.

use std::path::PathBuf;

use symbolon_net::crowd::Bounds;
use symbolon_protocol::{Amount, id::AccountId, limits};

/// The settings of a node. Its endpoint determines where it listens and which addresses it
/// announces.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The folder of the node's store. Each node needs a folder of its own.
    pub dir: PathBuf,
    /// Bytes offered.
    pub capacity: u64,
    /// Asking price per GiB and epoch.
    pub price: Amount,
    /// The account that receives the node's earnings.
    pub payout: AccountId,
    /// Who runs the node; `None` if its payout account stands for that.
    pub operator: Option<AccountId>,
    /// Whether the node keeps shares of vault secrets.
    pub custody: bool,
    /// Whether the node rebuilds lost shards of owners that name it.
    pub caretaker: bool,
    /// Bounds on the node's work.
    pub limits: Limits,
    /// Whether the operator accepts that the node's store or a part of it is gone.
    pub accept_loss: bool,
}

/// All bounds on what strangers can make a node store or do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once.
    pub connections_max: usize,
    /// Connections of one peer.
    pub connections_per_peer_max: usize,
    /// Connections from one network address.
    pub connections_per_address_max: usize,
    /// Milliseconds until a connection without requests is closed.
    pub connection_idle_ms: u64,
    /// Streams answered at once for one peer.
    pub streams_per_peer_max: usize,
    /// Streams answered at once. Each read holds two slices in memory.
    pub streams_max: usize,
    /// Shards received at once.
    pub stores_max: usize,
    /// Shards received at once from one peer, and for one owner.
    pub stores_per_peer_max: usize,
    /// Bytes of shards whose deal is not yet open, over all owners.
    pub unpaid_bytes_max: u64,
    /// Bytes of shards whose deal is not yet open, per owner.
    pub unpaid_bytes_per_owner_max: u64,
    /// Bytes of the disk that stay free for other programs, independent of the capacity.
    pub disk_reserve_bytes: u64,
    /// Milliseconds until an acceptance expires. The owner must open the deal by then.
    pub acceptance_ms: u64,
    /// Milliseconds after which a shard that was found damaged is declared lost, if it is not whole again. A disk may only
    /// be away for a while.
    pub declare_after_ms: u64,
    /// The least fee for a rebuilt shard for which a caretaker claims a repair.
    pub repair_fee_min: Amount,
    /// For how many epochs from now the node agrees to its price: so far may a deal with it be extended.
    pub agreed_epochs: u64,
    /// Milliseconds that an unpaid shard is kept after its acceptance has expired, because blocks
    /// may be late.
    pub unpaid_grace_ms: u64,
    /// Custody shares whose vaults are not open, over all owners.
    pub unopened_shares_max: usize,
    /// Custody shares whose vaults are not open, per owner.
    pub unopened_shares_per_owner_max: usize,
    /// Milliseconds after which the share of an unopened vault is removed.
    pub vault_ms: u64,
    /// Milliseconds between two searches for expired unpaid shards.
    pub sweep_ms: u64,
    /// Milliseconds that a peer may stay silent in the middle of a message.
    pub idle_ms: u64,
    /// The largest age of the node's view of the ledger, in milliseconds, when it answers a grant
    /// without a staleness limit. In an older view a revocation may be missing.
    pub stale_ms: u64,
    /// Verified grants that are cached.
    pub grants_cached_max: usize,
    /// Orders that are remembered, so that they need not be looked up again; and as many redemptions.
    pub orders_known_max: usize,
    /// Orders and redemptions that are looked up at once. Each peer has one look-up at a time.
    pub look_ups_max: usize,
    /// Milliseconds that a peer waits after looking up an order or redemption that gave it nothing.
    pub look_up_pause_ms: u64,
}

impl Limits {
    /// Limits for a node that offers `capacity` bytes on an ordinary machine.
    #[must_use]
    pub fn for_capacity(capacity: u64) -> Self {
        Self {
            connections_max: 512,
            // An identity may run several programs, and an address may have several identities.
            connections_per_peer_max: 16,
            connections_per_address_max: 128,
            connection_idle_ms: 5 * 60 * 1000,
            streams_per_peer_max: 64,
            streams_max: 1024,
            stores_max: 32,
            stores_per_peer_max: 16,
            // At no cost, strangers can bind half of the disk for an hour, and one of them an
            // eighth.
            unpaid_bytes_max: capacity / 2,
            unpaid_bytes_per_owner_max: (capacity / 8).max(4 * limits::SHARD_BYTES_MAX),
            disk_reserve_bytes: 256 * 1024 * 1024,
            acceptance_ms: 60 * 60 * 1000,
            declare_after_ms: 60 * 60 * 1000,
            repair_fee_min: Amount::ZERO,
            agreed_epochs: u64::MAX,
            unpaid_grace_ms: 10 * 60 * 1000,
            // About 6 MB in all. A seller opens a vault within seconds of storing its shares.
            unopened_shares_max: 4096,
            unopened_shares_per_owner_max: 16,
            vault_ms: 24 * 60 * 60 * 1000,
            sweep_ms: 60 * 1000,
            idle_ms: 30 * 1000,
            stale_ms: 10 * 60 * 1000,
            grants_cached_max: 1024,
            orders_known_max: 4096,
            look_ups_max: 16,
            look_up_pause_ms: 1_000,
        }
    }

    /// Sets other times for shards whose deal is not open: how long the owner may take to open it,
    /// and how long the shard is kept after that. With short times the node searches for expired
    /// shards more often.
    #[must_use]
    pub fn unpaid_for(self, acceptance_ms: u64, unpaid_grace_ms: u64) -> Self {
        let sweep_ms = (unpaid_grace_ms / 4).clamp(MIN_SWEEP_MS, self.sweep_ms);
        Self { acceptance_ms, unpaid_grace_ms, sweep_ms, ..self }
    }
}

impl Limits {
    pub(crate) fn connections(&self) -> Bounds {
        Bounds {
            places: self.connections_max,
            of_peer: self.connections_per_peer_max,
            of_owner: self.connections_max,
            of_address: self.connections_per_address_max,
            // Any progress within five seconds keeps a connection.
            window_ms: 5_000,
            keeps_from: 1,
        }
    }

    pub(crate) fn streams(&self) -> Bounds {
        Bounds {
            places: self.streams_max,
            of_peer: self.streams_per_peer_max,
            of_owner: self.streams_max,
            of_address: self.streams_max,
            window_ms: PACE_MS,
            keeps_from: PACE_BYTES,
        }
    }

    pub(crate) fn stores(&self) -> Bounds {
        Bounds {
            places: self.stores_max,
            of_peer: self.stores_per_peer_max,
            of_owner: self.stores_per_peer_max,
            of_address: self.stores_max,
            window_ms: PACE_MS,
            keeps_from: PACE_BYTES,
        }
    }
}

/// The progress that counts for a holder whom the node itself held up, so that its bounds on bandwidth make no peer look
/// slow: as much as keeps a place.
pub(crate) fn credit(waited_ms: u64) -> u64 {
    waited_ms.saturating_mul(PACE_BYTES) / PACE_MS
}

/// Milliseconds over which the pace of streams and uploads is measured.
const PACE_MS: u64 = 10_000;
/// Bytes that a stream or upload must move in [`PACE_MS`] to keep its place when another one needs
/// it: 16 kB/s.
const PACE_BYTES: u64 = 160_000;

/// The shortest time between two searches for expired shards, in milliseconds.
const MIN_SWEEP_MS: u64 = 1_000;
