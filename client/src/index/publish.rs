//! Publishing: rows that changed here go into the record's tail, or with it into a new run.

use symbolon_protocol::{
    Amount,
    ledger::{Status, transaction::Action},
    limits::ROOT_BYTES_MAX,
    names::{
        Change, Part, Place, RootError, RootRecord, merge, runs_to_merge, seal, without_removed,
    },
};

use super::PublishReport;
use crate::{
    Client,
    account::transaction_id,
    catalog::{FileKind, KeyBytes, KnownEntry, Unpublished, UploadEntry, Uploads},
    error::ClientError,
    index::pull::Standing,
    progress::Progress,
};

/// How often to begin again when another device was first.
const TRIES: u32 = 5;

/// For how long an index is kept at least, in milliseconds: 30 days.
const TERM_MS: u64 = 30 * 86_400_000;

/// A record that is about to be set.
struct Draft {
    record: RootRecord,
    blob: Vec<u8>,
    cost: Amount,
    /// Uploads that are part of it.
    uploads: Vec<Vec<u8>>,
    /// Parts that it no longer names.
    dropped: Vec<Part>,
}

/// For how long runs are paid.
struct Term {
    now: u64,
    until: u64,
}

impl Client {
    /// Puts the rows that changed here on the network: pulls first, and sets the account's root record.
    /// `epochs` is for how long the caller wants them kept; at least 30 days, and never less than
    /// before. `None` when there is nothing to publish, which takes no network.
    pub async fn publish_names(
        &self,
        epochs: u64,
        progress: &Progress,
    ) -> Result<Option<PublishReport>, ClientError> {
        self.share_unfinished()?;
        let standing = self.standing()?;
        if !self.has_unpublished(&standing)? && standing.known.dropped.is_empty() {
            return Ok(None);
        }
        let _lock = self.lock_index().await?;
        for _ in 0..TRIES {
            let standing = self.pull_locked(progress).await?.0;
            let (client, fresh) = (self.clone(), standing.fresh);
            let rows = self.host().in_turn(move || client.to_publish(fresh)).await?;
            if rows.changes.is_empty() {
                self.end_dropped(standing.known).await?;
                return Ok(None);
            }
            let version = standing.known.version + 1;
            let term = self.term(epochs, &standing.known.record).await?;
            let Unpublished { marks, changes } = rows;
            let count = changes.len();
            let draft =
                self.draft(&standing.known.record, version, changes, term, progress).await?;
            let id = transaction_id("set root", &draft.blob);
            let (expected_version, blob) = (standing.known.version, draft.blob);
            match self.send(id, Action::SetRoot { expected_version, blob }).await {
                Ok(_) => {}
                Err(ClientError::LedgerRefused(Status::RootMoved)) => {
                    progress.note("another device has changed the names; taking its changes over");
                    continue;
                }
                Err(error) => return Err(error),
            }
            let mut dropped = standing.known.dropped;
            dropped.extend(draft.dropped);
            let known = KnownEntry { version, record: draft.record, dropped };
            let chain = self.ledger().chain();
            self.catalog().settle(&marks, &draft.uploads, (&chain, &known))?;
            self.end_dropped(known).await?;
            return Ok(Some(PublishReport { version, rows: count, cost: draft.cost }));
        }
        Err(ClientError::Locked { what: String::from("the names index, on another device") })
    }

    /// How many rows changed here and are not on the network yet, those of unfinished uploads included.
    pub fn unpublished(&self) -> Result<usize, ClientError> {
        self.share_unfinished()?;
        self.catalog().dirty_count()
    }

    fn has_unpublished(&self, standing: &Standing) -> Result<bool, ClientError> {
        match self.catalog().dirty_count()? {
            0 if standing.fresh => Ok(!self.catalog().published_rows()?.is_empty()),
            count => Ok(count > 0),
        }
    }

    /// What changed here; everything, where this ledger has no record yet.
    fn to_publish(&self, fresh: bool) -> Result<Unpublished, ClientError> {
        let mut rows = self.catalog().unpublished()?;
        if fresh {
            rows.changes = merge(self.catalog().published_rows()?, rows.changes);
        }
        match rows.changes.iter().find(|change| !change.fits()) {
            None => Ok(rows),
            Some(change) => Err(ClientError::Index(format!(
                "a row of table {} is too large for the names index",
                change.table
            ))),
        }
    }

    async fn term(&self, epochs: u64, record: &RootRecord) -> Result<Term, ClientError> {
        let chain = self.chain_row().await?;
        let (now, params) = (chain.epoch, &chain.params);
        let least = TERM_MS.div_ceil(params.epoch_ms);
        let wanted = now.saturating_add(epochs.max(least)).max(record.until);
        Ok(Term { now, until: wanted.min(now.saturating_add(params.deal_epochs_max)) })
    }

