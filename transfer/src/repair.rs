//! Gives shards of a deal to other nodes, lost ones above all: reads the shards that are left, computes the lost ones group by group,
//! sends them, and has the ledger note their new nodes.
//!
//! Nothing is opened. What is read is checked against the roots on the ledger, and what is computed has to have the root
//! that the lost shard had. Neither disk nor memory ever holds a whole shard. A caretaker does the same with the masks of the
//! shards of its claim alone: see [`Claimed`].

mod claimed;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use symbolon_protocol::{
    Amount,
    grant::ability,
    id::{DealId, Hash, NodeId},
    ledger::{
        fee,
        rows::{Deal, HoldKey, Holds},
        slot_rate,
        transaction::{Acceptance, Action, DealTerms},
    },
    proof::ShardHasher,
    wire::storage::{Authority, Request},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{
    Network,
    download::{Group, LeavesWanted, Reading, Span, group_count},
    draw::acceptable,
    error::TransferError,
    owner::{Owner, transaction_id},
    peers::PeerError,
    place::Candidate,
    progress::Progress,
    upload::{GOOD_FOR, LANE_CELLS, Paid, Sending, Tally},
};

pub use claimed::Claimed;

/// A deal with lost shards, and who repairs it.
#[derive(Clone, Debug)]
pub struct Repair {
    /// The owner, who pays what the deal's hold does not have.
    pub owner: Owner,
    /// How to read the object.
    pub reading: Reading,
    /// The deal.
    pub deal: DealId,
    /// Its row.
    pub row: Deal,
    /// The nodes that may be asked to keep a shard.
    pub candidates: Vec<Candidate>,
    /// Shards that are kept, but on terms that end too soon: their nodes are asked for new ones, or others take them.
    pub moving: BTreeSet<u8>,
}

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The shards that have a node again.
    pub placed: Vec<(u8, NodeId)>,
    /// The shards for which no node was found.
    pub left: Vec<u8>,
    /// What the owner paid.
    pub cost: Amount,
}

/// Lost shards on their way to nodes.
struct Lanes {
    open: Vec<Lane>,
    tasks: JoinSet<Result<Acceptance, PeerError>>,
}

/// A lost shard on its way to a node.
struct Lane {
    index: u8,
    cells: Option<mpsc::Sender<Bytes>>,
    root: oneshot::Sender<Hash>,
    hasher: ShardHasher,
    /// Whether any of its bytes were computed.
    fed: bool,
}

impl Network {
    /// Repairs a deal as far as there are nodes for its lost shards. `paid` counts what the owner pays, and `cost_max`
    /// limits it.
    pub async fn repair(
        &self,
        repair: &Repair,
        (paid, cost_max): (&Paid, Option<Amount>),
        progress: &Progress,
    ) -> Result<Repaired, TransferError> {
        let terms = repair.terms(self.recent_chain().await?.epoch);
        let mut lost: BTreeSet<u8> = repair.row.lost().map(|(index, _)| index).collect();
        lost.extend(&repair.moving);
        let mut others = self.other_nodes(repair.deal, &repair.row, &repair.candidates).await?;
        let mut accepted = Vec::new();
        let staying = repair.staying();
        if !staying.is_empty() {
            for acceptance in self.send_lost(repair, (&terms, staying), progress).await? {
                lost.remove(&acceptance.index);
                accepted.push(acceptance);
            }
        }
        while !lost.is_empty() && 0 < others.left() {
            let pairs: Vec<_> = lost.iter().copied().zip(others.next(lost.len())).collect();
            for acceptance in self.send_lost(repair, (&terms, pairs), progress).await? {
                lost.remove(&acceptance.index);
                others.took(&acceptance.node);
                accepted.push(acceptance);
            }
        }
        let left = lost.into_iter().collect();
        if accepted.is_empty() {
            return Ok(Repaired { left, ..Repaired::default() });
        }
        let placed = accepted.iter().map(|accepted| (accepted.index, accepted.node)).collect();
        let cost = self.place_lost(repair, (terms, accepted), (paid, cost_max)).await?;
        Ok(Repaired { placed, left, cost })
    }

    /// Computes lost shards and sends each to its node. Gives the acceptances of those that took theirs.
    async fn send_lost(
        &self,
        repair: &Repair,
        (terms, pairs): (&DealTerms, Vec<(u8, Candidate)>),
        progress: &Progress,
    ) -> Result<Vec<Acceptance>, TransferError> {
        let grant = self.own_grant(&repair.owner, repair.row.object, ability::STORE)?;
        let mut lanes = self.open_lanes(terms, pairs, &grant.into()).await?;
        // Where all nodes have their shards already, there is nothing to compute.
        if lanes.want_bytes() {
            self.rebuild(repair, &mut lanes, progress).await?;
        }
        lanes.close(&repair.row).await
    }

