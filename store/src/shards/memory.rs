//! What a node remembers beside its shards: custody shares, what the ledger has ended, and how much
//! was read under each grant.

use redb::{Durability, ReadableTable, WriteTransaction};
use symbolon_protocol::{
    codec::{Decode, Encode, Reader},
    id::{AccountId, DealId, Hash, LinkId, OrderId, VaultId},
    ledger::rows::Slot,
    record,
};

use super::{
    Shard, Shards,
    index::{self, COUNTERS, CUSTODY, CUSTODY_WAITS, HEIGHT, REFUNDED, REVOKED},
    rows::{ShardKey, ShardState},
    slots::SlotsCopy,
};
use crate::StoreError;

/// Of so many blocks one is followed durably: so many are followed again at most after a crash.
const DURABLE_EVERY: u64 = 32;

/// A block that changes more is followed durably: what waits for the disk is held in memory.
const SOON_CHANGES_MAX: usize = 256;

/// What a block changes on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A deal is over: its shards that were paid are paid no longer. One that is here without having been
    /// in the deal stays what it is, since its acceptance is worth what it was worth before.
    Ended {
        /// Which deal.
        deal: DealId,
    },
    /// A deal was opened: its shard is paid, if it is here and is the one that was accepted.
    Opened {
        /// Which deal.
        deal: DealId,
        /// Which shard.
        index: u8,
        /// The root that the deal has.
        root: Hash,
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
    /// A deal is over: its shard leaves the slot table, unless it waits for that already.
    SlotEnded {
        /// Which deal.
        deal: DealId,
    },
    /// A shard joins the slot table with the next epoch.
    SlotJoins {
        /// Which.
        slot: Slot,
    },
    /// A deal's owner has ended it: its shard leaves the slot table with the next epoch.
    SlotLeaves {
        /// Which deal.
        deal: DealId,
    },
    /// An epoch has begun: what waits to join the slot table or to leave it does.
    SlotsTurn {
        /// Which epoch.
        epoch: u64,
    },
}

record! {
    /// A custody share whose vault is not open yet.
    #[derive(Copy)]
    pub struct CustodyWaits {
        /// Whose vault it is.
        pub owner: AccountId,
        /// Until when it is to be open, in milliseconds since the Unix epoch.
        pub until_ms: u64,
    }
}

