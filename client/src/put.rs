//! Put: what is stored gets its name, and what the name stood for before goes.

use std::collections::BTreeSet;

use symbolon_protocol::{
    Amount,
    content::{FileKey, Layout},
    id::ObjectId,
    ledger::rows::{Deal, DealState, Deals},
};

use crate::{
    Client,
    catalog::{
        Content, Damaged, FileKind, NameEntry, Names, ObjectEntry, Objects, Uploads, Version,
    },
    download::{LeavesWanted, Reading},
    error::ClientError,
    names::{Name, NewVersion},
    progress::Progress,
    source::{Opened, PLAIN_MODE, Source},
    upload::{PutOptions, PutOutcome, PutReport, Replace, Request},
};

/// What a name stands for when something is stored under it.
enum Before {
    /// Something else.
    Other,
    /// The same source, and it has to be stored anew.
    Stale,
    /// The same source, and it is well.
    Well(PutReport),
}

impl Client {
    /// Stores a file under a name.
    pub async fn put(
        &self,
        source: Source,
        name: &(impl AsRef<[u8]> + Sync + ?Sized),
        options: &PutOptions,
        progress: &Progress,
    ) -> Result<PutReport, ClientError> {
        let name = Self::name(name.as_ref())?;
        let _lock = self.lock(name.as_bytes(), &name.to_string())?;
        let opened = self.open_source(&source)?;
        self.check_place(&name)?;
        let row = self.catalog().row(Names, name.as_bytes())?;
        let keep = options.keep.or(row.as_ref().map(|row| row.keep)).unwrap_or(0);
        let mut stale = false;
        if let Some(old) = row.as_ref().and_then(|row| row.current()) {
            match self.stored_before(&name, old, &opened, progress).await? {
                Before::Well(report) => return Ok(report),
                Before::Stale => stale = true,
                Before::Other => {}
            }
            let lost = || Ok::<_, ClientError>(self.tree()?.is_lost(old));
            let refuse = keep == 0 && options.replace == Replace::Refuse && !stale && !lost()?;
            if old.content == Content::Folder || refuse {
                return Err(ClientError::Exists { name: name.to_string() });
            }
        } else if self.tree()?.is_folder(name.as_bytes()) {
            // Nothing has the name, but other names lie in it.
            return Err(ClientError::Exists { name: name.to_string() });
        }
        let (mode, modified_ns) = opened
            .about()
            .unwrap_or_else(|| (PLAIN_MODE, i128::from(self.host().now_ms()) * 1_000_000));
        let shown = name.to_string();
        let request = Request::own(name.as_bytes(), shown, FileKind::Own, options);
        let uploading = self.upload(&request, opened, progress);
        let stored = self.telling(uploading).await?;
        let content = Content::File {
            object: stored.entry.manifest.object,
            first: 0,
            length: stored.entry.manifest.length,
        };
        let report = stored.report(name.to_string());
        let version = NewVersion { name, content, mode, modified_ns, keep: options.keep };
        if self.record(vec![version], stored.batch())? {
            progress.note("letting the replaced version go");
            self.sweep().await?;
        }
        Ok(report)
    }

    /// What the name stands for, compared with the source.
    async fn stored_before(
        &self,
        name: &Name,
        old: &Version,
        opened: &Opened,
        progress: &Progress,
    ) -> Result<Before, ClientError> {
        let Content::File { object, first: 0, .. } = old.content else { return Ok(Before::Other) };
        let Some(entry) = self.catalog().row(Objects, &object.0)? else { return Ok(Before::Other) };
        // This machine began to store the same source, and another one has ended that, or stored a copy.
        let begun = self.catalog().row(Uploads, name.as_bytes())?;
        let begun = begun.filter(|begun| begun.source == opened.mark());
        let elsewhere = match &begun {
            Some(begun) if begun.object() == object => true,
            Some(begun) if begun.source.is_alike(&entry.source) => {
                self.is_content(&entry, opened).await?
            }
            _ => false,
        };
        if !elsewhere && !is_made_from(&entry, opened) {
            return Ok(Before::Other);
        }
        if let Some(why) = self.why_stale(&entry).await? {
            progress.note(format!("{why}: storing it anew"));
            return Ok(Before::Stale);
        }
        if let Some(begun) = begun.filter(|begun| begun.object() != object) {
            progress.note("letting an unfinished upload of what another device has stored go");
            self.end_upload(&begun).await?;
        }
        Ok(Before::Well(already(&entry, name.to_string())))
    }

    /// Whether a source has exactly the content of an object: it is read and compared with the content root.
    async fn is_content(&self, entry: &ObjectEntry, opened: &Opened) -> Result<bool, ClientError> {
        let Opened::File { path, .. } = opened else { return Ok(entry.kind == FileKind::Own) };
        let (key, leaves) = (FileKey::from_bytes(entry.key.expose()), LeavesWanted::No);
        let manifest = entry.manifest.clone();
        self.is_same(path, &Reading { manifest, key, grant: None, leaves, only: None }).await
    }

