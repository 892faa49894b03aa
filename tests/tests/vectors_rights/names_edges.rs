//! Vectors of the names index at its limits, and of how runs come together.

use serde_json::{Value, json};
use symbolon_protocol::{
    Encode,
    content::{FileKey, Layout, Manifest, MaskMode, Scheme},
    id::{AccountId, ChainId, Hash, hex},
    identity::Identity,
    names::{
        Change, Part, Place, RootRecord, Run, Seen, decode_run, encode_run, merge, open,
        runs_to_merge, seal, without_removed,
    },
};

use crate::{array, bytes, names::seal_raw, number, outcome, replay};

fn change(table: u8, key: &[u8], value: Option<&[u8]>) -> Change {
    Change { table, key: key.to_vec(), value: value.map(<[u8]>::to_vec) }
}

fn part(key: u8, length: u64) -> Part {
    let key = FileKey::from_bytes([key; 32]);
    let layout = Layout::new(Scheme { required: 4, total: 8 }, length).unwrap();
    let manifest = Manifest::new(&key, MaskMode::ChaCha20, &layout, Hash([9; 32]));
    Part { key, manifest }
}

fn run(parts: u8, length: u64) -> Run {
    Run { end: 50, entries: 1000, parts: (0..parts).map(|key| part(key, length)).collect() }
}

fn place() -> Place {
    let account = Identity::from_seed(&[1; 64]).account();
    Place { chain: ChainId([3; 32]), account, version: 7 }
}

