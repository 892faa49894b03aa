//! Which nodes there are, and what storing on them costs.

use std::collections::BTreeMap;

use symbolon_ledger::RECENT;
use symbolon_net::PeerAddress;
use symbolon_protocol::{
    Amount,
    content::{Layout, Scheme},
    id::NodeId,
    ledger::{
        Params, check_epochs, deal_cost,
        rows::{Chain, Chains, Node, Nodes, Table},
    },
};

use crate::{
    Client,
    durability::{Durability, Record, durability},
    error::ClientError,
    lock,
    survey::Survey,
    upload::PutOptions,
};

/// The month that prices are shown for: 30 days, in milliseconds.
const MONTH_MS: u64 = 30 * 24 * 60 * 60 * 1000;

/// How long it counts as a moment ago, in milliseconds, what the ledger's own row said and who answered.
#[expect(clippy::cast_possible_truncation, reason = "it is seconds")]
pub(crate) const RECENT_MS: u64 = RECENT.as_millis() as u64;

/// The ledger's own row, and when it was asked for.
#[derive(Clone, Debug)]
pub(crate) struct ChainSeen {
    row: Chain,
    at_ms: u64,
}

/// A node as the ledger knows it.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Its identity.
    pub id: NodeId,
    /// Its row.
    pub row: Node,
}

/// What storing would cost, before anything is spent.
#[derive(Clone, Debug)]
pub struct Quote {
    /// The scheme for the nodes that answer now.
    pub scheme: Scheme,
    /// How many nodes answer.
    pub nodes: usize,
    /// Segments, each a deal of its own.
    pub segments: u32,
    /// Bytes on all nodes together.
    pub stored_bytes: u64,
    /// For how many epochs.
    pub epochs: u64,
    /// Goes to nodes, epoch by epoch, as they prove.
    pub storage: Amount,
    /// Comes back at the end unless repairs needed it.
    pub reserve: Amount,
    /// Goes to the network's treasury.
    pub fee: Amount,
    /// All of it.
    pub total: Amount,
    /// What thirty days cost, all-in.
    pub month: Amount,
    /// How likely the file is to be there, from how often these nodes proved.
    pub durability: Durability,
    /// What the user should know first.
    pub warning: Option<String>,
}

/// A node that answers, and what it asks.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) address: PeerAddress,
    pub(crate) price: Amount,
    pub(crate) free: u64,
    pub(crate) record: Record,
}

pub(crate) fn address(id: NodeId, row: &Node) -> PeerAddress {
    PeerAddress { id, addresses: row.addresses.clone() }
}

impl Client {
    /// All nodes the ledger knows.
    pub async fn nodes(&self) -> Result<Vec<NodeView>, ClientError> {
        let rows = self.scan_all(Nodes, &[]).await?;
        let nodes = rows.into_iter();
        Ok(nodes.filter_map(|(key, row)| Some(NodeView { id: Nodes::parse(&key)?, row })).collect())
    }

    /// Where nodes answer, in the order of their ids; nothing for those that the ledger does not know.
    pub(crate) async fn places(
        &self,
        nodes: &[NodeId],
    ) -> Result<Vec<Option<PeerAddress>>, ClientError> {
        let mut places = Vec::with_capacity(nodes.len());
        for node in nodes {
            places.push(self.peers().connected(*node).await);
        }
        let open = nodes.iter().zip(&places);
        let unknown: Vec<_> = open.filter(|(_, at)| at.is_none()).map(|(node, _)| *node).collect();
        let mut rows = self.ledger().rows_lately(Nodes, &unknown).await?.into_iter();
        for (node, at) in nodes.iter().zip(&mut places).filter(|(_, at)| at.is_none()) {
            *at = rows.next().flatten().map(|row| address(*node, &row));
        }
        Ok(places)
    }

    /// The ledger's parameters: they never change.
    pub(crate) async fn params(&self) -> Result<Params, ClientError> {
        match self.chain_seen() {
            Some(seen) => Ok(seen.row.params),
            None => Ok(self.chain_row().await?.params),
        }
    }

    /// The ledger's own row as it was a moment ago; asks only where that is longer past.
    pub async fn recent_chain(&self) -> Result<Chain, ClientError> {
        let now_ms = self.host().ticks_ms();
        match self.chain_seen() {
            Some(seen) if now_ms < seen.at_ms + RECENT_MS => Ok(seen.row),
            _ => self.chain_row().await,
        }
    }

    /// The ledger's own row as it is now.
    pub(crate) async fn chain_row(&self) -> Result<Chain, ClientError> {
        let row = self.ledger().row(Chains, &()).await?;
        let row =
            row.ok_or_else(|| ClientError::Internal("a ledger always has its own row".into()))?;
        let seen = ChainSeen { row: row.clone(), at_ms: self.host().ticks_ms() };
        *lock(&self.inner.chain) = Some(seen);
        Ok(row)
    }

    fn chain_seen(&self) -> Option<ChainSeen> {
        lock(&self.inner.chain).clone()
    }

    /// The nodes that answer now, cheapest first; among equals, in an order that differs from file to
    /// file, so that load spreads.
    pub(crate) async fn candidates(&self, salt: &[u8]) -> Result<Vec<Candidate>, ClientError> {
        Ok(self.candidates_and_records(salt).await?.0)
    }

