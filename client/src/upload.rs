//! Put: a source becomes segments, each is placed on nodes and paid for by one deal.
//!
//! The journal row is written before the first byte leaves and removed together with writing the
//! name. Object and deal ids derive from the file key in it, so a put that is run again after a crash
//! asks for the same deals: what is on the ledger is not sent, what nodes hold is not sent again. A source
//! that is not what it was when a cell of it was first sealed ends the upload and its key: see [`sealed`].

mod elsewhere;
mod encode;
pub(crate) mod leaves;
mod paid;
mod sealed;
mod segment;
mod tally;

use std::{collections::BTreeSet, pin::pin, sync::Mutex};

use symbolon_protocol::{
    Amount,
    content::{FileKey, Layout, LayoutError, Manifest, MaskMode, Scheme},
    id::{DealId, NodeId, ObjectId},
    ledger::{
        check_epochs,
        rows::{Access, Chain, Deal, Deals},
        transaction::Action,
    },
};

use crate::{
    Client,
    account::transaction_id,
    catalog::{
        Batch, Begun as BegunRows, FileKind, KeyBytes, ObjectEntry, Objects, Placements,
        UploadEntry, Uploads,
    },
    error::ClientError,
    locks::FileLock,
    place::{Candidate, choose_scheme, quote, with_room},
    progress::{Progress, Step},
    source::Opened,
    term::{epoch_ms, runs},
};
use leaves::Leaves;
pub(crate) use paid::Paid;
use segment::{Fed, Placed};

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
#[derive(Clone, Debug)]
pub struct PutOptions {
    /// For how many epochs to pay.
    pub epochs: u64,
    /// How many of these must be left of what is stored already; what ends sooner is stored anew.
    pub least: u64,
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
    pub name: String,
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
    pub(crate) options: &'a PutOptions,
    /// What is paid now is counted here.
    pub(crate) paid: Paid,
}

impl<'a> Request<'a> {
    /// The user's own: readable under grants, each shard under a mask of its own.
    pub(crate) fn own(slot: &[u8], name: String, kind: FileKind, options: &'a PutOptions) -> Self {
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

    pub(crate) fn report(&self, name: String) -> PutReport {
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

/// Where an upload was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// Here and now.
    Now,
    /// On this machine, by an earlier put.
    Here,
    /// On another device.
    Elsewhere,
}

/// What stays the same for all segments of one put.
pub(crate) struct Job {
    pub(crate) entry: UploadEntry,
    pub(crate) begun: Begun,
    /// Whether the source may have changed since a cell of it was sealed.
    pub(crate) live: bool,
    pub(crate) key: FileKey,
    pub(crate) object: ObjectId,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) paid: Paid,
    /// The journal's row, as long as nobody was asked for anything: it is written together with who is.
    pub(crate) unwritten: Mutex<Option<Batch>>,
}

/// What the segments added up to.
pub(crate) struct Stored {
    layout: Layout,
    segments: u32,
    shards: u32,
    nodes: BTreeSet<NodeId>,
    cost: Amount,
    /// The first epoch that is not paid for all of them.
    end: u64,
    leaves: Leaves,
}

/// What the segments that are paid for add up to.
struct Sum {
    leaves: Leaves,
    shards: u32,
    nodes: BTreeSet<NodeId>,
    cost: Amount,
    end: u64,
    cost_max: Option<Amount>,
    paid: Paid,
}

impl Sum {
    fn new(cost_max: Option<Amount>, leaves: Leaves, paid: Paid) -> Self {
        let (nodes, cost) = (BTreeSet::new(), Amount::ZERO);
        Self { leaves, shards: 0, nodes, cost, end: u64::MAX, cost_max, paid }
    }

    /// What the next one may cost. What an earlier put has paid does not count against this one's limit.
    fn left(&self) -> Option<Amount> {
        self.paid.left(self.cost_max)
    }

