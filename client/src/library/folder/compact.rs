//! Rewrites packs that are mostly dead, and gives packed files an object of their own.
//!
//! In both cases bytes of a pack are stored again in another object. Then all names that stood for the old range get
//! the new one, in one step. An object without a name is swept.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::Amount;

use super::{
    one_of_many,
    pack::Builder,
    ranges::{RangeSink, Wanted},
};
use crate::{
    catalog::{Batch, Content, FileKind, Moved, MovedEntry, MovedRange, Names, ObjectEntry, Watch},
    error::{ClientError, ErrorKind},
    library::{
        Library, Local,
        budget::Budget,
        get::{GetOptions, Sink},
        names::{Found, Name, Range, Tree},
        source::Opened,
        upload::{Paid, PutTerms, Replace, Request, price_of},
    },
    progress::Progress,
    term::Kept,
};

/// The most ranges of one object in one row. With this limit a row stays below a MiB, so that one change of the index
/// can hold it.
const MOVES_IN_ROW: usize = 16_384;

/// The least number of dead bytes for which a pack is rewritten: a new deal costs something too.
const DEAD_BYTES_MIN: u64 = 256 * 1024;

/// A new pack, its journal key, and the new offset of each old range.
type Rebuilt = (Opened, Vec<u8>, Vec<(Range, u64)>);

/// The journal key for a file that leaves its pack. No name has a zero byte, so the key is never that of a name.
pub(super) fn own_slot(name: &Name) -> Vec<u8> {
    [b"\0own", name.as_bytes()].concat()
}

/// Writes living members into a new pack as their bytes arrive.
struct Rebuild {
    builder: Builder,
    living: Vec<(Range, Name)>,
    /// Old ranges and their new offsets.
    moves: Vec<(Range, u64)>,
    bytes: Vec<u8>,
    error: Option<ClientError>,
}

impl RangeSink for Rebuild {
    fn take(&mut self, number: usize, bytes: &[u8], last: bool) {
        self.bytes.extend_from_slice(bytes);
        if last {
            let (range, name) = &self.living[number];
            match self.builder.append(name, &self.bytes) {
                Ok(first) => self.moves.push((*range, first)),
                Err(error) => self.error = Some(error),
            }
            self.bytes.clear();
        }
    }
}

impl Rebuild {
    fn finish(self) -> Result<Rebuilt, ClientError> {
        let Self { mut builder, living, mut moves, error, .. } = self;
        if let Some(error) = error {
            return Err(error);
        }
        for (range, name) in living.iter().filter(|(range, _)| range.2 == 0) {
            moves.push((*range, builder.append(name, &[])?));
        }
        if moves.len() != living.len() {
            return Err(ClientError::Internal("a pack was read and is not complete".into()));
        }
        let (opened, slot) = builder.finish();
        Ok((opened, slot, moves))
    }
}

/// Rows that map old ranges to new ones. Each row is about one object, and none is empty.
fn moved_rows(moves: &BTreeMap<Range, Range>) -> Vec<MovedEntry> {
    let mut rows: Vec<MovedEntry> = Vec::new();
    for ((from, first, length), (object, at, _)) in moves {
        let range = MovedRange { first: *first, length: *length, object: *object, at: *at };
        match rows.last_mut() {
            Some(row) if row.from == *from && row.ranges.len() < MOVES_IN_ROW => {
                row.ranges.push(range);
            }
            _ => rows.push(MovedEntry { from: *from, ranges: vec![range] }),
        }
    }
    rows
}

