//! The nodes to store on, and the price of storing.

use std::{cmp::Reverse, collections::BTreeMap};

use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    content::{Layout, Scheme},
    id::{AccountId, DealId, Hash, NodeId, ObjectId, Opening, PeerId},
    ledger::{
        Params, check_epochs, deal_cost, deposit, fee,
        rows::{Access, Deal, Nodes},
        transaction::{Acceptance, Action, DealTerms},
    },
};

pub use crate::draw::{Candidate, OtherNodes, width};
use crate::{
    Network,
    draw::{self, acceptable},
    durability::{Durability, Record, durability},
    error::TransferError,
    nodes::NodeView,
    survey::Survey,
};

/// The month for which prices are shown: 30 days.
const MONTH: Millis = Millis::DAY.saturating_mul(30);

/// The price of storing, and its parts.
#[derive(Clone, Debug)]
pub struct Priced {
    /// The scheme that fits the nodes that answer now.
    pub scheme: Scheme,
    /// Number of nodes that answer.
    pub nodes: usize,
    /// Number of segments. Each has a deal of its own.
    pub segments: u32,
    /// Bytes on all nodes together.
    pub stored_bytes: u64,
    /// Number of paid epochs.
    pub epochs: u64,
    /// The part for nodes. They get it epoch by epoch as they prove.
    pub storage: Amount,
    /// The part for repairs. The rest of it is returned at the end.
    pub reserve: Amount,
    /// The part for the network's treasury: of the price of storing, and for the transactions.
    pub fee: Amount,
    /// The deposit for the deals' rows on the ledger. It comes back some time after their end.
    pub deposit: Amount,
    /// All parts together.
    pub total: Amount,
    /// A warning that the user should see before paying.
    pub warning: Option<String>,
}

/// The price and durability of storing, before anything is paid.
#[derive(Clone, Debug)]
pub struct Quote {
    /// The price.
    pub price: Priced,
    /// The price of thirty days, including everything.
    pub month: Amount,
    /// The durability, estimated from the proofs of these nodes.
    pub durability: Durability,
}

impl Network {
    /// The nodes that answer now, cheapest first. Nodes of the same price are in an order that
    /// differs for each salt, so that the load spreads. Which of them get a shard is drawn: see `draw`.
    pub async fn candidates(&self, salt: &[u8]) -> Result<Vec<Candidate>, TransferError> {
        Ok(self.candidates_and_records(salt).await?.0)
    }

    /// The same candidates, with the records of all present and former nodes or of a random sample.
    pub async fn candidates_and_records(
        &self,
        salt: &[u8],
    ) -> Result<(Vec<Candidate>, Vec<Record>), TransferError> {
        let Survey { answering, network, .. } = self.survey().await?;
        let mut candidates = self.candidates_of(&answering).await?;
        candidates.sort_by_cached_key(|candidate| {
            let spread = blake3::keyed_hash(&blake3::hash(salt).into(), &candidate.address.id.0);
            (candidate.price, *spread.as_bytes())
        });
        Ok((candidates, network))
    }

    /// What a draw needs to know of nodes.
    pub async fn candidates_of(&self, nodes: &[NodeView]) -> Result<Vec<Candidate>, TransferError> {
        let chain = self.recent_chain().await?;
        let met = self.met();
        let now = (&chain.params, chain.epoch);
        let candidate =
            |node: &NodeView| Candidate::of(node.id, &node.row, now, met.experience(&node.id));
        Ok(nodes.iter().map(candidate).collect())
    }

    /// The candidates that may take over shards of a deal, beside the nodes that keep the others.
    pub async fn other_nodes(
        &self,
        deal: DealId,
        row: &Deal,
        candidates: &[Candidate],
    ) -> Result<OtherNodes, TransferError> {
        let ids: Vec<NodeId> = row.kept().map(|(_, shard)| shard.node).collect();
        let rows = self.rows_of(Nodes, &ids).await?;
        let known = ids.into_iter().zip(rows);
        let known: Vec<_> =
            known.filter_map(|(id, row)| Some(NodeView { id, row: row? })).collect();
        let keepers = self.candidates_of(&known).await?;
        Ok(OtherNodes::new(deal, row, keepers, candidates))
    }

    /// Finds the nodes that answer, in advance of an upload.
    pub async fn ahead_of_upload(&self) -> Result<(), TransferError> {
        self.survey().await.map(drop)
    }

    /// The price and durability of storing `length` bytes for `epochs` epochs. Without a wanted
    /// scheme it uses the one that fits the network.
    pub async fn quote(
        &self,
        length: u64,
        wanted: Option<Scheme>,
        epochs: u64,
    ) -> Result<Quote, TransferError> {
        let (candidates, network) = self.candidates_and_records(b"quote").await?;
        let candidates = with_room(candidates, wanted, Some(length));
        let scheme = choose_scheme(wanted, &candidates)?;
        let params = self.params().await?;
        check_epochs(epochs, &params)?;
        let month = MONTH.steps_of(params.epoch_ms);
        let month = quote(&params, &candidates, scheme, length, month)?.total;
        let price = quote(&params, &candidates, scheme, length, epochs)?;
        let records: Vec<Record> = candidates.iter().map(|node| node.record).collect();
        let times = (params.epoch_ms, params.epoch_ms.saturating_mul(epochs));
        let durability = durability(scheme, &records, &network, price.segments, times);
        Ok(Quote { price, month, durability })
    }
}

