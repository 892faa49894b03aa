//! Put: stores a source under a name, and removes the replaced version.

use std::collections::BTreeSet;

use symbolon_protocol::{Amount, content::Layout, id::ObjectId, ledger::rows::Chain};
use symbolon_transfer::extend::Extension;

use crate::{
    catalog::{
        Batch, Content, Damaged, FileKind, NameEntry, Names, ObjectEntry, Objects, Uploads, Version,
    },
    download::{LeavesWanted, Reading},
    error::ClientError,
    library::{
        Library, Local,
        budget::Budget,
        names::{Name, NewVersion},
        source::{Opened, PLAIN_MODE, Source},
        upload::{PutOptions, PutOutcome, PutReport, PutTerms, Replace, Request},
    },
    progress::Progress,
    term::Kept,
};

/// The result of comparing a name's current version with the source.
enum Before {
    /// The version has another source.
    Other,
    /// The version has the same source, but it has to be stored anew.
    Stale,
    /// The version has the same source, but ends sooner than asked: its deals get more epochs.
    Short(Box<ObjectEntry>, Vec<Extension>),
    /// The version has the same source, and nothing has to be done.
    Well(PutReport),
}

/// Whether an object is kept for as long as the caller asks.
enum Lasts {
    /// It is, or nearly.
    Long,
    /// It is not, and its nodes keep it for longer if they are paid.
    Short(Vec<Extension>),
    /// It is not, and has to be stored anew.
    Anew,
}

/// The state of a name before something is stored under it.
struct NameState {
    row: Option<NameEntry>,
    /// Whether other names lie in it.
    is_folder: bool,
    /// Whether the bytes of its current version are gone.
    lost: bool,
}

impl Library {
    /// Stores a file under a name.
    pub async fn put(
        &self,
        source: Source,
        name: &Name,
        options: &PutOptions,
        progress: &Progress,
    ) -> Result<PutReport, ClientError> {
        let terms = PutTerms::new(options, &self.network().params().await?);
        let budget = Budget::of(terms.cost_max);
        let putting = self.put_here(source, name, &terms, &budget, progress);
        self.changing(&budget, progress, putting).await
    }

