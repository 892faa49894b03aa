//! Placing one segment: the upload session's outputs carried out on real connections.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use symbolon_protocol::{
    Amount,
    content::{SegmentCoder, SegmentLayout},
    grant::{Caveat, Grant, ability},
    id::{DealId, Hash, NodeId},
    ledger::{
        Params, Status, deal_cost,
        rows::{Deal, DealState},
        transaction::{Acceptance, Action, DealTerms},
    },
    session::{
        NodeFault,
        upload::{Input, Output, Upload},
    },
    wire::storage::{Request, Response},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

use super::{
    Begun, Job,
    encode::{Encoded, Feeder, LANE_CELLS, Lane},
    leaves::Leaves,
    sealed::{Sealed, Trust},
    tally::Tally,
};
use crate::{
    Client,
    account::transaction_id,
    catalog::{Asked, FileKind, PlacementEntry, Placements, UploadEntry},
    error::ClientError,
    lock,
    met::spread,
    peers::{PeerError, response},
    place::Candidate,
    progress::{Awaited, Progress, Step, Wait},
    source::SegmentBytes,
};

/// How long a node may take to answer that it is ready, and, after the last byte, to sync the shard.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a receipt must be good for at least, by the ledger's clock, in milliseconds: to open the deal with
/// it takes a moment.
const GOOD_FOR_MS: u64 = 2_000;

/// A segment that is stored and paid for.
pub(super) struct Placed {
    /// Who keeps a shard of it.
    pub(super) nodes: Vec<NodeId>,
    pub(super) cost: Amount,
    /// The first epoch that is not paid. What was opened just now may be paid a little longer.
    pub(super) end: u64,
}

enum Event {
    Shard(u8, Result<Acceptance, NodeFault>),
    Encoded(Result<Encoded, ClientError>),
}

/// A segment whose shards have been sent, or that was stored before.
pub(super) enum Fed<'a> {
    /// Its receipts, and then its deal, are still to come.
    Placing(Box<Placing<'a>>),
    /// It was paid for by an earlier put.
    Placed(Placed),
}

/// One segment on its way.
pub(super) struct Placing<'a> {
    client: &'a Client,
    terms: DealTerms,
    /// What opens its deal.
    opening: Hash,
    /// The ledger's time when it was begun.
    ledger_ms: u64,
    grant: Grant,
    feeder: FeederParts,
    nodes: BTreeMap<NodeId, Candidate>,
    events: mpsc::Sender<Event>,
    tasks: BTreeMap<u8, AbortHandle>,
    /// Who has been asked for a shard and has not signed for it.
    pending: BTreeMap<u8, NodeId>,
    signed: u32,
    tally: Arc<Tally>,
    progress: Progress,
    session: Upload,
    inbox: mpsc::Receiver<Event>,
    /// What the nodes signed, once they are enough.
    accepted: Option<Vec<Acceptance>>,
    encoded: bool,
    /// Everyone who was asked for a shard of the segment, in this put or an earlier one.
    asked: Vec<Asked>,
    job: &'a Job,
}

struct FeederParts {
    coder: Arc<SegmentCoder>,
    layout: SegmentLayout,
    bytes: SegmentBytes,
    sealed: Arc<Sealed>,
}

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        for task in self.tasks.values() {
            task.abort();
        }
    }
}

