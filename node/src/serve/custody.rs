//! `KeepShare` and `Release`: the node stores its share of a vault's secret, and gives buyers who
//! paid their releases.

use std::sync::Arc;

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    custody::{CustodyError, CustodyTerms, VaultKey},
    id::{AccountId, DealId, Opening, OrderId, VaultId},
    ledger::rows::{Accounts, OrderState, Vaults},
    limits::CUSTODIANS_MAX,
    wire::storage::{RefusalCode, Response},
};
use tracing::info;

use super::{Stop, Stream, claims, internal};
use crate::{
    custodian::{self, ReleaseError, ShareBytes, StoredShare},
    shared::Shared,
};

/// A share that an owner wants the node to store.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) owner: AccountId,
    pub(crate) opening: Opening,
    pub(crate) key: VaultKey,
    pub(crate) index: u8,
    pub(crate) share: Vec<u8>,
    pub(crate) signature: [u8; 64],
}

/// Answers a request to store a custody share. The owner may open the vault with any share that the node has
/// accepted, or deal the secret anew with it. So the node keeps each of them for as long as its acceptance is valid, and
/// after that the one that the ledger has. The vault's id follows from its owner, so no other account can add one.
pub(crate) async fn keep_share(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    offered: Offered,
) -> Result<(), Stop> {
    if !shared.options.custody {
        return Err(Stop::refused(RefusalCode::NotAllowed, "this node keeps no vault shares"));
    }
    let node = shared.key.id();
    let Offered { owner, opening, key, index, .. } = &offered;
    let vault = &VaultId::of(owner, opening);
    if !(1..=CUSTODIANS_MAX).contains(&key.commitments.len()) {
        return Err(Stop::refused(RefusalCode::Malformed, "no vault has that many commitments"));
    }
    let terms =
        CustodyTerms { chain: &shared.chain, vault, owner, key, index: *index, node: &node };
    terms.verify_request(&offered.signature).map_err(refuse_share)?;
    let is_open = check_vault(shared, vault, &offered).await?;
    let share = terms.open(&offered.share, shared.key.custody_secret()).map_err(refuse_share)?;
    let fresh = StoredShare {
        owner: *owner,
        key: key.clone(),
        index: *index,
        share: ShareBytes(*share.as_bytes()),
    };
    let kept = custodian::keep(shared, *vault, &fresh, is_open).await.map_err(refuse_release)?;
    let Some(expires_ms) = kept else {
        let message =
            "this node stores too many shares of vaults that are not open: open those first";
        return Err(Stop::refused(RefusalCode::Busy, message));
    };
    info!(%vault, index, "a custody share is stored");
    let acceptance = shared.key.accept_share(&terms, expires_ms);
    stream.answer(&Response::InCustody { acceptance }).await
}

/// Checks the owner's account, and the key against the ledger. A vault that is open keeps its public key. Returns whether
/// the ledger has the vault with this key.
async fn check_vault(shared: &Shared, vault: &VaultId, offered: &Offered) -> Result<bool, Stop> {
    let stale = |error: LedgerError| {
        Stop::refused(RefusalCode::Stale, format!("this node cannot reach its ledger: {error}"))
    };
    let row = shared.ledger.row(Vaults, vault).await.map_err(stale)?;
    let is_open = row.as_ref().is_some_and(|row| row.key == offered.key);
    let public = |key: &VaultKey| key.commitments.first().copied();
    if row.is_some_and(|row| public(&row.key) != public(&offered.key)) {
        let message = "the vault is open with another key";
        return Err(Stop::refused(RefusalCode::Conflict, message));
    }
    // Strangers could fill the disk with useless shares, so the owner must have an account that was
    // once paid.
    match shared.ledger.row(Accounts, &offered.owner).await.map_err(stale)? {
        Some(_) => Ok(is_open),
        None => Err(Stop::refused(RefusalCode::CannotPay, "the owner has no account")),
    }
}

fn refuse_share(error: CustodyError) -> Stop {
    Stop::refused(RefusalCode::NotAllowed, error.to_string())
}

/// Answers a release request. The peer must be the order's holder. The order must be paid and not
/// refunded. The node must have a share of its vault.
pub(crate) async fn release(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    id: OrderId,
) -> Result<(), Stop> {
    let (order, listing) = custodian::find(shared, &id).await.map_err(refuse_release)?;
    if order.holder != stream.peer {
        return Err(Stop::refused(RefusalCode::NotAllowed, "the order belongs to another holder"));
    }
    // A buyer who lost the key or uses another device gets the release again, also after the sale
    // is settled.
    if order.state == OrderState::Refunded {
        return Err(refuse_release(ReleaseError::NotPaid(order.state)));
    }
    let made = custodian::make_for_buyer(shared, &id, (&order, &listing)).await;
    let release = made.map_err(refuse_release)?;
    info!(order = %id, "a release was given to the buyer");
    stream.answer(&Response::Released { release }).await
}

/// Answers a caretaker that has claimed a repair: a release for each shard that it reads or rebuilds. The node must have a
/// share of the vault to which their keys are sealed.
pub(crate) async fn release_claim(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    deal: DealId,
) -> Result<(), Stop> {
    let claim = claims::of(shared, stream.peer, deal).await?;
    let releases = custodian::release_claim(shared, deal, &claim).await.map_err(refuse_release)?;
    info!(%deal, claimant = %claim.claimant, "releases were given for a claim");
    stream.answer(&Response::ReleasedClaim { releases }).await
}

fn refuse_release(error: ReleaseError) -> Stop {
    let code = match &error {
        ReleaseError::Ledger(_) => RefusalCode::Stale,
        ReleaseError::NotOurs(_) | ReleaseError::NoShare(_) => RefusalCode::NotFound,
        ReleaseError::NotPaid(_) => RefusalCode::NotPaid,
        ReleaseError::Custody(_) => RefusalCode::NotAllowed,
        ReleaseError::Store(_) => return internal("a share could not be read", error),
    };
    Stop::refused(code, error.to_string())
}
