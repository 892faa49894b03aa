//! Caretakers: the nodes that an owner names to rebuild lost shards of its deals. See `spec/repair.md`.

use alloc::vec::Vec;

use crate::{
    id::{AccountId, DealId},
    ledger::{
        books::Books,
        fees,
        rows::{Care, Cares, Deal, DealState, Deals, Nodes, Vaults},
        state::State,
        status::Status,
        transaction::Action,
    },
};

/// Caretakers of a deal at most.
pub const CARETAKERS_MAX: usize = 8;

/// Deals for which one transaction names caretakers at most.
pub const CARED_DEALS_MAX: usize = 64;

/// Shards of these deals together at most: each has a pad in a row.
pub const CARED_SHARDS_MAX: usize = 512;

/// Checked care for deals.
#[derive(Debug)]
pub(super) enum Cared {
    /// Caretakers are named.
    Named(Vec<(DealId, Care)>),
    /// None is named: care is taken back.
    TakenBack(Vec<(DealId, Deal)>),
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    action: &Action,
) -> Result<Cared, Status> {
    let Action::SetCare { vault, caretakers, spare, fee, price_max, deals } = action else {
        unreachable!("only care comes here");
    };
    let nodes: Option<Vec<_>> = caretakers.iter().map(|id| books.get(Nodes, id)).collect();
    let nodes = nodes.ok_or(Status::UnknownNode)?;
    let ids: Vec<DealId> = deals.iter().map(|cared| cared.deal(&sender)).collect();
    let rows: Option<Vec<Deal>> = ids.iter().map(|id| books.get(Deals, id)).collect();
    // The ids follow from the sender, so what is there is the sender's.
    let rows = rows.ok_or(Status::UnknownDeal)?;
    let row = books.get(Vaults, vault).ok_or(Status::UnknownVault)?;
    if row.owner != sender {
        return Err(Status::NotYours);
    }
    if nodes.iter().any(|node| !node.caretaker) {
        return Err(Status::NotCaretaker);
    }
    let is_over = |deal: &Deal| deal.state != DealState::Open || deal.end <= books.chain.epoch;
    if rows.iter().any(is_over) {
        return Err(Status::DealClosed);
    }
    if caretakers.is_empty() {
        return Ok(Cared::TakenBack(ids.into_iter().zip(rows).collect()));
    }
    let care = |(id, cared): (DealId, &crate::ledger::transaction::CaredDeal)| {
        let care = Care {
            vault: *vault,
            opening: cared.opening,
            caretakers: caretakers.clone(),
            spare: *spare,
            fee: *fee,
            price_max: *price_max,
            pads: cared.pads.clone(),
        };
        (id, care)
    };
    Ok(Cared::Named(ids.into_iter().zip(deals).map(care).collect()))
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, cared: Cared) {
    match cared {
        Cared::Named(cares) => {
            for (id, care) in cares {
                books.put(Cares, &id, &care);
            }
        }
        Cared::TakenBack(deals) => {
            for (id, deal) in deals {
                remove(books, id, &deal);
            }
        }
    }
}

/// What was said of a deal's care leaves the state: its owner takes it back, or the deal's row leaves.
pub(super) fn remove<S: State + ?Sized>(books: &mut Books<'_, S>, id: DealId, deal: &Deal) {
    if books.has(Cares, &id) {
        books.remove(Cares, &id);
        fees::give_back(books, deal.owner, fees::care_weight(deal.shards.len()));
    }
}
