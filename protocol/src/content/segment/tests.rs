//! Whole stripes: every loss, every lie, every border.

use std::{collections::BTreeSet, vec, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    content::{Layout, Manifest, mask::IndexKeys},
    limits::CELL_BYTES,
    merkle::{self, Builder},
};

/// One stripe of a file as it was stored.
struct Stored {
    key: FileKey,
    layout: SegmentLayout,
    plain: Vec<u8>,
    cells: Vec<u8>,
    leaves: Vec<Hash>,
}

fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

fn file_key(seed: u64) -> FileKey {
    FileKey::from_bytes(bytes(seed, 32).try_into().unwrap())
}

fn coder(key: &FileKey, layout: SegmentLayout) -> SegmentCoder {
    SegmentCoder::new(key, MaskMode::ChaCha20, layout)
}

/// Stores one stripe of a file of `length` bytes; the others are not made.
fn store(seed: u64, scheme: Scheme, length: u64, segment: u32, stripe: u32) -> Stored {
    let key = file_key(seed);
    let layout = Layout::new(scheme, length).unwrap().segment(segment).unwrap();
    let sizes = layout.stripe(stripe).unwrap();
    let plain = bytes(!seed, sizes.plain_length);
    let mut cells = vec![0xee; usize::from(scheme.total) * sizes.cell_bytes];
    let mut leaves = Vec::new();
    coder(&key, layout).encode(stripe, &plain, &mut cells, &mut leaves).unwrap();
    assert_eq!(leaves.len(), usize::from(scheme.required));
    Stored { key, layout, plain, cells, leaves }
}

impl Stored {
    fn coder(&self) -> SegmentCoder {
        coder(&self.key, self.layout)
    }

    fn cells(&self, stripe: u32, there: impl Fn(u8) -> bool) -> Vec<Option<&[u8]>> {
        let size = self.layout.stripe(stripe).unwrap().cell_bytes;
        self.cells
            .chunks_exact(size)
            .zip(0..)
            .map(|(cell, index)| there(index).then_some(cell))
            .collect()
    }

    /// Decodes and compares, leaves and padding included.
    fn check(&self, stripe: u32, there: impl Fn(u8) -> bool) {
        let sizes = self.layout.stripe(stripe).unwrap();
        let mut out = vec![0xee; sizes.capacity()];
        let mut leaves = Vec::new();
        let cells = self.cells(stripe, there);
        self.coder().decode_with_leaves(stripe, &cells, &mut out, &mut leaves).unwrap();
        let mut from_plain = Vec::new();
        self.coder().leaves(stripe, &self.plain, &mut from_plain).unwrap();
        assert_eq!(from_plain, self.leaves, "leaves without coding");
        assert!(out[..sizes.plain_length] == self.plain);
        assert!(out[sizes.plain_length..] == vec![0; out.len() - sizes.plain_length], "padding");
        assert_eq!(leaves, self.leaves);
    }
}

fn scheme(required: u8, total: u8) -> Scheme {
    Scheme::new(required, total).unwrap()
}

#[test]
fn every_loss_of_every_small_scheme() {
    for (required, total) in [(1, 1), (1, 2), (2, 3), (3, 5), (4, 8)] {
        let stored = store(1, scheme(required, total), 2_500, 0, 0);
        let coder = stored.coder();
        let sizes = stored.layout.stripe(0).unwrap();
        for set in 0_u32..1 << total {
            let there = |index: u8| set >> index & 1 == 1;
            let cells = stored.cells(0, there);
            if set.count_ones() >= u32::from(required) {
                stored.check(0, there);
                for wanted in 0..total {
                    let others = set & !(1 << wanted);
                    let mut out = vec![0xee; sizes.cell_bytes];
                    let done = coder.rebuild(0, &cells, wanted, &mut out);
                    if others.count_ones() < u32::from(required) {
                        assert!(matches!(done, Err(ContentError::NotEnoughShards { .. })));
                    } else {
                        done.unwrap();
                        assert_eq!(Some(&out[..]), stored.cells(0, |_| true)[usize::from(wanted)]);
                    }
                }
                continue;
            }
            let missing: Vec<u8> = (0..total).filter(|&index| !there(index)).collect();
            let mut out = vec![0xee; sizes.capacity()];
            let error = Err(ContentError::NotEnoughShards { required, missing });
            assert_eq!(coder.decode(0, &cells, &mut out), error);
        }
    }
}

