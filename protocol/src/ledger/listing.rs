//! Listings: files for sale, their terms and previews.

use alloc::boxed::Box;

use crate::{
    custody, grant,
    id::{AccountId, Hash, ListingId, ObjectId, Opening},
    ledger::{
        beacon::Layers,
        block::Event,
        books::Books,
        kept,
        rows::{
            AwaitBeacon, Kept, Listing, ListingState, Listings, ListingsOf, Nothing, PublicRef,
            Revocations, Table, Terms, Vaults,
        },
        signing,
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
}

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
    if books.has(Listings, &id) {
        return Err(Status::Exists);
    }
    let listing = Listing {
        seller,
        terms: terms.clone(),
        state: ListingState::Open,
        listed_ms: books.now(),
        preview_seed: None,
        preview: None,
        sold: 0,
        orders: 0,
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

pub(super) fn check_end_listing<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: ListingId,
) -> Result<Effect, Status> {
    let mut listing = books.get(Listings, &id).ok_or(Status::UnknownListing)?;
    if listing.seller != sender {
        return Err(Status::NotYours);
    }
    if listing.state == ListingState::Ended {
        return Err(Status::ListingEnded);
    }
    listing.state = ListingState::Ended;
    Ok(Effect::End { id, listing: Box::new(listing) })
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, effect: Effect) {
    match effect {
        Effect::List { id, listing } => {
            books.put(Listings, &id, &listing);
            books.put(ListingsOf, &of_seller(id, &listing), &Nothing {});
            if 0 < listing.terms.preview_cells {
                // The first tick that begins after this block: its layer has not been shown.
                books.put(AwaitBeacon, &(books.chain.beacon.next_tick, id), &Nothing {});
            }
        }
        Effect::Preview { id, listing } => books.put(Listings, &id, &listing),
        Effect::End { id, listing } => {
            books.put(Listings, &id, &listing);
            keep_if_over(books, id, &listing);
        }
    }
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
    if listing.state == ListingState::Ended && listing.orders == 0 {
        let now = books.now();
        kept::keep(books, now, Kept::Listing { listing: id });
    }
}

/// Listings whose previews one block picks at most: more than the transactions of one block can list. If more wait for
/// a tick, the next blocks pick the rest by a layer that they know.
pub(super) const PREVIEWS_MAX: usize = 1280;

/// Picks the preview cells of listings whose tick has come.
pub(super) fn pick_previews<S: State + ?Sized>(books: &mut Books<'_, S>, layers: &Layers) {
    let next = books.chain.beacon.next_tick;
    let due = books.due(AwaitBeacon, &[AwaitBeacon::TAG], PREVIEWS_MAX, |key| key.0 < next);
    for ((tick, id), _) in due {
        let mut listing = books.get(Listings, &id).expect("what waits was listed");
        assert!(listing.preview_seed.is_none(), "a preview is picked once");
        listing.preview_seed = Some(preview_seed(&layers.at(tick), &id));
        books.put(Listings, &id, &listing);
        books.remove(AwaitBeacon, &(tick, id));
        books.report(Event::PreviewPicked { listing: id });
    }
}

fn preview_seed(layer: &Hash, listing: &ListingId) -> Hash {
    signing::hash_parts("symbolon 2026 preview v1", &[layer, listing])
}