impl Library {
    /// Gives a file an object of its own. If it shares one, this stores it again.
    pub(crate) async fn object_of_its_own(
        &self,
        name: &Name,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<Found, ClientError> {
        let found = self.find(name).await?;
        if found.is_whole() {
            return Ok(found);
        }
        progress.note(format!("storing {name} as an object of its own first: it was in a pack"));
        let (resolved, options) = (self.resolve_own(&found)?, GetOptions::default());
        let read = self.fetch(resolved, Sink::Memory, &options, &Progress::silent()).await?;
        let bytes = bytes::Bytes::from(read.bytes.unwrap_or_default());
        let slot = own_slot(name);
        let _lock = self.lock(slot.clone(), name.to_string()).await?;
        let rest = self.rest_of(name, &found.object).await?;
        let options = PutTerms { cost_max: budget.left(), ..rest };
        let own = Request::own(&slot, name.to_string(), FileKind::Own, &options);
        let request = own.counting(budget.counter());
        let opened = Opened::Bytes { bytes };
        let quiet = one_of_many(progress);
        let stored = Box::pin(self.upload(&request, opened, &quiet)).await?;
        let old = (found.manifest().object, found.first, found.length);
        let new = (stored.entry.manifest.object, 0, found.length);
        let (moves, batch, only) = (BTreeMap::from([(old, new)]), stored.batch(), name.clone());
        self.local(move |local| local.relocate(&moves, batch, Some(&only))).await?;
        self.find(name).await
    }

    /// The price of giving a file an object of its own. Nothing if it has one.
    pub async fn price_of_its_own(&self, name: &Name) -> Result<Option<Amount>, ClientError> {
        self.catch_up().await;
        let found = self.find(name).await?;
        if found.is_whole() {
            return Ok(None);
        }
        let epochs = self.rest_of(name, &found.object).await?.epochs;
        let (candidates, params) =
            (self.network().candidates(b"quote").await?, self.network().params().await?);
        price_of(&candidates, &params, found.length, epochs).map(Some)
    }

    /// The terms for storing an object again: for the rest of the time that it is paid for.
    pub(crate) async fn rest_of(
        &self,
        name: &impl ToString,
        entry: &ObjectEntry,
    ) -> Result<PutTerms, ClientError> {
        let chain = self.network().chain_row().await?;
        let epochs = match self.kept(&chain, entry).await? {
            Kept::Until { epoch, .. } => epoch.saturating_sub(chain.epoch).max(1),
            Kept::Over { since_ms } => {
                return Err(ClientError::Over { name: name.to_string(), since_ms });
            }
        };
        Ok(PutTerms::plain(epochs, None, Replace::Refuse))
    }

    /// Rewrites packs that are mostly dead with their living members, and gives up the old packs. A failure is only
    /// noted: the next removal tries again.
    pub(crate) async fn compact(&self, progress: &Progress) -> Result<(), ClientError> {
        // Usually no pack is mostly dead, and no name has to be read.
        let sparse = |watched: &Watch| match watched {
            Watch::Sparse(entry) => {
                entry.kind == FileKind::Pack && entry.manifest.length >= DEAD_BYTES_MIN
            }
            Watch::Unused(_) | Watch::Gone(_) => false,
        };
        let look = move |local: &Local| match local.catalog().watched()?.iter().any(sparse) {
            true => local.tree().map(|tree| Some((tree.used(), tree))),
            false => Ok(None),
        };
        let Some((used, tree)) = self.local(look).await? else { return Ok(()) };
        let mut done = false;
        for (object, entry) in &tree.objects {
            let length = entry.manifest.length;
            let live = used.get(object).copied().unwrap_or(0);
            let dead = length.saturating_sub(live);
            if entry.kind != FileKind::Pack || dead <= live || dead < DEAD_BYTES_MIN {
                continue;
            }
            match self.compact_pack(&tree, entry, progress).await {
                Ok(()) => done = true,
                Err(error) if error.kind() == ErrorKind::Internal => return Err(error),
                Err(error) => progress.note(format!("a pack could not be compacted: {error}")),
            }
        }
        if done {
            self.sweep(progress).await?;
        }
        Ok(())
    }

    async fn compact_pack(
        &self,
        tree: &Tree,
        entry: &ObjectEntry,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        let pack = entry.manifest.object;
        progress.note("compacting a pack of which less than half is in use");
        let label = format!("pack {pack}");
        let ranges = tree.ranges_of(&pack);
        let any = ranges.values().next().map(|(name, version)| tree.found(name, version));
        let Some(any) = any.transpose()? else { return Ok(()) };
        let ranges = ranges.into_iter().map(|(range, (name, _))| (range, name.clone())).collect();
        // The user has not agreed to a cost. So the new pack may cost at most what comes back for the old one.
        let cost_max = Some(self.refund_of(entry).await?);
        let options = PutTerms { cost_max, ..self.rest_of(&label, entry).await? };
        self.rebuild((&any, ranges), &label, (options, Paid::default()), progress).await
    }

    /// Stores ranges of the object of `any` again, in a pack of their own, and gives all names that stand for them the
    /// new ranges.
    pub(super) async fn rebuild(
        &self,
        (any, ranges): (&Found, Vec<(Range, Name)>),
        label: &str,
        (options, paid): (PutTerms, Paid),
        progress: &Progress,
    ) -> Result<(), ClientError> {
        let label = label.to_owned();
        let (spool, of) = (self.spool(), label.clone());
        let building = move || Builder::new(&spool, "compact", &of);
        let builder = self.host().blocking(building).await?;
        let wanted = ranges.iter().enumerate();
        let wanted = wanted.map(|(number, ((_, first, length), _))| Wanted {
            number,
            first: *first,
            length: *length,
        });
        let wanted = wanted.collect();
        let rebuild =
            Rebuild { builder, living: ranges, moves: Vec::new(), bytes: Vec::new(), error: None };
        let (rebuild, read) = self.read_ranges(any, wanted, rebuild, &Progress::silent()).await;
        read?;
        let (opened, slot, moves) = self.host().blocking(move || rebuild.finish()).await?;
        let _lock = self.lock(slot.clone(), label.clone()).await?;
        let request = Request::own(&slot, label.clone(), FileKind::Pack, &options).counting(paid);
        let stored = self.upload(&request, opened, &one_of_many(progress)).await?;
        let new = stored.entry.manifest.object;
        let moves = moves.into_iter().map(|(range, first)| (range, (new, first, range.2)));
        let (moves, batch) = (moves.collect(), stored.batch());
        let settle = move |local: &Local| {
            local.relocate(&moves, batch, None)?;
            local.settle_leaves(&stored.entry);
            Ok::<_, ClientError>(())
        };
        self.local(settle).await?;
        self.end_orphans(&label, &BTreeSet::from([slot]), progress).await
    }
}

impl Local {
    /// Gives all names with an old range the new one, or only the name `only`. Another device may use an old range
    /// meanwhile, because it does not know the new one yet. So rows record where each range moved.
    pub(crate) fn relocate(
        &self,
        moves: &BTreeMap<Range, Range>,
        mut batch: Batch,
        only: Option<&Name>,
    ) -> Result<(), ClientError> {
        let _lock = self.lock_names()?;
        let rows = match only {
            Some(name) => self.catalog().row(Names, name.as_bytes())?.into_iter().collect(),
            None => self.catalog().rows(Names)?,
        };
        for mut row in rows {
            let mut moved = false;
            for version in &mut row.versions {
                if let Content::File { object, first, length } = &mut version.content
                    && let Some(new) = moves.get(&(*object, *first, *length))
                {
                    (*object, *first, *length) = *new;
                    moved = true;
                }
            }
            if moved {
                batch.put(Names, &row.path, &row);
            }
        }
        for row in moved_rows(moves) {
            batch.put(Moved, &row.key(), &row);
        }
        self.catalog().write(&batch)
    }
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::id::ObjectId;

