//! Runs as stored objects: each part is put and read like a file, but has no name.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use symbolon_protocol::{
    Amount,
    grant::ability,
    limits::INDEX_PART_BYTES_MAX,
    names::{Change, Part, Run, RunWriter, cut, decode_run},
};

use crate::{
    catalog::{FileKind, Places},
    download::{LeavesWanted, Reading, spans},
    error::ClientError,
    library::{
        Library, Local,
        source::Opened,
        upload::{PutTerms, Replace, Request},
    },
    progress::Progress,
};

/// A run that is stored and not in any record yet.
pub(super) struct StoredRun {
    pub(super) run: Run,
    pub(super) cost: Amount,
    /// Journal keys of its uploads.
    pub(super) uploads: Vec<Vec<u8>>,
}

/// The least bytes of a part that is made from the local index, if there is another one. Such a part is in memory
/// together with the keys of all rows.
const PART_BYTES: u64 = INDEX_PART_BYTES_MAX / 4;

/// The most parts of all rows, as long as no part is too large. A record may have 16 parts, and newer runs need some.
const WHOLE_PARTS: u64 = 8;

/// Bytes that a part leaves free for what stands before its changes.
const PART_HEAD: u64 = 1024;

/// The content of a run.
pub(super) enum RunContent {
    /// These changes.
    Changes(Vec<Change>),
    /// All rows of the local index.
    Whole(Places),
}

/// The content of one part.
enum PartContent {
    Changes(Vec<Change>),
    Places(Arc<Places>, Range<usize>),
}

fn damaged(what: &str) -> ClientError {
    ClientError::Index(format!("a run of the names on the network is damaged: {what}"))
}

impl Library {
    /// Reads all changes of a run.
    pub(super) async fn read_run(&self, run: &Run) -> Result<Vec<Change>, ClientError> {
        let mut changes: Vec<Change> = Vec::new();
        for part in &run.parts {
            let next = self.read_part(part).await?;
            let next = decode_run(&next).map_err(|error| damaged(&error.to_string()))?;
            let ends = changes.last().zip(next.first());
            if ends.is_some_and(|(last, first)| first.place() <= last.place()) {
                return Err(damaged("its parts are not in order"));
            }
            changes.extend(next);
        }
        if changes.len() as u64 != run.entries {
            return Err(damaged("it has another number of rows"));
        }
        Ok(changes)
    }

    async fn read_part(&self, part: &Part) -> Result<Vec<u8>, ClientError> {
        let manifest = part.manifest.clone();
        let layout = manifest.layout().map_err(|error| damaged(&error.to_string()))?;
        let (spans, _) = spans(&layout, 0, u64::MAX, 0);
        let grant = Some(self.own_grant(manifest.object, ability::READ)?);
        let (key, leaves) = (part.key.clone(), LeavesWanted::No);
        let reading = Reading { owner: self.me(), manifest, key, grant, leaves, only: None };
        let mut groups = self.network().read(reading, spans, &Progress::silent());
        let mut bytes = Vec::new();
        while let Some(group) = groups.next().await {
            bytes.extend_from_slice(&group?.plain);
        }
        // One that was not read to its end is no list of changes.
        Ok(bytes)
    }

