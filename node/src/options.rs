//! What an operator decides about a node.

use std::path::PathBuf;

use symbolon_net::crowd::Bounds;
use symbolon_protocol::{Amount, id::AccountId, limits};

/// How a node is set up. Where it listens and what it advertises comes from its endpoint.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The folder of the node's store: one node, one folder.
    pub dir: PathBuf,
    /// Bytes offered.
    pub capacity: u64,
    /// Asking price per GiB and epoch.
    pub price: Amount,
    /// The account that earns what the node earns.
    pub payout: AccountId,
    /// Whether the node keeps shares of vault secrets.
    pub custody: bool,
    /// What the node takes on at once.
    pub limits: Limits,
    /// Whether the node goes on when its store, or part of it, is gone: its operator has said so.
    pub accept_loss: bool,
}

/// What a node takes on at once: every bound on what strangers can make it hold or do.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections open at once.
    pub connections_max: usize,
    /// Connections of one peer.
    pub connections_per_peer_max: usize,
    /// Connections from one network address.
    pub connections_per_address_max: usize,
    /// How long a connection stays open on which nothing is asked.
    pub connection_idle_ms: u64,
    /// Streams answered at once for one peer.
    pub streams_per_peer_max: usize,
    /// Streams answered at once: each read holds two slices in memory.
    pub streams_max: usize,
    /// Shards received at once.
    pub stores_max: usize,
    /// Shards received at once from one peer, and for one owner.
    pub stores_per_peer_max: usize,
    /// Bytes of shards whose deal is not yet open, over all owners.
    pub unpaid_bytes_max: u64,
    /// Bytes of shards whose deal is not yet open, per owner.
    pub unpaid_bytes_per_owner_max: u64,
    /// Bytes of the disk that stay free whatever the capacity says: other programs need room too.
    pub disk_reserve_bytes: u64,
    /// How long an acceptance is good for: the owner has this long to open the deal.
    pub acceptance_ms: u64,
    /// How long an unpaid shard is kept after its acceptance expired: blocks may be late.
    pub unpaid_grace_ms: u64,
    /// Vault shares kept whose vaults are not open, over all owners.
    pub unopened_shares_max: usize,
    /// The same, per owner.
    pub unopened_shares_per_owner_max: usize,
    /// How long the share of a vault is kept that is not opened.
    pub vault_ms: u64,
    /// How often expired unpaid shards are looked for.
    pub sweep_ms: u64,
    /// How long a peer may stay silent in the middle of a message.
    pub idle_ms: u64,
    /// How old the node's view of the ledger may be when it answers a grant that says nothing
    /// about staleness. Beyond it a revocation may have been missed.
    pub stale_ms: u64,
    /// Verified grants remembered.
    pub grants_cached_max: usize,
}

impl Limits {
    /// Limits for a node that offers `capacity` bytes on an ordinary machine.
    #[must_use]
    pub fn for_capacity(capacity: u64) -> Self {
        Self {
            connections_max: 512,
            // Several programs of one identity, and several identities behind one address.
            connections_per_peer_max: 16,
            connections_per_address_max: 128,
            connection_idle_ms: 5 * 60 * 1000,
            streams_per_peer_max: 64,
            streams_max: 1024,
            stores_max: 32,
            stores_per_peer_max: 16,
            // Strangers can bind half of the disk for an hour, one of them an eighth, at no cost.
            unpaid_bytes_max: capacity / 2,
            unpaid_bytes_per_owner_max: (capacity / 8).max(4 * limits::SHARD_BYTES_MAX),
            disk_reserve_bytes: 256 * 1024 * 1024,
            acceptance_ms: 60 * 60 * 1000,
            unpaid_grace_ms: 10 * 60 * 1000,
            // Some 6 MB in all. A seller opens a vault within seconds of its shares.
            unopened_shares_max: 4096,
            unopened_shares_per_owner_max: 16,
            vault_ms: 24 * 60 * 60 * 1000,
            sweep_ms: 60 * 1000,
            idle_ms: 30 * 1000,
            stale_ms: 10 * 60 * 1000,
            grants_cached_max: 1024,
        }
    }

    /// With other times for shards whose deal is not open: how long an owner has to open it, and how
    /// long the shard is kept after that. Short ones are looked after more often.
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
            // Anything at all in five seconds keeps a connection.
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

/// Over how long the pace of streams and uploads is measured, and what they have to move in it to keep their place
/// when somebody else wants one: 16 kB/s.
const PACE_MS: u64 = 10_000;
const PACE_BYTES: u64 = 160_000;

/// Looking for expired shards more often than this, in milliseconds, finds nothing but itself.
const MIN_SWEEP_MS: u64 = 1_000;
