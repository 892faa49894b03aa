//! Follows the ledger: which shards are paid, which deals are over, which grants are dead, which epoch
//! it is, which sold keys wait for this custodian.
//!
//! Blocks are taken in order and each is kept before the next, so a node that crashed sees the same
//! block again; everything here may be done twice. What a block means is written down in the store in
//! one transaction with its height.

use std::collections::BTreeSet;

use symbolon_ledger::{BlockPage, Ledger, LedgerError};
use symbolon_net::Host;
use symbolon_protocol::{
    Amount,
    id::{AccountId, DealId, LinkId, NodeId, OrderId, VaultId},
    ledger::{
        block::{Event, Header, Reason},
        rows::{Order, OrderState, Orders, Revocations, Slot, Table},
        slot_rate,
        transaction::{Acceptance, Action, DealTerms},
    },
};
use symbolon_store::{Change, Shard, ShardState, Shards, StoreError};
use thiserror::Error;
use tracing::{debug, error, info, warn};

use crate::{
    admission::Paid,
    custodian,
    node::{NodeError, NodeFailure},
    register,
    shared::{Backoff, Shared, Stopped},
};

/// Follows block after block until the node stops. Where it cannot go on because of what it is told, and not
/// because nobody answers, it says so, and in the end it fails: it would neither be paid nor know what is revoked.
pub(crate) async fn follow_ledger(shared: &Shared) {
    let mut backoff = Backoff::new(FIRST_RETRY_MS, LAST_RETRY_MS);
    let mut refused = 0;
    loop {
        let mut follow = shared.ledger.follow(shared.view.height() + 1);
        let mut digest = Digest::default();
        let error = loop {
            let next = tokio::select! {
                biased;
                () = shared.stopped() => return,
                next = follow.page() => next,
            };
            let taken = match next {
                Ok(page) => {
                    digest.add_page(&shared.key.id(), &page);
                    if page.more {
                        continue;
                    }
                    let whole = std::mem::take(&mut digest);
                    take(shared, &page.header.header, &whole).await.map_err(CannotFollow::Store)
                }
                Err(error) => Err(CannotFollow::Ledger(error)),
            };
            match taken {
                Ok(()) => {
                    backoff = Backoff::new(FIRST_RETRY_MS, LAST_RETRY_MS);
                    refused = 0;
                }
                Err(error) => break error,
            }
        };
        let height = shared.view.height() + 1;
        if error.is_said() {
            refused += 1;
            error!(height, attempts = refused, %error, "what the ledger says of this block cannot be followed");
            if refused == REFUSED_MAX {
                let why = error.to_string();
                shared.view.failed.send_replace(Some(NodeFailure { height, why }));
                return;
            }
        } else {
            warn!(height, %error, "cannot follow the ledger");
        }
        if backoff.wait(shared).await == Err(Stopped) {
            return;
        }
    }
}

/// Why a block was not taken.
#[derive(Debug, Error)]
enum CannotFollow {
    #[error("{0}")]
    Ledger(LedgerError),
    #[error("{0}")]
    Store(StoreError),
}

