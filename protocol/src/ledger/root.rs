//! Root records: one small sealed row per account. A new record replaces the one that its owner has read.

use alloc::vec::Vec;

use crate::{
    id::AccountId,
    ledger::{
        books::Books,
        rows::{Root, Roots},
        state::State,
        status::Status,
    },
};

/// A checked root record.
#[derive(Debug)]
pub(super) struct Effect {
    account: AccountId,
    root: Root,
}

pub(super) fn check<S: State + ?Sized>(
    books: &Books<'_, S>,
    account: AccountId,
    expected_version: u64,
    blob: &[u8],
) -> Result<Effect, Status> {
    let before = books.get(Roots, &account).map_or(0, |root| root.version);
    if before != expected_version {
        return Err(Status::RootMoved);
    }
    let version = expected_version.checked_add(1).expect("checked with the fields");
    Ok(Effect { account, root: Root { version, blob: Vec::from(blob) } })
}

pub(super) fn apply<S: State + ?Sized>(books: &mut Books<'_, S>, effect: Effect) {
    let Effect { account, root } = effect;
    let before = books.get(Roots, &account).map_or(0, |root| root.version);
    assert!(before + 1 == root.version, "a root record follows the one it was made from");
    books.put(Roots, &account, &root);
}
