//! The custodian's part of a sale. It answers a buyer's request with a release. When half of the
//! delivery time is over and the sale is not settled, it posts the release on the ledger.
//!
//! The owner may deal a vault's secret anew. Until then, and for as long as an acceptance is valid, the node has
//! shares of several dealings beside each other. It uses the one that the vault's row on the ledger is of.
//!
//! A buyer that got its release directly acknowledges the sale, so no release has to be posted. If
//! the buyer got none, or does not acknowledge, the posted release makes sure that the seller is
//! paid.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
    sync::{Mutex, MutexGuard},
};

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    Decode, Encode, LedgerTime, Millis,
    codec::{DecodeError, Reader},
    custody::{self, ClaimRequest, CustodyError, Release, ReleaseRequest, Share, VaultKey},
    id::{AccountId, DealId, OrderId, VaultId},
    ledger::{
        Status,
        rows::{
            Cares, Claim, Deals, Listing, Listings, Order, OrderState, Orders, OrdersDue, Vault,
            Vaults,
        },
        transaction::Action,
    },
    record,
};
use symbolon_store::{CustodyLimits, CustodyWaits, StoreError};
use thiserror::Error;
use tokio::sync::Notify;
use tracing::{debug, info, warn};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    follow::{CannotFollow, for_each},
    key::transaction_id,
    shared::{Backoff, Shared, Stopped},
    submit::submit,
};

/// Why a release is not made.
#[derive(Debug, Error)]
pub(crate) enum ReleaseError {
    /// The ledger did not answer.
    #[error("the ledger could not be asked: {0}")]
    Ledger(String),
    /// The order does not exist, or this node has no share of its vault.
    #[error("this node has no part in order {0}")]
    NotOurs(OrderId),
    /// The deal has no care, or this node has no share of its vault.
    #[error("this node has no part in the care of deal {0}")]
    NoShare(DealId),
    /// The order was refunded.
    #[error("the order is in the state {0:?}")]
    NotPaid(OrderState),
    /// The capsule, the delivery key or the stored share is wrong.
    #[error("no release is possible: {0}")]
    Custody(#[from] CustodyError),
    /// The store failed.
    #[error("the store failed: {0}")]
    Store(String),
}

record! {
    /// A custody share as it is stored. It is not encrypted again: only the operator can read the
    /// folder, and the node's secret lies beside it.
    pub(crate) struct StoredShare {
        /// The owner of the vault.
        pub(crate) owner: AccountId,
        /// The vault's public key when the share arrived.
        pub(crate) key: VaultKey,
        /// The index of the share.
        pub(crate) index: u8,
        /// The share's bytes.
        pub(crate) share: ShareBytes,
    }
}

impl StoredShare {
    /// Whether the share belongs to this vault.
    pub(crate) fn is_of(&self, row: &Vault) -> bool {
        row.owner == self.owner && row.key == self.key
    }
}

/// The bytes of a share. They are wiped from memory when they are dropped, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ShareBytes(pub(crate) [u8; 32]);

impl fmt::Debug for ShareBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShareBytes(..)")
    }
}

impl Encode for ShareBytes {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
}

impl Decode for ShareBytes {
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Decode::decode(input).map(Self)
    }
}

impl Drop for ShareBytes {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A share that this node stores.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) share: StoredShare,
    /// Where it is stored among those of its vault.
    slot: u8,
    /// Until when it is kept; absent if the ledger has the vault with its key.
    until_ms: Option<LedgerTime>,
}

/// The shares that this node stores of a vault, of whatever dealing.
pub(crate) async fn stored_shares(
    shared: &Shared,
    vault: VaultId,
) -> Result<Vec<Kept>, ReleaseError> {
    let failed = |error: &dyn Display| ReleaseError::Store(error.to_string());
    let rows = shared.with_store(move |store| store.custody(&vault)).await;
    let rows = rows.map_err(|error| failed(&error))?.into_iter().map(|row| {
        let (slot, until_ms, bytes) = (row.slot, row.until_ms, Zeroizing::new(row.share));
        Ok(Kept { share: StoredShare::from_bytes(&bytes)?, slot, until_ms })
    });
    rows.collect::<Result<_, DecodeError>>().map_err(|error| failed(&error))
}

