//! Buying: escrow, the custodians' releases, the key, the grant. The grant is made here, of the rows of the order and
//! the listing: no party signs it.
//!
//! The order's id derives from the identity and the listing, and the order's one-time key derives from its id. So a
//! purchase that was cut short continues and is paid once, on this device or another.

use std::{io, path::PathBuf, time::Duration};

use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    content::{FileKey, Manifest},
    custody::{self, DeliveryKey, Release},
    dispute::LeafList,
    grant::{GrantToken, bought},
    id::{Hash, ListingId, NodeId, Opening, OrderId, PeerId, TransactionId},
    ledger::{
        Status,
        rows::{Listing, ListingState, Order, OrderState, Orders, OrdersOf, Table, Vault, Vaults},
        transaction::Action,
    },
    limits::CUSTODIANS_MAX,
    session::NodeFault,
    wire::storage::{Request, Response},
};
use symbolon_store::durable;
use symbolon_transfer::Reason;
use tokio::task::JoinSet;

use crate::{
    catalog::{PurchaseEntry, Purchases},
    error::{ClientError, NotListed},
    library::budget::Budget,
    market::{
        Local, Market,
        goods::{CheckedListing, Checks},
    },
    place::Price,
    progress::{Awaited, Progress, Step, Wait},
};

/// How long a custodian may take to release its part of the key.
const PATIENCE: Duration = Duration::from_secs(10);

/// Milliseconds after an order's deadline for which the client still waits for the ledger to refund it. A ledger that
/// does not refund it by then stands still.
pub(super) const STANDS_STILL: Millis = Millis(60_000);

/// Orders of one buyer for one listing that a device goes through to find its own.
const ATTEMPTS_MAX: usize = 1 << 16;

/// Milliseconds between two rounds of asking the custodians.
pub(super) const ROUND_MS: u64 = 500;

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
    /// What was checked before it was paid. Nothing when it was paid before.
    pub checks: Option<Checks>,
}

/// The key of an order as its releases open it. Whether it is the listed one is not known.
pub(super) struct Opened {
    pub(super) key: FileKey,
    pub(super) order: Order,
    pub(super) custodians: Vec<u8>,
}

/// What custodians answered about an order.
pub(super) struct Asked {
    pub(super) order: Order,
    /// Their releases that verify.
    pub(super) releases: Vec<Release>,
    /// The faults of the others.
    pub(super) faults: Vec<(NodeId, NodeFault)>,
}

/// Whether the order of a purchase is on the ledger.
enum Purchased {
    /// It is, by an earlier call or another device.
    Before(Box<Order>),
    /// It is not. The opening makes its id, and the listing was checked.
    Not(Opening, Box<CheckedListing>),
}

fn refused(error: impl Into<Reason>) -> ClientError {
    ClientError::Grant(error.into())
}

/// Whether an order still gives access. A file whose order was refunded, or has run out, is bought anew.
fn is_good(order: &Order, now_ms: LedgerTime) -> bool {
    order.state != OrderState::Refunded && now_ms < order.access_until_ms
}

/// Whether the ledger has as many releases of an order as open its key: those of a delivered order are enough, of whatever
/// dealing. Of another order this is known for the present dealing only.
fn delivered(order: &Order, vault: &Vault) -> bool {
    match order.state {
        OrderState::Delivered | OrderState::Asked => true,
        _ => order.dealing == vault.dealing && vault.key.required() <= order.releases.len(),
    }
}

impl Market {
    /// Buys access: pays into escrow, at most `price_max` with fee and deposit, collects the key from the custodians, and makes the grant.
    pub async fn buy(
        &self,
        id: &ListingId,
        price_max: Amount,
        progress: &Progress,
    ) -> Result<BuyReport, ClientError> {
        let buying = self.buy_here(id, None, price_max, progress);
        self.changing(&Budget::default(), progress, buying).await
    }

    /// The same for a listing that was [checked](Self::check_listing) just before. It is not checked again as far as its
    /// row is the same.
    pub async fn buy_checked(
        &self,
        checked: CheckedListing,
        price_max: Amount,
        progress: &Progress,
    ) -> Result<BuyReport, ClientError> {
        let id = checked.checks.listing;
        let buying = self.buy_here(&id, Some(checked), price_max, progress);
        self.changing(&Budget::default(), progress, buying).await
    }

