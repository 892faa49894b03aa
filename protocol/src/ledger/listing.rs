//! Listings: files for sale, their terms, the deals that keep them, and previews.

use alloc::{boxed::Box, vec::Vec};

use crate::{
    amount::Amount,
    content::SegmentLayout,
    custody, grant,
    id::{AccountId, DealId, Hash, LinkId, ListingId, ObjectId, Opening},
    ledger::{
        beacon::Values,
        block::Event,
        books::Books,
        kept,
        rows::{
            AwaitBeacon, Cover, Deal, DealState, Deals, Draw, Draws, Kept, Listing, ListingState,
            Listings, ListingsOf, Mandates, Nothing, PublicRef, Revocations, Table, Terms, Vaults,
        },
        sale, signing,
        state::State,
        status::Status,
    },
};

/// A checked action on a listing.
#[derive(Debug)]
pub(super) enum Effect {
    List {
        id: ListingId,
        listing: Box<Listing>,
    },
    /// The listing has a preview now.
    Preview {
        id: ListingId,
        listing: Box<Listing>,
    },
    End {
        id: ListingId,
        listing: Box<Listing>,
    },
    /// More of its deals were shown.
    Cover {
        id: ListingId,
        listing: Box<Listing>,
    },
}

impl Effect {
    /// What leaves the sender's balance.
    pub(super) fn spends(&self) -> Amount {
        match self {
            Self::List { listing, .. } => listing.terms.bond,
            Self::Preview { .. } | Self::End { .. } | Self::Cover { .. } => Amount::ZERO,
        }
    }
}

/// Deals that one transaction shows at most.
pub const COVERED_DEALS_MAX: usize = 256;

pub(super) fn check_list<S: State + ?Sized>(
    books: &Books<'_, S>,
    seller: AccountId,
    opening: &Opening,
    terms: &Terms,
) -> Result<Effect, Status> {
    let object = &terms.manifest.object;
    let mandate = grant::verify_mandate(books.id(), &seller, &terms.mandate, object)
        .map_err(|_| Status::BadProof)?;
    if books.has(Revocations, &(mandate, seller)) {
        return Err(Status::BadProof);
    }
    let label = custody::label(books.id(), &seller, &terms.vault, &terms.manifest.content_root);
    terms.capsule.verify(&label).map_err(|_| Status::BadLabel)?;
    let vault = books.get(Vaults, &terms.vault).ok_or(Status::UnknownVault)?;
    if vault.owner != seller {
        return Err(Status::NotYours);
    }
    let id = ListingId::of(&seller, opening);
    if books.has(Listings, &id) || books.has(Mandates, &mandate) {
        return Err(Status::Exists);
    }
    let listing = Listing {
        seller,
        terms: terms.clone(),
        state: ListingState::Open,
        listed_ms: books.now(),
        preview_seed: None,
        preview: None,
        cover: Cover { until: None, shown: 0, shown_until: u64::MAX },
        sold: 0,
        orders: 0,
        open: 0,
    };
    Ok(Effect::List { id, listing: Box::new(listing) })
}

pub(super) fn check_preview<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: ListingId,
    preview: &PublicRef,
) -> Result<Effect, Status> {
    let mut listing = books.get(Listings, &id).ok_or(Status::UnknownListing)?;
    if listing.seller != sender {
        return Err(Status::NotYours);
    }
    if listing.preview.is_some() {
        return Err(Status::Exists);
    }
    if listing.preview_seed.is_none() {
        return Err(Status::TooEarly);
    }
    listing.preview = Some(preview.clone());
    Ok(Effect::Preview { id, listing: Box::new(listing) })
}

/// Checks that the next segments of a listing's file have these deals.
pub(super) fn check_cover<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: ListingId,
    first: u32,
    deals: &[DealId],
) -> Result<Effect, Status> {
    let rows = deals.iter().map(|deal| books.get(Deals, deal)).collect::<Option<Vec<_>>>();
    let rows = rows.ok_or(Status::UnknownDeal)?;
    let mut listing = books.get(Listings, &id).ok_or(Status::UnknownListing)?;
    if listing.seller != sender || rows.iter().any(|deal| deal.owner != sender) {
        return Err(Status::NotYours);
    }
    if listing.state != ListingState::Open {
        return Err(Status::ListingEnded);
    }
    let is_over = |deal: &Deal| deal.state != DealState::Open || deal.end <= books.chain.epoch;
    if rows.iter().any(is_over) {
        return Err(Status::DealClosed);
    }
    let layout = listing.terms.manifest.layout().expect("a listed manifest has a layout");
    let cover = &mut listing.cover;
    if first == 0 {
        (cover.shown, cover.shown_until) = (0, u64::MAX);
    }
    if first != cover.shown {
        return Err(Status::TooEarly);
    }
    let object = listing.terms.manifest.object;
    for (number, deal) in (first..).zip(&rows) {
        let keeps = layout.segment(number).is_ok_and(|segment| is_of(deal, object, &segment));
        if !keeps {
            return Err(Status::NotCovered);
        }
        cover.shown += 1;
        cover.shown_until = cover.shown_until.min(deal.end);
    }
    if cover.shown == layout.segments() {
        *cover = Cover { until: Some(cover.shown_until), shown: 0, shown_until: u64::MAX };
    }
    Ok(Effect::Cover { id, listing: Box::new(listing) })
}

