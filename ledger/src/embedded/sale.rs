//! The ledger's signature under a sale: what a paid order's holder opens shards with.

use ed25519_dalek::SigningKey;
use symbolon_protocol::{
    grant::{Link, Sale, sale_link},
    id::OrderId,
    ledger::{
        rows::{Listings, OrderState, Orders},
        state::{State, StateExt},
    },
};

use crate::error::LedgerError;

/// Link 1 of an order's grant: the seller's mandate, passed on to the order's holder until its access
/// ends. The same order gives the same link.
pub(super) fn link<S: State>(
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
    sale_link(&listing.seller, &listing.terms.mandate, key, &sale)
        .map_err(|error| damaged(&error.to_string()))
}
