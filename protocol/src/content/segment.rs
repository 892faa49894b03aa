//! One segment, stripe by stripe: from plain bytes to the masked cells of all shards, and back.
//!
//! Every method takes `&self`, shares nothing and works on one stripe at a time in the caller's buffers. So
//! stripes may run in parallel, and memory is bounded by what the caller has in progress. A decode gives
//! out only bytes that the cell's own tag authenticates.

use alloc::{vec, vec::Vec};
use core::ops::Range;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::{
    content::{
        FileKey, LayoutError, MaskKey, MaskMode, Scheme, SegmentLayout, StripeLayout,
        erasure::{BLOCK_BYTES, Code, Recipe, combine},
        key::ContentKey,
        mask::{Mask, ShardMask},
        seal::{self, LeafParts},
    },
    id::Hash,
    limits::{SHARDS_MAX, TAG_BYTES},
};

/// Why a stripe was not coded, decoded or rebuilt.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ContentError {
    /// The caller's buffer has another size.
    #[error("the buffer for {what} has {found} bytes instead of {expected}")]
    Buffer {
        /// The buffer's purpose.
        what: &'static str,
        /// Its size in bytes.
        found: usize,
        /// The size it must have.
        expected: usize,
    },
    /// A cell that was read from one shard, not rebuilt, does not open. Either that shard is not what the
    /// owner stored, or key or manifest belong to another file.
    #[error("cell {cell}, read from shard {shard}, does not open")]
    CellForged {
        /// The data cell, counted over the whole file.
        cell: u64,
        /// The shard it was read from.
        shard: u8,
    },
    /// The file key is not the one the manifest commits to.
    #[error("the key is not the one the manifest commits to")]
    Key,
    /// There is no such segment.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Too few shards are present.
    #[error("{required} shards are required, and {missing:?} are missing")]
    NotEnoughShards {
        /// How many suffice.
        required: u8,
        /// The missing shards.
        missing: Vec<u8>,
    },
    /// A rebuilt cell does not open: one of these shards is not what the owner stored.
    #[error("cell {cell}, rebuilt from shards {shards:?}, does not open")]
    RebuiltForged {
        /// The data cell, counted over the whole file.
        cell: u64,
        /// The shards it was rebuilt from.
        shards: Vec<u8>,
    },
    /// There is no such shard.
    #[error("there is no shard {shard} of {total}")]
    Shard {
        /// The shard.
        shard: u8,
        /// How many shards the scheme has.
        total: u8,
    },
    /// A shard's cell has another size than the layout gives.
    #[error("the cell of shard {shard} has {found} bytes instead of {expected}")]
    ShardLength {
        /// The shard.
        shard: u8,
        /// Its size in bytes.
        found: usize,
        /// The size it must have.
        expected: usize,
    },
    /// The mask of the shard is not known here.
    #[error("the mask of shard {shard} is not known")]
    NoMask {
        /// The shard.
        shard: u8,
    },
    /// There is no such stripe.
    #[error("there is no stripe {stripe} of {stripes}")]
    Stripe {
        /// The stripe.
        stripe: u32,
        /// How many stripes the segment has.
        stripes: u32,
    },
}

/// Rebuilds lost shards from others, with the mask key alone: it sees only sealed bytes. The BLAKE3 root on
/// the ledger shows that the result is right.
#[derive(Debug)]
pub struct Rebuilder {
    layout: SegmentLayout,
    code: Code,
    mask: Mask,
}

/// Codes and decodes the stripes of one segment.
#[derive(Debug)]
pub struct SegmentCoder {
    content: ContentKey,
    cells: Rebuilder,
}

impl Rebuilder {
    /// Rebuilds the shards of one segment.
    #[must_use]
    pub fn new(key: &MaskKey, mask: MaskMode, layout: SegmentLayout) -> Self {
        Self::with(Mask::new(mask, key, layout.segment), layout)
    }

