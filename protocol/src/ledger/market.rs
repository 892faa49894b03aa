//! The market up to a sale: vaults, listings, previews, orders.

use alloc::{boxed::Box, collections::BTreeSet, vec::Vec};

use crate::{
    amount::Amount,
    codec::Encode,
    custody::{self, CustodyTerms, VaultKey},
    grant,
    id::{AccountId, Hash, ListingId, NodeId, OrderId, PeerId, VaultId},
    ledger::{
        account::can_pay,
        block::{Event, Reason},
        books::Books,
        params::Params,
        range::Offer,
        rows::{
            AwaitBeacon, Hold, HoldKey, Listing, ListingState, Listings, Node, Nodes, Nothing,
            Order, OrderState, Orders, OrdersDue, OrdersOf, PublicRef, Revocations, Table, Terms,
            Vault, Vaults,
        },
        signing,
        state::State,
        status::Status,
        transaction::{Action, CustodyAcceptance},
    },
};

/// Bytes of a listing's mandate at most: a grant has 2 KiB, and the sale's link and those of the
/// buyer's own people follow.
const MANDATE_BYTES_MAX: usize = 512;

/// A checked market action.
#[derive(Debug)]
pub(super) enum Effect {
    OpenVault { id: VaultId, vault: Vault },
    List { id: ListingId, listing: Box<Listing> },
    Preview { id: ListingId, listing: Box<Listing> },
    EndListing { id: ListingId, listing: Box<Listing> },
    Order { id: OrderId, order: Box<Order>, seller: AccountId },
}

pub(super) fn check_vault<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: VaultId,
    key: &VaultKey,
    custodians: &[CustodyAcceptance],
) -> Result<Effect, Status> {
    let nodes: Vec<NodeId> = custodians.iter().map(|accepted| accepted.node).collect();
    let distinct: BTreeSet<&NodeId> = nodes.iter().collect();
    let in_order = (1..).zip(custodians).all(|(index, accepted)| accepted.index == index);
    if distinct.len() != nodes.len() || !in_order || key.verify(custodians.len()).is_err() {
        return Err(Status::BadField);
    }
    let signed = |accepted: &CustodyAcceptance| {
        let (chain, index, node) = (books.id(), accepted.index, &accepted.node);
        CustodyTerms { chain, vault: &id, owner: &sender, key, index, node }
            .verify_acceptance(accepted)
            .is_ok()
    };
    let rows: Vec<Option<Node>> = nodes.iter().map(|node| books.get(Nodes, node)).collect();
    let keeps_custody = |node: &Node| node.custody_key.is_some();
    if !custodians.iter().all(signed) || !rows.iter().flatten().all(keeps_custody) {
        return Err(Status::BadAcceptance);
    }
    if rows.iter().any(Option::is_none) {
        return Err(Status::UnknownNode);
    }
    if books.has(Vaults, &id) {
        return Err(Status::Exists);
    }
    let vault = Vault { owner: sender, key: key.clone(), custodians: nodes };
    Ok(Effect::OpenVault { id, vault })
}

pub(super) fn check_list<S: State + ?Sized>(
    books: &Books<'_, S>,
    seller: AccountId,
    id: ListingId,
    terms: &Terms,
) -> Result<Effect, Status> {
    if !terms_in_range(terms, &books.chain.params) {
        return Err(Status::BadField);
    }
    let (authority, object) = (&books.chain.authority, &terms.manifest.object);
    let mandate = grant::verify_mandate(books.id(), &seller, &terms.mandate, authority, object)
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
    };
    Ok(Effect::List { id, listing: Box::new(listing) })
}

fn terms_in_range(terms: &Terms, params: &Params) -> bool {
    let offer = Offer {
        title: &terms.title,
        access_ms: terms.access_ms,
        window_ms: terms.window_ms,
        splits: &terms.splits,
        preview_cells: terms.preview_cells,
        cells: terms.cells,
    };
    offer.check(params).is_ok()
        && terms.mandate.to_bytes().len() <= MANDATE_BYTES_MAX
        && terms.manifest.layout().is_ok_and(|layout| layout.cells() == terms.cells)
}

