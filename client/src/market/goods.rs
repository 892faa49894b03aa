//! What a listing sells: whether it is stored, for as long as access is sold, and in reach. Looked at
//! before any money moves, because whoever pays for what is not there is not paid back.
//!
//! A listing names an object and no deals. Only its owner's deals can be for it, so those are looked
//! through. That the bytes are what is sold is shown by the preview, which is checked here too.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::{
    content::{Layout, Manifest},
    id::{AccountId, ListingId, NodeId, ObjectId, OrderId},
    ledger::rows::{
        Chain, Deal, Deals, DealsOf, Listing, ListingState, OrderState, Orders, OrdersOf, Table,
    },
    session::NodeFault,
};

use symbolon_ledger::ROWS_MAX;
use symbolon_transfer::TransferError;

use crate::{
    error::ClientError,
    library::Name,
    market::{Market, listings::ListingView},
    progress::Progress,
    term::{Kept, runs},
};

/// Pages of a seller's deals that a list of listings is worth, of [`ROWS_MAX`] rows each: who has more deals than
/// that may slow down nobody who only looks around. Who buys looks through all.
const PAGES_MAX: usize = 64;

/// What stands behind a listing.
pub(crate) struct Goods {
    pub(crate) kept: Kept,
    /// Of every segment: how many shards give it back, and who keeps one.
    holders: Vec<(u8, Vec<NodeId>)>,
}

/// A listing of one's own, and what depends on what it sells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// The listing.
    pub listing: ListingId,
    /// Whether it takes orders.
    pub open: bool,
    /// How many have paid for access that is not over.
    pub buyers: u64,
    /// When the last of them loses it, in milliseconds since the Unix epoch.
    pub access_until_ms: u64,
}

/// Whether a deal is for a segment of a file of this layout.
fn fits(deal: &Deal, layout: &Layout) -> bool {
    let Ok(segment) = layout.segment(deal.segment) else { return false };
    let kept = deal.shards.iter().flatten().count();
    deal.required == segment.required
        && deal.shards.len() == usize::from(segment.total)
        && deal.length == segment.shard_length
        && kept >= usize::from(segment.required)
}

/// A file that is for sale, and the deals that keep it.
struct Sought {
    layout: Layout,
    /// One for each segment that has any.
    found: BTreeMap<u32, Deal>,
}

impl Sought {
    /// Of two deals for a segment the one that keeps it, and longer.
    fn take_better(&mut self, deal: &Deal) {
        let better = |old: &Deal| (runs(old), old.end) < (runs(deal), deal.end);
        if fits(deal, &self.layout) && self.found.get(&deal.segment).is_none_or(better) {
            self.found.insert(deal.segment, deal.clone());
        }
    }

    /// Whether every segment is kept.
    fn is_whole(&self) -> bool {
        self.found.len() == self.layout.segments() as usize && self.found.values().all(runs)
    }
}

fn kept_by(chain: &Chain, found: &BTreeMap<u32, Deal>, layout: &Layout) -> Kept {
    let missing = (found.len() < layout.segments() as usize).then_some(None);
    Kept::of(chain, found.values().map(Some).chain(missing))
}

impl Market {
    /// Refuses a purchase of what is not there: before any money moves.
    pub(crate) async fn check_goods(
        &self,
        id: &ListingId,
        listing: &Listing,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        progress.note("checking that what is listed is there");
        let stored = async {
            let chain = self.network().recent_chain().await?;
            let goods = self.goods(&chain, &listing.seller, &listing.terms.manifest).await?;
            let now_ms = self.clock_of(&chain).now_ms;
            let access_until_ms = now_ms.saturating_add(listing.terms.access_ms);
            match goods.kept {
                Kept::Over { since_ms } => {
                    return Err(ClientError::GoodsOver { listing: *id, since_ms });
                }
                Kept::Until { time_ms, .. } if time_ms < access_until_ms => {
                    return Err(ClientError::GoodsEndEarly {
                        listing: *id,
                        paid_until_ms: time_ms,
                        access_until_ms,
                    });
                }
                Kept::Until { .. } => {}
            }
            self.in_reach(&goods).await
        };
        let shown = async {
            match listing.terms.preview_cells {
                0 => Ok(()),
                _ => self.open_preview(id, listing).await.map(drop),
            }
        };
        // Of two reasons the one that says more.
        let (stored, shown) = tokio::join!(stored, shown);
        stored.and(shown)
    }

    /// The deals of a seller that keep an object.
    pub(crate) async fn goods(
        &self,
        chain: &Chain,
        seller: &AccountId,
        manifest: &Manifest,
    ) -> Result<Goods, ClientError> {
        let layout = manifest.layout().map_err(|error| ClientError::Grant(error.into()))?;
        let mut sought =
            BTreeMap::from([(manifest.object, vec![Sought { layout, found: BTreeMap::new() }])]);
        self.seek(seller, &mut sought, usize::MAX).await?;
        let found = sought.into_values().flatten().next().map(|one| one.found).unwrap_or_default();
        let kept = kept_by(chain, &found, &layout);
        let keepers = |deal: &Deal| deal.shards.iter().flatten().map(|shard| shard.node).collect();
        let holders = found.values().map(|deal| (deal.required, keepers(deal))).collect();
        Ok(Goods { kept, holders })
    }

