//! Reads bytes by the tables alone. What it can read, somebody who has nothing but the tables can.

use std::{collections::BTreeSet, fmt::Write};

use serde_json::Value;
use symbolon_protocol::{
    Decode, Encode,
    describe::{Field, Shape},
    id::{IDS, hex, unhex},
    ledger::{
        block::{BlockInputs, Genesis},
        execute,
        rows::TABLES,
        state::MemoryState,
        transaction::Transaction,
    },
};

use crate::layouts;

/// Bytes of a type that has always as many.
pub(crate) fn fixed(kind: &str) -> Option<usize> {
    let array = |text: &str| text.strip_prefix("[u8; ")?.strip_suffix(']')?.parse().ok();
    match kind {
        "u8" | "bool" | "Status" => Some(1),
        "u16" => Some(2),
        "u32" => Some(4),
        "u64" | "LedgerTime" | "MachineTime" | "Millis" => Some(8),
        "u128" | "Amount" => Some(16),
        "NodeId" | "Point" | "Scalar" => Some(32),
        _ => {
            let id = IDS.iter().find(|(name, ..)| *name == kind).map(|(_, size, _)| *size);
            id.or_else(|| array(kind))
        }
    }
}

/// The types in a type: `Option<Vec<Hash>>` names `Hash`.
pub(crate) fn names(kind: &str) -> Vec<&str> {
    match inner(kind) {
        Some((_, inside)) => names(inside),
        None if kind == "String" => Vec::new(),
        None => vec![kind],
    }
}

/// `Vec<T>`, `Option<T>` and `Box<T>` taken apart.
pub(crate) fn inner(kind: &str) -> Option<(&str, &str)> {
    let (outer, rest) = kind.split_once('<')?;
    Some((outer, rest.strip_suffix('>')?))
}

/// One value of the walk: how deep it stands, its name, and its bytes when it has no parts.
pub(crate) struct Line {
    depth: usize,
    name: String,
    bytes: Vec<u8>,
}

/// All values of `kind` that `bytes` are, in order.
pub(crate) fn read(kind: &str, bytes: &[u8]) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    walk(kind, kind, 0, &mut rest, &mut lines);
    assert!(rest.is_empty(), "{} bytes follow {kind}", rest.len());
    lines
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, left) = rest.split_at(count);
    *rest = left;
    taken
}

fn walk(name: &str, kind: &str, depth: usize, rest: &mut &[u8], lines: &mut Vec<Line>) {
    let mut line = |name: String, bytes: &[u8]| {
        lines.push(Line { depth, name, bytes: bytes.to_vec() });
    };
    if let Some(count) = fixed(kind) {
        line(name.to_owned(), take(rest, count));
    } else if kind == "String" || kind == "Vec<u8>" {
        let count = take(rest, 4);
        line(format!("{name}, bytes"), count);
        let count = u32::from_le_bytes(count.try_into().unwrap());
        line(name.to_owned(), take(rest, usize::try_from(count).unwrap()));
    } else if let Some(("Box", inside)) = inner(kind) {
        walk(name, inside, depth, rest, lines);
    } else if let Some(("Option", inside)) = inner(kind) {
        let there = take(rest, 1);
        line(format!("{name}, there or not"), there);
        if there == [1] {
            walk(name, inside, depth, rest, lines);
        }
    } else if let Some(("Vec", inside)) = inner(kind) {
        let count = take(rest, 4);
        line(format!("{name}, how many"), count);
        for _ in 0..u32::from_le_bytes(count.try_into().unwrap()) {
            walk(inside, inside, depth + 1, rest, lines);
        }
    } else {
        described(name, kind, depth, rest, lines);
    }
}

fn described(name: &str, kind: &str, depth: usize, rest: &mut &[u8], lines: &mut Vec<Line>) {
    let layout = layouts::find(kind).unwrap_or_else(|| panic!("no table says what {kind} is"));
    let mut fields_of = |depth: usize, fields: &[Field], lines: &mut Vec<Line>| {
        for field in fields {
            walk(field.name, field.kind, depth, rest, lines);
        }
    };
    match layout.shape {
        // The outermost value's name is the example's.
        Shape::Record(fields) if depth == 0 && name == kind => fields_of(0, fields, lines),
        Shape::Record(fields) => {
            lines.push(Line { depth, name: name.to_owned(), bytes: Vec::new() });
            fields_of(depth + 1, fields, lines);
        }
        Shape::Choice(variants) => {
            let tag = take(rest, 1)[0];
            let variant = variants.iter().find(|one| one.tag == tag);
            let variant = variant.unwrap_or_else(|| panic!("{kind} has no tag {tag}"));
            let name = format!("{name}: {}", variant.name);
            lines.push(Line { depth, name, bytes: vec![tag] });
            for field in variant.fields {
                walk(field.name, field.kind, depth + 1, rest, lines);
            }
        }
    }
}