    fn add(&mut self, placed: &Placed) {
        self.cost = self.cost.checked_add(placed.cost).unwrap_or(self.cost);
        self.shards += u32::try_from(placed.nodes.len()).expect("at most 128 shards");
        self.nodes.extend(&placed.nodes);
        self.end = self.end.min(placed.end);
    }
}

/// Held while a name is worked on.
pub(crate) struct NameLock(
    #[expect(dead_code, reason = "the name is locked as long as this lives")] FileLock,
);

impl Client {
    /// Stores an object. Its row is still to be written, with the names that it is for.
    pub(crate) async fn upload(
        &self,
        request: &Request<'_>,
        mut opened: Opened,
        progress: &Progress,
    ) -> Result<Uploaded, ClientError> {
        check_epochs(request.options.epochs, &self.params().await?)?;
        // Another device's uploads, until one of them turns out to be of other bytes.
        let mut others = true;
        loop {
            let again = opened.again();
            let mut job = self.begin(request, &opened, others, progress).await?;
            job.paid = request.paid.clone();
            progress.step(Step::Planned { total_bytes: opened.length() });
            let error = match self.segments(&job, opened, request.options, progress).await {
                Ok(stored) => {
                    let chain = self.recent_chain().await?;
                    return self.uploaded(&chain, job, stored);
                }
                Err(error @ ClientError::SourceChanged { .. }) => error,
                Err(error) => return Err(error),
            };
            // Under this key nothing is sealed any more: what was is of other bytes.
            if job.begun == Begun::Elsewhere {
                others = false;
            } else {
                self.end_upload(&job.entry).await?;
            }
            // It changed before this put began, and not since: then it can be stored as it is now.
            opened = match again.filter(|_| job.begun != Begun::Now) {
                Some(again) if again.check_unchanged().is_ok() => again,
                _ => return Err(error),
            };
            progress.note("the file is not what it was when this upload began: beginning anew");
        }
    }

    fn uploaded(&self, chain: &Chain, job: Job, stored: Stored) -> Result<Uploaded, ClientError> {
        let entry = self.object_entry(chain, &job, &stored)?;
        let Stored { segments, shards, nodes, .. } = stored;
        let outcome = match job.begun {
            Begun::Now => PutOutcome::Stored,
            Begun::Here | Begun::Elsewhere => PutOutcome::Resumed,
        };
        Ok(Uploaded { entry, outcome, segments, shards, nodes, slot: job.entry.slot })
    }