    async fn buy_here(
        &self,
        id: &ListingId,
        checked: Option<CheckedListing>,
        price_max: Amount,
        progress: &Progress,
    ) -> Result<BuyReport, ClientError> {
        let listing = self.listing_lately(id).await?;
        let of = (id, &listing, checked);
        let (mut entry, found) = self.purchase(of, price_max, progress).await?;
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
                checks: None,
            });
        }
        let (placed, outcome, leaves, checks) = match found {
            Purchased::Before(order) => (Some(*order), BuyOutcome::Resumed, None, None),
            Purchased::Not(opening, checked) => {
                self.place_order(&entry, opening, &listing, progress).await?;
                let CheckedListing { checks, leaves, .. } = *checked;
                (None, BuyOutcome::Bought, Some(leaves), Some(checks))
            }
        };
        let collected = self.open_key(&entry.order, placed, (id, &listing), progress).await;
        let Opened { key, order, custodians } = match collected {
            Err(ClientError::OrderRefunded(order)) => {
                let listing = entry.listing;
                self.local(move |local| local.forget_purchase(&listing)).await?;
                return Err(ClientError::OrderRefunded(order));
            }
            collected => collected?,
        };
        let leaves = match leaves {
            Some(leaves) => Some(leaves),
            // The list may be gone with the seller's storage. Then the key's commitment has to do, and the content root.
            None => self.leaves_of_purchase(id, &listing).await.ok(),
        };
        self.check_key((&entry.order, &listing), &key, leaves).await?;
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
            checks,
        })
    }

    /// Refuses a key that is not the listed one: that of the file, of every cell, and of every mask.
    async fn check_key(
        &self,
        (id, listing): (&OrderId, &Listing),
        key: &FileKey,
        leaves: Option<LeafList>,
    ) -> Result<(), ClientError> {
        let manifest = listing.terms.manifest.clone();
        let layout = manifest.layout().map_err(refused)?;
        let key = key.clone();
        let is_listed = move || {
            manifest.check_key(&key).is_ok()
                && leaves.is_none_or(|leaves| leaves.other_key(&key, &layout).is_none())
        };
        match self.host().blocking(is_listed).await {
            true => Ok(()),
            false => Err(ClientError::NotAsListed { order: *id, what: NotListed::Key }),
        }
    }

    /// The purchase of this listing in the index, or a new one, which is written down.
    async fn purchase(
        &self,
        (id, listing, checked): (&ListingId, &Listing, Option<CheckedListing>),
        price_max: Amount,
        progress: &Progress,
    ) -> Result<(PurchaseEntry, Purchased), ClientError> {
        let now_ms = self.recent_clock().await?.now_ms;
        let listed = *id;
        let known = self.local(move |local| local.catalog().row(Purchases, &listed.0)).await?;
        if let Some(entry) = known {
            let row = self.ledger().row_lately(Orders, &entry.order).await?;
            if let Some(row) = row.filter(|row| is_good(row, now_ms)) {
                self.check_order(&entry.order, (id, listing), &row)?;
                return Ok((entry, Purchased::Before(Box::new(row))));
            }
        }
        let (opening, placed) = self.next_order(id, now_ms).await?;
        let mut entry = PurchaseEntry {
            order: OrderId::of(&self.me(), &opening),
            listing: *id,
            title: listing.terms.title.clone(),
            price: listing.terms.price,
            token: None,
            custodians: Vec::new(),
            until_ms: LedgerTime::ZERO,
        };
        if let Some(placed) = placed {
            // Another device has paid for this order: nothing more is paid, so no limit can be exceeded.
            self.check_order(&entry.order, (id, listing), &placed)?;
            entry.price = placed.amount;
            let row = entry.clone();
            self.local(move |local| local.write_purchase(&row)).await?;
            return Ok((entry, Purchased::Before(Box::new(placed))));
        }
        match listing.state {
            ListingState::Open => {}
            ListingState::Ended => return Err(ClientError::ListingEnded(*id)),
            ListingState::Frozen => return Err(ClientError::ListingFrozen(*id)),
        }
        let extra = self.price_of_order().await?.total();
        let cost = entry.price.checked_add(extra).unwrap_or(Amount(u128::MAX));
        if cost > price_max {
            return Err(ClientError::CostTooHigh { cost, limit: price_max });
        }
        let balance = self.balance_lately().await?;
        if cost > balance {
            return Err(ClientError::BalanceTooLow { needed: cost, balance });
        }
        let same = |checked: &CheckedListing| {
            checked.listing.listed_ms == listing.listed_ms && checked.listing.terms == listing.terms
        };
        let checking = async {
            match checked.filter(same) {
                Some(checked) => {
                    let chain = self.network().recent_chain().await?;
                    let now_ms = self.clock_of(&chain).now_ms;
                    Self::check_terms(&chain, now_ms, id, listing).map(|_| checked)
                }
                None => self.check_goods(id, listing.clone(), progress).await,
            }
        };
        let checked = tokio::join!(checking, self.ahead_of_release(listing)).0?;
        // What was listed must be known as long as it can be disputed, also if the seller's copy of it goes.
        let (row, list) = (entry.clone(), checked.leaves.clone());
        let write = move |local: &Local| {
            local.keep_listed(&row.listing, &list)?;
            local.write_purchase(&row)
        };
        self.local(write).await?;
        Ok((entry, Purchased::Not(opening, Box::new(checked))))
    }

    /// Refuses an order that is not as this identity places one. Its id alone says that this account has placed it.
    pub(super) fn check_order(
        &self,
        id: &OrderId,
        (listing, row): (&ListingId, &Listing),
        order: &Order,
    ) -> Result<(), ClientError> {
        let secret = self.identity().delivery_secret(&self.ledger().chain(), id);
        let context = custody::release_context(&self.ledger().chain(), id, listing);
        let own = DeliveryKey::make(&secret, &context, &[0; 32]);
        let what = if order.buyer != self.me() {
            "it is of another buyer"
        } else if order.listing != *listing || order.ordered_ms < row.listed_ms {
            "it is for another listing"
        } else if order.holder != self.identity().peer() {
            "its access is for another key"
        } else if order.delivery.point != own.point {
            "its key is delivered to another key"
        } else if order.amount != row.terms.price {
            "its amount is not the price"
        } else {
            return Ok(());
        };
        Err(ClientError::NotOurOrder { order: *id, what })
    }

    /// What was listed of a purchase: as it was kept when it was bought, or else as it is on the network.
    pub(super) async fn leaves_of_purchase(
        &self,
        id: &ListingId,
        listing: &Listing,
    ) -> Result<LeafList, ClientError> {
        let (of, manifest, root) = (*id, listing.terms.manifest.clone(), listing.terms.masks_root);
        let kept = self.local(move |local| local.kept_listed(&of, &manifest, &root)).await?;
        match kept {
            Some(kept) => Ok(kept),
            None => {
                let list = self.fetch_leaves(id, listing).await?;
                let (of, kept) = (*id, list.clone());
                self.local(move |local| local.keep_listed(&of, &kept)).await?;
                Ok(list)
            }
        }
    }

    /// The opening of this identity's next order for a listing: of one that is paid for already, or the first that
    /// stands for no order.
    async fn next_order(
        &self,
        id: &ListingId,
        now_ms: LedgerTime,
    ) -> Result<(Opening, Option<Order>), ClientError> {
        // The numbers of the orders may have gaps: an order leaves the ledger some time after its access has ended. So
        // the ledger is asked which there are.
        let me = self.me();
        let prefix = [&me.0[..], &id.0].concat();
        let keys = self.network().scan_all(OrdersOf, &prefix).await?;
        let orders = keys.iter().filter_map(|(key, _)| Some(OrdersOf::parse(key)?.1.1));
        let orders: Vec<OrderId> = orders.collect();
        let rows = self.network().rows_of(Orders, &orders).await?;
        let chain = self.ledger().chain();
        let openings = (0..=u32::MAX).map(|attempt| {
            let opening = self.identity().order_opening(&chain, id, attempt);
            (OrderId::of(&me, &opening), opening)
        });
        // A seller also finds the orders of others.
        let mut own = orders.iter().zip(rows).filter_map(|(order, row)| Some((*order, row?)));
        let good = own.find(|(_, row)| row.buyer == me && is_good(row, now_ms));
        // No number is larger than there were orders at once.
        if let Some((order, row)) = good
            && let Some((_, opening)) =
                openings.clone().take(ATTEMPTS_MAX).find(|(id, _)| *id == order)
        {
            return Ok((opening, Some(row)));
        }
        let mut free = openings.filter(|(id, _)| !orders.contains(id));
        let (_, opening) = free.next().expect("fewer orders than numbers");
        Ok((opening, None))
    }

    /// What the transactions of a purchase cost besides its price: the order and its acknowledgement. The deposit comes
    /// back some time after the access has ended.
    pub async fn price_of_order(&self) -> Result<Price, ClientError> {
        let params = self.network().params().await?;
        let (order, zero) = (OrderId([0; 16]), [0; 32]);
        // Only the sizes count.
        let bought = Action::Order {
            opening: Opening(zero),
            listing: ListingId([0; 16]),
            holder: PeerId(zero),
            delivery: DeliveryKey { point: zero, e: zero, z: zero },
            listed_ms: LedgerTime::ZERO,
            price: Amount::ZERO,
            licence: Hash(zero),
        };
        let custodians = vec![0; CUSTODIANS_MAX];
        let checked = Price::of(&params, &Action::Acknowledge { order, custodians });
        let price = Price::of(&params, &bought);
        let fee = price.fee.checked_add(checked.fee).unwrap_or(Amount(u128::MAX));
        Ok(Price { fee, ..price })
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
        opening: Opening,
        listing: &Listing,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        let chain = self.ledger().chain();
        let context = custody::release_context(&chain, &entry.order, &entry.listing);
        let secret = self.identity().delivery_secret(&chain, &entry.order);
        let delivery = DeliveryKey::make(&secret, &context, &self.host().random());
        let action = Action::Order {
            opening,
            listing: entry.listing,
            holder: self.identity().peer(),
            delivery,
            listed_ms: listing.listed_ms,
            price: entry.price,
            licence: listing.terms.licence,
        };
        progress.note(format!("paying {} credits into escrow", entry.price));
        match self.send(TransactionId(self.host().random()), action).await {
            // Another device placed the same order at the same moment.
            Ok(_) | Err(ClientError::LedgerRefused(Status::Exists)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Collects releases until the key opens. Gives up when the ledger has refunded the order. `placed` is the order,
    /// if it is known.
    pub(super) async fn open_key(
        &self,
        id: &OrderId,
        mut placed: Option<Order>,
        (of, listing): (&ListingId, &Listing),
        progress: &Progress,
    ) -> Result<Opened, ClientError> {
        let vault = self.ledger().row_lately(Vaults, &listing.terms.vault).await?;
        let mut vault =
            vault.ok_or_else(|| ClientError::Internal("a listing has a vault".into()))?;
        let secret = self.identity().delivery_secret(&self.ledger().chain(), id);
        let capsule = &listing.terms.capsule;
        let mut begun = None;
        loop {
            let needed = vault.key.required();
            let asked = match placed.take().filter(|order| delivered(order, &vault)) {
                Some(order) => Asked { order, releases: Vec::new(), faults: Vec::new() },
                None => self.ask_custodians(id, listing, &vault).await?,
            };
            let Asked { order, releases, faults } = asked;
            self.check_order(id, (of, listing), &order)?;
            if order.state == OrderState::Refunded {
                return Err(ClientError::OrderRefunded(*id));
            }
            let (point, used) = if delivered(&order, &vault) {
                // They are all of one dealing, and as many as it needs.
                let posted = &order.releases;
                let point = custody::combine_posted(capsule, posted, &secret, posted.len());
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
                // The seller may have dealt the secret anew.
                if let Some(row) = self.ledger().row(Vaults, &listing.terms.vault).await? {
                    vault = row;
                }
                continue;
            } else {
                let point = custody::combine(capsule, &releases[..needed], &secret, &vault.key);
                (point, releases[..needed].iter().map(|release| release.index).collect())
            };
            let point = point.map_err(refused)?;
            let listing_key = custody::listing_key(&point);
            let key = FileKey::from_bytes(*custody::unpad(&listing.terms.pad, &listing_key));
            return Ok(Opened { key, order, custodians: used });
        }
    }

    /// Asks all custodians side by side, and the ledger for the order at the same time. Keeps the releases that verify.
    /// Does not wait for the custodians when the order is refunded, or when enough releases of it stand on the ledger.
    pub(super) async fn ask_custodians(
        &self,
        id: &OrderId,
        listing: &Listing,
        vault: &Vault,
    ) -> Result<Asked, ClientError> {
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
        if order.state == OrderState::Refunded || delivered(&order, vault) {
            return Ok(Asked { order, releases, faults });
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
        Ok(Asked { order, releases, faults })
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
        self.forget_listed(listing);
        self.catalog().remove(Purchases, &listing.0)
    }

    /// The file with what was listed of a purchase.
    fn listed_path(&self, listing: &ListingId) -> PathBuf {
        self.dir().join("purchases").join(format!("{listing}.leaves"))
    }

    /// Keeps what was listed of a purchase until its order is closed.
    fn keep_listed(&self, listing: &ListingId, list: &LeafList) -> Result<(), ClientError> {
        let path = self.listed_path(listing);
        let folder = path.parent().unwrap_or(self.dir());
        let written = std::fs::create_dir_all(folder)
            .and_then(|()| durable::write_whole(&path, &list.to_bytes()));
        written.map_err(|source| ClientError::Io { path, source })
    }

    /// What was listed of a purchase, if it was kept and is of this listing.
    fn kept_listed(
        &self,
        listing: &ListingId,
        manifest: &Manifest,
        masks_root: &Hash,
    ) -> Result<Option<LeafList>, ClientError> {
        let path = self.listed_path(listing);
        match std::fs::read(&path) {
            // A file that was damaged is fetched again.
            Ok(bytes) => Ok(LeafList::read(manifest, masks_root, &bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ClientError::Io { path, source }),
        }
    }

    /// Forgets what was listed of a purchase whose order is closed.
    pub(super) fn forget_listed(&self, listing: &ListingId) {
        std::fs::remove_file(self.listed_path(listing)).ok();
    }
}