    /// Rebuilds shards of one segment from those whose masks are known.
    #[must_use]
    pub fn with(mask: Mask, layout: SegmentLayout) -> Self {
        let code = Code::new(layout.scheme()).expect("a layout has a scheme that can be coded");
        Self { layout, code, mask }
    }

    /// The segment's sizes.
    #[must_use]
    pub const fn layout(&self) -> &SegmentLayout {
        &self.layout
    }

    /// Computes the cell of shard `wanted` in this stripe, masked as its node must store it. `cells` are
    /// the masked cells of all shards by index; the entry at `wanted` is ignored.
    pub fn rebuild(
        &self,
        stripe: u32,
        cells: &[Option<&[u8]>],
        wanted: u8,
        out: &mut [u8],
    ) -> Result<(), ContentError> {
        let layout = self.stripe(stripe)?;
        self.check_cells(&layout, cells)?;
        let total = self.scheme().total;
        if wanted >= total {
            return Err(ContentError::Shard { shard: wanted, total });
        }
        check_buffer("the rebuilt cell", out.len(), layout.cell_bytes)?;
        if !self.mask.knows(wanted) {
            return Err(ContentError::NoMask { shard: wanted });
        }
        let is_there = |shard: u8| cells[usize::from(shard)].is_some() && self.mask.knows(shard);
        let others = |shard: u8| shard != wanted && is_there(shard);
        let recipe = self.recipe(others, &[wanted])?;
        Blocks::new(self, &layout, cells, &recipe).combine_into(0..layout.cell_bytes, out);
        self.mask.shard(wanted).apply(layout.shard_offset, out);
        Ok(())
    }

    fn scheme(&self) -> Scheme {
        self.layout.scheme()
    }

    fn stripe(&self, stripe: u32) -> Result<StripeLayout, ContentError> {
        let stripes = self.layout.stripes;
        self.layout.stripe(stripe).ok_or(ContentError::Stripe { stripe, stripes })
    }