#[test]
fn wide_schemes_lose_what_they_may() {
    for (required, total) in [(8, 20), (16, 32), (32, 72)] {
        let stored = store(2, scheme(required, total), 70_000, 0, 0);
        stored.check(0, |_| true);
        stored.check(0, |index| index >= total - required);
        stored.check(0, |index| index < required);
        stored.check(0, |index| index % 2 == 0 || index == 1);
    }
}

/// Every border of cells, stripes and segments, in the stripe where it falls, after every loss that leaves
/// as few cells as may be; where cells are small, after every loss there can be.
#[test]
fn every_border() {
    let small = [0, 1, 975, 976, 1007, 1008, 1009, 65_519, 65_520, 65_521];
    for (required, total) in [(1, 1), (2, 3), (4, 8)] {
        let scheme = scheme(required, total);
        let stripe = u64::from(required) * 65_520;
        let segment = stripe * 1024;
        let borders =
            [stripe, 2 * stripe, segment - stripe, segment, 2 * segment, 2 * segment + stripe];
        let around = borders.iter().flat_map(|border| [border - 1, *border, border + 1]);
        for length in small.into_iter().chain(around) {
            let layout = Layout::new(scheme, length).unwrap();
            let at = layout.locate(length.saturating_sub(1));
            let (last, at) =
                (layout.segments() - 1, at.map_or((0, 0), |at| (at.segment, at.stripe)));
            assert_eq!(last, at.0, "padding opens no segment");
            let stripes = layout.segment(last).unwrap().stripes;
            for stripe in BTreeSet::from([at.1, stripes - 1]) {
                let stored = store(length, scheme, length, last, stripe);
                for left in 0..1_u32 << total {
                    let count = left.count_ones();
                    let least = u32::from(required);
                    if count == least || (least < count && length <= small[small.len() - 1]) {
                        stored.check(stripe, |index| left >> index & 1 == 1);
                    }
                }
            }
        }
    }
}

#[test]
fn a_flipped_bit_in_any_cell_is_an_error_that_names_it() {
    let stored = store(3, scheme(2, 4), 1_500, 0, 0);
    let (coder, sizes) = (stored.coder(), stored.layout.stripe(0).unwrap());
    let size = sizes.cell_bytes;
    for bit in (0..stored.cells.len() * 8).step_by(61) {
        let mut bent = stored.cells.clone();
        bent[bit / 8] ^= 1 << (bit % 8);
        let shard = u8::try_from(bit / 8 / size).unwrap();
        let bent: Vec<&[u8]> = bent.chunks_exact(size).collect();
        // Beside the liar one honest data shard, or a parity one.
        for other in (0..4).filter(|&other| other != shard) {
            let pair = |index: u8| index == shard || index == other;
            let cells: Vec<Option<&[u8]>> =
                (0..4).map(|index| pair(index).then(|| bent[usize::from(index)])).collect();
            let mut out = vec![0xee; sizes.capacity()];
            match coder.decode(0, &cells, &mut out).unwrap_err() {
                ContentError::CellForged { cell, shard: liar } => {
                    assert_eq!((cell, liar), (u64::from(shard), shard));
                }
                ContentError::RebuiltForged { shards, .. } => {
                    assert_eq!(shards, [shard.min(other), shard.max(other)]);
                }
                error => panic!("{error}"),
            }
            assert!(out == vec![0; out.len()], "nothing is left of it");
        }
    }
}

