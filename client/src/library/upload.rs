//! Put: a source becomes segments, each is placed on nodes and paid for by one deal.
//!
//! The journal row is written before the first byte leaves and removed together with writing the
//! name. Object and deal ids derive from the file key in it, so a put that is run again after a crash
//! asks for the same deals: what is on the ledger is not sent, what nodes hold is not sent again. A source
//! that is not what it was when a cell of it was first sealed ends the upload and its key.

mod elsewhere;
mod journal;
pub(crate) mod leaves;
mod segments;

use std::{collections::BTreeSet, sync::Mutex};

use symbolon_protocol::{
    Amount,
    content::{Layout, LayoutError, Manifest, MaskMode, Scheme},
    id::{DealId, NodeId, ObjectId},
    ledger::{
        Params, check_epochs,
        rows::{Access, Chain, Deals},
        transaction::Action,
    },
};
use symbolon_transfer::{
    keeps,
    upload::{Begun, Storing},
};

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

/// What to do when the name or file is already there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replace {
    /// Refuse.
    #[default]
    Refuse,
    /// Put the new one in its place, then let the old one go.
    Replace,
}

/// How to put.
#[derive(Clone, Debug, Default)]
pub struct PutOptions {
    /// For how many epochs to pay; when nothing is said, for 30 days.
    pub epochs: Option<u64>,
    /// How many of these must be left of what is stored already; what ends sooner is stored anew. When nothing is
    /// said, what [`usual_epochs`] gives.
    pub least: Option<u64>,
    /// The most to spend now, all-in; what an earlier put of the same has paid does not count.
    pub cost_max: Option<Amount>,
    /// The scheme, when the one that fits the network is not wanted.
    pub scheme: Option<Scheme>,
    /// What to do when the name is taken.
    pub replace: Replace,
    /// How many older versions of the name to keep besides the newest; what was said before, else none,
    /// when nothing is said. Where versions are kept, a taken name gets a new one.
    pub keep: Option<u32>,
}

/// How long something is kept when nothing is said, in milliseconds.
const USUAL_MS: u64 = 30 * 24 * 3_600_000;

/// For how many epochs something is to be stored where so many were asked for, and how many of these must be left
/// of what is stored already. A term that was asked for is kept to within a tenth; what is usual, to within a half:
/// else what is put every day would be sent every day.
#[must_use]
pub fn usual_epochs(asked: Option<u64>, epoch_ms: u64) -> (u64, u64) {
    let epochs = asked.unwrap_or_else(|| USUAL_MS.div_ceil(epoch_ms.max(1)));
    let short = epochs / if asked.is_some() { 10 } else { 2 };
    (epochs, epochs - short)
}

/// What was said of a put, and what is usual where nothing was said. The fields are those of [`PutOptions`].
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

    /// What the client stores of its own accord: for so many epochs, under no name that a user gave.
    pub(crate) fn plain(epochs: u64, cost_max: Option<Amount>, replace: Replace) -> Self {
        Self { epochs, least: 0, cost_max, scheme: None, replace, keep: None }
    }
}

/// How a put ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutOutcome {
    /// The file is stored.
    Stored,
    /// An earlier put was continued; the file is stored.
    Resumed,
    /// The same file was stored before; nothing was sent or paid.
    Already,
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
    /// Required and total shards.
    pub scheme: Scheme,
    /// Segments, each a deal.
    pub segments: u32,
    /// Shards with a receipt; none are counted where the file was stored before.
    pub shards: u32,
    /// Who keeps them.
    pub nodes: BTreeSet<NodeId>,
    /// The first epoch that is not paid for all of it, or one a little before that.
    pub end: u64,
    /// What was paid, all-in, by this put and the ones it continued.
    pub cost: Amount,
    /// How it ended.
    pub outcome: PutOutcome,
}

/// A put of any kind.
pub(crate) struct Request<'a> {
    /// The journal's key for it.
    pub(crate) slot: Vec<u8>,
    /// What it is called where it is spoken of.
    pub(crate) name: String,
    pub(crate) kind: FileKind,
    pub(crate) access: Access,
    pub(crate) mask: MaskMode,
    pub(crate) options: &'a PutTerms,
    /// What is paid now is counted here.
    pub(crate) paid: Paid,
}

