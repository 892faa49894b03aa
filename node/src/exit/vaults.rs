//! The vaults of which a node keeps shares, and whether their owners still need it: a node that retires takes its share with
//! it. An owner who deals the secret anew to other custodians needs it no longer.

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    LedgerTime,
    id::{AccountId, DealId, ListingId, OrderId, VaultId},
    ledger::rows::{
        Cares, Chains, DealState, Deals, DealsOf, ListingState, Listings, ListingsOf, OrderState,
        Orders, OrdersOf, Table, Vaults,
    },
};
use symbolon_transfer::epoch_ms;

use crate::{custodian::stored_shares, shared::Shared};

/// A vault of which the node keeps a share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldVault {
    /// The vault.
    pub vault: VaultId,
    /// Its owner.
    pub owner: AccountId,
    /// Paid orders that wait for releases.
    pub orders: u64,
    /// Listings that take orders.
    pub listings: u64,
    /// Running deals whose care is sealed to the vault.
    pub deals: u64,
    /// When the last of these orders and deals is over, reckoned from the current epoch; zero if there is none.
    pub until_ms: LedgerTime,
}

impl HeldVault {
    /// Whether its owner counts on the node now: an order is paid, or deals have care.
    #[must_use]
    pub const fn is_needed(&self) -> bool {
        0 < self.orders + self.deals
    }
}

/// What the last look has found.
#[derive(Debug, Default)]
pub(super) struct Held {
    vaults: Vec<HeldVault>,
    /// The tick of the next look; nothing before the first.
    next_tick: Option<u64>,
}

impl Held {
    /// The vaults, looked at anew if the last look is some time ago.
    pub(super) async fn look(&mut self, shared: &Shared) -> Result<&[HeldVault], String> {
        let now_tick = shared.host.ticks_ms();
        if self.next_tick.is_none_or(|next| next <= now_tick) {
            self.vaults = all(shared).await?;
            let every_ms = (shared.params().epoch_ms.0 / 2).clamp(LEAST_MS, MOST_MS);
            self.next_tick = Some(now_tick.saturating_add(every_ms));
        }
        Ok(&self.vaults)
    }
}

async fn all(shared: &Shared) -> Result<Vec<HeldVault>, String> {
    let (mut held, mut after) = (Vec::new(), None);
    loop {
        let page = shared.with_store(move |store| store.vaults(after, PAGE)).await;
        let page = page.map_err(|error| error.to_string())?;
        let Some(last) = page.last() else { return Ok(held) };
        after = Some(*last);
        for id in page {
            let unread = |error: LedgerError| error.to_string();
            let row = shared.ledger.row(Vaults, &id).await.map_err(unread)?;
            let shares = stored_shares(shared, id).await.map_err(|error| error.to_string())?;
            let Some(row) = row else { continue };
            let has_share = shares.iter().any(|kept| kept.share.is_of(&row));
            if has_share && row.custodians.contains(&shared.key.id()) {
                held.push(needs(shared, (id, row.owner)).await.map_err(unread)?);
            }
        }
    }
}

/// What an owner needs a vault for.
async fn needs(
    shared: &Shared,
    (vault, owner): (VaultId, AccountId),
) -> Result<HeldVault, LedgerError> {
    let (orders, listings, due_ms) = sales(shared, (vault, owner)).await?;
    let (deals, end) = cared(shared, (vault, owner)).await?;
    let chain = shared.ledger.row(Chains, &()).await?;
    let end_ms = chain.filter(|_| 0 < deals).map(|chain| epoch_ms(&chain, end));
    let until_ms = due_ms.max(end_ms.unwrap_or(LedgerTime::ZERO));
    Ok(HeldVault { vault, owner, orders, listings, deals, until_ms })
}

/// The paid orders of a vault's listings, the open listings, and when the last of these orders is due.
async fn sales(
    shared: &Shared,
    (vault, owner): (VaultId, AccountId),
) -> Result<(u64, u64, LedgerTime), LedgerError> {
    let (mut orders, mut open, mut due_ms) = (0, 0, LedgerTime::ZERO);
    let keys = shared.ledger.scan_all(ListingsOf, &owner.0).await?;
    let keys = keys.iter().filter_map(|(key, _)| ListingsOf::parse(key));
    let ids: Vec<ListingId> = keys.map(|(_, (_, listing))| listing).collect();
    for page in ids.chunks(PAGE) {
        let rows = shared.ledger.rows(Listings, page).await?;
        for (id, listing) in page.iter().zip(rows) {
            let Some(listing) = listing.filter(|listing| listing.terms.vault == vault) else {
                continue;
            };
            open += u64::from(listing.state == ListingState::Open);
            if listing.orders == 0 {
                continue;
            }
            let prefix = [&owner.0[..], &id.0].concat();
            let keys = shared.ledger.scan_all(OrdersOf, &prefix).await?;
            let keys = keys.iter().filter_map(|(key, _)| OrdersOf::parse(key));
            let ids: Vec<OrderId> = keys.map(|(_, (_, order))| order).collect();
            for page in ids.chunks(PAGE) {
                let rows = shared.ledger.rows(Orders, page).await?.into_iter().flatten();
                for order in rows.filter(|order| order.state == OrderState::Paid) {
                    orders += 1;
                    due_ms = due_ms.max(order.due_ms);
                }
            }
        }
    }
    Ok((orders, open, due_ms))
}

/// The running deals whose care is sealed to a vault, and the epoch in which the last of them is over.
async fn cared(
    shared: &Shared,
    (vault, owner): (VaultId, AccountId),
) -> Result<(u64, u64), LedgerError> {
    let (mut deals, mut end) = (0, 0);
    let mut after: Option<Vec<u8>> = None;
    loop {
        let page = shared.ledger.scan(DealsOf, &owner.0, after.as_deref(), PAGE).await?;
        let Some((last, _)) = page.last() else { return Ok((deals, end)) };
        after = Some(last.clone());
        let keys = page.iter().filter_map(|(key, _)| DealsOf::parse(key));
        let ids: Vec<DealId> = keys.map(|(_, deal)| deal).collect();
        let (rows, cares) =
            (shared.ledger.rows(Deals, &ids).await?, shared.ledger.rows(Cares, &ids).await?);
        for (deal, care) in rows.into_iter().zip(cares) {
            let is_cared = care.is_some_and(|care| care.vault == vault);
            if let Some(deal) = deal.filter(|deal| is_cared && deal.state == DealState::Open) {
                deals += 1;
                end = end.max(deal.end);
            }
        }
    }
}

/// Rows that are asked for at once.
const PAGE: usize = 256;
/// The shortest time between two looks, in milliseconds.
const LEAST_MS: u64 = 1_000;
/// The longest one.
const MOST_MS: u64 = 60_000;