    /// Reads the shards that are left, and feeds the lanes with the lost ones.
    async fn rebuild(
        &self,
        repair: &Repair,
        lanes: &mut Lanes,
        progress: &Progress,
    ) -> Result<(), TransferError> {
        let segment = repair.row.segment;
        let layout = repair.reading.manifest.layout();
        let layout = layout.and_then(|layout| layout.segment(segment));
        let layout =
            layout.map_err(|error| TransferError::Corrupt { segment, why: error.into() })?;
        let shards = lanes.open.iter().fold(0_u128, |all, lane| all | 1 << lane.index);
        let leaves = LeavesWanted::Rebuilt(shards);
        let reading = Reading { leaves, ..repair.reading.clone() };
        let span = Span { segment, first: 0, end: group_count(&layout) };
        let mut groups = self.read(reading, std::iter::once(span), progress);
        while let Some(group) = groups.next().await {
            let Group { rebuilt, .. } = group?;
            let rebuilt = rebuilt.into_iter().map(|(index, bytes)| (index, bytes.into()));
            lanes.feed(rebuilt.collect()).await;
        }
        Ok(())
    }

    async fn place_lost(
        &self,
        repair: &Repair,
        (terms, acceptances): (DealTerms, Vec<Acceptance>),
        (paid, cost_max): (&Paid, Option<Amount>),
    ) -> Result<Amount, TransferError> {
        let Repair { row, deal, owner, .. } = repair;
        let chain = self.recent_chain().await?;
        let left = row.end.saturating_sub(chain.epoch.saturating_add(1));
        let rates = acceptances.iter().map(|accepted| slot_rate(accepted.price, row.length));
        let cost = rates
            .map(|rate| rate?.checked_mul(left))
            .try_fold(Amount::ZERO, |sum, part| sum.checked_add(part?));
        let hold = self.ledger().row(Holds, &HoldKey::Deal { deal: *deal }).await?;
        let there = hold.and_then(|hold| {
            // What was forfeited pays for lost shards alone.
            let forfeited = hold.forfeited.min(repair.cost_of_lost(&acceptances, left)?);
            let own = hold.amount.checked_sub(hold.forfeited)?;
            own.checked_add(forfeited)?.checked_add(repair.freed(&acceptances, chain.epoch)?)
        });
        let own = cost.map(|cost| {
            let there = there.unwrap_or(Amount::ZERO);
            cost.checked_sub(there).unwrap_or(Amount::ZERO)
        });
        let about: Vec<u8> = acceptances.iter().flat_map(|accepted| accepted.signature).collect();
        let id = transaction_id("place shards", &about);
        let limited = |cost_max| Action::PlaceShards {
            terms: terms.clone(),
            acceptances: acceptances.clone(),
            cost_max,
        };
        let fee = fee(&chain.params, &limited(Amount::ZERO));
        let own = own.and_then(|own| own.checked_add(fee)).ok_or(TransferError::PriceTooLarge)?;
        if let Some(limit) = cost_max.filter(|limit| own > *limit) {
            return Err(TransferError::CostTooHigh { cost: own, limit });
        }
        let action = limited(own);
        paid.add(own);
        self.send(&owner.account_key, id, action).await.inspect_err(|error| {
            if error.is_refusal() {
                paid.take_back(own);
            }
        })?;
        Ok(own)
    }
}

impl Network {
    /// Offers each lost shard to its node. Returns when every node has said whether it wants the bytes.
    async fn open_lanes(
        &self,
        terms: &DealTerms,
        pairs: Vec<(u8, Candidate)>,
        authority: &Authority,
    ) -> Result<Lanes, TransferError> {
        let good_until_ms = self.ledger().recent_time_ms().await?.saturating_add(GOOD_FOR);
        let tally = Arc::new(Tally::new(&Progress::silent(), 1, (terms.length, terms.length)));
        let (mut tasks, mut waiting) = (JoinSet::new(), Vec::new());
        for (index, candidate) in pairs {
            let (wanted_tx, wanted) = oneshot::channel();
            let (cells, cells_rx) = mpsc::channel(LANE_CELLS);
            let (root, root_rx) = oneshot::channel();
            let (terms, price) = (terms.clone(), candidate.price);
            let authority = authority.clone();
            let request = Request::Store { terms: terms.clone(), index, price, authority };
            let sending = Sending {
                network: self.clone(),
                terms,
                index,
                candidate,
                good_until_ms,
                wanted: wanted_tx,
                cells: cells_rx,
                root: root_rx,
                tally: tally.clone(),
            };
            tasks.spawn(async move { sending.run(&request).await });
            let lane =
                Lane { index, cells: Some(cells), root, hasher: ShardHasher::new(), fed: false };
            waiting.push((wanted, lane));
        }
        let mut open = Vec::new();
        for (wanted, mut lane) in waiting {
            // A node that has its shard already needs no bytes, but its root is computed all the same.
            if !wanted.await.unwrap_or(false) {
                lane.cells = None;
            }
            open.push(lane);
        }
        Ok(Lanes { open, tasks })
    }
}

