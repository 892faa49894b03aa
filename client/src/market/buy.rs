//! Buying: escrow, the custodians' releases, the key, the grant. The grant is made here, of the rows of the order and
//! the listing: no party signs it.
//!
//! The order's id derives from the identity and the listing, and the order's one-time key derives from its id. So a
//! purchase that was cut short continues and is paid once, on this device or another.

use std::time::Duration;

use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    content::FileKey,
    custody::{self, DeliveryKey, Release},
    grant::{GrantToken, bought},
    id::{ListingId, NodeId, OrderId, TransactionId},
    ledger::{
        Status,
        rows::{Listing, ListingState, Order, OrderState, Orders, Vault, Vaults},
        transaction::Action,
    },
    session::NodeFault,
    wire::storage::{Request, Response},
};
use symbolon_transfer::Reason;
use tokio::task::JoinSet;

use crate::{
    catalog::{PurchaseEntry, Purchases},
    error::ClientError,
    library::budget::Budget,
    market::{Local, Market},
    progress::{Awaited, Progress, Step, Wait},
};

/// How long a custodian may take to release its part of the key.
const PATIENCE: Duration = Duration::from_secs(10);

/// Milliseconds after an order's deadline for which the client still waits for the ledger to refund it. A ledger that
/// does not refund it by then stands still.
const STANDS_STILL: Millis = Millis(60_000);

/// Milliseconds between two rounds of asking the custodians.
const ROUND_MS: u64 = 500;

/// How a purchase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuyOutcome {
    /// The order is paid, and the key is here.
    Bought,
    /// The client continued an earlier purchase. It was paid once.
    Resumed,
    /// The file was bought before. The grant is the one from then.
    Already,
}

/// What buying did.
#[derive(Clone, Debug)]
pub struct BuyReport {
    /// The order.
    pub order: OrderId,
    /// The listing.
    pub listing: ListingId,
    /// The amount that was paid into escrow.
    pub paid: Amount,
    /// The grant, bound to this identity.
    pub token: Box<GrantToken>,
    /// Numbers of the custodians whose releases made the key.
    pub custodians: Vec<u8>,
    /// How it ended.
    pub outcome: BuyOutcome,
}

fn refused(error: impl Into<Reason>) -> ClientError {
    ClientError::Grant(error.into())
}

/// Whether an order still gives access. A file whose order was refunded, or has run out, is bought anew.
fn is_good(order: &Order, now_ms: LedgerTime) -> bool {
    order.state != OrderState::Refunded && now_ms < order.access_until_ms
}

impl Market {
    /// Buys access: pays into escrow, collects the key from the custodians, and makes the grant.
    pub async fn buy(
        &self,
        id: &ListingId,
        price_max: Amount,
        progress: &Progress,
    ) -> Result<BuyReport, ClientError> {
        self.changing(&Budget::default(), progress, self.buy_here(id, price_max, progress)).await
    }

    async fn buy_here(
        &self,
        id: &ListingId,
        price_max: Amount,
        progress: &Progress,
    ) -> Result<BuyReport, ClientError> {
        let listing = self.listing_lately(id).await?;
        let (mut entry, mut outcome) = self.purchase(id, &listing, price_max, progress).await?;
        if let Some(token) = &entry.token {
            let token = GrantToken::parse(token).map_err(refused)?;
            let custodians = entry.custodians.clone();
            return Ok(BuyReport {
                order: entry.order,
                listing: *id,
                paid: entry.price,
                token: Box::new(token),
                custodians,
                outcome: BuyOutcome::Already,
            });
        }
        let placed = self.ledger().row_lately(Orders, &entry.order).await?;
        match &placed {
            Some(_) => outcome = BuyOutcome::Resumed,
            None => self.place_order(&entry, &listing, progress).await?,
        }
        let collected = self.collect_key(&entry.order, placed, &listing, progress).await;
        let (key, order, custodians) = match collected {
            Err(ClientError::OrderRefunded(order)) => {
                let listing = entry.listing;
                self.local(move |local| local.forget_purchase(&listing)).await?;
                return Err(ClientError::OrderRefunded(order));
            }
            collected => collected?,
        };
        let grant = bought(entry.order, &order, &listing);
        let file = (&listing.terms.manifest, key.as_bytes());
        let (chain, wrap) = (self.ledger().chain(), self.identity().wrap_key());
        let token =
            GrantToken::pack(chain, grant, file, &wrap, &self.host().random()).map_err(refused)?;
        entry.token = Some(token.to_text());
        entry.custodians.clone_from(&custodians);
        entry.until_ms = order.access_until_ms;
        let (label, granted) = (format!("bought: {}", entry.title), token.clone());
        let row = entry.clone();
        let remember = move |local: &Local| {
            local.write_purchase(&row)?;
            local.remember_grant(&label, &granted)
        };
        self.local(remember).await?;
        Ok(BuyReport {
            order: entry.order,
            listing: *id,
            paid: order.amount,
            token: Box::new(token),
            custodians,
            outcome,
        })
    }

