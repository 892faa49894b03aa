//! Replays `spec/vectors/content`: what another implementation must agree with, and refuse.
//!
//! The files are written by this program when `SYMBOLON_REGENERATE=1` is set, which is how a change
//! of the format is approved; otherwise what it would write must be what is there.

#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]

use std::{fmt::Debug, fs, path::PathBuf};

use serde_json::{Value, json};
use symbolon_protocol::{
    Decode, Encode,
    content::{
        FileKey, Layout, Manifest, MaskMode, Scheme, SegmentCoder, SegmentLayout, erasure::Code,
        mask::Mask, seal,
    },
    id::{Hash, hex, unhex},
    merkle::{self, Builder},
};

#[path = "vectors_content/stored.rs"]
mod stored;

/// A vector: its name, why it is there, what goes in, and what comes out.
fn case(name: &str, why: &str, input: &Value, changes: Value, outcome: &str) -> Value {
    let mut case = input.clone();
    let own = json!({ "name": name, "why": why, "outcome": outcome });
    for source in [changes, own] {
        case.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    }
    case
}

/// Compares the file with what is generated, and every case's outcome with what it says.
fn replay(file: &str, generated: &[Value], outcome: impl Fn(&Value) -> String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/content").join(file);
    if std::env::var_os("SYMBOLON_REGENERATE").is_some_and(|value| value == "1") {
        let text = serde_json::to_string_pretty(&generated).unwrap();
        fs::write(&path, text + "\n").unwrap();
    }
    let cases: Vec<Value> = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert!(cases == generated, "{file} is not what this program writes: is the change meant?");
    for case in &cases {
        assert_eq!(outcome(case), case["outcome"], "{file}: {}: {}", case["name"], case["why"]);
    }
    let failing = cases.iter().filter(|case| case["outcome"] != "ok").count();
    assert!(2 * failing > cases.len(), "{file}: most vectors must fail");
}

/// `ok`, or the name of the error's innermost variant.
fn outcome_of<T, E: Debug>(result: Result<T, E>) -> String {
    let text = match result {
        Ok(_) => return "ok".into(),
        Err(error) => format!("{error:?}"),
    };
    let text = ["Layout(", "Scheme("].iter().fold(&text[..], |t, p| t.strip_prefix(p).unwrap_or(t));
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap().into()
}

fn same(equal: bool) -> String {
    if equal { "ok".into() } else { "mismatch".into() }
}

fn bytes(case: &Value, name: &str) -> Vec<u8> {
    unhex(case[name].as_str().unwrap()).unwrap()
}

fn array<const N: usize>(case: &Value, name: &str) -> [u8; N] {
    bytes(case, name).try_into().unwrap()
}

fn number<T: TryFrom<u64>>(case: &Value, name: &str) -> T {
    T::try_from(case[name].as_u64().unwrap()).ok().unwrap()
}

fn key(case: &Value) -> FileKey {
    FileKey::from_bytes(array(case, "file_key"))
}

/// The value's hexadecimal digits with the lowest bit of one byte flipped.
fn flip(case: &Value, name: &str, at: usize) -> Value {
    let mut out = bytes(case, name);
    out[at] ^= 1;
    hex(&out).into()
}

/// Bytes 0, 1, 2 and on, over and over.
fn counting(length: usize) -> Vec<u8> {
    (0..=255).cycle().take(length).collect()
}

const FILE_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[test]
fn keys() {
    let file_key = FileKey::from_bytes(unhex(FILE_KEY).unwrap().try_into().unwrap());
    let values = |key: &FileKey| {
        json!({
            "content_key": hex(key.content_key().as_bytes()),
            "mask_key": hex(key.mask_key().as_bytes()),
            "commitment": hex(&key.commitment().0),
            "object": hex(&key.object().0),
            "deal_opening": hex(&key.deal_opening(2).0),
            "cell_key": hex(&key.cell_key(2, 5)),
            "shard_mask_key": hex(&key.shard_mask_key(2, 7)),
        })
    };
    let good = case(
        "all keys",
        "of one file key; deal opening and mask of segment 2 and shard 7, cell 5",
        &json!({ "file_key": FILE_KEY }),
        values(&file_key),
        "ok",
    );
    let mut cases = vec![good.clone()];
    for name in values(&file_key).as_object().unwrap().keys() {
        let changes = json!({ name: flip(&good, name, 0) });
        cases.push(case(&format!("{name}, bent"), "one bit", &good, changes, "mismatch"));
    }
    let changes = json!({ "file_key": flip(&good, "file_key", 31) });
    cases.push(case("another file key", "nothing stays", &good, changes, "mismatch"));
    replay("keys.json", &cases, |case| {
        let found = values(&key(case));
        let all = found.as_object().unwrap().iter().all(|(name, value)| case[name] == *value);
        same(all)
    });
}