pub(super) fn check_preview<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: ListingId,
    preview: &PublicRef,
) -> Result<Effect, Status> {
    let listing = books.get(Listings, &id);
    if listing.as_ref().is_some_and(|listing| listing.terms.preview_cells == 0) {
        return Err(Status::BadField);
    }
    let mut listing = listing.ok_or(Status::UnknownListing)?;
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
    Ok(Effect::EndListing { id, listing: Box::new(listing) })
}

pub(super) fn check_order<S: State + ?Sized>(
    books: &Books<'_, S>,
    buyer: AccountId,
    action: &Action,
) -> Result<Effect, Status> {
    let Action::Order { order: id, listing: of, holder, delivery, price, licence } = action else {
        unreachable!("only orders come here");
    };
    let listing = books.get(Listings, of);
    // No key stands twice in a grant, so a sale to these could not be signed.
    let above = |listing: &Listing| {
        *holder == PeerId::from(listing.seller) || *holder == PeerId::from(books.chain.authority)
    };
    if listing.as_ref().is_some_and(above) {
        return Err(Status::BadField);
    }
    let context = custody::release_context(books.id(), id, of);
    delivery.verify(&context).map_err(|_| Status::BadProof)?;
    let listing = listing.ok_or(Status::UnknownListing)?;
    if books.has(Orders, id) {
        return Err(Status::Exists);
    }
    let terms = &listing.terms;
    let mandate = grant::mandate_id(books.id(), &listing.seller, &terms.mandate);
    let revoked = books.has(Revocations, &(mandate, listing.seller));
    if listing.state == ListingState::Ended || revoked {
        return Err(Status::ListingEnded);
    }
    if terms.price != *price || terms.licence != *licence {
        return Err(Status::TermsChanged);
    }
    can_pay(books, &buyer, *price)?;
    let now = books.now();
    let order = Order {
        listing: *of,
        buyer,
        holder: *holder,
        delivery: delivery.clone(),
        amount: *price,
        state: OrderState::Paid,
        ordered_ms: now,
        access_until_ms: now.saturating_add(terms.access_ms),
        due_ms: now.saturating_add(books.chain.params.delivery_ms),
        releases: Vec::new(),
    };
    Ok(Effect::Order { id: *id, order: Box::new(order), seller: listing.seller })
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, effect: Effect) {
    match effect {
        Effect::OpenVault { id, vault } => books.put(Vaults, &id, &vault),
        Effect::List { id, listing } => {
            books.put(Listings, &id, &listing);
            if 0 < listing.terms.preview_cells {
                books.put(AwaitBeacon, &id, &Nothing {});
            }
        }
        Effect::Preview { id, listing } | Effect::EndListing { id, listing } => {
            books.put(Listings, &id, &listing);
        }
        Effect::Order { id, order, seller } => {
            assert!(order.state == OrderState::Paid, "an order begins paid");
            let before = books.account(&order.buyer).balance;
            let hold = Hold {
                payer: order.buyer,
                payee: None,
                amount: order.amount,
                expires_ms: u64::MAX,
            };
            books.place_hold(HoldKey::Order { order: id }, &hold, Reason::Sale { order: id });
            let paid: Option<Amount> = before.checked_sub(books.account(&order.buyer).balance);
            assert!(paid == Some(order.amount), "the buyer pays the price");
            books.put(OrdersDue, &(order.due_ms, id), &Nothing {});
            books.put(OrdersOf, &(order.buyer, id), &Nothing {});
            books.put(OrdersOf, &(seller, id), &Nothing {});
            books.put(Orders, &id, &order);
            books.report(Event::OrderPaid { order: id });
        }
    }
}

/// Listings that were made before this block's beacon was known get the cells of their preview picked.
pub(super) fn pick_previews<S: State + ?Sized>(books: &mut Books<'_, S>) {
    for (id, _) in books.all(AwaitBeacon, &[AwaitBeacon::TAG]) {
        let mut listing = books.get(Listings, &id).expect("what waits was listed");
        assert!(listing.preview_seed.is_none(), "a preview is picked once");
        listing.preview_seed = Some(preview_seed(&books.chain.beacon, &id));
        books.put(Listings, &id, &listing);
        books.remove(AwaitBeacon, &id);
        books.report(Event::PreviewPicked { listing: id });
    }
}

fn preview_seed(beacon: &Hash, listing: &ListingId) -> Hash {
    signing::hash_parts("symbolon 2026 preview v1", &[beacon, listing])
}
