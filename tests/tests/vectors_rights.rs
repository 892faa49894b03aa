//! Replays the vectors of custody, deletion, grants, identities, names indexes and the wire, most of
//! which must be refused.
//!
//! `SYMBOLON_REGENERATE=1` writes the files again from the cases here; a changed file in a commit is a
//! changed format.

#![allow(clippy::unwrap_used, reason = "a vector that is not as it should be ends the test")]

use std::{fmt::Debug, fs, path::PathBuf};

use serde_json::Value;
use symbolon_protocol::id::unhex;

#[path = "vectors_rights/claims.rs"]
mod claims;
#[path = "vectors_rights/custody.rs"]
mod custody;
#[path = "vectors_rights/custody_edges.rs"]
mod custody_edges;
#[path = "vectors_rights/deletion.rs"]
mod deletion;
#[path = "vectors_rights/grant.rs"]
mod grant;
#[path = "vectors_rights/grant_edges.rs"]
mod grant_edges;
#[path = "vectors_rights/grant_objects.rs"]
mod grant_objects;
#[path = "vectors_rights/grant_sales.rs"]
mod grant_sales;
#[path = "vectors_rights/grant_vouchers.rs"]
mod grant_vouchers;
#[path = "vectors_rights/identity.rs"]
mod identity;
#[path = "vectors_rights/identity_edges.rs"]
mod identity_edges;
#[path = "vectors_rights/names.rs"]
mod names;
#[path = "vectors_rights/names_edges.rs"]
mod names_edges;
#[path = "vectors_rights/reads.rs"]
mod reads;
#[path = "vectors_rights/texts.rs"]
mod texts;
#[path = "vectors_rights/wire.rs"]
mod wire;
#[path = "vectors_rights/wire_values.rs"]
mod wire_values;

/// Writes the cases when asked to, then replays the file: every outcome must be the one it names.
fn replay(file: &str, cases: impl FnOnce() -> Vec<Value>, run: impl Fn(&Value) -> String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors").join(file);
    if std::env::var_os("SYMBOLON_REGENERATE").is_some() {
        let mut text = serde_json::to_string_pretty(&cases()).unwrap();
        text.push('\n');
        fs::write(&path, text).unwrap();
    }
    let text = fs::read_to_string(&path).unwrap();
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let refused = cases.iter().filter(|case| case["outcome"] != "ok").count();
    assert!(cases.len() < 2 * refused, "{file}: most vectors must fail");
    for case in &cases {
        assert_eq!(run(case), case["outcome"].as_str().unwrap(), "{file}: {}", case["name"]);
    }
}

/// `ok`, or the name of the error's variant, with that of the error inside of it.
fn outcome<T, E: Debug>(result: Result<T, E>) -> String {
    let Err(error) = result else { return "ok".into() };
    let text = format!("{error:?}");
    let name = |text: &str| -> String {
        text.chars().take_while(|letter| letter.is_ascii_alphanumeric()).collect()
    };
    let outer = name(&text);
    match text[outer.len()..].strip_prefix('(') {
        Some(inner) => format!("{outer}.{}", name(inner)),
        None => outer,
    }
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    let text = case[field].as_str().unwrap_or_else(|| panic!("{field} of {}", case["name"]));
    unhex(text).unwrap()
}

fn array<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    bytes(case, field).try_into().unwrap()
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap()
}

fn number(case: &Value, field: &str) -> u64 {
    case[field].as_u64().unwrap()
}
