//! Vectors of files of several stripes and segments, of the schemes, and of previews.

use serde_json::{Value, json};
use symbolon_protocol::{
    Decode, Encode,
    content::{FileKey, Layout, Manifest, MaskMode, Scheme, SegmentCoder},
    id::{Hash, ListingId, hex},
    merkle::Builder,
    preview::{Preview, PreviewCell, PreviewError, cell_range, fresh_seed, open_fresh, picks},
};

use crate::{FILE_KEY, array, bytes, case, counting, flip, key, number, outcome_of, replay, same};

/// A file as it is stored: the shards of each segment, and the leaves of its cells.
struct Stored {
    layout: Layout,
    manifest: Manifest,
    segments: Vec<Vec<Vec<u8>>>,
    leaves: Vec<Hash>,
}

fn store(key: &FileKey, mask: MaskMode, scheme: Scheme, file: &[u8]) -> Stored {
    let layout = Layout::new(scheme, file.len() as u64).unwrap();
    let (mut leaves, mut segments) = (Vec::new(), Vec::new());
    for segment in layout.iter() {
        let coder = SegmentCoder::new(key, mask, segment);
        let mut shards = vec![Vec::new(); usize::from(scheme.total)];
        for number in 0..segment.stripes {
            let stripe = segment.stripe(number).unwrap();
            let from = usize::try_from(stripe.plain_start).unwrap().min(file.len());
            let plain = &file[from..from + stripe.plain_length];
            let mut cells = vec![0; usize::from(scheme.total) * stripe.cell_bytes];
            coder.encode(number, plain, &mut cells, &mut leaves).unwrap();
            for (shard, cell) in shards.iter_mut().zip(cells.chunks_exact(stripe.cell_bytes)) {
                shard.extend_from_slice(cell);
            }
        }
        segments.push(shards);
    }
    let mut builder = Builder::new();
    builder.extend(leaves.iter().copied());
    let manifest = Manifest::new(key, mask, &layout, builder.finish());
    Stored { layout, manifest, segments, leaves }
}

fn described(case: &Value) -> Value {
    let mode = MaskMode::from_bytes(&[number(case, "mode")]).unwrap();
    let scheme = Scheme { required: number(case, "required"), total: number(case, "total") };
    let stored = store(&key(case), mode, scheme, &counting(number(case, "length")));
    let root = |shard: &Vec<u8>| hex(blake3::hash(shard).as_bytes());
    let segment = |shards: &Vec<Vec<u8>>| shards.iter().map(root).collect::<Vec<_>>();
    json!({
        "manifest": hex(&stored.manifest.to_bytes()),
        "segments": stored.segments.iter().map(segment).collect::<Vec<_>>(),
    })
}

#[test]
fn whole_files() {
    let mut cases = Vec::new();
    let segment = 1024 * 65_520;
    for (required, total, mode, length, lost, why) in [
        (1_u8, 1_u8, 0, 0, json!([[]]), "no byte, one cell"),
        (1, 2, 1, 70_000, json!([[0]]), "two stripes, the last of small cells"),
        (2, 3, 0, 131_041, json!([[0], [1]]), "no mask, and a byte in the second stripe"),
        (3, 5, 1, 500_000, json!([[0, 1], [1, 3], [2, 4]]), "three stripes"),
        (4, 8, 1, 1, json!([[0, 1, 2, 3]]), "three data cells of padding"),
        (1, 2, 1, segment, json!([[0]]), "a whole segment"),
        (1, 2, 1, segment + 1, json!([[0]]), "a byte in the second segment"),
    ] {
        let input = json!({
            "file_key": FILE_KEY, "mode": mode, "required": required, "total": total,
            "length": length, "lost": lost,
        });
        let name = format!("{required}/{total} of {length}, mask mode {mode}");
        let good = case(&name, why, &input, described(&input), "ok");
        let mut segments = good["segments"].clone();
        let last = segments.as_array().unwrap().len() - 1;
        segments[last][usize::from(total) - 1] = json!("00".repeat(32));
        let bent = json!({ "manifest": flip(&good, "manifest", 92) });
        let wrong = json!({ "segments": segments });
        // A segment takes a second to compute, so only one case stores one.
        if length < segment_bytes() {
            cases.push(case(
                &format!("{name}, other root"),
                "of content",
                &good,
                bent,
                "OtherManifest",
            ));
            cases.push(case(
                &format!("{name}, other shard"),
                "the last",
                &good,
                wrong,
                "OtherShards",
            ));
        }
        cases.push(good);
    }
    replay("stored.json", &cases, |case| {
        let found = described(case);
        match (found["manifest"] == case["manifest"], found["segments"] == case["segments"]) {
            (true, true) => "ok".into(),
            (true, false) => "OtherShards".into(),
            (false, _) => "OtherManifest".into(),
        }
    });
}

