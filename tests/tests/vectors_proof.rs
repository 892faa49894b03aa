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
        make("two rows", "one branch or more", &numbered(2)),
        make("forty rows", "branches and collapsed subtrees", &numbered(40)),
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

fn run_path(case: &Value) -> String {
    let value = case["value"].as_str().map(|value| unhex(value).unwrap());
    outcome(tree::verify(
        &hash_of(&case["root"]),
        &bytes_of(&case["key"]),
        value.as_deref(),
        &bytes_of(&case["path"]),
    ))
}

fn proven(name: &str, why: &str, rows: &Rows, key: &[u8]) -> Value {
    let (root, state) = state_of(rows);
    let value = rows.get(key).cloned().flatten();
    json!({
        "name": name, "why": why, "root": root.to_string(), "key": hex(key),
        "value": value.as_deref().map(hex), "path": hex(&tree::prove(&state, key)), "outcome": "ok",
    })
}

/// A key without a row whose way ends at nothing, or at another row.
fn absent(rows: &Rows, end: u8) -> Vec<u8> {
    let (_, state) = state_of(rows);
    let ends_so = |key: &Vec<u8>| {
        let path = tree::prove(&state, key);
        path.len() == 4 + 32 * usize::from(path[0]) + if end == 0 { 1 } else { 65 }
    };
    (0..=u8::MAX).map(|number| vec![9, number]).find(ends_so).unwrap()
}

fn bent_paths() -> Vec<Value> {
    let rows = numbered(40);
    let own = || proven("", "", &rows, &[1, 7]);
    let gone = || proven("", "", &rows, &absent(&rows, 2));
    vec![
        bent(own(), "other value", "a path binds the value", "WrongRoot", |case| {
            case["value"] = json!("07");
        }),
        bent(own(), "other key", "a path binds the key", "WrongRoot", |case| {
            case["key"] = json!("0108");
        }),
        bent(own(), "denied", "a row that is there", "End", |case| case["value"] = json!(null)),
        bent(gone(), "invented", "a row that is not there", "End", |case| {
            case["value"] = json!("07");
        }),
        bent(own(), "other root", "a path is for one root", "WrongRoot", |case| {
            case["root"] = json!("00".repeat(32));
        }),
        bent(gone(), "other key's end", "the end is not on the way", "Stray", |case| {
            case["key"] = json!("0963");
        }),
        bent(own(), "own row as another's", "its own row is no proof of absence", "End", |case| {
            // In a tree of this row alone, every other key's path ends at it.
            let alone = [(vec![1, 7], Some(vec![7, 7]))].into();
            let end = tree::prove(&state_of(&alone).1, &[9]);
            let path = bytes_of(&case["path"]);
            case["path"] = json!(hex(&[&path[..path.len() - 1], &end[4..]].concat()));
            case["value"] = json!(null);
        }),
        bent(own(), "level missing", "every level counts", "WrongRoot", |case| {
            let path = bytes_of(&case["path"]);
            let count = [path[0] - 1, 0, 0, 0];
            case["path"] = json!(hex(&[&count[..], &path[36..]].concat()));
        }),
        bent(own(), "too deep", "a path has 256 bits", "TooDeep", |case| {
            case["path"] = json!(format!("01010000{}01", "00".repeat(257 * 32)));
        }),
        bent(
            own(),
            "as deep as can be",
            "a path of 256 siblings, of no tree",
            "WrongRoot",
            |case| {
                case["path"] = json!(format!("00010000{}01", "00".repeat(256 * 32)));
            },
        ),
        bent(
            own(),
            "deep and cut",
            "257 are said, and the last byte is missing",
            "Malformed",
            |case| {
                case["path"] = json!(format!("01010000{}", "00".repeat(257 * 32 - 1)));
            },
        ),
        bent(own(), "deep and without its end", "257 are there, and no end", "Malformed", |case| {
            case["path"] = json!(format!("01010000{}", "00".repeat(257 * 32)));
        }),
        bent(own(), "bytes after the end", "one encoding", "Malformed", |case| {
            case["path"] = json!(case["path"].as_str().unwrap().to_owned() + "00");
        }),
        bent(own(), "no bytes", "a path has an end", "Malformed", |case| case["path"] = json!("")),
        bent(own(), "unknown end", "ends are 0 to 2", "Malformed", |case| {
            case["path"] = json!("0000000003");
        }),
        bent(own(), "too many siblings", "a claimed count reserves nothing", "Malformed", |case| {
            case["path"] = json!("ffffffff01");
        }),
    ]
}

fn make_paths() -> Vec<Value> {
    let (one, many) = (numbered(1), numbered(40));
    let mut cases = vec![
        proven("only row", "no siblings", &one, &[1, 0]),
        proven("nothing at all", "an empty tree has no rows", &Rows::new(), &[1, 0]),
        proven("beside the only row", "the way ends at once", &one, &[1, 1]),
        proven("a row of forty", "inclusion", &many, &[1, 7]),
        proven("no row: nothing there", "an empty subtree", &many, &absent(&many, 0)),
        proven("no row: another there", "a subtree of one row", &many, &absent(&many, 2)),
    ];
    cases.extend(bent_paths());
    cases
}

#[test]
fn paths_in_trees() {
    replay("tree/paths.json", make_paths, run_path);
}

#[test]
fn a_leaf_proof_is_a_part_of_a_kibibyte() {
    let (root, outboard) = hashed(20_000);
    let range = group_range(20_000, 17).unwrap();
    let group = pattern(range.start, range.end - range.start);
    let LeafProof { leaf, path } = leaf_proof(&outboard, 20_000, 17, &group).unwrap();
    assert_eq!(verify_unit(&root, 20_000, LEAF, 17, &leaf, &path), Ok(()));
}