fn sizes(required: u8, total: u8, length: u64) -> Value {
    let layout = Layout::new(Scheme { required, total }, length).unwrap();
    let last = layout.segment(layout.segments() - 1).unwrap();
    json!({
        "padded_length": layout.padded_length(),
        "segments": layout.segments(),
        "cells": layout.cells(),
        "stored_bytes": layout.stored_bytes(),
        "last_stripes": last.stripes,
        "last_shard_length": last.shard_length,
        "last_cell_bytes": last.stripe(last.stripes - 1).unwrap().cell_bytes,
    })
}

/// What has no layout, and what has no shard.
fn no_layout() -> Vec<Value> {
    let mut cases = Vec::new();
    for (required, total, length, outcome) in [
        (0, 2, 5, "Required"),
        (3, 2, 5, "Required"),
        (0, 0, 5, "Required"),
        (4, 129, 5, "TooMany"),
        (255, 255, 5, "TooMany"),
        (1, 129, 5, "TooMany"),
        (4, 8, (1 << 56) + 1, "TooLong"),
        (4, 8, u64::MAX, "TooLong"),
    ] {
        let input = json!({ "required": required, "total": total, "length": length });
        let name = format!("{required}/{total} of {length}");
        cases.push(case(&name, "there is no such layout", &input, json!({}), outcome));
    }
    for (required, total, outcome) in [(0, 5, "Required"), (6, 5, "Required"), (1, 129, "TooMany")]
    {
        let input = json!({ "required": required, "total": total, "shard_length": 1024 });
        let name = format!("a shard of {required}/{total}");
        cases.push(case(&name, "there is no such scheme", &input, json!({}), outcome));
    }
    for (shard_length, outcome) in [
        (1024, "ok"),
        (1 << 26, "ok"),
        (0, "ShardLength"),
        (1023, "ShardLength"),
        (65_537, "ShardLength"),
        ((1 << 26) + 1024, "ShardLength"),
    ] {
        let input = json!({ "required": 4, "total": 8, "shard_length": shard_length });
        let name = format!("a shard of {shard_length}");
        cases.push(case(&name, "what a caretaker can tell", &input, json!({}), outcome));
    }
    cases
}

#[test]
fn layout() {
    let mut cases = Vec::new();
    let segment = |required: u64| required * 1024 * 65_520;
    for (required, total, length) in [
        (1, 1, 0),
        (1, 2, 976),
        (2, 3, 1009),
        (4, 8, 65_536),
        (4, 8, 262_080),
        (4, 8, 262_081),
        (16, 32, 1_000_000),
        (16, 32, segment(16)),
        (16, 32, segment(16) + 1),
        (32, 72, 1 << 40),
        (1, 1, 1 << 56),
        (1, 128, 1),
        (128, 128, 2),
        (1, 1, 3),
    ] {
        let input = json!({ "required": required, "total": total, "length": length });
        let good = case(
            &format!("{required}/{total} of {length}"),
            "sizes follow from the length",
            &input,
            sizes(required, total, length),
            "ok",
        );
        for (name, why) in [
            ("segments", "padding opens no segment"),
            ("last_cell_bytes", "whole leaves and the tag"),
        ] {
            let wrong = json!({ name: good[name].as_u64().unwrap() + 1 });
            let title = format!("{required}/{total} of {length}, {name} one more");
            cases.push(case(&title, why, &good, wrong, "mismatch"));
        }
        cases.push(good);
    }
    cases.extend(no_layout());
    replay("layout.json", &cases, |case| {
        let scheme = Scheme { required: number(case, "required"), total: number(case, "total") };
        if case.get("shard_length").is_some() {
            return outcome_of(SegmentLayout::from_shard(scheme, 0, number(case, "shard_length")));
        }
        let length = number(case, "length");
        let outcome = outcome_of(Layout::new(scheme, length));
        if outcome != "ok" {
            return outcome;
        }
        let found = sizes(scheme.required, scheme.total, length);
        same(found.as_object().unwrap().iter().all(|(name, value)| case[name] == *value))
    });
}

