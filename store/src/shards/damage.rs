//! Shards whose files are known to be damaged, and how far a scrub has come.
//!
//! A damaged shard keeps its row, because the ledger may still ask for it. The list says that it must not be served as
//! if it were whole.

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition};
use symbolon_protocol::{
    MachineTime,
    codec::{Decode, Encode},
    id::{AccountId, DealId, Hash},
    record,
};

use super::{
    Shards, index,
    index::Table,
    rows::{Row, ShardKey},
};
use crate::StoreError;

/// Damaged shards: `deal | index` to [`DamageRow`].
pub(super) const DAMAGED: Table<'_> = TableDefinition::new("damaged");
/// One row: [`Scrub`].
pub(super) const SCRUB: TableDefinition<'_, (), &[u8]> = TableDefinition::new("scrub");

record! {
    struct DamageRow {
        noticed_ms: u64,
        why: String,
    }
}

/// A shard whose bytes are not those that were stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedShard {
    /// The deal.
    pub deal: DealId,
    /// The index of the shard in its deal.
    pub index: u8,
    /// The owner, who pays.
    pub owner: AccountId,
    /// Bytes of the shard.
    pub length: u64,
    /// The root that its bytes had when it was stored.
    pub root: Hash,
    /// When the damage was noticed, by the machine's clock.
    pub noticed_ms: MachineTime,
    /// What is wrong with it.
    pub why: String,
}

record! {
    /// How far the reading of all shards has come.
    #[derive(Copy, Default)]
    pub struct Scrub {
        /// The deal of the last shard that was checked in this pass; absent at the beginning of a pass.
        pub after: Option<DealId>,
        /// The index of that shard.
        pub after_index: u8,
        /// When this pass began, by the machine's clock; 0 while none has begun.
        pub began_ms: u64,
        /// Shards that were checked in this pass.
        pub shards: u64,
        /// Bytes of those.
        pub bytes: u64,
        /// Passes over all shards that are complete.
        pub passes: u64,
        /// When the last complete pass ended, by the machine's clock; 0 before.
        pub ended_ms: u64,
    }
}

impl Shards {
    /// Puts a shard on the list of damaged ones, if it is stored with this root. Returns whether it is new there.
    pub fn note_damage(
        &self,
        (deal, index): (&DealId, u8),
        root: &Hash,
        why: &str,
        now_ms: MachineTime,
    ) -> Result<bool, StoreError> {
        let key = ShardKey::new(deal, index);
        self.inner.index.write(|transaction| {
            let row = index::row(transaction, &key)?;
            if row.is_none_or(|row| row.root != *root) {
                return Ok(false);
            }
            let mut damaged = transaction.open_table(DAMAGED)?;
            if damaged.get(key.bytes())?.is_some() {
                return Ok(false);
            }
            let row = DamageRow { noticed_ms: now_ms.0, why: why.to_owned() };
            damaged.insert(key.bytes(), row.to_bytes().as_slice())?;
            Ok(true)
        })
    }

    /// Takes a shard off the list, because all of its bytes were read and are right. Returns whether it was there.
    pub fn note_whole(&self, deal: &DealId, index: u8) -> Result<bool, StoreError> {
        let key = ShardKey::new(deal, index);
        if !self.is_damaged(deal, index)? {
            return Ok(false);
        }
        self.inner.index.write(|transaction| {
            Ok(transaction.open_table(DAMAGED)?.remove(key.bytes())?.is_some())
        })
    }

    /// Whether a shard is on the list.
    pub fn is_damaged(&self, deal: &DealId, index: u8) -> Result<bool, StoreError> {
        Ok(self.inner.index.value(DAMAGED, ShardKey::new(deal, index).bytes())?.is_some())
    }

    /// Number of damaged shards.
    pub fn damaged_count(&self) -> Result<u64, StoreError> {
        self.inner.index.read(|transaction| Ok(transaction.open_table(DAMAGED)?.len()?))
    }

    /// Up to `limit` damaged shards, in the order of deal and index.
    pub fn damaged(&self, limit: usize) -> Result<Vec<DamagedShard>, StoreError> {
        self.inner.index.read(|transaction| {
            let shards = transaction.open_table(index::SHARDS)?;
            let mut found = Vec::new();
            for row in transaction.open_table(DAMAGED)?.iter()?.take(limit) {
                let (key, damage) = row?;
                let damage = DamageRow::from_bytes(damage.value())?;
                // The list loses a shard in the commit that removes it.
                let Some(row) = shards.get(key.value())? else { continue };
                let Row { info, root, .. } = Row::from_bytes(row.value())?;
                found.push(DamagedShard {
                    deal: info.deal,
                    index: info.index,
                    owner: info.owner,
                    length: info.length,
                    root,
                    noticed_ms: MachineTime(damage.noticed_ms),
                    why: damage.why,
                });
            }
            Ok(found)
        })
    }

    /// How far the scrub has come.
    pub fn scrub(&self) -> Result<Scrub, StoreError> {
        self.inner.index.read(|transaction| {
            let row = transaction.open_table(SCRUB)?.get(())?;
            Ok(row.map(|row| Scrub::from_bytes(row.value())).transpose()?.unwrap_or_default())
        })
    }

    /// Notes how far the scrub has come. This does not wait for the disk: after a crash a few shards are read again.
    pub fn set_scrub(&self, scrub: &Scrub) -> Result<(), StoreError> {
        self.inner.index.write_soon(|transaction| {
            transaction.open_table(SCRUB)?.insert((), scrub.to_bytes().as_slice())?;
            Ok(())
        })
    }
}