    pub(crate) async fn put_here(
        &self,
        source: Source,
        name: &Name,
        options: &PutTerms,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<PutReport, ClientError> {
        let _lock = self.lock(name.as_bytes().to_vec(), name.to_string()).await?;
        let wanted = name.clone();
        let open = move |local: &Local| {
            Ok::<_, ClientError>((local.open_source(source)?, local.name_state(&wanted)?))
        };
        let (opened, NameState { row, is_folder, lost }) = self.local(open).await?;
        let keep = options.keep.or(row.as_ref().map(|row| row.keep)).unwrap_or(0);
        let over = row.as_ref().and_then(|row| row.current()).map(Version::mark);
        let mut renews = false;
        if let Some(old) = row.as_ref().and_then(|row| row.current()) {
            match self.stored_before(name, old, &opened, options, progress).await? {
                Before::Well(report) => return Ok(report),
                Before::Short(entry, lacking) => {
                    let longer = self.put_longer(name, (*entry, lacking), budget, progress);
                    return Box::pin(longer).await;
                }
                Before::Stale => renews = true,
                Before::Other => {}
            }
            let refuse = keep == 0 && options.replace == Replace::Refuse && !renews && !lost;
            if old.content == Content::Folder || refuse {
                return Err(ClientError::Exists { name: name.to_string() });
            }
        } else if is_folder {
            // The name has no row of its own, but other names lie in it.
            return Err(ClientError::Exists { name: name.to_string() });
        }
        let (mode, modified_ns) = opened
            .about()
            .unwrap_or_else(|| (PLAIN_MODE, i128::from(self.host().now_ms().0) * 1_000_000));
        let shown = name.to_string();
        let own = Request::own(name.as_bytes(), shown, FileKind::Own, options);
        let request = own.counting(budget.counter());
        let uploading = self.upload(&request, opened, progress);
        let stored = self.publish_while(Box::pin(uploading)).await?;
        let content = Content::File {
            object: stored.entry.manifest.object,
            first: 0,
            length: stored.entry.manifest.length,
        };
        let report = stored.report(name.clone());
        let version = NewVersion {
            name: name.clone(),
            content,
            mode,
            modified_ns,
            keep: options.keep,
            renews,
            over,
        };
        let record = move |local: &Local| {
            let dropped = local.record(vec![version], stored.batch())?;
            local.settle_leaves(&stored.entry);
            Ok::<_, ClientError>(dropped)
        };
        if self.local(record).await? {
            progress.note("removing the replaced version");
            self.sweep(progress).await?;
        }
        Ok(report)
    }

    /// Compares the name's current version with the source.
    async fn stored_before(
        &self,
        name: &Name,
        old: &Version,
        opened: &Opened,
        options: &PutTerms,
        progress: &Progress,
    ) -> Result<Before, ClientError> {
        let Content::File { object, first: 0, .. } = old.content else { return Ok(Before::Other) };
        let slot = name.as_bytes().to_vec();
        let read = move |local: &Local| {
            let entry = local.catalog().row(Objects, &object.0)?;
            Ok::<_, ClientError>((entry, local.catalog().row(Uploads, &slot)?))
        };
        // This machine may have begun to store the same source, while another one has completed that upload or stored a
        // copy.
        let (Some(entry), begun) = self.local(read).await? else { return Ok(Before::Other) };
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
        let object = entry.manifest.object;
        let damaged = self.local(move |local| local.catalog().row(Damaged, &object.0)).await?;
        let lasts = self.lasts(name, &entry, options).await?;
        let why = match (&lasts, damaged) {
            (Lasts::Anew, _) => Some("the stored file ends sooner than asked"),
            (_, Some(_)) => Some("shards of the stored file were found damaged"),
            _ => None,
        };
        if let Some(why) = why {
            progress.note(format!("{why}: storing it anew"));
            return Ok(Before::Stale);
        }
        if let Some(begun) = begun.filter(|begun| begun.object() != object) {
            progress.note("ending an unfinished upload of a file that another device has stored");
            self.end_upload(&begun).await?;
        }
        Ok(match lasts {
            Lasts::Short(lacking) => Before::Short(Box::new(entry), lacking),
            Lasts::Long | Lasts::Anew => Before::Well(already(&entry, name.clone())),
        })
    }

    /// Pays for a longer term of an unchanged file.
    async fn put_longer(
        &self,
        name: &Name,
        (entry, lacking): (ObjectEntry, Vec<Extension>),
        budget: &Budget,
        progress: &Progress,
    ) -> Result<PutReport, ClientError> {
        let ends = lacking.iter().map(|one| one.row.end.saturating_add(one.epochs));
        let end = ends.min().unwrap_or(entry.end);
        let report = already(&entry, name.clone());
        let cost = self.extend_objects(&[(entry, lacking)], budget, progress).await?.sum();
        Ok(PutReport { outcome: PutOutcome::Renewed, end, cost, ..report })
    }

    /// Whether a source has exactly the content of an object. It reads the source and compares the content root.
    async fn is_content(&self, entry: &ObjectEntry, opened: &Opened) -> Result<bool, ClientError> {
        let Opened::File { path, .. } = opened else { return Ok(entry.kind == FileKind::Own) };
        let (key, leaves) = (entry.key.file_key(), LeavesWanted::No);
        let manifest = entry.manifest.clone();
        let owner = self.me();
        let reading = Reading { owner, manifest, key, grant: None, leaves, only: None };
        self.is_same(path, &reading).await
    }

    /// Whether an object is kept for as long as the caller asks, or nearly. Its deals get more epochs if its nodes agree.
    /// If they do not, it is stored anew, but only if no other person has a right to it, because that right would end.
    async fn lasts(
        &self,
        name: &Name,
        entry: &ObjectEntry,
        options: &PutTerms,
    ) -> Result<Lasts, ClientError> {
        let chain = self.network().recent_chain().await?;
        let stored = self.stored(vec![entry.clone()]).await?;
        let Kept::Until { epoch, time_ms } = stored[0].kept(&chain) else {
            return Ok(Lasts::Anew);
        };
        let least = chain.epoch.saturating_add(options.least);
        if least <= epoch {
            return Ok(Lasts::Long);
        }
        let until = chain.epoch.saturating_add(1).saturating_add(options.epochs);
        let agreed = self.network().agreements(stored[0].asked_anew(until).collect()).await?;
        if let Some(lacking) = stored[0].lacking_at_least((least, until), &agreed) {
            return Ok(Lasts::Short(lacking));
        }
        let held = self.held(&BTreeSet::from([entry.manifest.object])).await?;
        match held.is_empty() || options.replace == Replace::Overwrite {
            true => Ok(Lasts::Anew),
            false => Err(ClientError::Held { name: name.to_string(), paid_until_ms: time_ms }),
        }
    }

    /// The objects of `objects` to which another person has a right that has not ended, by a grant or by a promise.
    pub(crate) async fn held(
        &self,
        objects: &BTreeSet<ObjectId>,
    ) -> Result<BTreeSet<ObjectId>, ClientError> {
        if objects.is_empty() {
            return Ok(BTreeSet::new());
        }
        let now_ms = self.clock().await?.now_ms;
        let (me, own) = (self.me(), self.identity().peer());
        let given =
            self.local(|local| local.grants()).await?.into_iter().map(|(_, token)| token).filter(
                |token| {
                    let over = token.grant.ends_ms().is_some_and(|ends_ms| ends_ms <= now_ms);
                    let to_others = token.grant.holder().is_some_and(|holder| holder != own);
                    token.grant.root == me && to_others && !over
                },
            );
        let mut held: BTreeSet<ObjectId> = BTreeSet::new();
        for token in given {
            held.insert(token.manifest.object);
            if token.is_folder() {
                match Box::pin(self.objects_of_grant(&token)).await {
                    Ok(objects) => held.extend(objects),
                    // Without its list no one can read the folder either.
                    Err(error) => {
                        tracing::warn!(%error, "the list of a shared folder cannot be read");
                    }
                }
            }
        }
        held.retain(|object| objects.contains(object));
        let objects: Vec<_> = objects.iter().copied().collect();
        held.extend(self.promised(&objects).await?);
        Ok(held)
    }

    /// Until when an object is kept.
    pub(crate) async fn kept(
        &self,
        chain: &Chain,
        entry: &ObjectEntry,
    ) -> Result<Kept, ClientError> {
        let stored = self.stored(vec![entry.clone()]).await?;
        Ok(stored[0].kept(chain))
    }

    /// The folder for bytes that are kept during a put.
    pub(crate) fn spool(&self) -> std::path::PathBuf {
        self.dir().join("spool")
    }

    /// Stores an object that belongs to a listing. At most one object of each such kind stays.
    pub(crate) async fn store_public(
        &self,
        source: Source,
        request: &Request<'_>,
        progress: &Progress,
    ) -> Result<ObjectEntry, ClientError> {
        let _lock = self.lock(request.slot.clone(), request.name.clone()).await?;
        let opened = self.local(move |local| local.open_source(source)).await?;
        let old = self.objects_of(request.kind).await?;
        if let Some(old) = old.iter().find(|old| is_made_from(old, &opened)) {
            let chain = self.network().chain_row().await?;
            let kept = self.kept(&chain, old).await?.end();
            if kept.is_some_and(|end| chain.epoch.saturating_add(request.options.epochs) <= end) {
                return Ok(old.clone());
            }
        }
        let stored = Box::pin(self.upload(request, opened, progress)).await?;
        let mut batch = stored.batch();
        for old in &old {
            batch.remove(Objects, &old.manifest.object.0);
        }
        self.local(move |local| local.catalog().write(&batch)).await?;
        self.let_go(&old).await?;
        Ok(stored.entry)
    }

    /// Ends and removes the objects of a listing of this kind.
    pub(crate) async fn drop_public(&self, kind: FileKind) -> Result<(), ClientError> {
        let old = self.objects_of(kind).await?;
        self.let_go(&old).await?;
        let mut batch = Batch::default();
        for old in &old {
            batch.remove(Objects, &old.manifest.object.0);
        }
        self.local(move |local| local.catalog().write(&batch)).await
    }

    async fn objects_of(&self, kind: FileKind) -> Result<Vec<ObjectEntry>, ClientError> {
        let mut objects: Vec<ObjectEntry> =
            self.local(|local| local.catalog().rows(Objects)).await?;
        objects.retain(|object| object.kind == kind);
        Ok(objects)
    }

    async fn let_go(&self, objects: &[ObjectEntry]) -> Result<(), ClientError> {
        for old in objects {
            self.end_deals(&old.manifest, &old.key).await?;
            self.delete_shards(&old.manifest, &old.key).await?;
        }
        Ok(())
    }
}

impl Local {
    /// The state of a name. Refuses a name that would lie in a file.
    fn name_state(&self, name: &Name) -> Result<NameState, ClientError> {
        self.check_place(name)?;
        let row = self.catalog().row(Names, name.as_bytes())?;
        let Some(now) = row.as_ref().and_then(NameEntry::current) else {
            let is_folder = self.is_folder_now(name.as_bytes())?;
            return Ok(NameState { row, is_folder, lost: false });
        };
        let lost = self.tree_below(name.as_bytes())?.is_lost(now);
        Ok(NameState { row, is_folder: false, lost })
    }

