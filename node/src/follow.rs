//! Follows the ledger: which shards are paid, which have left the slot table, which grants are void,
//! when the node's window opens, and which sold keys wait for this custodian.
//!
//! The node takes blocks in order. It stores the meaning of each block together with its height in
//! one transaction before it takes the next. After a crash it sees the last block again, so every
//! step here may be done twice. If the ledger no longer keeps the next block, the node goes on from
//! a checkpoint.

use std::collections::{BTreeSet, VecDeque};

use symbolon_ledger::{Ledger, LedgerError};
use symbolon_protocol::{
    Amount,
    custody::VaultKey,
    id::{AccountId, DealId, LinkId, NodeId, OrderId, VaultId},
    ledger::{
        block::{Block, Event, Header, Reason},
        rows::{MotionState, Slot, Table},
        slot_rate,
        transaction::{Acceptance, Action, DealTerms},
    },
};
use symbolon_store::{Change, Shard, ShardState, StoreError};
use thiserror::Error;
use tracing::{debug, error, info, warn};

use crate::{
    admission::Paid,
    checkpoint, custodian,
    node::NodeFailure,
    register,
    shared::{Backoff, Shared, Stopped},
};

/// Follows block after block until the node stops. If a block itself cannot be followed, and not
/// only because the ledger does not answer, it logs an error, tries again, and finally fails the
/// node. Such a node would neither be paid nor learn of revocations.
pub(crate) async fn follow_ledger(shared: &Shared) {
    let mut backoff = Backoff::new(FIRST_RETRY_MS, LAST_RETRY_MS);
    let mut refused = 0;
    loop {
        let before = shared.view.height();
        let Err(error) = follow_blocks(shared).await else { return };
        if before < shared.view.height() {
            backoff = Backoff::new(FIRST_RETRY_MS, LAST_RETRY_MS);
            refused = 0;
        }
        let height = shared.view.height() + 1;
        let gone_on = match error {
            CannotFollow::Ledger(LedgerError::Pruned { oldest, .. }) => tokio::select! {
                biased;
                () = shared.stopped() => return,
                gone_on = checkpoint::go_on(shared, oldest) => gone_on,
            },
            error => Err(error),
        };
        match gone_on {
            // The pause follows here too: a ledger may say so again and again.
            Ok(()) => {}
            Err(error) if error.is_answer() => {
                refused += 1;
                error!(height, attempts = refused, %error, "the ledger's answer for this block cannot be followed");
                if refused == REFUSED_MAX {
                    let why = error.to_string();
                    shared.view.failed.send_replace(Some(NodeFailure { height, why }));
                    return;
                }
            }
            Err(error) => warn!(height, %error, "the ledger cannot be followed now"),
        }
        if backoff.wait(shared).await == Err(Stopped) {
            return;
        }
    }
}

/// Takes blocks until one cannot be taken. Returns `Ok` when the node stops.
async fn follow_blocks(shared: &Shared) -> Result<(), CannotFollow> {
    let mut follow = shared.ledger.follow(shared.view.height() + 1);
    loop {
        let block = tokio::select! {
            biased;
            () = shared.stopped() => return Ok(()),
            block = follow.next() => block?,
        };
        let digest = Digest::new(&shared.key.id(), &block);
        take(shared, &block.header.header, &digest).await?;
    }
}

