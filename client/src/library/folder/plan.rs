//! The plan for storing a folder: what is not stored yet, and what storing it takes. Making a plan reads no file unless
//! files are compared by content. It asks the ledger which stored objects are still paid for.

mod entries;

use std::path::{Path, PathBuf};

use symbolon_protocol::{Amount, content::Scheme, ledger::check_epochs};
use symbolon_transfer::extend::{Extension, extension_price};

use super::{
    FileFault, FolderOptions,
    pack::{Member, Pack},
    same::Pair,
    walk::{NotKept, check_folder},
};
use crate::{
    catalog::Content,
    durability::{Durability, Record, durability},
    error::ClientError,
    library::{
        Library, Local,
        index::Growth,
        names::{Name, NewVersion, path_of},
        source::FileMetadata,
        stored::{Longer, Wanted},
        upload::{PutOptions, PutTerms},
    },
    place::{choose_scheme, quote, with_room},
};
use entries::{Doubtful, Planner};

/// Files that become one object.
#[derive(Clone, Debug)]
pub(super) enum Unit {
    Pack(Pack),
    File(Member),
}

impl Unit {
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Pack(pack) => pack.length(),
            Self::File(member) => member.length,
        }
    }
}

/// The work that storing a folder means, found before anything is done.
#[derive(Debug)]
pub struct FolderPlan {
    pub(super) root: PathBuf,
    /// The name that the folder gets. Empty when its files go to the top.
    pub(super) to: Vec<u8>,
    pub(super) keep: Option<u32>,
    pub(super) units: Vec<Unit>,
    /// Folders and links to record.
    pub(super) rows: Vec<NewVersion>,
    /// Files with only new permissions or a new time.
    pub(super) modes: Vec<(Name, FileMetadata)>,
    pub(super) removed: Vec<Name>,
    /// Number of files that are stored already, unchanged.
    pub unchanged: u64,
    /// Number of files that are stored already, unchanged, but not for long enough. They are stored anew.
    pub renewed: u64,
    /// Number of files that are stored already, unchanged, and are paid for longer.
    pub longer: u64,
    /// The objects that are paid for longer.
    pub(super) extended: Longer,
    /// Entries that are neither file, folder nor link. They are not stored.
    pub special: Vec<String>,
    /// Files that cannot be stored.
    pub faults: Vec<FileFault>,
    /// Properties of files that are not stored.
    pub not_kept: NotKept,
    /// Whether the folder holds no file or link.
    pub is_empty: bool,
}

/// The price of storing a folder.
#[derive(Clone, Debug)]
pub struct FolderQuote {
    /// The scheme of the largest object.
    pub scheme: Scheme,
    /// Number of nodes that answer.
    pub nodes: usize,
    /// Number of deals: one for each segment of each object.
    pub deals: u64,
    /// Bytes on all nodes together.
    pub stored_bytes: u64,
    /// Number of epochs.
    pub epochs: u64,
    /// The whole price.
    pub total: Amount,
    /// The durability of the object with the lowest one. Nothing if there is no object.
    pub durability: Option<Durability>,
    /// A warning that the user should see first.
    pub warning: Option<String>,
    /// The price of each object.
    pub(super) each: Vec<Amount>,
}

impl FolderPlan {
    /// Number of files to store.
    #[must_use]
    pub fn files(&self) -> u64 {
        let count = |unit: &Unit| match unit {
            Unit::Pack(pack) => pack.len() as u64,
            Unit::File(_) => 1,
        };
        self.units.iter().map(count).sum()
    }

    /// Number of their bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.units.iter().map(Unit::length).sum()
    }

    /// Number of packs for small files.
    #[must_use]
    pub fn packs(&self) -> u64 {
        self.units.iter().filter(|unit| matches!(unit, Unit::Pack(_))).count() as u64
    }

    /// Number of folders and links that are new or changed, and of files with new metadata.
    #[must_use]
    pub fn others(&self) -> u64 {
        (self.rows.len() + self.modes.len()) as u64
    }

    /// Names to remove.
    #[must_use]
    pub fn removed(&self) -> &[Name] {
        &self.removed
    }

    /// The most that the plan adds to the names index.
    #[must_use]
    pub fn growth(&self) -> Growth {
        let targets = self.rows.iter().map(|row| match &row.content {
            Content::Link { target } => target.len(),
            Content::File { .. } | Content::Folder => 0,
        });
        let others = self.rows.iter().map(|row| &row.name);
        let others = others.chain(self.modes.iter().map(|(name, _)| name)).chain(&self.removed);
        let files = self.units.iter().map(|unit| match unit {
            Unit::Pack(pack) => pack.name_bytes(),
            Unit::File(member) => member.name.as_bytes().len(),
        });
        let others = others.map(|name| name.as_bytes().len());
        let bytes = files.chain(others).chain(targets).sum::<usize>();
        let path = self.root.as_os_str().len() as u64;
        let objects = self.units.len() as u64;
        Growth {
            names: self.files() + self.others() + self.removed.len() as u64,
            name_bytes: bytes as u64 + path.saturating_mul(objects),
            objects,
        }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.units.is_empty()
            && self.rows.is_empty()
            && self.modes.is_empty()
            && self.removed.is_empty()
            && self.extended.is_empty()
    }

    /// What the deals of stored objects lack.
    pub(super) fn lacking(&self) -> Vec<Extension> {
        self.extended.values().flat_map(|(_, lacking)| lacking.clone()).collect()
    }
}

