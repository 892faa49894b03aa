//! Replays `spec/vectors/proof` and `spec/vectors/tree`. With `SYMBOLON_REGENERATE=1` writes them
//! first: to approve a change of the format, regenerate, and read the difference.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::{Value, json};
use symbolon_protocol::{
    id::{ChainId, Hash, PeerId, hex, unhex},
    ledger::{
        state::{MemoryState, Update},
        tree,
    },
    proof::{
        Challenge, LeafProof, Outboard, ShardHasher, challenge_seed, challenges, group_range,
        leaf_proof, unit_path, verify_unit,
    },
};

const LEAF: u64 = 1024;
const GROUP: u64 = 16 * 1024;
const CELL: u64 = 64 * 1024;
const SLICE: u64 = 1024 * 1024;

/// The bytes of every shard in the vectors: 0 to 250 and again, as in BLAKE3's own vectors.
fn pattern(start: u64, count: u64) -> Vec<u8> {
    (start..start + count).map(|place| u8::try_from(place % 251).unwrap()).collect()
}

fn hashed(length: u64) -> (Hash, Outboard) {
    let mut hasher = ShardHasher::new();
    hasher.update(&pattern(0, length));
    hasher.finish()
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors").join(name)
}

/// Runs every case of a file and compares what comes of it with what the file says.
fn replay(name: &str, make: fn() -> Vec<Value>, run: fn(&Value) -> String) {
    if std::env::var_os("SYMBOLON_REGENERATE").is_some() {
        let text = serde_json::to_string_pretty(&make()).unwrap();
        fs::create_dir_all(file(name).parent().unwrap()).unwrap();
        fs::write(file(name), text + "\n").unwrap();
    }
    let text = fs::read_to_string(file(name)).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert!(cases == make(), "{name} is not what this program writes: is the change meant?");
    let failing = cases.iter().filter(|case| case["outcome"] != "ok").count();
    assert!(2 * failing >= cases.len(), "{name}: at least half of all vectors must fail");
    for case in &cases {
        assert_eq!(run(case), case["outcome"].as_str().unwrap(), "{name}: {}", case["name"]);
    }
}

fn outcome<E: std::fmt::Debug>(result: Result<(), E>) -> String {
    let Err(error) = result else { return String::from("ok") };
    let text = format!("{error:?}");
    String::from(text.split([' ', '(', '{']).next().unwrap())
}

fn bytes_of(value: &Value) -> Vec<u8> {
    unhex(value.as_str().unwrap()).unwrap()
}

fn hash_of(value: &Value) -> Hash {
    value.as_str().unwrap().parse().unwrap()
}

fn path_of(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(hash_of).collect()
}

