//! Puts an item: a stream whose length need not be known, with sums over its bytes.
//!
//! The bytes come first, the row last. So a put that is cut short leaves no item, and what it had stored is given up by
//! [`Library::tidy_buckets`]. A small item may wait on this machine: then its bytes and its row are written to the disk
//! together, those of all callers that come at once in one transaction.

use std::{
    fmt,
    io::Cursor,
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use symbolon_protocol::{Amount, content::Scheme};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::oneshot,
};

use super::{
    Attribute, BucketName, Checksum, Etag, Expected, ItemKey, ItemView, VersionId, Written,
    ordered,
    rows::{NewRow, put_row},
};
use crate::{
    catalog::{Batch, FileKind, ItemContent, ItemRange, Uploads},
    error::ClientError,
    library::{
        Library, Local,
        budget::Budget,
        digests::{Digests, SumKind},
        source::{Opened, Source},
        upload::{PutOptions, PutTerms, Replace, Request, Uploaded},
    },
    lock,
    locks::NameLock,
    progress::Progress,
};

/// The most bytes of a small item. It is read into memory, and may wait on this machine.
pub(super) const SMALL_BYTES_MAX: u64 = 256 << 10;

/// Looks at the sums over all bytes of an item before it is acknowledged, and says what is wrong with them. A client may
/// announce sums only after the bytes.
pub type Check = Box<dyn FnOnce(&Etag, &[Checksum]) -> Result<(), String> + Send>;

/// How to put an item.
#[derive(Default)]
pub struct ItemOptions {
    /// Number of bytes, if it is known. A put fails when more or fewer come.
    pub length: Option<u64>,
    /// A small item may wait on this machine's disk until it is stored in a pack, if no more than so many bytes wait there
    /// with its own. With zero it does not wait.
    pub wait_max: u64,
    /// What has to be there before.
    pub expected: Expected,
    /// What is known of the item besides its bytes.
    pub attributes: Vec<Attribute>,
    /// The sums that are kept with it.
    pub sums: Vec<SumKind>,
    /// Looks at the sums.
    pub check: Option<Check>,
    /// Number of epochs to pay for. Without a value, 30 days.
    pub epochs: Option<u64>,
    /// The limit for the cost.
    pub cost_max: Option<Amount>,
    /// The scheme. Without one, the client chooses the one that fits the network.
    pub scheme: Option<Scheme>,
}

impl fmt::Debug for ItemOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("ItemOptions");
        out.field("length", &self.length).field("wait_max", &self.wait_max);
        out.field("expected", &self.expected).finish_non_exhaustive()
    }
}

/// What a put did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutItem {
    /// The item as it is now.
    pub item: ItemView,
    /// What was paid. Nothing for an item without bytes, and for one that waits.
    pub cost: Amount,
}

/// Bytes that have come, before their row is written.
pub(super) struct Came {
    pub(super) etag: Etag,
    pub(super) checksums: Vec<Checksum>,
    pub(super) length: u64,
    pub(super) bytes: Where,
}

/// Where bytes are that have come.
pub(super) enum Where {
    /// In memory.
    Here(Vec<u8>),
    /// In an object, under the lock of its upload.
    Stored(Box<Uploaded>, NameLock),
}

impl Came {
    /// The rows of the object, and its range.
    pub(super) fn stored(&self) -> (Batch, Vec<ItemRange>) {
        match &self.bytes {
            Where::Stored(uploaded, _) => {
                let (object, length) = (uploaded.entry.manifest.object, self.length);
                (uploaded.batch(), vec![ItemRange { object, first: 0, length }])
            }
            Where::Here(_) => (Batch::default(), Vec::new()),
        }
    }

    pub(super) fn cost(&self) -> Amount {
        match &self.bytes {
            Where::Stored(uploaded, _) => uploaded.entry.cost,
            Where::Here(_) => Amount::ZERO,
        }
    }
}

type Bytestream = Pin<Box<dyn AsyncRead + Send>>;

impl Library {
    /// Puts an item from a reader, to its end. When this returns, the item outlives a crash of this machine's program: its
    /// bytes are on nodes, or, if it is small and may wait, on this machine's disk.
    pub async fn put_item(
        &self,
        bucket: &BucketName,
        key: &ItemKey,
        from: impl AsyncRead + Send + 'static,
        options: ItemOptions,
        progress: &Progress,
    ) -> Result<PutItem, ClientError> {
        let budget = Budget::of(options.cost_max);
        let putting = self.put_item_here((bucket, key), Box::pin(from), options, &budget, progress);
        self.changing(&budget, progress, Box::pin(putting)).await
    }