/// The share of a vault's present dealing, if this node is one of its custodians.
async fn present_share(
    shared: &Shared,
    vault: VaultId,
) -> Result<Option<(StoredShare, Vault)>, ReleaseError> {
    let shares = stored_shares(shared, vault).await?;
    if shares.is_empty() {
        return Ok(None);
    }
    let row = shared.ledger.row(Vaults, &vault).await;
    let Some(row) = row.map_err(|error| ReleaseError::Ledger(error.to_string()))? else {
        return Ok(None);
    };
    let share = shares.into_iter().map(|kept| kept.share).find(|share| {
        let place = usize::from(share.index).checked_sub(1);
        let custodian = place.and_then(|place| row.custodians.get(place));
        share.is_of(&row) && custodian == Some(&shared.key.id())
    });
    Ok(share.map(|share| (share, row)))
}

/// The share with which the node answers a buyer. With several, the ledger is asked which is the present one. One alone needs
/// no question: if it is an earlier one, its release does not verify.
async fn share_of(shared: &Shared, vault: VaultId) -> Result<Option<StoredShare>, ReleaseError> {
    let mut shares = stored_shares(shared, vault).await?;
    match shares.len() {
        0 | 1 => Ok(shares.pop().map(|kept| kept.share)),
        _ => Ok(present_share(shared, vault).await?.map(|(share, _)| share)),
    }
}

/// Stores a share. Returns until when the node keeps it if the ledger does not have it by then, as its acceptance says. Returns
/// `None` when too many shares wait for their vaults to be opened or dealt anew.
pub(crate) async fn keep(
    shared: &Shared,
    vault: VaultId,
    kept: &StoredShare,
    is_open: bool,
) -> Result<Option<LedgerTime>, ReleaseError> {
    let limits = &shared.options.limits;
    let now_ms = shared.now_ms();
    let until_ms = now_ms.saturating_add(Millis(limits.vault_ms));
    let before = stored_shares(shared, vault).await?;
    let before = before.iter().find(|before| before.share == *kept).map(|before| before.until_ms);
    match before {
        Some(None) if is_open => return Ok(Some(until_ms)),
        Some(Some(until_ms)) if now_ms.saturating_add(Millis(limits.vault_ms / 2)) <= until_ms => {
            return Ok(Some(until_ms));
        }
        _ => {}
    }
    let row = Zeroizing::new(kept.to_bytes());
    let waits = CustodyWaits { owner: kept.owner, until_ms };
    let limits = CustodyLimits {
        in_all: limits.unopened_shares_max,
        of_owner: limits.unopened_shares_per_owner_max,
    };
    let waits = (!is_open).then_some((waits, limits));
    let put = shared.with_store(move |store| store.put_custody(&vault, &row, waits)).await;
    match put.map_err(|error| ReleaseError::Store(error.to_string()))? {
        true => Ok(Some(until_ms)),
        false => Ok(None),
    }
}

/// Removes shares whose vaults were not opened in time. The ledger's time and its row of the vault
/// decide that.
pub(crate) async fn drop_unopened(shared: &Shared) -> Result<(), String> {
    let now_ms = shared.view.block_ms().saturating_sub(Millis(1));
    let due = shared.with_store(move |store| store.custody_due(now_ms)).await;
    for (vault, slot) in due.map_err(|error| error.to_string())? {
        let row = shared.ledger.row(Vaults, &vault).await.map_err(|error| error.to_string())?;
        let ours = stored_shares(shared, vault).await.map_err(|error| error.to_string())?;
        let ours = ours.into_iter().find(|kept| kept.slot == slot);
        let present = ours.zip(row).is_some_and(|(ours, row)| ours.share.is_of(&row));
        let settled = shared.with_store(move |store| match present {
            true => store.custody_opened(&vault, slot),
            false => store.remove_custody(&vault, slot),
        });
        settled.await.map_err(|error| error.to_string())?;
        if !present {
            info!(%vault, "removed a share that the vault does not have on the ledger");
        }
    }
    Ok(())
}

