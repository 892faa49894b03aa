//! Places one segment: carries out the outputs of the upload session on real connections.

use std::{collections::BTreeMap, fmt, sync::Arc};

use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    content::{SegmentCoder, SegmentLayout},
    grant::{Grant, ability},
    id::NodeId,
    ledger::{
        Params, Status, deal_cost,
        rows::Deal,
        transaction::{Acceptance, Action, DealTerms},
    },
    session::{
        NodeFault,
        upload::{Input, Output, Upload},
    },
    wire::storage::Request,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

use super::{
    Begun, Storing,
    bytes::SegmentBytes,
    encode::{Encoded, Feeder, LANE_CELLS, Lane},
    sealed::{Sealed, Trust},
    sending::Sending,
    tally::Tally,
};
use crate::{
    Network,
    deal::keeps,
    draw::draw,
    error::TransferError,
    owner::transaction_id,
    place::{Candidate, deal_price},
    progress::{Awaited, Progress, Step, Wait},
};

/// Time by the ledger's clock for which a receipt must still be valid, because opening the
/// deal with it takes a moment.
pub(crate) const GOOD_FOR: Millis = Millis(2_000);

/// A segment that is stored and paid for.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The nodes that keep a shard of it.
    pub nodes: Vec<NodeId>,
    /// Its price, including everything.
    pub cost: Amount,
    /// The first epoch that is not paid. A deal that was opened just now may be paid a little
    /// longer.
    pub end: u64,
}

enum Event {
    Shard(u8, Result<Acceptance, NodeFault>),
    Encoded(Result<Encoded, TransferError>),
}

/// A segment whose shards were sent, or that was stored before.
#[derive(Debug)]
pub enum Fed<'a> {
    /// Its receipts and its deal are still missing.
    Placing(Box<Placing<'a>>),
    /// An earlier put has paid for it.
    Placed(Placed),
}

/// One segment that is being stored.
pub struct Placing<'a> {
    network: &'a Network,
    terms: DealTerms,
    /// The ledger's time at the beginning.
    ledger_ms: LedgerTime,
    grant: Grant,
    feeder: FeederParts,
    nodes: BTreeMap<NodeId, Candidate>,
    events: mpsc::Sender<Event>,
    tasks: BTreeMap<u8, AbortHandle>,
    /// Nodes that were asked for a shard and have not signed for it.
    pending: BTreeMap<u8, NodeId>,
    signed: u32,
    tally: Arc<Tally>,
    progress: Progress,
    session: Upload,
    inbox: mpsc::Receiver<Event>,
    /// The acceptances of the nodes, once there are enough.
    accepted: Option<Vec<Acceptance>>,
    encoded: bool,
    /// All nodes that were asked for a shard of the segment, in this put or an earlier one.
    asked: Vec<(u8, NodeId)>,
    job: &'a Storing,
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

impl Storing {
    /// The terms of a segment's deal.
    fn terms(&self, layout: &SegmentLayout) -> DealTerms {
        DealTerms {
            owner: self.owner.account(),
            opening: self.key.deal_opening(layout.segment),
            object: self.key.object(),
            segment: layout.segment,
            required: layout.required,
            total: layout.total,
            length: layout.shard_length,
            access: self.access,
            epochs: self.epochs,
        }
    }
}

