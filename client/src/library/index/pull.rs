//! Pulling: what the ledger's record leads to and is not here yet comes into the local index.
//!
//! A record is compared with the known one by more than its version. One that was not made from it is
//! another branch: the ledger was set back, and another device went on from there, or it shows different
//! devices different records. Then nothing that is here goes; what the branch does not have is put there
//! again, see `spec/names.md`.

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

/// How often a record is read again when its runs went away while they were read: whoever publishes
/// ends the deals of the runs it has merged.
const TRIES: u32 = 3;

/// Where this machine stands.
pub(super) struct Standing {
    pub(super) known: KnownEntry,
    /// Whether anything of this ledger's index was ever here.
    pub(super) fresh: bool,
}

/// A record as the ledger has it.
struct Found {
    version: u64,
    digest: Option<Hash>,
    record: RootRecord,
}

/// What a record is known by.
pub(super) fn digest(blob: &[u8]) -> Hash {
    Hash(*blake3::hash(blob).as_bytes())
}

impl Standing {
    /// Whether the ledger has what is known here.
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
    /// Brings the local index up to the root record on the ledger; `None` when it is there already.
    /// That takes one row of the ledger. Rows that changed here and are not published stay.
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

    /// Takes note that the ledger has what is known here.
    pub(super) fn note_at_root(&self, known: &KnownEntry) {
        let now = Some((known.version, known.digest));
        *lock(&self.inner.at_root) = now;
    }

    /// The ledger has said that it stands elsewhere.
    pub(super) fn root_moved(&self) {
        *lock(&self.inner.at_root) = None;
    }

    async fn root_row(&self) -> Result<Option<Root>, ClientError> {
        Ok(self.ledger().row(Roots, &self.me()).await?)
    }

    /// The same as [`Library::pull_names`], for whoever has the lock.
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
        // A ledger that was set back may know of no record any more.
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
        // Runs are merged from the newest on: what follows the common ones is newer than all of them.
        let common = if leads { known.record.common(&record) } else { 0 };
        let (changes, all) = self.read_runs(&record, common, progress).await?;
        let changes = merge(changes, record.tail.clone());
        let extent = match leads {
            false => Extent::Branch,
            // With no run in common the record says all there is. Where nothing of it was ever here,
            // rows that it does not have are another ledger's.
            true if common == 0 && all && !fresh => Extent::Whole,
            true => Extent::Some,
        };
        // A command of this device was killed before it could write down that it had published.
        let moment = record.moment_of(known.device).unwrap_or(0);
        let own = leads && version == known.version + 1 && known.moment < moment;
        let mut dropped = known.dropped;
        if !leads {
            progress.note("the ledger has another list of names than this device knew");
            // What the branch does not name is named by nothing any more.
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

    /// What the runs from one on say, and whether all of them were read. One that is over is not: all that
    /// it names is over too, and the nodes have let it go.
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

    /// Where this machine stands, if this process has seen the ledger stand there too, and has not heard of
    /// anything else since. Whoever sets the next record may go on from there without asking: where another
    /// device was faster, or the ledger was set back, the version is another one and the ledger refuses. Where a
    /// ledger that was set back has come to the same version by another device's record, that one is named by no
    /// newer one: to its device the new record is a branch, which it takes in whole, see `spec/names.md`.
    pub(super) fn stood(&self) -> Result<Option<Standing>, ClientError> {
        let standing = self.standing()?;
        let known = Some((standing.known.version, standing.known.digest));
        let seen = *lock(&self.inner.at_root);
        Ok((seen.is_some() && seen == known).then_some(standing))
    }
}