/// Notes which share of a vault the ledger has now. Another one is kept for as long as an acceptance of it may be valid: the
/// owner could deal it once more.
pub(crate) async fn vault_dealt(
    shared: &Shared,
    vault: VaultId,
    owner: AccountId,
    key: VaultKey,
) -> Result<(), StoreError> {
    let until_ms = shared.now_ms().saturating_add(Millis(shared.options.limits.vault_ms));
    let dealt = shared.with_store(move |store| {
        if store.custody(&vault)?.is_empty() {
            return Ok(());
        }
        let is_present =
            |share: &[u8]| StoredShare::from_bytes(share).is_ok_and(|share| share.key == key);
        store.custody_dealt(&vault, is_present, CustodyWaits { owner, until_ms })
    });
    dealt.await
}

/// Does the same for all vaults, by the ledger's rows: blocks are missing.
pub(crate) async fn look_at_vaults(shared: &Shared) -> Result<(), CannotFollow> {
    let mut after = None;
    loop {
        let page = shared.with_store(move |store| store.vaults(after, VAULTS)).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = Some(*last);
        let rows = shared.ledger.rows(Vaults, &page).await?;
        for (vault, row) in page.iter().zip(rows) {
            if let Some(row) = row {
                vault_dealt(shared, *vault, row.owner, row.key).await?;
            }
        }
    }
}

/// Vaults whose rows are read at once.
const VAULTS: usize = 256;

/// Orders that wait for something that this node has to put on the ledger: a release, or a cell.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Orders that the node has not read yet.
    new: BTreeSet<OrderId>,
    /// Whether this node has become a custodian of a vault, which may have open orders.
    look: bool,
    /// Orders by the time to post, in milliseconds since the Unix epoch.
    due: BTreeSet<(LedgerTime, OrderId)>,
    /// Number of failed attempts for each order.
    tries: BTreeMap<OrderId, u32>,
}

impl Schedule {
    /// An order may wait for this node. It finds out later whether it does: whether it has a share of the vault, or a
    /// shard of the deal.
    pub(crate) fn add(&self, order: OrderId) {
        self.waiting().new.insert(order);
        self.changed.notify_one();
    }

    /// This node is a custodian of a vault by a rotation: orders may wait for its releases.
    pub(crate) fn dealt(&self) {
        self.waiting().look = true;
        self.changed.notify_one();
    }

    fn take_look(&self) -> bool {
        std::mem::take(&mut self.waiting().look)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no code that holds the schedule panics")
    }

    pub(crate) fn take_new(&self) -> Vec<OrderId> {
        std::mem::take(&mut self.waiting().new).into_iter().collect()
    }

    pub(crate) fn take_due(&self, now_ms: LedgerTime) -> Option<OrderId> {
        let mut waiting = self.waiting();
        let first = *waiting.due.first()?;
        if first.0 > now_ms {
            return None;
        }
        waiting.due.remove(&first);
        Some(first.1)
    }

    /// Waits until there is something new, or something is due.
    pub(crate) async fn wait(&self, shared: &Shared) {
        let next_ms = self.next_ms().unwrap_or(LedgerTime::NEVER);
        tokio::select! {
            biased;
            () = self.changed.notified() => {}
            () = sleep_long(shared, next_ms) => {}
        }
    }

    fn next_ms(&self) -> Option<LedgerTime> {
        self.waiting().due.first().map(|(due_ms, _)| *due_ms)
    }

    fn at(&self, due_ms: LedgerTime, order: OrderId) {
        self.waiting().due.insert((due_ms, order));
    }

    pub(crate) fn again(&self, now_ms: LedgerTime, order: OrderId) {
        let mut waiting = self.waiting();
        let tries = waiting.tries.entry(order).or_default();
        *tries += 1;
        let wait_ms = (RETRY_MS << (*tries).min(6)).min(RETRY_MAX_MS);
        waiting.due.insert((now_ms.saturating_add(Millis(wait_ms)), order));
    }

    pub(crate) fn done(&self, order: &OrderId) {
        self.waiting().tries.remove(order);
    }
}

