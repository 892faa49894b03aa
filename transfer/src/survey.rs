//! Finds the nodes that answer now.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::MutexGuard,
};

use symbolon_net::PeerAddress;
use symbolon_protocol::id::{DealId, NodeId};
use tokio::task::JoinSet;

use crate::{
    Network,
    chain::RECENT_MS,
    durability::Record,
    error::TransferError,
    lock,
    met::{ASKED, Acquaintance, Asked},
    nodes::{Choice, NodeView},
};

/// The shortest time, in milliseconds, to wait for more nodes once enough have answered. The wait
/// is also at least half as long as it took until then.
const LINGER_MS: u64 = 300;

/// The shortest time, in milliseconds, to wait for more nodes while too few have answered.
const LINGER_LONG_MS: u64 = 2_000;
/// That wait is also at least this many times as long as the slowest answer took.
const LINGER_TIMES: u64 = 3;

/// The nodes that answered, and when they were asked.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    pub(crate) answering: Vec<NodeView>,
    /// The records of all present and former nodes, or of a random sample.
    pub(crate) network: Vec<Record>,
    at_ms: u64,
}

impl Network {
    /// The nodes that answer, from a recent survey or a new one. Concurrent callers wait for the
    /// same survey.
    pub(crate) async fn survey(&self) -> Result<Survey, TransferError> {
        let mut survey = self.inner.survey.lock().await;
        let now_ms = self.host().ticks_ms();
        if let Some(survey) = survey.as_ref().filter(|survey| now_ms < survey.at_ms + RECENT_MS) {
            return Ok(survey.clone());
        }
        *survey = None;
        let draw = self.draw();
        let Choice { nodes, drawn } = self.some_nodes(&draw).await?;
        let known = nodes.len();
        // Remembered nodes have not left for good. Only the random sample shows how many nodes do.
        let network = nodes[..drawn].iter().map(|node| Record::of(&node.row)).collect();
        let answering = self.answering(nodes, draw).await;
        if answering.is_empty() {
            return Err(TransferError::NoNodes { known });
        }
        let now = Survey { answering, network, at_ms: self.host().ticks_ms() };
        *survey = Some(now.clone());
        Ok(now)
    }

    /// Forgets which nodes answered: some of them do not any more.
    pub(crate) async fn forget_survey(&self) {
        *self.inner.survey.lock().await = None;
    }

    /// The nodes that fit and answer now, and those that fit and do not answer. Looks at all nodes
    /// on the ledger, because few of them may fit.
    pub async fn find_nodes(
        &self,
        fit: impl Fn(&NodeView) -> bool,
    ) -> Result<(Vec<NodeView>, Vec<NodeId>), TransferError> {
        let mut nodes = self.nodes().await?;
        nodes.retain(fit);
        let ids: Vec<_> = nodes.iter().map(|node| node.id).collect();
        let answering = self.answering(nodes, self.draw()).await;
        let silent = ids.into_iter().filter(|id| answering.iter().all(|node| node.id != *id));
        let silent = silent.collect();
        Ok((answering, silent))
    }

    /// The nodes that fit, of those that answer and may be asked for an upload: of very many nodes only some. After an
    /// upload this asks none of them again, unless none fits: a row may have changed since.
    pub async fn find_some_nodes(
        &self,
        fit: impl Fn(&NodeView) -> bool,
    ) -> Result<Vec<NodeView>, TransferError> {
        let answering = match self.survey().await {
            Ok(survey) => survey.answering,
            Err(TransferError::NoNodes { .. }) => Vec::new(),
            Err(error) => return Err(error),
        };
        let found: Vec<_> = answering.into_iter().filter(&fit).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let draw = self.draw();
        let mut nodes = self.some_nodes(&draw).await?.nodes;
        nodes.retain(fit);
        Ok(self.answering(nodes, draw).await)
    }

    /// A random order of nodes, different for each call.
    fn draw(&self) -> impl Fn(&NodeId) -> [u8; 32] + use<> {
        let seed: [u8; 32] = self.host().random();
        move |node| *blake3::keyed_hash(&seed, &node.0).as_bytes()
    }

