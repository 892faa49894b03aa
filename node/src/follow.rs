//! Follows the ledger: which shards are paid, which deals are over, which grants are dead, which epoch
//! it is, which sold keys wait for this custodian.
//!
//! Blocks are taken in order and each is kept before the next, so a node that crashed sees the same
//! block again; everything here may be done twice. What a block means is written down in the store in
//! one transaction with its height.

use std::{sync::Arc, time::Duration};

use symbolon_protocol::{
    Amount,
    id::{AccountId, DealId, LinkId, OrderId},
    ledger::{
        block::{Block, Event, Reason},
        rows::{Order, OrderState, Orders, Revocations, Table},
        transaction::{Acceptance, Action, DealTerms},
    },
};
use tracing::{debug, error, info, warn};

use crate::{
    admission::Paid,
    shared::{Backoff, Shared, Stopped},
};

/// Follows block after block until the node stops.
pub(crate) async fn follow_ledger(shared: &Shared) {
    let mut backoff = Backoff::new(FIRST_RETRY_MS, LAST_RETRY_MS);
    loop {
        let mut follow = shared.ledger.follow(shared.view.height() + 1);
        loop {
            let next = tokio::select! {
                biased;
                () = shared.stopped() => return,
                next = follow.next() => next,
            };
            let taken = match next {
                Ok(block) => take(shared, &block).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match taken {
                Ok(()) => backoff = Backoff::new(FIRST_RETRY_MS, LAST_RETRY_MS),
                Err(why) => {
                    warn!(height = shared.view.height(), why, "cannot follow the ledger");
                    break;
                }
            }
        }
        if backoff.wait(shared).await == Err(Stopped) {
            return;
        }
    }
}

/// Asks for the head now and then, so that the node knows that its view is complete even while no
/// blocks come.
pub(crate) async fn keep_fresh(shared: &Shared) {
    let every_ms = (shared.options.limits.stale_ms / 4).clamp(MIN_HEAD_MS, MAX_HEAD_MS);
    loop {
        if shared.freshen(every_ms / 2).await.is_err() {
            debug!("the view of the ledger is not complete");
        }
        let next_ms = shared.host.now_ms().saturating_add(every_ms);
        if shared.sleep_until_ms(next_ms).await == Err(Stopped) {
            return;
        }
    }
}

/// What a block means to this node.
#[derive(Debug, Default)]
struct Digest {
    /// Deals whose shard here is paid now.
    opened: Vec<(DealTerms, Acceptance)>,
    /// Deals that are over.
    ended: Vec<DealId>,
    /// Dead grant links, and who killed them.
    revoked: Vec<(LinkId, AccountId)>,
    /// Orders whose grants are dead.
    refunded: Vec<OrderId>,
    /// Orders whose keys may be released.
    paid: Vec<OrderId>,
    /// The last epoch that began.
    epoch: Option<u64>,
    /// What this node earned.
    earned: Amount,
}

impl Digest {
    fn of(node: &NodeId, block: &Block) -> Self {
        let mut digest = Self::default();
        for transaction in &block.transactions {
            if let Action::OpenDeal { terms, acceptances, .. } = &transaction.action {
                let ours = acceptances.iter().filter(|acceptance| acceptance.node == *node);
                digest.opened.extend(ours.map(|acceptance| (terms.clone(), acceptance.clone())));
            }
        }
        for event in &block.events {
            digest.add(node, event);
        }
        digest
    }

    fn add(&mut self, node: &NodeId, event: &Event) {
        match event {
            Event::EpochBegan { epoch } => self.epoch = Some(*epoch),
            Event::DealEnded { deal } => self.ended.push(*deal),
            Event::OrderPaid { order } => self.paid.push(*order),
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
