//! Unfinished uploads of other devices: another device of the same identity continues or ends them.
//!
//! The journal belongs to one machine. An upload that takes long, or that was stopped, also gets a row in the names
//! index, with its key and terms. A device with that row asks for the same deals and the same shards, so both devices
//! together send and pay once. Two devices may work on one upload at the same time: every step of one is the same as
//! the other's.
//!
//! That holds for bytes that are known by their hash. Two files with the same name, length and time may differ, and
//! only the other device knows which bytes it has sealed. So a device completes another's upload of a file only if
//! nothing has to be sent any more, and after it has compared all roots.

use std::{collections::BTreeSet, pin::pin};

use symbolon_protocol::id::{AccountId, DealId, ObjectId};

use super::{Request, is_on_other_terms};
use crate::{
    catalog::{Batch, Begun, FileKind, Objects, Placements, UploadEntry, Uploads},
    error::ClientError,
    library::{Library, Local, source::Opened},
    progress::Progress,
};

/// Milliseconds after which a put is first published to other devices. Most puts are over by then, so they cost nothing
/// more.
const PUBLISH_AFTER_MS: u64 = 10_000;

/// Milliseconds between the following publications. Another device repeats at most the work of one such period.
const PUBLISH_EVERY_MS: u64 = 60_000;

impl UploadEntry {
    pub(crate) fn object(&self) -> ObjectId {
        self.key.file_key().object()
    }

    /// The id of a segment's deal, for the identity that uploads it.
    pub(super) fn deal(&self, owner: &AccountId, segment: u32) -> DealId {
        self.key.file_key().deal(owner, segment)
    }

    /// Whether it is an upload of the user's, not of a listing or of the index.
    pub(crate) fn is_users(&self) -> bool {
        matches!(self.kind, FileKind::Own | FileKind::Pack)
    }
}

impl Library {
    /// Runs long work, and publishes now and then what it has begun and stored. A failure to publish does not stop the
    /// work. These publications cost nothing: rows that would cost something wait for the end of the command.
    pub(crate) async fn publish_while<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut wait_ms = PUBLISH_AFTER_MS;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = self.host().sleep_ms(wait_ms) => {}
            }
            let publishing = Box::pin(self.publish_inline());
            tokio::select! {
                biased;
                done = &mut work => return done,
                published = publishing => {
                    if let Err(error) = published {
                        tracing::debug!(%error, "a put could not be published to other devices");
                    }
                }
            }
            wait_ms = PUBLISH_EVERY_MS;
        }
    }

    /// Finds an upload of this name and source that another device began and this one can continue. If something has to
    /// be sent for it, this machine writes it into its own journal too. Uploads that cannot be continued are left
    /// alone, because the other device may be at work on them.
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

    /// Ends the deals of an upload that never got a name, and gives their number. If another device has given it a name
    /// by now, it is only forgotten here.
    pub(crate) async fn end_upload(&self, entry: &UploadEntry) -> Result<u32, ClientError> {
        let object = entry.object();
        let begun = self.local(move |local| local.catalog().row(Begun, &object.0)).await?;
        if begun.is_some() {
            // This must not fail: it is better to end no upload than to end one that has become a file.
            self.pull_names(&Progress::silent()).await?;
        }
        let mut ended = 0;
        let mut batch = Batch::default();
        let stored = self.is_stored(object).await?;
        if !stored {
            for segment in 0.. {
                let deal = entry.deal(&self.me(), segment);
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
            // This machine may have begun another upload under the same name.
            let here = local.catalog().row(Uploads, &slot)?;
            if here.is_some_and(|here| here.key == key) {
                batch.remove(Uploads, &slot);
            }
            local.catalog().write(&batch)?;
            if !stored {
                // Only now: while the journal has the upload, the leaves say what was sealed.
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
    /// Gives every unfinished upload of this machine a row in the index. Gives whether any row is new.
    pub(crate) fn share_unfinished(&self) -> Result<bool, ClientError> {
        // A device that finishes an upload removes its rows under the same lock.
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

    /// Whether this device or another has finished an upload: its object then has a row.
    fn is_stored(&self, object: &ObjectId) -> Result<bool, ClientError> {
        Ok(self.catalog().row(Objects, &object.0)?.is_some())
    }

    /// Every unfinished upload of the user's, of this machine and of others, each once.
    pub(crate) fn all_unfinished(&self) -> Result<Vec<UploadEntry>, ClientError> {
        let here = self.catalog().rows(Uploads)?.into_iter().filter(UploadEntry::is_users);
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for entry in here.chain(self.catalog().rows(Begun)?) {
            // An upload that another device has finished is a file.
            let object = entry.object();
            if !self.is_stored(&object)? && seen.insert(object) {
                all.push(entry);
            }
        }
        Ok(all)
    }

    /// The upload of this name that this machine began, unless another device has finished it.
    pub(super) fn begun_here(&self, slot: &[u8]) -> Result<Option<UploadEntry>, ClientError> {
        let Some(entry) = self.catalog().row(Uploads, slot)? else { return Ok(None) };
        if !self.is_stored(&entry.object())? {
            return Ok(Some(entry));
        }
        self.catalog().remove(Uploads, slot)?;
        Ok(None)
    }
}
