//! Proofs beside `blake3::hash` and `bao-tree`, and what must not pass.

use std::{vec, vec::Vec};

use bao_tree::{
    BaoTree, BlockSize,
    io::{outboard::PreOrderMemOutboard, sync::Outboard as _},
};
use proptest::prelude::*;

use super::*;
use crate::{
    id::{ChainId, NodeId},
    limits::{CELL_BYTES, SLICE_BYTES},
};

const GROUP: usize = GROUP_BYTES;
/// Lengths around everything that can go wrong: one byte, leaves, groups, cells, slices, odd counts.
const LENGTHS: [usize; 26] = [
    1,
    63,
    1023,
    1024,
    1025,
    2048,
    3 * 1024,
    5 * 1024 + 7,
    GROUP - 1024,
    GROUP - 1,
    GROUP,
    GROUP + 1,
    GROUP + 1024,
    2 * GROUP,
    2 * GROUP + 1,
    3 * GROUP,
    3 * GROUP + 5 * 1024,
    CELL_BYTES,
    CELL_BYTES + 1024,
    5 * CELL_BYTES,
    7 * GROUP + 3,
    16 * CELL_BYTES - 1024,
    SLICE_BYTES,
    SLICE_BYTES + 1024,
    2 * SLICE_BYTES + 37 * 1024,
    3 * SLICE_BYTES,
];

fn bytes(length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new_derive_key("symbolon 2026 test bytes v1").finalize_xof().fill(&mut out);
    out
}

fn hashed(bytes: &[u8], piece: usize) -> (Hash, Outboard) {
    let mut hasher = ShardHasher::new();
    bytes.chunks(piece.max(1)).for_each(|piece| hasher.update(piece));
    assert_eq!(hasher.length(), bytes.len() as u64);
    hasher.finish()
}

fn opened(bytes: &[u8], outboard: &Outboard, leaf: u64) -> LeafProof {
    let length = bytes.len() as u64;
    let range = group_range(length, leaf).unwrap();
    let group = &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()];
    leaf_proof(outboard, length, leaf, group).unwrap()
}

/// The siblings of the part in which leaf `leaf` lies, upward, as `bao-tree` has them.
fn bao_path(bytes: &[u8], chunk_log: u8, leaf: u64) -> Vec<Hash> {
    let outboard = PreOrderMemOutboard::create(bytes, BlockSize::from_chunk_log(chunk_log));
    let tree: BaoTree = outboard.tree();
    let mut path = Vec::new();
    for node in tree.pre_order_nodes_iter() {
        let range = node.chunk_range();
        if let (true, Some((left, right))) =
            ((range.start.0..range.end.0).contains(&leaf), outboard.load(node).unwrap())
        {
            let middle = (range.start.0 + range.end.0) / 2;
            path.push(if leaf < middle { right } else { left });
        }
    }
    path.reverse();
    path.into_iter().map(|hash| Hash(*hash.as_bytes())).collect()
}

fn every_part_agrees_with_bao(bytes: &[u8], step: usize) {
    let length = bytes.len() as u64;
    let (root, outboard) = hashed(bytes, GROUP);
    assert_eq!(root.0, *blake3::hash(bytes).as_bytes());
    assert_eq!(Outboard::byte_length(length), outboard.to_bytes().len() as u64);
    assert_eq!(Outboard::from_bytes(length, &outboard.to_bytes()), Ok(outboard.clone()));
    let bao = PreOrderMemOutboard::create(bytes, BlockSize::ZERO);
    assert_eq!(root.0, *bao.root().as_bytes());

    let last = leaf_count(length) - 1;
    for leaf in (0..last).step_by(step).chain([last]) {
        let proof = opened(bytes, &outboard, leaf);
        assert_eq!(proof.path, bao_path(bytes, 0, leaf), "leaf {leaf} of {length} bytes");
        assert_eq!(verify_leaf(&root, length, leaf, &proof), Ok(()), "leaf {leaf}");
    }
    for (log, unit_bytes) in [(4, GROUP), (6, CELL_BYTES), (10, SLICE_BYTES)] {
        for (unit, part) in (0..).zip(bytes.chunks(unit_bytes)) {
            let path = unit_path(&outboard, length, unit_bytes as u64, unit).unwrap();
            assert_eq!(path, bao_path(bytes, log, unit << log));
            let verified = verify_unit(&root, length, unit_bytes as u64, unit, part, &path);
            assert_eq!(verified, Ok(()), "part {unit} of {unit_bytes} in {length} bytes");
        }
    }
}

#[test]
fn all_parts_at_all_edges_agree_with_bao() {
    for length in LENGTHS {
        every_part_agrees_with_bao(&bytes(length), (length / 1024 / 20).max(1));
    }
}

