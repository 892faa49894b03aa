//! Vaults: keys that custodians hold in shares.

use alloc::vec::Vec;

use crate::{
    custody::{CustodyAcceptance, CustodyTerms, VaultKey},
    id::{AccountId, NodeId, Opening, VaultId},
    ledger::{
        books::Books,
        rows::{Node, Nodes, Vault, Vaults},
        state::State,
        status::Status,
    },
};

/// A checked vault.
#[derive(Debug)]
pub(super) struct Opened {
    id: VaultId,
    vault: Vault,
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    opening: &Opening,
    key: &VaultKey,
    custodians: &[CustodyAcceptance],
) -> Result<Opened, Status> {
    let id = VaultId::of(&sender, opening);
    let nodes: Vec<NodeId> = custodians.iter().map(|accepted| accepted.node).collect();
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
    Ok(Opened { id, vault })
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, Opened { id, vault }: Opened) {
    books.put(Vaults, &id, &vault);
}
