//! Vaults: keys that custodians hold in shares. Their owner deals the same secret to other custodians when some are lost.

use alloc::vec::Vec;

use crate::{
    custody::{CustodyAcceptance, CustodyTerms, VaultKey},
    id::{AccountId, NodeId, Opening, OrderId, VaultId},
    ledger::{
        books::Books,
        collateral,
        rows::{Listings, Node, Nodes, Order, Vault, Vaults},
        state::{State, StateExt},
        status::Status,
    },
};

/// A checked vault.
#[derive(Debug)]
pub(super) struct Dealt {
    id: VaultId,
    vault: Vault,
}

/// What an owner deals: the public side, and who has accepted a share.
type Dealing<'a> = (&'a VaultKey, &'a [CustodyAcceptance]);

impl Node {
    /// Whether this account runs it, as far as the ledger can see: the account is the node's key, its operator, or paid for
    /// it.
    #[must_use]
    pub fn is_run_by(&self, id: &NodeId, account: &AccountId) -> bool {
        *id == NodeId::from(*account)
            || self.payout == *account
            || self.operator.as_ref() == Some(account)
    }
}

/// How many of these nodes the owner of their vault runs.
pub(super) fn own_among<S: State + ?Sized>(
    state: &S,
    owner: &AccountId,
    nodes: impl Iterator<Item = NodeId>,
) -> usize {
    let own = |id: &NodeId| state.get(Nodes, id).is_some_and(|node| node.is_run_by(id, owner));
    nodes.filter(own).count()
}

pub(super) fn check_open<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    opening: &Opening,
    dealing: Dealing<'_>,
) -> Result<Dealt, Status> {
    let id = VaultId::of(&sender, opening);
    check_custodians(books, sender, id, dealing)?;
    if books.has(Vaults, &id) {
        return Err(Status::Exists);
    }
    check_expiry(books, dealing)?;
    Ok(Dealt { id, vault: deal(books, sender, dealing, 1) })
}

pub(super) fn check_rotate<S: State + ?Sized>(
    books: &Books<'_, S>,
    sender: AccountId,
    id: VaultId,
    dealing: Dealing<'_>,
) -> Result<Dealt, Status> {
    check_custodians(books, sender, id, dealing)?;
    let before = books.get(Vaults, &id).ok_or(Status::UnknownVault)?;
    if before.owner != sender {
        return Err(Status::NotYours);
    }
    check_expiry(books, dealing)?;
    Ok(Dealt { id, vault: deal(books, sender, dealing, before.dealing + 1) })
}

/// Whether all custodians have accepted their shares, and keep custody.
fn check_custodians<S: State + ?Sized>(
    books: &Books<'_, S>,
    owner: AccountId,
    id: VaultId,
    (key, custodians): Dealing<'_>,
) -> Result<(), Status> {
    let signed = |accepted: &CustodyAcceptance| {
        let (chain, index, node) = (books.id(), accepted.index, &accepted.node);
        CustodyTerms { chain, vault: &id, owner: &owner, key, index, node }
            .verify_acceptance(accepted)
            .is_ok()
    };
    let rows: Vec<Option<Node>> =
        custodians.iter().map(|accepted| books.get(Nodes, &accepted.node)).collect();
    let keeps_custody = |node: &Node| node.custody_key.is_some();
    if !custodians.iter().all(signed) || !rows.iter().flatten().all(keeps_custody) {
        return Err(Status::BadAcceptance);
    }
    match rows.iter().all(Option::is_some) {
        true => Ok(()),
        false => Err(Status::UnknownNode),
    }
}

/// Whether all custodians still have their shares: a node forgets one that the ledger does not have in time.
fn check_expiry<S: State + ?Sized>(
    books: &Books<'_, S>,
    (_, custodians): Dealing<'_>,
) -> Result<(), Status> {
    match custodians.iter().any(|accepted| accepted.expires_ms < books.now()) {
        true => Err(Status::AcceptanceExpired),
        false => Ok(()),
    }
}

fn deal<S: State + ?Sized>(
    books: &Books<'_, S>,
    owner: AccountId,
    (key, custodians): Dealing<'_>,
    dealing: u64,
) -> Vault {
    let nodes: Vec<NodeId> = custodians.iter().map(|accepted| accepted.node).collect();
    let own = own_among(books.rows(), &owner, nodes.iter().copied());
    let own = u8::try_from(own).expect("at most 32 custodians");
    Vault { owner, key: key.clone(), custodians: nodes, dealing, since_ms: books.now(), own }
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, Dealt { id, vault }: Dealt) {
    books.put(Vaults, &id, &vault);
}

/// The custodian that an index of an order stands for: the one that has posted under it, or the one of the dealing that
/// the order's indexes are of. After a rotation the ledger does not know the others any more.
pub(super) fn custodian_of(vault: &Vault, order: &Order, index: u8) -> Option<NodeId> {
    let posted = order.releases.iter().find(|posted| posted.index == index);
    if let Some(posted) = posted {
        return Some(posted.node);
    }
    let place = usize::from(index).checked_sub(1)?;
    vault.custodians.get(place).copied().filter(|_| vault.dealing == order.dealing)
}

/// Custodians pay for an order that is refunded because too few released: those that had the whole time for it, and have
/// posted nothing.
pub(super) fn penalise_silent<S: State + ?Sized>(
    books: &mut Books<'_, S>,
    id: OrderId,
    order: &Order,
) {
    let listing = books.get(Listings, &order.listing).expect("an order names a listing");
    let vault = books.get(Vaults, &listing.terms.vault).expect("a listing names a vault");
    if vault.dealing != order.dealing || order.ordered_ms < vault.since_ms {
        return;
    }
    let posted = |node: &NodeId| order.releases.iter().any(|posted| posted.node == *node);
    for node in vault.custodians.iter().filter(|node| !posted(node)) {
        collateral::penalise_silence(books, *node, id);
    }
}