    async fn draft(
        &self,
        before: &RootRecord,
        version: u64,
        fresh: Vec<Change>,
        term: Term,
        progress: &Progress,
    ) -> Result<Draft, ClientError> {
        let place = Place { chain: self.ledger().chain(), account: self.me(), version };
        let (names_key, nonce) = (self.identity().names_key(), self.host().random());
        let tail = merge(before.tail.clone(), fresh);
        let mut record = RootRecord { until: term.until, runs: before.runs.clone(), tail };
        // Runs whose time is half over are written again, and paid for the whole of it.
        let wanted = term.until - term.now;
        let old = record.runs.iter().any(|run| run.end.saturating_sub(term.now) < wanted / 2);
        // Many rows are not sealed only to see that they do not fit.
        let large = ROOT_BYTES_MAX < record.tail.iter().map(Change::size).sum();
        let inline = match old || large {
            true => None,
            false => fitting(seal(&names_key, &place, &record, &nonce))?,
        };
        if let Some(blob) = inline {
            let (uploads, dropped) = (Vec::new(), Vec::new());
            return Ok(Draft { record, blob, cost: Amount::ZERO, uploads, dropped });
        }
        progress.note("storing the list of names");
        // What a put or get had under way is of no use now, and the rows of a great folder want the room.
        self.inner.buffers.clear();
        let fresh = std::mem::take(&mut record.tail);
        let taken = match old {
            true => record.runs.len(),
            false => runs_to_merge(&record, fresh.iter().map(|one| one.size() as u64).sum()),
        };
        let kept = record.runs.len() - taken;
        let merged = record.runs.split_off(kept);
        let changes = self.run_content(fresh, &merged, kept).await?;
        let mut draft = Draft {
            record,
            blob: Vec::new(),
            cost: Amount::ZERO,
            uploads: Vec::new(),
            dropped: merged.into_iter().flat_map(|run| run.parts).collect(),
        };
        if !changes.is_empty() {
            let stored = self.store_run(changes, wanted).await?;
            draft.record.runs.push(stored.run);
            (draft.cost, draft.uploads) = (stored.cost, stored.uploads);
        }
        let sealed = fitting(seal(&names_key, &place, &draft.record, &nonce))?;
        draft.blob = sealed.ok_or_else(|| {
            ClientError::Index(String::from("there are more names than an index has room for"))
        })?;
        Ok(draft)
    }

    /// What the new run holds. One that takes the place of all runs is written from the local index,
    /// which has all their rows: it can be made again when runs are lost.
    async fn run_content(
        &self,
        fresh: Vec<Change>,
        merged: &[symbolon_protocol::names::Run],
        kept: usize,
    ) -> Result<Vec<Change>, ClientError> {
        if kept == 0 && !merged.is_empty() {
            return self.catalog().published_rows();
        }
        let mut older = Vec::new();
        for run in merged {
            older = merge(older, self.read_run(run).await?);
        }
        let changes = merge(older, fresh);
        Ok(if kept == 0 { without_removed(changes) } else { changes })
    }

    /// Ends the deals of parts that no record names, and of uploads that never came into one. Only now:
    /// before the record was set, somebody might still have had to read them.
    async fn end_dropped(&self, mut known: KnownEntry) -> Result<(), ClientError> {
        let uploads = self.catalog().rows(Uploads)?;
        for entry in uploads.iter().filter(|entry| entry.kind == FileKind::Index) {
            self.end_stray(entry, &known.record).await?;
        }
        if known.dropped.is_empty() {
            return Ok(());
        }
        for part in std::mem::take(&mut known.dropped) {
            let key = KeyBytes::new(*part.key.as_bytes());
            self.end_deals(&part.manifest, &key).await?;
        }
        let chain = self.ledger().chain();
        self.catalog().settle(&[], &[], (&chain, &known))
    }

    async fn end_stray(&self, entry: &UploadEntry, record: &RootRecord) -> Result<(), ClientError> {
        let object = entry.object();
        let mut parts = record.runs.iter().flat_map(|run| &run.parts);
        if parts.any(|part| part.manifest.object == object) {
            // Its record was set by a command that did not live to write it down.
            let standing = self.standing()?;
            let (chain, names) = (self.ledger().chain(), [entry.slot.clone()]);
            return self.catalog().settle(&[], &names, (&chain, &standing.known));
        }
        self.end_upload(entry).await.map(drop)
    }
}

/// A blob; `None` when the record does not fit into one.
fn fitting(sealed: Result<Vec<u8>, RootError>) -> Result<Option<Vec<u8>>, ClientError> {
    match sealed {
        Ok(blob) => Ok(Some(blob)),
        Err(RootError::TooLarge { .. }) => Ok(None),
        Err(error) => Err(ClientError::Internal(error.to_string())),
    }
}