impl Lanes {
    /// Whether a node waits for bytes.
    fn want_bytes(&self) -> bool {
        self.open.iter().any(|lane| lane.cells.is_some())
    }

    /// Sends the next bytes of every shard.
    async fn feed(&mut self, mut rebuilt: BTreeMap<u8, Bytes>) {
        for lane in &mut self.open {
            let bytes = rebuilt.remove(&lane.index).unwrap_or_default();
            lane.hasher.update(&bytes);
            lane.fed = true;
            if let Some(cells) = &lane.cells
                && cells.send(bytes).await.is_err()
            {
                // Its node has failed. The others go on.
                lane.cells = None;
            }
        }
    }

    /// Checks the roots of all shards. Gives the acceptances of the nodes that took theirs.
    async fn close(mut self, row: &Deal) -> Result<Vec<Acceptance>, TransferError> {
        for lane in self.open {
            let known = row.shards[usize::from(lane.index)].map(|shard| shard.root);
            let root = match (known, lane.fed) {
                // Its node says that it has the shard with this root, and signs for it.
                (Some(known), false) => known,
                _ => lane.hasher.finish().0,
            };
            if known != Some(root) {
                let why = "a rebuilt shard has another root than the one that was lost".into();
                return Err(TransferError::Corrupt { segment: row.segment, why });
            }
            drop(lane.cells);
            // A lane whose task has ended needs no root.
            lane.root.send(root).ok();
        }
        let mut accepted = Vec::new();
        while let Some(sent) = self.tasks.join_next().await {
            match sent {
                Ok(Ok(acceptance)) => accepted.push(acceptance),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "a node did not take a lost shard");
                }
                Err(error) => {
                    let why = format!("a sending task panicked: {error}");
                    return Err(TransferError::Internal(why));
                }
            }
        }
        Ok(accepted)
    }
}

impl Repair {
    /// The nodes that keep their shards on new terms: those whose price is acceptable, or that no other undercuts. Nothing
    /// has to be sent to them.
    fn staying(&self) -> Vec<(u8, Candidate)> {
        let limit = acceptable(&self.candidates, self.row.shards.len());
        let stays = |index: &u8| {
            let shard = self.row.shards[usize::from(*index)]?;
            let node = self.candidates.iter().find(|node| node.address.id == shard.node)?;
            let others = self.candidates.iter().filter(|other| {
                self.row.length <= other.free && self.row.kept_by(&other.address.id).is_none()
            });
            let is_cheap = limit.is_some_and(|limit| node.price <= limit);
            let stays =
                is_cheap || others.map(|other| other.price).all(|price| node.price <= price);
            (stays && self.row.length <= node.free).then(|| (*index, node.clone()))
        };
        self.moving.iter().filter_map(stays).collect()
    }

    /// What those of the acceptances that are for lost shards cost for so many epochs.
    fn cost_of_lost(&self, acceptances: &[Acceptance], epochs: u64) -> Option<Amount> {
        let lost = acceptances.iter().filter(|one| !self.moving.contains(&one.index));
        let costs = lost.map(|one| slot_rate(one.price, self.row.length)?.checked_mul(epochs));
        costs.into_iter().try_fold(Amount::ZERO, |sum, cost| sum.checked_add(cost?))
    }

    /// What the nodes that kept these shards are not paid any more.
    fn freed(&self, acceptances: &[Acceptance], epoch: u64) -> Option<Amount> {
        let mut freed = Amount::ZERO;
        for one in acceptances.iter().filter(|one| self.moving.contains(&one.index)) {
            let shard = self.row.shards[usize::from(one.index)]?;
            // One that has not begun is paid for an epoch all the same.
            let first = epoch.max(shard.from.min(epoch + 1)).saturating_add(1);
            let left = self.row.end.saturating_sub(first);
            freed =
                freed.checked_add(slot_rate(shard.price, self.row.length)?.checked_mul(left)?)?;
        }
        Some(freed)
    }

    /// The terms under which nodes accept the lost shards.
    fn terms(&self, epoch: u64) -> DealTerms {
        let Deal { owner, object, segment, required, length, access, end, .. } = self.row;
        DealTerms {
            owner,
            opening: self.reading.key.deal_opening(segment),
            object,
            segment,
            required,
            total: u8::try_from(self.row.shards.len()).expect("a deal has at most 128 shards"),
            length,
            access,
            epochs: end.saturating_sub(epoch.saturating_add(1)).max(1),
        }
    }
}
