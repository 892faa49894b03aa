//! Whether what a command printed is what its schema in `spec/json` says: no field more, and none less.
//!
//! The schemas use a handful of keywords, and those are here; any other ends the test. A library that knows every
//! keyword is forty crates more, and would let a field pass that the schema does not name: objects are open there for
//! what later versions say, and closed here.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeSet, fs, path::PathBuf};

use serde_json::Value;

/// Where the schemas are.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../spec/json")
}

/// The names of all schemas.
pub(crate) fn names() -> BTreeSet<String> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

pub(crate) fn read(name: &str) -> Value {
    let text = fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The documents that a schema knows.
pub(crate) fn alternatives(schema: &Value) -> Vec<String> {
    let all = schema["anyOf"].as_array().unwrap().iter();
    all.map(|one| one["$ref"].as_str().unwrap().to_owned()).collect()
}

/// Which of the documents of a schema this is; or why it is none of them.
pub(crate) fn which(schema: &Value, document: &Value) -> Result<String, String> {
    let all = schema["anyOf"].as_array().unwrap().iter();
    let mut why = Vec::new();
    for (one, name) in all.zip(alternatives(schema)) {
        match fits(schema, one, document) {
            Ok(()) => return Ok(name),
            Err(reason) => why.push(format!("{name}: {reason}")),
        }
    }
    Err(why.join("\n"))
}

/// The schema of what a command line prints when it goes well.
pub(crate) fn of_command(arguments: &[String]) -> String {
    let names = names();
    let mut words = arguments.iter().map(String::as_str).filter(|word| !word.starts_with('-'));
    while let Some(word) = words.next() {
        let usual = match word {
            "account" => "balance",
            "market" => "list",
            "order" => "show",
            "gov" | "grant" | "ledger" | "node" | "validator" | "vault" => "",
            verb if names.contains(verb) => return verb.to_owned(),
            _ => continue,
        };
        let full = format!("{word}-{}", words.next().unwrap_or(usual));
        return if names.contains(&full) { full } else { format!("{word}-{usual}") };
    }
    panic!("{arguments:?} is no command");
}

/// Checks what a command printed with `--json`; how it ended decides which document that has to be.
#[track_caller]
pub(crate) fn check(arguments: &[String], code: Option<i32>, out: &[u8]) {
    // What was killed may have said nothing, or half a word.
    let Some(code) = code.filter(|_| arguments.iter().any(|word| word == "--json")) else { return };
    let text = std::str::from_utf8(out).unwrap();
    let Some(last) = text.lines().last() else { return };
    let document: Value = serde_json::from_str(last).expect(text);
    let name = if code == 0 { of_command(arguments) } else { String::from("error") };
    if let Err(why) = which(&read(&name), &document) {
        panic!("{arguments:?} printed what {name}.json does not say: {document}\n{why}");
    }
    assert!(code == 0 || document["error"]["exit_code"] == code, "ended with {code}: {document}");
}

/// Checks the documents of a stream.
#[track_caller]
pub(crate) fn check_stream<'a>(events: impl IntoIterator<Item = &'a Value>) {
    let schema = read("progress");
    for event in events {
        if let Err(why) = which(&schema, event) {
            panic!("an event that progress.json does not know: {event}\n{why}");
        }
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        other => panic!("a schema with the type {other}, which is not looked at"),
    }
}

/// The patterns that the schemas have.
fn matches(pattern: &str, text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let credits = |text: &str| match text.split_once('.') {
        None => digits(text),
        Some((whole, part)) => digits(whole) && digits(part) && part.len() <= 9,
    };
    match pattern {
        "^([0-9a-f]{2})+$" => {
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            !text.is_empty() && text.len().is_multiple_of(2) && text.bytes().all(is_hex)
        }
        r"^[0-9]+(\.[0-9]{1,9})?$" => credits(text),
        r"^[+-][0-9]+(\.[0-9]{1,9})?$" => text.strip_prefix(['+', '-']).is_some_and(credits),
        other => panic!("a schema with the pattern {other}, which is not looked at"),
    }
}

/// Whether a value is what a part of a schema says; if not, why.
fn fits(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    // What may be anything.
    if *schema == Value::Bool(true) {
        return Ok(());
    }
    let list = |rule: &Value| rule.as_array().unwrap().clone();
    let no = |keyword: &str, rule: &Value| Err(format!("{keyword} {rule} is not kept by {value}"));
    for (keyword, rule) in schema.as_object().unwrap() {
        let kept = match keyword.as_str() {
            "description" => true,
            "$ref" => {
                let path = rule.as_str().unwrap().strip_prefix('#').unwrap();
                fits(root, root.pointer(path).unwrap(), value)?;
                true
            }
            "type" => match rule {
                Value::String(kind) => is_of(kind, value),
                kinds => list(kinds).iter().any(|kind| is_of(kind.as_str().unwrap(), value)),
            },
            "const" => rule == value,
            "enum" => list(rule).contains(value),
            "minimum" => value.as_f64().is_none_or(|number| rule.as_f64().unwrap() <= number),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "pattern" => value.as_str().is_none_or(|text| matches(rule.as_str().unwrap(), text)),
            "required" => {
                list(rule).iter().all(|field| value.get(field.as_str().unwrap()).is_some())
            }
            "properties" => {
                for (field, value) in value.as_object().into_iter().flatten() {
                    let Some(rule) = rule.get(field) else {
                        return Err(format!("there is a field {field}"));
                    };
                    fits(root, rule, value).map_err(|why| format!("{field}: {why}"))?;
                }
                true
            }
            "items" => {
                for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                    fits(root, rule, item).map_err(|why| format!("{place}: {why}"))?;
                }
                true
            }
            "minItems" => value.as_array().is_none_or(|of| rule.as_u64() <= Some(of.len() as u64)),
            "maxItems" => value.as_array().is_none_or(|of| Some(of.len() as u64) <= rule.as_u64()),
            "anyOf" | "oneOf" => {
                let tried = list(rule).into_iter().map(|one| fits(root, &one, value));
                let (good, bad): (Vec<_>, Vec<_>) = tried.partition(Result::is_ok);
                if good.is_empty() {
                    let why: Vec<_> = bad.into_iter().filter_map(Result::err).collect();
                    return Err(why.join(", and "));
                }
                keyword == "anyOf" || good.len() == 1
            }
            other => panic!("a schema with {other}, which is not looked at"),
        };
        if !kept {
            return no(keyword, rule);
        }
    }
    Ok(())
}
