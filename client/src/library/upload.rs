//! Uploads: turns a source into segments. Each segment is placed on nodes and paid for by one deal.
//!
//! The journal row is written before the first byte leaves, and removed in the transaction that writes the name. Object
//! and deal ids derive from the file key in that row. So a put that runs again after a crash asks for the same deals: a
//! segment whose deal is on the ledger is not sent again, nor is a shard that a node has. If the source has changed
//! since its first cell was sealed, the upload ends and its key is not used again.

mod elsewhere;
mod journal;
pub(crate) mod leaves;
mod segments;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use symbolon_protocol::{
    Amount, Millis,
    content::{Layout, LayoutError, Manifest, MaskMode, Scheme},
    id::{AccountId, DealId, NodeId, ObjectId},
    ledger::{
        Params, check_epochs,
        rows::{Access, Chain, Deals},
        transaction::Action,
    },
};
use symbolon_transfer::{
    TransferError, keeps,
    upload::{Begun, Storing},
};
use tokio::sync::Semaphore;

use crate::{
    Quote,
    catalog::{
        Batch, Begun as BegunRows, FileKind, KeyBytes, ObjectEntry, Objects, Placements,
        UploadEntry, Uploads,
    },
    error::ClientError,
    library::{Library, Local, names::Name, source::Opened},
    place::{Candidate, choose_scheme, quote, with_room},
    progress::{Progress, Step},
    term::{epoch_ms, runs},
    wallet::account::transaction_id,
};
use journal::Journal;
use leaves::Leaves;
use segments::Stored;
pub(crate) use symbolon_transfer::upload::Paid;

/// What to do when the name or file exists already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replace {
    /// Refuse.
    #[default]
    Refuse,
    /// Overwrite: put the new one in its place, then remove the old one.
    Overwrite,
}

/// How to put.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// Number of epochs to pay for. Without a value, 30 days.
    pub epochs: Option<u64>,
    /// Number of epochs that must be left of a file that is stored already. A file that ends sooner is stored anew.
    /// Without a value, [`usual_epochs`] gives it.
    pub least: Option<u64>,
    /// The limit for the whole cost of this put. Payments of an earlier put that this one continues do not count.
    /// A client that keeps [in step](crate::Devices) publishes the put with what is left of this limit.
    pub cost_max: Option<Amount>,
    /// The scheme. Without one, the client chooses the one that fits the network.
    pub scheme: Option<Scheme>,
    /// What to do when the name is taken.
    pub replace: Replace,
    /// Number of older versions to keep besides the newest. Without a value, the name keeps its earlier setting, or no
    /// older version. If versions are kept, a put to a taken name adds one.
    pub keep: Option<u32>,
}

/// How often a deal is ended anew while one of its nodes waits for its turn, and milliseconds between two times.
const TURNS_AWAITED: u32 = 20;
const TURN_MS: u64 = 250;

/// Milliseconds for which a file is kept if the caller does not say.
const USUAL: Millis = Millis::DAY.saturating_mul(30);

/// Gives the number of epochs to store a file for, and how many of them must be left of a file that is stored already.
/// A term that the caller asked for is kept to within a tenth. The usual term is kept to within a half; otherwise a
/// file that is put every day would be sent every day.
#[must_use]
pub fn usual_epochs(asked: Option<u64>, epoch_ms: Millis) -> (u64, u64) {
    let epochs = asked.unwrap_or_else(|| USUAL.steps_of(epoch_ms));
    let short = epochs / if asked.is_some() { 10 } else { 2 };
    (epochs, epochs - short)
}

/// The terms of a put: the caller's options, with usual values for those that are missing. The fields are those of
/// [`PutOptions`].
#[derive(Clone, Debug)]
pub(crate) struct PutTerms {
    pub(crate) epochs: u64,
    pub(crate) least: u64,
    pub(crate) cost_max: Option<Amount>,
    pub(crate) scheme: Option<Scheme>,
    pub(crate) replace: Replace,
    pub(crate) keep: Option<u32>,
}

impl PutTerms {
    pub(crate) fn new(options: &PutOptions, params: &Params) -> Self {
        let (epochs, least) = usual_epochs(options.epochs, params.epoch_ms);
        Self {
            epochs,
            least: options.least.unwrap_or(least),
            cost_max: options.cost_max,
            scheme: options.scheme,
            replace: options.replace,
            keep: options.keep,
        }
    }

    /// The terms of an object that the client stores for its own purposes, under no name that a user gave.
    pub(crate) fn plain(epochs: u64, cost_max: Option<Amount>, replace: Replace) -> Self {
        Self { epochs, least: 0, cost_max, scheme: None, replace, keep: None }
    }
}

