//! Redeemed vouchers: for whom a link of a grant counts that everyone has the key of who saw the voucher.

use crate::{
    id::{AccountId, PeerId},
    ledger::{
        books::Books,
        kept,
        rows::{Kept, Redemption, Redemptions},
        state::State,
        status::Status,
    },
    time::LedgerTime,
};

/// A checked redemption.
#[derive(Debug)]
pub(super) struct Redeemed {
    once: AccountId,
    row: Redemption,
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    once: AccountId,
    holder: PeerId,
    until_ms: LedgerTime,
) -> Result<Redeemed, Status> {
    if books.has(Redemptions, &once) {
        return Err(Status::Exists);
    }
    // The grant has ended, so a row of it would be of no use.
    if until_ms <= books.now() {
        return Err(Status::TooLate);
    }
    Ok(Redeemed { once, row: Redemption { holder, until_ms } })
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, redeemed: Redeemed) {
    let Redeemed { once, row } = redeemed;
    books.put(Redemptions, &once, &row);
    kept::keep(books, row.until_ms, Kept::Redemption { once });
}