    async fn put_item_here(
        &self,
        (bucket, key): (&BucketName, &ItemKey),
        from: Bytestream,
        mut options: ItemOptions,
        budget: &Budget,
        progress: &Progress,
    ) -> Result<PutItem, ClientError> {
        let attributes = ordered(std::mem::take(&mut options.attributes))?;
        let (expected, wait_max) = (options.expected, options.wait_max);
        let (named, wanted) = (bucket.clone(), key.clone());
        // The same is asked again when the row is written. Here it saves bytes that would be of no use.
        let look = move |local: &Local| local.check_item((&named, &wanted), &expected);
        self.local(look).await?;
        let came = self.take_bytes(key.to_string(), from, (options, wait_max), budget, progress);
        let came = Box::pin(came).await?;
        let (batch, ranges) = came.stored();
        let (etag, checksums, length) = (Some(came.etag), came.checksums.clone(), came.length);
        let cost = came.cost();
        let content = ItemContent::Bytes { etag, checksums, parts: Vec::new(), length, ranges };
        let (bucket, key) = (bucket.clone(), key.clone());
        let new = NewRow { bucket, key, expected, content, attributes, waiting: None };
        let item = match came.bytes {
            Where::Here(bytes) => {
                let waiting = (!bytes.is_empty()).then_some(bytes);
                self.write_arriving(NewRow { waiting, ..new }).await?
            }
            Where::Stored(uploaded, held) => {
                let write = move |local: &Local| local.write_item(&batch, new);
                let written = self.local(write).await;
                self.settle(written, (*uploaded, held)).await?
            }
        };
        Ok(PutItem { item, cost })
    }

    /// Reads all bytes, and stores them unless they are few and may wait.
    pub(super) async fn take_bytes(
        &self,
        label: String,
        mut from: Bytestream,
        (options, wait_max): (ItemOptions, u64),
        budget: &Budget,
        progress: &Progress,
    ) -> Result<Came, ClientError> {
        let head = read_head(&mut from, &label).await?;
        let mut digests = Digests::new(&options.sums);
        let is_small = head.len() as u64 <= SMALL_BYTES_MAX;
        if is_small && options.length.is_some_and(|length| length != head.len() as u64) {
            let announced = options.length.unwrap_or_default();
            return Err(ClientError::SourceLength { path: label.into(), announced });
        }
        let length = head.len() as u64;
        if is_small {
            let passing = move || {
                digests.pass(&head);
                (digests, head)
            };
            let (digests, head) = self.host().blocking(passing).await;
            let (etag, checksums) = checked(digests, options.check)?;
            let (_, waiting) = self.waiting_items().await?;
            if head.is_empty() || waiting.saturating_add(length) <= wait_max {
                return Ok(Came { etag, checksums, length, bytes: Where::Here(head) });
            }
            let opened = Opened::Bytes { bytes: Bytes::from(head) };
            let terms = (options.epochs, options.scheme, options.cost_max);
            let stored = self.store(label, opened, terms, budget, progress).await?;
            return Ok(Came { etag, checksums, length, bytes: stored });
        }
        let digests = Arc::new(Mutex::new(digests));
        let whole = Cursor::new(head).chain(from);
        let source = Source::summed(label.clone(), whole, options.length, digests.clone());
        let opened = self.local(move |local| local.open_source(source)).await?;
        let terms = (options.epochs, options.scheme, options.cost_max);
        let stored = self.store(label, opened, terms, budget, progress).await?;
        let Where::Stored(uploaded, held) = stored else {
            return Err(ClientError::Internal(String::from("a stream was not stored")));
        };
        let length = uploaded.entry.manifest.length;
        let digests = std::mem::replace(&mut *lock(&digests), Digests::new(&[]));
        match checked(digests, options.check) {
            Ok((etag, checksums)) => {
                Ok(Came { etag, checksums, length, bytes: Where::Stored(uploaded, held) })
            }
            Err(error) => self.settle(Err(error), (*uploaded, held)).await,
        }
    }