impl Client {
    /// Sends one segment's shards, or finds that they were stored and paid for before.
    pub(super) async fn feed_segment<'a>(
        &'a self,
        job: &'a Job,
        layout: SegmentLayout,
        (bytes, leaves): (&SegmentBytes, &Leaves),
        progress: &Progress,
    ) -> Result<Fed<'a>, ClientError> {
        let deal = job.key.deal(layout.segment);
        // Under a key that was drawn just now nothing is stored.
        let row = match job.begun {
            Begun::Now => None,
            Begun::Here | Begun::Elsewhere => self.deal(&deal).await?,
        };
        let trust = match (job.live, &row) {
            (false, _) => Trust::Fixed,
            (true, None) => Trust::Live,
            (true, Some(_)) => Trust::Compared,
        };
        let coder = Arc::new(SegmentCoder::new(&job.key, job.entry.mask, layout, deal));
        let source = bytes.path().unwrap_or_else(|| job.entry.name.clone().into());
        let sealed = Arc::new(Sealed::open(leaves, &layout, trust, source)?);
        let feeder = FeederParts { coder, layout, bytes: bytes.clone(), sealed };
        if let Some(row) = row {
            let placed = self.placed_before(job, &row, &feeder, progress).await?;
            return Ok(Fed::Placed(placed));
        }
        if job.begun == Begun::Elsewhere && job.live {
            // What the other device has sealed is not known here.
            return Err(ClientError::UploadLapsed { name: job.entry.name.clone() });
        }
        let terms = self.deal_terms(job, &layout);
        let (events, inbox) = mpsc::channel(256);
        let grant = self.own_grant(job.object, ability::STORE)?;
        let nodes = order(&job.candidates, &deal, layout.shard_length);
        let (needed, fitting) = (job.entry.scheme.enough(), nodes.len());
        if fitting < usize::from(needed) && fitting < job.candidates.len() {
            let bytes = layout.shard_length;
            return Err(ClientError::NoRoom { fitting, needed, bytes });
        }
        let wanted: Vec<NodeId> = nodes.iter().map(|node| node.address.id).collect();
        let nodes = nodes.into_iter().map(|node| (node.address.id, node)).collect();
        let lengths = (bytes.length(), layout.shard_length);
        let tally = Arc::new(Tally::new(progress, job.entry.scheme.enough(), lengths));
        let tasks = BTreeMap::new();
        let asked = self.catalog().row(Placements, &deal.0)?.map_or(Vec::new(), |row| row.shards);
        let held = asked.iter().map(|asked: &Asked| (asked.index, asked.node));
        let session = Upload::new(job.entry.scheme, wanted, held);
        let mut placing = Box::new(Placing {
            session,
            inbox,
            accepted: None,
            progress: progress.clone(),
            asked,
            job,
            client: self,
            terms,
            opening: job.key.deal_opening(layout.segment),
            ledger_ms: self.ledger().recent_time_ms().await?,
            grant,
            feeder,
            nodes,
            events,
            tasks,
            pending: BTreeMap::new(),
            signed: 0,
            tally,
            encoded: false,
        });
        placing.session.handle(self.host().ticks_ms(), Input::Start);
        while !placing.encoded && placing.accepted.is_none() {
            placing.step().await?;
        }
        Ok(Fed::Placing(placing))
    }

    /// What a segment's deal says.
    fn deal_terms(&self, job: &Job, layout: &SegmentLayout) -> DealTerms {
        DealTerms {
            deal: job.key.deal(layout.segment),
            owner: self.me(),
            object: job.object,
            segment: layout.segment,
            required: layout.required,
            total: layout.total,
            length: layout.shard_length,
            access: job.entry.access,
            epochs: job.entry.epochs,
        }
    }

    /// A segment that an earlier put stored and paid for. It is encoded again, and nothing is sent: its
    /// content leaves are wanted, and whether the source is still the same. So many roots are compared that
    /// all data cells follow from them.
    async fn placed_before(
        &self,
        job: &Job,
        row: &Deal,
        feeder: &FeederParts,
        progress: &Progress,
    ) -> Result<Placed, ClientError> {
        if !self.keeps(row, &job.entry, &feeder.layout) {
            return Err(ClientError::UploadLapsed { name: job.entry.name.clone() });
        }
        let cost = paid(&self.params().await?, row);
        let nodes = row.shards.iter().flatten().map(|shard| shard.node).collect();
        let encoded = feeder.feeder(self, progress).run(Vec::new()).await?;
        let mut kept = row.shards.iter().zip(&encoded.roots);
        if !kept.all(|(shard, root)| shard.is_none_or(|shard| shard.root == *root)) {
            let path = feeder.bytes.path().unwrap_or_else(|| job.entry.name.clone().into());
            return Err(ClientError::SourceChanged { path });
        }
        Ok(Placed { nodes, cost, end: row.end })
    }

    /// Whether a deal keeps this segment. Under its id may stand one that has ended, of a put that was cut
    /// off long ago, or one that a node opened for itself: nodes learn the id before the ledger does.
    pub(super) fn keeps(&self, deal: &Deal, entry: &UploadEntry, layout: &SegmentLayout) -> bool {
        let alive = matches!(deal.state, DealState::Offered | DealState::Active);
        let same = deal.owner == self.me()
            && deal.object == entry.object()
            && deal.segment == layout.segment
            && deal.required == layout.required
            && deal.shards.len() == usize::from(layout.total)
            && deal.length == layout.shard_length;
        let kept = deal.shards.iter().flatten().count();
        alive && same && kept >= usize::from(entry.scheme.enough())
    }

    /// A grant of this identity's account to its own access key.
    pub(crate) fn own_grant(
        &self,
        object: symbolon_protocol::id::ObjectId,
        abilities: u16,
    ) -> Result<Grant, ClientError> {
        let identity = self.identity();
        let caveats = vec![Caveat::Object { object }, Caveat::Abilities { set: abilities }];
        let entropy = self.host().random();
        Grant::issue(
            &self.ledger().chain(),
            &identity.account_key(),
            identity.peer(),
            caveats,
            &entropy,
        )
        .map_err(|error| ClientError::Grant(error.to_string()))
    }
}

