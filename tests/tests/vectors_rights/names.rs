//! Vectors of the names index: runs, and sealed root records.

use serde_json::{Value, json};
use symbolon_protocol::{
    Encode,
    content::{FileKey, Layout, Manifest, MaskMode, Scheme},
    id::{AccountId, ChainId, Hash, hex},
    identity::Identity,
    names::{Change, Part, Place, RootRecord, Run, Seen, decode_run, encode_run, open, seal},
};

use crate::{array, bytes, number, outcome, replay};

fn change(table: u8, key: &[u8], value: Option<&[u8]>) -> Change {
    Change { table, key: key.to_vec(), value: value.map(<[u8]>::to_vec) }
}

fn rows() -> Vec<Change> {
    vec![
        change(1, b"a/report.pdf", Some(b"where it is")),
        change(1, b"b", None),
        change(4, &[0xff], Some(b"")),
    ]
}

#[test]
fn runs() {
    replay("names/run.json", run_cases, |case| {
        let read = decode_run(&bytes(case, "bytes"));
        if let Ok(changes) = &read {
            assert_eq!(hex(&encode_run(changes)), case["bytes"]);
            assert_eq!(changes.len() as u64, number(case, "entries"));
        }
        outcome(read)
    });
}

fn run_cases() -> Vec<Value> {
    let good = encode_run(&rows());
    let case = |name: &str, why: &str, bytes: &[u8], entries: usize, outcome: &str| {
        json!({
            "name": name, "why": why, "bytes": hex(bytes), "entries": entries, "outcome": outcome,
        })
    };
    let no =
        |name: &str, why: &str, bytes: &[u8], outcome: &str| case(name, why, bytes, 0, outcome);
    let list = |changes: &[Change]| {
        let mut out = vec![1];
        u32::try_from(changes.len()).unwrap().encode(&mut out);
        changes.iter().for_each(|change| change.encode(&mut out));
        out
    };
    let edit = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let [first, second, third] = [&rows()[0], &rows()[1], &rows()[2]].map(Clone::clone);
    let large = [change(1, &[7; 8193], None)];
    vec![
        case("three", "two rows and a removal", &good, 3, "ok"),
        case("none", "a run of nothing", &encode_run(&[]), 0, "ok"),
        no("version 2", "of the future", &edit(0, 2), "Tag"),
        no("cut", "the last byte is missing", &good[..good.len() - 1], "Short"),
        no("longer", "a byte follows", &[good.as_slice(), &[0]].concat(), "Trailing"),
        no("swapped", "not in order", &list(&[second.clone(), first.clone()]), "Invalid"),
        no("tables", "a later table first", &list(&[third, first.clone()]), "Invalid"),
        no("twice", "one key twice", &list(&[first.clone(), first]), "Invalid"),
        no("no key", "a row needs one", &list(&[change(1, b"", None)]), "Invalid"),
        no("long key", "over 8192 bytes", &list(&large), "TooMany"),
        no("a third kind", "neither a row nor none", &edit(5 + 1 + 4 + 12, 2), "Tag"),
        no("many", "says that it has more than a part holds", &[1, 1, 0, 64, 0], "TooMany"),
        no("as many as can be", "says so, and none follow", &[1, 0, 0, 64, 0], "Short"),
        no("few", "says that it has more than follow", &edit(1, 4), "Short"),
        no("empty", "no bytes", &[], "Short"),
    ]
}

fn place(version: u64) -> Place {
    let account = Identity::from_seed(&[1; 64]).account();
    Place { chain: ChainId([3; 32]), account, version }
}

fn run(key: u8, length: u64) -> Run {
    let key = FileKey::from_bytes([key; 32]);
    let layout = Layout::new(Scheme { required: 4, total: 8 }, length).unwrap();
    let manifest = Manifest::new(&key, MaskMode::ChaCha20, &layout, Hash([9; 32]));
    Run { end: 50, entries: 1000, parts: vec![Part { key, manifest }] }
}

#[test]
fn roots() {
    replay("names/root.json", root_cases, |case| {
        let names_key = array(case, "names_key");
        let place = Place {
            chain: ChainId(array(case, "chain")),
            account: AccountId(array(case, "account")),
            version: number(case, "version"),
        };
        let blob = bytes(case, "blob");
        let read = open(&names_key, &place, &blob);
        if let Ok(record) = &read {
            assert_eq!(hex(&record.to_bytes()), case["record"]);
            let nonce = blob[..24].try_into().unwrap();
            assert_eq!(seal(&names_key, &place, record, &nonce), Ok(blob));
        }
        outcome(read)
    });
}