/// The lines as an example shows them: what they are, then their bytes.
pub(crate) fn show(lines: &[Line]) -> String {
    const WIDE: usize = 32;
    let mut out = String::new();
    for line in lines {
        let name = format!("{}{}", "  ".repeat(line.depth), line.name);
        let rows: Vec<String> = line.bytes.chunks(WIDE).map(hex).collect();
        let bytes = rows.join(&format!("\n{}", " ".repeat(27)));
        let text = format!("{name:<26} {bytes}");
        writeln!(out, "{}", text.trim_end()).unwrap();
    }
    out
}

/// The bytes of hexadecimal digits in which `(00*300)` stands for a byte 300 times.
fn bytes_of(text: &str) -> Vec<u8> {
    let mut parts = text.split('(');
    let mut bytes = unhex(parts.next().unwrap()).unwrap();
    for part in parts {
        let (run, rest) = part.split_once(')').unwrap();
        let (byte, count) = run.split_once('*').unwrap();
        bytes.extend(unhex(byte).unwrap().repeat(count.parse().unwrap()));
        bytes.extend(unhex(rest).unwrap());
    }
    bytes
}

fn history() -> Vec<Value> {
    serde_json::from_str(include_str!("../../../spec/vectors/ledger/history.json")).unwrap()
}

/// Every transaction of the vectors, the refused ones too, is read to its last byte by the tables.
#[test]
fn the_tables_read_every_transaction_of_the_vectors() {
    let mut count = 0;
    for entry in &history() {
        for transaction in entry["transactions"].as_array().into_iter().flatten() {
            let bytes = bytes_of(transaction.as_str().unwrap());
            let lines = read("Transaction", &bytes);
            let again: Vec<u8> = lines.iter().flat_map(|line| line.bytes.clone()).collect();
            assert_eq!(again, bytes);
            count += 1;
        }
        if let Some(facts) = entry["facts"].as_str() {
            read("BlockInputs", &unhex(facts).unwrap());
        }
    }
    assert!(count > 80, "{count}");
}

/// A table and the code's own bytes have the same parts.
#[test]
fn the_tables_read_what_the_code_writes() {
    let (first, second, _) = crate::examples::chain_of_two();
    for block in [first, second] {
        read("Block", &block.to_bytes());
    }
}

/// Every row that the history of the vectors leaves behind, and its key.
#[test]
fn the_tables_read_every_row_of_the_vectors() {
    let mut state = MemoryState::default();
    let mut tables = BTreeSet::new();
    for entry in &history() {
        let field = |name: &str| entry[name].as_str().map(|text| unhex(text).unwrap());
        if entry["outcome"] != "ok" {
            continue;
        }
        let executed = match field("genesis") {
            Some(bytes) => execute::genesis(&Genesis::from_bytes(&bytes).unwrap()),
            None => {
                let facts = BlockInputs::from_bytes(&field("facts").unwrap()).unwrap();
                let signed = entry["transactions"].as_array().unwrap().iter();
                let signed: Vec<Transaction> = signed
                    .map(|text| bytes_of(text.as_str().unwrap()))
                    .map(|bytes| Transaction::from_bytes(&bytes).unwrap())
                    .collect();
                execute::replay(&state, &facts, &signed).unwrap()
            }
        };
        state.commit(&executed.update);
        for event in &executed.events {
            read("Event", &event.to_bytes());
        }
        for (key, value) in state.rows().filter(|(key, _)| key[0] != 0) {
            let table = TABLES.iter().find(|table| table.tag == key[0]).unwrap();
            read(table.row, value);
            let mut rest = &key[1..];
            for part in table.key.replace(['(', ')'], "").split(", ").filter(|one| !one.is_empty())
            {
                walk(part, part, 0, &mut rest, &mut Vec::new());
            }
            assert!(rest.is_empty(), "{}", table.name);
            tables.insert(table.tag);
        }
    }
    assert!(tables.len() > 15, "{tables:?}");
}