/// What a deal that stands on the ledger cost, all-in.
fn paid(params: &Params, deal: &Deal) -> Amount {
    let prices = deal.shards.iter().flatten().map(|shard| shard.price);
    let cost = deal_cost(params, deal.length, deal.end - deal.start, prices);
    cost.map_or(Amount::ZERO, |cost| cost.total)
}

/// The candidates with room, cheapest first, spread differently for every deal.
fn order(candidates: &[Candidate], deal: &DealId, length: u64) -> Vec<Candidate> {
    let mut fit: Vec<_> = candidates.iter().filter(|node| node.free >= length).cloned().collect();
    fit.sort_by_cached_key(|node| (node.price, spread(deal, &node.address.id)));
    fit
}

impl FeederParts {
    fn feeder(&self, client: &Client, progress: &Progress) -> Feeder {
        Feeder {
            host: client.host().clone(),
            coder: self.coder.clone(),
            layout: self.layout,
            bytes: self.bytes.clone(),
            sealed: self.sealed.clone(),
            buffers: client.buffers().clone(),
            progress: progress.clone(),
        }
    }
}

impl Fed<'_> {
    /// Waits for the receipts and pays.
    pub(super) async fn settle(self, cost_max: Option<Amount>) -> Result<Placed, ClientError> {
        match self {
            Self::Placed(placed) => Ok(placed),
            Self::Placing(mut placing) => {
                let accepted = loop {
                    match placing.accepted.take() {
                        Some(accepted) => break accepted,
                        None => placing.step().await?,
                    }
                };
                placing.tell_waiting(Awaited::Ledger);
                let tally = placing.tally.clone();
                let placed = placing.open_deal(accepted, cost_max).await?;
                tally.done();
                Ok(placed)
            }
        }
    }
}