    /// The purchase of this listing in the index, or a new one, which is written down.
    async fn purchase(
        &self,
        id: &ListingId,
        listing: &Listing,
        price_max: Amount,
        progress: &Progress,
    ) -> Result<(PurchaseEntry, BuyOutcome), ClientError> {
        let now_ms = self.recent_clock().await?.now_ms;
        let listed = *id;
        let known = self.local(move |local| local.catalog().row(Purchases, &listed.0)).await?;
        if let Some(entry) = known {
            let row = self.ledger().row_lately(Orders, &entry.order).await?;
            if row.is_some_and(|row| is_good(&row, now_ms)) {
                return Ok((entry, BuyOutcome::Bought));
            }
        }
        let (order, placed) = self.next_order(id, now_ms).await?;
        let mut entry = PurchaseEntry {
            order,
            listing: *id,
            title: listing.terms.title.clone(),
            price: listing.terms.price,
            token: None,
            custodians: Vec::new(),
            until_ms: LedgerTime::ZERO,
        };
        if let Some(placed) = placed {
            // Another device has paid for this order.
            entry.price = placed.amount;
            let row = entry.clone();
            self.local(move |local| local.write_purchase(&row)).await?;
            return Ok((entry, BuyOutcome::Bought));
        }
        if listing.state == ListingState::Ended {
            return Err(ClientError::ListingEnded(*id));
        }
        let price = entry.price;
        if price > price_max {
            return Err(ClientError::CostTooHigh { cost: price, limit: price_max });
        }
        let balance = self.balance_lately().await?;
        if price > balance {
            return Err(ClientError::BalanceTooLow { needed: price, balance });
        }
        let checking = self.check_goods(id, listing, progress);
        tokio::join!(checking, self.ahead_of_release(listing)).0?;
        let row = entry.clone();
        self.local(move |local| local.write_purchase(&row)).await?;
        Ok((entry, BuyOutcome::Bought))
    }

    /// The order for this identity's next purchase of a listing: one that is paid for already, or the first id that was
    /// never used.
    async fn next_order(
        &self,
        id: &ListingId,
        now_ms: LedgerTime,
    ) -> Result<(OrderId, Option<Order>), ClientError> {
        for attempt in 0.. {
            let order = self.identity().order_id(&self.ledger().chain(), id, attempt);
            match self.ledger().row_lately(Orders, &order).await? {
                Some(row) if !is_good(&row, now_ms) => {}
                row => return Ok((order, row)),
            }
        }
        unreachable!("each earlier attempt was paid for and has been refunded or has run out")
    }

    /// Whether this identity has begun to buy a listing: the index then has the order.
    pub async fn has_bought(&self, id: &ListingId) -> Result<bool, ClientError> {
        let id = *id;
        self.catch_up().await;
        self.local(move |local| local.has_bought(&id)).await
    }