#[test]
fn a_stripe_that_fails_late_leaves_no_leaves() {
    let stored = store(3, scheme(2, 4), 1_500, 0, 0);
    let size = out_size(&stored, 0);
    let mut bent = stored.cells.clone();
    bent[size] ^= 1;
    let cells: Vec<Option<&[u8]>> = bent.chunks_exact(size).map(Some).collect();
    let mut out = vec![0xee; stored.layout.stripe(0).unwrap().capacity()];
    let mut leaves = vec![Hash([1; 32])];
    let done = stored.coder().decode_with_leaves(0, &cells, &mut out, &mut leaves);
    assert_eq!(done, Err(ContentError::CellForged { cell: 1, shard: 1 }));
    assert_eq!(leaves, [Hash([1; 32])]);
}

#[test]
fn every_wrong_key_length_mask_or_place_is_an_error() {
    let scheme = scheme(2, 3);
    let stored = store(4, scheme, 1_500, 0, 0);
    let cells = stored.cells(0, |_| true);
    let capacity = stored.layout.stripe(0).unwrap().capacity();
    let refuses = |coder: &SegmentCoder, cells: &[Option<&[u8]>]| {
        let mut out = vec![0xee; capacity];
        let done = coder.decode(0, cells, &mut out);
        assert!(matches!(done, Err(ContentError::CellForged { .. })), "{done:?}");
    };
    let (key, layout) = (&stored.key, stored.layout);
    for bit in 0..256 {
        let mut other = *key.as_bytes();
        other[bit / 8] ^= 1 << (bit % 8);
        refuses(&coder(&FileKey::from_bytes(other), layout), &cells);
    }
    refuses(&SegmentCoder::new(key, MaskMode::None, layout), &cells);
    // Every length with the same sizes as the true one.
    let mut same = 0;
    for length in (1_400..1_700).filter(|&length| length != 1_500) {
        let other = Layout::new(scheme, length).unwrap().segment(0).unwrap();
        if other.shard_length == layout.shard_length {
            refuses(&coder(key, other), &cells);
            same += 1;
        }
    }
    assert!(same > 20);
    // The cells of two shards, exchanged.
    refuses(&stored.coder(), &[cells[1], cells[0], cells[2]]);
    // A caretaker's layout does not know the length.
    let told = SegmentLayout::from_shard(scheme, 0, layout.shard_length).unwrap();
    refuses(&coder(key, told), &cells);
}

#[test]
fn stripes_and_segments_do_not_stand_in_for_each_other() {
    let scheme = scheme(1, 2);
    let length = 2 * 1024 * 65_520 + 200_000;
    let (one, two) = (store(5, scheme, length, 0, 0), store(5, scheme, length, 1, 0));
    let next = store(5, scheme, length, 0, 1);
    let mut out = vec![0; 65_520];
    for (coder, stripe, other) in [(one.coder(), 0, &two), (one.coder(), 0, &next)] {
        let done = coder.decode(stripe, &other.cells(0, |_| true), &mut out);
        assert_eq!(done, Err(ContentError::CellForged { cell: 0, shard: 0 }));
    }
    one.check(0, |index| index == 1);
}

#[test]
fn two_uploads_of_one_file_share_nothing() {
    let scheme = scheme(4, 8);
    let layout = Layout::new(scheme, 300_000).unwrap().segment(0).unwrap();
    let plain = vec![0; 300_000];
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for seed in 0..2 {
        let key = file_key(seed);
        for stripe in 0..layout.stripes {
            let sizes = layout.stripe(stripe).unwrap();
            let mut cells = vec![0; 8 * sizes.cell_bytes];
            let start = plain.len().min(usize::try_from(sizes.plain_start).unwrap());
            let plain = &plain[start..start + sizes.plain_length];
            coder(&key, layout).encode(stripe, plain, &mut cells, &mut Vec::new()).unwrap();
            for block in cells.chunks_exact(16) {
                assert!(seen.insert(block.to_vec()), "a file of zeros, and not 16 bytes alike");
                count += 1;
            }
        }
    }
    assert_eq!(count, 2 * 8 * layout.shard_length / 16);
}

