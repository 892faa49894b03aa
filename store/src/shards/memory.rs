//! The records of a node beside its shards: custody shares, revocations and refunds from the
//! ledger, and the reads under each grant.

use std::fmt;

use redb::{Durability, ReadableTable, WriteTransaction};
use symbolon_protocol::{
    LedgerTime,
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

/// One block in this many is followed durably. After a crash at most this many blocks are followed
/// again.
const DURABLE_EVERY: u64 = 32;

/// Most changes of a block that is followed without waiting for the disk, because such changes stay
/// in memory. A block with more changes is followed durably.
const SOON_CHANGES_MAX: usize = 256;

/// A change that a block makes on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node need not keep a deal's shard any longer: its active shards have ended. An unpaid shard stays unpaid: it was never
    /// part of the deal, so its acceptance is still valid.
    Ended {
        /// The deal.
        deal: DealId,
    },
    /// A deal was opened: its shard is active now, if it is stored here and has the deal's root.
    Opened {
        /// The deal.
        deal: DealId,
        /// The index of the shard.
        index: u8,
        /// The shard's root in the deal.
        root: Hash,
    },
    /// An order was paid. An earlier order with the same id, if one was refunded, is over.
    Ordered {
        /// The order.
        order: OrderId,
    },
    /// An order was refunded, so its grant is void.
    Refunded {
        /// The order.
        order: OrderId,
    },
    /// A grant link was revoked.
    Revoked {
        /// The link.
        link: LinkId,
        /// The account that revoked it.
        by: AccountId,
    },
    /// Blocks were missed. The copy of the slot table is no longer known to be right, and neither is
    /// what waits to join it.
    SlotsMissed,
    /// A deal was opened: its shard waits to join the slot table.
    SlotWaits {
        /// The shard's slot.
        slot: Slot,
    },
    /// The shard of a deal joined the slot table.
    SlotJoined {
        /// The deal.
        deal: DealId,
    },
    /// The shard of a deal left the slot table.
    SlotLeft {
        /// The deal.
        deal: DealId,
    },
    /// The shard of a deal waits no longer.
    SlotSpared {
        /// The deal.
        deal: DealId,
    },
}

record! {
    /// A custody share whose vault is not open yet.
    #[derive(Copy)]
    pub struct CustodyWaits {
        /// The owner of the vault.
        pub owner: AccountId,
        /// Milliseconds since the Unix epoch until which the vault must be open.
        pub until_ms: LedgerTime,
    }
}

/// A custody share as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Custody {
    /// Where it is stored among the shares of its vault.
    pub slot: u8,
    /// Its bytes.
    pub share: Vec<u8>,
    /// Until when it is kept; absent if its vault is open with it.
    pub until_ms: Option<LedgerTime>,
}

impl fmt::Debug for Custody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Custody({}, .., {:?})", self.slot, self.until_ms)
    }
}

/// Limits of the custody shares whose vault is not open yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustodyLimits {
    /// Most shares of all owners together.
    pub in_all: usize,
    /// Most shares of one owner.
    pub of_owner: usize,
}

record! {
    /// The reads under a grant so far.
    #[derive(Copy, Default)]
    pub struct Counter {
        /// Number of reads.
        pub reads: u64,
        /// Bytes read.
        pub bytes: u64,
    }
}

/// Whether a read stays within the limits of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charge {
    /// It does, and it is counted. Holds the new sums, one for each key.
    Counted(Vec<Counter>),
    /// It does not, and nothing was counted.
    Exceeded {
        /// The place of the key that refused.
        place: usize,
        /// The sum so far under it.
        so_far: Counter,
    },
}

record! {
    struct CounterRow {
        counter: Counter,
        /// Milliseconds since the Unix epoch after which the row may be removed.
        until_ms: LedgerTime,
    }
}