    /// Stores a run for at most `cost_max`, or not at all. The run's journal rows stay until the record that names it
    /// is on the ledger. So the same changes, stored again after a crash, find what is stored and paid.
    pub(super) async fn store_run(
        &self,
        content: RunContent,
        (epochs, until): (u64, u64),
        cost_max: Option<Amount>,
    ) -> Result<StoredRun, ClientError> {
        let (mut end, mut parts, mut uploads) = (u64::MAX, Vec::new(), Vec::new());
        let (mut cost, mut entries) = (Amount::ZERO, 0);
        let content = content.cut();
        if let Some(limit) = cost_max.filter(|_| content.len() > 1) {
            // No part is paid if the whole run costs too much, because some parts are of no use without the others.
            let lengths: Vec<u64> = content.iter().map(PartContent::bytes).collect();
            let cost = self.parts_cost(&lengths, epochs).await?;
            if cost > limit {
                return Err(ClientError::CostTooHigh { cost, limit });
            }
        }
        for part in content {
            let (bytes, count) = self.local(move |local| local.encode_part(part)).await?;
            if count == 0 {
                continue;
            }
            entries += u64::from(count);
            // No file name has a zero byte, so this slot is never the slot of a file. The same rows for another time
            // make another object.
            let hash = blake3::hash(&bytes).to_hex();
            let slot = format!("\0index {until} {hash}").into_bytes();
            let left = cost_max.map(|limit| limit.checked_sub(cost).unwrap_or(Amount::ZERO));
            let (part, paid, until) = self.store_part(&slot, bytes.into(), (epochs, left)).await?;
            cost = cost.checked_add(paid).unwrap_or(cost);
            end = end.min(until);
            parts.push(part);
            uploads.push(slot);
        }
        Ok(StoredRun { run: Run { end, entries, parts }, cost, uploads })
    }

    /// Stores one part. Gives the part, its cost, and the first epoch that is not paid.
    async fn store_part(
        &self,
        slot: &[u8],
        bytes: Bytes,
        (epochs, cost_max): (u64, Option<Amount>),
    ) -> Result<(Part, Amount, u64), ClientError> {
        let replace = Replace::Refuse;
        let options = PutTerms::plain(epochs, cost_max, replace);
        let request = Request::own(slot, String::from("the index"), FileKind::Index, &options);
        // The part's journal row stays. The record that names the part will take its place.
        let opened = Opened::Bytes { bytes };
        let entry = self.upload(&request, opened, &Progress::silent()).await?.entry;
        // An index is never sold, so the leaves for proofs of its cells are not needed.
        let object = entry.manifest.object;
        self.local(move |local| local.forget_leaves(&object)).await;
        let key = entry.key.file_key();
        Ok((Part { key, manifest: entry.manifest }, entry.cost, entry.end))
    }
}

impl RunContent {
    /// Whether it holds no rows.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Changes(changes) => changes.is_empty(),
            Self::Whole(places) => places.len() == 0,
        }
    }

    fn cut(self) -> Vec<PartContent> {
        let places = match self {
            Self::Changes(changes) => {
                return cut(changes).into_iter().map(PartContent::Changes).collect();
            }
            Self::Whole(places) => Arc::new(places),
        };
        let all: u64 = places.bytes().sum();
        let most = all.div_ceil(WHOLE_PARTS).clamp(PART_BYTES, INDEX_PART_BYTES_MAX - PART_HEAD);
        let (mut parts, mut first, mut bytes) = (Vec::new(), 0, 0);
        for (at, row) in places.bytes().enumerate() {
            if most < bytes + row && first < at {
                parts.push(PartContent::Places(places.clone(), first..at));
                (first, bytes) = (at, 0);
            }
            bytes += row;
        }
        if first < places.len() {
            parts.push(PartContent::Places(places.clone(), first..places.len()));
        }
        parts
    }
}

impl PartContent {
    fn bytes(&self) -> u64 {
        match self {
            Self::Changes(changes) => changes.iter().map(|change| change.size() as u64).sum(),
            Self::Places(places, range) => places.bytes().skip(range.start).take(range.len()).sum(),
        }
    }
}

impl Local {
    /// The bytes of a part, and the number of its rows.
    fn encode_part(&self, part: PartContent) -> Result<(Vec<u8>, u32), ClientError> {
        let mut out = RunWriter::with_capacity(usize::try_from(part.bytes()).unwrap_or(0));
        match part {
            PartContent::Changes(changes) => changes.iter().for_each(|change| out.push(change)),
            PartContent::Places(places, range) => {
                self.catalog().each_published(&places, range, |change| out.push(&change))?;
            }
        }
        let count = out.count();
        Ok((out.finish(), count))
    }
}