impl<'a> Request<'a> {
    /// The user's own: readable under grants, each shard under a mask of its own.
    pub(crate) fn own(slot: &[u8], name: String, kind: FileKind, options: &'a PutTerms) -> Self {
        let (access, mask) = (Access::Granted, MaskMode::ChaCha20);
        Self { slot: slot.to_vec(), name, kind, access, mask, options, paid: Paid::default() }
    }

    /// The same, with what it pays counted there.
    pub(crate) fn counting(self, paid: Paid) -> Self {
        Self { paid, ..self }
    }
}

/// An object that is stored and has no row yet.
pub(crate) struct Uploaded {
    pub(crate) entry: ObjectEntry,
    pub(crate) outcome: PutOutcome,
    segments: u32,
    shards: u32,
    nodes: BTreeSet<NodeId>,
    slot: Vec<u8>,
}

impl Uploaded {
    /// The rows that turn the upload into an object.
    pub(crate) fn batch(&self) -> Batch {
        let mut batch = Batch::default();
        batch.remove(Uploads, &self.slot);
        batch.remove(BegunRows, &self.entry.manifest.object.0);
        let key = self.entry.key.file_key();
        for segment in 0..self.segments {
            batch.remove(Placements, &key.deal(segment).0);
        }
        batch.put(Objects, &self.entry.manifest.object.0, &self.entry);
        batch
    }

    /// The journal's key it had.
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
    /// What storing `length` bytes would cost.
    pub async fn quote(&self, length: u64, options: &PutOptions) -> Result<Quote, ClientError> {
        let terms = PutTerms::new(options, &self.network().params().await?);
        Ok(self.network().quote(length, terms.scheme, terms.epochs).await?)
    }

    /// Stores an object. Its row is still to be written, with the names that it is for.
    pub(crate) async fn upload(
        &self,
        request: &Request<'_>,
        mut opened: Opened,
        progress: &Progress,
    ) -> Result<Uploaded, ClientError> {
        check_epochs(request.options.epochs, &self.network().params().await?)?;
        // Another device's uploads, until one of them turns out to be of other bytes.
        let mut others = true;
        loop {
            let again = opened.again();
            let job = self.begin(request, &opened, others, progress).await?;
            progress.step(Step::Planned { total_bytes: opened.length() });
            let error = match self.segments(&job, opened, request.options, progress).await {
                Ok(stored) => {
                    let chain = self.network().recent_chain().await?;
                    let uploaded = move |local: &Local| local.uploaded(&chain, job, stored);
                    return self.local(uploaded).await;
                }
                Err(error @ ClientError::SourceChanged { .. }) => error,
                Err(error) => return Err(error),
            };
            // Under this key nothing is sealed any more: what was is of other bytes.
            if job.storing.begun == Begun::Elsewhere {
                others = false;
            } else {
                self.end_upload(&job.entry).await?;
            }
            // It changed before this put began, and not since: then it can be stored as it is now.
            opened = match again.filter(|_| job.storing.begun != Begun::Now) {
                Some(again) if again.check_unchanged().is_ok() => again,
                _ => return Err(error),
            };
            progress.note("the file is not what it was when this upload began: beginning anew");
        }
    }

    /// Whether it is known here what was sealed of an object.
    async fn has_leaves(&self, object: &ObjectId) -> bool {
        let object = *object;
        self.local(move |local| leaves::path(local.dir(), &object).exists()).await
    }