/// How a put ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The file is stored.
    Stored,
    /// An earlier put was continued. The file is stored.
    Resumed,
    /// The same file was stored before. Nothing was sent or paid.
    Already,
    /// The same file was stored before, for a shorter time. Nothing was sent, and its nodes are paid for longer.
    Renewed,
}

/// What a put did.
#[derive(Clone, Debug)]
pub struct PutReport {
    /// The name.
    pub name: Name,
    /// The object's id.
    pub object: ObjectId,
    /// Bytes of the file.
    pub length: u64,
    /// Numbers of required and total shards.
    pub scheme: Scheme,
    /// Number of segments. Each has one deal.
    pub segments: u32,
    /// Number of shards with an acceptance. Zero if the file was stored before.
    pub shards: u32,
    /// The nodes that keep the shards.
    pub nodes: BTreeSet<NodeId>,
    /// The first epoch that is not paid for the whole file, or one a little earlier.
    pub end: u64,
    /// The whole cost of this put and of the puts that it continued.
    pub cost: Amount,
    /// How it ended.
    pub outcome: PutOutcome,
}

/// A request to store an object of any kind.
pub(crate) struct Request<'a> {
    /// The journal's key for it.
    pub(crate) slot: Vec<u8>,
    /// The name that messages use.
    pub(crate) name: String,
    pub(crate) kind: FileKind,
    pub(crate) access: Access,
    pub(crate) mask: MaskMode,
    pub(crate) options: &'a PutTerms,
    /// The counter of what is paid now.
    pub(crate) paid: Paid,
    /// The right to send a segment, if several uploads share it.
    pub(crate) turn: Option<Arc<Semaphore>>,
}

impl<'a> Request<'a> {
    /// The request for a user's own file: readable with grants, each shard under a mask of its own.
    pub(crate) fn own(slot: &[u8], name: String, kind: FileKind, options: &'a PutTerms) -> Self {
        let (access, mask) = (Access::Granted, MaskMode::ChaCha20);
        let (slot, paid) = (slot.to_vec(), Paid::default());
        Self { slot, name, kind, access, mask, options, paid, turn: None }
    }

    /// The same request, which sends one segment at a time with all others that have the same `turn`. Segments that are
    /// sent at once need more memory, and are sent no faster together.
    pub(crate) fn in_turn(self, turn: Arc<Semaphore>) -> Self {
        Self { turn: Some(turn), ..self }
    }

    /// The same request, which adds its payments to `paid`.
    pub(crate) fn counting(self, paid: Paid) -> Self {
        Self { paid, ..self }
    }
}

/// An object that is stored, but has no row yet.
pub(crate) struct Uploaded {
    pub(crate) entry: ObjectEntry,
    pub(crate) outcome: PutOutcome,
    segments: u32,
    shards: u32,
    nodes: BTreeSet<NodeId>,
    slot: Vec<u8>,
    owner: AccountId,
}

impl Uploaded {
    /// The rows that turn the upload into an object.
    pub(crate) fn batch(&self) -> Batch {
        let mut batch = Batch::default();
        batch.remove(Uploads, &self.slot);
        batch.remove(BegunRows, &self.entry.manifest.object.0);
        let key = self.entry.key.file_key();
        for segment in 0..self.segments {
            batch.remove(Placements, &key.deal(&self.owner, segment).0);
        }
        batch.put(Objects, &self.entry.manifest.object.0, &self.entry);
        batch
    }

    /// The journal's key that it had.
    pub(crate) fn slot(&self) -> &[u8] {
        &self.slot
    }

    pub(crate) fn report(&self, name: Name) -> PutReport {
        PutReport {
            name,
            object: self.entry.manifest.object,
            length: self.entry.manifest.length,
            scheme: self.entry.manifest.scheme,
            segments: self.segments,
            shards: self.shards,
            nodes: self.nodes.clone(),
            end: self.entry.end,
            cost: self.entry.cost,
            outcome: self.outcome,
        }
    }
}

/// What stays the same for all segments of one put.
pub(crate) struct Job {
    pub(crate) entry: UploadEntry,
    pub(crate) storing: Storing,
    leaves: Leaves,
}

impl Library {
    /// The price of storing `length` bytes.
    pub async fn quote(&self, length: u64, options: &PutOptions) -> Result<Quote, ClientError> {
        let terms = PutTerms::new(options, &self.network().params().await?);
        Ok(self.network().quote(length, terms.scheme, terms.epochs).await?)
    }