#[test]
fn nothing_and_what_is_beyond_the_end_is_refused() {
    let proof = LeafProof { leaf: Vec::new(), path: Vec::new() };
    let root = Hash(*blake3::hash(b"").as_bytes());
    assert_eq!(ShardHasher::new().finish(), (root, Outboard::default()));
    assert_eq!(verify_leaf(&root, 0, 0, &proof), Err(ProofError::Empty));
    assert_eq!(slice_path(&Outboard::default(), 0, 0), Err(ProofError::Empty));
    assert_eq!(leaf_count(0), 0);
    let beyond = ProofError::NoSuchUnit { unit: 2, count: 2 };
    assert_eq!(verify_leaf(&root, 2048, 2, &proof), Err(beyond));
    assert_eq!(group_range(2048, 2), Err(beyond));
    // The largest length there is: no overflow on the way to the refusal.
    let far = verify_leaf(&root, u64::MAX, leaf_count(u64::MAX) - 1, &proof);
    assert_eq!(far, Err(ProofError::UnitLength { expected: 1023, found: 0 }));
    for unit_bytes in [0, 1, 512, 1000, 3 * 1024] {
        let refused = verify_unit(&root, 2048, unit_bytes, 0, &[], &[]);
        assert_eq!(refused, Err(ProofError::UnitSize { unit_bytes }));
    }
    let small = ProofError::UnitSize { unit_bytes: 8192 };
    assert_eq!(unit_path(&Outboard::default(), 2048, 8192, 0), Err(small));
}

#[test]
fn an_outboard_of_another_length_is_refused() {
    let bytes = bytes(5 * GROUP);
    let (_, outboard) = hashed(&bytes, GROUP);
    let refused = slice_path(&outboard, 9 * GROUP as u64, 0);
    assert_eq!(refused, Err(ProofError::Outboard { expected: 9 + 5 + 3 + 2, found: 5 + 3 + 2 }));
    let raw = outboard.to_bytes();
    assert!(Outboard::from_bytes(5 * GROUP as u64, &raw[1..]).is_err());
    assert!(Outboard::from_bytes(5 * GROUP as u64, &[&raw[..], &[0]].concat()).is_err());
    assert!(Outboard::from_bytes(4 * GROUP as u64, &raw).is_err());
    let short = leaf_proof(&outboard, 5 * GROUP as u64, 0, &bytes[..GROUP - 1]);
    let (expected, found) = (GROUP as u64, GROUP as u64 - 1);
    assert_eq!(short, Err(ProofError::UnitLength { expected, found }));
}

#[test]
fn the_last_leaf_binds_the_length() {
    for length in LENGTHS {
        let bytes = bytes(length);
        let (root, outboard) = hashed(&bytes, GROUP);
        let length = length as u64;
        let last = leaf_count(length) - 1;
        let proof = opened(&bytes, &outboard, last);
        assert_eq!(verify_leaf(&root, length, last, &proof), Ok(()));
        for wrong in (1..5000).chain([length - 1, length + 1, 2 * length, length + 1024]) {
            if wrong != length {
                let leaf = leaf_count(wrong).saturating_sub(1);
                assert!(verify_leaf(&root, wrong, leaf, &proof).is_err(), "{wrong} for {length}");
                assert!(verify_leaf(&root, wrong, last, &proof).is_err(), "{wrong} for {length}");
            }
        }
    }
}

#[test]
fn an_inner_node_is_no_root_and_no_leaf() {
    // Two leaves; their parent's chaining value is not the root, and 64 bytes of children are not a leaf.
    let bytes = bytes(4096);
    let (root, outboard) = hashed(&bytes, GROUP);
    let proof = opened(&bytes, &outboard, 0);
    let half = opened(&bytes, &outboard, 2).path[1];
    let inner = LeafProof { leaf: proof.leaf.clone(), path: vec![proof.path[0]] };
    assert_eq!(verify_leaf(&half, 2048, 0, &inner), Err(ProofError::WrongRoot));
    let children: Vec<u8> = proof.path.iter().rev().flat_map(|hash| hash.0).collect();
    let forged = LeafProof { leaf: children, path: Vec::new() };
    assert_eq!(verify_leaf(&root, 64, 0, &forged), Err(ProofError::WrongRoot));
}

fn lengths_of(table: &[u64]) -> impl Fn(u32) -> u64 {
    |slot| table[slot as usize]
}

