//! The file of a ledger while a machine joins: it is filled with the rows of a checkpoint, part by part.
//!
//! It has another name until it is whole, so it is never opened as a ledger. Each part is on disk before it counts as
//! fetched. So a machine that was stopped at any moment goes on with the parts that are missing.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use redb::{Database, ReadableDatabase, ReadableTable};
use symbolon_net::Host;
use symbolon_protocol::{
    codec::{Decode as _, Encode as _},
    id::{ChainId, Hash},
    ledger::{
        block::{Block, Genesis, SignedHeader},
        rows::{Chain, Chains, PastSets, Table as _},
        state::{RowBytes, State as _, StateExt as _},
        tree,
    },
    record,
    wire::ledger::SetChange,
};
use symbolon_store::durable;

use super::{
    File, VERSION,
    blocks::{self, CHANGES},
    genesis, prune,
    rows::{self, META, Meta, ROWS, Rows, disk},
};
use crate::error::LedgerError;

/// Name of the file in the folder of the ledger.
pub(super) const NAME: &str = "joining.redb";

/// Under which [`Progress`] stands in the file.
const PROGRESS: &str = "progress";

record! {
    /// A range of keys, over all tables.
    pub(crate) struct Span {
        /// What they come after.
        pub(crate) after: Option<Vec<u8>>,
        /// The last of them.
        pub(crate) until: Option<Vec<u8>>,
    }
}

record! {
    /// What is being fetched, and what is still missing.
    pub(crate) struct Progress {
        /// The header of the checkpoint. It was believed when the machine began to fetch.
        pub(crate) header: SignedHeader,
        /// The ranges whose rows are missing.
        pub(crate) missing: Vec<Span>,
        /// How many rows are there.
        pub(crate) rows: u64,
    }
}

/// The open file.
pub(crate) struct Joining {
    database: Database,
    folder: PathBuf,
}

/// What an open file holds.
pub(crate) enum Found {
    /// Nothing.
    Nothing,
    /// A part of the rows of this ledger.
    Part(ChainId, Box<Progress>),
    /// A ledger. Only the name of the file is not the right one yet.
    Whole,
}

impl Joining {
    /// Opens the file in a folder, or makes an empty one.
    pub(crate) async fn open(host: &Host, folder: &Path) -> Result<Self, LedgerError> {
        let database = File::open_at(host, folder.join(NAME)).await?.0;
        Ok(Self { database, folder: folder.to_path_buf() })
    }