/// Why blocks, or the rows in their place, could not be taken.
#[derive(Debug, Error)]
pub(crate) enum CannotFollow {
    /// The ledger did not answer, or its answer is not valid.
    #[error("{0}")]
    Ledger(#[from] LedgerError),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl CannotFollow {
    /// Whether the ledger answered. Then asking again only helps if it gives another answer.
    fn is_answer(&self) -> bool {
        match self {
            Self::Ledger(error) => {
                error.servers_fault() || matches!(error, LedgerError::Refused { .. })
            }
            Self::Store(_) => false,
        }
    }
}

/// Asks for the head regularly. So the node knows that its view is complete even while there are no
/// new blocks.
pub(crate) async fn keep_fresh(shared: &Shared) {
    let every_ms = (shared.options.limits.stale_ms / 4).clamp(MIN_HEAD_MS, MAX_HEAD_MS);
    loop {
        if shared.freshen(every_ms / 2).await.is_err() {
            debug!("the view of the ledger is not complete");
        }
        if shared.sleep_ms(every_ms).await == Err(Stopped) {
            return;
        }
    }
}

/// Takes a block: stores its meaning, then acts on it.
async fn take(shared: &Shared, header: &Header, digest: &Digest) -> Result<(), StoreError> {
    let (height, changes) = (header.height, digest.changes());
    let paid = shared.with_store(move |store| store.follow(height, &changes)).await?;
    count_opened(shared, &paid, &digest.opened).await?;
    if digest.left {
        // The deletion asks the ledger, so blocks do not wait for it.
        shared.view.shards_left.notify_one();
    }
    for order in &digest.paid {
        shared.schedule.add(*order);
    }
    for order in &digest.asked {
        shared.questions.add(*order);
    }
    shared.view.earn(digest.earned);
    shared.view.reached(height, header.facts.time_ms, shared.host.ticks_ms());
    if let Some(epoch) = digest.epoch {
        shared.view.epoch_began(epoch);
    }
    shared.read_params(digest.motion).await;
    if let Some(epoch) = digest.window {
        shared.view.window_opened(epoch);
    }
    for Dealt { vault, owner, key, ours } in digest.vaults.iter().cloned() {
        custodian::vault_dealt(shared, vault, owner, key).await?;
        if ours {
            shared.schedule.dealt();
        }
    }
    if digest.lost {
        shared.view.shards_lost.notify_one();
    }
    if digest.died {
        error!("this node has missed so many epochs that it loses all its shards");
        register::doubt(shared);
    }
    for registered in &digest.registered {
        register::was_registered(shared, registered);
    }
    Ok(())
}

/// Counts the shards that are paid now. Logs an error for each deal that was opened with a shard
/// that this node does not have.
async fn count_opened(
    shared: &Shared,
    paid: &[Shard],
    opened: &[(DealTerms, Acceptance)],
) -> Result<(), StoreError> {
    for shard in paid {
        shared.admission.count_paid(&shard.info.owner, shard.info.length);
        info!(deal = %shard.info.deal, index = shard.info.index, "deal opened");
    }
    let paid: BTreeSet<_> = paid.iter().map(|shard| (shard.info.deal, shard.info.index)).collect();
    for (terms, acceptance) in opened {
        let (deal, index, root) = (terms.deal(), acceptance.index, acceptance.root);
        if paid.contains(&(deal, index)) {
            continue;
        }
        let shard = shared.with_store(move |store| store.info(&deal, index)).await?;
        if shard.is_none_or(|shard| shard.root != root) {
            error!(%deal, index, "a deal was opened with a shard that this node does not have");
        }
    }
    Ok(())
}

/// Whether a shard on disk counts as paid.
pub(crate) fn paid(shard: &Shard) -> Paid {
    match shard.state {
        ShardState::Unpaid { .. } => Paid::No,
        ShardState::Active | ShardState::Ended => Paid::Yes,
    }
}

/// Visits all rows of a table, page by page.
pub(crate) async fn for_each<T: Table + Copy>(
    ledger: &Ledger,
    table: T,
    mut visit: impl FnMut(T::Key, T::Row),
) -> Result<(), LedgerError> {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = ledger.scan(table, &[], after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else {
            return Ok(());
        };
        after = Some(last.clone());
        for (key, row) in page {
            if let Some(key) = T::parse(&key) {
                visit(key, row);
            }
        }
    }
}

/// The meaning of a block for this node.
#[derive(Debug, Default)]
struct Digest {
    /// Deals that were opened with a shard of this node.
    opened: Vec<(DealTerms, Acceptance)>,
    /// Whether this node need not keep a shard any longer.
    left: bool,
    /// Revoked grant links, and the accounts that revoked them.
    revoked: Vec<(LinkId, AccountId)>,
    /// Refunded orders, whose grants are void.
    refunded: Vec<OrderId>,
    /// Orders whose keys may be released.
    paid: Vec<OrderId>,
    /// Orders whose buyers ask nodes for a cell.
    asked: Vec<OrderId>,
    /// The last epoch that began.
    epoch: Option<u64>,
    /// The epoch of this node's last window that opened.
    window: Option<u64>,
    /// The amount that this node earned.
    earned: Amount,
    /// Vaults that were opened with this node as a custodian, and all that were dealt anew.
    vaults: Vec<Dealt>,
    /// Registrations under this node's key.
    registered: Vec<Action>,
    /// Whether the ledger takes all shards from this node.
    died: bool,
    /// Whether any node has lost a shard.
    lost: bool,
    /// Whether a motion has taken effect: it may have changed parameters.
    motion: bool,
    /// Shards of a running deal that were given to this node, in their order.
    placed: VecDeque<(DealTerms, Acceptance)>,
    /// What the store notes of all this, in its order: a shard may be spared and given to the same node in one block, on new
    /// terms.
    shards: Vec<Change>,
}

/// A vault as it was dealt last.
#[derive(Clone, Debug)]
struct Dealt {
    vault: VaultId,
    owner: AccountId,
    key: VaultKey,
    /// Whether this node is one of its custodians now.
    ours: bool,
}

impl Digest {
    fn new(node: &NodeId, block: &Block) -> Self {
        let mut digest = Self::default();
        for transaction in &block.transactions {
            match &transaction.action {
                Action::OpenDeal { terms, acceptances, .. } => {
                    // A deal may be opened and ended in one block, so openings come first.
                    for acceptance in acceptances.iter().filter(|one| one.node == *node) {
                        digest.open(terms.clone(), acceptance.clone());
                    }
                }
                Action::PlaceShards { terms, acceptances, .. } => {
                    let ours = acceptances.iter().filter(|one| one.node == *node);
                    digest.placed.extend(ours.map(|one| (terms.clone(), one.clone())));
                }
                Action::OpenVault { opening, key, custodians }
                    if custodians.iter().any(|custodian| custodian.node == *node) =>
                {
                    let owner = transaction.sender;
                    let vault = VaultId::of(&owner, opening);
                    // No order can wait for a vault that was not there.
                    digest.vaults.push(Dealt { vault, owner, key: key.clone(), ours: false });
                }
                Action::RotateVault { vault, key, custodians } => {
                    let (vault, owner) = (*vault, transaction.sender);
                    let ours = custodians.iter().any(|custodian| custodian.node == *node);
                    digest.vaults.push(Dealt { vault, owner, key: key.clone(), ours });
                }
                action @ Action::RegisterNode { .. } if transaction.sender == (*node).into() => {
                    digest.registered.push(action.clone());
                }
                _ => {}
            }
        }
        for event in &block.events {
            digest.add(node, event);
        }
        digest
    }