#[test]
fn a_rebuilt_shard_is_the_lost_one() {
    let stored = store(6, scheme(4, 8), 3 * 262_080, 0, 2);
    let key = stored.key.mask_key();
    // A caretaker has the mask key and the ledger's record of the deal, nothing else.
    let layout = SegmentLayout::from_shard(scheme(4, 8), 0, stored.layout.shard_length).unwrap();
    let rebuilder = Rebuilder::new(&key, MaskMode::ChaCha20, layout);
    let all = stored.cells(2, |_| true);
    for wanted in 0..8 {
        let mut out = vec![0; stored.layout.stripe(2).unwrap().cell_bytes];
        rebuilder.rebuild(2, &all, wanted, &mut out).unwrap();
        assert_eq!(Some(&out[..]), all[usize::from(wanted)]);
    }
    // A lie among the others shows in what comes out, which then has another root.
    let mut lie = stored.cells.clone();
    lie[100] ^= 1;
    let mut cells = all.clone();
    cells[0] = Some(&lie[..out_size(&stored, 2)]);
    let mut out = vec![0; out_size(&stored, 2)];
    rebuilder.rebuild(2, &cells, 7, &mut out).unwrap();
    assert_ne!(Some(&out[..]), all[7]);
}

fn out_size(stored: &Stored, stripe: u32) -> usize {
    stored.layout.stripe(stripe).unwrap().cell_bytes
}

#[test]
fn what_the_caller_got_wrong() {
    let stored = store(7, scheme(2, 3), 1_500, 0, 0);
    let coder = stored.coder();
    let (capacity, size) = (stored.layout.stripe(0).unwrap().capacity(), out_size(&stored, 0));
    let (mut cells, mut leaves) = (vec![0; 3 * size], Vec::new());
    let plain = bytes(1, capacity + 1);
    let stripe = Err(ContentError::Stripe { stripe: 1, stripes: 1 });
    assert_eq!(coder.encode(1, &plain[..1_500], &mut cells, &mut leaves), stripe);
    for length in [0, 1_499, capacity + 1] {
        let done = coder.encode(0, &plain[..length], &mut cells, &mut leaves);
        assert!(matches!(done, Err(ContentError::Buffer { .. })), "{length}");
    }
    let done = coder.encode(0, &plain[..1_500], &mut cells[1..], &mut leaves);
    assert!(matches!(done, Err(ContentError::Buffer { .. })));
    assert!(leaves.is_empty());
    let all = stored.cells(0, |_| true);
    let mut out = vec![0; capacity];
    assert!(coder.decode(1, &all, &mut out).is_err());
    assert!(coder.decode(0, &all[1..], &mut out).is_err());
    assert!(coder.decode(0, &all, &mut out[1..]).is_err());
    let short = [Some(&stored.cells[1..size]), all[1], all[2]];
    let error = ContentError::ShardLength { shard: 0, found: size - 1, expected: size };
    assert_eq!(coder.decode(0, &short, &mut out), Err(error));
    let error = ContentError::Shard { shard: 3, total: 3 };
    assert_eq!(coder.rebuild(0, &all, 3, &mut out[..size]), Err(error));
    let error = ContentError::Shard { shard: 2, total: 3 };
    assert_eq!(coder.decode_cell(0, 2, &all, &mut out[..size - 16]), Err(error));
}