const fn segment_bytes() -> u64 {
    1024 * 65_520
}

#[test]
fn schemes() {
    let found = |nodes: u64| {
        let scheme = Scheme::for_nodes(usize::try_from(nodes).unwrap());
        json!({
            "required": scheme.required, "total": scheme.total, "repair_at": scheme.repair_at(),
            "enough": scheme.enough(),
        })
    };
    let mut cases = Vec::new();
    for nodes in [0, 1, 2, 3, 4, 5, 7, 8, 19, 20, 35, 36, 79, 80, 1_000_000] {
        let input = json!({ "nodes": nodes });
        let name = format!("{nodes} nodes");
        let good = case(&name, "the number of nodes picks the scheme", &input, found(nodes), "ok");
        for (field, why) in
            [("repair_at", "repair begins there"), ("enough", "an upload ends there")]
        {
            let wrong = json!({ field: good[field].as_u64().unwrap() + 1 });
            let title = format!("{name}, {field} one more");
            cases.push(case(&title, why, &good, wrong, "mismatch"));
        }
        cases.push(good);
    }
    for (required, total, repair_at, enough) in
        [(1, 128, 64, 96), (128, 128, 127, 128), (5, 6, 5, 6)]
    {
        let scheme = Scheme { required, total };
        assert_eq!((scheme.repair_at(), scheme.enough()), (repair_at, enough));
    }
    replay("schemes.json", &cases, |case| {
        let found = found(number(case, "nodes"));
        same(found.as_object().unwrap().iter().all(|(name, value)| case[name] == *value))
    });
}

#[test]
fn fresh_previews() {
    replay("fresh.json", &fresh(), |case| {
        let manifest = Manifest::from_bytes(&bytes(case, "manifest")).unwrap();
        let cells = Preview::from_bytes(&bytes(case, "preview")).unwrap().cells;
        let of = (&ListingId(array(case, "listing")), &array(case, "nonce"));
        match open_fresh(&cells, &manifest, of, number(case, "count")) {
            Ok(cells) => {
                let plain: Vec<_> = cells.iter().map(|(_, plain)| hex(plain)).collect();
                same(json!(plain) == case["plain"])
            }
            Err(error) => outcome_of::<(), PreviewError>(Err(error)),
        }
    });
}

/// Cells that a viewer's own number picks of a small file.
fn fresh() -> Vec<Value> {
    let (file, file_key) = (counting(2000), FileKey::from_bytes([9; 32]));
    let stored = store(&file_key, MaskMode::ChaCha20, Scheme { required: 16, total: 32 }, &file);
    let (listing, nonce, count) = (ListingId([3; 16]), [4; 32], 3);
    let root = stored.manifest.content_root;
    let make = |cell: u64| {
        let (start, bytes) = cell_range(&stored.layout, cell).unwrap();
        let start = usize::try_from(start).unwrap().min(file.len());
        PreviewCell::make(
            &stored.layout,
            &file_key,
            cell,
            &file[start..start + bytes],
            &stored.leaves,
        )
        .unwrap()
    };
    let cells = |listing, nonce| {
        let picked = picks(&fresh_seed(&root, &listing, &nonce), stored.layout.cells(), count);
        Preview { cells: picked.into_iter().map(make).collect(), chosen: vec![] }
    };
    let preview = cells(listing, nonce);
    let plain = open_fresh(&preview.cells, &stored.manifest, (&listing, &nonce), count).unwrap();
    let plain: Vec<_> = plain.iter().map(|(_, plain)| hex(plain)).collect();
    let input = json!({
        "manifest": hex(&stored.manifest.to_bytes()), "listing": listing.to_string(),
        "nonce": hex(&nonce), "count": count, "preview": hex(&preview.to_bytes()), "plain": plain,
    });
    let good = case("3 of 16", "those that the number picks", &input, json!({}), "ok");
    let mut cases = Vec::new();
    let mut add = |what: &str, why: &str, outcome: &str, other: Preview| {
        let changes = json!({ "preview": hex(&other.to_bytes()) });
        cases.push(case(&format!("3 of 16, {what}"), why, &good, changes, outcome));
    };
    let of = cells(ListingId([5; 16]), nonce);
    add("of another listing", "the number is for one listing", "OtherCells", of);
    add("of another number", "the seller has chosen", "OtherCells", cells(listing, [6; 32]));
    let changed = |change: &dyn Fn(&mut Vec<PreviewCell>)| {
        let mut other = preview.clone();
        change(&mut other.cells);
        other
    };
    let less = changed(&|cells| drop(cells.pop()));
    add("one less", "not all that were picked", "OtherCells", less);
    let more = changed(&|cells| cells.push(cells[0].clone()));
    add("one twice", "one too many", "OtherCells", more);
    add("in disorder", "in file order", "OtherCells", changed(&|cells| cells.swap(0, 1)));
    add("none", "nothing is opened", "OtherCells", changed(&|cells| cells.clear()));
    add("a bit", "it does not open", "Sealed", changed(&|cells| cells[1].sealed[0] ^= 1));
    let short = changed(&|cells| {
        cells[2].sealed.pop();
    });
    add("a byte less", "of the cell", "Size", short);
    add("no path", "not in the file", "NotListed", changed(&|cells| cells[0].path.clear()));
    let other = json!({ "count": 2 });
    cases.push(case("3 of 16, two wanted", "one too many", &good, other, "OtherCells"));
    cases.push(good);
    cases
}

