//! States that are kept for a while, so that a peer can fetch a whole one in many requests.
//!
//! A kept state is a read transaction of the database. As long as it lives, the file cannot use the
//! room of rows that have changed since. So all callers share the newest one while it is young. There
//! are two at most, and each lives for a bounded time, no matter how many callers there are and how
//! slowly they read.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redb::{ReadTransaction, ReadableDatabase};
use symbolon_protocol::ledger::block::SignedHeader;
use tokio::time::{Instant, sleep};

use super::{Replica, Rows, blocks, disk, proven_page};
use crate::{error::LedgerError, port::Snapshot};

/// The states that are kept, oldest first.
#[derive(Default)]
pub(super) struct Checkpoints(Mutex<Vec<Kept>>);

#[derive(Clone)]
struct Kept {
    header: SignedHeader,
    read: Arc<ReadTransaction>,
    since: Instant,
}

impl Checkpoints {
    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        // A thread that panicked with the lock left whole entries.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, now: Instant) {
        self.lock().retain(|kept| now.duration_since(kept.since) < KEPT);
    }
}

impl Replica {
    /// Rows of all tables after a key, and the proof that none of them is left out: those that fit into `bytes_max`
    /// together, and at least one. All of them are of the state of the block of a height, as long as that is kept.
    /// Without a height they are of a state that is kept for at least [`SHARED`] from now on. `None` if the state is not
    /// kept.
    pub(crate) async fn checkpoint(
        &self,
        height: Option<u64>,
        after: Option<Vec<u8>>,
        bytes_max: usize,
    ) -> Result<Option<Snapshot>, LedgerError> {
        let now = Instant::now();
        self.inner.checkpoints.forget(now);
        let inner = Arc::clone(&self.inner);
        let page = move || {
            let Some(kept) = inner.kept(height, now)? else { return Ok((None, false)) };
            let is_new = kept.since == now;
            let rows = Rows::open(&kept.read)?;
            let page = proven_page(&rows, (&[], after.as_deref()), ROWS_MAX, bytes_max);
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
    /// The kept state of a height, or one that is still young.
    fn kept(&self, height: Option<u64>, now: Instant) -> Result<Option<Kept>, LedgerError> {
        let mut all = self.checkpoints.lock();
        if let Some(height) = height {
            return Ok(all.iter().rev().find(|kept| kept.header.header.height == height).cloned());
        }
        let is_young = |kept: &&Kept| now.duration_since(kept.since) < KEPT - SHARED;
        if let Some(kept) = all.last().filter(is_young) {
            return Ok(Some(kept.clone()));
        }
        let read = self.database.begin_read().map_err(disk)?;
        let header = blocks::last_header(&read)?;
        let kept = Kept { header, read: Arc::new(read), since: now };
        all.push(kept.clone());
        Ok(Some(kept))
    }
}

/// How long a state is kept.
const KEPT: Duration = Duration::from_secs(10 * 60);
/// How long a state is kept at least for a caller that begins with it. An older one gets a successor, so there are at
/// most two.
const SHARED: Duration = Duration::from_secs(5 * 60);
/// Rows of one answer. With four bytes for each of them, their proof has less than a list on the wire may have.
const ROWS_MAX: usize = 20_000;
