//! The goods of a listing: the file that it sells. The client checks that the file is stored, that it is stored for as
//! long as access is sold, and that enough of its nodes answer. It checks this before any money moves.
//!
//! The ledger has been shown the deals and takes no order whose access outlasts them; the client does not rely on that
//! alone. It checks again what the ledger promises, fetches the leaf list and compares it with the content root, and
//! opens the preview. So a buyer knows before paying what each cell must be, and can prove it if one is not.

use std::collections::{BTreeMap, BTreeSet};

use symbolon_protocol::{
    Amount, LedgerTime, Millis,
    content::{Layout, Manifest},
    dispute::{LeafList, LeafListError},
    id::{AccountId, ListingId, NodeId, ObjectId, OrderId},
    ledger::{
        access_min,
        rows::{
            Chain, Deal, Deals, DealsOf, Listing, ListingState, OrderState, Orders, OrdersOf, Table,
        },
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

/// Pages of a seller's deals, with [`ROWS_MAX`] rows each, that the client reads for a list of listings. A seller with
/// more deals must not slow down every reader of the list. The client of a buyer reads all pages.
const PAGES_MAX: usize = 64;

/// The deals and nodes that keep the goods of a listing.
pub(crate) struct Goods {
    pub(crate) kept: Kept,
    /// For every segment: how many shards restore it, and the nodes that keep one.
    holders: Vec<(u8, Vec<NodeId>)>,
}

/// What a buyer's client has checked of a listing before any money moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checks {
    /// The listing.
    pub listing: ListingId,
    /// Until when a buyer who pays now has access, in milliseconds since the Unix epoch.
    pub access_until_ms: LedgerTime,
    /// Until when the ledger knows that the file is kept.
    pub covered_until_ms: LedgerTime,
    /// How long a buyer has to check the file after delivery, in milliseconds.
    pub window_ms: Millis,
    /// What the seller loses if the buyer proves that it is not what was listed. Half of it goes to the buyer.
    pub bond: Amount,
    /// The cells of the file. A hash of each is listed, and all of them lead to the content root.
    pub cells: u64,
    /// The preview cells that the beacon picked. Like those that the seller chose, they are part of the file.
    pub preview_cells: usize,
    /// Nodes of the file that answer.
    pub nodes: usize,
}

/// A listing that was checked, to be bought.
#[derive(Clone, Debug)]
pub struct CheckedListing {
    /// What was checked.
    pub checks: Checks,
    pub(crate) listing: Listing,
    pub(crate) leaves: LeafList,
}

/// A listing of this identity, and the buyers who depend on its goods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sale {
    /// The listing.
    pub listing: ListingId,
    /// Whether it takes orders.
    pub open: bool,
    /// Number of buyers whose access has not ended.
    pub buyers: u64,
    /// When the last of these buyers loses access, in milliseconds since the Unix epoch.
    pub access_until_ms: LedgerTime,
}

/// Whether a deal has the sizes of a segment in this layout, and keeps enough shards to restore it.
fn fits(deal: &Deal, layout: &Layout) -> bool {
    let Ok(segment) = layout.segment(deal.segment) else { return false };
    let kept = deal.kept().count();
    deal.required == segment.required
        && deal.shards.len() == usize::from(segment.total)
        && deal.length == segment.shard_length
        && kept >= usize::from(segment.required)
}

/// A file that is for sale, and the deals that were found for it.
struct Sought {
    layout: Layout,
    /// One deal for each segment that has any.
    deals: BTreeMap<u32, Deal>,
}

impl Sought {
    /// Keeps the better of two deals for a segment: one that runs before one that does not, then the one that ends
    /// later.
    fn take_better(&mut self, deal: &Deal) {
        let better = |old: &Deal| (runs(old), old.end) < (runs(deal), deal.end);
        if fits(deal, &self.layout) && self.deals.get(&deal.segment).is_none_or(better) {
            self.deals.insert(deal.segment, deal.clone());
        }
    }

    /// Whether every segment has a deal that runs.
    fn is_whole(&self) -> bool {
        self.deals.len() == self.layout.segments() as usize && self.deals.values().all(runs)
    }
}

/// Refuses goods that are not stored until an access ends.
fn check_kept(
    kept: Kept,
    listing: &ListingId,
    access_until_ms: LedgerTime,
) -> Result<(), ClientError> {
    let listing = *listing;
    match kept {
        Kept::Over { since_ms } => Err(ClientError::GoodsOver { listing, since_ms }),
        Kept::Until { time_ms: paid_until_ms, .. } if paid_until_ms < access_until_ms => {
            Err(ClientError::GoodsEndEarly { listing, paid_until_ms, access_until_ms })
        }
        Kept::Until { .. } => Ok(()),
    }
}