#[test]
fn challenges_follow_the_bytes() {
    let seed = Hash([3; 32]);
    let table: Vec<u64> =
        (0..1000).map(|slot| if slot % 10 == 0 { 64 << 20 } else { 1024 }).collect();
    let sum = table.iter().sum::<u64>();
    assert_eq!(challenges(&seed, 0, 0, 0, |_| unreachable!()), []);
    let picks = |seed: u64, bytes| {
        let seed = Hash(blake3::derive_key("symbolon 2026 test seed v1", &seed.to_le_bytes()));
        challenges(&seed, 1000, 64 << 20, bytes, lengths_of(&table))
    };
    assert_eq!(picks(1, sum).len(), 10);
    assert_eq!(picks(1, 64 << 30).len(), 20);
    assert_eq!(picks(1, 1 << 40).len(), 40);
    assert_eq!(picks(1, 1 << 40), picks(1, 1 << 40));
    assert_ne!(picks(1, 1 << 40), picks(2, 1 << 40));

    let many: Vec<_> = (0..200).flat_map(|seed| picks(seed, 1 << 40)).collect();
    assert!(many.iter().all(|pick| pick.leaf < leaf_count(table[pick.slot as usize])));
    let is_large = |pick: &&Challenge| table[pick.slot as usize] > 1024;
    let weighted = (0..200).flat_map(|seed| picks(seed, 1 << 40).into_iter().take(32));
    let large = weighted.collect::<Vec<_>>().iter().filter(is_large).count();
    assert!(large > 6390, "99.98 % of the bytes, so all but one or two of 6400: {large}");
    let uniform = (0..200).flat_map(|seed| picks(seed, 1 << 40).into_iter().skip(32));
    let large = uniform.collect::<Vec<_>>().iter().filter(is_large).count();
    assert!((100..230).contains(&large), "a tenth of the shards, so 160 of 1600: {large}");
}

#[test]
fn the_last_resort_is_the_longest_tried() {
    // No shard is anywhere near `longest`, so every try is refused.
    let mut tried = Vec::new();
    let picks = challenges(&Hash([1; 32]), 100_000, u64::MAX, 0, |slot| {
        tried.push(slot);
        u64::from(slot) + 1024
    });
    assert_eq!(tried.len(), 8 * TRIES_MAX as usize + 2);
    for (pick, tried) in picks.iter().zip(tried.chunks(TRIES_MAX as usize)).take(8) {
        assert_eq!(Some(&pick.slot), tried.iter().max());
    }
}

#[test]
fn everything_in_the_seed_counts() {
    let seed = |chain, epoch, beacon, node, table| {
        let (chain, node) = (ChainId([chain; 32]), NodeId::from(crate::id::PeerId([node; 32])));
        challenge_seed(&chain, epoch, &Hash([beacon; 32]), &node, &Hash([table; 32]))
    };
    let all = [
        seed(0, 0, 0, 0, 0),
        seed(1, 0, 0, 0, 0),
        seed(0, 1, 0, 0, 0),
        seed(0, 0, 1, 0, 0),
        seed(0, 0, 0, 1, 0),
        seed(0, 0, 0, 0, 1),
    ];
    let different: std::collections::BTreeSet<_> = all.into_iter().collect();
    assert_eq!(different.len(), all.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_length_agrees_with_bao(length in 1_usize..400_000) {
        every_part_agrees_with_bao(&bytes(length), (length / 1024 / 6).max(1));
    }

    #[test]
    fn pieces_do_not_matter(length in 0_usize..200_000, piece in 1_usize..50_000) {
        let bytes = bytes(length);
        prop_assert_eq!(hashed(&bytes, piece), hashed(&bytes, length));
        prop_assert_eq!(hashed(&bytes, piece).0.0, *blake3::hash(&bytes).as_bytes());
    }

    #[test]
    fn a_bent_proof_never_passes(length in 1_usize..100_000, at in any::<prop::sample::Index>(), what in 0..4) {
        let bytes = bytes(length);
        let (root, outboard) = hashed(&bytes, GROUP);
        let length = length as u64;
        let leaf = at.index(usize::try_from(leaf_count(length)).unwrap()) as u64;
        let mut proof = opened(&bytes, &outboard, leaf);
        match what {
            0 => { let at = at.index(proof.leaf.len()); proof.leaf[at] ^= 1; }
            1 => proof.path.push(root),
            2 if !proof.path.is_empty() => { let at = at.index(proof.path.len()); proof.path[at].0[7] ^= 1; }
            2 => { proof.leaf.pop(); }
            _ if proof.path.is_empty() => proof.leaf.push(0),
            _ => { proof.path.pop(); }
        }
        prop_assert!(verify_leaf(&root, length, leaf, &proof).is_err());
        let good = opened(&bytes, &outboard, leaf);
        for other in [leaf.wrapping_sub(1), leaf + 1, leaf ^ 2] {
            prop_assert!(verify_leaf(&root, length, other, &good).is_err());
        }
    }

    #[test]
    fn a_choice_is_below_its_bound(seed in any::<[u8; 32]>(), slots in 1..u32::MAX, longest in any::<u64>()) {
        for pick in challenges(&Hash(seed), slots, longest, 1 << 40, |slot| u64::from(slot) << 20) {
            prop_assert!(pick.slot < slots);
            prop_assert!(pick.leaf < leaf_count(u64::from(pick.slot) << 20).max(1));
        }
    }
}