    /// Refuses a name that would lie in a file.
    pub(crate) fn check_place(&self, name: &Name) -> Result<(), ClientError> {
        let rows = self.catalog().rows_at(Names, name.folders())?;
        let current = |row: &NameEntry| row.current().cloned();
        for row in rows.into_iter().flatten() {
            if current(&row).is_some_and(|version| version.content != Content::Folder) {
                return Err(ClientError::NotAFolder {
                    name: crate::library::names::shown(&row.path),
                });
            }
        }
        Ok(())
    }

    /// Opens a source. A stream is spooled in the identity's own folder.
    pub(crate) fn open_source(&self, source: Source) -> Result<Opened, ClientError> {
        Opened::open(source, &self.spool())
    }
}

/// Whether an object was made from this source, as far as the source's mark shows.
fn is_made_from(entry: &ObjectEntry, opened: &Opened) -> bool {
    !opened.is_stream() && entry.kind != FileKind::Pack && entry.source.is_same(&opened.mark())
}

fn already(old: &ObjectEntry, name: Name) -> PutReport {
    let layout = Layout::new(old.manifest.scheme, old.manifest.length);
    PutReport {
        name,
        object: old.manifest.object,
        length: old.manifest.length,
        scheme: old.manifest.scheme,
        segments: layout.map_or(0, |layout| layout.segments()),
        shards: 0,
        nodes: BTreeSet::new(),
        end: old.end,
        cost: Amount::ZERO,
        outcome: PutOutcome::Already,
    }
}
