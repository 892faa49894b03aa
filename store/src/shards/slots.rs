//! A node's copy of its slot table. The node builds it from the blocks that it follows, so proving
//! needs no look-up on the ledger.
//!
//! The copy carries the ledger's hash chain over all changes of the table, so one hash shows
//! whether the copy is right. It changes in the same commit as the followed height. A change that
//! does not fit deletes the copy; the node then reads the whole table from the ledger.

use redb::{ReadOnlyTable, ReadableTable, TableDefinition, WriteTransaction};
use symbolon_protocol::{
    choice,
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
/// Changes that wait for the next epoch, in order.
pub(super) const QUEUE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("slot queue");
/// The number in [`QUEUE`] of a deal's change.
pub(super) const QUEUED: TableDefinition<'_, &[u8], u64> = TableDefinition::new("slot queued");
/// One row: the head of the copy. Without it there is no copy, even if the other tables have rows.
pub(super) const HEAD: TableDefinition<'_, (), &[u8]> = TableDefinition::new("slot head");

record! {
    /// The epoch, size and hash of a slot table.
    #[derive(Copy)]
    pub struct SlotsHead {
        /// The epoch whose challenges this table answers.
        pub epoch: u64,
        /// Number of rows.
        pub slots: u32,
        /// The hash chain over all changes of the table; see `spec/ledger.md`.
        pub table: Hash,
    }
}

choice! {
    /// A change that waits for the next epoch.
    enum Waiting {
        Join = 1 { slot: Slot },
        Leave = 2 { deal: DealId },
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
            let head = head.and_then(|head| SlotsHead::from_bytes(head.value()).ok());
            let Some(head) = head else { return Ok(None) };
            look(&SlotsView { head, rows: transaction.open_table(SLOTS)? }).map(Some)
        })
    }

    /// Replaces the copy with a table from the ledger. Changes that wait for the next epoch stay.
    pub fn set_slots(&self, head: SlotsHead, rows: &[Slot]) -> Result<(), StoreError> {
        self.inner.index.write(|transaction| {
            let mut copy = SlotsCopy::open(transaction)?;
            copy.slots.retain(|_, _| false)?;
            copy.places.retain(|_, _| false)?;
            for (position, slot) in (0..).zip(rows) {
                copy.put(position, slot)?;
            }
            copy.head = Some(head);
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
    queue: redb::Table<'t, u64, &'static [u8]>,
    queued: redb::Table<'t, &'static [u8], u64>,
    head: Option<SlotsHead>,
}

impl<'t> SlotsCopy<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        let head = transaction.open_table(HEAD)?.get(())?.map(|head| head.value().to_vec());
        Ok(Self {
            slots: transaction.open_table(SLOTS)?,
            places: transaction.open_table(PLACES)?,
            queue: transaction.open_table(QUEUE)?,
            queued: transaction.open_table(QUEUED)?,
            head: head.and_then(|head| SlotsHead::from_bytes(&head).ok()),
        })
    }

    /// Stores the head. The other tables were written already.
    pub(super) fn close(self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        let mut table = transaction.open_table(HEAD)?;
        match self.head {
            Some(head) => drop(table.insert((), head.to_bytes().as_slice())?),
            None => drop(table.remove(())?),
        }
        Ok(())
    }

    /// A deal was opened: its shard joins the table with the next epoch.
    pub(super) fn join_soon(&mut self, slot: &Slot) -> Result<(), StoreError> {
        self.wait(&slot.deal, &Waiting::Join { slot: *slot })
    }

    /// The owner has ended a deal: its shard leaves with the next epoch. If it has not joined yet,
    /// it never does.
    pub(super) fn leave_soon(&mut self, deal: &DealId) -> Result<(), StoreError> {
        let joins = self.queued.remove(&deal.0[..])?.map(|sequence| sequence.value());
        if let Some(sequence) = joins {
            self.queue.remove(sequence)?;
            return Ok(());
        }
        // Without a copy, the node cannot tell whether the deal is its own. If it is not, the later
        // removal finds no row.
        if self.head.is_none() || self.places.get(&deal.0[..])?.is_some() {
            self.wait(deal, &Waiting::Leave { deal: *deal })?;
        }
        Ok(())
    }

    /// A deal is over. Its shard leaves now, before all changes that wait. If its owner has ended
    /// the deal, its removal already waits, and keeps its place in the queue.
    pub(super) fn ended(&mut self, deal: &DealId) -> Result<(), StoreError> {
        let waits = self.queued.get(&deal.0[..])?.is_some();
        if waits { Ok(()) } else { self.leave(deal) }
    }

    /// Blocks were missed: deletes the copy and what waits for the next epoch.
    pub(super) fn forget(&mut self) -> Result<(), StoreError> {
        self.head = None;
        self.queue.retain(|_, _| false)?;
        self.queued.retain(|_, _| false)?;
        Ok(())
    }

    /// An epoch has begun: makes the changes that waited for it.
    pub(super) fn epoch_began(&mut self, epoch: u64) -> Result<(), StoreError> {
        let before = self.head.map(|head| head.epoch);
        if before.and_then(|before| before.checked_add(1)) == Some(epoch) {
            let waiting: Result<Vec<_>, StoreError> =
                self.queue.iter()?.map(|row| Ok(Waiting::from_bytes(row?.1.value())?)).collect();
            for change in waiting? {
                match change {
                    Waiting::Join { slot } => self.join(&slot)?,
                    Waiting::Leave { deal } => self.leave(&deal)?,
                }
            }
            if let Some(head) = &mut self.head {
                head.epoch = epoch;
            }
        } else if before < Some(epoch) {
            // The changes of an epoch in between are missing.
            self.head = None;
        }
        // A copy that was read from the ledger in this epoch or later contains these changes
        // already.
        self.queue.retain(|_, _| false)?;
        self.queued.retain(|_, _| false)?;
        Ok(())
    }

    fn wait(&mut self, deal: &DealId, change: &Waiting) -> Result<(), StoreError> {
        let last = self.queue.last()?.map(|(sequence, _)| sequence.value());
        let sequence = last.map_or(0, |last| last + 1);
        self.queue.insert(sequence, change.to_bytes().as_slice())?;
        self.queued.insert(&deal.0[..], sequence)?;
        Ok(())
    }

    fn join(&mut self, slot: &Slot) -> Result<(), StoreError> {
        let Some(mut head) = self.head else { return Ok(()) };
        let position = head.slots;
        let Some(slots) = position.checked_add(1) else {
            self.head = None;
            return Ok(());
        };
        self.put(position, slot)?;
        head.slots = slots;
        head.table = slots::joined(&head.table, position, slot);
        self.head = Some(head);
        Ok(())
    }

    fn leave(&mut self, deal: &DealId) -> Result<(), StoreError> {
        let Some(mut head) = self.head else { return Ok(()) };
        let Some(position) = self.places.remove(&deal.0[..])?.map(|position| position.value())
        else {
            return Ok(());
        };
        let last = head.slots.checked_sub(1);
        let moved = match last {
            Some(last) => self.slots.remove(last)?.map(|row| row.value().to_vec()),
            None => None,
        };
        let moved = moved.and_then(|row| Slot::from_bytes(&row).ok());
        let (Some(last), Some(moved)) = (last, moved) else {
            self.head = None;
            return Ok(());
        };
        if position != last {
            self.put(position, &moved)?;
        }
        head.slots = last;
        head.table = slots::left(&head.table, position);
        self.head = Some(head);
        Ok(())
    }

    fn put(&mut self, position: u32, slot: &Slot) -> Result<(), StoreError> {
        self.slots.insert(position, slot.to_bytes().as_slice())?;
        self.places.insert(&slot.deal.0[..], position)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
