//! Notes who reads what, for the owners of the objects.
//!
//! Reads are summed in memory and reach the store together, every few seconds and when the node stops. So a read costs
//! no write of its own. A crash loses the last ones. See `spec/grant.md`.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use symbolon_protocol::{
    Encode,
    grant::VerifiedGrant,
    id::{AccountId, LinkId, ObjectId, PeerId},
    limits::{READ_DAYS_KEPT, READ_ROWS_OF_DAY},
    reads::{ReadBy, day_of},
};
use symbolon_store::{Counter, ReadKey, ReadLimits, StoreError};
use tracing::warn;

use crate::shared::{Shared, Stopped};

/// Reads that are not in the store yet.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    waiting: Mutex<BTreeMap<ReadKey, Counter>>,
}

impl Reads {
    /// Counts a read. Says whether it is time to store what waits.
    fn add(&self, key: ReadKey, bytes: u64) -> bool {
        let mut waiting = self.lock();
        let sum = waiting.entry(key).or_default();
        sum.reads = sum.reads.saturating_add(1);
        sum.bytes = sum.bytes.saturating_add(bytes);
        WAITING_MAX <= waiting.len()
    }

    fn take(&self) -> Vec<(ReadKey, Counter)> {
        std::mem::take(&mut *self.lock()).into_iter().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ReadKey, Counter>> {
        self.waiting.lock().expect("no code that holds the sums panics")
    }
}

/// By what right a grant lets its holder read.
pub(crate) fn by_grant(grant: &VerifiedGrant) -> ReadBy {
    let links = grant.link_ids();
    let at = |link: Option<&LinkId>| *link.expect("a verified chain has a link");
    let (given, link) = (at(links.first()), at(links.last()));
    match grant.sale() {
        Some(sale) => ReadBy::Order { order: sale.order, link },
        None => ReadBy::Grant { given, link },
    }
}

/// Who read by what right, as the store keeps it.
pub(crate) fn who(by: ReadBy, reader: PeerId) -> Vec<u8> {
    let mut who = by.to_bytes();
    reader.encode(&mut who);
    who
}

/// Counts a read of an owner's object.
pub(crate) async fn note(
    shared: &Shared,
    (owner, object): (AccountId, ObjectId),
    (by, reader): (ReadBy, PeerId),
    bytes: u64,
) {
    let day = day_of(shared.now_ms());
    let key = ReadKey { day, owner, object, who: who(by, reader) };
    if shared.reads.add(key, bytes)
        && let Err(error) = store(shared).await
    {
        warn!(%error, "who read what could not be noted");
    }
}

/// Brings what waits into the store. If that fails, those reads are not noted.
pub(crate) async fn store(shared: &Shared) -> Result<(), StoreError> {
    let notes = shared.reads.take();
    if notes.is_empty() {
        return Ok(());
    }
    let others = who(ReadBy::Others, PeerId([0; 32]));
    shared.with_store(move |store| store.note_reads(&notes, &others, LIMITS)).await
}

/// Stores what waits, again and again, and forgets old days.
pub(crate) async fn keep_noting(shared: &Shared) {
    loop {
        let stopped = shared.sleep_ms(EVERY_MS).await == Err(Stopped);
        if let Err(error) = store(shared).await {
            warn!(%error, "who read what could not be noted");
        }
        if stopped {
            return;
        }
        // By the blocks' time: a clock that is ahead for a while must not make the node forget.
        let first = day_of(shared.view.block_ms()).saturating_sub(READ_DAYS_KEPT);
        if let Err(error) = shared.with_store(move |store| store.sweep_reads(first)).await {
            warn!(%error, "old reads could not be swept");
        }
    }
}

/// What the store keeps at most: 262,144 rows take about 40 MB.
const LIMITS: ReadLimits = ReadLimits { of_day: READ_ROWS_OF_DAY, in_all: 1 << 18 };
/// Sums that wait at most: about 1 MB.
const WAITING_MAX: usize = 4_096;
/// Milliseconds between two visits to the store.
const EVERY_MS: u64 = 5_000;
