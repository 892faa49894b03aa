//! Replays `spec/vectors/ledger/*.json` against the rules, through nothing but their public face.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{fs, path::Path};

use serde_json::Value;
use symbolon_protocol::{
    Amount, Decode, Encode,
    id::unhex,
    ledger::{
        Params,
        block::{Facts, Genesis},
        deal_cost,
        execute::{self, BlockBuilder, BlockError, Pushed},
        sheet,
        state::MemoryState,
        transaction::Transaction,
        tree,
    },
};

fn vectors(name: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/ledger");
    let text = fs::read_to_string(folder.join(name)).unwrap();
    serde_json::from_str::<Vec<Value>>(&text).unwrap()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_else(|| panic!("{}: no text {field}", vector["name"]))
}

/// A value whose bytes are canonical: encoding it again gives the same.
fn decode<T: Encode + Decode>(hex: &str) -> T {
    let bytes = unhex(hex).unwrap();
    let value = T::from_bytes(&bytes).unwrap();
    assert_eq!(value.to_bytes(), bytes);
    value
}

fn transactions(vector: &Value) -> Vec<Transaction> {
    let hexes = vector["transactions"].as_array().unwrap();
    hexes.iter().map(|hex| decode(hex.as_str().unwrap())).collect()
}

fn genesis(vector: &Value) -> MemoryState {
    let genesis: Genesis = decode(text(vector, "genesis"));
    assert_eq!(genesis.chain().to_string(), text(vector, "chain"));
    let executed = execute::genesis(&genesis);
    assert_eq!(executed.state_root.to_string(), text(vector, "state_root"));
    let mut state = MemoryState::default();
    state.commit(&executed.update);
    state
}

/// The name of an enum's variant.
fn variant(error: &BlockError) -> String {
    if let BlockError::NotApplied { status, .. } = error {
        return format!("{status:?}");
    }
    let words = format!("{error:?}");
    words.split([' ', '{']).next().unwrap_or_default().into()
}

#[test]
fn a_history_and_all_that_it_refuses() {
    let vectors = vectors("history.json");
    let (first, rest) = vectors.split_first().unwrap();
    let mut state = genesis(first);
    let (mut accepted, mut refused) = (0, 0);
    for vector in rest {
        let name = text(vector, "name");
        let facts: Facts = decode(text(vector, "facts"));
        let outcome = text(vector, "outcome");
        match execute::replay(&state, &facts, &transactions(vector)) {
            Ok(executed) => {
                assert_eq!(outcome, "ok", "{name}");
                assert_eq!(executed.state_root.to_string(), text(vector, "state_root"), "{name}");
                state.commit(&executed.update);
                assert_eq!(tree::root(&state), executed.state_root, "{name}");
                assert!(sheet(&state).unwrap().balanced(), "{name}");
                accepted += 1;
            }
            Err(error) => {
                assert_eq!(outcome, variant(&error), "{name}");
                refused += 1;
            }
        }
    }
    assert!(accepted < refused, "{accepted} accepted, {refused} refused");
}

#[test]
fn what_was_applied_is_found_again() {
    let vectors = vectors("history.json");
    let mut state = genesis(&vectors[0]);
    let mut before: Vec<Transaction> = Vec::new();
    for vector in vectors.iter().skip(1).filter(|vector| text(vector, "outcome") == "ok") {
        let facts: Facts = decode(text(vector, "facts"));
        let mut builder = BlockBuilder::new(&state, &facts).unwrap();
        let height = builder.height() - 1;
        for transaction in &before {
            assert_eq!(builder.push(transaction), Ok(Pushed::Already { height }));
        }
        before = transactions(vector);
        for transaction in &before {
            assert_eq!(builder.push(transaction), Ok(Pushed::Applied));
        }
        let executed = builder.finish();
        assert_eq!(executed.state_root.to_string(), text(vector, "state_root"));
        state.commit(&executed.update);
    }
}

#[test]
fn prices() {
    for vector in vectors("prices.json") {
        let name = text(&vector, "name");
        let number = |field: &str| vector[field].as_u64().unwrap();
        let mut params = Params::development();
        params.repair_reserve_bp = u16::try_from(number("repair_reserve_bp")).unwrap();
        params.storage_fee_bp = u16::try_from(number("storage_fee_bp")).unwrap();
        let prices = vector["prices"].as_array().unwrap().iter();
        let prices = prices.map(|price| Amount(price.as_str().unwrap().parse().unwrap()));
        let cost = deal_cost(&params, number("length"), number("epochs"), prices);
        match text(&vector, "outcome") {
            "ok" => {
                let cost = cost.unwrap_or_else(|| panic!("{name}: overflows"));
                assert_eq!(cost.rate.0.to_string(), text(&vector, "rate"), "{name}");
                assert_eq!(cost.total.0.to_string(), text(&vector, "total"), "{name}");
            }
            "Overflow" => assert_eq!(cost, None, "{name}"),
            other => panic!("{name}: unknown outcome {other}"),
        }
    }
}