/// Whether a deal is for this segment of an object, with a shard for each place and enough of them kept.
pub(super) fn is_of(deal: &Deal, object: ObjectId, segment: &SegmentLayout) -> bool {
    deal.object == object
        && deal.segment == segment.segment
        && deal.required == segment.required
        && deal.shards.len() == usize::from(segment.total)
        && deal.length == segment.shard_length
        && usize::from(deal.required) <= deal.kept().count()
}

pub(super) fn check_end_listing<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: ListingId,
) -> Result<Effect, Status> {
    let mut listing = books.get(Listings, &id).ok_or(Status::UnknownListing)?;
    if listing.seller != sender {
        return Err(Status::NotYours);
    }
    if listing.state != ListingState::Open {
        return Err(Status::ListingEnded);
    }
    listing.state = ListingState::Ended;
    Ok(Effect::End { id, listing: Box::new(listing) })
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, effect: Effect) {
    match effect {
        Effect::List { id, mut listing } => {
            let mandate = mandate_of(books, &listing);
            books.put(Mandates, &mandate, &id);
            books.put(ListingsOf, &of_seller(id, &listing), &Nothing {});
            sale::began(books, id, &listing);
            if 0 < listing.terms.preview_cells {
                draw(books, id, &mut listing);
            }
            books.put(Listings, &id, &listing);
        }
        Effect::Preview { id, listing } | Effect::Cover { id, listing } => {
            books.put(Listings, &id, &listing);
        }
        Effect::End { id, listing } => {
            books.put(Listings, &id, &listing);
            sale::ended(books, id, &listing);
            keep_if_over(books, id, &listing);
        }
    }
}

/// The id of a listing's mandate.
pub(super) fn mandate_of<S: State + ?Sized>(books: &Books<'_, S>, listing: &Listing) -> LinkId {
    grant::mandate_id(books.id(), &listing.seller, &listing.terms.mandate)
}

/// Picks the preview cells of a listing: those that its content root was given before, or those of a tick to come.
fn draw<S: State + ?Sized>(books: &mut Books<'_, S>, id: ListingId, listing: &mut Listing) {
    if let Some(draw) = books.get(Draws, &listing.terms.manifest.content_root) {
        listing.preview_seed = Some(draw.seed);
        books.report(Event::PreviewPicked { listing: id });
        return;
    }
    // The first tick that begins after this block: its value has not been shown.
    books.put(AwaitBeacon, &(books.chain.beacon.next_tick, id), &Nothing {});
}

/// The key of its row in [`ListingsOf`].
pub(super) fn of_seller(id: ListingId, listing: &Listing) -> (AccountId, (ObjectId, ListingId)) {
    (listing.seller, (listing.terms.manifest.object, id))
}

/// Notes when a listing leaves the state, once it has ended and its last order has left. No new order can come then.
pub(super) fn keep_if_over<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: ListingId,
    listing: &Listing,
) {
    if listing.state != ListingState::Open && listing.orders == 0 {
        let now = books.now();
        kept::keep(books, now, Kept::Listing { listing: id });
    }
}

/// Listings whose previews one block picks at most: more than the transactions of one block can list. If more wait for
/// a tick, the next blocks pick the rest by a value that they know.
pub(super) const PREVIEWS_MAX: usize = 1280;

/// Picks the preview cells of listings whose tick has come.
pub(super) fn pick_previews<S: State + ?Sized>(books: &mut Books<'_, S>, values: &Values) {
    let next = books.chain.beacon.next_tick;
    let due = books.due(AwaitBeacon, &[AwaitBeacon::TAG], PREVIEWS_MAX, |key| key.0 < next);
    for ((tick, id), _) in due {
        let mut listing = books.get(Listings, &id).expect("what waits was listed");
        assert!(listing.preview_seed.is_none(), "a preview is picked once");
        // Two listings of one file may wait at the same time.
        let root = listing.terms.manifest.content_root;
        let drawn = || Draw { seed: preview_seed(&values.at(tick), &root) };
        let draw = books.get(Draws, &root).unwrap_or_else(drawn);
        books.put(Draws, &root, &draw);
        listing.preview_seed = Some(draw.seed);
        books.put(Listings, &id, &listing);
        books.remove(AwaitBeacon, &(tick, id));
        books.report(Event::PreviewPicked { listing: id });
    }
}

fn preview_seed(value: &Hash, content_root: &Hash) -> Hash {
    signing::hash_parts("symbolon 2026 preview v2", &[value, content_root])
}