impl Placing<'_> {
    /// Does what the session wants; if that is nothing, waits for the next thing to happen.
    async fn step(&mut self) -> Result<(), ClientError> {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Pass(shards) => self.pass(shards)?,
                Output::Abandon(index) => self.abandon(index),
                Output::Placed(acceptances) => {
                    self.accepted = Some(acceptances);
                    return Ok(());
                }
                Output::Short { accepted, needed, faults } => {
                    return Err(ClientError::NotEnoughNodes { accepted, needed, faults });
                }
            }
        }
        let event = tokio::select! {
            biased;
            event = self.inbox.recv() => event,
            () = self.client.sleep_until(self.session.deadline()) => None,
        };
        let input = match event {
            None => Input::Tick,
            Some(Event::Shard(index, result)) => self.answered(index, result),
            Some(Event::Encoded(encoded)) => {
                encoded?;
                self.encoded = true;
                self.tell_waiting(Awaited::Receipts);
                return Ok(());
            }
        };
        self.session.handle(self.client.host().ticks_ms(), input);
        self.tell_waiting(Awaited::Receipts);
        Ok(())
    }

    /// Takes note of what a node did.
    fn answered(&mut self, index: u8, result: Result<Acceptance, NodeFault>) -> Input {
        self.pending.remove(&index);
        match result {
            Ok(acceptance) => {
                self.signed += 1;
                Input::Accepted(acceptance)
            }
            Err(fault) => {
                self.tally.failed(index);
                Input::Failed { index, fault }
            }
        }
    }

    fn tell_waiting(&self, what: Awaited) {
        if self.progress.is_heard() {
            let nodes = self.pending.values().copied().collect();
            let of = u32::from(self.terms.total);
            self.progress.step(Step::Waiting(Wait { what, nodes, done: self.signed, of }));
        }
    }

    fn abandon(&mut self, index: u8) {
        self.pending.remove(&index);
        if let Some(task) = self.tasks.remove(&index) {
            task.abort();
        }
    }

    /// Starts a pass: a task per shard, and the feeder that all of them draw from.
    fn pass(&mut self, shards: Vec<(u8, NodeId)>) -> Result<(), ClientError> {
        self.note_asked(&shards)?;
        self.pending.extend(shards.iter().copied());
        let mut lanes = Vec::new();
        for (index, node) in shards {
            let (wanted_tx, wanted) = oneshot::channel();
            let (cells, cells_rx) = mpsc::channel(LANE_CELLS);
            let (root, root_rx) = oneshot::channel();
            lanes.push(Lane { index, wanted, cells, root });
            let candidate = self.nodes[&node].clone();
            let request = Request::Store {
                terms: self.terms.clone(),
                index,
                price: candidate.price,
                grant: self.grant.clone(),
            };
            let sending = Sending {
                client: self.client.clone(),
                terms: self.terms.clone(),
                index,
                candidate,
                good_until_ms: self.ledger_ms.saturating_add(GOOD_FOR_MS),
                wanted: wanted_tx,
                cells: cells_rx,
                root: root_rx,
                tally: self.tally.clone(),
            };
            let events = self.events.clone();
            let task = tokio::spawn(async move {
                let result = sending.run(&request).await.map_err(|error| error.fault());
                // Nobody listens any more once the session is over.
                events.send(Event::Shard(index, result)).await.ok();
            });
            self.tasks.insert(index, task.abort_handle());
        }
        // What is encoded is no progress yet: what is sent is, and the tally counts it.
        let feeder = self.feeder.feeder(self.client, &Progress::silent());
        let events = self.events.clone();
        tokio::spawn(async move {
            let encoded = feeder.run(lanes).await;
            events.send(Event::Encoded(encoded)).await.ok();
        });
        Ok(())
    }

    /// Writes down who is asked for what before asking: a node keeps one shard of a segment, so a put
    /// that goes on later has to ask it for the same one.
    fn note_asked(&mut self, shards: &[(u8, NodeId)]) -> Result<(), ClientError> {
        let before = self.asked.len();
        for (index, node) in shards {
            let asked = Asked { index: *index, node: *node };
            if !self.asked.contains(&asked) {
                self.asked.push(asked);
            }
        }
        if self.asked.len() == before {
            return Ok(());
        }
        let entry = PlacementEntry { shards: self.asked.clone() };
        let unwritten = lock(&self.job.unwritten).take();
        let mut batch = unwritten.unwrap_or_default();
        batch.put(Placements, &self.terms.deal.0, &entry);
        self.client.catalog().write(&batch)
    }

    async fn open_deal(
        self,
        acceptances: Vec<Acceptance>,
        cost_max: Option<Amount>,
    ) -> Result<Placed, ClientError> {
        let chain = self.client.recent_chain().await?;
        let prices = acceptances.iter().map(|acceptance| acceptance.price);
        let cost = deal_cost(&chain.params, self.terms.length, self.terms.epochs, prices)
            .ok_or_else(|| ClientError::Usage(String::from("the price exceeds every amount")))?
            .total;
        if let Some(limit) = cost_max.filter(|limit| cost > *limit) {
            return Err(ClientError::CostTooHigh { cost, limit });
        }
        let nodes: Vec<NodeId> = acceptances.iter().map(|acceptance| acceptance.node).collect();
        let id = transaction_id("open deal", &self.terms.deal.0);
        let terms = self.terms.clone();
        let opening = self.opening;
        let action = Action::OpenDeal { opening, terms, acceptances, cost_max: cost };
        self.job.paid.add(cost);
        self.client.send(id, action).await.map_err(|error| {
            if matches!(error, ClientError::LedgerRefused(_)) {
                self.job.paid.take_back(cost);
            }
            match error {
                // Somebody else, a node that knew the id, has opened a deal under it meanwhile.
                ClientError::LedgerRefused(Status::Exists) => {
                    ClientError::UploadLapsed { name: self.job.entry.name.clone() }
                }
                error => error,
            }
        })?;
        // It goes when the object has its row, in the same transaction; until then it does no harm. A part of
        // the index gets none.
        if self.job.entry.kind == FileKind::Index {
            self.client.catalog().remove(Placements, &self.terms.deal.0)?;
        }
        let end = chain.epoch.saturating_add(1).saturating_add(self.terms.epochs);
        Ok(Placed { nodes, cost, end })
    }
}

