//! A node's copy of its slot table. The node builds it from the blocks that it follows, so proving
//! needs no look-up on the ledger.
//!
//! The copy carries the ledger's hash chain over all changes of the table, so one hash shows
//! whether the copy is right. It changes in the same commit as the followed height. A change that
//! does not fit deletes the copy; the node then reads the whole table from the ledger.

use redb::{ReadOnlyTable, ReadableTable, TableDefinition, WriteTransaction};
use symbolon_protocol::{
    codec::{Decode, Encode},
    id::{DealId, Hash},
    ledger::{rows::Slot, slots},
    record,
};

use super::Shards;
use crate::StoreError;

/// The copy's rows, by position.
pub(super) const SLOTS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("slots");
/// The position of a deal's shard.
pub(super) const PLACES: TableDefinition<'_, &[u8], u32> = TableDefinition::new("slot places");
/// The slots of shards that wait to join the table, by deal.
pub(super) const WAITING: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("slots waiting");
/// One row: the head of the copy. Without it there is no copy, even if the other tables have rows.
pub(super) const HEAD: TableDefinition<'_, (), &[u8]> = TableDefinition::new("slot head");

record! {
    /// The size and hash of a slot table.
    #[derive(Copy)]
    pub struct SlotsHead {
        /// Number of rows.
        pub slots: u32,
        /// The hash chain over all changes of the table; see `spec/ledger.md`.
        pub table: Hash,
    }
}

record! {
    /// The row under [`HEAD`].
    #[derive(Copy)]
    struct HeadRow {
        head: SlotsHead,
        /// The copy contains all changes of the blocks up to this height.
        height: u64,
    }
}

/// A consistent view of the copy.
pub struct SlotsView {
    head: SlotsHead,
    rows: ReadOnlyTable<u32, &'static [u8]>,
}

impl std::fmt::Debug for SlotsView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SlotsView").field("head", &self.head).finish_non_exhaustive()
    }
}

impl SlotsView {
    /// The head of the table.
    #[must_use]
    pub fn head(&self) -> SlotsHead {
        self.head
    }

    /// The row at a position; `None` beyond the end of the table.
    pub fn slot(&self, position: u32) -> Result<Option<Slot>, StoreError> {
        let row = self.rows.get(position)?;
        Ok(row.map(|row| Slot::from_bytes(row.value())).transpose()?)
    }
}

impl Shards {
    /// Runs `look` on a view of the copy. Returns `None` if there is no copy.
    pub fn view_slots<T>(
        &self,
        look: impl FnOnce(&SlotsView) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.inner.index.read(|transaction| {
            let head = transaction.open_table(HEAD)?.get(())?;
            // If another program wrote this row, there is no valid copy.
            let row = head.and_then(|row| HeadRow::from_bytes(row.value()).ok());
            let Some(HeadRow { head, .. }) = row else { return Ok(None) };
            look(&SlotsView { head, rows: transaction.open_table(SLOTS)? }).map(Some)
        })
    }

    /// Replaces the copy with the table that the ledger had after the block at `height`. Shards that
    /// wait to join stay.
    pub fn set_slots(&self, height: u64, head: SlotsHead, rows: &[Slot]) -> Result<(), StoreError> {
        self.inner.index.write(|transaction| {
            let mut copy = SlotsCopy::open(transaction)?;
            copy.slots.retain(|_, _| false)?;
            copy.places.retain(|_, _| false)?;
            for (position, slot) in (0..).zip(rows) {
                copy.put(position, slot)?;
            }
            copy.row = Some(HeadRow { head, height });
            copy.close(transaction)
        })
    }

    /// Deletes the copy, because it differs from the ledger's table.
    pub fn forget_slots(&self) -> Result<(), StoreError> {
        self.inner.index.write(|transaction| {
            transaction.open_table(HEAD)?.remove(())?;
            Ok(())
        })
    }
}

