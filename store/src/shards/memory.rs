//! What a node remembers beside its shards: custody shares, what the ledger has ended, and how much
//! was read under each grant.

use redb::ReadableTable;
use symbolon_protocol::{
    codec::{Decode, Encode},
    id::{AccountId, DealId, LinkId, OrderId, VaultId},
    record,
};

use super::{
    Shards,
    index::{self, COUNTERS, CUSTODY, HEIGHT, REFUNDED, REVOKED},
    rows::ShardState,
};
use crate::StoreError;

/// What a block changes on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// All shards of a deal that are here stand elsewhere now.
    Deal {
        /// Which deal.
        deal: DealId,
        /// Where they stand.
        state: ShardState,
    },
    /// An order was refunded; its grant is dead.
    Refunded {
        /// Which.
        order: OrderId,
    },
    /// A grant link was revoked.
    Revoked {
        /// Which link.
        link: LinkId,
        /// By whom.
        by: AccountId,
    },
    /// One shard stands elsewhere now; nothing happens when it is not here.
    Shard {
        /// Which deal.
        deal: DealId,
        /// Which shard.
        index: u8,
        /// Where it stands.
        state: ShardState,
    },
}

record! {
    /// What was read under a grant.
    #[derive(Copy, Default)]
    pub struct Counter {
        /// Times.
        pub reads: u64,
        /// Bytes.
        pub bytes: u64,
    }
}

/// Whether a read still fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charge {
    /// It does and is counted; this is all that was read so far, for each key.
    Counted(Vec<Counter>),
    /// It does not, and nothing was counted; this is all that was read so far under the key that refused.
    Exceeded(Counter),
}

record! {
    struct CounterRow {
        counter: Counter,
        /// When it may be forgotten, in milliseconds since the Unix epoch.
        until_ms: u64,
    }
}

impl Shards {
    /// Keeps a custody share; the same again replaces it.
    pub fn put_custody(&self, vault: &VaultId, index: u8, share: &[u8]) -> Result<(), StoreError> {
        self.inner.index.write(|transaction| {
            let key = custody_key(vault, index);
            transaction.open_table(CUSTODY)?.insert(key.as_slice(), share)?;
            Ok(())
        })
    }

    /// A custody share.
    pub fn custody(&self, vault: &VaultId, index: u8) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.index.value(CUSTODY, &custody_key(vault, index))
    }

    /// Forgets a custody share; nothing happens when it is not there.
    pub fn remove_custody(&self, vault: &VaultId, index: u8) -> Result<(), StoreError> {
        self.inner.index.write(|transaction| {
            let key = custody_key(vault, index);
            transaction.open_table(CUSTODY)?.remove(key.as_slice())?;
            Ok(())
        })
    }

    /// Height of the last block that was followed; `None` before the first.
    pub fn height(&self) -> Result<Option<u64>, StoreError> {
        self.inner.index.number_if_any(HEIGHT)
    }

    /// Makes all changes of the blocks up to `height` in one commit, so that none is lost or made
    /// twice when the node stops.
    pub fn follow(&self, height: u64, changes: &[Change]) -> Result<(), StoreError> {
        self.inner.index.write(|transaction| {
            for change in changes {
                match change {
                    Change::Deal { deal, state } => {
                        for key in index::keys_of_deal(transaction, deal)? {
                            index::mark(transaction, &key, *state)?;
                        }
                    }
                    Change::Refunded { order } => {
                        transaction.open_table(REFUNDED)?.insert(&order.0[..], ())?;
                    }
                    Change::Revoked { link, by } => {
                        let key = revocation_key(link, by);
                        transaction.open_table(REVOKED)?.insert(key.as_slice(), ())?;
                    }
                    Change::Shard { deal, index, state } => {
                        let key = super::ShardKey::new(deal, *index);
                        index::mark(transaction, &key, *state)?;
                    }
                }
            }
            index::set_number(transaction, HEIGHT, height)
        })
    }

    /// Whether `by` has revoked the link.
    pub fn is_revoked(&self, link: &LinkId, by: &AccountId) -> Result<bool, StoreError> {
        self.inner.index.contains(REVOKED, &revocation_key(link, by))
    }

    /// Whether the order was refunded.
    pub fn is_refunded(&self, order: &OrderId) -> Result<bool, StoreError> {
        self.inner.index.contains(REFUNDED, &order.0)
    }

    /// What was read under the grant that the caller names by `key`.
    pub fn counter(&self, key: &[u8]) -> Result<Counter, StoreError> {
        let row = self.inner.index.value(COUNTERS, key)?;
        let row = row.map(|row| CounterRow::from_bytes(&row)).transpose()?;
        Ok(row.map_or(Counter::default(), |row| row.counter))
    }

    /// Counts `more` under each key if all sums stay within the key's `max`, in one step: reads at the same
    /// time cannot both take the last place, and what one key refuses counts under none. Kept until
    /// `until_ms`, when the grant is over.
    ///
    /// For speed it is on disk only after the next durable change or an orderly end: a crash may
    /// forget the last reads, in the reader's favour.
    pub fn charge(
        &self,
        keys: &[(&[u8], Counter)],
        more: Counter,
        until_ms: u64,
    ) -> Result<Charge, StoreError> {
        self.inner.index.write_soon(|transaction| {
            let mut counters = transaction.open_table(COUNTERS)?;
            let mut counted = Vec::with_capacity(keys.len());
            for (key, max) in keys {
                let row = counters.get(*key)?.map(|row| CounterRow::from_bytes(row.value()));
                let before = row.transpose()?.map_or(Counter::default(), |row| row.counter);
                let counter = Counter {
                    reads: before.reads.saturating_add(more.reads),
                    bytes: before.bytes.saturating_add(more.bytes),
                };
                if counter.reads > max.reads || counter.bytes > max.bytes {
                    return Ok(Charge::Exceeded(before));
                }
                counted.push(counter);
            }
            for ((key, _), counter) in keys.iter().zip(&counted) {
                let row = CounterRow { counter: *counter, until_ms };
                counters.insert(*key, row.to_bytes().as_slice())?;
            }
            Ok(Charge::Counted(counted))
        })
    }

    /// Forgets the counters of grants that are over.
    pub fn sweep_counters(&self, now_ms: u64) -> Result<(), StoreError> {
        self.inner.index.write(|transaction| {
            let mut counters = transaction.open_table(COUNTERS)?;
            counters.retain(|_, row| {
                CounterRow::from_bytes(row).is_ok_and(|row| row.until_ms > now_ms)
            })?;
            Ok(())
        })
    }
}

fn custody_key(vault: &VaultId, index: u8) -> Vec<u8> {
    [&vault.0[..], &[index]].concat()
}

fn revocation_key(link: &LinkId, by: &AccountId) -> Vec<u8> {
    [&link.0[..], &by.0[..]].concat()
}