/// Seals any bytes as a record's.
pub(crate) fn seal_raw(place: &Place, plain: &[u8]) -> Vec<u8> {
    use chacha20poly1305::{
        XChaCha20Poly1305,
        aead::{Aead, KeyInit, Payload},
    };
    let names_key = Identity::from_seed(&[1; 64]).names_key();
    let key = blake3::derive_key("symbolon 2026 names root v1", &*names_key);
    let mut aad = place.chain.0.to_vec();
    aad.extend(place.account.0);
    aad.extend(place.version.to_le_bytes());
    let cipher = XChaCha20Poly1305::new((&key).into());
    let payload = Payload { msg: plain, aad: &aad };
    [&[8; 24], cipher.encrypt((&[8; 24]).into(), payload).unwrap().as_slice()].concat()
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn root_cases() -> Vec<Value> {
    let identity = Identity::from_seed(&[1; 64]);
    let names_key = identity.names_key();
    let case = |name: &str, why: &str, (place, blob): (Place, &[u8]), record: &[u8], out: &str| {
        json!({
            "name": name, "why": why, "names_key": hex(&*names_key), "chain": place.chain.to_string(),
            "account": place.account.to_string(), "version": place.version, "blob": hex(blob),
            "record": hex(record), "outcome": out,
        })
    };
    let sealed = |record: &RootRecord| seal(&names_key, &place(7), record, &[8; 24]).unwrap();
    let seen = |devices: &[u64]| -> Vec<Seen> {
        devices.iter().map(|device| Seen { device: *device, moment: 6 }).collect()
    };
    let small = RootRecord { until: 60, tail: rows(), ..RootRecord::default() };
    let runs = vec![run(1, 30_000_000), run(2, 9000)];
    let full = RootRecord { until: 60, seen: seen(&[5, 1 << 40]), runs, tail: rows() };
    let blob = sealed(&small);
    let ok = |name: &str, why: &str, record: &RootRecord| {
        case(name, why, (place(7), &sealed(record)), &record.to_bytes(), "ok")
    };
    let no = |name: &str, why: &str, place: Place, blob: &[u8], out: &str| {
        case(name, why, (place, blob), &[], out)
    };
    let mut bent = blob.clone();
    bent[100] ^= 1;
    let raw = |record: &[u8], whole: usize| {
        let mut plain = u16::try_from(record.len()).unwrap().to_le_bytes().to_vec();
        plain.extend(record);
        plain.resize(whole - 40, 0);
        seal_raw(&place(7), &plain)
    };
    let bytes = small.to_bytes();
    let mut plain = u16::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
    plain.extend(&bytes);
    plain.resize(512 - 40, 1);
    let dirty = seal_raw(&place(7), &plain);
    let other_key = FileKey::from_bytes([4; 32]);
    let mut swapped = full.clone();
    swapped.runs[0].parts[0].key = other_key;
    let mut huge = full.clone();
    huge.runs[0] = run(1, (64 << 20) + 1);
    let mut many = full.clone();
    many.runs = (0..7).map(|key| run(key, 100)).collect();
    let mut hollow = full.clone();
    hollow.runs[0].parts.clear();
    let mut twice = full.clone();
    twice.seen = seen(&[5, 5]);
    let mut crowd = full.clone();
    crowd.seen = seen(&(0..17).collect::<Vec<_>>());
    let mut many_devices = full.clone();
    many_devices.seen = seen(&(0..16).collect::<Vec<_>>());
    let mut falling = full.clone();
    falling.runs[1].end = 49;
    let mut longer = full.clone();
    longer.runs[1].end = 51;
    let whole = |record: &RootRecord| raw(&record.to_bytes(), 512);
    let chain = ChainId([4; 32]);
    let account = AccountId([5; 32]);
    vec![
        ok("empty", "an index without rows", &RootRecord::default()),
        ok("tail", "three changes and no run", &small),
        ok("runs", "two devices, two runs and a tail", &full),
        ok("16 devices", "as many as there may be", &many_devices),
        ok("longer", "a newer run is paid for longer", &longer),
        no("version 6", "an old record as a new one", place(6), &blob, "Sealed"),
        no("version 8", "a record given out as a newer one", place(8), &blob, "Sealed"),
        no("chain", "of another ledger", Place { chain, ..place(7) }, &blob, "Sealed"),
        no("account", "of another account", Place { account, ..place(7) }, &blob, "Sealed"),
        no("bent", "one bit was changed", place(7), &bent, "Sealed"),
        no("no bytes", "no record at all", place(7), &[], "Length"),
        no("511 bytes", "a byte is missing", place(7), &blob[..511], "Length"),
        no("9 steps", "larger than any record", place(7), &[0; 4608], "Length"),
        no("padding", "bytes in the padding", place(7), &dirty, "Padding"),
        no("one step more", "padded further than needed", place(7), &raw(&bytes, 1024), "Padding"),
        no("cut record", "ends too early", place(7), &raw(&bytes[..40], 512), "Record.Short"),
        no("past", "record version 1", place(7), &raw(&[1, 0], 512), "Record.Tag"),
        no("future", "record version 3", place(7), &raw(&[3, 0], 512), "Record.Tag"),
        no("one twice", "a device twice", place(7), &whole(&twice), "Record.Invalid"),
        no("17 devices", "over 16", place(7), &raw(&crowd.to_bytes(), 1024), "Record.TooMany"),
        no("falling", "an older run ends later", place(7), &whole(&falling), "Record.Invalid"),
        no("wrong key", "a part's key is another's", place(7), &whole(&swapped), "Record.Invalid"),
        no("huge part", "over 64 MiB", place(7), &whole(&huge), "Record.Invalid"),
        no("no parts", "a run without parts", place(7), &whole(&hollow), "Record.Invalid"),
        no("7 runs", "more than six", place(7), &raw(&many.to_bytes(), 1536), "Record.TooMany"),
    ]
}
