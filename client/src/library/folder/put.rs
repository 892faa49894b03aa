//! Carries out a plan for storing a folder: two objects at once, of which one is sent, their names written in order, and
//! all names of one object in one step.

use std::{
    collections::{BTreeSet, VecDeque},
    path::PathBuf,
    sync::Arc,
};

use symbolon_protocol::Amount;
use tokio::sync::Semaphore;

use super::{
    AT_ONCE, FileFault, FolderPlan, FolderQuote, NotKept, Task, is_about_one_file, one_of_many,
    pack::{Member, Pack, build},
    plan::Unit,
};
use crate::{
    catalog::{Batch, Content, FileKind, Names, Uploads},
    error::ClientError,
    library::{
        Library, Local,
        budget::Budget,
        names::{Name, NewVersion, path_of, shown},
        source::{Opened, Source, modified_ns},
        upload::{Paid, PutOptions, PutOutcome, PutTerms, Request, Uploaded},
    },
    progress::{Progress, Step},
};

/// The result of storing a folder.
#[derive(Clone, Debug, Default)]
pub struct FolderStored {
    /// Number of files that were stored.
    pub files: u64,
    /// Number of their bytes.
    pub bytes: u64,
    /// Number of packs that hold the small files.
    pub packs: u64,
    /// Number of folders and links that were recorded, and of files whose metadata was.
    pub others: u64,
    /// Number of files that were stored already, unchanged.
    pub unchanged: u64,
    /// Number of files that were stored already, and stored anew because they ended too soon.
    pub renewed: u64,
    /// Number of files that were stored already, and are paid for longer now.
    pub longer: u64,
    /// Number of names that were removed.
    pub removed: u64,
    /// Number of objects that an earlier put had begun to send.
    pub resumed: u64,
    /// The whole cost of this put and of those that it continued.
    pub cost: Amount,
    /// Amount that came back for removed versions.
    pub refunded: Amount,
    /// Entries that are neither file, folder nor link.
    pub special: Vec<String>,
    /// Files that were not stored.
    pub faults: Vec<FileFault>,
    /// Properties of files that are not stored.
    pub not_kept: NotKept,
}

/// A unit that is stored, but has no names yet.
struct Done {
    uploaded: Option<Uploaded>,
    versions: Vec<NewVersion>,
    faults: Vec<FileFault>,
    packed: bool,
}

/// The rest of a limit while several objects are paid for at once. No object may use money that another one may need.
struct Portions {
    /// Money that is not spent, not reserved for an object under way, and not the price of a later one.
    free: Option<Amount>,
}

impl Portions {
    /// Reserves the most that one object may cost: its price and half of the free money.
    fn take(&mut self, price: Amount) -> Option<Amount> {
        let free = self.free?;
        let extra = free.fraction(1, 2).unwrap_or(Amount::ZERO);
        self.free = free.checked_sub(extra);
        price.checked_add(extra)
    }

    fn give_back(&mut self, limit: Option<Amount>, spent: Amount) {
        if let (Some(free), Some(limit)) = (self.free, limit) {
            let unused = limit.checked_sub(spent).unwrap_or(Amount::ZERO);
            self.free = free.checked_add(unused);
        }
    }
}

impl Library {
    /// Carries out a plan. Reports files that cannot be read, and stores the rest. Long work is published to other
    /// devices while it runs.
    pub async fn store_folder(
        &self,
        plan: FolderPlan,
        quote: &FolderQuote,
        options: &PutOptions,
        progress: &Progress,
    ) -> Result<FolderStored, ClientError> {
        let options = PutTerms::new(options, &self.network().params().await?);
        let budget = Budget::of(options.cost_max);
        let storing = self.store_planned(plan, quote, &options, &budget, progress);
        self.changing(&budget, progress, self.publish_while(storing)).await
    }

