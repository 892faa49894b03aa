//! A node's copy of its slot table: what the ledger asks it about, kept from the blocks it follows, so that
//! proving asks the ledger for none of it.
//!
//! A copy carries the ledger's hash chain over all changes of the table, so one hash says whether it is
//! right. It changes in the same commit as the height that is followed. Whatever does not fit forgets the
//! copy; it is then read from the ledger as a whole.

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
/// Changes that wait for the next epoch, in their order.
pub(super) const QUEUE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("slot queue");
/// The change of a deal that waits.
pub(super) const QUEUED: TableDefinition<'_, &[u8], u64> = TableDefinition::new("slot queued");
/// One row: which table it is. Without it there is no copy, whatever the other tables have.
pub(super) const HEAD: TableDefinition<'_, (), &[u8]> = TableDefinition::new("slot head");

record! {
    /// Which slot table a copy is.
    #[derive(Copy)]
    pub struct SlotsHead {
        /// The epoch that asks about it.
        pub epoch: u64,
        /// Its rows.
        pub slots: u32,
        /// The hash chain over its changes: see `spec/ledger.md`.
        pub table: Hash,
    }
}

choice! {
    /// A change that waits.
    enum Waiting {
        Join = 1 { slot: Slot },
        Leave = 2 { deal: DealId },
    }
}

/// The copy at one moment.
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
    /// Which table it is.
    #[must_use]
    pub fn head(&self) -> SlotsHead {
        self.head
    }

    /// The row at a position; `None` beyond its end.
    pub fn slot(&self, position: u32) -> Result<Option<Slot>, StoreError> {
        let row = self.rows.get(position)?;
        Ok(row.map(|row| Slot::from_bytes(row.value())).transpose()?)
    }
}

impl Shards {
    /// Looks into the copy of the slot table; `None` when there is none.
    pub fn view_slots<T>(
        &self,
        look: impl FnOnce(&SlotsView) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.inner.index.read(|transaction| {
            let head = transaction.open_table(HEAD)?.get(())?;
            // A row that another program wrote is no copy of this one's.
            let head = head.and_then(|head| SlotsHead::from_bytes(head.value()).ok());
            let Some(head) = head else { return Ok(None) };
            look(&SlotsView { head, rows: transaction.open_table(SLOTS)? }).map(Some)
        })
    }

    /// Takes a table for the copy. What waits for the next epoch stays.
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

    /// Forgets the copy: it turned out not to be the ledger's.
    pub fn forget_slots(&self) -> Result<(), StoreError> {
        self.inner.index.write(|transaction| {
            transaction.open_table(HEAD)?.remove(())?;
            Ok(())
        })
    }
}

/// The copy inside a transaction that changes it.
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

    /// Keeps what has changed; other tables are written on their own.
    pub(super) fn close(self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        let mut table = transaction.open_table(HEAD)?;
        match self.head {
            Some(head) => drop(table.insert((), head.to_bytes().as_slice())?),
            None => drop(table.remove(())?),
        }
        Ok(())
    }

    /// A deal was opened: its shard joins with the next epoch.
    pub(super) fn join_soon(&mut self, slot: &Slot) -> Result<(), StoreError> {
        self.wait(&slot.deal, &Waiting::Join { slot: *slot })
    }

    /// A deal was ended by its owner: its shard leaves with the next epoch, or never joins.
    pub(super) fn leave_soon(&mut self, deal: &DealId) -> Result<(), StoreError> {
        let joins = self.queued.remove(&deal.0[..])?.map(|sequence| sequence.value());
        if let Some(sequence) = joins {
            self.queue.remove(sequence)?;
            return Ok(());
        }
        // Without a copy nobody knows whose deal it is; one that is not ours will not be found.
        if self.head.is_none() || self.places.get(&deal.0[..])?.is_some() {
            self.wait(deal, &Waiting::Leave { deal: *deal })?;
        }
        Ok(())
    }

    /// A deal is over. One whose last epoch it was leaves before everything that waits; one that its
    /// owner has ended waits, and has its turn.
    pub(super) fn ended(&mut self, deal: &DealId) -> Result<(), StoreError> {
        let waits = self.queued.get(&deal.0[..])?.is_some();
        if waits { Ok(()) } else { self.leave(deal) }
    }

    /// An epoch has begun: what waits is done.
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
            // Changes are missing between the two.
            self.head = None;
        }
        // A copy that was read from the ledger in or after this epoch has them already.
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
