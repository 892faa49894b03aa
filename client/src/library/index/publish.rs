//! Publishing: puts rows that changed here into the record's tail, or moves the tail into a new run.

use symbolon_protocol::{
    Amount,
    ledger::{Status, transaction::Action},
    limits::ROOT_BYTES_MAX,
    names::{Change, Part, Place, RootError, RootRecord, Run, merge, runs_to_merge, seal},
};

use super::{PublishReport, PullReport, cost::Term, pull::digest, runs::RunContent};
use crate::{
    catalog::{FileKind, KeyBytes, KnownEntry, Snapshot, Unpublished, UploadEntry, Uploads},
    error::ClientError,
    library::{Library, Local, index::pull::Standing},
    progress::Progress,
    wallet::account::transaction_id,
};

/// Number of attempts when another device publishes first.
const TRIES: u32 = 5;

/// Whether a publication may store runs.
#[derive(Clone, Copy)]
enum Runs {
    None,
    /// For at most this cost, if there is a limit.
    UpTo(Option<Amount>),
}

/// The most bytes of newest changes that are held in memory.
const HELD_BYTES: u64 = 4 << 20;

/// The newest changes, which are in no run.
struct Fresh {
    /// Number of this device's rows among them.
    count: usize,
    bytes: u64,
    /// All of them, if they are few enough to be held in memory.
    changes: Option<Vec<Change>>,
    /// The changes of the record's tail, if the others are too many to be held.
    tail: Vec<Change>,
    /// The index at the moment in which they were read.
    at: Snapshot,
}

/// A record that is about to be set.
struct Draft {
    record: RootRecord,
    blob: Vec<u8>,
    cost: Amount,
    /// Journal keys of the uploads that belong to it.
    uploads: Vec<Vec<u8>>,
    /// Parts that the record no longer names.
    dropped: Vec<Part>,
}

impl Draft {
    fn of(record: RootRecord) -> Self {
        let (blob, uploads, dropped) = (Vec::new(), Vec::new(), Vec::new());
        Self { record, blob, cost: Amount::ZERO, uploads, dropped }
    }
}

impl Library {
    /// Publishes the rows that changed here, by setting the account's root record. It pulls first, unless this process
    /// has seen that the ledger and this machine have the same record. If the publication has to store a run, that
    /// costs at most `cost_max`; [`Library::quote_index`] gives the most that it may be. If it costs more, nothing is
    /// paid, and the rows wait for a later publication. Gives `None` when there is nothing to publish, which needs no
    /// network.
    pub async fn publish_names(
        &self,
        cost_max: Option<Amount>,
        progress: &Progress,
    ) -> Result<Option<PublishReport>, ClientError> {
        self.publish_with(Runs::UpTo(cost_max), progress).await
    }

    /// Publishes as far as that costs nothing. It pulls from other devices in any case.
    pub(crate) async fn publish_inline(&self) -> Result<(), ClientError> {
        self.publish_with(Runs::None, &Progress::silent()).await.map(drop)
    }

    async fn publish_with(
        &self,
        runs: Runs,
        progress: &Progress,
    ) -> Result<Option<PublishReport>, ClientError> {
        if !self.local(|local| local.has_to_publish()).await? {
            return Ok(None);
        }
        let _lock = self.lock_index().await?;
        let mut pulled: Option<PullReport> = None;
        for _ in 0..TRIES {
            let standing = match self.local(|local| local.stood()).await? {
                Some(standing) => standing,
                None => {
                    let (standing, report) = self.pull_locked(progress).await?;
                    pulled = join(pulled, report);
                    standing
                }
            };
            let fresh = standing.fresh;
            let fresh = self.local(move |local| local.to_publish(fresh)).await?;
            let (count, at) = (fresh.count, fresh.at.clone());
            if count == 0 {
                self.end_dropped(standing.known).await?;
                return Ok(None);
            }
            let known = standing.known;
            let moment = self.host().now_ms().0.max(known.moment.saturating_add(1));
            let draft = self.draft(&known, moment, (fresh, runs), progress).await?;
            let id = transaction_id("set root", &draft.blob);
            let (expected_version, blob) = (known.version, draft.blob);
            let digest = Some(digest(&blob));
            let action = Action::SetRoot { expected_version, blob };
            let price = self.price_of_root(&action, expected_version).await?;
            match self.send(id, action).await {
                Ok(_) => {}
                Err(ClientError::LedgerRefused(Status::RootMoved)) => {
                    progress.note("another device has changed the names; taking its changes over");
                    self.root_moved();
                    continue;
                }
                Err(error) => return Err(error),
            }
            let (version, mut dropped) = (known.version + 1, known.dropped);
            dropped.extend(draft.dropped);
            let (device, record) = (known.device, draft.record);
            let known = KnownEntry { version, digest, device, moment, record, dropped };
            let (row, uploads) = (known.clone(), draft.uploads);
            self.local(move |local| local.settle(Some(at), &uploads, &row)).await?;
            self.note_at_root(&known);
            self.end_dropped(known).await?;
            let cost = draft.cost.checked_add(price).unwrap_or(Amount(u128::MAX));
            return Ok(Some(PublishReport { version, rows: count, cost, pulled }));
        }
        Err(ClientError::Locked { what: String::from("the names index, on another device") })
    }

