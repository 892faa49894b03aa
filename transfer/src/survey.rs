//! Which nodes answer now.

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

/// How long to wait for more nodes once enough have answered, in milliseconds: at least this, and at least
/// half as long as it took until then.
const LINGER_MS: u64 = 300;

/// How long to wait for more nodes while few have answered, in milliseconds: at least this, and at least so
/// many times as long as the slowest of them took.
const LINGER_LONG_MS: u64 = 2_000;
const LINGER_TIMES: u64 = 3;

/// Who answered, and when that was asked.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    pub(crate) answering: Vec<NodeView>,
    /// The records of all nodes there are or were, or of some that were drawn.
    pub(crate) network: Vec<Record>,
    at_ms: u64,
}

impl Network {
    /// Who answers, asked a moment ago or now. Whoever else wants to know meanwhile waits for this answer.
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
        // Nodes that answered before have not left: what was drawn tells how many do.
        let network = nodes[..drawn].iter().map(|node| Record::of(&node.row)).collect();
        let answering = self.answering(nodes, draw).await;
        if answering.is_empty() {
            return Err(TransferError::NoNodes { known });
        }
        let now = Survey { answering, network, at_ms: self.host().ticks_ms() };
        *survey = Some(now.clone());
        Ok(now)
    }

    /// Nodes that fit and answer now, and those that fit and do not. All nodes are looked at: few of them may fit.
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

    /// An order of nodes that is another one each time.
    fn draw(&self) -> impl Fn(&NodeId) -> [u8; 32] + use<> {
        let seed: [u8; 32] = self.host().random();
        move |node| *blake3::keyed_hash(&seed, &node.0).as_bytes()
    }

    /// Those of `nodes` that answer now, in the order given: of very many, some that are asked, those first that
    /// answered before.
    async fn answering(
        &self,
        mut nodes: Vec<NodeView>,
        draw: impl Fn(&NodeId) -> [u8; 32],
    ) -> Vec<NodeView> {
        let all = nodes.iter().map(|node| node.address()).collect();
        let Asked { first, expected, besides } = self.met().choose(all, |at| at.id, draw);
        debug_assert!(first.len() <= ASKED, "so many at once");
        let mut answered = self.answering_of(first, expected).await;
        let now_ms = self.host().now_ms();
        let searches = !besides.is_empty() && self.met().is_to_search(answered.len(), now_ms);
        if searches {
            let expected = if answered.is_empty() { besides.len() } else { 0 };
            answered.extend(self.answering_of(besides, expected).await);
            self.met().searched(now_ms);
        }
        nodes.retain(|node| answered.contains(&node.id));
        nodes
    }

    /// Those of `nodes` that answer now, however many they are.
    pub async fn all_answering(&self, nodes: Vec<PeerAddress>) -> BTreeSet<NodeId> {
        let all = nodes.len();
        self.answering_of(nodes, all).await
    }

    /// Those of `nodes` that answer now. Dead nodes must not hold everything up: when three quarters of those
    /// that are expected have answered, the rest has a moment more; and when fewer have, as long as those who
    /// are there let expect. Where none is expected, all have a moment.
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

    /// Begins to dial those that answered last: whoever stores or buys something will want them.
    pub fn greet_latest(&self) {
        let latest = self.met().latest();
        self.peers().greet(latest);
    }

    /// Begins to dial those that may keep a deal's shards.
    pub fn greet_likely_for(&self, deal: &DealId) {
        let likely = self.met().likely_for(deal);
        self.peers().greet(likely);
    }

    /// Who was met, and where, for [`Acquaintance::from_bytes`] the next time; nothing where that is known.
    pub async fn take_met(&self) -> Option<Vec<u8>> {
        let reached = self.peers().all_connected().await;
        let mut met = self.met();
        met.answered(reached, self.host().now_ms());
        met.take_news()
    }
}
