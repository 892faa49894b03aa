//! A shard's root from its cells, each hashed separately. An upload makes the cells of a shard in parallel
//! and out of order. A root that needed them one after the other would be the slowest step of an upload.

use alloc::vec::Vec;

use blake3::{Hasher, hazmat::HasherExt};

use super::shape::{join, join_root};
use crate::{id::Hash, limits::CELL_BYTES};

/// The node of the cell that begins at byte `offset` of a shard of `length` bytes. If the shard has only
/// one cell, this is the root.
#[must_use]
pub fn cell_node(cell: &[u8], offset: u64, length: u64) -> Hash {
    let mut hasher = Hasher::new();
    match length <= CELL_BYTES as u64 {
        true => Hash(hasher.update(cell).finalize().into()),
        false => Hash(hasher.set_input_offset(offset).update(cell).finalize_non_root()),
    }
}

/// The root of a shard from the nodes of all its cells, in order.
///
/// # Panics
/// If there is no node: a shard has at least one cell.
#[must_use]
pub fn root_of_cells(mut nodes: Vec<Hash>) -> Hash {
    assert!(!nodes.is_empty(), "a shard has at least one cell");
    while nodes.len() > 2 {
        let pairs = nodes.chunks(2).map(|pair| match pair {
            [left, right] => join(left, right),
            odd => odd[0],
        });
        nodes = pairs.collect();
    }
    match nodes.as_slice() {
        [left, right] => join_root(left, right),
        only => only[0],
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn it_is_blake3_for_every_number_of_cells() {
        for cells in 1..=33_usize {
            for last in [1024, 3 * 1024, CELL_BYTES] {
                let length = (cells - 1) * CELL_BYTES + last;
                let shard: Vec<u8> =
                    (0..length).map(|at| u8::try_from(((at / 7) ^ at) % 256).unwrap()).collect();
                let nodes = shard.chunks(CELL_BYTES).enumerate().map(|(number, cell)| {
                    cell_node(cell, (number * CELL_BYTES) as u64, length as u64)
                });
                assert_eq!(root_of_cells(nodes.collect()).0, *blake3::hash(&shard).as_bytes());
            }
        }
        assert_ne!(root_of_cells(vec![Hash([0; 32]); 2]), root_of_cells(vec![Hash([0; 32]); 3]));
    }
}
