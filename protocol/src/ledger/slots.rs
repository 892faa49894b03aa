//! The hash chain over the changes of a node's slot table. A party that has received the rows once and
//! knows every change since then can tell by one hash whether its copy equals the ledger's table.

use crate::{
    id::Hash,
    ledger::{rows::Slot, signing},
};

/// The chain before the first change.
pub const NEW: Hash = Hash([0; 32]);

/// The chain after a shard has joined at a position.
#[must_use]
pub fn joined(table: &Hash, position: u32, slot: &Slot) -> Hash {
    let Slot { deal, index, root, length, rate, .. } = slot;
    // When it leaves may change while it is in the table.
    signing::hash_parts(
        "symbolon 2026 slot table v1",
        &[table, &1_u8, &position, deal, index, root, length, rate],
    )
}

/// The chain after the shard at a position has left, and the last row has filled its place.
#[must_use]
pub fn left(table: &Hash, position: u32) -> Hash {
    signing::hash_parts("symbolon 2026 slot table v1", &[table, &2_u8, &position])
}