impl CannotFollow {
    /// Whether the ledger answered, and asking again only helps when it answers otherwise.
    fn is_said(&self) -> bool {
        match self {
            Self::Ledger(error) => {
                error.servers_fault() || matches!(error, LedgerError::Refused { .. })
            }
            Self::Store(_) => false,
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
        if shared.sleep_ms(every_ms).await == Err(Stopped) {
            return;
        }
    }
}

/// Takes a block: keeps what it means, then acts on it.
async fn take(shared: &Shared, header: &Header, digest: &Digest) -> Result<(), StoreError> {
    let (height, changes) = (header.height, digest.changes());
    let paid = shared.with_store(move |store| store.follow(height, &changes)).await?;
    count_opened(shared, &paid, &digest.opened).await?;
    if !digest.ended.is_empty() {
        // That asks the ledger, and blocks do not wait for it.
        shared.view.deals_ended.notify_one();
    }
    for order in &digest.paid {
        shared.schedule.paid(*order);
    }
    shared.view.earn(digest.earned);
    shared.view.reached(height, header.facts.time_ms, shared.host.ticks_ms());
    if let Some(epoch) = digest.epoch {
        shared.view.epoch_began(epoch);
    }
    for vault in &digest.vaults {
        custodian::vault_opened(shared, *vault).await?;
    }
    for registered in &digest.registered {
        register::was_registered(shared, registered);
    }
    Ok(())
}

/// Shards are paid from here on; and where the ledger pays for one that is not here, that has to be said.
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
        let (deal, index, root) = (terms.deal, acceptance.index, acceptance.root);
        if paid.contains(&(deal, index)) {
            continue;
        }
        let shard = shared.with_store(move |store| store.info(&deal, index)).await?;
        if shard.is_none_or(|shard| shard.root != root) {
            error!(%deal, index, "a deal was opened for a shard this node does not have");
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

/// The last height this node need not follow: what the store says, or for a new store the head of the
/// ledger, once all that is dead by then is remembered.
pub(crate) async fn first_height(
    ledger: &Ledger,
    host: &Host,
    store: &Shards,
) -> Result<u64, NodeError> {
    if let Some(height) = store.height()? {
        return Ok(height);
    }
    // Read before the scans: what dies while they run is in a later block.
    let height = ledger.head().await?.header.height;
    let mut changes = Vec::new();
    for_each(ledger, Revocations, |(link, by), _| {
        changes.push(Change::Revoked { link, by });
    })
    .await?;
    for_each(ledger, Orders, |order, row: Order| {
        if row.state == OrderState::Refunded {
            changes.push(Change::Refunded { order });
        }
    })
    .await?;
    let store = store.clone();
    host.blocking(move || store.follow(height, &changes)).await?;
    Ok(height)
}

/// All rows of a table, page by page.
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

/// What a block means to this node: gathered page by page, and kept as a whole.
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
    /// Vaults that were opened with this node as a custodian.
    vaults: Vec<VaultId>,
    /// What was registered in this node's name.
    registered: Vec<Action>,
    /// Changes of its slot table by the beginning of an epoch, which comes before the transactions.
    slots_turned: Vec<Change>,
    /// Changes of its slot table that wait for the next epoch.
    slots_queued: Vec<Change>,
}

impl Digest {
    fn add_page(&mut self, node: &NodeId, page: &BlockPage) {
        for transaction in &page.transactions {
            match &transaction.action {
                Action::OpenDeal { terms, acceptances, .. } => {
                    let ours = acceptances.iter().filter(|acceptance| acceptance.node == *node);
                    ours.for_each(|acceptance| self.open(terms, acceptance));
                }
                Action::OpenVault { vault, custodians, .. }
                    if custodians.iter().any(|custodian| custodian.node == *node) =>
                {
                    self.vaults.push(*vault);
                }
                Action::EndDeal { deal } => {
                    self.slots_queued.push(Change::SlotLeaves { deal: *deal });
                }
                action @ Action::RegisterNode { .. } if transaction.sender == (*node).into() => {
                    self.registered.push(action.clone());
                }
                _ => {}
            }
        }
        for event in &page.events {
            self.add(node, event);
        }
    }

    fn open(&mut self, terms: &DealTerms, acceptance: &Acceptance) {
        self.opened.push((terms.clone(), acceptance.clone()));
        let (deal, length) = (terms.deal, terms.length);
        let Acceptance { index, root, price, .. } = *acceptance;
        // The ledger takes no deal whose rate nobody can count in.
        if let Some(rate) = slot_rate(price, length) {
            let slot = Slot { deal, index, root, length, rate };
            self.slots_queued.push(Change::SlotJoins { slot });
        }
    }

    /// What the store has to remember of it.
    fn changes(&self) -> Vec<Change> {
        let opened = self.opened.iter().map(|(terms, acceptance)| Change::Opened {
            deal: terms.deal,
            index: acceptance.index,
            root: acceptance.root,
        });
        let ended = self.ended.iter().map(|deal| Change::Ended { deal: *deal });
        let revoked =
            self.revoked.iter().map(|(link, by)| Change::Revoked { link: *link, by: *by });
        let refunded = self.refunded.iter().map(|order| Change::Refunded { order: *order });
        let slots = self.slots_turned.iter().chain(&self.slots_queued).copied();
        // A deal may be opened and ended in one block: opened first.
        opened.chain(ended).chain(revoked).chain(refunded).chain(slots).collect()
    }

    fn add(&mut self, node: &NodeId, event: &Event) {
        match event {
            Event::EpochBegan { epoch } => {
                self.epoch = Some(*epoch);
                self.slots_turned.push(Change::SlotsTurn { epoch: *epoch });
            }
            Event::DealEnded { deal } => {
                self.ended.push(*deal);
                self.slots_turned.push(Change::SlotEnded { deal: *deal });
            }
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

/// How often what is said of one block is asked for before the node fails: some two minutes of pauses.
const REFUSED_MAX: u32 = 12;
/// Pauses after a failure, at first and at most, in milliseconds.
const FIRST_RETRY_MS: u64 = 200;
const LAST_RETRY_MS: u64 = 30_000;
/// How often the head is asked for, at most and at least, in milliseconds.
const MIN_HEAD_MS: u64 = 1_000;
const MAX_HEAD_MS: u64 = 60_000;
/// Rows and shards looked at in one go.
const PAGE: usize = 256;
