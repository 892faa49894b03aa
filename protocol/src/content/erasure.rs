//! The erasure code: any `required` of `total` cells give all of them back.
//!
//! It is systematic Reed-Solomon over GF(2^8), by the matrix of `reed-solomon-erasure`. The crate says
//! which linear combination makes a cell from other cells. This module combines the cells block by block,
//! so that a block of every input stays in the core's first caches.

use alloc::{vec, vec::Vec};
use core::fmt;

use reed_solomon_erasure::galois_8::{ReedSolomon, mul_slice, mul_slice_xor};

use crate::content::{Scheme, SchemeError};

/// Bytes of one cell that are combined at a time. 16 to 32 inputs of this size fit a core's second cache,
/// and the output stays in the first. Of 1, 2, 4 and 8 KiB it was the fastest.
pub const BLOCK_BYTES: usize = 4096;

/// The erasure code of one scheme. It is made once per segment. It is read only, so threads may share it.
pub struct Code {
    scheme: Scheme,
    /// `None` without parity: then there is nothing to compute.
    codec: Option<ReedSolomon>,
    /// One row of `required` coefficients per parity shard.
    parity: Vec<u8>,
}

/// How to make wanted cells from those that are present.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// The shards to combine, in ascending order: exactly `required`.
    pub(crate) inputs: Vec<u8>,
    /// One row of `required` coefficients per wanted shard.
    pub(crate) rows: Vec<u8>,
}

impl Code {
    /// The code of a scheme.
    pub fn new(scheme: Scheme) -> Result<Self, SchemeError> {
        let scheme = scheme.check()?;
        let (required, parity) = (usize::from(scheme.required), usize::from(scheme.parity()));
        let codec = (parity > 0).then(|| {
            ReedSolomon::new(required, parity).expect("1 <= required, 1 <= parity, total <= 128")
        });
        let mut code = Self { scheme, codec, parity: Vec::new() };
        let data: Vec<u8> = (0..scheme.required).collect();
        let wanted: Vec<u8> = (scheme.required..scheme.total).collect();
        code.parity = code.recipe(data, &wanted).rows;
        Ok(code)
    }

    /// The scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Computes the parity cells of a stripe. `cells` are all its cells of `cell_bytes`, one after the
    /// other in shard order; the caller has filled the data cells.
    ///
    /// # Panics
    /// If the number of cells is not the scheme's.
    pub fn encode(&self, cells: &mut [u8], cell_bytes: usize) {
        let required = usize::from(self.scheme.required);
        assert_eq!(cells.len(), usize::from(self.scheme.total) * cell_bytes, "one cell per shard");
        let (data, parity) = cells.split_at_mut(required * cell_bytes);
        // Blocks at a stride of 64 KiB compete for the same few lines of every cache. Side by side they do
        // not. One copy costs little compared with reading once per parity cell.
        let mut packed = vec![0; required * BLOCK_BYTES];
        for start in (0..cell_bytes).step_by(BLOCK_BYTES) {
            let end = cell_bytes.min(start + BLOCK_BYTES);
            let blocks = data.chunks_exact(cell_bytes).map(|cell| &cell[start..end]);
            for (block, copy) in blocks.zip(packed.chunks_exact_mut(BLOCK_BYTES)) {
                copy[..block.len()].copy_from_slice(block);
            }
            let rows = self.parity.chunks_exact(required);
            for (row, cell) in rows.zip(parity.chunks_exact_mut(cell_bytes)) {
                combine(row, &packed, &mut cell[start..end]);
            }
        }
    }

    /// How to make `wanted` from `inputs`, which are `required` shards in ascending order.
    pub(crate) fn recipe(&self, inputs: Vec<u8>, wanted: &[u8]) -> Recipe {
        let required = usize::from(self.scheme.required);
        // The code is linear: coded over the unit vectors, each shard gives its coefficients.
        let mut spelled = vec![0; usize::from(self.scheme.total) * required];
        for (position, &input) in inputs.iter().enumerate() {
            spelled[usize::from(input) * required + position] = 1;
        }
        let mut shards: Vec<(&mut [u8], bool)> = spelled
            .chunks_exact_mut(required)
            .zip(0..)
            .map(|(shard, index)| (shard, inputs.contains(&index)))
            .collect();
        if let Some(codec) = &self.codec {
            let data_only = wanted.iter().all(|&index| index < self.scheme.required);
            let done = match data_only {
                true => codec.reconstruct_data(&mut shards),
                false => codec.reconstruct(&mut shards),
            };
            done.expect("exactly `required` shards of one length are present");
        }
        let row = |&index: &u8| &spelled[usize::from(index) * required..][..required];
        let rows = wanted.iter().flat_map(row).copied().collect();
        Recipe { inputs, rows }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Code").field(&self.scheme).finish()
    }
}