    /// Why what is stored from the same source is stored anew all the same; `None` when it is well.
    async fn why_stale(&self, entry: &ObjectEntry) -> Result<Option<&'static str>, ClientError> {
        // Nodes delete what no deal is for.
        if !self.lapsed_of(core::slice::from_ref(entry)).await?.is_empty() {
            return Ok(Some("what was stored under this name is not paid for any more"));
        }
        let damaged = self.catalog().row(Damaged, &entry.manifest.object.0)?;
        Ok(damaged.map(|_| "shards of what was stored under this name were found damaged"))
    }

    /// The objects of which what is put again is stored anew: they are not kept any more, or were found
    /// damaged.
    pub(crate) async fn stale(&self) -> Result<BTreeSet<ObjectId>, ClientError> {
        let mut stale = self.lapsed_of(&self.catalog().rows(Objects)?).await?;
        stale.extend(self.catalog().rows(Damaged)?.iter().map(|damaged| damaged.object));
        Ok(stale)
    }

    async fn lapsed_of(&self, entries: &[ObjectEntry]) -> Result<BTreeSet<ObjectId>, ClientError> {
        /// Rows asked for at once.
        const ROWS: usize = 500;
        let (mut objects, mut deals) = (Vec::new(), Vec::new());
        for entry in entries {
            let layout = Layout::new(entry.manifest.scheme, entry.manifest.length)
                .map_err(|error| ClientError::Internal(error.to_string()))?;
            let key = FileKey::from_bytes(entry.key.expose());
            deals.extend((0..layout.segments()).map(|segment| key.deal(segment)));
            objects.resize(deals.len(), entry.manifest.object);
        }
        let runs = |deal: &Deal| matches!(deal.state, DealState::Offered | DealState::Active);
        let mut lapsed = BTreeSet::new();
        for (objects, deals) in objects.chunks(ROWS).zip(deals.chunks(ROWS)) {
            let rows = self.ledger().rows(Deals, deals).await?;
            let gone = objects.iter().zip(&rows).filter(|(_, row)| !row.as_ref().is_some_and(runs));
            lapsed.extend(gone.map(|(object, _)| *object));
        }
        Ok(lapsed)
    }

    /// Refuses a name that would lie in a file.
    pub(crate) fn check_place(&self, name: &Name) -> Result<(), ClientError> {
        let rows = self.catalog().rows_at(Names, name.folders())?;
        let current = |row: &NameEntry| row.current().cloned();
        for row in rows.into_iter().flatten() {
            if current(&row).is_some_and(|version| version.content != Content::Folder) {
                return Err(ClientError::NotAFolder { name: crate::names::shown(&row.path) });
            }
        }
        Ok(())
    }

    /// Opens a source; a stream may use the identity's own folder.
    pub(crate) fn open_source(&self, source: &Source) -> Result<Opened, ClientError> {
        Opened::open(source, &self.spool())
    }

    /// Where bytes may lie for the time of a put.
    pub(crate) fn spool(&self) -> std::path::PathBuf {
        self.inner.dir.join("spool")
    }

    /// Stores what belongs to a listing; at most one object of each such kind stays.
    pub(crate) async fn store_public(
        &self,
        source: Source,
        request: &Request<'_>,
        progress: &Progress,
    ) -> Result<ObjectEntry, ClientError> {
        let _lock = self.lock(&request.slot, &request.name)?;
        let opened = self.open_source(&source)?;
        let old: Vec<ObjectEntry> = self.catalog().rows(Objects)?;
        let old: Vec<_> = old.into_iter().filter(|old| old.kind == request.kind).collect();
        if let Some(old) = old.iter().find(|old| is_made_from(old, &opened)) {
            return Ok(old.clone());
        }
        let stored = self.upload(request, opened, progress).await?;
        let mut batch = stored.batch();
        for old in &old {
            batch.remove(Objects, &old.manifest.object.0);
        }
        self.catalog().write(&batch)?;
        for old in &old {
            self.end_deals(&old.manifest, &old.key).await?;
            self.delete_shards(&old.manifest, &old.key).await?;
        }
        Ok(stored.entry)
    }
}

/// Whether an object was made from this very source, as far as that can be told.
fn is_made_from(entry: &ObjectEntry, opened: &Opened) -> bool {
    opened.length().is_some()
        && entry.kind != FileKind::Pack
        && entry.source.is_same(&opened.mark())
}

fn already(old: &ObjectEntry, name: String) -> PutReport {
    let layout = Layout::new(old.manifest.scheme, old.manifest.length);
    PutReport {
        name,
        object: old.manifest.object,
        length: old.manifest.length,
        scheme: old.manifest.scheme,
        segments: layout.map_or(0, |layout| layout.segments()),
        shards: 0,
        cost: Amount::ZERO,
        outcome: PutOutcome::Already,
    }
}
