//! Cells that open, cells that do not, and the primitives against their standards.

use std::{vec, vec::Vec};

use serde_json::Value;

use super::*;
use crate::id::unhex;

const KEY: [u8; 32] = [0x42; 32];

fn sealed(end: Option<u64>, length: usize) -> Vec<u8> {
    let mut cell: Vec<u8> = (0..=250).cycle().take(length).collect();
    let tag = seal(&KEY, end, &mut cell);
    cell.extend_from_slice(&tag);
    cell
}

#[test]
fn a_cell_opens_as_it_was() {
    for length in [0, 1, 15, 16, 17, 1008, 65_520] {
        for end in [None, Some(0), Some(1 << 40)] {
            let cell = sealed(end, length);
            let mut plain = vec![0; length];
            assert_eq!(open(&KEY, end, &cell, &mut plain), Ok(()));
            assert!(plain.iter().copied().eq((0..=250).cycle().take(length)));
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_an_error() {
    let cell = sealed(Some(48), 48);
    for bit in 0..cell.len() * 8 {
        let mut cell = cell.clone();
        cell[bit / 8] ^= 1 << (bit % 8);
        let mut plain = vec![0xee; 48];
        assert_eq!(open(&KEY, Some(48), &cell, &mut plain), Err(SealError::Forged));
        assert_eq!(plain, vec![0xee; 48], "nothing is written");
    }
    for bit in 0..256 {
        let mut key = KEY;
        key[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(open(&key, Some(48), &cell, &mut [0; 48]), Err(SealError::Forged));
    }
    for bit in 0..64 {
        let end = Some(48 ^ 1 << bit);
        assert_eq!(open(&KEY, end, &cell, &mut [0; 48]), Err(SealError::Forged));
    }
    assert_eq!(open(&KEY, None, &cell, &mut [0; 48]), Err(SealError::Forged));
}

#[test]
fn sizes_that_do_not_fit() {
    let cell = sealed(None, 48);
    for (cell, room) in [(&cell[..], 47), (&cell[..], 49), (&cell[..15], 0), (&[], 0)] {
        let error = SealError::Length { sealed: cell.len(), plain: room };
        assert_eq!(open(&KEY, None, cell, &mut vec![0; room]), Err(error));
    }
    assert_eq!(open(&KEY, None, &cell[..63], &mut [0; 47]), Err(SealError::Forged));
}

#[test]
fn a_leaf_says_all_of_its_cell() {
    let parts = LeafParts::new(&KEY, b"sealed", b"plain");
    let leaf = parts.leaf(7);
    assert_ne!(leaf, parts.leaf(8));
    assert_ne!(leaf, LeafParts::new(&[0; 32], b"sealed", b"plain").leaf(7));
    assert_ne!(leaf, LeafParts::new(&KEY, b"scaled", b"plain").leaf(7));
    assert_ne!(leaf, LeafParts::new(&KEY, b"sealed", b"plane").leaf(7));
    assert_ne!(leaf, LeafParts { sealed: parts.plain, plain: parts.sealed, ..parts }.leaf(7));
    // Who does not know the cell's key cannot try out what the cell says.
    let guessed = LeafParts::new(&[0; 32], b"sealed", b"plain");
    assert_ne!(guessed.plain, parts.plain);
    let unkeyed = blake3::derive_key("symbolon 2026 plain cell v1", b"plain");
    assert!(![unkeyed, *blake3::hash(b"plain").as_bytes()].contains(&parts.plain.0));
    // The same bytes are another hash in another place.
    let same = LeafParts::new(&KEY, &KEY, &KEY);
    assert!(same.key != same.sealed && same.sealed != same.plain && same.key != same.plain);
    assert_eq!(sealed_hash(&[b"sea", b"led"]), parts.sealed);
}

/// RFC 8439 and the BLAKE3 authors' vectors: the primitives below all of this are what they say.
#[test]
fn third_party_vectors() {
    let text = include_str!("../../../../spec/vectors/content/primitives.json");
    let cases: Vec<Value> = serde_json::from_str(text).unwrap();
    let mut counts = [0; 2];
    for case in &cases {
        let text = |name: &str| case[name].as_str().unwrap();
        let field = |name: &str| unhex(text(name)).unwrap();
        let key = || <[u8; 32]>::try_from(field("key")).unwrap();
        let outcome = match text("primitive") {
            "chacha20-poly1305" => {
                counts[0] += 1;
                let nonce = field("nonce").try_into().unwrap();
                let mut bytes = field("sealed");
                let tag = field("tag").try_into().unwrap();
                let data = field("data");
                match open_with(&key(), &nonce, &data, bytes.as_mut_slice().into(), &tag) {
                    Err(error) => std::format!("{error:?}"),
                    Ok(()) => {
                        assert_eq!(bytes, field("plain"));
                        assert_eq!(seal_with(&key(), &nonce, &data, &mut bytes), tag);
                        assert_eq!(bytes, field("sealed"));
                        "ok".into()
                    }
                }
            }
            "blake3 keyed_hash" | "blake3 derive_key" => {
                counts[1] += 1;
                let found = match text("primitive") {
                    "blake3 keyed_hash" => *blake3::keyed_hash(&key(), &field("input")).as_bytes(),
                    _ => blake3::derive_key(text("context"), &field("input")),
                };
                if found[..] == field("hash") { "ok".into() } else { "mismatch".into() }
            }
            _ => continue,
        };
        assert_eq!(outcome, text("outcome"), "{}", text("name"));
    }
    assert!(counts[0] >= 6 && counts[1] >= 6, "{counts:?}");
}