#[test]
fn roots() {
    replay("names/root_limits.json", root_cases, |case| {
        let at = Place {
            chain: ChainId(array(case, "chain")),
            account: AccountId(array(case, "account")),
            version: number(case, "version"),
        };
        let read = open(&array(case, "names_key"), &at, &bytes(case, "blob"));
        if let Ok(record) = &read {
            assert_eq!(hex(&record.to_bytes()), case["record"]);
        }
        outcome(read)
    });
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn root_cases() -> Vec<Value> {
    let names_key = Identity::from_seed(&[1; 64]).names_key();
    let at = place();
    let case = |name: &str, why: &str, blob: &[u8], record: &[u8], out: &str| {
        json!({
            "name": name, "why": why, "names_key": hex(&*names_key), "chain": at.chain.to_string(),
            "account": at.account.to_string(), "version": at.version, "blob": hex(blob),
            "record": hex(record), "outcome": out,
        })
    };
    let ok = |name: &str, why: &str, record: &RootRecord| {
        let blob = seal(&names_key, &at, record, &[8; 24]).unwrap();
        case(name, why, &blob, &record.to_bytes(), "ok")
    };
    let raw = |length: u16, bytes: &[u8], whole: usize| {
        let mut plain = length.to_le_bytes().to_vec();
        plain.extend(bytes);
        plain.resize(whole - 40, 0);
        seal_raw(&at, &plain)
    };
    let no = |name: &str, why: &str, record: &[u8], out: &str| {
        let whole = (24 + 2 + record.len() + 16).next_multiple_of(512);
        let blob = raw(u16::try_from(record.len()).unwrap(), record, whole);
        case(name, why, &blob, &[], out)
    };
    let with = |runs: Vec<Run>| RootRecord { until: 60, runs, ..RootRecord::default() };
    let tail = |bytes: usize| RootRecord {
        until: 60,
        // 11 bytes of record, 4 of a count, 11 of the change itself.
        tail: vec![change(1, b"k", Some(&vec![7; bytes - 26]))],
        ..RootRecord::default()
    };
    let empty = Run { entries: 0, ..run(1, 100) };
    let devices = |devices: &[u64]| {
        let seen = devices.iter().map(|device| Seen { device: *device, moment: 100 - *device });
        RootRecord { seen: seen.collect(), ..with(vec![run(1, 100)]) }
    };
    let sixteen: Vec<u64> = (1..=16).collect();
    let seventeen: Vec<u64> = (1..=17).collect();
    let later = Run { end: 51, ..run(1, 100) };
    let bytes = with(vec![run(1, 100)]).to_bytes();
    vec![
        ok("sixteen devices", "as many as can be", &devices(&sixteen)),
        ok(
            "a later run ends later",
            "or with the one before",
            &with(vec![run(1, 100), later.clone()]),
        ),
        no("17 devices", "one too many", &devices(&seventeen).to_bytes(), "Record.TooMany"),
        no("devices swapped", "not in order", &devices(&[2, 1]).to_bytes(), "Record.Invalid"),
        no("a device twice", "not in order", &devices(&[1, 1]).to_bytes(), "Record.Invalid"),
        no(
            "a later run ends earlier",
            "by an epoch",
            &with(vec![later, run(1, 100)]).to_bytes(),
            "Record.Invalid",
        ),
        ok("six runs", "as many as can be", &with(vec![run(1, 100); 6])),
        ok("sixteen parts", "as many as can be", &with(vec![run(8, 100), run(8, 100)])),
        ok("part of 64 MiB", "as large as can be", &with(vec![run(1, 64 << 20)])),
        ok("470 bytes", "to the last byte of 512", &tail(470)),
        ok("471 bytes", "which need one more step", &tail(471)),
        ok("4054 bytes", "to the last byte of 4096", &tail(4054)),
        no(
            "17 parts",
            "one too many",
            &with(vec![run(8, 100), run(9, 100)]).to_bytes(),
            "Record.TooMany",
        ),
        no("a run of nothing", "no entries", &with(vec![empty]).to_bytes(), "Record.Invalid"),
        no("a byte more", "after the record", &[&bytes[..], &[0]].concat(), "Record.Trailing"),
        case("length past the end", "of what was sealed", &raw(471, &bytes, 512), &[], "Padding"),
        case("length far past the end", "65535 bytes", &raw(65_535, &bytes, 512), &[], "Padding"),
        case(
            "a step too many",
            "471 bytes in three steps",
            &raw(471, &bytes, 1536),
            &[],
            "Padding",
        ),
        case(
            "4608 bytes, sealed well",
            "larger than any",
            &raw(4566, &[1; 4566], 4608),
            &[],
            "Length",
        ),
    ]
}

#[test]
fn merging() {
    replay("names/merge.json", merge_cases, |case| {
        let found = if case.get("runs").is_some() {
            let runs = case["runs"].as_array().unwrap().iter();
            // As many parts as a run of that size has.
            let runs =
                runs.map(|bytes| Run { end: 0, entries: 1, parts: parts(bytes.as_u64().unwrap()) });
            let record = RootRecord { runs: runs.collect(), ..RootRecord::default() };
            json!(runs_to_merge(&record, number(case, "fresh"))) == case["taken"]
        } else {
            let [older, newer] = ["older", "newer"].map(|of| decode_run(&bytes(case, of)).unwrap());
            let mut all = merge(older, newer);
            if case["lowest"] == true {
                all = without_removed(all);
            }
            hex(&encode_run(&all)) == case["merged"]
        };
        if found { "ok".into() } else { "mismatch".into() }
    });
}

fn parts(bytes: u64) -> Vec<Part> {
    let most = 64 << 20;
    let count = bytes.div_ceil(most).max(1);
    (0..count).map(|place| part(1, (bytes - place * most).min(most))).collect()
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn merge_cases() -> Vec<Value> {
    let older = [
        change(1, b"a", Some(b"old a")),
        change(1, b"b", Some(b"old b")),
        change(1, b"c", None),
        change(2, b"a", Some(b"table 2")),
        change(3, b"z", Some(b"last")),
    ];
    let newer = [
        change(0, b"first", Some(b"0")),
        change(1, b"a", Some(b"new a")),
        change(1, b"b", None),
        change(1, b"c", Some(b"again")),
        change(2, b"aa", None),
    ];
    let merged = |older: &[Change], newer: &[Change], lowest: bool| {
        let all = merge(older.to_vec(), newer.to_vec());
        if lowest { without_removed(all) } else { all }
    };
    let both = |name: &str,
                why: &str,
                [older, newer]: [&[Change]; 2],
                lowest: bool,
                as_if: bool| {
        json!({
            "name": name, "why": why, "older": hex(&encode_run(older)), "newer": hex(&encode_run(newer)),
            "lowest": lowest, "merged": hex(&encode_run(&merged(older, newer, as_if))),
            "outcome": if lowest == as_if { "ok" } else { "mismatch" },
        })
    };
    let taken = |name: &str, why: &str, fresh: u64, runs: &[u64], taken: usize, outcome: &str| {
        json!({
            "name": name, "why": why, "fresh": fresh, "runs": runs, "taken": taken, "outcome": outcome,
        })
    };
    let six = [1 << 26, 1 << 21, 1 << 18, 1 << 15, 1 << 12, 1 << 9];
    let ok = |name: &str, why: &str, fresh: u64, runs: &[u64], count: usize| {
        taken(name, why, fresh, runs, count, "ok")
    };
    let no = |name: &str, why: &str, fresh: u64, runs: &[u64], count: usize| {
        taken(name, why, fresh, runs, count, "mismatch")
    };
    let [a, b] = [&older[..], &newer[..]];
    let mut swapped = both("the other way round", "the newer word holds", [b, a], false, false);
    swapped["merged"] = json!(hex(&encode_run(&merged(a, b, false))));
    swapped["outcome"] = json!("mismatch");
    let mut cases = vec![
        both("merged", "what the newer says of a key holds", [a, b], false, false),
        both("nothing below", "a run with nothing below it keeps no removals", [a, b], true, true),
        both("removals kept below", "where nothing is below", [a, b], true, false),
        both("removals dropped above", "where something is below", [a, b], false, true),
        both("of nothing", "an empty older one", [&[], b], false, false),
        swapped,
        ok("no runs", "there are none to take", 100, &[], 0),
        ok("four times as large", "the newest run stays", 100, &[400], 0),
        ok("a byte less", "the newest run is taken along", 100, &[399], 1),
        ok("taken adds up", "499 bytes, and 1995 are less than four times", 100, &[1995, 399], 2),
        ok("and not more", "1996 are four times", 100, &[1996, 399], 1),
        ok("six runs", "one has to make room", 100, &six, 1),
        ok("five runs", "there is room", 100, &six[..5], 0),
        no("none of six", "there would be seven", 100, &six, 0),
        no("the newest stays", "though it is too small", 100, &[399], 0),
        no("the oldest goes too", "though it is large", 100, &[1996, 399], 2),
        no("all", "though they are large", 100, &six[..5], 5),
        no("one of none", "there is none", 100, &[], 1),
    ];
    for case in
        cases.clone().iter().filter(|case| case["outcome"] == "ok" && case["runs"].is_array())
    {
        let mut other = case.clone();
        other["name"] = json!(format!("{}, one more", case["name"].as_str().unwrap()));
        other["taken"] = json!(case["taken"].as_u64().unwrap() + 1);
        other["outcome"] = json!("mismatch");
        cases.push(other);
    }
    cases
}