    /// Stores an object. The caller then writes its row together with its names.
    pub(crate) async fn upload(
        &self,
        request: &Request<'_>,
        mut opened: Opened,
        progress: &Progress,
    ) -> Result<Uploaded, ClientError> {
        check_epochs(request.options.epochs, &self.network().params().await?)?;
        // Uploads of other devices are tried until one of them turns out to be of other bytes.
        let mut others = true;
        // Of an object that the program stores for itself, the program chose the scheme, and may choose another one.
        let mut narrower = request.kind != FileKind::Own && request.options.scheme.is_none();
        loop {
            let again = opened.again();
            let job = self.begin(request, &opened, others, progress).await?;
            progress.step(Step::Planned { total_bytes: opened.length() });
            let error = match self.segments(&job, opened, request, progress).await {
                Ok(stored) => {
                    let chain = self.network().recent_chain().await?;
                    let uploaded = move |local: &Local| local.uploaded(&chain, job, stored);
                    return self.local(uploaded).await;
                }
                Err(error @ ClientError::SourceChanged { .. }) => error,
                Err(error) => match again.filter(|_| narrower && lacks_nodes(&error)) {
                    Some(again) if self.has_lost_nodes(request, &job.entry).await? => {
                        self.end_upload(&job.entry).await?;
                        (narrower, opened) = (false, again);
                        continue;
                    }
                    _ => return Err(error),
                },
            };
            // Nothing more may be sealed under this key, because it has sealed other bytes.
            if job.storing.begun == Begun::Elsewhere {
                others = false;
            } else {
                self.end_upload(&job.entry).await?;
            }
            // A file that changed before this put began, and not since, can be stored as it is now.
            opened = match again.filter(|_| job.storing.begun != Begun::Now) {
                Some(again) if again.check_unchanged().is_ok() => again,
                _ => return Err(error),
            };
            progress.note("the file has changed since this upload began: beginning anew");
        }
    }

    /// Whether this machine has the leaves that were sealed of an object.
    async fn has_leaves(&self, object: &ObjectId) -> bool {
        let object = *object;
        self.local(move |local| leaves::path(local.dir(), &object).exists()).await
    }

    /// Continues the upload that the journal has for this name and source, or one of another device, or begins a new
    /// one.
    pub(crate) async fn begin(
        &self,
        request: &Request<'_>,
        opened: &Opened,
        others: bool,
        progress: &Progress,
    ) -> Result<Job, ClientError> {
        let key = request.slot.as_slice();
        let candidates = self.network().candidates(key).await?;
        let job = async |entry, begun, candidates, unwritten| {
            let (live, paid) = (opened.is_live(), request.paid.clone());
            let job =
                move |local: &Local| local.job(entry, (begun, live), candidates, (paid, unwritten));
            self.local(job).await
        };
        let slot = request.slot.clone();
        if let Some(entry) = self.local(move |local| local.begun_here(&slot)).await? {
            match self.why_not_continued(&entry, request.options, opened, candidates.len()).await? {
                None => {
                    progress.note("continuing an earlier upload");
                    return job(entry, Begun::Here, candidates, None).await;
                }
                Some(why) => progress.note(format!("ending an unfinished upload {why}")),
            }
            self.end_upload(&entry).await?;
        } else if others
            && let Some(entry) = self.begun_elsewhere(request, opened, candidates.len()).await?
        {
            progress.note("continuing an upload that another device began");
            return job(entry, Begun::Elsewhere, candidates, None).await;
        }
        let candidates = with_room(candidates, request.options.scheme, opened.length());
        let scheme = choose_scheme(request.options.scheme, &candidates)?;
        let epochs = request.options.epochs;
        if let Some(length) = opened.length() {
            let quote =
                quote(&self.network().params().await?, &candidates, scheme, length, epochs)?;
            if let Some(limit) = request.options.cost_max.filter(|limit| quote.total > *limit) {
                return Err(ClientError::CostTooHigh { cost: quote.total, limit });
            }
            let balance = self.balance_lately().await?;
            if quote.total > balance {
                return Err(ClientError::BalanceTooLow { needed: quote.total, balance });
            }
        }
        let entry = UploadEntry {
            slot: request.slot.clone(),
            name: request.name.clone(),
            kind: request.kind,
            key: KeyBytes::new(self.host().random()),
            scheme,
            mask: request.mask,
            access: request.access,
            epochs,
            source: opened.mark(),
            chosen: request.options.scheme.is_some(),
        };
        let mut unwritten = Batch::default();
        unwritten.put(Uploads, key, &entry);
        job(entry, Begun::Now, candidates, Some(unwritten)).await
    }