fn kept_by(chain: &Chain, deals: &BTreeMap<u32, Deal>, layout: &Layout) -> Kept {
    let missing = (deals.len() < layout.segments() as usize).then_some(None);
    Kept::of(chain, deals.values().map(Some).chain(missing))
}

impl Market {
    /// Checks a listing as a buyer does before any money moves: what the ledger promises of it, its leaf list, its preview,
    /// and that its file is there. Refuses what a buyer could not use, or not complain about.
    pub async fn check_listing(
        &self,
        id: &ListingId,
        progress: &Progress,
    ) -> Result<CheckedListing, ClientError> {
        let listing = self.listing_lately(id).await?;
        let checking = self.check_goods(id, listing.clone(), progress);
        tokio::join!(checking, self.ahead_of_release(&listing)).0
    }

    /// Refuses a listing that the ledger takes no order for, or from which no buyer could get the money back. Gives until
    /// when access would last, and until when the file is known to be kept.
    pub(crate) fn check_terms(
        chain: &Chain,
        now_ms: LedgerTime,
        id: &ListingId,
        listing: &Listing,
    ) -> Result<(LedgerTime, LedgerTime), ClientError> {
        let terms = &listing.terms;
        match listing.state {
            ListingState::Open => {}
            ListingState::Ended => return Err(ClientError::ListingEnded(*id)),
            ListingState::Frozen => return Err(ClientError::ListingFrozen(*id)),
        }
        let least_ms = access_min(&chain.params, terms.window_ms);
        if terms.access_ms < least_ms {
            let (listing, access_ms) = (*id, terms.access_ms);
            return Err(ClientError::AccessTooShort { listing, access_ms, least_ms });
        }
        let access_until_ms = now_ms.saturating_add(terms.access_ms);
        let covered = Self::covered_until(chain, listing);
        match covered.filter(|until| access_until_ms <= *until) {
            Some(until) => Ok((access_until_ms, until)),
            None => Err(ClientError::NotCovered {
                listing: *id,
                covered_until_ms: covered,
                access_until_ms,
            }),
        }
    }

    /// Refuses a purchase of goods that are not there, before any money moves.
    pub(crate) async fn check_goods(
        &self,
        id: &ListingId,
        listing: Listing,
        progress: &Progress,
    ) -> Result<CheckedListing, ClientError> {
        progress.note("checking that the listed file is there, and what is listed of it");
        let chain = self.network().recent_chain().await?;
        let now_ms = self.clock_of(&chain).now_ms;
        let checked = Self::check_terms(&chain, now_ms, id, &listing);
        let (seller, manifest) = (&listing.seller, &listing.terms.manifest);
        // A file that is gone says more than that the ledger was not shown it.
        if let Err(ClientError::NotCovered { access_until_ms, .. }) = &checked {
            let goods = self.goods(&chain, seller, manifest).await?;
            check_kept(goods.kept, id, *access_until_ms)?;
        }
        let (access_until_ms, covered_until_ms) = checked?;
        let stored = async {
            let goods = self.goods(&chain, seller, manifest).await?;
            check_kept(goods.kept, id, access_until_ms)?;
            self.in_reach(&goods).await
        };
        let shown = async {
            match listing.terms.preview_cells {
                0 => Ok(0),
                _ => self.open_preview(id, &listing).await.map(|cells| cells.drawn.len()),
            }
        };
        // When several fail, the storage error says most.
        let (stored, shown, leaves) = tokio::join!(stored, shown, self.fetch_leaves(id, &listing));
        let (nodes, preview_cells, leaves) = (stored?, shown?, leaves?);
        let terms = &listing.terms;
        let checks = Checks {
            listing: *id,
            access_until_ms,
            covered_until_ms,
            window_ms: terms.window_ms,
            bond: terms.bond,
            cells: terms.cells,
            preview_cells,
            nodes,
        };
        Ok(CheckedListing { checks, listing, leaves })
    }