#[test]
fn previews() {
    let mut cases = picked();
    cases.extend(opened());
    replay("preview.json", &cases, |case| {
        let seed = Hash(array(case, "seed"));
        let count = number(case, "count");
        if case.get("picks").is_some() {
            return same(json!(picks(&seed, number(case, "cells"), count)) == case["picks"]);
        }
        let manifest = Manifest::from_bytes(&bytes(case, "manifest")).unwrap();
        let preview = Preview::from_bytes(&bytes(case, "preview")).unwrap();
        match preview.open(&manifest, &seed, count) {
            Ok(opened) => {
                let hexed = |cells: &[(u64, Vec<u8>)]| {
                    json!(cells.iter().map(|(_, plain)| hex(plain)).collect::<Vec<_>>())
                };
                let (drawn, chosen) = (hexed(&opened.drawn), hexed(&opened.chosen));
                same(drawn == case["plain"] && chosen == case["chosen"])
            }
            Err(error) => outcome_of::<(), PreviewError>(Err(error)),
        }
    });
}

fn picked() -> Vec<Value> {
    let mut cases = Vec::new();
    let seed = Hash([7; 32]);
    for (cells, count, why) in [
        (1, 1, "the only cell"),
        (2, 64, "all there are"),
        (64, 64, "all of as many"),
        (65, 64, "all but one"),
        (1000, 3, "three of a thousand, in file order"),
        (1 << 40, 64, "of a large file"),
        // Nearly half of all numbers drawn are refused here.
        ((1 << 63) + 1, 64, "of more cells than any file has"),
        (3 << 62, 64, "of so many that a quarter of all numbers are refused"),
        (5, 0, "none are wanted"),
    ] {
        let input = json!({ "seed": seed.to_string(), "cells": cells, "count": count });
        let changes = json!({ "picks": picks(&seed, cells, count) });
        let name = format!("{count} of {cells}");
        let good = case(&name, why, &input, changes, "ok");
        let mut other = good["picks"].as_array().unwrap().clone();
        match other.first().cloned() {
            Some(first) => other.push(first),
            None => other.push(json!(0)),
        }
        let wrong = json!({ "picks": other });
        cases.push(case(
            &format!("{name}, one more"),
            "a cell that was not picked",
            &good,
            wrong,
            "mismatch",
        ));
        if 0 < count && 2 * u64::from(count) < cells {
            let other = json!({ "seed": "08".repeat(32) });
            cases.push(case(
                &format!("{name}, another seed"),
                "other cells",
                &good,
                other,
                "mismatch",
            ));
        }
        cases.push(good);
    }
    cases
}

/// Adds a changed preview: what it is, why it must fail, the outcome, the change.
type Add<'a> = dyn FnMut(&str, &str, &str, &dyn Fn(&mut Preview)) + 'a;