    /// The given nodes that answer now, in the given order. Of very many nodes only some are asked,
    /// and those that answered before come first.
    async fn answering(
        &self,
        mut nodes: Vec<NodeView>,
        draw: impl Fn(&NodeId) -> [u8; 32],
    ) -> Vec<NodeView> {
        let all = nodes.iter().map(|node| node.address()).collect();
        let Asked { first, expected, search } = self.met().choose(all, |at| at.id, draw);
        debug_assert!(first.len() <= ASKED, "more nodes than are asked at once");
        let mut answered = self.answering_of(first, expected).await;
        let now_ms = self.host().now_ms();
        let searches = !search.is_empty() && self.met().needs_search(answered.len(), now_ms);
        if searches {
            let expected = if answered.is_empty() { search.len() } else { 0 };
            answered.extend(self.answering_of(search, expected).await);
            self.met().searched(now_ms);
        }
        nodes.retain(|node| answered.contains(&node.id));
        nodes
    }

    /// The given nodes that answer now. All of them are asked.
    pub async fn all_answering(&self, nodes: Vec<PeerAddress>) -> BTreeSet<NodeId> {
        let all = nodes.len();
        self.answering_of(nodes, all).await
    }

    /// The given nodes that answer now. Dead nodes must not delay the others:
    ///
    /// - Once three quarters of the expected nodes have answered, the others get a short time more.
    /// - Before that, they get a time that depends on how long the answers took so far.
    /// - If no node is expected, all get the same short time.
    async fn answering_of(&self, nodes: Vec<PeerAddress>, expected: usize) -> BTreeSet<NodeId> {
        let began_ms = self.host().ticks_ms();
        let mut silent: BTreeMap<NodeId, PeerAddress> =
            nodes.into_iter().map(|node| (node.id, node)).collect();
        let mut asks = JoinSet::new();
        for node in silent.values() {
            let (peers, node) = (self.peers().clone(), node.clone());
            asks.spawn(async move { peers.answers(&node).await.then_some(node.id) });
        }
        let mut answered = Vec::new();
        let mut enough = false;
        let mut until = (expected == 0).then_some(began_ms + LINGER_LONG_MS);
        loop {
            let next = tokio::select! {
                biased;
                next = asks.join_next() => next,
                () = self.sleep_until(until) => None,
            };
            match next {
                None => break,
                Some(Ok(Some(node))) => answered.extend(silent.remove(&node)),
                Some(_) => continue,
            }
            if enough {
                continue;
            }
            enough = expected > 0 && answered.len() * 4 >= expected * 3;
            let now_ms = self.host().ticks_ms();
            let took_ms = now_ms - began_ms;
            let more_ms = if enough {
                LINGER_MS.max(took_ms / 2)
            } else {
                LINGER_LONG_MS.max(took_ms.saturating_mul(LINGER_TIMES))
            };
            until = Some(now_ms + more_ms);
        }
        asks.abort_all();
        let ids = answered.iter().map(|node| node.id).collect();
        let mut met = self.met();
        met.silent(&silent.into_keys().collect());
        met.answered(answered, self.host().now_ms());
        ids
    }

    pub(crate) fn met(&self) -> MutexGuard<'_, Acquaintance> {
        lock(&self.inner.met)
    }

    /// Dials the nodes that answered most recently, which a put or purchase probably needs.
    pub fn greet_latest(&self) {
        let latest = self.met().latest();
        self.peers().greet(latest);
    }

    /// Dials the nodes that may keep a deal's shards.
    pub fn greet_likely_for(&self, deal: &DealId) {
        let likely = self.met().likely_for(deal);
        self.peers().greet(likely);
    }

    /// The remembered nodes for [`Acquaintance::from_bytes`] in a later run; `None` if they have
    /// not changed.
    pub async fn take_met(&self) -> Option<Vec<u8>> {
        let reached = self.peers().all_connected().await;
        let mut met = self.met();
        met.answered(reached, self.host().now_ms());
        met.take_changes()
    }
}
