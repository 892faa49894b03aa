//! Pulling: brings new rows from the ledger's record into the local index.
//!
//! The record is compared with the known one by more than its version. A record that was not made from the known one is
//! on another branch. Either the ledger was set back and another device continued from there, or the ledger shows
//! different devices different records. Then no row here is removed, and rows that the branch lacks are published
//! again: see `spec/names.md`.

use symbolon_protocol::{
    id::Hash,
    ledger::rows::{Root, Roots},
    names::{Change, Place, RootRecord, Run, merge, open},
};

use super::PullReport;
use crate::{
    catalog::{Extent, Known, KnownEntry, Taken},
    error::ClientError,
    library::{Library, Local, names::shown},
    lock,
    progress::Progress,
};

/// Number of attempts to read a record whose runs go away meanwhile. A device that publishes ends the deals of the runs
/// that it has merged.
const TRIES: u32 = 3;

/// The index as this machine knows it.
pub(super) struct Standing {
    pub(super) known: KnownEntry,
    /// Whether this machine never had anything of this ledger's index.
    pub(super) fresh: bool,
}

/// The record on the ledger.
struct Found {
    version: u64,
    digest: Option<Hash>,
    record: RootRecord,
}

/// The digest that a record is recognized by.
pub(super) fn digest(blob: &[u8]) -> Hash {
    Hash(*blake3::hash(blob).as_bytes())
}

impl Standing {
    /// Whether the ledger has the record that is known here.
    fn is_at(&self, row: Option<&Root>) -> bool {
        let version = row.map_or(0, |row| row.version);
        version == self.known.version && row.map(|row| digest(&row.blob)) == self.known.digest
    }

    /// Whether a record was made from the one that is known here.
    fn leads_to(&self, found: &Found) -> bool {
        self.fresh
            || (self.known.version < found.version && found.record.follows(&self.known.record))
    }
}

impl Library {
    /// Brings the local index up to the root record on the ledger. Gives `None` when it is up to date, which takes one
    /// row of the ledger. Rows that changed here and are not published stay.
    pub async fn pull_names(&self, progress: &Progress) -> Result<Option<PullReport>, ClientError> {
        let row = self.root_row().await?;
        let standing = self.local(|local| local.standing()).await?;
        if standing.is_at(row.as_ref()) {
            self.note_at_root(&standing.known);
            return Ok(None);
        }
        let _lock = self.lock_index().await?;
        Ok(self.pull_locked(progress).await?.1)
    }

    /// Notes that the ledger has the record that is known here.
    pub(super) fn note_at_root(&self, known: &KnownEntry) {
        let now = Some((known.version, known.digest));
        *lock(&self.inner.at_root) = now;
    }

    /// Notes that the ledger has another record.
    pub(super) fn root_moved(&self) {
        *lock(&self.inner.at_root) = None;
    }

    async fn root_row(&self) -> Result<Option<Root>, ClientError> {
        Ok(self.ledger().row(Roots, &self.me()).await?)
    }

