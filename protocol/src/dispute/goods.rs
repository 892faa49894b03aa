//! A file that may be sold, honestly or not: for tests.

use std::{vec, vec::Vec};

use super::{LeafList, unmasked};
use crate::{
    content::{
        CellPlace, FileKey, Layout, Manifest, MaskMode, Scheme, SegmentCoder,
        seal::{self, LeafParts},
    },
    id::Hash,
    limits::CELL_BYTES,
    merkle, proof,
};

/// The scheme of the file.
pub(crate) const SCHEME: Scheme = Scheme { required: 2, total: 3 };

/// A file of one segment with its shards, and what its seller says of its cells.
#[derive(Clone, Debug)]
pub(crate) struct Goods {
    pub(crate) key: FileKey,
    pub(crate) manifest: Manifest,
    pub(crate) list: LeafList,
    pub(crate) masks_root: Hash,
    pub(crate) shards: Vec<Vec<u8>>,
}

impl Goods {
    /// A file of so many bytes whose seller lists what is so.
    pub(crate) fn honest(length: usize) -> Self {
        Self::spoilt(length, |_| {})
    }

    /// The same, but for what the seller does to the parts of its leaves before listing them.
    pub(crate) fn spoilt(length: usize, spoil: impl FnOnce(&mut Vec<LeafParts>)) -> Self {
        let key = FileKey::from_bytes([9; 32]);
        let plain: Vec<u8> = (0..=250).cycle().take(length).collect();
        let layout = Layout::new(SCHEME, plain.len() as u64).unwrap();
        let segment = layout.segment(0).unwrap();
        let coder = SegmentCoder::new(&key, MaskMode::ChaCha20, segment);
        let mut shards = vec![Vec::new(); 3];
        let mut parts = Vec::new();
        for number in 0..segment.stripes {
            let stripe = segment.stripe(number).unwrap();
            let from = usize::try_from(stripe.plain_start).unwrap();
            let bytes = &plain[from..from + stripe.plain_length];
            let mut cells = vec![0; stripe.cell_bytes * 3];
            coder.encode(number, bytes, &mut cells, &mut Vec::new()).unwrap();
            for (index, cell) in (0..).zip(cells.chunks(stripe.cell_bytes)) {
                shards[usize::from(index)].extend_from_slice(cell);
                if index < SCHEME.required {
                    let at = stripe.first_in_segment + u64::from(index);
                    let sealed = unmasked(&key.shard_mask_key(0, index), number, cell);
                    let cell_key = key.cell_key(0, at);
                    let mut opened = vec![0; stripe.plain_bytes];
                    let end = layout.cell(at).unwrap().end;
                    seal::open(&cell_key, end, &sealed, &mut opened).unwrap();
                    parts.push(LeafParts::new(&cell_key, &sealed, &opened));
                }
            }
        }
        spoil(&mut parts);
        let list = LeafList::new(&key, &layout, parts);
        let mut tree = merkle::Builder::new();
        tree.extend(list.leaves());
        let manifest = Manifest::new(&key, MaskMode::ChaCha20, &layout, tree.finish());
        let masks_root = list.masks_root();
        Self { key, manifest, list, masks_root, shards }
    }

    /// Lists another mask than the file key's.
    pub(crate) fn with_other_mask(mut self) -> Self {
        self.list.masks[1] = Hash([1; 32]);
        self.masks_root = self.list.masks_root();
        self
    }

    /// Lists one mask less than there are.
    pub(crate) fn with_a_mask_less(mut self) -> Self {
        self.list.masks.pop();
        self.masks_root = self.list.masks_root();
        self
    }

    pub(crate) fn place(&self, cell: u64) -> CellPlace {
        self.manifest.layout().unwrap().cell(cell).unwrap()
    }

    pub(crate) fn index_keys(&self) -> Vec<[u8; 32]> {
        (0..SCHEME.total).map(|index| self.key.shard_mask_key(0, index)).collect()
    }

    /// The root of a shard, its cell of a stripe, and the path between them.
    pub(crate) fn kept(&self, index: u8, stripe: u32) -> (Hash, Vec<u8>, Vec<Hash>) {
        let shard = &self.shards[usize::from(index)];
        let mut hasher = proof::ShardHasher::new();
        hasher.update(shard);
        let (root, outboard) = hasher.finish();
        let path = proof::cell_path(&outboard, shard.len() as u64, u64::from(stripe)).unwrap();
        let from = usize::try_from(stripe).unwrap() * CELL_BYTES;
        (root, shard[from..shard.len().min(from + CELL_BYTES)].to_vec(), path)
    }

    /// A cell as its shard has it, without the mask.
    pub(crate) fn sealed(&self, cell: u64) -> Vec<u8> {
        let place = self.place(cell);
        let (_, bytes, _) = self.kept(place.shard, place.stripe);
        unmasked(&self.key.shard_mask_key(0, place.shard), place.stripe, &bytes)
    }
}