/// The nodes with room for a shard of a file of `length` bytes, if the scheme is not fixed yet. A
/// full node cannot be counted on. If no node has room, returns all of them, so that the later
/// error can say so.
#[must_use]
pub fn with_room(
    candidates: Vec<Candidate>,
    wanted: Option<Scheme>,
    length: Option<u64>,
) -> Vec<Candidate> {
    let (None, Some(length)) = (wanted, length) else { return candidates };
    let mut count = width(&candidates);
    // Fewer nodes mean a narrower scheme and larger shards, which may fit fewer nodes again.
    while count > 0 {
        let Ok(layout) = Layout::new(Scheme::for_nodes(count), length) else { break };
        let shard = layout.iter().map(|segment| segment.shard_length).max().unwrap_or(0);
        let fit: Vec<_> = candidates.iter().filter(|node| node.free >= shard).cloned().collect();
        let found = width(&fit);
        if found >= count {
            return fit;
        }
        count = found;
    }
    candidates
}

/// The wanted scheme, or the widest one that the number of nodes allows: of nodes that are apart from each other, if there
/// are enough.
pub fn choose_scheme(
    wanted: Option<Scheme>,
    candidates: &[Candidate],
) -> Result<Scheme, TransferError> {
    let reachable = candidates.len();
    match wanted {
        None => Ok(Scheme::for_nodes(width(candidates))),
        Some(scheme) if usize::from(scheme.total) <= reachable => Ok(scheme),
        Some(scheme) => Err(TransferError::SchemeTooWide { scheme, reachable }),
    }
}

/// What a transaction costs besides what its action moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// The fee, for the network.
    pub fee: Amount,
    /// The deposit, which comes back when the thing that the transaction makes leaves the ledger.
    pub deposit: Amount,
}

impl Price {
    /// Of a transaction with this action, where what it makes is new.
    #[must_use]
    pub fn of(params: &Params, action: &Action) -> Self {
        Self { fee: fee(params, action), deposit: deposit(params, action) }
    }

    /// Both together.
    #[must_use]
    pub fn total(&self) -> Amount {
        self.fee.checked_add(self.deposit).unwrap_or(Amount(u128::MAX))
    }
}

/// The price of the transaction that opens a deal with so many accepted shards of so many in all. All acceptances have the
/// same size.
#[must_use]
pub fn deal_price(params: &Params, accepted: usize, total: u8) -> Price {
    let (zeros, nothing) = (Hash([0; 32]), Amount::ZERO);
    let acceptance = Acceptance {
        node: PeerId(zeros.0),
        index: 0,
        root: zeros,
        price: nothing,
        until: 0,
        expires_ms: LedgerTime::ZERO,
        signature: [0; 64],
    };
    let terms = DealTerms {
        owner: AccountId(zeros.0),
        opening: Opening(zeros.0),
        object: ObjectId([0; 16]),
        segment: 0,
        required: 1,
        total,
        length: 0,
        access: Access::Granted,
        epochs: 0,
    };
    let acceptances = vec![acceptance; accepted];
    Price::of(params, &Action::OpenDeal { terms, acceptances, cost_max: nothing })
}

/// The most that storing `length` bytes on these nodes costs: the nodes are drawn among those with an acceptable price, and
/// this is the price if the dearest of these are. If all ask the same, it is what is paid.
pub fn quote(
    params: &Params,
    candidates: &[Candidate],
    scheme: Scheme,
    length: u64,
    epochs: u64,
) -> Result<Priced, TransferError> {
    let layout = Layout::new(scheme, length)?;
    let too_much = || TransferError::PriceTooLarge;
    let mut sums = [Amount::ZERO; 5];
    let mut stored_bytes = 0;
    let mut by_length: BTreeMap<u64, u64> = BTreeMap::new();
    for segment in layout.iter() {
        *by_length.entry(segment.shard_length).or_default() += 1;
    }
    let needed = usize::from(scheme.total);
    for (shard_length, count) in by_length {
        let prices = dearest(candidates, needed, shard_length);
        let cost = deal_cost(params, shard_length, epochs, prices).ok_or_else(too_much)?;
        let price = deal_price(params, usize::from(scheme.total), scheme.total);
        let fee = cost.fee.checked_add(price.fee).ok_or_else(too_much)?;
        let total = cost.total.checked_add(price.total()).ok_or_else(too_much)?;
        let parts = [cost.storage, cost.reserve, fee, price.deposit, total];
        for (sum, part) in sums.iter_mut().zip(parts) {
            let part = part.checked_mul(count).ok_or_else(too_much)?;
            *sum = sum.checked_add(part).ok_or_else(too_much)?;
        }
        stored_bytes += shard_length * u64::from(scheme.total) * count;
    }
    let [storage, reserve, fee, deposit, total] = sums;
    let nodes = candidates.len();
    let warning = (scheme.total - scheme.required <= 1).then(|| {
        let lost = if scheme.total == scheme.required { "any node" } else { "two nodes" };
        format!("only {nodes} nodes answer: losing {lost} loses the file; run more nodes")
    });
    let warning = warning.or_else(|| draw::warning(candidates, needed));
    let segments = layout.segments();
    Ok(Priced {
        scheme,
        nodes,
        segments,
        stored_bytes,
        epochs,
        storage,
        reserve,
        fee,
        deposit,
        total,
        warning,
    })
}

/// The highest prices of the nodes that may be drawn for a shard of this length.
fn dearest(candidates: &[Candidate], needed: usize, length: u64) -> Vec<Amount> {
    let fit: Vec<_> = candidates.iter().filter(|node| length <= node.free).cloned().collect();
    // If too few have room, the price is shown all the same: the put says what is wrong.
    let fit = if fit.len() < needed { candidates } else { &fit };
    let limit = acceptable(fit, needed);
    let mut prices: Vec<_> = fit.iter().map(|node| node.price).collect();
    prices.retain(|price| Some(*price) <= limit);
    prices.sort_unstable_by_key(|price| Reverse(*price));
    prices.truncate(needed);
    prices
}