#[test]
fn cells() {
    let mut cases = Vec::new();
    for (name, segment, cell, end, length) in [
        ("an empty cell", 0_u32, 0_u64, None, 0),
        ("a cell", 3, 70_000, None, 100),
        ("a file's last cell", 0, 4, Some(1234_u64), 64),
    ] {
        let file_key = FileKey::from_bytes(unhex(FILE_KEY).unwrap().try_into().unwrap());
        let mut sealed = counting(length);
        let tag = seal::seal(&file_key.cell_key(segment, cell), end, &mut sealed);
        sealed.extend_from_slice(&tag);
        let input = json!({
            "file_key": FILE_KEY, "segment": segment, "cell": cell, "end": end,
            "plain": hex(&counting(length)), "sealed": hex(&sealed),
        });
        let good = case(name, "opens", &input, json!({}), "ok");
        let mut add = |what: &str, changes: Value, outcome: &str| {
            cases.push(case(&format!("{name}, {what}"), "must not open", &good, changes, outcome));
        };
        add("file key bent", json!({ "file_key": flip(&good, "file_key", 0) }), "Forged");
        add("as the next cell", json!({ "cell": cell + 1 }), "Forged");
        add("as of the next segment", json!({ "segment": segment + 1 }), "Forged");
        add("another length", json!({ "end": end.unwrap_or(0) + 1 }), "Forged");
        add("first byte bent", json!({ "sealed": flip(&good, "sealed", 0) }), "Forged");
        add("tag bent", json!({ "sealed": flip(&good, "sealed", length + 15) }), "Forged");
        add("cut", json!({ "sealed": hex(&sealed[1..]) }), "Length");
        if length > 0 {
            let (sealed, plain) = (hex(&sealed[1..]), hex(&counting(length - 1)));
            add("cut on both sides", json!({ "sealed": sealed, "plain": plain }), "Forged");
        }
        if end.is_some() {
            add("as one that is not the last", json!({ "end": null }), "Forged");
        }
        cases.push(good);
    }
    replay("cells.json", &cases, |case| {
        let cell_key = key(case).cell_key(number(case, "segment"), number(case, "cell"));
        let expected = bytes(case, "plain");
        let mut plain = vec![0; expected.len()];
        let end = case["end"].as_u64();
        let done = seal::open(&cell_key, end, &bytes(case, "sealed"), &mut plain);
        assert!(done.is_err() || plain == expected, "a cell that opens is the right one");
        outcome_of(done)
    });
}

#[test]
fn parity() {
    let cell_bytes = 16;
    let parity = |required: u8, total: u8, data: &[u8]| {
        let code = Code::new(Scheme { required, total }).unwrap();
        let mut cells = data.to_vec();
        cells.resize(usize::from(total) * cell_bytes, 0);
        code.encode(&mut cells, cell_bytes);
        cells.split_off(data.len())
    };
    let mut cases = Vec::new();
    for (required, total) in [(1, 2), (2, 3), (3, 5), (4, 8), (8, 20), (16, 32), (32, 72)] {
        let data = counting(usize::from(required) * cell_bytes);
        let input = json!({
            "required": required, "total": total, "data": hex(&data),
            "parity": hex(&parity(required, total, &data)),
        });
        let name = format!("{required}/{total}");
        let good = case(&name, "parity cells of 16 bytes, in shard order", &input, json!({}), "ok");
        let wrong = json!({ "parity": flip(&good, "parity", 0) });
        let bent = json!({ "data": flip(&good, "data", data.len() - 1) });
        cases.push(case(&format!("{name}, parity bent"), "one bit", &good, wrong, "mismatch"));
        cases.push(case(&format!("{name}, data bent"), "one bit", &good, bent, "mismatch"));
        cases.push(good);
    }
    replay("parity.json", &cases, |case| {
        let (required, total) = (number(case, "required"), number(case, "total"));
        same(parity(required, total, &bytes(case, "data")) == bytes(case, "parity"))
    });
}

