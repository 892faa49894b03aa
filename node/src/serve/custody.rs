//! `KeepShare` and `Release`: a share of a vault's secret comes in once, and parts of sold keys go out
//! to the buyers who paid.

use std::sync::Arc;

use symbolon_ledger::LedgerError;
use symbolon_protocol::{
    custody::{CustodyError, CustodyTerms, VaultKey},
    id::{AccountId, OrderId, VaultId},
    ledger::rows::{Accounts, OrderState, Vaults},
    limits::CUSTODIANS_MAX,
    wire::storage::{RefusalCode, Response},
};
use tracing::info;

use super::{Stop, Stream, internal, refuse_store};
use crate::{
    custodian::{self, Kept, ReleaseError, ShareBytes},
    shared::Shared,
};

/// A share on offer.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) vault: VaultId,
    pub(crate) owner: AccountId,
    pub(crate) key: VaultKey,
    pub(crate) index: u8,
    pub(crate) share: Vec<u8>,
    pub(crate) signature: [u8; 64],
}

/// Answers an offer to keep a share. A node keeps one share of a vault; the same owner may replace it
/// until the vault stands on the ledger, from then on only by one of the key that stands there.
pub(crate) async fn keep_share(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    offered: Offered,
) -> Result<(), Stop> {
    if !shared.options.custody {
        return Err(Stop::refused(RefusalCode::NotAllowed, "this node keeps no vault shares"));
    }
    let node = shared.key.id();
    let Offered { vault, owner, key, index, .. } = &offered;
    if !(1..=CUSTODIANS_MAX).contains(&key.commitments.len()) {
        return Err(Stop::refused(RefusalCode::Malformed, "no vault has that many commitments"));
    }
    let terms =
        CustodyTerms { chain: &shared.chain, vault, owner, key, index: *index, node: &node };
    terms.verify_request(&offered.signature).map_err(refuse_share)?;
    let is_open = check_vault(shared, &offered).await?;
    let share = terms.open(&offered.share, shared.key.custody_secret()).map_err(refuse_share)?;
    let fresh = Kept {
        owner: *owner,
        key: key.clone(),
        index: *index,
        share: ShareBytes(*share.as_bytes()),
    };
    let before = custodian::kept(shared, *vault).await.map_err(refuse_release)?;
    if before.as_ref() != Some(&fresh) {
        if before.is_some_and(|before| before.owner != *owner) {
            let message = "this node keeps a share of another owner's vault of this id";
            return Err(Stop::refused(RefusalCode::Conflict, message));
        }
        let kept = custodian::keep(shared, *vault, &fresh, is_open).await.map_err(refuse_store)?;
        if !kept {
            let message = "too many shares here are of vaults that are not open: open those first";
            return Err(Stop::refused(RefusalCode::Busy, message));
        }
        info!(%vault, index, "share kept");
    }
    let acceptance = shared.key.accept_share(&terms);
    stream.answer(&Response::InCustody { acceptance }).await
}

/// The ledger has the last word about whose a vault is; says whether it is open.
async fn check_vault(shared: &Shared, offered: &Offered) -> Result<bool, Stop> {
    let stale = |error: LedgerError| {
        Stop::refused(RefusalCode::Stale, format!("this node cannot reach its ledger: {error}"))
    };
    let row = shared.ledger.row(Vaults, &offered.vault).await.map_err(stale)?;
    let is_open = row.is_some();
    if row.is_some_and(|row| row.owner != offered.owner || row.key != offered.key) {
        let message = "the ledger has another vault of this id";
        return Err(Stop::refused(RefusalCode::Conflict, message));
    }
    // Strangers could fill the disk with shares of nothing: an account that was never paid may not.
    match shared.ledger.row(Accounts, &offered.owner).await.map_err(stale)? {
        Some(_) => Ok(is_open),
        None => Err(Stop::refused(RefusalCode::CannotPay, "the owner has no account")),
    }
}

fn refuse_share(error: CustodyError) -> Stop {
    Stop::refused(RefusalCode::NotAllowed, error.to_string())
}

/// Answers a release request: the peer must be the order's holder, the order paid and not refunded, and its
/// vault one this node keeps a share of.
pub(crate) async fn release(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    id: OrderId,
) -> Result<(), Stop> {
    let (order, listing) = custodian::find(shared, &id).await.map_err(refuse_release)?;
    if order.holder != stream.peer {
        return Err(Stop::refused(RefusalCode::NotAllowed, "the order is somebody else's"));
    }
    // Who has paid and lost the key, or has another device, may have it once more: also when all is settled.
    if order.state == OrderState::Refunded {
        return Err(refuse_release(ReleaseError::NotPaid(order.state)));
    }
    let made = custodian::make(shared, &id, &order, &listing).await;
    let release = made.map_err(refuse_release)?;
    info!(order = %id, "released");
    stream.answer(&Response::Released { release }).await
}

fn refuse_release(error: ReleaseError) -> Stop {
    let code = match &error {
        ReleaseError::Ledger(_) => RefusalCode::Stale,
        ReleaseError::NotOurs(_) => RefusalCode::NotFound,
        ReleaseError::NotPaid(_) => RefusalCode::NotPaid,
        ReleaseError::Custody(_) => RefusalCode::NotAllowed,
        ReleaseError::Store(_) => return internal("a share could not be read", error),
    };
    Stop::refused(code, error.to_string())
}