    fn open(&mut self, terms: DealTerms, acceptance: Acceptance) {
        let (deal, length) = (terms.deal(), terms.length);
        let Acceptance { index, root, price, .. } = acceptance;
        self.opened.push((terms, acceptance));
        self.shards.push(Change::Opened { deal, index, root });
        // The ledger refuses a deal whose rate is out of range.
        if let Some(rate) = slot_rate(price, length) {
            // When it will leave is the ledger's to know.
            let slot = Slot { deal, index, root, length, rate, leaves: u64::MAX };
            self.shards.push(Change::SlotWaits { slot });
        }
    }

    /// The changes for the store.
    fn changes(&self) -> Vec<Change> {
        let revoked =
            self.revoked.iter().map(|(link, by)| Change::Revoked { link: *link, by: *by });
        // An order's id may be used again when its row has left.
        let ordered = self.paid.iter().map(|order| Change::Ordered { order: *order });
        let refunded = self.refunded.iter().map(|order| Change::Refunded { order: *order });
        let shards = self.shards.iter().copied();
        shards.chain(revoked).chain(ordered).chain(refunded).collect()
    }

    fn ended(&mut self, deal: DealId) {
        self.left = true;
        self.shards.push(Change::Ended { deal });
    }

    fn add(&mut self, node: &NodeId, event: &Event) {
        match event {
            Event::EpochBegan { epoch } => self.epoch = Some(*epoch),
            Event::ShardJoined { node: of, deal } if of == node => {
                // It left the table a moment ago to join it on new terms.
                self.shards.retain(|change| *change != Change::Ended { deal: *deal });
                self.shards.push(Change::SlotJoined { deal: *deal });
            }
            Event::ShardLeft { node: of, deal } if of == node => {
                self.ended(*deal);
                self.shards.push(Change::SlotLeft { deal: *deal });
            }
            Event::ShardSpared { node: of, deal } if of == node => {
                self.ended(*deal);
                self.shards.push(Change::SlotSpared { deal: *deal });
            }
            Event::ShardPlaced { deal, index, node: of } if of == node => {
                let of_event = |(terms, accepted): &(DealTerms, Acceptance)| {
                    terms.deal() == *deal && accepted.index == *index
                };
                let found = self.placed.iter().position(of_event);
                if let Some((terms, accepted)) = found.and_then(|at| self.placed.remove(at)) {
                    self.open(terms, accepted);
                }
            }
            Event::NodeDied { node: of } if of == node => self.died = true,
            Event::ShardLost { .. } => self.lost = true,
            Event::MotionDecided { state: MotionState::Done, .. } => self.motion = true,
            Event::WindowOpened { node: of, epoch } if of == node => self.window = Some(*epoch),
            Event::OrderPaid { order } => self.paid.push(*order),
            Event::CellAsked { order, .. } => self.asked.push(*order),
            Event::OrderRefunded { order } => self.refunded.push(*order),
            Event::Revoked { link, by } => self.revoked.push((*link, *by)),
            Event::Moved { amount, reason: Reason::Proven { node: earner, .. }, .. }
                if earner == node =>
            {
                self.earned = self.earned.checked_add(*amount).unwrap_or(self.earned);
            }
            _ => {}
        }
    }
}

/// How often a block is requested whose answer cannot be followed, before the node fails: about two
/// minutes of pauses.
const REFUSED_MAX: u32 = 12;
/// The first pause after a failure, in milliseconds.
const FIRST_RETRY_MS: u64 = 200;
/// The longest pause after a failure, in milliseconds.
const LAST_RETRY_MS: u64 = 30_000;
/// The shortest time between two requests for the head, in milliseconds.
const MIN_HEAD_MS: u64 = 1_000;
/// The longest time between two requests for the head, in milliseconds.
const MAX_HEAD_MS: u64 = 60_000;
/// Rows of one page of a scan.
const PAGE: usize = 256;

#[cfg(test)]
mod tests {
    use symbolon_protocol::{
        LedgerTime,
        id::{Hash, ObjectId, Opening, PeerId},
        ledger::rows::Access,
    };