    fn check_cells(
        &self,
        layout: &StripeLayout,
        cells: &[Option<&[u8]>],
    ) -> Result<(), ContentError> {
        let (expected, total) = (layout.cell_bytes, self.scheme().total);
        if cells.len() != usize::from(total) {
            let (found, expected) = (cells.len(), usize::from(total));
            return Err(ContentError::Buffer { what: "cells by shard", found, expected });
        }
        for (shard, cell) in (0..total).zip(cells) {
            match cell {
                Some(cell) if cell.len() != expected => {
                    let found = cell.len();
                    return Err(ContentError::ShardLength { shard, found, expected });
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// How to make `wanted` from the first `required` shards that are present.
    fn recipe(&self, there: impl Fn(u8) -> bool, wanted: &[u8]) -> Result<Recipe, ContentError> {
        let Scheme { required, total } = self.scheme();
        let inputs: Vec<u8> =
            (0..total).filter(|&shard| there(shard)).take(usize::from(required)).collect();
        if inputs.len() < usize::from(required) {
            let missing = (0..total).filter(|&shard| !there(shard)).collect();
            return Err(ContentError::NotEnoughShards { required, missing });
        }
        Ok(self.code.recipe(inputs, wanted))
    }
}

impl SegmentCoder {
    /// Codes one segment of a file.
    ///
    /// A reader uses [`crate::content::Manifest::coder`] instead. It first checks that the manifest commits
    /// to the key.
    #[must_use]
    pub fn new(key: &FileKey, mask: MaskMode, layout: SegmentLayout) -> Self {
        let cells = Rebuilder::new(&key.mask_key(), mask, layout);
        Self { content: key.content_key(), cells }
    }

    /// The segment's sizes.
    #[must_use]
    pub const fn layout(&self) -> &SegmentLayout {
        &self.cells.layout
    }

    /// Seals, codes and masks one stripe.
    ///
    /// `plain` are the file's bytes of the stripe; the rest of its capacity is zero padding. `cells`
    /// becomes the masked cells of all shards, one after the other in shard order. One leaf of the content
    /// root per data cell is appended to `leaves`, in file order.
    pub fn encode(
        &self,
        stripe: u32,
        plain: &[u8],
        cells: &mut [u8],
        leaves: &mut Vec<Hash>,
    ) -> Result<(), ContentError> {
        let layout = self.cells.stripe(stripe)?;
        let total = self.cells.scheme().total;
        check_buffer("the stripe's cells", cells.len(), usize::from(total) * layout.cell_bytes)?;
        self.seal_stripe(&layout, plain, cells, leaves)?;
        self.cells.code.encode(cells, layout.cell_bytes);
        for (shard, cell) in (0..total).zip(cells.chunks_exact_mut(layout.cell_bytes)) {
            self.cells.mask.shard(shard).apply(layout.shard_offset, cell);
        }
        Ok(())
    }

    /// Appends the leaves that [`Self::encode`] would append, without coding or masking. So a caller with
    /// the plain bytes and the key can find out whether they are a manifest's content.
    pub fn leaves(
        &self,
        stripe: u32,
        plain: &[u8],
        leaves: &mut Vec<Hash>,
    ) -> Result<(), ContentError> {
        let layout = self.cells.stripe(stripe)?;
        let mut cells = vec![0; usize::from(layout.required) * layout.cell_bytes];
        self.seal_stripe(&layout, plain, &mut cells, leaves)
    }

    /// Appends the parts of the leaves of a stripe, from its plain bytes: what a seller lists of each cell.
    pub fn leaf_parts(
        &self,
        stripe: u32,
        plain: &[u8],
        parts: &mut Vec<LeafParts>,
    ) -> Result<(), ContentError> {
        let layout = self.cells.stripe(stripe)?;
        let mut cells = vec![0; usize::from(layout.required) * layout.cell_bytes];
        self.seal_cells(&layout, plain, &mut cells, |_, sealed| parts.push(sealed))
    }

    /// Seals a stripe's bytes into the first `required` of `cells`.
    fn seal_stripe(
        &self,
        layout: &StripeLayout,
        plain: &[u8],
        cells: &mut [u8],
        leaves: &mut Vec<Hash>,
    ) -> Result<(), ContentError> {
        self.seal_cells(layout, plain, cells, |cell, parts| leaves.push(parts.leaf(cell)))
    }

    /// The same, and gives each cell's number and the parts of its leaf.
    fn seal_cells(
        &self,
        layout: &StripeLayout,
        plain: &[u8],
        cells: &mut [u8],
        mut sealed: impl FnMut(u64, LeafParts),
    ) -> Result<(), ContentError> {
        let found = plain.len();
        if found < layout.plain_length || layout.capacity() < found {
            let expected = layout.plain_length;
            return Err(ContentError::Buffer { what: "the stripe's bytes", found, expected });
        }
        for (index, cell) in (0..layout.required).zip(cells.chunks_exact_mut(layout.cell_bytes)) {
            let start = found.min(usize::from(index) * layout.plain_bytes);
            let plain = &plain[start..found.min(start + layout.plain_bytes)];
            let parts = self.seal(layout, index, plain, cell);
            sealed(layout.first_cell + u64::from(index), parts);
        }
        Ok(())
    }

    /// Opens one stripe from any `required` of its masked cells, by shard index. `out` becomes the stripe's
    /// plain bytes with their padding: [`StripeLayout::capacity`] bytes, of which
    /// [`StripeLayout::plain_length`] are the file's. On an error `out` holds nothing.
    pub fn decode(
        &self,
        stripe: u32,
        cells: &[Option<&[u8]>],
        out: &mut [u8],
    ) -> Result<(), ContentError> {
        let layout = self.cells.stripe(stripe)?;
        self.open(&layout, 0..layout.required, cells, out, None)
    }

    /// The same, and appends the leaves of the content root that the cells give. A buyer compares the root
    /// over all of them with the listed root.
    pub fn decode_with_leaves(
        &self,
        stripe: u32,
        cells: &[Option<&[u8]>],
        out: &mut [u8],
        leaves: &mut Vec<Hash>,
    ) -> Result<(), ContentError> {
        let layout = self.cells.stripe(stripe)?;
        let before = leaves.len();
        let done = self.open(&layout, 0..layout.required, cells, out, Some(leaves));
        if done.is_err() {
            leaves.truncate(before);
        }
        done
    }

    /// Opens one data cell of a stripe. If the cell is present, it needs no other; otherwise it is rebuilt
    /// from any `required` others. `out` has the cell's plain bytes.
    pub fn decode_cell(
        &self,
        stripe: u32,
        shard: u8,
        cells: &[Option<&[u8]>],
        out: &mut [u8],
    ) -> Result<(), ContentError> {
        let layout = self.cells.stripe(stripe)?;
        let total = self.cells.scheme().total;
        if shard >= layout.required {
            return Err(ContentError::Shard { shard, total });
        }
        self.open(&layout, shard..shard + 1, cells, out, None)
    }

    /// What a content leaf says of the plain bytes of a data cell, padding included.
    pub fn plain_hash(&self, stripe: u32, shard: u8, plain: &[u8]) -> Result<Hash, ContentError> {
        let layout = self.cells.stripe(stripe)?;
        let total = self.cells.scheme().total;
        if shard >= layout.required {
            return Err(ContentError::Shard { shard, total });
        }
        Ok(seal::plain_hash(&self.cell_key(&layout, shard), plain))
    }

    /// Computes one shard's masked cell from others: see [`Rebuilder::rebuild`].
    pub fn rebuild(
        &self,
        stripe: u32,
        cells: &[Option<&[u8]>],
        wanted: u8,
        out: &mut [u8],
    ) -> Result<(), ContentError> {
        self.cells.rebuild(stripe, cells, wanted, out)
    }

    fn cell_key(&self, layout: &StripeLayout, index: u8) -> Zeroizing<[u8; 32]> {
        let cell = layout.first_in_segment + u64::from(index);
        Zeroizing::new(self.content.cell_key(self.cells.layout.segment, cell))
    }

    /// Seals `plain` and its padding into `cell`; gives the parts of the cell's leaf.
    fn seal(&self, layout: &StripeLayout, index: u8, plain: &[u8], cell: &mut [u8]) -> LeafParts {
        let key = self.cell_key(layout, index);
        let (body, tag) = cell.split_at_mut(layout.plain_bytes);
        body[..plain.len()].copy_from_slice(plain);
        body[plain.len()..].fill(0);
        let plain = seal::plain_hash(&key, body);
        tag.copy_from_slice(&seal::seal(&key, layout.end_at(index), body));
        LeafParts { key: seal::key_hash(&key), sealed: seal::sealed_hash(&[cell]), plain }
    }

    fn open(
        &self,
        layout: &StripeLayout,
        wanted: Range<u8>,
        cells: &[Option<&[u8]>],
        out: &mut [u8],
        mut leaves: Option<&mut Vec<Hash>>,
    ) -> Result<(), ContentError> {
        self.cells.check_cells(layout, cells)?;
        check_buffer("plain bytes", out.len(), wanted.len() * layout.plain_bytes)?;
        let mut tags = [[0; TAG_BYTES]; SHARDS_MAX as usize];
        let tags = &mut tags[..wanted.len()];
        let inputs = self.sealed(layout, wanted.clone(), cells, out, tags)?;
        let bodies = out.chunks_exact_mut(layout.plain_bytes);
        for ((index, body), tag) in wanted.zip(bodies).zip(tags) {
            let key = self.cell_key(layout, index);
            let cell = layout.first_cell + u64::from(index);
            let sealed = leaves.is_some().then(|| seal::sealed_hash(&[body, tag]));
            if seal::open_in_place(&key, layout.end_at(index), body, tag).is_err() {
                // The cells opened before it are right, but a caller might use half an answer.
                out.fill(0);
                return Err(match cells[usize::from(index)] {
                    Some(_) => ContentError::CellForged { cell, shard: index },
                    None => ContentError::RebuiltForged { cell, shards: inputs },
                });
            }
            if let (Some(leaves), Some(sealed)) = (&mut leaves, sealed) {
                let (key, plain) = (seal::key_hash(&key), seal::plain_hash(&key, body));
                leaves.push(LeafParts { key, sealed, plain }.leaf(cell));
            }
        }
        Ok(())
    }

    /// Brings the sealed cells of the wanted data shards into `bodies` and `tags`. It gives the shards that
    /// they were rebuilt from, if any cell was rebuilt.
    fn sealed(
        &self,
        layout: &StripeLayout,
        wanted: Range<u8>,
        cells: &[Option<&[u8]>],
        bodies: &mut [u8],
        tags: &mut [[u8; TAG_BYTES]],
    ) -> Result<Vec<u8>, ContentError> {
        let there = |shard: u8| cells[usize::from(shard)].is_some();
        if wanted.clone().all(there) {
            let bodies = bodies.chunks_exact_mut(layout.plain_bytes);
            let direct = cells[usize::from(wanted.start)..].iter().flatten();
            for (((shard, cell), body), tag) in wanted.zip(direct).zip(bodies).zip(tags) {
                let mask = self.cells.mask.shard(shard);
                let (sealed, sealed_tag) = cell.split_at(layout.plain_bytes);
                mask.copy(layout.shard_offset, sealed, body);
                mask.copy(layout.shard_offset + sealed.len() as u64, sealed_tag, tag);
            }
            return Ok(Vec::new());
        }
        let wanted: Vec<u8> = wanted.collect();
        let recipe = self.cells.recipe(there, &wanted)?;
        let mut blocks = Blocks::new(&self.cells, layout, cells, &recipe);
        blocks.combine_into(0..layout.plain_bytes, bodies);
        blocks.combine_into(layout.plain_bytes..layout.cell_bytes, tags.as_flattened_mut());
        drop(blocks);
        Ok(recipe.inputs)
    }
}

/// Unmasks the inputs of a recipe block by block and combines them.
struct Blocks<'a> {
    recipe: &'a Recipe,
    inputs: Vec<(&'a [u8], ShardMask)>,
    shard_offset: u64,
    unmasked: Vec<u8>,
}

impl<'a> Blocks<'a> {
    fn new(
        cells: &Rebuilder,
        layout: &StripeLayout,
        there: &[Option<&'a [u8]>],
        recipe: &'a Recipe,
    ) -> Self {
        let input = |&shard: &u8| Some((there[usize::from(shard)]?, cells.mask.shard(shard)));
        Self {
            recipe,
            inputs: recipe.inputs.iter().filter_map(input).collect(),
            shard_offset: layout.shard_offset,
            unmasked: vec![0; recipe.inputs.len() * BLOCK_BYTES],
        }
    }

    /// Makes these bytes of every wanted cell; `out` has room for them, one cell after the other.
    fn combine_into(&mut self, bytes: Range<usize>, out: &mut [u8]) {
        let mut start = bytes.start;
        while start < bytes.end {
            let length = BLOCK_BYTES.min(bytes.end - start);
            for ((cell, mask), block) in
                self.inputs.iter().zip(self.unmasked.chunks_exact_mut(BLOCK_BYTES))
            {
                let offset = self.shard_offset + start as u64;
                mask.copy(offset, &cell[start..start + length], &mut block[..length]);
            }
            let rows = self.recipe.rows.chunks_exact(self.inputs.len());
            let at = start - bytes.start;
            for (row, cell) in rows.zip(out.chunks_exact_mut(bytes.len())) {
                combine(row, &self.unmasked, &mut cell[at..at + length]);
            }
            start += length;
        }
    }
}

fn check_buffer(what: &'static str, found: usize, expected: usize) -> Result<(), ContentError> {
    match found == expected {
        true => Ok(()),
        false => Err(ContentError::Buffer { what, found, expected }),
    }
}

#[cfg(test)]
mod tests;