    /// The reason why an unfinished upload cannot be continued, worded to follow "upload". `None` if it can.
    async fn why_not_continued(
        &self,
        entry: &UploadEntry,
        options: &PutTerms,
        opened: &Opened,
        nodes: usize,
    ) -> Result<Option<&'static str>, ClientError> {
        let same = entry.source == opened.mark() && !opened.is_stream();
        Ok(if !same {
            Some("of another source")
        } else if self.is_lapsed(entry, opened.length()).await? {
            Some("that is no longer kept")
        } else if is_on_other_terms(entry, options) {
            Some("on other terms")
        } else if opened.is_live() && !self.has_leaves(&entry.object()).await {
            Some("whose sent bytes are not known here")
        } else if self.is_stuck(entry, nodes).await? {
            Some("for more nodes than there are now")
        } else {
            None
        })
    }

    /// Whether an unfinished upload without a paid deal needs more nodes than answer. It would wait for them for ever.
    /// A new upload to the present nodes loses nothing.
    async fn is_stuck(&self, entry: &UploadEntry, nodes: usize) -> Result<bool, ClientError> {
        let short = nodes < usize::from(entry.scheme.enough());
        Ok(short && self.network().deal(&entry.deal(&self.me(), 0)).await?.is_none())
    }

    /// Whether fewer nodes answer than an upload was planned for, and nothing of it is paid.
    async fn has_lost_nodes(
        &self,
        request: &Request<'_>,
        entry: &UploadEntry,
    ) -> Result<bool, ClientError> {
        let candidates = self.network().candidates(&request.slot).await?;
        self.is_stuck(entry, candidates.len()).await
    }

    /// Whether a segment of an unfinished upload was paid for and is no longer kept. An object under that key could
    /// never be whole.
    async fn is_lapsed(
        &self,
        entry: &UploadEntry,
        length: Option<u64>,
    ) -> Result<bool, ClientError> {
        let Some(length) = length else { return Ok(false) };
        let layout = Layout::new(entry.scheme, length).map_err(invalid)?;
        for segment in layout.iter() {
            match self.network().deal(&entry.deal(&self.me(), segment.segment)).await? {
                Some(deal) if keeps(&deal, &entry.object(), &segment) => {}
                Some(_) => return Ok(true),
                // Segments are paid for one after the other.
                None => break,
            }
        }
        Ok(false)
    }

    /// Whether all of an unfinished upload is stored and paid for, so that nothing has to be sent.
    async fn is_placed(&self, entry: &UploadEntry, length: u64) -> Result<bool, ClientError> {
        let layout = Layout::new(entry.scheme, length).map_err(invalid)?;
        let last = layout.segments() - 1;
        // Segments are paid for one after the other. An earlier check has found those that are no longer kept.
        Ok(self.network().deal(&entry.deal(&self.me(), last)).await?.is_some())
    }

    /// The least amount that comes back when an object's deals end now.
    pub(crate) async fn refund_of(&self, entry: &ObjectEntry) -> Result<Amount, ClientError> {
        let layout = Layout::new(entry.manifest.scheme, entry.manifest.length).map_err(invalid)?;
        let (me, key) = (self.me(), entry.key.file_key());
        let deals: Vec<_> = (0..layout.segments()).map(|segment| key.deal(&me, segment)).collect();
        let epoch = self.network().chain_row().await?.epoch;
        let mut back = Amount::ZERO;
        for deal in
            self.network().rows_of(Deals, &deals).await?.iter().flatten().filter(|deal| runs(deal))
        {
            // Each node is paid for one epoch at least.
            let first = if epoch < deal.start { deal.start + 1 } else { epoch + 1 };
            let left = deal.end.saturating_sub(first);
            let part = deal.rate.checked_mul(left).unwrap_or(Amount::ZERO);
            back = back.checked_add(part).unwrap_or(back);
        }
        Ok(back)
    }

    /// Ends all deals of a file. Gives their number.
    pub(crate) async fn end_deals(
        &self,
        manifest: &Manifest,
        key: &KeyBytes,
    ) -> Result<u32, ClientError> {
        let layout = Layout::new(manifest.scheme, manifest.length)
            .map_err(|error| ClientError::Internal(error.to_string()))?;
        let key = key.file_key();
        let mut ended = 0;
        for segment in 0..layout.segments() {
            ended += u32::from(self.end_deal(key.deal(&self.me(), segment)).await?);
        }
        Ok(ended)
    }

    /// Ends one deal. Gives `false` when it is over already.
    pub(crate) async fn end_deal(&self, deal: DealId) -> Result<bool, ClientError> {
        use symbolon_protocol::ledger::Status;
        let id = transaction_id("end deal", &deal.0);
        let mut sent = self.send(id, Action::EndDeal { deal }).await;
        // A node of the deal waits for its turn, while many others do. It comes with one of the next blocks.
        for _ in 0..TURNS_AWAITED {
            if !matches!(sent, Err(ClientError::LedgerRefused(Status::TooEarly))) {
                break;
            }
            self.host().sleep_ms(TURN_MS).await;
            sent = self.send(id, Action::EndDeal { deal }).await;
        }
        match sent {
            Ok(_) => Ok(true),
            // The deal has ended before: an interrupted `rm` ended it, or its time is over.
            Err(
                error @ ClientError::LedgerRefused(
                    Status::DealClosed | Status::UnknownDeal | Status::IdReused,
                ),
            ) => {
                // The deal's row must confirm that. Otherwise a lying server could keep the deal running and paid.
                let row = self.network().deal(&deal).await?;
                if row.as_ref().is_some_and(runs) { Err(error) } else { Ok(false) }
            }
            Err(error) => Err(error),
        }
    }
}

