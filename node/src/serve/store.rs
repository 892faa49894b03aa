//! `Store`: takes a shard in, checks everything that can be checked before a byte is sent, and gives
//! the node's word once the bytes are synced to disk.

use std::sync::Arc;

use bytes::Bytes;
use symbolon_protocol::{
    Amount,
    content::Scheme,
    grant::{Grant, ability},
    id::Hash,
    ledger::{
        rows::Accounts,
        slot_rate,
        transaction::{Acceptance, DealTerms},
    },
    limits::{LEAF_BYTES, SHARD_BYTES_MAX, SHARDS_MAX},
    wire::storage::{RefusalCode, Response},
};
use tracing::info;

use super::{Stop, Stream, grants, internal, within};
use crate::{
    admission::{Offer, UploadGuard},
    shared::Shared,
};

/// What an owner wants kept.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) terms: DealTerms,
    pub(crate) index: u8,
    pub(crate) price: Amount,
}

/// Answers a store request.
pub(crate) async fn answer(
    shared: &Arc<Shared>,
    stream: &mut Stream,
    wanted: Wanted,
    grant: &Grant,
) -> Result<(), Stop> {
    check_terms(shared, &wanted)?;
    let asked = grants::Wanted { ability: ability::STORE, terms: &wanted.terms };
    grants::authorize(shared, stream.peer, Some(grant), &asked).await?;
    if let Some(acceptance) = kept(shared, &wanted).await? {
        return stream.answer(&Response::Accepted { acceptance }).await;
    }
    if wanted.price < shared.options.price {
        let message = format!("this node asks {} per GiB and epoch", shared.options.price);
        return Err(Stop::refused(RefusalCode::PriceTooLow, message));
    }
    check_balance(shared, &wanted).await?;
    let offer = Offer {
        deal: wanted.terms.deal,
        index: wanted.index,
        owner: wanted.terms.owner,
        length: wanted.terms.length,
    };
    let guard = shared.admission.upload(offer, disk_free(shared).await?)?;
    // The deal's place is ours now; what another stream stored until then is seen here.
    if let Some(acceptance) = kept(shared, &wanted).await? {
        return stream.answer(&Response::Accepted { acceptance }).await;
    }
    stream.answer(&Response::Ready).await?;
    let writer = receive(shared, stream, &wanted).await?;
    // From here on the shard is kept even when the peer goes away: it may ask again.
    let keeping = tokio::spawn(keep(Arc::clone(shared), writer, wanted, guard));
    let acceptance = keeping.await.map_err(|error| internal("keeping a shard failed", error))??;
    stream.answer(&Response::Accepted { acceptance }).await
}

fn check_terms(shared: &Shared, wanted: &Wanted) -> Result<(), Stop> {
    let Wanted { terms, index, .. } = wanted;
    let malformed = |message: &str| Err(Stop::refused(RefusalCode::Malformed, message));
    if (Scheme { required: terms.required, total: terms.total }).check().is_err() {
        return malformed("there is no such scheme");
    }
    if *index >= terms.total {
        return malformed("the scheme has no shard of this index");
    }
    if !terms.length.is_multiple_of(LEAF_BYTES as u64)
        || !(LEAF_BYTES as u64..=SHARD_BYTES_MAX).contains(&terms.length)
    {
        return malformed("no shard has this length");
    }
    if !(1..=shared.params.deal_epochs_max).contains(&terms.epochs) {
        return malformed("no deal lasts that many epochs");
    }
    Ok(())
}

/// The owner must be able to pay for this shard, or the node would work for nothing. It is no
/// guarantee: the owner may spend the money before the deal opens, and then the shard is swept.
async fn check_balance(shared: &Shared, wanted: &Wanted) -> Result<(), Stop> {
    let row = shared.ledger.row(Accounts, &wanted.terms.owner).await;
    let row = row.map_err(|error| {
        Stop::refused(RefusalCode::Stale, format!("this node cannot reach its ledger: {error}"))
    })?;
    let balance = row.map_or(Amount::ZERO, |account| account.balance);
    let rate = slot_rate(wanted.price, wanted.terms.length);
    let cost = rate.and_then(|rate| rate.checked_mul(wanted.terms.epochs));
    match cost {
        Some(cost) if Amount::ZERO < balance && cost <= balance => Ok(()),
        _ => {
            let message = "the owner's account cannot pay for this shard";
            Err(Stop::refused(RefusalCode::CannotPay, message))
        }
    }
}