    pub(crate) fn found(&self) -> Result<Found, LedgerError> {
        let read = self.database.begin_read().map_err(disk)?;
        let meta = match read.open_table(META) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Found::Nothing),
            meta => meta.map_err(disk)?,
        };
        if ReadableTable::get(&meta, Meta::VERSION).map_err(disk)?.is_some() {
            return Ok(Found::Whole);
        }
        let bytes = ReadableTable::get(&meta, PROGRESS).map_err(disk)?;
        let progress = bytes.and_then(|bytes| Progress::from_bytes(bytes.value()).ok());
        let progress = progress.ok_or_else(|| damaged("it does not say what is missing"))?;
        Ok(Found::Part(genesis(&read)?.chain(), Box::new(progress)))
    }

    /// Begins to fetch a checkpoint. What was fetched before is thrown away.
    pub(crate) async fn begin(
        self,
        host: &Host,
        genesis: &Genesis,
        progress: &Progress,
    ) -> Result<Self, LedgerError> {
        let Self { database, folder } = self;
        let old = folder.join(NAME);
        let removing = move || {
            drop(database);
            // The old file would keep its size.
            fs::remove_file(old)
        };
        host.blocking(removing).await.map_err(disk)?;
        let joining = Self::open(host, &folder).await?;
        let write = joining.database.begin_write().map_err(disk)?;
        {
            write.open_table(ROWS).map_err(disk)?;
            let mut meta = write.open_table(META).map_err(disk)?;
            meta.insert(Meta::GENESIS, genesis.to_bytes().as_slice()).map_err(disk)?;
            meta.insert(PROGRESS, progress.to_bytes().as_slice()).map_err(disk)?;
        }
        write.commit().map_err(disk)?;
        Ok(joining)
    }

    /// Writes rows that were missing, and the nodes of the state tree over them. They are on disk when this returns.
    pub(crate) fn write(
        &self,
        fetched: Vec<RowBytes>,
        progress: &Progress,
    ) -> Result<(), LedgerError> {
        let mut changes: tree::Rows =
            fetched.into_iter().map(|(key, value)| (key, Some(value))).collect();
        let before = Rows::open(&self.database.begin_read().map_err(disk)?)?;
        let nodes = tree::update(&before, &changes).1;
        before.checked(())?;
        changes.extend(nodes);
        let mut write = self.database.begin_write().map_err(disk)?;
        // The next start repairs a crash at once: see `rows::commit`.
        write.set_quick_repair(true);
        {
            let mut rows = write.open_table(ROWS).map_err(disk)?;
            for (key, value) in &changes {
                match value {
                    Some(value) => rows.insert(key.as_slice(), value.as_slice()).map_err(disk)?,
                    None => rows.remove(key.as_slice()).map_err(disk)?,
                };
            }
            let mut meta = write.open_table(META).map_err(disk)?;
            meta.insert(PROGRESS, progress.to_bytes().as_slice()).map_err(disk)?;
        }
        write.commit().map_err(disk)
    }

    /// Writes changes of the validators before the block: clients that have slept for long ask for them.
    pub(crate) fn write_changes(&self, changes: &[SetChange]) -> Result<(), LedgerError> {
        let write = self.database.begin_write().map_err(disk)?;
        {
            let mut table = write.open_table(CHANGES).map_err(disk)?;
            for change in changes {
                let height = change.header.header.height;
                table.insert(height, change.to_bytes().as_slice()).map_err(disk)?;
            }
        }
        write.commit().map_err(disk)
    }

    /// Makes a ledger of the rows of a block, once all of them are there.
    pub(crate) fn finish(self, block: &Block, salt: &[u8; 32]) -> Result<(), LedgerError> {
        let header = &block.header.header;
        let read = self.database.begin_read().map_err(disk)?;
        let rows = Rows::open(&read)?;
        let (root, chain) = (tree::root(&rows), rows.row(&Chains::key(&())));
        let chain = chain.and_then(|row| Chain::from_bytes(&row).ok());
        let chain = rows.checked(chain)?.ok_or_else(|| damaged("it has no chain row"))?;
        let before = rows.get(PastSets, &header.height).map(|past| past.validators);
        let before = rows.checked(before)?;
        let fetched: (_, u64, Hash) = (chain.id, chain.height, root);
        if fetched != (header.chain, header.height, header.state_root) {
            return Err(damaged("the rows that were fetched are not those of their block"));
        }
        drop((rows, read));
        let mut write = self.database.begin_write().map_err(disk)?;
        write.set_quick_repair(true);
        {
            blocks::put(&write, block)?;
            blocks::put_change(&write, &block.header, before, &chain.validators)?;
            rows::put_history(&write, block)?;
            prune::begin(&write, &chain)?;
            let base = header.height.to_le_bytes();
            let mut meta = write.open_table(META).map_err(disk)?;
            let values: [(&str, &[u8]); 3] =
                [(Meta::VERSION, &[VERSION]), (Meta::SALT, salt), (Meta::BASE, &base)];
            for (key, value) in values {
                meta.insert(key, value).map_err(disk)?;
            }
            meta.remove(PROGRESS).map_err(disk)?;
        }
        write.commit().map_err(disk)?;
        self.rename()
    }

    /// Gives the file of a whole ledger its name. A ledger that stood there before is replaced.
    pub(crate) fn rename(self) -> Result<(), LedgerError> {
        let Self { database, folder } = self;
        drop(database);
        fs::rename(folder.join(NAME), folder.join(super::NAME)).map_err(disk)?;
        durable::sync_dir(&folder).map_err(disk)
    }
}

/// Whether the folder has a file that is not whole, and no ledger.
pub(super) fn is_unfinished(folder: &Path) -> io::Result<bool> {
    Ok(!folder.join(super::NAME).try_exists()? && folder.join(NAME).try_exists()?)
}

fn damaged(what: &str) -> LedgerError {
    LedgerError::Damaged(what.into())
}