#[test]
fn one_cell_alone() {
    let stored = store(8, scheme(4, 8), 262_080, 0, 0);
    let coder = stored.coder();
    for shard in 0..4 {
        let expected = stored.plain.chunks(65_520).nth(usize::from(shard)).unwrap();
        // Alone, though no other shard is there; or rebuilt from four others.
        for there in [[shard; 4], [4, 5, 6, 7], [(shard + 1) % 4, 5, 6, 7]] {
            let cells = stored.cells(0, |index| there.contains(&index));
            let mut out = vec![0; 65_520];
            coder.decode_cell(0, shard, &cells, &mut out).unwrap();
            assert!(out == expected, "cell {shard} from {there:?}");
        }
        let cells = stored.cells(0, |index| index > 4);
        let done = coder.decode_cell(0, shard, &cells, &mut [0; 65_520]);
        let missing = vec![0, 1, 2, 3, 4];
        assert_eq!(done, Err(ContentError::NotEnoughShards { required: 4, missing }));
    }
}

#[test]
fn a_whole_file_and_its_content_root() {
    let (scheme, length) = (scheme(3, 5), 1_000_000);
    let (key, plain) = (file_key(9), bytes(10, 1_000_000));
    let layout = Layout::new(scheme, length).unwrap();
    let segment = layout.segment(0).unwrap();
    let (mut builder, mut leaves, mut shards) = (Builder::new(), Vec::new(), vec![Vec::new(); 5]);
    let writer = coder(&key, segment);
    for stripe in 0..segment.stripes {
        let sizes = segment.stripe(stripe).unwrap();
        let start = plain.len().min(usize::try_from(sizes.plain_start).unwrap());
        let mut cells = vec![0; 5 * sizes.cell_bytes];
        let plain = &plain[start..start + sizes.plain_length];
        writer.encode(stripe, plain, &mut cells, &mut leaves).unwrap();
        for (shard, cell) in shards.iter_mut().zip(cells.chunks_exact(sizes.cell_bytes)) {
            shard.extend_from_slice(cell);
        }
    }
    builder.extend(leaves.iter().copied());
    assert_eq!(builder.count(), layout.cells());
    let manifest = Manifest::new(&key, MaskMode::ChaCha20, &layout, builder.finish());
    let reader = manifest.coder(&key, 0).unwrap();
    let (mut read, mut seen) = (Vec::new(), Vec::new());
    for stripe in 0..segment.stripes {
        let sizes = segment.stripe(stripe).unwrap();
        let at = usize::try_from(sizes.shard_offset).unwrap();
        let cells: Vec<Option<&[u8]>> = shards
            .iter()
            .enumerate()
            .map(|(index, shard)| (index >= 2).then(|| &shard[at..at + sizes.cell_bytes]))
            .collect();
        let mut out = vec![0; sizes.capacity()];
        reader.decode_with_leaves(stripe, &cells, &mut out, &mut seen).unwrap();
        read.extend_from_slice(&out[..sizes.plain_length]);
    }
    assert!(read == plain);
    assert_eq!(seen, leaves);
    let path = merkle::path(&leaves, 7);
    let (root, count) = (&manifest.content_root, layout.cells());
    assert_eq!(merkle::verify(root, 7, count, &leaves[7], &path), Ok(()));
    // 1,015,808 padded bytes: five full stripes and 33,008 bytes in three cells.
    assert_eq!(segment.shard_length, 5 * CELL_BYTES as u64 + 11 * 1024);
}