    async fn store_planned(
        &self,
        mut plan: FolderPlan,
        quote: &FolderQuote,
        options: &PutTerms,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<FolderStored, ClientError> {
        let label = shown(&plan.to);
        let slot = [b"\0folder", plan.to.as_slice()].concat();
        let _lock = self.lock(slot, label.clone()).await?;
        self.check_price(quote, options).await?;
        progress.step(Step::Planned { total_bytes: Some(plan.bytes()) });
        // Each unit is dropped as soon as it is stored.
        let mut units = std::mem::take(&mut plan.units).into_iter().zip(&quote.each);
        let mut report = FolderStored {
            others: plan.others(),
            unchanged: plan.unchanged,
            renewed: plan.renewed,
            longer: plan.longer,
            special: std::mem::take(&mut plan.special),
            not_kept: std::mem::take(&mut plan.not_kept),
            faults: std::mem::take(&mut plan.faults),
            removed: plan.removed.len() as u64,
            ..FolderStored::default()
        };
        let longer: Vec<_> = std::mem::take(&mut plan.extended).into_values().collect();
        if !longer.is_empty() {
            let extending = self.extend_objects(&longer, budget, progress);
            report.cost = Box::pin(extending).await?.sum();
        }
        let (root, keep) = (plan.root.clone(), plan.keep);
        let mut dropped = self.local(move |local| local.write_rows(plan)).await?;
        let mut portions =
            Portions { free: options.cost_max.and_then(|limit| limit.checked_sub(quote.total)) };
        let mut running = VecDeque::new();
        let mut slots = BTreeSet::new();
        let turn = Arc::new(Semaphore::new(1));
        let worker = Worker { library: self.clone(), root, label, keep, turn };
        loop {
            while running.len() < AT_ONCE
                && let Some((unit, price)) = units.next()
            {
                let limit = portions.take(*price);
                let options = PutTerms { cost_max: limit, ..options.clone() };
                let worker = worker.clone();
                let progress = one_of_many(progress);
                let paid = budget.counter();
                let counts = paid.clone();
                let task = async move { worker.unit(unit, &options, counts, &progress).await };
                running.push_back((Task::spawn(task), limit, paid));
            }
            let Some((task, limit, paid)) = running.pop_front() else { break };
            let done = task.join().await?;
            // This also counts the payments of a unit that failed.
            portions.give_back(limit, paid.sum());
            match done {
                Ok(done) => {
                    dropped |= self.write_names(done, &mut report, &mut slots).await?;
                }
                Err((path, error)) if !path.is_empty() && is_about_one_file(&error) => {
                    report.faults.push(FileFault::new(&path, error));
                }
                Err((_, error)) => return Err(error),
            }
        }
        self.end_orphans(&worker.label, &slots, progress).await?;
        if dropped {
            report.refunded = self.sweep(progress).await?.refunded;
            self.compact(progress).await?;
        }
        Ok(report)
    }

    /// Refuses a price that is above the limit or the balance, before anything is paid.
    async fn check_price(
        &self,
        quote: &FolderQuote,
        options: &PutTerms,
    ) -> Result<(), ClientError> {
        if let Some(limit) = options.cost_max.filter(|limit| quote.total > *limit) {
            return Err(ClientError::CostTooHigh { cost: quote.total, limit });
        }
        let balance = self.account().await?.balance;
        if quote.total > balance {
            return Err(ClientError::BalanceTooLow { needed: quote.total, balance });
        }
        Ok(())
    }

    /// Writes the object and all its names in one step.
    async fn write_names(
        &self,
        done: Done,
        report: &mut FolderStored,
        slots: &mut BTreeSet<Vec<u8>>,
    ) -> Result<bool, ClientError> {
        report.faults.extend(done.faults);
        let Some(uploaded) = done.uploaded else { return Ok(false) };
        slots.insert(uploaded.slot().to_vec());
        report.files += done.versions.len() as u64;
        report.bytes += uploaded.entry.manifest.length;
        report.packs += u64::from(done.packed);
        report.resumed += u64::from(uploaded.outcome == PutOutcome::Resumed);
        let cost = uploaded.entry.cost;
        report.cost = report.cost.checked_add(cost).unwrap_or(report.cost);
        let (versions, batch) = (done.versions, uploaded.batch());
        let write = move |local: &Local| {
            let dropped = local.record(versions, batch)?;
            local.settle_leaves(&uploaded.entry);
            Ok(dropped)
        };
        self.local(write).await
    }

    /// Ends unfinished packs of a folder whose files have changed since.
    pub(super) async fn end_orphans(
        &self,
        label: &str,
        used: &BTreeSet<Vec<u8>>,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        let unfinished = self.local(|local| local.catalog().rows(Uploads)).await?.into_iter();
        let orphans = unfinished.filter(|entry| {
            entry.kind == FileKind::Pack && entry.name == label && !used.contains(&entry.slot)
        });
        for entry in orphans {
            progress.note("ending an unfinished pack of other files");
            self.end_upload(&entry).await?;
        }
        Ok(())
    }
}

impl Local {
    /// Opens a file. Refuses one that has changed since it was listed.
    fn open_listed(
        &self,
        path: PathBuf,
        (length, changed_ns): (u64, i128),
    ) -> Result<Opened, ClientError> {
        let at = |source| ClientError::Io { path: path.clone(), source };
        let about = std::fs::symlink_metadata(&path).map_err(at)?;
        let same = about.is_file() && about.len() == length && modified_ns(&about) == changed_ns;
        match same {
            true => self.open_source(Source::File(path)),
            false => Err(ClientError::SourceChanged { path }),
        }
    }