    /// Number of rows that changed here and are not published yet, including those of unfinished uploads.
    pub async fn unpublished(&self) -> Result<usize, ClientError> {
        self.local(|local| local.unpublished()).await
    }

    /// The time for which runs are paid, as far as the index shows now.
    async fn term_now(&self, record: &RootRecord) -> Result<Term, ClientError> {
        let (chain, record) = (self.network().recent_chain().await?, record.clone());
        self.local(move |local| local.term(&chain, &record)).await
    }

    async fn draft(
        &self,
        known: &KnownEntry,
        moment: u64,
        (fresh, runs): (Fresh, Runs),
        progress: &Progress,
    ) -> Result<Draft, ClientError> {
        let (before, version) = (&known.record, known.version + 1);
        let place = Place { chain: self.ledger().chain(), account: self.me(), version };
        let (names_key, nonce) = (self.identity().names_key(), self.host().random());
        let mut record = before.clone();
        record.mark(known.device, moment);
        let mut term = None;
        if !record.runs.is_empty() {
            term = Some(self.term_now(before).await?);
        }
        let mut dropped = Vec::new();
        let mut fresh = fresh.after(std::mem::take(&mut record.tail));
        if term.is_some_and(|term: Term| term.is_stale(before)) {
            dropped =
                std::mem::take(&mut record.runs).into_iter().flat_map(|run| run.parts).collect();
            let at = fresh.at;
            fresh = self.local(move |local| local.all_rows(at)).await?;
        }
        // Many rows are certainly too large, so they are not sealed only to find that out.
        let is_small = fresh.bytes <= ROOT_BYTES_MAX as u64;
        if let Some(changes) = fresh.changes.take_if(|_| is_small) {
            record.tail = changes;
            if let Some(blob) = fitting(seal(&names_key, &place, &record, &nonce))? {
                return Ok(Draft { blob, dropped, ..Draft::of(record) });
            }
            fresh.changes = Some(std::mem::take(&mut record.tail));
        }
        let Runs::UpTo(cost_max) = runs else {
            return Err(ClientError::Index(String::from(
                "the newest names have no room in the root record",
            )));
        };
        progress.note("storing the list of names");
        // Buffers of an earlier put or get are not needed now, and the rows of a large folder need the memory.
        self.network().free_buffers();
        let term = match term {
            Some(term) => term,
            None => self.term_now(before).await?,
        };
        record.until = term.until;
        let mut draft = self.with_run(record, fresh, (term, cost_max)).await?;
        draft.dropped.extend(dropped);
        let sealed = fitting(seal(&names_key, &place, &draft.record, &nonce))?;
        draft.blob = sealed.ok_or_else(|| {
            ClientError::Index(String::from("there are more names than an index has room for"))
        })?;
        Ok(draft)
    }

    /// Stores the newest changes as a run, together with the newest runs.
    async fn with_run(
        &self,
        mut record: RootRecord,
        fresh: Fresh,
        (term, cost_max): (Term, Option<Amount>),
    ) -> Result<Draft, ClientError> {
        let kept = record.runs.len() - runs_to_merge(&record, fresh.bytes);
        let merged = record.runs.split_off(kept);
        let content = self.run_content(fresh, &merged, kept).await?;
        let mut draft = Draft::of(record);
        draft.dropped = merged.into_iter().flat_map(|run| run.parts).collect();
        if !content.is_empty() {
            let epochs = term.epochs(&draft.record);
            let until = term.now.saturating_add(1).saturating_add(epochs);
            let stored = self.store_run(content, (epochs, until), cost_max).await?;
            draft.record.runs.push(stored.run);
            (draft.cost, draft.uploads) = (stored.cost, stored.uploads);
        }
        Ok(draft)
    }

    /// The content of the new run. A run that replaces all others is written from the local index, which has all their
    /// rows. So it can be written even if runs are lost, and it is never in memory as a whole.
    async fn run_content(
        &self,
        fresh: Fresh,
        merged: &[Run],
        kept: usize,
    ) -> Result<RunContent, ClientError> {
        if kept == 0 {
            let at = fresh.at;
            let places = self.local(move |local| local.catalog().published_places(&at)).await?;
            return Ok(RunContent::Whole(places));
        }
        let mut older = Vec::new();
        for run in merged {
            older = merge(older, self.read_run(run).await?);
        }
        let changes = match fresh.changes {
            Some(changes) => changes,
            // An older run exists that is several times as large.
            None => {
                let all = |local: &Local| local.catalog().unpublished(u64::MAX);
                merge(fresh.tail, self.local(all).await?.changes)
            }
        };
        Ok(RunContent::Changes(merge(older, changes)))
    }