#[test]
fn mask() {
    let stream = |case: &Value| {
        let mode = MaskMode::from_bytes(&[number(case, "mode")]).unwrap();
        let segment = number(case, "segment");
        let mask = Mask::new(mode, &key(case).mask_key(), segment);
        let mut stream = vec![0; 32];
        mask.shard(number(case, "shard")).apply(number(case, "offset"), &mut stream);
        stream
    };
    let mut cases = Vec::new();
    for (shard, offset) in [(0, 0), (31, 65_536), (7, 65_520), (1, (1_u64 << 26) - 32)] {
        let input = json!({
            "file_key": FILE_KEY, "mode": 1, "segment": 2,
            "shard": shard, "offset": offset,
        });
        let name = format!("shard {shard} at {offset}");
        let changes = json!({ "stream": hex(&stream(&input)) });
        let good = case(&name, "32 bytes of the mask", &input, changes, "ok");
        for (what, changes) in [
            ("another shard", json!({ "shard": shard + 1 })),
            ("another segment", json!({ "segment": 3 })),
            ("another key", json!({ "file_key": flip(&good, "file_key", 0) })),
            ("another place", json!({ "offset": offset ^ 64 })),
            ("not masked", json!({ "mode": 0 })),
        ] {
            cases.push(case(&format!("{name}, {what}"), "other bytes", &good, changes, "mismatch"));
        }
        cases.push(good);
    }
    replay("mask.json", &cases, |case| same(stream(case) == bytes(case, "stream")));
}

#[test]
fn roots() {
    let mut cases = Vec::new();
    for (count, index) in [(1_u64, 0_u64), (2, 1), (3, 2), (5, 3), (8, 0), (1000, 999)] {
        let leaves: Vec<Hash> = (0..count)
            .map(|cell| seal::LeafParts::new(&[7; 32], &cell.to_le_bytes(), b"plain").leaf(cell))
            .collect();
        let mut builder = Builder::new();
        builder.extend(leaves.iter().copied());
        let at = usize::try_from(index).unwrap();
        let path: Vec<u8> = merkle::path(&leaves, index).iter().flat_map(|hash| hash.0).collect();
        let input = json!({
            "count": count, "index": index, "cell_key": hex(&[7; 32]),
            "sealed": hex(&index.to_le_bytes()), "plain": hex(b"plain"),
            "leaf": hex(&leaves[at].0), "path": hex(&path), "root": hex(&builder.finish().0),
        });
        let name = format!("leaf {index} of {count}");
        let good = case(&name, "proven", &input, json!({}), "ok");
        let mut add = |what: &str, changes: Value, outcome: &str| {
            cases.push(case(&format!("{name}, {what}"), "not proven", &good, changes, outcome));
        };
        add("root bent", json!({ "root": flip(&good, "root", 31) }), "Root");
        add("leaf bent", json!({ "leaf": flip(&good, "leaf", 0) }), "Root");
        add("past the end", json!({ "index": count }), "Index");
        add("a longer path", json!({ "path": hex(&[&path[..], &[0; 32]].concat()) }), "PathLength");
        if !path.is_empty() {
            add("a shorter path", json!({ "path": hex(&path[32..]) }), "PathLength");
            add("path bent", json!({ "path": flip(&good, "path", path.len() - 1) }), "Root");
        }
        if count == 1000 {
            add("of a tree with a leaf more", json!({ "count": 1001 }), "PathLength");
            add("of a tree with a leaf less", json!({ "count": 999 }), "Index");
        }
        if count == 8 {
            add("of another leaf", json!({ "index": 1 }), "Root");
            add("of a tree with a leaf less", json!({ "count": 7 }), "Root");
        }
        add("another key", json!({ "cell_key": hex(&[8; 32]) }), "mismatch");
        cases.push(good);
    }
    replay("roots.json", &cases, |case| {
        let path: Vec<Hash> = bytes(case, "path")
            .chunks_exact(32)
            .map(|hash| Hash(hash.try_into().unwrap()))
            .collect();
        let (root, leaf) = (Hash(array(case, "root")), Hash(array(case, "leaf")));
        let (index, count) = (number(case, "index"), number(case, "count"));
        let outcome = outcome_of(merkle::verify(&root, index, count, &leaf, &path));
        let parts = seal::LeafParts::new(
            &array(case, "cell_key"),
            &bytes(case, "sealed"),
            &bytes(case, "plain"),
        );
        if outcome == "ok" { same(parts.leaf(index) == leaf) } else { outcome }
    });
}

/// A small file as it is stored: everything a reader is given.
fn stored(required: u8, total: u8, length: usize) -> Value {
    let file_key = FileKey::from_bytes(unhex(FILE_KEY).unwrap().try_into().unwrap());
    let layout = Layout::new(Scheme { required, total }, length as u64).unwrap();
    let segment = layout.segment(0).unwrap();
    let coder = SegmentCoder::new(&file_key, MaskMode::ChaCha20, segment);
    let size = segment.stripe(0).unwrap().cell_bytes;
    let mut cells = vec![0; usize::from(total) * size];
    let mut leaves = Vec::new();
    coder.encode(0, &counting(length), &mut cells, &mut leaves).unwrap();
    let mut builder = Builder::new();
    builder.extend(leaves);
    let manifest = Manifest::new(&file_key, MaskMode::ChaCha20, &layout, builder.finish());
    let shards: Vec<String> = cells.chunks_exact(size).map(hex).collect();
    json!({
        "file_key": FILE_KEY, "manifest": hex(&manifest.to_bytes()), "shards": shards,
        "file": hex(&counting(length)),
    })
}