    /// The same, with the records of all nodes there are or were.
    pub(crate) async fn candidates_and_records(
        &self,
        salt: &[u8],
    ) -> Result<(Vec<Candidate>, Vec<Record>), ClientError> {
        let Survey { answering, network, .. } = self.survey().await?;
        let candidates = answering.into_iter().map(|node| Candidate {
            address: address(node.id, &node.row),
            price: node.row.price,
            free: node.row.capacity.saturating_sub(node.row.used),
            record: Record::of(&node.row),
        });
        let mut candidates: Vec<_> = candidates.collect();
        candidates.sort_by_cached_key(|candidate| {
            let spread = blake3::keyed_hash(&blake3::hash(salt).into(), &candidate.address.id.0);
            (candidate.price, *spread.as_bytes())
        });
        Ok((candidates, network))
    }

    pub(crate) async fn sleep_until(&self, deadline_ms: Option<u64>) {
        match deadline_ms {
            Some(deadline_ms) => self.host().sleep_until_tick(deadline_ms).await,
            None => std::future::pending().await,
        }
    }

    /// What storing `length` bytes would cost.
    pub async fn quote(&self, length: u64, options: &PutOptions) -> Result<Quote, ClientError> {
        let (candidates, network) = self.candidates_and_records(b"quote").await?;
        let candidates = with_room(candidates, options.scheme, Some(length));
        let scheme = choose_scheme(options.scheme, candidates.len())?;
        let params = self.params().await?;
        check_epochs(options.epochs, &params)?;
        let month = MONTH_MS.div_ceil(params.epoch_ms.max(1));
        let month = quote(&params, &candidates, scheme, length, month)?.total;
        let cost = quote(&params, &candidates, scheme, length, options.epochs)?;
        let records: Vec<Record> = candidates.iter().map(|node| node.record).collect();
        let times = (params.epoch_ms, options.epochs.saturating_mul(params.epoch_ms));
        let durability = durability(scheme, &records, &network, cost.segments, times);
        Ok(cost.quote(month, durability))
    }
}

/// The nodes that have room for a shard of a file of `length` bytes, when a scheme may still be chosen: a
/// full node is not one to count on. All of them when none has, so that the error can tell.
pub(crate) fn with_room(
    candidates: Vec<Candidate>,
    wanted: Option<Scheme>,
    length: Option<u64>,
) -> Vec<Candidate> {
    let (None, Some(length)) = (wanted, length) else { return candidates };
    let mut count = candidates.len();
    // Fewer nodes mean a narrower scheme and larger shards, which may fit fewer nodes still.
    while count > 0 {
        let Ok(layout) = Layout::new(Scheme::for_nodes(count), length) else { break };
        let shard = layout.iter().map(|segment| segment.shard_length).max().unwrap_or(0);
        let fit = candidates.iter().filter(|node| node.free >= shard).count();
        if fit >= count {
            return candidates.into_iter().filter(|node| node.free >= shard).collect();
        }
        count = fit;
    }
    candidates
}

/// The scheme asked for, or the widest that the nodes allow.
pub(crate) fn choose_scheme(wanted: Option<Scheme>, nodes: usize) -> Result<Scheme, ClientError> {
    match wanted {
        None => Ok(Scheme::for_nodes(nodes)),
        Some(scheme) if usize::from(scheme.total) <= nodes => Ok(scheme),
        Some(scheme) => Err(ClientError::SchemeTooWide { scheme, reachable: nodes }),
    }
}

/// What storing costs, and in what shape.
pub(crate) struct Priced {
    pub(crate) scheme: Scheme,
    pub(crate) nodes: usize,
    pub(crate) segments: u32,
    pub(crate) stored_bytes: u64,
    pub(crate) epochs: u64,
    pub(crate) storage: Amount,
    pub(crate) reserve: Amount,
    pub(crate) fee: Amount,
    pub(crate) total: Amount,
    pub(crate) warning: Option<String>,
}

impl Priced {
    fn quote(self, month: Amount, durability: Durability) -> Quote {
        let Self { scheme, nodes, segments, stored_bytes, epochs, .. } = self;
        let Self { storage, reserve, fee, total, warning, .. } = self;
        Quote {
            scheme,
            nodes,
            segments,
            stored_bytes,
            epochs,
            storage,
            reserve,
            fee,
            total,
            month,
            durability,
            warning,
        }
    }
}

pub(crate) fn quote(
    params: &Params,
    candidates: &[Candidate],
    scheme: Scheme,
    length: u64,
    epochs: u64,
) -> Result<Priced, ClientError> {
    let layout =
        Layout::new(scheme, length).map_err(|error| ClientError::Usage(error.to_string()))?;
    let too_much = || ClientError::Usage(String::from("the price exceeds every amount"));
    let mut sums = [Amount::ZERO; 4];
    let mut stored_bytes = 0;
    let mut by_length: BTreeMap<u64, u64> = BTreeMap::new();
    for segment in layout.iter() {
        *by_length.entry(segment.shard_length).or_default() += 1;
    }
    for (shard_length, count) in by_length {
        let prices = candidates.iter().take(usize::from(scheme.total)).map(|node| node.price);
        let cost = deal_cost(params, shard_length, epochs, prices).ok_or_else(too_much)?;
        let parts = [cost.storage, cost.reserve, cost.fee, cost.total];
        for (sum, part) in sums.iter_mut().zip(parts) {
            let part = part.checked_mul(count).ok_or_else(too_much)?;
            *sum = sum.checked_add(part).ok_or_else(too_much)?;
        }
        stored_bytes += shard_length * u64::from(scheme.total) * count;
    }
    let [storage, reserve, fee, total] = sums;
    let nodes = candidates.len();
    let warning = (scheme.total - scheme.required <= 1).then(|| {
        let lost = if scheme.total == scheme.required { "any node" } else { "two nodes" };
        format!("only {nodes} nodes answer: losing {lost} loses the file; run more nodes")
    });
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
        total,
        warning,
    })
}
