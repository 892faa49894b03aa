//! Unfinished uploads across devices: what one has begun, another of the same identity goes on with, or ends.
//!
//! The journal is this machine's own. An upload that takes long, or that was stopped, gets a row of the
//! names index beside it: its key and terms. Whoever has that row asks for the same deals and the same
//! shards, so both devices together send and pay once. Two that are at one upload at the same time do no
//! harm: every step of theirs is the same step.
//!
//! That holds for bytes that are known by their hash. Two files of one name, length and time may differ,
//! and what the other device has sealed of its own is known there alone: of a file, an upload is only ended
//! here when nothing has to be sent for it any more, after all roots were compared.

use std::{collections::BTreeSet, pin::pin};

use symbolon_protocol::id::{DealId, ObjectId};

use super::{Request, is_on_other_terms};
use crate::{
    catalog::{Batch, Begun, FileKind, Objects, Placements, UploadEntry, Uploads},
    error::ClientError,
    library::{Library, Local, source::Opened},
    progress::Progress,
};

/// How long a put goes on before other devices hear of it, in milliseconds: most are over by then, and cost nothing more.
const TELL_AFTER_MS: u64 = 10_000;

/// How often they hear of it from then on, in milliseconds: at most so much of its work is theirs to do again.
const TELL_EVERY_MS: u64 = 60_000;

impl UploadEntry {
    pub(crate) fn object(&self) -> ObjectId {
        self.key.file_key().object()
    }

    pub(super) fn deal(&self, segment: u32) -> DealId {
        self.key.file_key().deal(segment)
    }

    /// Whether it is the user's, and not something that goes with a listing or the index.
    pub(crate) fn is_users(&self) -> bool {
        matches!(self.kind, FileKind::Own | FileKind::Pack)
    }
}

impl Library {
    /// Does long work, and tells other devices now and then what was begun and stored so far. That they
    /// cannot be told stops nothing.
    /// That costs nothing: what would is left to the end of the command.
    pub(crate) async fn telling<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut wait_ms = TELL_AFTER_MS;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.host().sleep_ms(wait_ms) => {}
            }
            let telling = Box::pin(self.publish_inline());
            tokio::select! {
                biased;
                done = &mut work => return done,
                told = telling => {
                    if let Err(error) = told {
                        tracing::debug!(%error, "other devices could not be told of a put");
                    }
                }
            }
            wait_ms = TELL_EVERY_MS;
        }
    }

    /// The upload of this name and source that another device began, if it can go on. Where something is
    /// sent for it, it is this machine's too from then on. Those that cannot are left alone: the other one
    /// may be at work.
    pub(super) async fn begun_elsewhere(
        &self,
        request: &Request<'_>,
        opened: &Opened,
        nodes: usize,
    ) -> Result<Option<UploadEntry>, ClientError> {
        let Some(length) = opened.length().filter(|_| !opened.is_stream()) else { return Ok(None) };
        let asked = request.options;
        let mut begun = self.local(|local| local.catalog().rows(Begun)).await?;
        begun.retain(|entry| {
            (&entry.slot, entry.kind) == (&request.slot, request.kind)
                && !is_on_other_terms(entry, asked)
        });
        for mut entry in begun {
            let mark = opened.mark();
            if !entry.source.is_alike(&mark)
                || self.is_stored(entry.object()).await?
                || self.is_lapsed(&entry, opened.length()).await?
                || self.is_stuck(&entry, nodes).await?
            {
                continue;
            }
            entry.source = mark;
            if !opened.is_live() {
                let row = entry.clone();
                let put = move |local: &Local| local.catalog().put(Uploads, &row.slot, &row);
                self.local(put).await?;
            } else if !self.is_placed(&entry, length).await? {
                continue;
            }
            return Ok(Some(entry));
        }
        Ok(None)
    }

    /// Ends the deals of an upload that never got a name; says how many. One that has a name by now,
    /// given by another device, is only forgotten here.
    pub(crate) async fn end_upload(&self, entry: &UploadEntry) -> Result<u32, ClientError> {
        let object = entry.object();
        let begun = self.local(move |local| local.catalog().row(Begun, &object.0)).await?;
        if begun.is_some() {
            // Rather none is ended than one that is a file since: so this must not fail.
            self.pull_names(&Progress::silent()).await?;
        }
        let mut ended = 0;
        let mut batch = Batch::default();
        let stored = self.is_stored(object).await?;
        if !stored {
            for segment in 0.. {
                let deal = entry.deal(segment);
                batch.remove(Placements, &deal.0);
                match self.network().deal(&deal).await? {
                    Some(_) => ended += u32::from(self.end_deal(deal).await?),
                    None => break,
                }
            }
        }
        batch.remove(Begun, &object.0);
        let (slot, key) = (entry.slot.clone(), entry.key.clone());
        let forget = move |local: &Local| {
            // Under the same name another one may have begun here.
            let here = local.catalog().row(Uploads, &slot)?;
            if here.is_some_and(|here| here.key == key) {
                batch.remove(Uploads, &slot);
            }
            local.catalog().write(&batch)?;
            if !stored {
                // Only now: as long as the journal has the upload, they say what was sealed.
                local.forget_leaves(&object);
            }
            Ok(ended)
        };
        self.local(forget).await
    }

    async fn is_stored(&self, object: ObjectId) -> Result<bool, ClientError> {
        self.local(move |local| local.is_stored(&object)).await
    }
}

impl Local {
    /// Gives every unfinished upload of this machine its row in the index. Says whether any is new.
    pub(crate) fn share_unfinished(&self) -> Result<bool, ClientError> {
        // Whoever finishes an upload takes its rows away under the same lock.
        let _lock = self.lock_names()?;
        let uploads = self.catalog().rows(Uploads)?;
        let mut batch = Batch::default();
        for entry in uploads.into_iter().filter(UploadEntry::is_users) {
            let object = entry.object();
            let known = self.catalog().row(Begun, &object.0)?.is_some();
            if !known && !self.is_stored(&object)? {
                batch.put(Begun, &object.0, &entry);
            }
        }
        let any = !batch.is_empty();
        if any {
            self.catalog().write(&batch)?;
        }
        Ok(any)
    }

    /// Whether an upload came to its end, on this device or another: its object has a row.
    fn is_stored(&self, object: &ObjectId) -> Result<bool, ClientError> {
        Ok(self.catalog().row(Objects, &object.0)?.is_some())
    }

    /// Every unfinished upload of the user's, of this machine and of others, each once.
    pub(crate) fn all_unfinished(&self) -> Result<Vec<UploadEntry>, ClientError> {
        let here = self.catalog().rows(Uploads)?.into_iter().filter(UploadEntry::is_users);
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for entry in here.chain(self.catalog().rows(Begun)?) {
            // One that another device has finished is a file.
            let object = entry.object();
            if !self.is_stored(&object)? && seen.insert(object) {
                all.push(entry);
            }
        }
        Ok(all)
    }

    /// The upload of this name that was begun on this machine, unless another one has finished it.
    pub(super) fn begun_here(&self, slot: &[u8]) -> Result<Option<UploadEntry>, ClientError> {
        let Some(entry) = self.catalog().row(Uploads, slot)? else { return Ok(None) };
        if !self.is_stored(&entry.object())? {
            return Ok(Some(entry));
        }
        self.catalog().remove(Uploads, slot)?;
        Ok(None)
    }
}