impl Network {
    /// Sends one segment's shards, or finds that an earlier put has stored and paid for them.
    pub async fn feed_segment<'a>(
        &'a self,
        job: &'a Storing,
        layout: SegmentLayout,
        bytes: &SegmentBytes,
        progress: &Progress,
    ) -> Result<Fed<'a>, TransferError> {
        let deal = job.key.deal(&job.owner.account(), layout.segment);
        // With a new key nothing is stored yet.
        let row = match job.begun {
            Begun::Now => None,
            Begun::Here | Begun::Elsewhere => self.deal(&deal).await?,
        };
        let trust = match (job.live, &row) {
            (false, _) => Trust::Fixed,
            (true, None) => Trust::Live,
            (true, Some(_)) => Trust::Compared,
        };
        let coder = Arc::new(SegmentCoder::new(&job.key, job.mask, layout));
        let (memory, source) = (job.memory.clone(), bytes.path());
        let opening = move || Sealed::open(&memory, &layout, trust, source);
        let sealed = Arc::new(self.host().blocking(opening).await?);
        let feeder = FeederParts { coder, layout, bytes: bytes.clone(), sealed };
        if let Some(row) = row {
            let placed = self.placed_before(job, &row, &feeder, progress).await?;
            return Ok(Fed::Placed(placed));
        }
        if job.begun == Begun::Elsewhere && job.live {
            // The cells that the other device has sealed are not known here.
            return Err(TransferError::Lapsed { segment: layout.segment });
        }
        let terms = job.terms(&layout);
        let (events, inbox) = mpsc::channel(256);
        let grant = self.own_grant(&job.owner, job.key.object(), ability::STORE)?;
        let total = usize::from(job.scheme.total);
        let nodes = draw(&job.candidates, &deal.0, total, layout.shard_length);
        let (needed, fitting) = (job.scheme.enough(), nodes.len());
        if fitting < usize::from(needed) && fitting < job.candidates.len() {
            let bytes = layout.shard_length;
            return Err(TransferError::NoRoom { fitting, needed, bytes });
        }
        let wanted: Vec<NodeId> = nodes.iter().map(|node| node.address.id).collect();
        let nodes = nodes.into_iter().map(|node| (node.address.id, node)).collect();
        let lengths = (bytes.length(), layout.shard_length);
        let tally = Arc::new(Tally::new(progress, job.scheme.enough(), lengths));
        let tasks = BTreeMap::new();
        let memory = job.memory.clone();
        let asked = self.host().blocking(move || memory.asked(&deal)).await;
        let asked = asked.map_err(TransferError::Memory)?;
        let session = Upload::new(job.scheme, wanted, asked.iter().copied());
        let mut placing = Box::new(Placing {
            session,
            inbox,
            accepted: None,
            progress: progress.clone(),
            asked,
            job,
            network: self,
            terms,
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

    /// A segment that an earlier put has stored and paid for. It is encoded again without sending
    /// anything, for two reasons: its content leaves are needed, and the source may have changed.
    /// Enough roots are compared to cover all data cells.
    async fn placed_before(
        &self,
        job: &Storing,
        row: &Deal,
        feeder: &FeederParts,
        progress: &Progress,
    ) -> Result<Placed, TransferError> {
        if !keeps(row, &job.key.object(), &feeder.layout) {
            return Err(TransferError::Lapsed { segment: feeder.layout.segment });
        }
        let cost = paid(&self.params().await?, row);
        let nodes = row.kept().map(|(_, shard)| shard.node).collect();
        let encoded = feeder.feeder(self, progress).run(Vec::new()).await?;
        let mut kept = row.shards.iter().zip(&encoded.roots);
        if !kept.all(|(shard, root)| shard.is_none_or(|shard| shard.root == *root)) {
            return Err(TransferError::SourceChanged { path: feeder.bytes.path() });
        }
        Ok(Placed { nodes, cost, end: row.end })
    }
}

/// The price of a deal on the ledger, including everything.
fn paid(params: &Params, deal: &Deal) -> Amount {
    let prices = deal.shards.iter().flatten().map(|shard| shard.price);
    let accepted = deal.shards.iter().flatten().count();
    let total = u8::try_from(deal.shards.len()).expect("a deal has at most 128 shards");
    let cost = deal_cost(params, deal.length, deal.end - deal.start, prices);
    let cost =
        cost.and_then(|cost| cost.total.checked_add(deal_price(params, accepted, total).total()));
    cost.unwrap_or(Amount::ZERO)
}

impl FeederParts {
    fn feeder(&self, network: &Network, progress: &Progress) -> Feeder {
        Feeder {
            host: network.host().clone(),
            coder: self.coder.clone(),
            layout: self.layout,
            bytes: self.bytes.clone(),
            sealed: self.sealed.clone(),
            buffers: network.buffers().clone(),
            progress: progress.clone(),
        }
    }
}

impl Fed<'_> {
    /// Waits for the receipts and opens the deal.
    pub async fn settle(self, cost_max: Option<Amount>) -> Result<Placed, TransferError> {
        match self {
            Self::Placed(placed) => Ok(placed),
            Self::Placing(mut placing) => {
                let accepted = loop {
                    match placing.accepted.take() {
                        Some(accepted) => break accepted,
                        None => placing.step().await?,
                    }
                };
                placing.report_waiting(Awaited::Ledger);
                let tally = placing.tally.clone();
                let placed = placing.open_deal(accepted, cost_max).await?;
                tally.done();
                Ok(placed)
            }
        }
    }
}

impl fmt::Debug for Placing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placing").field("deal", &self.terms.deal()).finish_non_exhaustive()
    }
}

