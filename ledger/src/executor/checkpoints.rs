//! States that are kept for a while, so that a peer can fetch a whole one in many requests.
//!
//! A kept state is a read transaction of the database. As long as it lives, the file cannot use the
//! room of anything that was written since. So all callers share the newest one while it is young. There
//! are two at most, and each lives for a bounded time and a bounded number of changes, no matter how many
//! callers there are and how slowly they read.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redb::{ReadTransaction, ReadableDatabase, ReadableTableMetadata as _};
use symbolon_protocol::ledger::{block::SignedHeader, tree::Range};
use tokio::time::{Instant, sleep};

use super::{Replica, Rows, blocks, disk, proven_page, rows::ROWS};
use crate::{error::LedgerError, port::Snapshot};

/// The states that are kept, oldest first.
#[derive(Default)]
pub(super) struct Checkpoints(Mutex<Vec<Kept>>);

#[derive(Clone)]
struct Kept {
    header: SignedHeader,
    read: Arc<ReadTransaction>,
    since: Instant,
    /// How many more rows may change until it is forgotten.
    changes_left: u64,
}

impl Checkpoints {
    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        // A thread that panicked with the lock left whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that rows have changed, and forgets the states that would cost too much room.
    pub(super) fn changed(&self, rows: usize) {
        self.lock().retain_mut(|kept| {
            kept.changes_left = kept.changes_left.saturating_sub(rows as u64);
            0 < kept.changes_left
        });
    }

    fn forget(&self, now: Instant) {
        self.lock().retain(|kept| now.duration_since(kept.since) < KEPT);
    }
}

impl Replica {
    /// Rows of all tables after a key and up to another one, and the proof that none of them is left out: those that fit
    /// into `bytes_max` together, and at least one. All of them are of the state of the block of a height, as long as that
    /// is kept. Without a height they are of a state that is kept for at least [`SHARED`] from now on. `None` if the state
    /// is not kept.
    pub(crate) async fn checkpoint(
        &self,
        height: Option<u64>,
        (after, until): (Option<Vec<u8>>, Option<Vec<u8>>),
        bytes_max: usize,
    ) -> Result<Option<Snapshot>, LedgerError> {
        let now = Instant::now();
        self.inner.checkpoints.forget(now);
        let inner = Arc::clone(&self.inner);
        let page = move || {
            let Some(kept) = inner.kept(height, now)? else { return Ok((None, false)) };
            let is_new = kept.since == now;
            let rows = Rows::open(&kept.read)?;
            let (after, until) = (after.as_deref(), until.as_deref());
            let range = Range { prefix: &[], after, until };
            let page = proven_page(&rows, &range, ROWS_MAX, bytes_max);
            let (rows, proof, more) = rows.checked(page)?;
            Ok((Some(Snapshot { header: kept.header, rows, proof, more }), is_new))
        };
        let (page, is_new) = self.inner.host.blocking(page).await?;
        if is_new {
            let inner = Arc::downgrade(&self.inner);
            tokio::spawn(async move {
                sleep(KEPT).await;
                if let Some(inner) = inner.upgrade() {
                    inner.checkpoints.forget(Instant::now());
                }
            });
        }
        Ok(page)
    }
}

impl super::Inner {
    /// The kept state of a height, or one that is still young. Where none is young, that of the last block is kept from
    /// now on, if it is the one of the height: so a joining machine can ask several servers for the same state.
    fn kept(&self, height: Option<u64>, now: Instant) -> Result<Option<Kept>, LedgerError> {
        let mut all = self.checkpoints.lock();
        let is_asked = |header: &SignedHeader| height.is_none_or(|one| one == header.header.height);
        if height.is_some()
            && let Some(kept) = all.iter().rev().find(|kept| is_asked(&kept.header))
        {
            return Ok(Some(kept.clone()));
        }
        let is_young = |kept: &&Kept| now.duration_since(kept.since) < KEPT - SHARED;
        if let Some(kept) = all.last().filter(is_young) {
            return Ok(height.is_none().then(|| kept.clone()));
        }
        let read = self.database.begin_read().map_err(disk)?;
        let header = blocks::last_header(&read)?;
        if !is_asked(&header) {
            return Ok(None);
        }
        let rows = read.open_table(ROWS).map_err(disk)?.len().map_err(disk)?;
        let changes_left = CHANGES_MAX.max(rows / ROWS_OF_CHANGE);
        let kept = Kept { header, read: Arc::new(read), since: now, changes_left };
        all.push(kept.clone());
        Ok(Some(kept))
    }
}

/// How long a state is kept.
const KEPT: Duration = Duration::from_secs(10 * 60);
/// How long a state is kept at least for a caller that begins with it. An older one gets a successor, so there are at
/// most two.
const SHARED: Duration = Duration::from_secs(5 * 60);
/// How many rows may change while a state is kept. With a million rows, each costs about 16 KiB of the file: all pages on the
/// way to it are written anew, and none is free again (`BENCHMARKS.md`, "Joining"). So a kept state costs 2 GiB at most. These are
/// 20,000 payments, in which time a machine fetches many millions of rows.
pub(super) const CHANGES_MAX: u64 = 128 * 1024;
/// The same for a large state, for each of so many rows of it: it costs at most as much as the state has.
const ROWS_OF_CHANGE: u64 = 64;
/// Rows of one answer. With four bytes for each of them, their proof has less than a list on the wire may have.
const ROWS_MAX: usize = 20_000;