/// A file of one stripe, from whatever shards are there, to its bytes or the first error.
fn read(case: &Value) -> String {
    let manifest = match Manifest::from_bytes(&bytes(case, "manifest")) {
        Ok(manifest) => manifest,
        Err(error) => return outcome_of::<(), _>(Err(error)),
    };
    let coder = match manifest.coder(&key(case), 0) {
        Ok(coder) => coder,
        Err(error) => return outcome_of::<(), _>(Err(error)),
    };
    let shards: Vec<Option<Vec<u8>>> = case["shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|shard| shard.as_str().map(|text| unhex(text).unwrap()))
        .collect();
    let cells: Vec<Option<&[u8]>> = shards.iter().map(Option::as_deref).collect();
    let stripe = coder.layout().stripe(0).unwrap();
    let (mut out, mut builder, mut leaves) = (vec![0; stripe.capacity()], Builder::new(), vec![]);
    let done = coder.decode_with_leaves(0, &cells, &mut out, &mut leaves);
    if done.is_err() {
        assert!(out.iter().all(|&byte| byte == 0), "an error leaves nothing");
        return outcome_of(done);
    }
    builder.extend(leaves);
    assert!(out[..stripe.plain_length] == bytes(case, "file"), "never wrong bytes");
    same(builder.finish() == manifest.content_root)
}

#[test]
fn files() {
    let mut cases = Vec::new();
    for (required, total, length) in [(1, 1, 0), (2, 3, 1500)] {
        let name = format!("{required}/{total} of {length} bytes");
        let good = case(
            &name,
            "the file, from all shards",
            &stored(required, total, length),
            json!({}),
            "ok",
        );
        let shards = good["shards"].as_array().unwrap().clone();
        let mut add = |what: &str, why: &str, changes: Value, outcome: &str| {
            cases.push(case(&format!("{name}, {what}"), why, &good, changes, outcome));
        };
        let without = |gone: &[usize]| {
            let mut shards = shards.clone();
            for &index in gone {
                shards[index] = Value::Null;
            }
            json!(shards)
        };
        let manifest = |at: usize| json!({ "manifest": flip(&good, "manifest", at) });
        add("wrong key", "checked first", json!({ "file_key": flip(&good, "file_key", 0) }), "Key");
        add("commitment bent", "of another key", manifest(29), "Key");
        add("object bent", "of another file", manifest(5), "Key");
        add("version bent", "unknown", manifest(0), "Tag");
        add("codec bent", "unknown", manifest(1), "Tag");
        add("mask mode bent", "the other mode", manifest(2), "CellForged");
        add("length bent", "the last cell says another", manifest(21), "CellForged");
        add("root bent", "the leaves say another", manifest(92), "mismatch");
        let mut lie = shards.clone();
        lie[0] = flip(&json!({ "shard": shards[0] }), "shard", 500);
        add("a lie", "one bit of shard 0", json!({ "shards": lie.clone() }), "CellForged");
        if total > required {
            add("first shard gone", "rebuilt", json!({ "shards": without(&[0]) }), "ok");
            let mut shards = without(&[0]);
            let last = usize::from(total) - 1;
            shards[last] = flip(&json!({ "shard": shards[last] }), "shard", 0);
            add(
                "first gone and the last lies",
                "rebuilt from a lie",
                json!({ "shards": shards }),
                "RebuiltForged",
            );
            let mut swapped = lie;
            swapped[0] = swapped[last].clone();
            add(
                "the last shard in the first's place",
                "each has a mask of its own",
                json!({ "shards": swapped }),
                "CellForged",
            );
        }
        let gone: Vec<usize> = (0..=usize::from(total - required)).collect();
        add(
            "too many gone",
            "the error names them",
            json!({ "shards": without(&gone) }),
            "NotEnoughShards",
        );
        let cut = shards[0].as_str().unwrap();
        let mut short = shards.clone();
        short[0] = cut[2..].into();
        add("a shard too short", "by a byte", json!({ "shards": short }), "ShardLength");
        cases.push(good);
    }
    replay("files.json", &cases, read);
}