impl Placing<'_> {
    /// Carries out the session's outputs, or waits for the next event if there are none.
    async fn step(&mut self) -> Result<(), TransferError> {
        while let Some(output) = self.session.poll() {
            match output {
                Output::Pass(shards) => self.pass(shards).await?,
                Output::Abandon(index) => self.abandon(index),
                Output::Placed(acceptances) => {
                    self.accepted = Some(acceptances);
                    return Ok(());
                }
                Output::Short { accepted, needed, faults } => {
                    self.network.forget_survey().await;
                    return Err(TransferError::NotEnoughNodes { accepted, needed, faults });
                }
            }
        }
        let event = tokio::select! {
            biased;
            event = self.inbox.recv() => event,
            () = self.network.sleep_until(self.session.deadline()) => None,
        };
        let input = match event {
            None => Input::Tick,
            Some(Event::Shard(index, result)) => self.answered(index, result),
            Some(Event::Encoded(encoded)) => {
                encoded?;
                self.encoded = true;
                self.report_waiting(Awaited::Receipts);
                return Ok(());
            }
        };
        self.session.handle(self.network.host().ticks_ms(), input);
        self.report_waiting(Awaited::Receipts);
        Ok(())
    }

    /// Records the result of a node.
    fn answered(&mut self, index: u8, result: Result<Acceptance, NodeFault>) -> Input {
        if let Some(node) = self.pending.remove(&index) {
            self.network.met().took(&node, result.is_ok());
        }
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

    fn report_waiting(&self, what: Awaited) {
        if self.progress.is_received() {
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

    /// Starts a pass: one task per shard, and the feeder for all of them.
    async fn pass(&mut self, shards: Vec<(u8, NodeId)>) -> Result<(), TransferError> {
        self.note_asked(&shards).await?;
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
                authority: self.grant.clone().into(),
            };
            let sending = Sending {
                network: self.network.clone(),
                terms: self.terms.clone(),
                index,
                candidate,
                good_until_ms: self.ledger_ms.saturating_add(GOOD_FOR),
                wanted: wanted_tx,
                cells: cells_rx,
                root: root_rx,
                tally: self.tally.clone(),
            };
            let events = self.events.clone();
            let task = tokio::spawn(async move {
                let result = sending.run(&request).await.map_err(|error| error.fault());
                // The receiver is gone once the session is over.
                events.send(Event::Shard(index, result)).await.ok();
            });
            self.tasks.insert(index, task.abort_handle());
        }
        // Encoding is no progress yet. The tally counts what is sent.
        let feeder = self.feeder.feeder(self.network, &Progress::silent());
        let events = self.events.clone();
        tokio::spawn(async move {
            let encoded = feeder.run(lanes).await;
            events.send(Event::Encoded(encoded)).await.ok();
        });
        Ok(())
    }

    /// Stores which nodes are asked for which shards, before they are asked. A node keeps one shard
    /// of a segment, so a put that continues later must ask it for the same one.
    async fn note_asked(&mut self, shards: &[(u8, NodeId)]) -> Result<(), TransferError> {
        let before = self.asked.len();
        for asked in shards {
            if !self.asked.contains(asked) {
                self.asked.push(*asked);
            }
        }
        if self.asked.len() == before {
            return Ok(());
        }
        let (memory, deal) = (self.job.memory.clone(), self.terms.deal());
        let asked = self.asked.clone();
        let noting = move || memory.note_asked(&deal, &asked);
        self.network.host().blocking(noting).await.map_err(TransferError::Memory)
    }

    async fn open_deal(
        self,
        acceptances: Vec<Acceptance>,
        cost_max: Option<Amount>,
    ) -> Result<Placed, TransferError> {
        let chain = self.network.recent_chain().await?;
        let prices = acceptances.iter().map(|acceptance| acceptance.price);
        let cost = deal_cost(&chain.params, self.terms.length, self.terms.epochs, prices)
            .and_then(|cost| {
                let price = deal_price(&chain.params, acceptances.len(), self.terms.total);
                cost.total.checked_add(price.total())
            })
            .ok_or(TransferError::PriceTooLarge)?;
        if let Some(limit) = cost_max.filter(|limit| cost > *limit) {
            return Err(TransferError::CostTooHigh { cost, limit });
        }
        let nodes: Vec<NodeId> = acceptances.iter().map(|acceptance| acceptance.node).collect();
        let id = transaction_id("open deal", &self.terms.deal().0);
        let terms = self.terms.clone();
        let action = Action::OpenDeal { terms, acceptances, cost_max: cost };
        self.job.paid.add(cost);
        let key = &self.job.owner.account_key;
        self.network.send(key, id, action).await.map_err(|error| {
            if error.is_refusal() {
                self.job.paid.take_back(cost);
            }
            match error {
                // Another device of the owner has opened it meanwhile, with other acceptances.
                TransferError::LedgerRefused(Status::Exists) => {
                    TransferError::Lapsed { segment: self.terms.segment }
                }
                error => error,
            }
        })?;
        let (memory, deal) = (self.job.memory.clone(), self.terms.deal());
        let forgotten = self.network.host().blocking(move || memory.forget_asked(&deal)).await;
        forgotten.map_err(TransferError::Memory)?;
        let end = chain.epoch.saturating_add(1).saturating_add(self.terms.epochs);
        Ok(Placed { nodes, cost, end })
    }
}