    /// Looks through a seller's deals for those that keep something, until all of it is found or so many pages
    /// were read. Whether there were no more of them.
    async fn seek(
        &self,
        seller: &AccountId,
        sought: &mut BTreeMap<ObjectId, Vec<Sought>>,
        pages: usize,
    ) -> Result<bool, ClientError> {
        let mut after: Option<Vec<u8>> = None;
        for _ in 0..pages {
            let page = self.ledger().scan(DealsOf, &seller.0, after.as_deref(), ROWS_MAX).await?;
            let ids: Vec<_> =
                page.iter().filter_map(|(key, _)| Some(DealsOf::parse(key)?.1)).collect();
            for deal in self.network().rows_of(Deals, &ids).await?.into_iter().flatten() {
                for one in sought.get_mut(&deal.object).into_iter().flatten() {
                    one.take_better(&deal);
                }
            }
            if page.len() < ROWS_MAX || sought.values().flatten().all(Sought::is_whole) {
                return Ok(true);
            }
            after = page.into_iter().next_back().map(|(key, _)| key);
        }
        Ok(false)
    }

    /// Says of each listing until when what it sells is stored, as far as [`PAGES_MAX`] pages of its seller's
    /// deals show it. They are looked through once for all of a seller's listings.
    pub(crate) async fn with_goods(
        &self,
        chain: &Chain,
        views: Vec<(ListingView, Listing)>,
    ) -> Result<Vec<ListingView>, ClientError> {
        let mut sellers: BTreeMap<AccountId, BTreeMap<ObjectId, Vec<Sought>>> = BTreeMap::new();
        for (view, listing) in &views {
            let manifest = &listing.terms.manifest;
            let Ok(layout) = manifest.layout() else { continue };
            let sought = sellers.entry(view.seller).or_default().entry(manifest.object);
            sought.or_default().push(Sought { layout, found: BTreeMap::new() });
        }
        let mut whole = BTreeSet::new();
        for (seller, sought) in &mut sellers {
            if self.seek(seller, sought, PAGES_MAX).await? {
                whole.insert(*seller);
            }
        }
        let views = views.into_iter().map(|(mut view, listing)| {
            let manifest = &listing.terms.manifest;
            let of_object = sellers.get(&view.seller).and_then(|all| all.get(&manifest.object));
            let layout = manifest.layout().ok();
            let found =
                of_object.into_iter().flatten().find(|one| Some(&one.layout) == layout.as_ref());
            let known = found.filter(|one| one.is_whole() || whole.contains(&view.seller));
            view.kept = known.map(|one| kept_by(chain, &one.found, &one.layout));
            view
        });
        Ok(views.collect())
    }

    /// Whether enough nodes of every segment answer.
    async fn in_reach(&self, goods: &Goods) -> Result<(), ClientError> {
        let all: BTreeSet<NodeId> =
            goods.holders.iter().flat_map(|(_, nodes)| nodes).copied().collect();
        let ids: Vec<NodeId> = all.into_iter().collect();
        let places = self.network().places(&ids).await?.into_iter().flatten().collect();
        let answering = self.network().all_answering(places).await;
        for (segment, (required, nodes)) in (0..).zip(&goods.holders) {
            let there = nodes.iter().filter(|node| answering.contains(node)).count();
            if there < usize::from(*required) {
                let away = nodes.iter().filter(|node| !answering.contains(node));
                return Err(TransferError::NotEnoughShards {
                    segment,
                    usable: u8::try_from(there).unwrap_or(u8::MAX),
                    required: *required,
                    faults: away.map(|node| (*node, NodeFault::Offline)).collect(),
                }
                .into());
            }
        }
        Ok(())
    }

    /// The sales that would lose their goods if these names were removed.
    pub async fn sales_in(&self, names: &[Name], forever: bool) -> Result<Vec<Sale>, ClientError> {
        self.sales_of(&self.objects_going(names, forever).await?).await
    }

    /// The sales that would be left without their goods if these objects went.
    async fn sales_of(&self, objects: &[ObjectId]) -> Result<Vec<Sale>, ClientError> {
        let listings = self.own.of(objects).await?;
        if listings.is_empty() {
            return Ok(Vec::new());
        }
        let now_ms = self.clock().await?.now_ms;
        let mut sales: BTreeMap<ListingId, Sale> = BTreeMap::new();
        for (_, listing, row) in listings {
            let open = row.state == ListingState::Open;
            sales.insert(listing, Sale { listing, open, buyers: 0, access_until_ms: 0 });
        }
        let keys = self.network().scan_all(OrdersOf, &self.me().0).await?;
        let ids: Vec<OrderId> =
            keys.iter().filter_map(|(key, _)| Some(OrdersOf::parse(key)?.1)).collect();
        for order in self.network().rows_of(Orders, &ids).await?.into_iter().flatten() {
            let lives = order.state != OrderState::Refunded && now_ms < order.access_until_ms;
            if let Some(sale) = sales.get_mut(&order.listing).filter(|_| lives) {
                sale.buyers += 1;
                sale.access_until_ms = sale.access_until_ms.max(order.access_until_ms);
            }
        }
        Ok(sales.into_values().filter(|sale| sale.open || sale.buyers > 0).collect())
    }
}