#[test]
fn coders_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<SegmentCoder>();
    shared::<Rebuilder>();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_file_from_any_enough_shards(
        seed: u64,
        which in 0_usize..5,
        length in 0_u64..200_000,
        order in Just((0_u8..20).collect::<Vec<u8>>()).prop_shuffle(),
        extra in 0_usize..3,
    ) {
        let (required, total) = [(1, 2), (2, 3), (3, 5), (4, 8), (8, 20)][which];
        let scheme = scheme(required, total);
        let stripes = Layout::new(scheme, length).unwrap().segment(0).unwrap().stripes;
        let stripe = u32::try_from(seed % u64::from(stripes)).unwrap();
        let stored = store(seed, scheme, length, 0, stripe);
        let enough: Vec<u8> = order
            .into_iter()
            .filter(|&index| index < total)
            .take(usize::from(required) + extra)
            .collect();
        stored.check(stripe, |index| enough.contains(&index));
        let few = &enough[..usize::from(required) - 1];
        let mut out = vec![0; stored.layout.stripe(stripe).unwrap().capacity()];
        let done = stored.coder().decode(
            stripe, &stored.cells(stripe, |index| few.contains(&index)), &mut out);
        let missing = (0..total).filter(|index| !few.contains(index)).collect();
        prop_assert_eq!(done, Err(ContentError::NotEnoughShards { required, missing }));
    }

    /// Whatever a peer sends, the answer is the file or an error.
    #[test]
    fn garbage_is_never_bytes(
        seed: u64, set in 0_u32..32, liar in 0_usize..5, garbage in any::<u64>(),
    ) {
        let stored = store(seed, scheme(3, 5), 5_000, 0, 0);
        let size = out_size(&stored, 0);
        let garbage = bytes(garbage, size);
        let mut cells = stored.cells(0, |index| set >> index & 1 == 1);
        cells[liar] = Some(&garbage);
        let capacity = stored.layout.stripe(0).unwrap().capacity();
        let mut out = vec![0; capacity];
        match stored.coder().decode(0, &cells, &mut out) {
            // Right only because the liar was not needed.
            Ok(()) => prop_assert!(out[..stored.plain.len()] == stored.plain[..] && liar >= 3),
            Err(_) => prop_assert!(out == vec![0; capacity]),
        }
    }
}

#[test]
fn masks_of_some_shards_rebuild_one_and_open_nothing() {
    let scheme = Scheme { required: 3, total: 6 };
    let stored = store(9, scheme, 500_000, 0, 0);
    let size = stored.layout.stripe(0).unwrap().cell_bytes;
    let mut keys = IndexKeys::default();
    for index in [1, 3, 4, 5] {
        keys.insert(index, Zeroizing::new(stored.key.shard_mask_key(0, index)));
    }
    // A caretaker learns the layout from the deal alone.
    let length = stored.layout.shard_length;
    let layout = SegmentLayout::from_shard(scheme, 0, length).unwrap();
    let caretaker = Rebuilder::with(Mask::of(keys), layout);
    let mut out = vec![0; size];
    let cells = stored.cells(0, |index| [1, 3, 4].contains(&index));
    caretaker.rebuild(0, &cells, 5, &mut out).unwrap();
    assert_eq!(out, stored.cells[5 * size..]);
    let wanted = caretaker.rebuild(0, &cells, 2, &mut out);
    assert_eq!(wanted, Err(ContentError::NoMask { shard: 2 }));
    // A cell whose mask is not known is of no use.
    let blind = stored.cells(0, |index| [0, 1, 3].contains(&index));
    let few = caretaker.rebuild(0, &blind, 5, &mut out);
    assert!(matches!(few, Err(ContentError::NotEnoughShards { .. })), "{few:?}");

    // What is under a mask is a sealed cell: neither a mask's key nor any of its bytes opens it.
    let mut cell = stored.cells[size..2 * size].to_vec();
    let mask = stored.key.shard_mask_key(0, 1);
    let mut one = IndexKeys::default();
    one.insert(1, Zeroizing::new(mask));
    Mask::of(one).shard(1).apply(0, &mut cell);
    let (body, tag) = cell.split_at(layout.stripe(0).unwrap().plain_bytes);
    assert!(!body.windows(32).any(|part| stored.plain[..4096].windows(32).any(|has| has == part)));
    let tag = tag.try_into().unwrap();
    for key in [mask, blake3::derive_key("symbolon 2026 content v1", &mask)] {
        assert!(seal::open_in_place(&key, None, &mut body.to_vec(), &tag).is_err());
    }
    let key = stored.key.cell_key(0, 1);
    assert!(
        seal::open_in_place(&key, None, &mut body.to_vec(), &tag).is_ok(),
        "but the reader's does"
    );
}