    use super::*;

    const NODE: NodeId = PeerId([7; 32]);

    /// A shard that the ledger gave to the node, in a block whose events come next.
    fn placed() -> (Digest, DealId) {
        let terms = DealTerms {
            owner: AccountId([1; 32]),
            opening: Opening([2; 32]),
            object: ObjectId([3; 16]),
            segment: 0,
            required: 1,
            total: 1,
            length: 1024,
            access: Access::Granted,
            epochs: 9,
        };
        let (price, expires_ms) = (Amount(5), LedgerTime(0));
        let (root, until, signature) = (Hash([4; 32]), 99, [0; 64]);
        let accepted =
            Acceptance { node: NODE, index: 0, root, price, until, expires_ms, signature };
        let deal = terms.deal();
        (Digest { placed: VecDeque::from([(terms, accepted)]), ..Digest::default() }, deal)
    }

    #[test]
    fn a_shard_that_waits_may_be_given_to_its_node_on_new_terms() {
        let (mut digest, deal) = placed();
        digest.add(&NODE, &Event::ShardSpared { node: NODE, deal });
        digest.add(&NODE, &Event::ShardPlaced { deal, index: 0, node: NODE });
        let [ended, spared, opened, waits] = &digest.shards[..] else {
            panic!("{:?}", digest.shards)
        };
        assert_eq!((ended, spared), (&Change::Ended { deal }, &Change::SlotSpared { deal }));
        // What comes last holds: it is paid for, and waits.
        assert_eq!(*opened, Change::Opened { deal, index: 0, root: Hash([4; 32]) });
        assert!(matches!(waits, Change::SlotWaits { slot } if slot.deal == deal));
        // Then the owner ends the deal in the same block.
        digest.add(&NODE, &Event::ShardSpared { node: NODE, deal });
        assert_eq!(digest.shards[4..], [Change::Ended { deal }, Change::SlotSpared { deal }]);
    }

    #[test]
    fn a_shard_that_leaves_and_joins_in_one_turn_has_not_ended() {
        let (mut digest, deal) = placed();
        let other = DealId([9; 16]);
        for left in [deal, other] {
            digest.add(&NODE, &Event::ShardLeft { node: NODE, deal: left });
        }
        digest.add(&NODE, &Event::ShardJoined { node: NODE, deal });
        let (left, joined) = (|deal| Change::SlotLeft { deal }, Change::SlotJoined { deal });
        let expected = [left(deal), Change::Ended { deal: other }, left(other), joined];
        assert_eq!(digest.shards, expected);
    }
}