    /// Continues the upload the journal has for this name and source, or one of another device, or begins one.
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
            match self.why_not(&entry, request.options, opened, candidates.len()).await? {
                None => {
                    progress.note("continuing an earlier upload");
                    return job(entry, Begun::Here, candidates, None).await;
                }
                Some(why) => progress.note(format!("letting an unfinished upload {why} go")),
            }
            self.end_upload(&entry).await?;
        } else if others
            && let Some(entry) = self.begun_elsewhere(request, opened, candidates.len()).await?
        {
            progress.note("continuing an upload that another device began");
            return job(entry, Begun::Elsewhere, candidates, None).await;
        }
        let candidates = with_room(candidates, request.options.scheme, opened.length());
        let scheme = choose_scheme(request.options.scheme, candidates.len())?;
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
        };
        let mut unwritten = Batch::default();
        unwritten.put(Uploads, key, &entry);
        job(entry, Begun::Now, candidates, Some(unwritten)).await
    }

    /// Which unfinished upload it is that cannot be gone on with; nothing, when it can.
    async fn why_not(
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
            Some("of which nobody knows what was sent")
        } else if self.is_stuck(entry, nodes).await? {
            Some("for more nodes than there are now")
        } else {
            None
        })
    }

    /// Whether an unfinished upload of which nothing is paid yet wants more nodes than answer: it would
    /// wait for them for ever, and a new one for those that are there loses nothing.
    async fn is_stuck(&self, entry: &UploadEntry, nodes: usize) -> Result<bool, ClientError> {
        let short = nodes < usize::from(entry.scheme.enough());
        Ok(short && self.network().deal(&entry.deal(0)).await?.is_none())
    }

    /// Whether something of an unfinished upload that was paid for is no longer kept: what is stored under
    /// its key would never be whole.
    async fn is_lapsed(
        &self,
        entry: &UploadEntry,
        length: Option<u64>,
    ) -> Result<bool, ClientError> {
        let Some(length) = length else { return Ok(false) };
        let layout = Layout::new(entry.scheme, length).map_err(invalid)?;
        for segment in layout.iter() {
            match self.network().deal(&entry.deal(segment.segment)).await? {
                Some(deal) if keeps(&deal, &self.me(), &entry.object(), &segment) => {}
                Some(_) => return Ok(true),
                // Segments are paid for one after the other.
                None => break,
            }
        }
        Ok(false)
    }

    /// Whether all of an unfinished upload is stored and paid for: nothing of it has to be sent.
    async fn is_placed(&self, entry: &UploadEntry, length: u64) -> Result<bool, ClientError> {
        let layout = Layout::new(entry.scheme, length).map_err(invalid)?;
        let last = layout.segments() - 1;
        // Segments are paid for one after the other, and what is no longer kept was found out before.
        Ok(self.network().deal(&entry.deal(last)).await?.is_some())
    }

    /// What comes back at least when an object's deals end now.
    pub(crate) async fn refund_of(&self, entry: &ObjectEntry) -> Result<Amount, ClientError> {
        let layout = Layout::new(entry.manifest.scheme, entry.manifest.length).map_err(invalid)?;
        let key = entry.key.file_key();
        let deals: Vec<_> = (0..layout.segments()).map(|segment| key.deal(segment)).collect();
        let epoch = self.network().chain_row().await?.epoch;
        let mut back = Amount::ZERO;
        for deal in
            self.network().rows_of(Deals, &deals).await?.iter().flatten().filter(|deal| runs(deal))
        {
            let left = deal.end.saturating_sub(deal.start.max(epoch + 1));
            let part = deal.rate.checked_mul(left).unwrap_or(Amount::ZERO);
            back = back.checked_add(part).unwrap_or(back);
        }
        Ok(back)
    }

    /// Ends all deals of a file.
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
            ended += u32::from(self.end_deal(key.deal(segment)).await?);
        }
        Ok(ended)
    }

    /// Ends one deal; `false` when it is over already.
    pub(crate) async fn end_deal(&self, deal: DealId) -> Result<bool, ClientError> {
        use symbolon_protocol::ledger::Status;
        match self.send(transaction_id("end deal", &deal.0), Action::EndDeal { deal }).await {
            Ok(_) => Ok(true),
            // Ended before: by an `rm` that came no further, or by its time. Or it is somebody else's.
            Err(
                error @ ClientError::LedgerRefused(
                    Status::DealClosed | Status::UnknownDeal | Status::IdReused | Status::NotYours,
                ),
            ) => {
                // Its row says so too, or it would be paid for on a server's word.
                let row = self.network().deal(&deal).await?;
                let ours = row.filter(|row| runs(row) && row.owner == self.me());
                if ours.is_some() { Err(error) } else { Ok(false) }
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
        Ok(Uploaded { entry, outcome, segments, shards, nodes, slot: job.entry.slot })
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
            stored_ms: self.host().now_ms(),
            paid_until_ms: epoch_ms(chain, stored.end),
            cost: stored.cost,
            end: stored.end,
            source: job.entry.source.clone(),
        })
    }

    /// What a journal's row leads to.
    fn job(
        &self,
        entry: UploadEntry,
        (begun, live): (Begun, bool),
        candidates: Vec<Candidate>,
        (paid, unwritten): (Paid, Option<Batch>),
    ) -> Result<Job, ClientError> {
        // Without this file the journal's row is not gone on from.
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

/// A file is paid for as it is asked for now, not as it was when it was begun.
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
    let scheme = choose_scheme(None, candidates.len())?;
    Ok(quote(params, &candidates, scheme, length, epochs)?.total)
}