/// Previews with cells that a seller may not choose so.
fn chosen_ones(preview: &Preview, cells: u64, add: &mut Add<'_>) {
    let first = &preview.chosen[0];
    add("none chosen", "other cells than those", "mismatch", &|of| of.chosen.clear());
    add("one chosen twice", "not in order", "Order", &|of| of.chosen.insert(0, first.clone()));
    add("chosen in disorder", "not in order", "Order", &|of| of.chosen.swap(0, 1));
    add("chosen behind the end", "no such cell", "Order", &|of| {
        let behind = PreviewCell { cell: cells, ..of.chosen[0].clone() };
        of.chosen.push(behind);
    });
    add("33 chosen", "one too many, before their order is looked at", "TooMany", &|of| {
        of.chosen = vec![first.clone(); 33];
    });
    add("32 chosen", "not too many, but not in order", "Order", &|of| {
        of.chosen = vec![first.clone(); 32];
    });
    add("one chosen under another key", "it does not open", "Sealed", &|of| {
        of.chosen[0].key[0] ^= 1;
    });
    add("a byte less of one chosen", "of the cell", "Size", &|of| {
        of.chosen[1].sealed.pop();
    });
    add("no path to one chosen", "not in the file", "NotListed", &|of| of.chosen[1].path.clear());
    add("neither", "drawn ones are judged first", "OtherCells", &|of| {
        of.cells.clear();
        of.chosen.clear();
    });
}

/// Previews of small files: a file of one stripe with padding in it, and one of two stripes' cells.
fn opened() -> Vec<Value> {
    let mut cases = Vec::new();
    for (required, total, length, count) in [(4, 8, 1500_usize, 4), (2, 3, 0, 1), (3, 5, 2000, 2)] {
        let file = counting(length);
        let file_key = FileKey::from_bytes([9; 32]);
        let stored = store(&file_key, MaskMode::ChaCha20, Scheme { required, total }, &file);
        let make = |cell: u64| {
            let (start, bytes) = cell_range(&stored.layout, cell).unwrap();
            let start = usize::try_from(start).unwrap().min(length);
            let plain = &file[start..start + bytes];
            PreviewCell::make(&stored.layout, &file_key, cell, plain, &stored.leaves).unwrap()
        };
        let seed = Hash([7; 32]);
        let wanted = picks(&seed, stored.layout.cells(), count);
        let opened = wanted.iter().map(|cell| make(*cell)).collect();
        let own = 0..stored.layout.cells().min(2);
        let preview = Preview { cells: opened, chosen: own.map(make).collect() };
        let opened = preview.open(&stored.manifest, &seed, count).unwrap();
        let hexed = |cells: &[(u64, Vec<u8>)]| -> Vec<String> {
            cells.iter().map(|(_, bytes)| hex(bytes)).collect()
        };
        let (plain, chosen) = (hexed(&opened.drawn), hexed(&opened.chosen));
        let input = json!({
            "manifest": hex(&stored.manifest.to_bytes()), "seed": seed.to_string(), "count": count,
            "preview": hex(&preview.to_bytes()), "plain": plain, "chosen": chosen,
        });
        let name = format!("{count} of {required}/{total}, {length} bytes");
        let good = case(&name, "opened for everyone", &input, json!({}), "ok");
        let mut add = |what: &str, why: &str, outcome: &str, change: &dyn Fn(&mut Preview)| {
            let mut other = preview.clone();
            change(&mut other);
            let changes = json!({ "preview": hex(&other.to_bytes()) });
            cases.push(case(&format!("{name}, {what}"), why, &good, changes, outcome));
        };
        add("a cell less", "not all that were picked", "OtherCells", &|of| drop(of.cells.pop()));
        add("a cell twice", "one too many", "OtherCells", &|of| of.cells.push(of.cells[0].clone()));
        add("another cell", "than was picked", "OtherCells", &|of| of.cells[0].cell += 1);
        add("another key", "it does not open", "Sealed", &|of| of.cells[0].key[0] ^= 1);
        add("a bit", "it does not open", "Sealed", &|of| of.cells[0].sealed[3] ^= 1);
        add("a byte less", "of the cell", "Size", &|of| {
            of.cells[0].sealed.pop();
        });
        add("a byte more", "of the cell", "Size", &|of| of.cells[0].sealed.push(0));
        add("no path", "not in the file", "NotListed", &|of| of.cells[0].path.clear());
        add("a path bent", "not in the file", "NotListed", &|of| of.cells[0].path[0].0[0] ^= 1);
        chosen_ones(&preview, stored.layout.cells(), &mut add);
        let other = json!({ "manifest": flip(&good, "manifest", 92) });
        cases.push(case(&format!("{name}, other root"), "another file", &good, other, "NotListed"));
        cases.push(good);
    }
    cases
}