    /// Refuses to work on what another process works on.
    pub(crate) fn lock(&self, slot: &[u8], name: &str) -> Result<NameLock, ClientError> {
        let folder = self.inner.dir.join("locks");
        let path = folder.join(&blake3::hash(slot).to_hex()[..32]);
        let taken = std::fs::create_dir_all(&folder).and_then(|()| FileLock::take(&path));
        match taken.map_err(|source| ClientError::Io { path, source })? {
            Some(lock) => Ok(NameLock(lock)),
            None => Err(ClientError::Locked { what: format!("{name:?}") }),
        }
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
        let candidates = self.candidates(key).await?;
        let job = |entry, begun, candidates| Job::new(entry, begun, opened.is_live(), candidates);
        if let Some(entry) = self.begun_here(key)? {
            match self.why_not(&entry, request.options, opened, candidates.len()).await? {
                None => {
                    progress.note("continuing an earlier upload");
                    return Ok(job(entry, Begun::Here, candidates));
                }
                Some(why) => progress.note(format!("letting an unfinished upload {why} go")),
            }
            self.end_upload(&entry).await?;
        } else if others
            && let Some(entry) = self.begun_elsewhere(request, opened, candidates.len()).await?
        {
            progress.note("continuing an upload that another device began");
            return Ok(job(entry, Begun::Elsewhere, candidates));
        }
        let candidates = with_room(candidates, request.options.scheme, opened.length());
        let scheme = choose_scheme(request.options.scheme, candidates.len())?;
        let epochs = request.options.epochs;
        if let Some(length) = opened.length() {
            let quote = quote(&self.params().await?, &candidates, scheme, length, epochs)?;
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
        // Without this file the journal's row is not gone on from.
        Leaves::open(&self.inner.dir, &entry.object())?;
        let mut unwritten = Batch::default();
        unwritten.put(Uploads, key, &entry);
        let job = job(entry, Begun::Now, candidates);
        Ok(Job { unwritten: Mutex::new(Some(unwritten)), ..job })
    }

    /// Which unfinished upload it is that cannot be gone on with; nothing, when it can.
    async fn why_not(
        &self,
        entry: &UploadEntry,
        options: &PutOptions,
        opened: &Opened,
        nodes: usize,
    ) -> Result<Option<&'static str>, ClientError> {
        let same = entry.source == opened.mark() && opened.length().is_some();
        Ok(if !same {
            Some("of another source")
        } else if self.is_lapsed(entry, opened.length()).await? {
            Some("that is no longer kept")
        } else if is_on_other_terms(entry, options) {
            Some("on other terms")
        } else if opened.is_live() && !leaves::path(&self.inner.dir, &entry.object()).exists() {
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
        Ok(short && self.deal(&entry.deal(0)).await?.is_none())
    }

    /// Whether something of an unfinished upload that was paid for is no longer kept: what is stored under
    /// its key would never be whole.
    async fn is_lapsed(
        &self,
        entry: &UploadEntry,
        length: Option<u64>,
    ) -> Result<bool, ClientError> {
        // A stream is never continued.
        let Some(length) = length else { return Ok(false) };
        let layout = Layout::new(entry.scheme, length).map_err(invalid)?;
        for segment in layout.iter() {
            match self.deal(&entry.deal(segment.segment)).await? {
                Some(deal) if self.keeps(&deal, entry, &segment) => {}
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
        Ok(self.deal(&entry.deal(last)).await?.is_some())
    }

    /// Sends the segments one after the other. While the next one is encoded and sent, the nodes sync
    /// the one before and its deal is opened; a stream's segments share one spool and cannot overlap.
    pub(crate) async fn segments(
        &self,
        job: &Job,
        mut opened: Opened,
        options: &PutOptions,
        progress: &Progress,
    ) -> Result<Stored, ClientError> {
        let scheme = job.entry.scheme;
        let leaves = Leaves::open(&self.inner.dir, &job.object)?;
        let mut sum = Sum::new(options.cost_max, leaves, job.paid.clone());
        let mut length = 0;
        let layout_of = |length| Layout::new(scheme, length).map_err(invalid);
        let mut layout = opened.length().map(layout_of).transpose()?;
        let mut before: Option<Fed<'_>> = None;
        for segment in 0.. {
            if opened.length().is_none()
                && let Some(fed) = before.take()
            {
                sum.add(&fed.settle(sum.left()).await?);
            }
            // Until a stream has ended, its segments are those of a file without end.
            let full = Layout::full_segment(scheme, segment).map_err(invalid)?;
            // A stream is waited for and spooled here, which may take as long as its writer likes.
            let (start, capacity) = (full.plain_start, full.plain_length);
            let reading = self.host().blocking(move || (opened.segment(start, capacity), opened));
            let (read, back) = reading.await;
            opened = back;
            let (bytes, last) = read?;
            length += bytes.length();
            if last && layout.is_none() {
                layout = Some(layout_of(length)?);
            }
            let here = match &layout {
                Some(layout) => layout.segment(segment).map_err(invalid)?,
                None => full,
            };
            let leaves = sum.leaves.clone();
            let feeding = self.feed_segment(job, here, (&bytes, &leaves), progress);
            let fed = match before.take() {
                None => feeding.await?,
                Some(fed) => {
                    let (placed, next) = both(fed.settle(sum.left()), feeding).await?;
                    sum.add(&placed);
                    next
                }
            };
            // Nothing more is read of it unless a node fails, and then it is compared with what was.
            opened.check_unchanged()?;
            if last {
                sum.add(&fed.settle(sum.left()).await?);
                let layout = layout_of(length)?;
                assert_eq!(layout.segments(), segment + 1, "padding never adds a segment");
                let Sum { leaves, shards, nodes, cost, end, .. } = sum;
                leaves.finish(layout.cells())?;
                let segments = segment + 1;
                return Ok(Stored { layout, segments, shards, nodes, cost, end, leaves });
            }
            before = Some(fed);
        }
        unreachable!("a source ends before its segments run out of numbers")
    }

    fn object_entry(
        &self,
        chain: &Chain,
        job: &Job,
        stored: &Stored,
    ) -> Result<ObjectEntry, ClientError> {
        let root = stored.leaves.root()?;
        let manifest = Manifest::new(&job.key, job.entry.mask, &stored.layout, root);
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

    /// What comes back at least when an object's deals end now.
    pub(crate) async fn refund_of(&self, entry: &ObjectEntry) -> Result<Amount, ClientError> {
        let layout = Layout::new(entry.manifest.scheme, entry.manifest.length).map_err(invalid)?;
        let key = entry.key.file_key();
        let deals: Vec<_> = (0..layout.segments()).map(|segment| key.deal(segment)).collect();
        let epoch = self.chain_row().await?.epoch;
        let mut back = Amount::ZERO;
        for deal in self.rows_of(Deals, &deals).await?.iter().flatten().filter(|deal| runs(deal)) {
            let left = deal.end.saturating_sub(deal.start.max(epoch + 1));
            let part = deal.rate.checked_mul(left).unwrap_or(Amount::ZERO);
            back = back.checked_add(part).unwrap_or(back);
        }
        Ok(back)
    }

    /// A deal's row.
    pub(crate) async fn deal(&self, deal: &DealId) -> Result<Option<Deal>, ClientError> {
        Ok(self.ledger().row(Deals, deal).await?)
    }

    /// The same as it was a moment ago: for reading, where every byte is checked against it.
    pub(crate) async fn deal_lately(&self, deal: &DealId) -> Result<Option<Deal>, ClientError> {
        Ok(self.ledger().row_lately(Deals, deal).await?)
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
                let row = self.deal(&deal).await?;
                let ours = row.filter(|row| runs(row) && row.owner == self.me());
                if ours.is_some() { Err(error) } else { Ok(false) }
            }
            Err(error) => Err(error),
        }
    }
}

/// A file is paid for as it is asked for now, not as it was when it was begun.
fn is_on_other_terms(entry: &UploadEntry, asked: &PutOptions) -> bool {
    entry.kind == FileKind::Own
        && (entry.epochs != asked.epochs
            || asked.scheme.is_some_and(|scheme| scheme != entry.scheme))
}

impl Job {
    fn new(entry: UploadEntry, begun: Begun, live: bool, candidates: Vec<Candidate>) -> Self {
        let key = entry.key.file_key();
        let object = key.object();
        let unwritten = Mutex::default();
        Self { entry, begun, live, key, object, candidates, paid: Paid::default(), unwritten }
    }
}

/// Pays for one segment while the next one is fed. Where feeding fails, it is waited for what is being paid:
/// whoever ends the upload then finds its deal.
async fn both<T, U>(
    settling: impl Future<Output = Result<T, ClientError>>,
    feeding: impl Future<Output = Result<U, ClientError>>,
) -> Result<(T, U), ClientError> {
    let (mut settling, mut feeding) = (pin!(settling), pin!(feeding));
    tokio::select! {
        biased;
        settled = &mut settling => Ok((settled?, feeding.await?)),
        fed = &mut feeding => match fed {
            Ok(fed) => Ok((settling.await?, fed)),
            Err(error) => {
                // What became of it is on the ledger.
                settling.await.ok();
                Err(error)
            }
        },
    }
}

fn invalid(error: LayoutError) -> ClientError {
    ClientError::Usage(error.to_string())
}