/// One shard on its way to one node.
struct Sending {
    client: Client,
    terms: DealTerms,
    index: u8,
    candidate: Candidate,
    /// What its receipt must at least be good for.
    good_until_ms: u64,
    wanted: oneshot::Sender<bool>,
    cells: mpsc::Receiver<Bytes>,
    root: oneshot::Receiver<Hash>,
    tally: Arc<Tally>,
}

impl Sending {
    async fn run(mut self, request: &Request) -> Result<Acceptance, PeerError> {
        let client = self.client.clone();
        let peers = client.peers();
        let node = &self.candidate.address;
        let opened = peers.within(PATIENCE, async {
            let (sender, mut receiver) = peers.request(node, request).await?;
            let answer = response(&mut receiver).await?;
            Ok((sender, receiver, answer))
        });
        let (mut sender, mut receiver, answer) = opened.await?;
        let acceptance = match answer {
            Response::Accepted { acceptance } => {
                self.wanted.send(false).ok();
                self.tally.held(self.index);
                acceptance
            }
            Response::Ready => {
                self.wanted.send(true).ok();
                let mut sent = 0;
                while let Some(cell) = self.cells.recv().await {
                    let bytes = cell.len() as u64;
                    sender.write(cell).await?;
                    sent += bytes;
                    self.tally.sent(self.index, bytes);
                }
                if sent != self.terms.length {
                    // The feeder dropped this lane: too slow.
                    sender.reset(0);
                    return Err(PeerError::TimedOut);
                }
                sender.finish();
                match peers.within(PATIENCE, response(&mut receiver)).await? {
                    Response::Accepted { acceptance } => acceptance,
                    _ => return Err(PeerError::Confused),
                }
            }
            _ => return Err(PeerError::Confused),
        };
        let root = self.root.await.map_err(|_| PeerError::TimedOut)?;
        let ours = acceptance.node == node.id
            && acceptance.index == self.index
            && acceptance.price == self.candidate.price
            && acceptance.root == root
            // One that has expired would be refused by the ledger, and the others' with it.
            && self.good_until_ms <= acceptance.expires_ms;
        let signed = acceptance.verify(&client.ledger().chain(), &self.terms).is_ok();
        if ours && signed { Ok(acceptance) } else { Err(PeerError::Confused) }
    }
}
