//! Runs as stored objects: each part is put and read like a file, without a name.

use bytes::Bytes;
use symbolon_protocol::{
    Amount,
    grant::ability,
    names::{Change, Part, Run, cut, decode_run, encode_run},
};

use crate::{
    catalog::FileKind,
    download::{LeavesWanted, Reading, spans},
    error::ClientError,
    library::{
        Library,
        source::Opened,
        upload::{PutTerms, Replace, Request},
    },
    progress::Progress,
};

/// A run that is stored and not in any record yet.
pub(super) struct StoredRun {
    pub(super) run: Run,
    pub(super) cost: Amount,
    /// Under which names its uploads are in the journal.
    pub(super) uploads: Vec<Vec<u8>>,
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
        let reading = Reading { manifest, key, grant, leaves, only: None };
        let mut groups = self.network().read(reading, spans, &Progress::silent());
        let mut bytes = Vec::new();
        while let Some(group) = groups.next().await {
            bytes.extend_from_slice(&group?.plain);
        }
        if bytes.len() as u64 != layout.length() {
            return Err(damaged("it was not read to its end"));
        }
        Ok(bytes)
    }

    /// Stores changes as a run, for at most so much, or not at all. Its journal rows stay until the record that names it is on the ledger,
    /// so that the same changes after a crash find what is stored and paid.
    pub(super) async fn store_run(
        &self,
        changes: Vec<Change>,
        (epochs, until): (u64, u64),
        cost_max: Option<Amount>,
    ) -> Result<StoredRun, ClientError> {
        let entries = changes.len() as u64;
        let (mut end, mut parts, mut uploads) = (u64::MAX, Vec::new(), Vec::new());
        let mut cost = Amount::ZERO;
        let cut = cut(changes);
        if let Some(limit) = cost_max.filter(|_| cut.len() > 1) {
            // Rather none is paid than some that are of no use without the others.
            let length = |part: &Vec<Change>| part.iter().map(|one| one.size() as u64).sum();
            let lengths: Vec<u64> = cut.iter().map(length).collect();
            let cost = self.parts_cost(&lengths, epochs).await?;
            if cost > limit {
                return Err(ClientError::CostTooHigh { cost, limit });
            }
        }
        for part in cut {
            let bytes = encode_run(&part);
            drop(part);
            // No name of a file has a zero byte, so none is in the way. The same rows for another time are
            // another object.
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

    /// The part, what it cost, and the epoch it is paid until.
    async fn store_part(
        &self,
        slot: &[u8],
        bytes: Bytes,
        (epochs, cost_max): (u64, Option<Amount>),
    ) -> Result<(Part, Amount, u64), ClientError> {
        let replace = Replace::Refuse;
        let options = PutTerms::plain(epochs, cost_max, replace);
        let request = Request::own(slot, String::from("the index"), FileKind::Index, &options);
        // Its row stays in the journal: the record that names it is its row.
        let opened = Opened::Bytes { bytes };
        let entry = self.upload(&request, opened, &Progress::silent()).await?.entry;
        // Nobody sells an index: what its cells could be proven with is not needed.
        let object = entry.manifest.object;
        self.local(move |local| local.forget_leaves(&object)).await;
        let key = entry.key.file_key();
        Ok((Part { key, manifest: entry.manifest }, entry.cost, entry.end))
    }
}