/// Posts releases when they are due, until the node stops.
pub(crate) async fn post_releases(shared: &Shared) {
    let mut backoff = Backoff::new(200, 30_000);
    // Orders that were paid while this node was down or before it began to follow the ledger.
    while let Err(error) = find_open_orders(shared).await {
        warn!(%error, "the open orders could not be read yet");
        if backoff.wait(shared).await == Err(Stopped) {
            return;
        }
    }
    loop {
        if shared.schedule.take_look()
            && let Err(error) = find_open_orders(shared).await
        {
            warn!(%error, "the open orders could not be read yet");
            shared.schedule.dealt();
            if backoff.wait(shared).await == Err(Stopped) {
                return;
            }
        }
        for order in shared.schedule.take_new() {
            enter(shared, order).await;
        }
        while let Some(order) = shared.schedule.take_due(shared.now_ms()) {
            post(shared, order).await;
        }
        tokio::select! {
            biased;
            () = shared.stopped() => return,
            () = shared.schedule.wait(shared) => {}
        }
    }
}

async fn sleep_long(shared: &Shared, until_ms: LedgerTime) {
    // A timer has a limit, so a long wait is done in steps.
    let wait = until_ms.saturating_since(shared.now_ms());
    shared.host.sleep_ms(wait.0.min(LOOK_AGAIN_MS)).await;
}

/// Schedules every open order that the ledger has.
pub(crate) async fn find_open_orders(shared: &Shared) -> Result<(), LedgerError> {
    let visit = |(_, order), _| shared.schedule.add(order);
    for_each(&shared.ledger, OrdersDue, visit).await
}

/// Finds out whether this node has a share of an order's vault, and when to post the release.
async fn enter(shared: &Shared, id: OrderId) {
    match find(shared, &id).await {
        Ok((order, _)) if order.state == OrderState::Paid => {
            let due_ms = order.due_ms.saturating_sub(shared.params().delivery_ms / 2);
            debug!(order = %id, %due_ms, "the release is posted then unless the sale is settled");
            shared.schedule.at(due_ms, id);
        }
        Ok(_) | Err(ReleaseError::NotOurs(_)) => {}
        Err(error) => {
            warn!(order = %id, %error, "the order could not be read yet");
            shared.schedule.again(shared.now_ms(), id);
        }
    }
}

async fn post(shared: &Shared, id: OrderId) {
    match try_post(shared, id).await {
        Ok(Some(status)) => {
            info!(order = %id, %status, "the release is posted");
            shared.schedule.done(&id);
        }
        Ok(None) => shared.schedule.done(&id),
        Err(error) => {
            warn!(order = %id, error, "the release is not posted yet");
            shared.schedule.again(shared.now_ms(), id);
        }
    }
}