    /// Ends the deals of parts that no record names, and of uploads that never came into a record. This happens only
    /// after the record is set, because until then another device may have to read them.
    async fn end_dropped(&self, mut known: KnownEntry) -> Result<(), ClientError> {
        let uploads = self.local(|local| local.catalog().rows(Uploads)).await?;
        for entry in uploads.iter().filter(|entry| entry.kind == FileKind::Index) {
            self.end_stray(entry, &known.record).await?;
        }
        if known.dropped.is_empty() {
            return Ok(());
        }
        let named: Vec<_> = known.record.runs.iter().flat_map(|run| &run.parts).cloned().collect();
        for part in std::mem::take(&mut known.dropped) {
            // A part that one branch does not name may be named again: when a ledger is set back and later continues on
            // its first branch.
            if !named.contains(&part) {
                let key = KeyBytes::new(*part.key.as_bytes());
                self.end_deals(&part.manifest, &key).await?;
            }
        }
        self.local(move |local| local.settle(None, &[], &known)).await
    }

    async fn end_stray(&self, entry: &UploadEntry, record: &RootRecord) -> Result<(), ClientError> {
        let object = entry.object();
        let mut parts = record.runs.iter().flat_map(|run| &run.parts);
        if parts.any(|part| part.manifest.object == object) {
            // A command set the record, and ended before it could write that down.
            let names = [entry.slot.clone()];
            let settle = move |local: &Local| local.settle(None, &names, &local.standing()?.known);
            return self.local(settle).await;
        }
        self.end_upload(entry).await.map(drop)
    }
}

impl Local {
    pub(crate) fn unpublished(&self) -> Result<usize, ClientError> {
        self.share_unfinished()?;
        self.catalog().dirty_count()
    }

    /// Whether there are rows to publish, or parts of earlier publications to end.
    fn has_to_publish(&self) -> Result<bool, ClientError> {
        self.share_unfinished()?;
        let standing = self.standing()?;
        Ok(self.has_unpublished(&standing)? || !standing.known.dropped.is_empty())
    }

    fn settle(
        &self,
        published: Option<Snapshot>,
        uploads: &[Vec<u8>],
        known: &KnownEntry,
    ) -> Result<(), ClientError> {
        let chain = self.ledger().chain();
        self.catalog().settle(published, uploads, (&chain, known))
    }

    fn has_unpublished(&self, standing: &Standing) -> Result<bool, ClientError> {
        match self.catalog().dirty_count()? {
            0 if standing.fresh => self.catalog().has_published_rows(),
            count => Ok(count > 0),
        }
    }

    /// The rows that changed here. All rows, if this ledger has no record yet.
    fn to_publish(&self, fresh: bool) -> Result<Fresh, ClientError> {
        let rows = self.catalog().unpublished(HELD_BYTES)?;
        let too_much = rows.is_too_much();
        let Unpublished { at, count, changes, bytes } = rows;
        if !fresh {
            let changes = (!too_much).then_some(changes);
            return Ok(Fresh { count, bytes, changes, tail: Vec::new(), at });
        }
        let mut all = self.all_rows(at)?;
        all.count = all.count.max(count);
        // Rows that were removed here are unknown to other devices, so they need no change.
        Ok(all)
    }

    /// All rows of the published index at one moment.
    fn all_rows(&self, at: Snapshot) -> Result<Fresh, ClientError> {
        let places = self.catalog().published_places(&at)?;
        let bytes = places.bytes().sum();
        let (count, tail) = (places.len(), Vec::new());
        let mut changes = None;
        if bytes <= HELD_BYTES {
            let mut rows = Vec::with_capacity(count);
            self.catalog().each_published(&places, 0..count, |change| rows.push(change))?;
            changes = Some(rows);
        }
        Ok(Fresh { count, bytes, changes, tail, at })
    }
}

impl Fresh {
    /// These changes after those of the record's tail.
    fn after(self, tail: Vec<Change>) -> Self {
        let older: u64 = tail.iter().map(|change| change.size() as u64).sum();
        match self.changes {
            Some(changes) => {
                let changes = merge(tail, changes);
                let bytes = changes.iter().map(|change| change.size() as u64).sum();
                Self { bytes, changes: Some(changes), ..self }
            }
            None => Self { bytes: self.bytes.saturating_add(older), tail, ..self },
        }
    }
}

/// Joins the reports of several pulls in one command.
fn join(before: Option<PullReport>, next: Option<PullReport>) -> Option<PullReport> {
    match (before, next) {
        (Some(mut before), Some(next)) => {
            before.merged.extend(next.merged);
            let set_back = before.set_back || next.set_back;
            let rows = before.rows + next.rows;
            Some(PullReport { version: next.version, rows, merged: before.merged, set_back })
        }
        (before, next) => next.or(before),
    }
}

/// The blob, or `None` when the record does not fit into one.
fn fitting(sealed: Result<Vec<u8>, RootError>) -> Result<Option<Vec<u8>>, ClientError> {
    match sealed {
        Ok(blob) => Ok(Some(blob)),
        Err(RootError::TooLarge { .. }) => Ok(None),
        Err(error) => Err(ClientError::Internal(error.to_string())),
    }
}