    /// Does the same as [`Library::pull_names`] for a caller that holds the lock.
    pub(super) async fn pull_locked(
        &self,
        progress: &Progress,
    ) -> Result<(Standing, Option<PullReport>), ClientError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let standing = self.local(|local| local.standing()).await?;
            let row = self.root_row().await?;
            if standing.is_at(row.as_ref()) {
                self.note_at_root(&standing.known);
                return Ok((standing, None));
            }
            let found = self.open_row(row)?;
            let (version, digest) = (found.version, found.digest);
            match self.take_record(standing, found, progress).await {
                Ok((standing, report)) => {
                    self.note_at_root(&standing.known);
                    return Ok((standing, Some(report)));
                }
                Err(error) => {
                    let now = self.root_row().await?;
                    let same = now.as_ref().map_or(0, |row| row.version) == version
                        && now.map(|row| self::digest(&row.blob)) == digest;
                    if same || tries == TRIES {
                        return Err(error);
                    }
                }
            }
        }
    }

    fn open_row(&self, row: Option<Root>) -> Result<Found, ClientError> {
        // A ledger that was set back may have no record any more.
        let Some(Root { version, blob }) = row else {
            return Ok(Found { version: 0, digest: None, record: RootRecord::default() });
        };
        let place = Place { chain: self.ledger().chain(), account: self.me(), version };
        let record = open(&self.identity().names_key(), &place, &blob).map_err(|error| {
            ClientError::Index(format!("version {version} of the names on the ledger: {error}"))
        })?;
        Ok(Found { version, digest: Some(digest(&blob)), record })
    }

    async fn take_record(
        &self,
        standing: Standing,
        found: Found,
        progress: &Progress,
    ) -> Result<(Standing, PullReport), ClientError> {
        let leads = standing.leads_to(&found);
        let Standing { known, fresh } = standing;
        let Found { version, digest, record } = found;
        // Runs are merged beginning with the newest. So the runs after the common ones are newer than all of those.
        let common = if leads { known.record.common(&record) } else { 0 };
        let (changes, all) = self.read_runs(&record, common, progress).await?;
        let changes = merge(changes, record.tail.clone());
        let extent = match leads {
            false => Extent::Branch,
            // If no run is in common, the record has all rows. But if this machine never had anything of this index,
            // rows that the record lacks belong to another ledger.
            true if common == 0 && all && !fresh => Extent::Whole,
            true => Extent::Some,
        };
        // A command of this device may have ended before it could write down that it had published.
        let moment = record.moment_of(known.device).unwrap_or(0);
        let own = leads && version == known.version + 1 && known.moment < moment;
        let mut dropped = known.dropped;
        if !leads {
            progress.note("the ledger has another list of names than this device knew");
            // Parts that only the old branch names are named by no record any more.
            dropped.extend(known.record.runs.into_iter().flat_map(|run| run.parts));
        }
        let (device, moment) = (known.device, known.moment.max(moment));
        let known = KnownEntry { version, digest, device, moment, record, dropped };
        let take = move |local: &Local| {
            let chain = local.ledger().chain();
            let taken = Taken { changes: &changes, extent, own };
            let _names = local.lock_names()?;
            Ok::<_, ClientError>((local.catalog().take_over(taken, (&chain, &known))?, known))
        };
        let (took, known) = self.local(take).await?;
        let merged = took.merged.iter().map(|name| shown(name)).collect();
        let report = PullReport { version, rows: took.rows, merged, set_back: !leads };
        Ok((Standing { known, fresh: false }, report))
    }

    /// The changes in the runs from number `from` on, and whether all these runs were read. A run that is over is not
    /// read: everything it names is over too, and the nodes have deleted it.
    async fn read_runs(
        &self,
        record: &RootRecord,
        from: usize,
        progress: &Progress,
    ) -> Result<(Vec<Change>, bool), ClientError> {
        let (mut changes, runs) = (Vec::new(), &record.runs[from..]);
        if runs.is_empty() {
            return Ok((changes, true));
        }
        progress.note("fetching the list of names");
        let epoch = self.network().recent_chain().await?.epoch;
        let living: Vec<&Run> = runs.iter().filter(|run| epoch < run.end).collect();
        for run in &living {
            changes = merge(changes, self.read_run(run).await?);
        }
        Ok((changes, living.len() == runs.len()))
    }
}

impl Local {
    pub(super) fn standing(&self) -> Result<Standing, ClientError> {
        let known = self.catalog().row(Known, &self.ledger().chain().0)?;
        let fresh = known.is_none();
        let empty = || KnownEntry {
            version: 0,
            digest: None,
            device: u64::from_le_bytes(self.host().random()),
            moment: 0,
            record: RootRecord::default(),
            dropped: Vec::new(),
        };
        Ok(Standing { known: known.unwrap_or_else(empty), fresh })
    }

    /// The index as this machine knows it, if this process has seen the same record on the ledger and nothing else
    /// since. Then the next record can be made from it without asking the ledger. If another device was faster, or the
    /// ledger was set back, the version differs and the ledger refuses the record. A ledger that was set back may have
    /// reached the same version with another device's record. Then no newer record names that one. Its device sees the
    /// new record as another branch and takes it over whole: see `spec/names.md`.
    pub(super) fn stood(&self) -> Result<Option<Standing>, ClientError> {
        let standing = self.standing()?;
        let known = Some((standing.known.version, standing.known.digest));
        let seen = *lock(&self.inner.at_root);
        Ok((seen.is_some() && seen == known).then_some(standing))
    }
}