    /// Fetches the leaf list of a listing, and checks that it leads to the content root and to the listed masks.
    pub(crate) async fn fetch_leaves(
        &self,
        id: &ListingId,
        listing: &Listing,
    ) -> Result<LeafList, ClientError> {
        let (terms, wrong) = (&listing.terms, |why| ClientError::Leaves { listing: *id, why });
        let layout = terms.manifest.layout().map_err(|error| ClientError::Grant(error.into()))?;
        let expected = LeafList::byte_length(&layout);
        let found = terms.leaves.manifest.length;
        // A seller may name content of any size. No byte of it is fetched then.
        if found != expected {
            return Err(wrong(LeafListError::Length { found, expected }));
        }
        let bytes = self.read_public_of(&listing.seller, &terms.leaves, expected).await?;
        let (manifest, masks_root) = (terms.manifest.clone(), terms.masks_root);
        let read = move || LeafList::read(&manifest, &masks_root, &bytes);
        self.host().blocking(read).await.map_err(wrong)
    }

    /// Finds the deals of a seller that keep an object.
    pub(crate) async fn goods(
        &self,
        chain: &Chain,
        seller: &AccountId,
        manifest: &Manifest,
    ) -> Result<Goods, ClientError> {
        let layout = manifest.layout().map_err(|error| ClientError::Grant(error.into()))?;
        let mut sought =
            BTreeMap::from([(manifest.object, vec![Sought { layout, deals: BTreeMap::new() }])]);
        self.seek(seller, &mut sought, usize::MAX).await?;
        let deals = sought.into_values().flatten().next().map(|one| one.deals).unwrap_or_default();
        let kept = kept_by(chain, &deals, &layout);
        let keepers = |deal: &Deal| deal.kept().map(|(_, shard)| shard.node).collect();
        let holders = deals.values().map(|deal| (deal.required, keepers(deal))).collect();
        Ok(Goods { kept, holders })
    }

    /// Reads a seller's deals and takes those for the objects in `sought`. Stops when every segment of each has a deal
    /// that runs, or after `pages` pages. Gives whether it has seen all deals that matter.
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

    /// Adds to each listing until when its goods are stored, as far as the first [`PAGES_MAX`] pages of its seller's
    /// deals show it. Reads these pages once for all listings of a seller.
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
            sought.or_default().push(Sought { layout, deals: BTreeMap::new() });
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
            let matching =
                of_object.into_iter().flatten().find(|one| Some(&one.layout) == layout.as_ref());
            let known = matching.filter(|one| one.is_whole() || whole.contains(&view.seller));
            view.kept = known.map(|one| kept_by(chain, &one.deals, &one.layout));
            view
        });
        Ok(views.collect())
    }

    /// Refuses when too few nodes of a segment answer. Gives how many answer.
    async fn in_reach(&self, goods: &Goods) -> Result<usize, ClientError> {
        let all: BTreeSet<NodeId> =
            goods.holders.iter().flat_map(|(_, nodes)| nodes).copied().collect();
        let ids: Vec<NodeId> = all.into_iter().collect();
        let places = self.network().places(&ids).await?.into_iter().flatten().collect();
        let answering = self.network().all_answering(places).await;
        for (segment, (required, nodes)) in (0..).zip(&goods.holders) {
            let reachable = nodes.iter().filter(|node| answering.contains(node)).count();
            if reachable < usize::from(*required) {
                let away = nodes.iter().filter(|node| !answering.contains(node));
                return Err(TransferError::NotEnoughShards {
                    segment,
                    usable: u8::try_from(reachable).unwrap_or(u8::MAX),
                    required: *required,
                    faults: away.map(|node| (*node, NodeFault::Offline)).collect(),
                }
                .into());
            }
        }
        Ok(answering.len())
    }

    /// The sales that would lose their goods if these names were removed.
    pub async fn sales_in(&self, names: &[Name], forever: bool) -> Result<Vec<Sale>, ClientError> {
        self.sales_of(&self.objects_going(names, forever).await?).await
    }

    /// The sales that would lose their goods if these objects were removed.
    async fn sales_of(&self, objects: &[ObjectId]) -> Result<Vec<Sale>, ClientError> {
        let listings = self.own.of(objects).await?;
        if listings.is_empty() {
            return Ok(Vec::new());
        }
        let now_ms = self.clock().await?.now_ms;
        let mut sales: BTreeMap<ListingId, Sale> = BTreeMap::new();
        for (_, listing, row) in listings {
            let open = row.state == ListingState::Open;
            sales.insert(
                listing,
                Sale { listing, open, buyers: 0, access_until_ms: LedgerTime::ZERO },
            );
        }
        let keys = self.network().scan_all(OrdersOf, &self.me().0).await?;
        let ids: Vec<OrderId> =
            keys.iter().filter_map(|(key, _)| Some(OrdersOf::parse(key)?.1.1)).collect();
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