impl Shards {
    /// Stores a custody share beside the others of its vault. With `waits`, the vault is not open with it
    /// yet: the share then counts against the limits. Returns `false` and stores nothing when a limit is
    /// reached.
    pub fn put_custody(
        &self,
        vault: &VaultId,
        share: &[u8],
        waits: Option<(CustodyWaits, CustodyLimits)>,
    ) -> Result<bool, StoreError> {
        self.inner.index.write(|transaction| {
            let Some(slot) = slot_for(transaction, vault, share)? else { return Ok(false) };
            let key = custody_key(vault, slot);
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

    /// Records which shares of a vault its present key on the ledger is of. These no longer expire. The
    /// others are kept until a time, as far as they had none.
    pub fn custody_dealt(
        &self,
        vault: &VaultId,
        is_present: impl Fn(&[u8]) -> bool,
        waits: CustodyWaits,
    ) -> Result<(), StoreError> {
        self.inner.index.write(|transaction| {
            let mut waiting = transaction.open_table(CUSTODY_WAITS)?;
            let range = [custody_key(vault, 0), custody_key(vault, u8::MAX)];
            let shares = transaction.open_table(CUSTODY)?;
            for row in shares.range(range[0].as_slice()..=range[1].as_slice())? {
                let (key, share) = row?;
                if is_present(share.value()) {
                    waiting.remove(key.value())?;
                } else if waiting.get(key.value())?.is_none() {
                    waiting.insert(key.value(), waits.to_bytes().as_slice())?;
                }
            }
            Ok(())
        })
    }

    /// The shares whose vault was not open in time, as vault and slot.
    pub fn custody_due(&self, now_ms: LedgerTime) -> Result<Vec<(VaultId, u8)>, StoreError> {
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

    /// Records that a vault is open: its share no longer expires.
    pub fn custody_opened(&self, vault: &VaultId, slot: u8) -> Result<(), StoreError> {
        self.inner.index.write(|transaction| {
            let key = custody_key(vault, slot);
            transaction.open_table(CUSTODY_WAITS)?.remove(key.as_slice())?;
            Ok(())
        })
    }

    /// The custody shares of a vault: of its present dealing, of one to come, of earlier ones.
    pub fn custody(&self, vault: &VaultId) -> Result<Vec<Custody>, StoreError> {
        self.inner.index.read(|transaction| {
            let waiting = transaction.open_table(CUSTODY_WAITS)?;
            let range = [custody_key(vault, 0), custody_key(vault, u8::MAX)];
            let mut found = Vec::new();
            let shares = transaction.open_table(CUSTODY)?;
            for row in shares.range(range[0].as_slice()..=range[1].as_slice())? {
                let (key, share) = row?;
                let slot = key.value().last().copied().unwrap_or_default();
                let waits = waiting.get(key.value())?;
                let waits = waits.map(|row| CustodyWaits::from_bytes(row.value())).transpose()?;
                let until_ms = waits.map(|waits| waits.until_ms);
                found.push(Custody { slot, share: share.value().to_vec(), until_ms });
            }
            Ok(found)
        })
    }

    /// Up to `limit` vaults of which a share is stored, in their order: those behind `after`.
    pub fn vaults(&self, after: Option<VaultId>, limit: usize) -> Result<Vec<VaultId>, StoreError> {
        self.inner.index.read(|transaction| {
            let from = after.map_or(Vec::new(), |vault| custody_key(&vault, u8::MAX));
            let mut vaults = Vec::new();
            for row in transaction.open_table(CUSTODY)?.range(from.as_slice()..)? {
                let (key, _) = row?;
                let vault = VaultId::decode(&mut Reader::new(key.value()))?;
                if Some(vault) != after && vaults.last() != Some(&vault) {
                    if vaults.len() == limit {
                        break;
                    }
                    vaults.push(vault);
                }
            }
            Ok(vaults)
        })
    }

    /// Removes a custody share. Does nothing if it is not stored.
    pub fn remove_custody(&self, vault: &VaultId, slot: u8) -> Result<(), StoreError> {
        self.inner.index.write(|transaction| {
            let key = custody_key(vault, slot);
            transaction.open_table(CUSTODY_WAITS)?.remove(key.as_slice())?;
            transaction.open_table(CUSTODY)?.remove(key.as_slice())?;
            Ok(())
        })
    }

    /// Height of the last block that was followed; `None` before the first.
    pub fn height(&self) -> Result<Option<u64>, StoreError> {
        self.inner.index.number_if_any(HEIGHT)
    }

    /// Makes all changes of the blocks up to `height` in one commit, so that a stop of the node
    /// neither loses nor repeats any. Returns the shards that this commit changed from unpaid to
    /// active.
    ///
    /// Most commits do not wait for the disk. After a crash the node follows the last few blocks
    /// again, starting at the height on disk. That height and the changes of its blocks are always
    /// on disk together. A durable commit, such as storing or removing a shard, also makes all
    /// earlier commits durable.
    pub fn follow(&self, height: u64, changes: &[Change]) -> Result<Vec<Shard>, StoreError> {
        let durable = height.is_multiple_of(DURABLE_EVERY)
            || SOON_CHANGES_MAX < changes.len()
            || self.height()?.is_none();
        let durability = if durable { Durability::Immediate } else { Durability::None };
        self.inner.index.change(durability, |transaction| {
            let paid = make(transaction, changes)?;
            change_slots(transaction, height, changes)?;
            index::set_number(transaction, HEIGHT, height)?;
            Ok(paid)
        })
    }

    /// Makes changes that were read from rows, in place of blocks that are no longer kept. The
    /// height stays: if the node stops before [`Shards::follow`], it reads the rows again. Returns
    /// the shards that this commit changed from unpaid to active.
    pub fn learn(&self, changes: &[Change]) -> Result<Vec<Shard>, StoreError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        self.inner.index.write(|transaction| make(transaction, changes))
    }

    /// Marks a shard as active. Returns its record if it was unpaid until now.
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

    /// The reads under the grant with this `key`, which the caller chooses.
    pub fn counter(&self, key: &[u8]) -> Result<Counter, StoreError> {
        let row = self.inner.index.value(COUNTERS, key)?;
        let row = row.map(|row| CounterRow::from_bytes(&row)).transpose()?;
        Ok(row.map_or(Counter::default(), |row| row.counter))
    }

    /// Counts `more` under each key, if all sums stay within the limits beside the keys. This is
    /// one step: concurrent reads cannot exceed a limit together, and if one key refuses, no key
    /// counts the read. The counters are kept until `until_ms`, when the grant ends.
    ///
    /// For speed this does not wait for the disk. A crash before the next durable change may lose
    /// the last reads, in the reader's favour.
    pub fn charge(
        &self,
        keys: &[(&[u8], Counter)],
        more: Counter,
        until_ms: LedgerTime,
    ) -> Result<Charge, StoreError> {
        self.inner.index.write_soon(|transaction| {
            let mut counters = transaction.open_table(COUNTERS)?;
            let mut counted = Vec::with_capacity(keys.len());
            for (place, (key, max)) in keys.iter().enumerate() {
                let row = counters.get(*key)?.map(|row| CounterRow::from_bytes(row.value()));
                let before = row.transpose()?.map_or(Counter::default(), |row| row.counter);
                let counter = Counter {
                    reads: before.reads.saturating_add(more.reads),
                    bytes: before.bytes.saturating_add(more.bytes),
                };
                if counter.reads > max.reads || counter.bytes > max.bytes {
                    return Ok(Charge::Exceeded { place, so_far: before });
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

    /// Removes the counters of grants that have ended.
    pub fn sweep_counters(&self, now_ms: LedgerTime) -> Result<(), StoreError> {
        let stays = |row: &[u8]| CounterRow::from_bytes(row).is_ok_and(|row| row.until_ms > now_ms);
        let all_stay = self.inner.index.read(|transaction| {
            for row in transaction.open_table(COUNTERS)?.iter()? {
                if !stays(row?.1.value()) {
                    return Ok(false);
                }
            }
            Ok(true)
        })?;
        // Without grants that have ended, nothing is written.
        if all_stay {
            return Ok(());
        }
        self.inner.index.write(|transaction| {
            transaction.open_table(COUNTERS)?.retain(|_, row| stays(row))?;
            Ok(())
        })
    }
}

/// Makes changes. Returns the shards that they changed from unpaid to active.
fn make(transaction: &WriteTransaction, changes: &[Change]) -> Result<Vec<Shard>, StoreError> {
    let mut paid = Vec::new();
    for change in changes {
        match change {
            Change::Ended { deal } => end(transaction, deal)?,
            Change::Opened { deal, index, root } => {
                paid.extend(pay(transaction, deal, *index, Some(root))?);
            }
            Change::Ordered { order } => {
                transaction.open_table(REFUNDED)?.remove(&order.0[..])?;
            }
            Change::Refunded { order } => {
                transaction.open_table(REFUNDED)?.insert(&order.0[..], ())?;
            }
            Change::Revoked { link, by } => {
                let key = revocation_key(link, by);
                transaction.open_table(REVOKED)?.insert(key.as_slice(), ())?;
            }
            Change::SlotWaits { .. }
            | Change::SlotJoined { .. }
            | Change::SlotLeft { .. }
            | Change::SlotSpared { .. }
            | Change::SlotsMissed => {}
        }
    }
    Ok(paid)
}

/// Marks a shard as active. Returns its record if it was unpaid until now. If `root` is given and
/// the shard has another root, it stays as it is.
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

/// Marks the active shards of a deal as ended.
fn end(transaction: &WriteTransaction, deal: &DealId) -> Result<(), StoreError> {
    for key in index::keys_of_deal(transaction, deal)? {
        if index::state(transaction, &key)? == Some(ShardState::Active) {
            index::mark(transaction, &key, ShardState::Ended)?;
        }
    }
    Ok(())
}

fn change_slots(
    transaction: &WriteTransaction,
    height: u64,
    changes: &[Change],
) -> Result<(), StoreError> {
    let is_of_slots = |change: &Change| {
        matches!(
            change,
            Change::SlotWaits { .. }
                | Change::SlotJoined { .. }
                | Change::SlotLeft { .. }
                | Change::SlotSpared { .. }
                | Change::SlotsMissed
        )
    };
    if !changes.iter().any(is_of_slots) {
        return Ok(());
    }
    let mut copy = SlotsCopy::open(transaction)?;
    for change in changes {
        match change {
            Change::SlotWaits { slot } => copy.wait(slot)?,
            Change::SlotJoined { deal } => copy.joined(height, deal)?,
            Change::SlotLeft { deal } => copy.left(height, deal)?,
            Change::SlotSpared { deal } => copy.spared(deal)?,
            Change::SlotsMissed => copy.forget()?,
            _ => {}
        }
    }
    copy.close(transaction)
}

fn custody_key(vault: &VaultId, slot: u8) -> Vec<u8> {
    [&vault.0[..], &[slot]].concat()
}

/// Where a share of a vault is stored, or a new one may be; `None` if the vault has too many.
fn slot_for(
    transaction: &WriteTransaction,
    vault: &VaultId,
    share: &[u8],
) -> Result<Option<u8>, StoreError> {
    let shares = transaction.open_table(CUSTODY)?;
    let mut free = None;
    for slot in 0..=u8::MAX {
        match shares.get(custody_key(vault, slot).as_slice())? {
            Some(stored) if stored.value() == share => return Ok(Some(slot)),
            Some(_) => {}
            None => free = free.or(Some(slot)),
        }
    }
    Ok(free)
}

fn revocation_key(link: &LinkId, by: &AccountId) -> Vec<u8> {
    [&link.0[..], &by.0[..]].concat()
}
