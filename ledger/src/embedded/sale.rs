//! The ledger's signature on a sale, with which the holder of a paid order reads shards.

use ed25519_dalek::SigningKey;
use symbolon_protocol::{
    grant::{Link, Sale, sale_link},
    id::{ChainId, OrderId},
    ledger::{
        rows::{Listings, OrderState, Orders},
        state::{State, StateExt},
    },
};

use crate::error::LedgerError;

/// Link 1 of an order's grant. It passes the seller's mandate on to the order's holder until the
/// order's access ends. The same order always gives the same link.
pub(super) fn link<S: State>(
    chain: &ChainId,
    state: &S,
    key: &SigningKey,
    id: OrderId,
) -> Result<Link, LedgerError> {
    let order = state.get(Orders, &id).ok_or(LedgerError::UnknownOrder { order: id })?;
    match order.state {
        OrderState::Refunded => return Err(LedgerError::OrderRefunded { order: id }),
        OrderState::Paid | OrderState::Delivered | OrderState::Settled => {}
    }
    let damaged = |what: &str| LedgerError::Damaged(format!("order {id}: {what}"));
    let listing = state.get(Listings, &order.listing).ok_or_else(|| damaged("no listing"))?;
    let sale = Sale { order: id, holder: order.holder, ends_ms: order.access_until_ms };
    sale_link(chain, &listing.seller, &listing.terms.mandate, key, &sale)
        .map_err(|error| damaged(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use symbolon_protocol::{
        Amount, Decode, Encode, LedgerTime, Millis,
        content::{FileKey, Layout, Manifest, MaskMode, Scheme},
        grant::{Caveat, Grant, mandate},
        id::{AccountId, Hash, ListingId, PeerId, VaultId},
        ledger::{
            rows::{Listing, ListingState, Order, PublicRef, Table, Terms},
            state::{MemoryState, Update},
        },
    };

    use super::*;

    const CHAIN: ChainId = ChainId([77; 32]);

    fn rows(authority: &SigningKey, seller: &SigningKey, order_state: OrderState) -> MemoryState {
        let authority = AccountId(authority.verifying_key().to_bytes());
        let key = FileKey::from_bytes([1; 32]);
        let layout = Layout::new(Scheme::for_nodes(3), 5).unwrap();
        let manifest = Manifest::new(&key, MaskMode::None, &layout, Hash([2; 32]));
        let mandate = mandate(&CHAIN, seller, &authority, manifest.object, &[3; 32]).unwrap();
        let document = PublicRef { manifest: manifest.clone(), key: [0; 32], hash: Hash([0; 32]) };
        let terms = Terms {
            title: "weather".into(),
            price: Amount::credits(1),
            licence: Hash([0; 32]),
            access_ms: Millis(1),
            window_ms: Millis(1),
            splits: Vec::new(),
            preview_cells: 0,
            document,
            manifest,
            cells: 1,
            vault: VaultId([0; 16]),
            capsule: Decode::from_bytes(&[0; 160]).unwrap(),
            pad: [0; 32],
            mandate,
        };
        let listing = Listing {
            seller: AccountId(seller.verifying_key().to_bytes()),
            terms,
            state: ListingState::Open,
            listed_ms: LedgerTime::ZERO,
            preview_seed: None,
            preview: None,
            sold: 0,
        };
        let order = Order {
            listing: ListingId([4; 16]),
            buyer: AccountId([5; 32]),
            holder: PeerId([6; 32]),
            delivery: Decode::from_bytes(&[0; 96]).unwrap(),
            amount: Amount::credits(1),
            state: order_state,
            ordered_ms: LedgerTime::ZERO,
            access_until_ms: LedgerTime(77),
            due_ms: LedgerTime::ZERO,
            releases: Vec::new(),
        };
        let listed = (Listings::key(&order.listing), Some(listing.to_bytes()));
        let ordered = (Orders::key(&OrderId([7; 16])), Some(order.to_bytes()));
        let mut state = MemoryState::default();
        state.commit(&Update { rows: [listed, ordered].into() });
        state
    }

    #[test]
    fn a_sale_is_signed_until_it_is_refunded() {
        let (authority, seller) =
            (SigningKey::from_bytes(&[8; 32]), SigningKey::from_bytes(&[9; 32]));
        let id = OrderId([7; 16]);
        for order_state in [OrderState::Paid, OrderState::Delivered, OrderState::Settled] {
            let state = rows(&authority, &seller, order_state);
            let link = link(&CHAIN, &state, &authority, id).unwrap();
            assert_eq!(link.audience, PeerId([6; 32]));
            assert!(link.caveats.contains(&Caveat::Order { order: id }));
            assert!(link.caveats.contains(&Caveat::NotAfter { time_ms: LedgerTime(77) }));
            let listing = state.get(Listings, &ListingId([4; 16])).unwrap();
            let links = vec![listing.terms.mandate, link];
            Grant { version: 1, root: listing.seller, links }.verify(&CHAIN).unwrap();
        }
        let state = rows(&authority, &seller, OrderState::Refunded);
        let refused = link(&CHAIN, &state, &authority, id);
        assert!(matches!(refused, Err(LedgerError::OrderRefunded { order }) if order == id));
        let unknown = link(&CHAIN, &state, &authority, OrderId([1; 16]));
        assert!(matches!(unknown, Err(LedgerError::UnknownOrder { .. })));
        // A mandate for another ledger's authority is of no use.
        let state = rows(&seller, &authority, OrderState::Paid);
        assert!(matches!(link(&CHAIN, &state, &authority, id), Err(LedgerError::Damaged(_))));
    }
}