/// The cell of one shard, rebuilt from the cells of `required` others of the same stripe.
///
/// # Panics
/// If there are fewer cells, of different sizes, or of shards that the scheme does not have.
#[must_use]
pub fn rebuild_cell(scheme: Scheme, cells: &[(u8, Vec<u8>)], wanted: u8) -> Vec<u8> {
    let code = Code::new(scheme).expect("a scheme that was checked");
    let mut used: Vec<&(u8, Vec<u8>)> = cells.iter().collect();
    used.sort_by_key(|(index, _)| *index);
    used.truncate(usize::from(scheme.required));
    let recipe = code.recipe(used.iter().map(|(index, _)| *index).collect(), &[wanted]);
    let mut out = vec![0; used[0].1.len()];
    for (factor, (_, cell)) in recipe.rows.iter().zip(used) {
        mul_slice_xor(*factor, cell, &mut out);
    }
    out
}

/// Writes to `out` the combination of the blocks that lie one after the other in `packed`, each at the
/// beginning of its [`BLOCK_BYTES`].
pub(crate) fn combine(row: &[u8], packed: &[u8], out: &mut [u8]) {
    let length = out.len();
    let mut first = true;
    for (&factor, input) in row.iter().zip(packed.chunks_exact(BLOCK_BYTES)) {
        let input = &input[..length];
        match (factor, first) {
            (0, _) => continue,
            (1, true) => out.copy_from_slice(input),
            (_, true) => mul_slice(factor, input, out),
            (_, false) => mul_slice_xor(factor, input, out),
        }
        first = false;
    }
    if first {
        out.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use std::{vec, vec::Vec};

    use super::*;

    fn bytes(seed: u8, length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
        out
    }

    /// The codec's own method, over whole cells.
    fn reference(scheme: Scheme, data: &[u8], cell_bytes: usize) -> Vec<u8> {
        let codec =
            ReedSolomon::new(usize::from(scheme.required), usize::from(scheme.parity())).unwrap();
        let data: Vec<&[u8]> = data.chunks_exact(cell_bytes).collect();
        let mut parity = vec![vec![0; cell_bytes]; usize::from(scheme.parity())];
        codec.encode_sep(&data, &mut parity).unwrap();
        parity.concat()
    }

    #[test]
    fn parity_is_the_codecs_parity() {
        for (required, total) in [(1, 2), (2, 3), (3, 5), (4, 8), (8, 20), (16, 32), (32, 72)] {
            let scheme = Scheme::new(required, total).unwrap();
            let code = Code::new(scheme).unwrap();
            for cell_bytes in [1, 16, 1024, 4095, 4097, 9216] {
                let data = bytes(required, usize::from(required) * cell_bytes);
                let mut cells = data.clone();
                cells.resize(usize::from(total) * cell_bytes, 0xee);
                code.encode(&mut cells, cell_bytes);
                let (kept, parity) = cells.split_at(data.len());
                assert_eq!(kept, data);
                assert_eq!(parity, reference(scheme, &data, cell_bytes), "{scheme} {cell_bytes}");
            }
        }
    }

    #[test]
    fn any_required_cells_make_any_other() {
        let cell_bytes = 64;
        for (required, total) in [(1, 1), (4, 4), (1, 2), (2, 3), (3, 5), (4, 8)] {
            let scheme = Scheme::new(required, total).unwrap();
            let code = Code::new(scheme).unwrap();
            let mut all = bytes(9, usize::from(total) * cell_bytes);
            code.encode(&mut all, cell_bytes);
            let cells: Vec<&[u8]> = all.chunks_exact(cell_bytes).collect();
            for set in 0_u32..1 << total {
                if set.count_ones() != u32::from(required) {
                    continue;
                }
                let inputs: Vec<u8> = (0..total).filter(|index| set >> index & 1 == 1).collect();
                let mut there = vec![0; inputs.len() * BLOCK_BYTES];
                for (block, &index) in there.chunks_exact_mut(BLOCK_BYTES).zip(&inputs) {
                    block[..cell_bytes].copy_from_slice(cells[usize::from(index)]);
                }
                let wanted: Vec<u8> = (0..total).collect();
                let recipe = code.recipe(inputs, &wanted);
                let rows = recipe.rows.chunks_exact(usize::from(required));
                for (row, cell) in rows.zip(&cells) {
                    let mut out = vec![0xee; cell_bytes];
                    combine(row, &there, &mut out);
                    assert_eq!(out, *cell, "{scheme} from {:?}", recipe.inputs);
                }
            }
        }
    }
}