    use super::*;

    fn rebuild(folder: &std::path::Path, lengths: &[u64]) -> Rebuild {
        let mut first = 0;
        let mut living = Vec::new();
        for (number, length) in lengths.iter().enumerate() {
            let name = Name::new(format!("member {number}")).unwrap();
            living.push(((ObjectId([7; 16]), first, *length), name));
            first += length;
        }
        let builder = Builder::new(folder, "compact", "a pack").unwrap();
        Rebuild { builder, living, moves: Vec::new(), bytes: Vec::new(), error: None }
    }

    #[test]
    fn a_pack_is_built_anew_from_all_of_its_members_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let lengths = [3, 0, 2];
        let mut whole = rebuild(folder.path(), &lengths);
        whole.take(0, b"ab", false);
        whole.take(0, b"c", true);
        whole.take(2, b"de", true);
        let (opened, _, moves) = whole.finish().unwrap();
        assert_eq!(opened.length(), Some(5));
        let begin: Vec<_> = moves.iter().map(|((_, old, _), new)| (*old, *new)).collect();
        assert_eq!(begin, [(0, 0), (3, 3), (3, 5)]);

        // One whose last bytes did not come, and one of which none came.
        for last in [Some(false), None] {
            let mut cut = rebuild(folder.path(), &lengths);
            cut.take(0, b"abc", true);
            if let Some(last) = last {
                cut.take(2, b"d", last);
            }
            let error = cut.finish().map(|(_, _, moves)| moves).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Internal, "{error}");
        }

        // Why it could not be written is told.
        let mut full = rebuild(folder.path(), &lengths);
        full.take(0, b"abc", true);
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        full.error = Some(ClientError::Io { path: folder.path().to_owned(), source });
        let error = full.finish().map(|(_, _, moves)| moves).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DiskFull, "{error}");
    }
}