impl Library {
    /// Compares a local folder with the names below `to`, or with all names if there is no `to`.
    pub async fn plan_folder(
        &self,
        root: &Path,
        to: Option<&Name>,
        options: &FolderOptions,
    ) -> Result<FolderPlan, ClientError> {
        let own = to.cloned();
        let check = move |local: &Local| own.as_ref().map_or(Ok(()), |to| local.check_place(to));
        self.read(check).await?;
        let from = root.to_owned();
        let check = move || check_folder(&from).map(drop);
        self.host().blocking(check).await?;
        let wanted = Wanted::All { least: options.least, epochs: options.epochs };
        let ending = self.ending(&self.all_stored().await?, &wanted).await?;
        let to = to.map_or(Vec::new(), |to| to.as_bytes().to_vec());
        let plan = FolderPlan::new(root.to_owned(), to, options.keep);
        let mut planner = Planner::new(plan, options.clone(), ending);
        let looking =
            move |local: &Local| planner.plan_entries(local).map(|unread| (planner, unread));
        let (mut planner, unread) = self.local(looking).await?;
        self.compare_doubtful(&mut planner).await?;
        Ok(planner.finish(&unread))
    }

    /// Compares the doubtful files by content.
    async fn compare_doubtful(&self, planner: &mut Planner) -> Result<(), ClientError> {
        let doubtful = std::mem::take(&mut planner.doubtful);
        let pairs = doubtful.iter().map(|Doubtful { member, found, .. }| Pair {
            path: planner.plan.root.join(path_of(member.relative())),
            found: found.clone(),
        });
        let same = self.same_content(pairs.collect()).await?;
        for (Doubtful { member, found, is_other, covers }, same) in doubtful.into_iter().zip(same) {
            let object = found.object.manifest.object;
            match same {
                true => planner.unchanged(member, is_other, Some(object)),
                false => planner.changed(member, covers),
            }
        }
        Ok(())
    }

    /// The price of carrying out a plan.
    pub async fn quote_folder(
        &self,
        plan: &FolderPlan,
        options: &PutOptions,
    ) -> Result<FolderQuote, ClientError> {
        let (candidates, network) = self.network().candidates_and_records(b"quote").await?;
        let params = self.network().params().await?;
        let options = PutTerms::new(options, &params);
        check_epochs(options.epochs, &params)?;
        let times = (params.epoch_ms, params.epoch_ms.saturating_mul(options.epochs));
        let too_much = || ClientError::Usage(String::from("the price exceeds every amount"));
        let mut all = FolderQuote {
            scheme: choose_scheme(options.scheme, &candidates)?,
            nodes: candidates.len(),
            deals: 0,
            stored_bytes: 0,
            epochs: options.epochs,
            total: extension_price(&params, &plan.lacking())?,
            durability: None,
            warning: None,
            each: Vec::with_capacity(plan.units.len()),
        };
        let mut longest = 0;
        for unit in &plan.units {
            let length = unit.length();
            let candidates = with_room(candidates.clone(), options.scheme, Some(length));
            let scheme = choose_scheme(options.scheme, &candidates)?;
            let one = quote(&params, &candidates, scheme, length, options.epochs)?;
            all.total = all.total.checked_add(one.total).ok_or_else(too_much)?;
            all.deals += u64::from(one.segments);
            all.stored_bytes = all.stored_bytes.saturating_add(one.stored_bytes);
            all.each.push(one.total);
            all.warning = all.warning.or(one.warning);
            let records: Vec<Record> = candidates.iter().map(|node| node.record).collect();
            let sure = durability(scheme, &records, &network, one.segments, times);
            let worst = all.durability.map_or(0.0, |worst| worst.unavailable_at_repair);
            if all.durability.is_none() || worst < sure.unavailable_at_repair {
                all.durability = Some(sure);
            }
            if length >= longest {
                (longest, all.scheme) = (length, scheme);
            }
        }
        Ok(all)
    }
}

impl FolderPlan {
    /// A plan without any work.
    fn new(root: PathBuf, to: Vec<u8>, keep: Option<u32>) -> Self {
        Self {
            root,
            to,
            keep,
            units: Vec::new(),
            rows: Vec::new(),
            modes: Vec::new(),
            removed: Vec::new(),
            unchanged: 0,
            renewed: 0,
            longer: 0,
            extended: Longer::new(),
            special: Vec::new(),
            faults: Vec::new(),
            not_kept: NotKept::default(),
            is_empty: true,
        }
    }
}