/// Posts the release of an order. Returns `None` when no release needs to be posted.
async fn try_post(shared: &Shared, id: OrderId) -> Result<Option<Status>, String> {
    let (order, listing) = match find(shared, &id).await {
        Ok(found) => found,
        Err(ReleaseError::NotOurs(_)) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if order.state != OrderState::Paid {
        return Ok(None);
    }
    // This comes too early if the ledger did not answer before. Post later: most buyers need no
    // posted release.
    let half_ms = order.due_ms.saturating_sub(shared.params().delivery_ms / 2);
    if shared.now_ms() < half_ms {
        shared.schedule.at(half_ms, id);
        return Ok(None);
    }
    let vault = listing.terms.vault;
    let present = present_share(shared, vault).await.map_err(|error| error.to_string())?;
    let Some((share, row)) = present else {
        debug!(order = %id, "this node is no custodian of the order's vault any more");
        return Ok(None);
    };
    let mut posted = order.releases.iter();
    if order.dealing == row.dealing && posted.any(|posted| posted.index == share.index) {
        return Ok(None);
    }
    let release = match make(shared, &id, (&order, &listing), &share) {
        Ok(release) => release,
        Err(error @ ReleaseError::Custody(_)) => {
            warn!(order = %id, %error, "no release can be made for this order");
            return Ok(None);
        }
        Err(error) => return Err(error.to_string()),
    };
    // The same id may stand for a later order, and a vault may be dealt anew: each release is another transaction.
    let (ordered_ms, dealing) = (order.ordered_ms.0.to_le_bytes(), row.dealing.to_le_bytes());
    let parts: [&[u8]; 3] = [&id.0, &ordered_ms, &dealing];
    let transaction = transaction_id("symbolon 2026 release transaction v2", &parts);
    let action = Action::PostRelease { order: id, release };
    // One attempt only: the schedule tries again, so that no order delays another.
    let outcome = submit(shared, transaction, action, 0, Backoff::new(1, 1)).await;
    outcome.map(Some).map_err(|error| error.to_string())
}

/// An order and its listing, if this node has a share of the listing's vault.
pub(crate) async fn find(shared: &Shared, id: &OrderId) -> Result<(Order, Listing), ReleaseError> {
    let unread = |error: LedgerError| ReleaseError::Ledger(error.to_string());
    let order = shared.ledger.row(Orders, id).await.map_err(unread)?;
    let order = order.ok_or(ReleaseError::NotOurs(*id))?;
    let listing = shared.ledger.row(Listings, &order.listing).await.map_err(unread)?;
    let listing = listing.ok_or(ReleaseError::NotOurs(*id))?;
    match stored_shares(shared, listing.terms.vault).await?.is_empty() {
        false => Ok((order, listing)),
        true => Err(ReleaseError::NotOurs(*id)),
    }
}

/// Makes this node's release of an order for its buyer. The caller has checked that the order is paid.
pub(crate) async fn make_for_buyer(
    shared: &Shared,
    id: &OrderId,
    (order, listing): (&Order, &Listing),
) -> Result<Release, ReleaseError> {
    let share = share_of(shared, listing.terms.vault).await?;
    let share = share.ok_or(ReleaseError::NotOurs(*id))?;
    make(shared, id, (order, listing), &share)
}

fn make(
    shared: &Shared,
    id: &OrderId,
    (order, listing): (&Order, &Listing),
    kept: &StoredShare,
) -> Result<Release, ReleaseError> {
    let terms = &listing.terms;
    let label =
        custody::label(&shared.chain, &listing.seller, &terms.vault, &terms.manifest.content_root);
    let context = custody::release_context(&shared.chain, id, &order.listing);
    let request = ReleaseRequest {
        vault: &kept.key,
        capsule: &terms.capsule,
        label: &label,
        delivery: &order.delivery,
        context: &context,
    };
    let entropy = shared.key.release_entropy(&context);
    let share = Share::from_bytes(kept.index, &kept.share.0)?;
    Ok(Release::make(&share, &request, &entropy)?)
}

/// Makes this node's releases for a claim: one for each shard that is read, then for each that is rebuilt. The caller has
/// checked that the claim runs.
pub(crate) async fn release_claim(
    shared: &Shared,
    id: DealId,
    claim: &Claim,
) -> Result<Vec<Release>, ReleaseError> {
    let unread = |error: LedgerError| ReleaseError::Ledger(error.to_string());
    let rows = shared.ledger.pair((Cares, &id), (Deals, &id)).await.map_err(unread)?;
    let (Some(care), Some(deal)) = rows else { return Err(ReleaseError::NoShare(id)) };
    let present = present_share(shared, care.vault).await?;
    let present = present.filter(|(_, vault)| vault.owner == deal.owner);
    let (kept, _) = present.ok_or(ReleaseError::NoShare(id))?;
    let context = custody::claim_context(&shared.chain, &id, &claim.claimant);
    let entropy = shared.key.release_entropy(&context);
    let (chain, claim, owner) = (shared.chain, claim.clone(), deal.owner);
    // Many group operations: they must not hold other peers up.
    let made = shared.host.blocking(move || {
        let share = Share::from_bytes(kept.index, &kept.share.0)?;
        let release = |index| {
            let point = custody::care_point(&chain, &owner, &id, index);
            let (vault, delivery) = (&kept.key, &claim.delivery);
            let request = ClaimRequest { vault, point: &point, delivery, context: &context };
            Release::make_claimed(&share, &request, &entropy)
        };
        claim.opened().map(release).collect::<Result<Vec<_>, CustodyError>>()
    });
    Ok(made.await?)
}

/// Milliseconds until posting is tried again after the first failure.
const RETRY_MS: u64 = 500;
/// The longest pause between two attempts, in milliseconds.
const RETRY_MAX_MS: u64 = 30_000;
/// The longest sleep in one step, in milliseconds.
const LOOK_AGAIN_MS: u64 = 60 * 60 * 1000;
