//! Pulling: what the ledger's record leads to and is not here yet comes into the local index.

use symbolon_protocol::{
    ledger::rows::Roots,
    names::{Place, RootRecord, merge, open},
};

use super::PullReport;
use crate::{
    Client,
    catalog::{Known, KnownEntry},
    error::ClientError,
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

impl Client {
    /// Brings the local index up to the root record on the ledger; `None` when it is there already.
    /// That takes one row of the ledger. Rows that changed here and are not published stay.
    pub async fn pull_names(&self, progress: &Progress) -> Result<Option<PullReport>, ClientError> {
        let known = self.standing()?.known.version;
        let version = self.root_version().await?;
        check_version(known, version)?;
        if version == known {
            return Ok(None);
        }
        let _lock = self.lock_index().await?;
        Ok(self.pull_locked(progress).await?.1)
    }

    pub(super) fn standing(&self) -> Result<Standing, ClientError> {
        let known = self.catalog().row(Known, &self.ledger().chain().0)?;
        let fresh = known.is_none();
        let empty =
            || KnownEntry { version: 0, record: RootRecord::default(), dropped: Vec::new() };
        Ok(Standing { known: known.unwrap_or_else(empty), fresh })
    }

    async fn root_version(&self) -> Result<u64, ClientError> {
        let row = self.ledger().row(Roots, &self.me()).await?;
        Ok(row.map_or(0, |row| row.version))
    }

    /// The same as [`Client::pull_names`], for whoever has the lock.
    pub(super) async fn pull_locked(
        &self,
        progress: &Progress,
    ) -> Result<(Standing, Option<PullReport>), ClientError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let standing = self.standing()?;
            let row = self.ledger().row(Roots, &self.me()).await?;
            let version = row.as_ref().map_or(0, |row| row.version);
            check_version(standing.known.version, version)?;
            let Some(row) = row.filter(|_| version != standing.known.version) else {
                return Ok((standing, None));
            };
            let place = Place { chain: self.ledger().chain(), account: self.me(), version };
            let record =
                open(&self.identity().names_key(), &place, &row.blob).map_err(|error| {
                    ClientError::Index(format!(
                        "version {version} of the names on the ledger: {error}"
                    ))
                })?;
            match self.take_record(standing, version, record, progress).await {
                Ok((standing, report)) => return Ok((standing, Some(report))),
                Err(error) => {
                    let moved = self.root_version().await? != version;
                    if !moved || tries == TRIES {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn take_record(
        &self,
        standing: Standing,
        version: u64,
        record: RootRecord,
        progress: &Progress,
    ) -> Result<(Standing, PullReport), ClientError> {
        let Standing { known, fresh } = standing;
        // Runs are merged from the newest on: what follows the common ones is newer than all of them.
        let common = known.record.common(&record);
        let mut changes = Vec::new();
        if common < record.runs.len() {
            progress.note("fetching the list of names");
        }
        for run in &record.runs[common..] {
            changes = merge(changes, self.read_run(run).await?);
        }
        changes = merge(changes, record.tail.clone());
        // With no run in common the record says all there is. Where nothing of it was ever here, rows
        // that it does not have are another ledger's.
        let whole = common == 0 && !fresh;
        let known = KnownEntry { version, record, dropped: known.dropped };
        let chain = self.ledger().chain();
        let rows = self.catalog().take_over(&changes, whole, (&chain, &known))?;
        Ok((Standing { known, fresh: false }, PullReport { version, rows }))
    }
}

fn check_version(known: u64, version: u64) -> Result<(), ClientError> {
    if version < known {
        return Err(ClientError::Index(format!(
            "the ledger has version {version} of the names, and had version {known} before: it has \
             lost blocks, or lies"
        )));
    }
    Ok(())
}
