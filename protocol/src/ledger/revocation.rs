//! Revocation of grant links.

use crate::{
    id::{AccountId, LinkId},
    ledger::{
        block::Event,
        books::Books,
        kept,
        rows::{Kept, Revocation, Revocations},
        sale,
        state::State,
        status::Status,
    },
    time::LedgerTime,
};

/// A checked revocation.
#[derive(Debug)]
pub(super) struct Revoked {
    link: LinkId,
    by: AccountId,
    until_ms: Option<LedgerTime>,
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    by: AccountId,
    link: LinkId,
    until_ms: Option<LedgerTime>,
) -> Result<Revoked, Status> {
    if books.has(Revocations, &(link, by)) {
        return Err(Status::Exists);
    }
    if sale::binds_mandate(books, by, link) {
        return Err(Status::SaleBinds);
    }
    Ok(Revoked { link, by, until_ms })
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, revoked: Revoked) {
    let Revoked { link, by, until_ms } = revoked;
    let height = books.chain.height;
    books.put(Revocations, &(link, by), &Revocation { height, until_ms });
    if let Some(end_ms) = until_ms {
        kept::keep(books, end_ms, Kept::Revocation { link, by });
    }
    books.report(Event::Revoked { link, by });
}