    async fn place_order(
        &self,
        entry: &PurchaseEntry,
        listing: &Listing,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        let chain = self.ledger().chain();
        let context = custody::release_context(&chain, &entry.order, &entry.listing);
        let secret = self.identity().delivery_secret(&chain, &entry.order);
        let delivery = DeliveryKey::make(&secret, &context, &self.host().random());
        let action = Action::Order {
            order: entry.order,
            listing: entry.listing,
            holder: self.identity().peer(),
            delivery,
            price: entry.price,
            licence: listing.terms.licence,
        };
        progress.note(format!("paying {} credits into escrow", entry.price));
        match self.send(TransactionId(entry.order.0), action).await {
            // Another device placed the same order at the same moment.
            Ok(_) | Err(ClientError::LedgerRefused(Status::IdReused | Status::Exists)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Collects releases until the key opens. Gives up when the ledger has refunded the order. `placed` is the order,
    /// if it is known.
    async fn collect_key(
        &self,
        id: &OrderId,
        mut placed: Option<Order>,
        listing: &Listing,
        progress: &Progress,
    ) -> Result<(FileKey, Order, Vec<u8>), ClientError> {
        let vault = self.ledger().row_lately(Vaults, &listing.terms.vault).await?;
        let vault = vault.ok_or_else(|| ClientError::Internal("a listing has a vault".into()))?;
        let secret = self.identity().delivery_secret(&self.ledger().chain(), id);
        let needed = vault.key.required();
        let capsule = &listing.terms.capsule;
        let mut begun = None;
        loop {
            let asked = match placed.take().filter(|order| needed <= order.releases.len()) {
                Some(order) => (order, Vec::new(), Vec::new()),
                None => self.ask_custodians(id, listing, &vault).await?,
            };
            let (order, releases, faults) = asked;
            if order.state == OrderState::Refunded {
                return Err(ClientError::OrderRefunded(*id));
            }
            let (point, used) = if order.releases.len() >= needed {
                let posted = &order.releases[..needed];
                let point = custody::combine_posted(capsule, posted, &secret, &vault.key);
                (point, posted.iter().map(|release| release.index).collect())
            } else if releases.len() < needed {
                let (released, due_ms) = (releases.len(), order.due_ms);
                let ticks_ms = self.host().ticks_ms();
                let (from_ms, time_ms) = match begun {
                    Some(begun) => begun,
                    None => *begun.insert((ticks_ms, self.ledger().recent_time_ms().await?)),
                };
                // The deadline is compared with the ledger's time, not with this machine's clock. A live ledger has
                // refunded the order by then. This one stands still.
                let now_ms = time_ms.saturating_add(Millis(ticks_ms - from_ms));
                if due_ms.saturating_add(STANDS_STILL) < now_ms {
                    return Err(ClientError::NotEnoughCustodians { released, needed, faults });
                }
                let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
                progress.step(Step::Waiting(Wait {
                    what: Awaited::Custodians,
                    nodes: faults.iter().map(|(node, _)| *node).collect(),
                    done: count(released),
                    of: count(needed),
                }));
                self.host().sleep_ms(ROUND_MS).await;
                continue;
            } else {
                let point = custody::combine(capsule, &releases[..needed], &secret, &vault.key);
                (point, releases[..needed].iter().map(|release| release.index).collect())
            };
            let point = point.map_err(refused)?;
            let listing_key = custody::listing_key(&point);
            let key = FileKey::from_bytes(*custody::unpad(&listing.terms.pad, &listing_key));
            listing
                .terms
                .manifest
                .check_key(&key)
                .map_err(|_| ClientError::NotAsListed { order: *id })?;
            return Ok((key, order, used));
        }
    }

    /// Asks all custodians side by side, and the ledger for the order at the same time. Keeps the releases that verify.
    /// Does not wait for the custodians when the order is refunded, or when enough releases of it stand on the ledger.
    async fn ask_custodians(
        &self,
        id: &OrderId,
        listing: &Listing,
        vault: &Vault,
    ) -> Result<(Order, Vec<Release>, Vec<(NodeId, NodeFault)>), ClientError> {
        let places = self.network().places(&vault.custodians).await?;
        let mut asks = JoinSet::new();
        let mut faults = Vec::new();
        for ((index, node), at) in (1_u8..).zip(&vault.custodians).zip(places) {
            let Some(at) = at else {
                faults.push((*node, NodeFault::Offline));
                continue;
            };
            let (network, order) = (self.network().clone(), *id);
            asks.spawn(async move {
                let request = Request::Release { order };
                ((index, at.id), network.peers().ask(&at, &request, PATIENCE).await)
            });
        }
        let order = self.ledger().row(Orders, id).await?.ok_or(ClientError::NoOrder(*id))?;
        let needed = vault.key.required();
        let mut releases = Vec::new();
        if order.state == OrderState::Refunded || needed <= order.releases.len() {
            return Ok((order, releases, faults));
        }
        let context = custody::release_context(&self.ledger().chain(), id, &order.listing);
        while let Some(answer) = asks.join_next().await {
            let Ok(((index, node), answer)) = answer else { continue };
            match answer {
                Ok(Response::Released { release }) => {
                    let capsule = &listing.terms.capsule;
                    let checked = release.verify(&vault.key, capsule, &order.delivery, &context);
                    // The release of another custodian verifies too, but must not count as this custodian's own.
                    match checked.is_ok() && release.index == index {
                        true => releases.push(release),
                        false => faults.push((node, NodeFault::Confused)),
                    }
                }
                Ok(_) => faults.push((node, NodeFault::Confused)),
                Err(error) => faults.push((node, error.fault())),
            }
            if releases.len() == needed {
                break;
            }
        }
        releases.sort_by_key(|release| release.index);
        Ok((order, releases, faults))
    }
}

impl Local {
    fn write_purchase(&self, entry: &PurchaseEntry) -> Result<(), ClientError> {
        self.catalog().put(Purchases, &entry.listing.0, entry)
    }

    pub(crate) fn has_bought(&self, id: &ListingId) -> Result<bool, ClientError> {
        Ok(self.catalog().row(Purchases, &id.0)?.is_some())
    }

    fn forget_purchase(&self, listing: &ListingId) -> Result<(), ClientError> {
        self.catalog().remove(Purchases, &listing.0)
    }
}