    /// Writes the rows that need no bytes: folders, links, permissions and removed names.
    fn write_rows(&self, plan: FolderPlan) -> Result<bool, ClientError> {
        let mut dropped = false;
        if !plan.removed.is_empty() {
            dropped |= self.drop_names(&plan.removed, false)?.0;
        }
        if !plan.rows.is_empty() {
            dropped |= self.record(plan.rows, Batch::default())?;
        }
        if !plan.modes.is_empty() {
            let _lock = self.lock_names()?;
            let keys = plan.modes.iter().map(|(name, _)| name.as_bytes());
            let rows = self.catalog().rows_at(Names, keys)?;
            let mut batch = Batch::default();
            for (row, (_, metadata)) in rows.into_iter().zip(&plan.modes) {
                let Some(mut row) = row else { continue };
                if let Some(version) = row.versions.first_mut() {
                    version.mode = metadata.mode;
                    version.modified_ns = metadata.modified_ns.to_le_bytes();
                }
                batch.put(Names, &row.path, &row);
            }
            self.catalog().write(&batch)?;
        }
        Ok(dropped)
    }
}

/// The context that every unit of a folder needs.
#[derive(Clone)]
struct Worker {
    library: Library,
    root: PathBuf,
    label: String,
    keep: Option<u32>,
    /// The right to send a segment. While one unit is sent, the next one is read, and the one before it is paid.
    turn: Arc<Semaphore>,
}

impl Worker {
    /// Stores one unit. An error comes with the path of its file.
    async fn unit(
        self,
        unit: Unit,
        options: &PutTerms,
        paid: Paid,
        progress: &Progress,
    ) -> Result<Done, (Vec<u8>, ClientError)> {
        match unit {
            Unit::Pack(pack) => {
                let stored = self.pack(pack, options, paid, progress).await;
                stored.map_err(|error| (Vec::new(), error))
            }
            Unit::File(member) => {
                let path = member.relative().to_vec();
                self.file(member, options, paid, progress).await.map_err(|error| (path, error))
            }
        }
    }

    async fn pack(
        &self,
        pack: Pack,
        options: &PutTerms,
        paid: Paid,
        progress: &Progress,
    ) -> Result<Done, ClientError> {
        let (root, spool, label) = (self.root.clone(), self.library.spool(), self.label.clone());
        let building = move || build(&root, &pack, &spool, &label);
        let built = self.library.host().blocking(building).await?;
        let mut done =
            Done { uploaded: None, versions: Vec::new(), faults: built.faults, packed: true };
        if built.members.is_empty() {
            return Ok(done);
        }
        let _lock = self.library.lock(built.slot.clone(), self.label.clone()).await?;
        let kind = FileKind::Pack;
        let own = Request::own(&built.slot, self.label.clone(), kind, options);
        let request = own.counting(paid).in_turn(self.turn.clone());
        let uploaded = self.library.upload(&request, built.opened, progress).await?;
        let object = uploaded.entry.manifest.object;
        let versions = built.members.into_iter().map(|(member, first)| {
            let content = Content::File { object, first, length: member.length };
            self.version(member, content)
        });
        done.versions = versions.collect();
        done.uploaded = Some(uploaded);
        Ok(done)
    }

    async fn file(
        &self,
        member: Member,
        options: &PutTerms,
        paid: Paid,
        progress: &Progress,
    ) -> Result<Done, ClientError> {
        let path = self.root.join(path_of(member.relative()));
        let slot = member.name.as_bytes().to_vec();
        let _lock = self.library.lock(slot, member.name.to_string()).await?;
        let listed = (member.length, member.modified_ns);
        let opened = self.library.local(move |local| local.open_listed(path, listed)).await?;
        let name = member.name.to_string();
        let own = Request::own(member.name.as_bytes(), name, FileKind::Own, options);
        let request = own.counting(paid).in_turn(self.turn.clone());
        let uploaded = self.library.upload(&request, opened, progress).await?;
        let (object, length) = (uploaded.entry.manifest.object, uploaded.entry.manifest.length);
        let content = Content::File { object, first: 0, length };
        let versions = vec![self.version(member, content)];
        Ok(Done { uploaded: Some(uploaded), versions, faults: Vec::new(), packed: false })
    }

    fn version(&self, member: Member, content: Content) -> NewVersion {
        let Member { name, mode, modified_ns, renews, over, .. } = member;
        let name: Name = name;
        NewVersion { name, content, mode, modified_ns, keep: self.keep, renews, over }
    }
}
