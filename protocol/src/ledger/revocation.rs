//! Revocation of grant links.

use crate::{
    id::{AccountId, LinkId},
    ledger::{
        block::Event,
        books::Books,
        rows::{Revocation, Revocations},
        state::State,
        status::Status,
    },
};

/// A checked revocation.
#[derive(Debug)]
pub(super) struct Revoked {
    link: LinkId,
    by: AccountId,
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    by: AccountId,
    link: LinkId,
) -> Result<Revoked, Status> {
    if books.has(Revocations, &(link, by)) {
        return Err(Status::Exists);
    }
    Ok(Revoked { link, by })
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, Revoked { link, by }: Revoked) {
    let height = books.chain.height;
    books.put(Revocations, &(link, by), &Revocation { height });
    books.report(Event::Revoked { link, by });
}