/// The copy within a write transaction.
pub(super) struct SlotsCopy<'t> {
    slots: redb::Table<'t, u32, &'static [u8]>,
    places: redb::Table<'t, &'static [u8], u32>,
    waiting: redb::Table<'t, &'static [u8], &'static [u8]>,
    row: Option<HeadRow>,
}

impl<'t> SlotsCopy<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        let row = transaction.open_table(HEAD)?.get(())?.map(|row| row.value().to_vec());
        Ok(Self {
            slots: transaction.open_table(SLOTS)?,
            places: transaction.open_table(PLACES)?,
            waiting: transaction.open_table(WAITING)?,
            row: row.and_then(|row| HeadRow::from_bytes(&row).ok()),
        })
    }

    /// Stores the head. The other tables were written already.
    pub(super) fn close(self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        let mut table = transaction.open_table(HEAD)?;
        match self.row {
            Some(row) => drop(table.insert((), row.to_bytes().as_slice())?),
            None => drop(table.remove(())?),
        }
        Ok(())
    }

    /// A deal was opened: its shard will join the table.
    pub(super) fn wait(&mut self, slot: &Slot) -> Result<(), StoreError> {
        self.waiting.insert(&slot.deal.0[..], slot.to_bytes().as_slice())?;
        Ok(())
    }

    /// Blocks were missed: deletes the copy and what waits to join it.
    pub(super) fn forget(&mut self) -> Result<(), StoreError> {
        self.row = None;
        self.waiting.retain(|_, _| false)?;
        Ok(())
    }

    /// In the block at this height, the shard of a deal joined the table as its last row.
    pub(super) fn joined(&mut self, height: u64, deal: &DealId) -> Result<(), StoreError> {
        let slot = self.waiting.remove(&deal.0[..])?.map(|slot| slot.value().to_vec());
        let Some(HeadRow { head, .. }) = self.copy_before(height) else { return Ok(()) };
        let slot = slot.and_then(|slot| Slot::from_bytes(&slot).ok());
        let (Some(slot), Some(slots)) = (slot, head.slots.checked_add(1)) else {
            self.row = None;
            return Ok(());
        };
        self.put(head.slots, &slot)?;
        let table = slots::joined(&head.table, head.slots, &slot);
        self.row = Some(HeadRow { head: SlotsHead { slots, table }, height: height - 1 });
        Ok(())
    }

    /// The shard of a deal is no longer to join the table.
    pub(super) fn spared(&mut self, deal: &DealId) -> Result<(), StoreError> {
        self.waiting.remove(&deal.0[..])?;
        Ok(())
    }

    /// In the block at this height, the shard of a deal left the table.
    pub(super) fn left(&mut self, height: u64, deal: &DealId) -> Result<(), StoreError> {
        let Some(HeadRow { head, .. }) = self.copy_before(height) else { return Ok(()) };
        let position = self.places.remove(&deal.0[..])?.map(|position| position.value());
        let last = head.slots.checked_sub(1);
        let moved = match last {
            Some(last) => self.slots.remove(last)?.map(|row| row.value().to_vec()),
            None => None,
        };
        let moved = moved.and_then(|row| Slot::from_bytes(&row).ok());
        let (Some(position), Some(last), Some(moved)) = (position, last, moved) else {
            self.row = None;
            return Ok(());
        };
        if position != last {
            self.put(position, &moved)?;
        }
        let table = slots::left(&head.table, position);
        self.row = Some(HeadRow { head: SlotsHead { slots: last, table }, height: height - 1 });
        Ok(())
    }

    /// The copy, if it does not contain the changes of the block at this height yet. A copy that was read from the
    /// ledger may be ahead of the followed blocks.
    fn copy_before(&self, height: u64) -> Option<HeadRow> {
        self.row.filter(|row| row.height < height)
    }

    fn put(&mut self, position: u32, slot: &Slot) -> Result<(), StoreError> {
        self.slots.insert(position, slot.to_bytes().as_slice())?;
        self.places.insert(&slot.deal.0[..], position)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