impl Local {
    fn uploaded(&self, chain: &Chain, job: Job, stored: Stored) -> Result<Uploaded, ClientError> {
        let entry = self.object_entry(chain, &job, &stored)?;
        let Stored { segments, shards, nodes, .. } = stored;
        let outcome = match job.storing.begun {
            Begun::Now => PutOutcome::Stored,
            Begun::Here | Begun::Elsewhere => PutOutcome::Resumed,
        };
        let (slot, owner) = (job.entry.slot, self.me());
        Ok(Uploaded { entry, outcome, segments, shards, nodes, slot, owner })
    }

    fn object_entry(
        &self,
        chain: &Chain,
        job: &Job,
        stored: &Stored,
    ) -> Result<ObjectEntry, ClientError> {
        let root = stored.leaves.root()?;
        let manifest = Manifest::new(&job.storing.key, job.entry.mask, &stored.layout, root);
        Ok(ObjectEntry {
            kind: job.entry.kind,
            key: job.entry.key.clone(),
            manifest,
            stored_ms: self.host().now_ms().0,
            paid_until_ms: epoch_ms(chain, stored.end),
            cost: stored.cost,
            end: stored.end,
            source: job.entry.source.clone(),
            chosen: job.entry.chosen,
        })
    }

    /// Makes the job that continues a journal's row.
    fn job(
        &self,
        entry: UploadEntry,
        (begun, live): (Begun, bool),
        candidates: Vec<Candidate>,
        (paid, unwritten): (Paid, Option<Batch>),
    ) -> Result<Job, ClientError> {
        // If this file is missing, the journal's row cannot be continued.
        let leaves = Leaves::open(self.dir(), &entry.object())?;
        let journal = Journal {
            local: self.clone(),
            kind: entry.kind,
            leaves: leaves.clone(),
            unwritten: Mutex::new(unwritten),
        };
        let storing = Storing {
            owner: self.owner(),
            key: entry.key.file_key(),
            mask: entry.mask,
            scheme: entry.scheme,
            access: entry.access,
            epochs: entry.epochs,
            begun,
            live,
            candidates,
            paid,
            memory: journal.shared(),
        };
        Ok(Job { entry, storing, leaves })
    }
}

/// Whether a file is asked for on other terms than its upload began with. The present terms count.
fn lacks_nodes(error: &ClientError) -> bool {
    matches!(error, ClientError::Transfer(TransferError::NotEnoughNodes { .. }))
}

fn is_on_other_terms(entry: &UploadEntry, asked: &PutTerms) -> bool {
    entry.kind == FileKind::Own
        && (entry.epochs != asked.epochs
            || asked.scheme.is_some_and(|scheme| scheme != entry.scheme))
}

fn invalid(error: LayoutError) -> ClientError {
    ClientError::Usage(error.to_string())
}

/// The price of one object on the nodes that answer.
pub(crate) fn price_of(
    candidates: &[Candidate],
    params: &Params,
    length: u64,
    epochs: u64,
) -> Result<Amount, ClientError> {
    let candidates = with_room(candidates.to_vec(), None, Some(length));
    let scheme = choose_scheme(None, &candidates)?;
    Ok(quote(params, &candidates, scheme, length, epochs)?.total)
}
