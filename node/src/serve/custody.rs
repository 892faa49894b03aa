//! `KeepShare` and `Release`: a share of a vault's secret comes in once, and parts of sold keys go out
//! to the buyers who paid.

use std::sync::Arc;

use symbolon_protocol::{
    custody::{CustodyError, CustodyTerms, VaultKey},
    id::{AccountId, OrderId, VaultId},
    ledger::{rows::OrderState, transaction::CustodyAcceptance},
    limits::CUSTODIANS_MAX,
    wire::storage::{RefusalCode, Response},
};
use tracing::info;

use super::{Stop, Stream, internal};
use crate::{
    custodian::{self, ReleaseError},
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

/// Answers a release request: the peer must be the order's holder, the order paid, and its vault one
/// this node keeps a share of.
pub(crate) async fn release(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    id: OrderId,
) -> Result<(), Stop> {
    let (order, listing) = custodian::find(shared, &id).await.map_err(refuse_release)?;
    if order.holder != stream.peer {
        return Err(Stop::refused(RefusalCode::NotAllowed, "the order is somebody else's"));
    }
    if !matches!(order.state, OrderState::Paid | OrderState::Delivered) {
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