    /// Stores bytes as an object that has no row yet.
    async fn store(
        &self,
        label: String,
        opened: Opened,
        (epochs, scheme, cost_max): (Option<u64>, Option<Scheme>, Option<Amount>),
        budget: &Budget,
        progress: &Progress,
    ) -> Result<Where, ClientError> {
        let plain = PutOptions { epochs, cost_max, scheme, ..PutOptions::default() };
        let plain = PutOptions { replace: Replace::Overwrite, ..plain };
        let terms = PutTerms::new(&plain, &self.network().params().await?);
        // Two puts of one key do not know of each other, so each has a journal key of its own.
        let slot = [b"\0item", &self.host().random::<16>()[..]].concat();
        let held = self.lock(slot.clone(), label.clone()).await?;
        let request = Request::own(&slot, label, FileKind::Item, &terms);
        let request = request.counting(budget.counter());
        let uploaded = match Box::pin(self.upload(&request, opened, progress)).await {
            Ok(uploaded) => uploaded,
            Err(error) => {
                // The reader is used up, so this upload can never be continued.
                self.give_up(slot).await;
                return Err(error);
            }
        };
        let object = uploaded.entry.manifest.object;
        self.local(move |local| local.forget_leaves(&object)).await;
        Ok(Where::Stored(Box::new(uploaded), held))
    }

    /// Ends the upload of bytes whose row could not be written.
    pub(super) async fn settle<T>(
        &self,
        written: Result<T, ClientError>,
        (uploaded, held): (Uploaded, NameLock),
    ) -> Result<T, ClientError> {
        if written.is_err() {
            self.give_up(uploaded.slot().to_vec()).await;
        }
        drop(held);
        written
    }

    /// Ends an upload. If that fails, a later look at unfinished uploads does it.
    async fn give_up(&self, slot: Vec<u8>) {
        let read = move |local: &Local| local.catalog().row(Uploads, &slot);
        let ended = match self.local(read).await {
            Ok(Some(entry)) => Box::pin(self.end_upload(&entry)).await.map(drop),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an upload of an item goes on to be unfinished");
        }
    }

    /// Writes a small item to this machine's disk, together with all others that come meanwhile.
    async fn write_arriving(&self, new: NewRow) -> Written {
        let (tell, told) = oneshot::channel();
        lock(&self.inner.arriving).0.push((new, tell));
        self.local(Local::write_arrived).await;
        let lost = |_| ClientError::Internal(String::from("an item was not written"));
        told.await.map_err(lost)?
    }
}

/// The first bytes of a stream: all of them if they are few.
async fn read_head(from: &mut Bytestream, label: &str) -> Result<Vec<u8>, ClientError> {
    let mut head = Vec::new();
    let mut first = from.take(SMALL_BYTES_MAX + 1);
    let read = first.read_to_end(&mut head).await;
    read.map_err(|source| ClientError::Io { path: label.into(), source })?;
    Ok(head)
}

fn checked(digests: Digests, check: Option<Check>) -> Result<(Etag, Vec<Checksum>), ClientError> {
    let (etag, checksums) = digests.finish();
    match check.map_or(Ok(()), |check| check(&etag, &checksums)) {
        Ok(()) => Ok((etag, checksums)),
        Err(why) => Err(ClientError::WrongBytes { why }),
    }
}

impl Local {
    /// Refuses a bucket that does not exist, and an item that is not as expected.
    fn check_item(
        &self,
        place: (&BucketName, &ItemKey),
        expected: &Expected,
    ) -> Result<(), ClientError> {
        let at = self.catalog().snapshot()?;
        let newest = self.newest_id(&at, place)?.unwrap_or(VersionId::NULL);
        let row = match self.item_row(&at, place, Some(newest)) {
            Err(ClientError::NoItem { .. }) => None,
            row => Some(row?),
        };
        expected.check(place.1, row.as_ref().map(|row| (row.version, &row.item)))
    }

    /// Writes all small items that have come, in one transaction.
    fn write_arrived(&self) {
        let mut arrived = std::mem::take(&mut lock(&self.inner.arriving).0);
        // The callers of these have gone.
        arrived.retain(|(_, tell)| !tell.is_closed());
        if arrived.is_empty() {
            return;
        }
        let (rows, tells): (Vec<_>, Vec<_>) = arrived.into_iter().unzip();
        let mut written = Vec::new();
        let all = self.catalog().edit(|editing| {
            for new in &rows {
                match put_row(editing, self.host(), new.clone()) {
                    // These refusals come before anything is written of the row.
                    Err(
                        error @ (ClientError::NoBucket { .. }
                        | ClientError::NoItem { .. }
                        | ClientError::NotAsExpected { .. }
                        | ClientError::Usage(_)),
                    ) => written.push(Err(error)),
                    Err(error) => return Err(error),
                    Ok(view) => written.push(Ok(view)),
                }
            }
            Ok(())
        });
        if all.is_err() {
            // Each caller gets the reason of its own.
            let one =
                |new: NewRow| self.catalog().edit(|editing| put_row(editing, self.host(), new));
            written = rows.into_iter().map(one).collect();
        }
        for (tell, written) in tells.into_iter().zip(written) {
            tell.send(written).ok();
        }
    }
}