fn texts(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

// Parts of shards.

fn run_part(case: &Value) -> String {
    let bytes = &case["bytes"];
    let number = |value: &Value| value.as_u64().unwrap();
    let mut data = pattern(number(&bytes["start"]), number(&bytes["count"]));
    if let Some(flip) = bytes["flip"].as_u64() {
        data[usize::try_from(flip).unwrap()] ^= 1;
    }
    outcome(verify_unit(
        &hash_of(&case["root"]),
        number(&case["length"]),
        number(&case["unit_bytes"]),
        number(&case["unit"]),
        &data,
        &path_of(&case["path"]),
    ))
}

/// A good case: part `unit`, of `unit_bytes`, of the pattern shard of `length`.
fn part(name: &str, why: &str, length: u64, unit_bytes: u64, unit: u64) -> Value {
    let (root, outboard) = hashed(length);
    let start = unit * unit_bytes;
    let count = unit_bytes.min(length - start);
    let path = match unit_bytes {
        LEAF => {
            let range = group_range(length, unit).unwrap();
            let group = pattern(range.start, range.end - range.start);
            leaf_proof(&outboard, length, unit, &group).unwrap().path
        }
        _ => unit_path(&outboard, length, unit_bytes, unit).unwrap(),
    };
    json!({
        "name": name, "why": why, "root": root.to_string(), "length": length,
        "unit_bytes": unit_bytes, "unit": unit,
        "bytes": { "start": start, "count": count, "flip": null },
        "path": texts(&path), "outcome": "ok",
    })
}

fn bent(mut case: Value, name: &str, why: &str, outcome: &str, bend: fn(&mut Value)) -> Value {
    bend(&mut case);
    case["name"] = json!(name);
    case["why"] = json!(why);
    case["outcome"] = json!(outcome);
    case
}

fn good_parts() -> Vec<Value> {
    vec![
        part("one byte", "a shard of one short leaf is its own root", 1, LEAF, 0),
        part("one leaf", "a whole leaf is its own root, with the root flag", 1024, LEAF, 0),
        part("two leaves", "the only join is the root", 2048, LEAF, 1),
        part("last of three", "a last leaf without a partner moves up a level", 3072, LEAF, 2),
        part("short last leaf", "a leaf of one byte", 5 * 1024 + 1, LEAF, 5),
        part("first of a group", "all siblings stand to the right", GROUP, LEAF, 0),
        part("leaf after a group", "a lone leaf beside 16", GROUP + 1024, LEAF, 16),
        part("leaf in a middle", "siblings on both sides", 37 * 1024, LEAF, 21),
        part("lone cell", "a shard of one cell has an empty path", CELL, CELL, 0),
        part("last short cell", "a last cell of 1 KiB", 3 * CELL + 1024, CELL, 3),
        part("middle cell", "siblings on both sides", 7 * CELL, CELL, 2),
        part("lone slice", "a shard shorter than a slice is one slice", 5 * CELL, SLICE, 0),
        part("last short slice", "a last slice of 1 KiB", SLICE + 1024, SLICE, 1),
        part("group", "the smallest part with paths in the outboard", 5 * GROUP, GROUP, 4),
    ]
}

type Bend = (&'static str, &'static str, &'static str, fn(&mut Value));

fn bends() -> Vec<Bend> {
    vec![
        ("flipped bit", "other bytes", "WrongRoot", |case| case["bytes"]["flip"] = json!(3)),
        ("neighbour's place", "bytes bind their place", "WrongRoot", |case| {
            case["unit"] = json!(20);
        }),
        ("neighbour's bytes", "a place binds its bytes", "WrongRoot", |case| {
            case["bytes"]["start"] = json!(20 * 1024);
        }),
        ("short bytes", "all but the last part are whole", "UnitLength", |case| {
            case["bytes"]["count"] = json!(1023);
        }),
        ("long bytes", "a leaf has no more than 1024 bytes", "UnitLength", |case| {
            case["bytes"]["count"] = json!(1025);
        }),
        ("no bytes", "no part is empty", "UnitLength", |case| case["bytes"]["count"] = json!(0)),
        ("path too short", "one sibling per level", "PathLength", |case| {
            case["path"].as_array_mut().unwrap().pop();
        }),
        ("path too long", "nothing follows the root", "PathLength", |case| {
            let path = case["path"].as_array_mut().unwrap();
            path.push(path[0].clone());
        }),
        ("path upside down", "siblings go upward", "WrongRoot", |case| {
            case["path"].as_array_mut().unwrap().reverse();
        }),
        ("sibling flipped", "every sibling counts", "WrongRoot", |case| {
            case["path"][2] = json!("00".repeat(32));
        }),
        ("other root", "a proof is for one root", "WrongRoot", |case| {
            case["root"] = case["path"][0].clone();
        }),
        ("beyond the end", "there are leaves 0 to 36", "NoSuchUnit", |case| {
            case["unit"] = json!(37);
        }),
        ("far beyond the end", "no overflow", "NoSuchUnit", |case| {
            case["unit"] = json!(u64::MAX);
        }),
        ("length too short", "a claimed end before the leaf", "NoSuchUnit", |case| {
            case["length"] = json!(21 * 1024);
        }),
        ("length of half", "a path of another shape", "PathLength", |case| {
            case["length"] = json!(22 * 1024);
        }),
        ("length too long", "a path of another shape", "PathLength", |case| {
            case["length"] = json!(65 * 1024);
        }),
        ("no length", "a shard without bytes is refused", "Empty", |case| {
            case["length"] = json!(0);
        }),
        ("odd part size", "parts are a power of two", "UnitSize", |case| {
            case["unit_bytes"] = json!(1000);
        }),
        ("part of no size", "parts have a size", "UnitSize", |case| {
            case["unit_bytes"] = json!(0);
        }),
        ("part of half a leaf", "a leaf is the smallest part", "UnitSize", |case| {
            case["unit_bytes"] = json!(512);
        }),
        ("part of a leaf and a half", "parts are a power of two", "UnitSize", |case| {
            case["unit_bytes"] = json!(1536);
        }),
    ]
}

/// The last part binds the length.
fn wrong_lengths() -> Vec<Value> {
    let last = || part("", "", 37 * 1024, LEAF, 36);
    vec![
        bent(last(), "last leaf", "the length is right", "ok", |_| ()),
        bent(
            last(),
            "last leaf of one more",
            "its sibling would be a leaf",
            "PathLength",
            |case| {
                case["length"] = json!(38 * 1024);
            },
        ),
        bent(last(), "last leaf of four more", "the shape differs", "PathLength", |case| {
            case["length"] = json!(41 * 1024);
        }),
        bent(last(), "last leaf a byte shorter", "it would be short", "UnitLength", |case| {
            case["length"] = json!(37 * 1024 - 1);
        }),
        bent(last(), "last leaf of one less", "it would be gone", "NoSuchUnit", |case| {
            case["length"] = json!(36 * 1024);
        }),
        bent(last(), "last leaf as another's", "same shape, other place", "WrongRoot", |case| {
            case["length"] = json!(69 * 1024);
            case["unit"] = json!(68);
        }),
    ]
}

fn make_parts() -> Vec<Value> {
    let mut cases = good_parts();
    let leaf = part("", "", 37 * 1024, LEAF, 21);
    let bent_leaf = |(name, why, outcome, bend): Bend| bent(leaf.clone(), name, why, outcome, bend);
    cases.extend(bends().into_iter().map(bent_leaf));
    cases.extend(wrong_lengths());
    let two = part("", "", 2048, LEAF, 0);
    cases.push(bent(
        two,
        "child as shard",
        "a leaf's chaining value is no root",
        "WrongRoot",
        |case| {
            case["root"] = case["path"][0].clone();
            case["bytes"]["start"] = json!(1024);
            case["length"] = json!(1024);
            case["path"] = json!([]);
        },
    ));
    let slice = part("", "", SLICE + 1024, SLICE, 1);
    cases.push(bent(slice, "slice flipped", "other bytes", "WrongRoot", |case| {
        case["bytes"]["flip"] = json!(1023);
    }));
    cases
}

#[test]
fn parts_of_shards() {
    replay("proof/parts.json", make_parts, run_part);
}

// Whole shards.

fn run_shard(case: &Value) -> String {
    let length = case["length"].as_u64().unwrap();
    let (root, outboard) = hashed(length);
    let bytes = outboard.to_bytes();
    let claimed = case["outboard_bytes"].as_u64().unwrap();
    let given = vec![0; usize::try_from(claimed).unwrap()];
    if let Err(error) = Outboard::from_bytes(length, &given) {
        return outcome(Err(error));
    }
    match (root, blake3_hash(&bytes)) {
        (root, _) if root != hash_of(&case["root"]) => String::from("OtherRoot"),
        (_, hash) if hash != hash_of(&case["outboard_hash"]) => String::from("OtherOutboard"),
        _ => String::from("ok"),
    }
}

fn blake3_hash(bytes: &[u8]) -> Hash {
    let mut hasher = ShardHasher::new();
    hasher.update(bytes);
    hasher.finish().0
}

fn more(case: &mut Value, extra: i64) {
    case["outboard_bytes"] = json!(case["outboard_bytes"].as_i64().unwrap() + extra);
}

fn make_shards() -> Vec<Value> {
    let lengths = [1, 1024, 16_384, 16_385, 36_864, 81_920, 1_048_576, 1_049_600];
    let mut cases: Vec<_> = lengths
        .iter()
        .map(|length| {
            let (root, outboard) = hashed(*length);
            let bytes = outboard.to_bytes();
            json!({
                "name": format!("{length} bytes"), "why": "root, and outboard level by level",
                "length": length, "root": root.to_string(), "outboard_bytes": bytes.len(),
                "outboard_hash": blake3_hash(&bytes).to_string(), "outcome": "ok",
            })
        })
        .collect();
    let bend =
        |name, why, outcome, bend: fn(&mut Value)| bent(cases[5].clone(), name, why, outcome, bend);
    let bent = [
        bend("a node too many", "the outboard of a longer shard", "Outboard", |case| {
            more(case, 32)
        }),
        bend("a node too few", "the outboard of a shorter shard", "Outboard", |case| {
            more(case, -32)
        }),
        bend("a byte too many", "an outboard is whole nodes", "Outboard", |case| more(case, 1)),
        bend("no outboard", "only one group has none", "Outboard", |case| more(case, -320)),
        bend("a byte longer", "a root binds the length", "OtherRoot", |case| {
            case["length"] = json!(81_919);
        }),
        bend("other root", "a root binds the bytes", "OtherRoot", |case| {
            case["root"] = json!("00".repeat(32));
        }),
        bend("groups only", "the levels above are there too", "Outboard", |case| {
            case["outboard_bytes"] = json!(5 * 32);
        }),
        bend("other outboard", "every node counts", "OtherOutboard", |case| {
            case["outboard_hash"] = json!("00".repeat(32));
        }),
    ];
    cases.extend(bent);
    cases
}

#[test]
fn whole_shards() {
    replay("proof/shards.json", make_shards, run_shard);
}

// Challenges.

fn seed_of(case: &Value) -> Hash {
    challenge_seed(
        &ChainId(hash_of(&case["chain"]).0),
        case["epoch"].as_u64().unwrap(),
        &hash_of(&case["beacon"]),
        &PeerId(hash_of(&case["node"]).0),
        &hash_of(&case["table"]),
    )
}

/// Shard `slot` has `lengths[slot mod the number of lengths]` bytes.
fn picks_of(case: &Value) -> Vec<(u32, u64)> {
    let lengths: Vec<u64> = serde_json::from_value(case["lengths"].clone()).unwrap();
    let slots = u32::try_from(case["slots"].as_u64().unwrap()).unwrap();
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let longest = case["longest"].as_u64().unwrap_or(longest);
    let slot_bytes = case["slot_bytes"].as_u64().unwrap();
    let length_of = |slot: u32| lengths[slot as usize % lengths.len()];
    let picks = challenges(&seed_of(case), slots, longest, slot_bytes, length_of);
    picks.into_iter().map(|Challenge { slot, leaf }| (slot, leaf)).collect()
}

fn run_challenge(case: &Value) -> String {
    let picks: Vec<(u32, u64)> = serde_json::from_value(case["challenges"].clone()).unwrap();
    match (seed_of(case) == hash_of(&case["seed"]), picks == picks_of(case)) {
        (true, true) => String::from("ok"),
        (true, false) => String::from("OtherChallenges"),
        (false, _) => String::from("OtherSeed"),
    }
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn make_challenges() -> Vec<Value> {
    let make = |name: &str, why: &str, slots: u32, lengths: &[u64], slot_bytes: u64| {
        let text = |byte: u8| Hash([byte; 32]).to_string();
        let mut case = json!({
            "name": name, "why": why, "chain": text(1), "epoch": 7, "beacon": text(2),
            "node": text(3), "table": text(4), "slots": slots, "lengths": lengths,
            "slot_bytes": slot_bytes, "outcome": "ok",
        });
        case["seed"] = json!(seed_of(&case).to_string());
        case["challenges"] = json!(picks_of(&case));
        case
    };
    let usual = || make("usual", "most shards are long", 1000, &[67_108_864, 1024], 33 << 30);
    let mut cases = vec![
        make("empty table", "nothing to open", 0, &[], 0),
        make("one tiny shard", "the same leaf, ten times", 1, &[1024], 1024),
        usual(),
        make("middle", "64 GiB: 16 by bytes and 4 by shard", 2048, &[33_554_432], 64 << 30),
        make("large", "1 TiB: 32 by bytes and 8 by shard", 65_536, &[16_777_216], 1 << 40),
        make(
            "lengths far apart",
            "half of all tries meet a shard of 1 KiB and refuse it",
            3,
            &[3_000_320, 1024, 2048],
            3_003_392,
        ),
    ];
    for (name, why, longest, lengths) in [
        (
            "all tries refused",
            "the longest of those tried, the earliest of equals",
            1_u64 << 62,
            vec![1024_u64, 4096, 2048, 4096],
        ),
        ("the first of equals", "256 of one length", 1 << 62, vec![1024]),
        (
            "draws refused",
            "half of all numbers are past the last whole run",
            (1 << 63) + 1,
            vec![1 << 62, 1 << 63],
        ),
        ("longer than any", "what was the longest has left", 8192, vec![1024, 2048]),
        ("tiny", "one of two bytes is refused half of the time", 2, vec![1, 2]),
    ] {
        let mut case = make(name, why, 9, &lengths, 9 << 10);
        case["longest"] = json!(longest);
        case["challenges"] = json!(picks_of(&case));
        let mut other = case.clone();
        other["name"] = json!(format!("{name}, other leaf"));
        other["outcome"] = json!("OtherChallenges");
        other["challenges"][7][1] = json!(case["challenges"][7][1].as_u64().unwrap() ^ 1);
        cases.push(case);
        cases.push(other);
    }
    for (name, why, slot_bytes) in [
        ("a byte under 64 GiB", "8 by bytes and 2 by shard", (64_u64 << 30) - 1),
        ("a byte under 1 TiB", "16 by bytes and 4 by shard", (1 << 40) - 1),
    ] {
        let case = make(name, why, 2048, &[33_554_432], slot_bytes);
        let mut other = case.clone();
        other["name"] = json!(format!("{name}, with a byte more"));
        other["slot_bytes"] = json!(slot_bytes + 1);
        other["outcome"] = json!("OtherChallenges");
        cases.push(case);
        cases.push(other);
    }
    for (field, why) in [
        ("chain", "another ledger"),
        ("beacon", "another beacon"),
        ("node", "another node"),
        ("table", "another slot table"),
    ] {
        let mut case = usual();
        case["name"] = json!(format!("{field} changed"));
        case["why"] = json!(why);
        case[field] = json!(Hash([9; 32]).to_string());
        case["outcome"] = json!("OtherSeed");
        cases.push(case);
    }
    let mut yesterday = usual();
    yesterday["name"] = json!("yesterday's");
    yesterday["why"] = json!("the answer to another epoch");
    yesterday["epoch"] = json!(6);
    yesterday["outcome"] = json!("OtherSeed");
    cases.push(yesterday);
    let mut swapped = usual();
    swapped["name"] = json!("swapped");
    swapped["why"] = json!("challenges have an order");
    swapped["challenges"].as_array_mut().unwrap().swap(0, 1);
    swapped["outcome"] = json!("OtherChallenges");
    cases.push(swapped);
    cases
}

#[test]
fn challenges_of_epochs() {
    replay("proof/challenges.json", make_challenges, run_challenge);
}

// State tree.

type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

fn state_of(rows: &Rows) -> (Hash, MemoryState) {
    let mut state = MemoryState::default();
    let (root, nodes) = tree::update(&state, rows);
    let mut rows = rows.clone();
    rows.extend(nodes);
    state.commit(&Update { rows });
    (root, state)
}

fn rows_of(value: &Value) -> Rows {
    let rows = value.as_array().unwrap().iter();
    rows.map(|row| (bytes_of(&row[0]), Some(bytes_of(&row[1])))).collect()
}

fn run_tree(case: &Value) -> String {
    match state_of(&rows_of(&case["rows"])).0 == hash_of(&case["root"]) {
        true => String::from("ok"),
        false => String::from("OtherRoot"),
    }
}

fn numbered(count: u8) -> Rows {
    (0..count).map(|number| (vec![1, number], Some(vec![number, number]))).collect()
}

fn make_trees() -> Vec<Value> {
    let make = |name: &str, why: &str, rows: &Rows| {
        let row = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
            json!([hex(key), hex(value.as_ref().unwrap())])
        };
        json!({
            "name": name, "why": why, "rows": rows.iter().map(row).collect::<Vec<_>>(),
            "root": state_of(rows).0.to_string(), "outcome": "ok",
        })
    };
    let mut cases = vec![
        make("no rows", "the zero hash", &Rows::new()),
        make("one row", "its leaf, without a branch", &numbered(1)),
        make("two rows", "one branch", &numbered(2)),
        make("forty rows", "branches over branches", &numbered(40)),
        make("two tables", "keys of other lengths, with much in common", &two_tables()),
        make("empty value", "a row may be empty", &[(vec![1], Some(vec![]))].into()),
        make("own rows", "rows under tag 0 are not in the tree", &{
            let mut rows = numbered(2);
            rows.insert(vec![0], Some(vec![9]));
            rows
        }),
    ];
    for (name, why, row) in [
        ("value changed", "a root binds every value", 0),
        ("key changed", "a root binds every key", 1),
        ("row missing", "a root binds the set of rows", 2),
        ("row added", "a root binds the set of rows", 3),
        ("values swapped", "a root binds each value to its key", 4),
        ("value longer", "a root binds every byte", 5),
        ("key longer", "a root binds the whole key", 6),
    ] {
        let mut case = cases[3].clone();
        case["name"] = json!(name);
        case["why"] = json!(why);
        case["outcome"] = json!("OtherRoot");
        let rows = case["rows"].as_array_mut().unwrap();
        match row {
            0 => rows[7][1] = json!("0700"),
            1 => rows[7][0] = json!("02ff"),
            3 => rows.push(json!(["0199", ""])),
            4 => (rows[7][1], rows[8][1]) = (rows[8][1].clone(), rows[7][1].clone()),
            5 => rows[7][1] = json!("070700"),
            6 => rows[7][0] = json!("010700"),
            _ => drop(rows.remove(7)),
        }
        cases.push(case);
    }
    cases
}

#[test]
fn roots_of_trees() {
    replay("tree/roots.json", make_trees, run_tree);
}

/// Rows of a case by key, each with its value or none.
fn pairs_of(value: &Value) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let pair =
        |row: &Value| (bytes_of(&row[0]), row[1].as_str().map(|value| unhex(value).unwrap()));
    value.as_array().unwrap().iter().map(pair).collect()
}

fn run_proof(case: &Value) -> String {
    let (root, proof, rows) =
        (hash_of(&case["root"]), bytes_of(&case["proof"]), pairs_of(&case["rows"]));
    if case["range"].is_null() {
        let rows = rows.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
        return outcome(tree::verify_rows(&root, rows, &proof));
    }
    let end = |name: &str| case["range"][name].as_str().map(|key| unhex(key).unwrap());
    let (prefix, after, until) = (end("prefix").unwrap(), end("after"), end("until"));
    let range = tree::Range { prefix: &prefix, after: after.as_deref(), until: until.as_deref() };
    let rows: Vec<_> =
        rows.iter().map(|(key, value)| (key.as_slice(), value.as_deref().unwrap())).collect();
    outcome(tree::verify_range(&root, &range, &rows, &proof))
}

/// Rows of two tables; those of the second have much in common.
fn two_tables() -> Rows {
    let mut rows = numbered(40);
    for number in [0_u8, 1, 2, 3, 16, 17, 128] {
        let key = |table: u8, place: u8| vec![table, 0xab, 0xcd, 0xef, place, number];
        rows.insert(key(2, 7), Some(vec![number]));
        rows.insert(key(2, 8), Some(vec![number, 2]));
        rows.insert(vec![4, number], Some(vec![number, 4]));
    }
    rows
}

fn texts_of(rows: &[(Vec<u8>, Option<Vec<u8>>)]) -> Vec<Value> {
    rows.iter().map(|(key, value)| json!([hex(key), value.as_deref().map(hex)])).collect()
}

/// The rows with some keys, or their absence.
fn by_keys(name: &str, why: &str, rows: &Rows, keys: &[&[u8]]) -> Value {
    let (root, state) = state_of(rows);
    let found: Vec<_> =
        keys.iter().map(|key| (key.to_vec(), rows.get(*key).cloned().flatten())).collect();
    json!({
        "name": name, "why": why, "root": root.to_string(), "range": null,
        "rows": texts_of(&found),
        "proof": hex(&tree::prove_rows(&state, keys.iter().copied())), "outcome": "ok",
    })
}

/// The first `limit` rows of a range.
fn by_range(
    name: &str,
    why: &str,
    rows: &Rows,
    (prefix, after, limit): (&[u8], Option<&[u8]>, usize),
) -> Value {
    let (root, state) = state_of(rows);
    let is_in =
        |key: &Vec<u8>| key.starts_with(prefix) && after.is_none_or(|after| after < key.as_slice());
    let mut found: Vec<_> = rows.clone().into_iter().filter(|(key, _)| is_in(key)).collect();
    let more = limit < found.len();
    found.truncate(limit);
    let until = found.last().filter(|_| more).map(|(key, _)| key.clone());
    let range = tree::Range { prefix, after, until: until.as_deref() };
    json!({
        "name": name, "why": why, "root": root.to_string(),
        "range": {
            "prefix": hex(prefix), "after": after.map(hex), "until": until.as_deref().map(hex),
        },
        "rows": texts_of(&found), "proof": hex(&tree::prove_range(&state, &range)),
        "outcome": "ok",
    })
}

const HIDDEN: u8 = 1;
const PLACE: u8 = 2;
const SHOWN: u8 = 3;
const BRANCH: u8 = 4;

/// The parts of a proof.
fn parts_of(case: &Value) -> Vec<Vec<u8>> {
    let proof = bytes_of(&case["proof"]);
    let (mut parts, mut rest) = (Vec::new(), proof.as_slice());
    while let Some(kind) = rest.first() {
        let length = match *kind {
            HIDDEN => 33,
            SHOWN => 34 + usize::from(rest[1]),
            BRANCH => 3,
            _ => 1,
        };
        let (part, behind) = rest.split_at(length);
        parts.push(part.to_vec());
        rest = behind;
    }
    parts
}

fn set_parts(case: &mut Value, parts: &[Vec<u8>]) {
    case["proof"] = json!(hex(&parts.concat()));
}

/// Changes one part: the first of its kind after `skip` others.
fn change_part(case: &mut Value, kind: u8, skip: usize, change: impl Fn(&mut Vec<u8>)) {
    let mut parts = parts_of(case);
    let part = parts.iter_mut().filter(|part| part[0] == kind).nth(skip).unwrap();
    change(part);
    set_parts(case, &parts);
}

fn derive(context: &str, bytes: &[&[u8]]) -> [u8; 32] {
    blake3::derive_key(context, &bytes.concat())
}

/// A row as a leaf that is shown, and as a hidden subtree.
fn leaf_of(row: &Value) -> [Vec<u8>; 2] {
    let (key, value) = (bytes_of(&row[0]), bytes_of(&row[1]));
    let value = derive("symbolon 2026 state value v1", &[&value]);
    let length = u16::try_from(key.len()).unwrap().to_le_bytes();
    let leaf = derive("symbolon 2026 state leaf v2", &[&length, &key, &value]);
    [[&[SHOWN, length[0]][..], &key, &value].concat(), [&[HIDDEN][..], &leaf].concat()]
}

/// Takes a row out of a range's answer, and puts something else in its place. The root stays.
fn leave_out(case: &mut Value, number: usize, is_hidden: bool) {
    let row = case["rows"].as_array_mut().unwrap().remove(number);
    let instead = leaf_of(&row)[usize::from(is_hidden)].clone();
    change_part(case, PLACE, number, |part| part.clone_from(&instead));
}

/// Says of the first row that it is not there, and puts something else in its place.
fn deny(case: &mut Value, is_hidden: bool) {
    let instead = leaf_of(&case["rows"][0])[usize::from(is_hidden)].clone();
    case["rows"][0][1] = json!(null);
    change_part(case, PLACE, 0, |part| part.clone_from(&instead));
}

fn bent_keys() -> Vec<Value> {
    let rows = two_tables();
    let own = || by_keys("", "", &rows, &[&[1, 7]]);
    let two = || by_keys("", "", &rows, &[&[1, 6], &[1, 7]]);
    let gone = || by_keys("", "", &rows, &[&[1, 99]]);
    let nothing = || by_keys("", "", &Rows::new(), &[&[1, 7]]);
    vec![
        bent(own(), "other value", "a proof binds the value", "WrongRoot", |case| {
            case["rows"][0][1] = json!("07");
        }),
        bent(own(), "other key", "a proof binds the key", "Stray", |case| {
            case["rows"][0][0] = json!("0108");
        }),
        bent(own(), "longer key", "a proof binds the whole key", "WrongRoot", |case| {
            case["rows"][0][0] = json!("010700");
        }),
        bent(own(), "denied", "a place for a row that is not there", "Places", |case| {
            case["rows"][0][1] = json!(null);
        }),
        bent(gone(), "invented", "no place for a row that is there", "Places", |case| {
            case["rows"][0][1] = json!("07");
        }),
        bent(two(), "denied and shown", "the row itself, as another one", "LeftOut", |case| {
            deny(case, false);
        }),
        bent(two(), "denied and hidden", "the row could be there", "Hidden", |case| {
            deny(case, true);
        }),
        bent(gone(), "another's absence", "this key could be hidden", "Hidden", |case| {
            case["rows"][0][0] = json!("0108");
        }),
        bent(own(), "other root", "a proof is for one root", "WrongRoot", |case| {
            case["root"] = json!("00".repeat(32));
        }),
        bent(
            nothing(),
            "nothing, of a root of something",
            "only the zero hash",
            "WrongRoot",
            |case| {
                case["root"] = json!("01".repeat(32));
            },
        ),
        bent(nothing(), "a row of nothing", "no rows have no places", "Places", |case| {
            case["rows"][0][1] = json!("07");
        }),
        bent(own(), "all hidden", "a root alone shows nothing", "Hidden", |case| {
            case["rows"][0][1] = json!(null);
            case["proof"] = json!(format!("01{}", case["root"].as_str().unwrap()));
        }),
        bent(own(), "one key, two values", "one row has one value", "Outside", |case| {
            let other = json!(["0107", null]);
            case["rows"].as_array_mut().unwrap().push(other);
        }),
        bent(own(), "a key of 81 bytes", "no row has such a key", "Outside", |case| {
            case["rows"][0][0] = json!("01".repeat(81));
        }),
    ]
}

fn malformed() -> Vec<Value> {
    let rows = two_tables();
    let own = || by_keys("", "", &rows, &[&[1, 7]]);
    let gone = || by_keys("", "", &rows, &[&[1, 99]]);
    let bend = |name, why, bend: fn(&mut Value)| bent(own(), name, why, "Malformed", bend);
    vec![
        bend("no bytes", "a proof has a part", |case| case["proof"] = json!("")),
        bend("bytes after the end", "one encoding", |case| {
            case["proof"] = json!(case["proof"].as_str().unwrap().to_owned() + "00");
        }),
        bend("a part too many", "nothing follows the last side", |case| {
            case["proof"] = json!(case["proof"].as_str().unwrap().to_owned() + "02");
        }),
        bend("a part missing", "a branch has two sides", |case| {
            let mut parts = parts_of(case);
            parts.pop();
            set_parts(case, &parts);
        }),
        bend("a byte missing", "a hash has 32", |case| {
            let proof = case["proof"].as_str().unwrap();
            case["proof"] = json!(&proof[..proof.len() - 2]);
        }),
        bend("unknown part", "parts are 0 to 4", |case| {
            change_part(case, BRANCH, 0, |part| part[0] = 5);
        }),
        bend("an empty side", "only a whole tree has no rows", |case| {
            case["proof"] = json!("0400000200");
        }),
        bent(gone(), "a leaf with a key of 81 bytes", "no row has one", "Malformed", |case| {
            change_part(case, SHOWN, 0, |part| {
                part.splice(1..4, [&[81][..], &[1; 81]].concat());
            });
        }),
        bent(gone(), "a key that is cut", "its length is in front of it", "Malformed", |case| {
            case["proof"] = json!("030401");
        }),
    ]
}

fn bent_branches() -> Vec<Value> {
    let rows = two_tables();
    let own = || by_keys("", "", &rows, &[&[1, 7]]);
    let gone = || by_keys("", "", &rows, &[&[1, 99]]);
    let set_bit = |case: &mut Value, skip, bit: u16| {
        change_part(case, BRANCH, skip, |part| part[1..].copy_from_slice(&bit.to_le_bytes()));
    };
    let mut cases = vec![
        bent(own(), "a branch as high as that above", "bits ascend", "Bits", |case| {
            let above: [u8; 3] = parts_of(case)[0][..].try_into().unwrap();
            change_part(case, BRANCH, 1, |part| part.copy_from_slice(&above));
        }),
        bent(own(), "a branch that shows no leaf", "it would be hidden itself", "Hollow", |case| {
            change_part(case, HIDDEN, 0, |part| {
                let side = part.clone();
                *part = [&[BRANCH, 200, 1][..], &side, &side].concat();
            });
        }),
        bent(own(), "sides swapped", "zero is on the left", "Stray", |case| {
            let mut parts = parts_of(case);
            let at = parts.iter().rposition(|part| part[0] == BRANCH).unwrap();
            parts.swap(at + 1, at + 2);
            set_parts(case, &parts);
        }),
        bent(own(), "a hidden side changed", "every hash counts", "WrongRoot", |case| {
            change_part(case, HIDDEN, 2, |part| part[5] ^= 1);
        }),
        bent(gone(), "a leaf with another value", "a leaf binds it", "WrongRoot", |case| {
            change_part(case, SHOWN, 0, |part| part[10] ^= 1);
        }),
        bent(gone(), "a leaf with another key", "a leaf binds it", "WrongRoot", |case| {
            // A bit after the last branch: it stands in the same place.
            change_part(case, SHOWN, 0, |part| {
                let last = usize::from(part[1]) + 1;
                part.splice(last..=last, [part[last], 0]);
                part[1] += 1;
            });
        }),
    ];
    let two: Rows = [vec![1, 0], vec![1, 1]].map(|key| (key, Some(vec![5]))).into();
    let both = || by_keys("", "", &two, &[&[1, 0], &[1, 1]]);
    for (name, why, bit, outcome) in [
        ("a branch before its keys differ", "both keys have a zero there", 14, "Stray"),
        ("a branch after its keys differ", "they differ before it", 16, "Stray"),
        ("the last bit that a key can have", "these keys are shorter", 639, "Stray"),
        ("a bit that no key has", "a key has 640 bits at most", 640, "Bits"),
        ("the last bit of all", "a key has 640 bits at most", 65535, "Bits"),
    ] {
        let mut case = both();
        set_bit(&mut case, 0, bit);
        (case["name"], case["why"], case["outcome"]) = (json!(name), json!(why), json!(outcome));
        cases.push(case);
    }
    let shared: Rows =
        [vec![1, 0, 0], vec![1, 0, 128], vec![1, 1, 0]].map(|key| (key, Some(vec![5]))).into();
    cases.push(bent(
        by_keys("", "", &shared, &[&[1, 0, 64], &[1, 0, 144]]),
        "keys that differ above their branch",
        "all leaves below a branch share its bits",
        "Stray",
        |case| change_part(case, SHOWN, 1, |part| part[3] ^= 0x80),
    ));
    cases
}

fn good_ranges(rows: &Rows) -> Vec<Value> {
    let second: &[u8] = &[2, 0xab, 0xcd, 0xef, 7];
    vec![
        by_range("a whole table", "all its rows", rows, (&[1], None, 99)),
        by_range("a whole state", "all rows of all tables", rows, (&[], None, 999)),
        by_range("no rows at all", "an empty tree", &Rows::new(), (&[1], None, 9)),
        by_range("a part of a table", "a longer prefix", rows, (second, None, 9)),
        by_range("the first rows", "more are behind them", rows, (second, None, 4)),
        by_range("one row", "and more behind it", rows, (&[1], None, 1)),
        by_range("the next rows", "after a row, with more behind", rows, (&[1], Some(&[1, 6]), 5)),
        by_range("the last rows", "after a row, to the end", rows, (&[1], Some(&[1, 36]), 99)),
        by_range("after the last row", "there are none", rows, (&[1], Some(&[1, 39]), 9)),
        by_range("after no row", "any bytes may stand there", rows, (&[4], Some(&[4, 3, 9]), 9)),
        by_range("after the prefix", "and before all rows with it", rows, (&[4], Some(&[4]), 3)),
        by_range("after another prefix", "all rows with this one", rows, (&[4], Some(&[3, 9]), 9)),
        by_range("no such table", "between two tables", rows, (&[3], None, 9)),
        by_range("no such prefix", "it leaves the way of the keys", rows, (&[2, 0xaa], None, 9)),
        by_range(
            "behind all tables",
            "the last hidden subtree is before it",
            rows,
            (&[9], None, 9),
        ),
    ]
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn bent_ranges() -> Vec<Value> {
    let rows = two_tables();
    let prefix: &[u8] = &[2, 0xab, 0xcd, 0xef, 7];
    let all = || by_range("", "", &rows, (prefix, None, 99));
    let some = || by_range("", "", &rows, (&[1], Some(&[1, 6]), 5));
    let mut cases = Vec::new();
    for (number, which) in [(0, "first"), (3, "middle"), (6, "last")] {
        for (is_hidden, how, outcome) in [(false, "shown", "LeftOut"), (true, "hidden", "Hidden")] {
            let mut case = all();
            leave_out(&mut case, number, is_hidden);
            case["name"] = json!(format!("the {which} row left out and {how}"));
            case["why"] = json!("an answer has all rows of its range");
            case["outcome"] = json!(outcome);
            cases.push(case);
        }
    }
    cases.extend([
        bent(
            some(),
            "the first after the boundary hidden",
            "it is behind `after`",
            "Hidden",
            |case| {
                leave_out(case, 0, true);
            },
        ),
        bent(
            by_range("", "", &rows, (&[1], Some(&[1, 4]), 5)),
            "the boundary and the first row hidden",
            "it is behind `after`",
            "Hidden",
            |case| {
                let row = case["rows"].as_array_mut().unwrap().remove(0);
                let hidden =
                    [json!(["0104", "0404"]), row].map(|row| leaf_of(&row)[1][1..].to_vec());
                let at = 15_u16.to_le_bytes();
                let both = derive("symbolon 2026 state branch v2", &[&at, &hidden[0], &hidden[1]]);
                let mut parts = parts_of(case);
                let place = parts.iter().position(|part| part[..] == [BRANCH, 15, 0]).unwrap();
                parts.splice(place..place + 3, [[&[HIDDEN][..], &both].concat()]);
                set_parts(case, &parts);
            },
        ),
        bent(some(), "the last before the end hidden", "it is `until`", "Hidden", |case| {
            leave_out(case, 4, true);
        }),
        bent(some(), "as if nothing followed", "more rows could be hidden", "Hidden", |case| {
            case["range"]["until"] = json!(null);
        }),
        bent(some(), "as if it were up to the next row", "that one is hidden", "Hidden", |case| {
            case["range"]["until"] = json!("010c");
        }),
        bent(some(), "as if it began a row earlier", "that one is shown", "LeftOut", |case| {
            case["range"]["after"] = json!("0105");
        }),
        bent(some(), "a row of the boundary", "a row comes after `after`", "Outside", |case| {
            case["range"]["after"] = json!("0107");
        }),
        bent(some(), "a row behind the end", "`until` is the last", "Outside", |case| {
            case["range"]["until"] = json!("010a");
        }),
        bent(all(), "a row of another prefix", "all keys begin with it", "Outside", |case| {
            case["range"]["prefix"] = json!("02abcdef0700");
        }),
        bent(all(), "a longer range", "other rows are hidden", "Hidden", |case| {
            case["range"]["prefix"] = json!("02abcdef");
        }),
        bent(all(), "two rows swapped", "rows are in the order of keys", "Outside", |case| {
            case["rows"].as_array_mut().unwrap().swap(2, 3);
        }),
        bent(all(), "a row twice", "each row once", "Outside", |case| {
            let row = case["rows"][2].clone();
            case["rows"].as_array_mut().unwrap().insert(2, row);
        }),
        bent(all(), "a row too many", "each row has a place", "Places", |case| {
            case["rows"].as_array_mut().unwrap().push(json!(["02abcdef0781", "81"]));
        }),
        bent(all(), "a row too few", "each place has a row", "Places", |case| {
            case["rows"].as_array_mut().unwrap().pop();
        }),
        bent(all(), "other value", "a proof binds every value", "WrongRoot", |case| {
            case["rows"][4][1] = json!("ff");
        }),
        bent(all(), "an empty answer", "all rows are hidden", "Hidden", |case| {
            case["rows"] = json!([]);
            case["proof"] = json!(format!("01{}", case["root"].as_str().unwrap()));
        }),
        bent(all(), "the answer of another range", "these rows are hidden", "Hidden", |case| {
            let other = by_range("", "", &two_tables(), (&[9], None, 9));
            (case["rows"], case["proof"]) = (json!([]), other["proof"].clone());
        }),
    ]);
    cases
}

fn make_proofs() -> Vec<Value> {
    let (one, rows) = (numbered(1), two_tables());
    let long: Rows = [(vec![7; 72], Some(vec![64]))].into();
    let mut cases = vec![
        by_keys("only row", "no branches", &one, &[&[1, 0]]),
        by_keys("nothing at all", "an empty tree has no rows", &Rows::new(), &[&[1, 0]]),
        by_keys("beside the only row", "the way ends at once", &one, &[&[1, 1]]),
        by_keys("a row", "inclusion", &rows, &[&[1, 7]]),
        by_keys("no row", "another one stands in its place", &rows, &[&[1, 99]]),
        by_keys("no such table", "its way leaves that of the keys", &rows, &[&[3, 1]]),
        by_keys("the beginning of a key", "no row", &rows, &[&[2, 0xab]]),
        by_keys("more than a key", "no row", &rows, &[&[1, 7, 0]]),
        by_keys("no bytes as a key", "no row", &rows, &[&[]]),
        by_keys("no keys", "the root alone is enough", &rows, &[]),
        by_keys("a key of 72 bytes", "the longest there may be", &long, &[&[7; 72]]),
        by_keys("beside a key of 64 bytes", "it stands in a leaf", &long, &[&[7; 63]]),
        by_keys(
            "rows and none, in any order",
            "places are in the order of keys",
            &rows,
            &[&[4, 2], &[1, 99], &[1, 3], &[9], &[4, 128], &[1, 3]],
        ),
    ];
    cases.extend(good_ranges(&rows));
    cases.extend(bent_keys());
    cases.extend(malformed());
    cases.extend(bent_branches());
    cases.extend(bent_ranges());
    cases
}

#[test]
fn proofs_of_rows() {
    replay("tree/proofs.json", make_proofs, run_proof);
}

#[test]
fn a_leaf_proof_is_a_part_of_a_kibibyte() {
    let (root, outboard) = hashed(20_000);
    let range = group_range(20_000, 17).unwrap();
    let group = pattern(range.start, range.end - range.start);
    let LeafProof { leaf, path } = leaf_proof(&outboard, 20_000, 17, &group).unwrap();
    assert_eq!(verify_unit(&root, 20_000, LEAF, 17, &leaf, &path), Ok(()));
}