/// How many custody shares may wait for their vaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustodyLimits {
    /// Of all owners.
    pub in_all: usize,
    /// Of one.
    pub of_owner: usize,
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
    /// Keeps a custody share; the same again replaces it. One whose vault is not open yet waits, and counts
    /// against `limits`, for all owners and for this one; `false`, and nothing is kept, when there are too many.
    pub fn put_custody(
        &self,
        vault: &VaultId,
        index: u8,
        share: &[u8],
        waits: Option<(CustodyWaits, CustodyLimits)>,
    ) -> Result<bool, StoreError> {
        self.inner.index.write(|transaction| {
            let key = custody_key(vault, index);
            let mut waiting = transaction.open_table(CUSTODY_WAITS)?;
            match waits {
                None => drop(waiting.remove(key.as_slice())?),
                Some((waits, limits)) => {
                    let (mut in_all, mut of_owner) = (0, 0);
                    for row in waiting.iter()? {
                        let (other, row) = row?;
                        if other.value() != key {
                            in_all += 1;
                            let row = CustodyWaits::from_bytes(row.value())?;
                            of_owner += usize::from(row.owner == waits.owner);
                        }
                    }
                    if limits.in_all <= in_all || limits.of_owner <= of_owner {
                        return Ok(false);
                    }
                    waiting.insert(key.as_slice(), waits.to_bytes().as_slice())?;
                }
            }
            transaction.open_table(CUSTODY)?.insert(key.as_slice(), share)?;
            Ok(true)
        })
    }

    /// The shares whose vault was not open in time: vault and index.
    pub fn custody_due(&self, now_ms: u64) -> Result<Vec<(VaultId, u8)>, StoreError> {
        self.inner.index.read(|transaction| {
            let mut due = Vec::new();
            for row in transaction.open_table(CUSTODY_WAITS)?.iter()? {
                let (key, row) = row?;
                if CustodyWaits::from_bytes(row.value())?.until_ms <= now_ms {
                    let mut key = Reader::new(key.value());
                    due.push((VaultId::decode(&mut key)?, u8::decode(&mut key)?));
                }
            }
            Ok(due)
        })
    }

    /// A vault is open: its share is kept for good.
    pub fn custody_opened(&self, vault: &VaultId, index: u8) -> Result<(), StoreError> {
        self.inner.index.write(|transaction| {
            let key = custody_key(vault, index);
            transaction.open_table(CUSTODY_WAITS)?.remove(key.as_slice())?;
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
            transaction.open_table(CUSTODY_WAITS)?.remove(key.as_slice())?;
            transaction.open_table(CUSTODY)?.remove(key.as_slice())?;
            Ok(())
        })
    }

    /// Height of the last block that was followed; `None` before the first.
    pub fn height(&self) -> Result<Option<u64>, StoreError> {
        self.inner.index.number_if_any(HEIGHT)
    }

    /// Makes all changes of the blocks up to `height` in one commit, so that none is lost or made
    /// twice when the node stops. Gives back the shards that are paid from now on and were not before.
    ///
    /// Most commits wait for no disk: after a crash the last few blocks are followed again, from the
    /// height that is on disk, and that height and what the blocks before it say are on disk together. What is
    /// written durably meanwhile, such as a shard or its removal, takes along all that was followed before it.
    pub fn follow(&self, height: u64, changes: &[Change]) -> Result<Vec<Shard>, StoreError> {
        let durable = height.is_multiple_of(DURABLE_EVERY)
            || SOON_CHANGES_MAX < changes.len()
            || self.height()?.is_none();
        let durability = if durable { Durability::Immediate } else { Durability::None };
        self.inner.index.change(durability, |transaction| {
            let mut paid = Vec::new();
            for change in changes {
                match change {
                    Change::Ended { deal } => end(transaction, deal)?,
                    Change::Opened { deal, index, root } => {
                        paid.extend(pay(transaction, deal, *index, Some(root))?);
                    }
                    Change::Refunded { order } => {
                        transaction.open_table(REFUNDED)?.insert(&order.0[..], ())?;
                    }
                    Change::Revoked { link, by } => {
                        let key = revocation_key(link, by);
                        transaction.open_table(REVOKED)?.insert(key.as_slice(), ())?;
                    }
                    Change::SlotEnded { .. }
                    | Change::SlotJoins { .. }
                    | Change::SlotLeaves { .. }
                    | Change::SlotsTurn { .. } => {}
                }
            }
            change_slots(transaction, changes)?;
            index::set_number(transaction, HEIGHT, height)?;
            Ok(paid)
        })
    }

    /// Marks a shard as paid, and says what it was if it was unpaid until now.
    pub fn mark_paid(&self, deal: &DealId, index: u8) -> Result<Option<Shard>, StoreError> {
        self.inner.index.write(|transaction| pay(transaction, deal, index, None))
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

/// A shard is paid from here on. Says what it was if it was unpaid until now; with another root than the
/// one that is paid for it stays what it is.
fn pay(
    transaction: &WriteTransaction,
    deal: &DealId,
    index: u8,
    root: Option<&Hash>,
) -> Result<Option<Shard>, StoreError> {
    let key = ShardKey::new(deal, index);
    let row = index::row(transaction, &key)?;
    let Some(row) = row.filter(|row| root.is_none_or(|root| row.root == *root)) else {
        return Ok(None);
    };
    index::mark(transaction, &key, ShardState::Active)?;
    let shard = row.into_shard();
    Ok(matches!(shard.state, ShardState::Unpaid { .. }).then_some(shard))
}

/// The paid shards of a deal are paid no longer.
fn end(transaction: &WriteTransaction, deal: &DealId) -> Result<(), StoreError> {
    for key in index::keys_of_deal(transaction, deal)? {
        if index::state(transaction, &key)? == Some(ShardState::Active) {
            index::mark(transaction, &key, ShardState::Ended)?;
        }
    }
    Ok(())
}

fn change_slots(transaction: &WriteTransaction, changes: &[Change]) -> Result<(), StoreError> {
    let is_of_slots = |change: &Change| {
        matches!(
            change,
            Change::SlotEnded { .. }
                | Change::SlotJoins { .. }
                | Change::SlotLeaves { .. }
                | Change::SlotsTurn { .. }
        )
    };
    if !changes.iter().any(is_of_slots) {
        return Ok(());
    }
    let mut copy = SlotsCopy::open(transaction)?;
    for change in changes {
        match change {
            Change::SlotEnded { deal } => copy.ended(deal)?,
            Change::SlotJoins { slot } => copy.join_soon(slot)?,
            Change::SlotLeaves { deal } => copy.leave_soon(deal)?,
            Change::SlotsTurn { epoch } => copy.epoch_began(*epoch)?,
            _ => {}
        }
    }
    copy.close(transaction)
}

fn custody_key(vault: &VaultId, index: u8) -> Vec<u8> {
    [&vault.0[..], &[index]].concat()
}

fn revocation_key(link: &LinkId, by: &AccountId) -> Vec<u8> {
    [&link.0[..], &by.0[..]].concat()
}
