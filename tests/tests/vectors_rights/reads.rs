//! Vectors of who read an object: the statement that a node signs, and what an owner signs to ask for it.

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use symbolon_protocol::{
    Decode, Encode, LedgerTime,
    id::{AccountId, ChainId, ObjectId, hex},
    identity::Identity,
    reads::{ReadBy, ReadLog, ReadRow, question},
    signature,
};

use crate::{array, bytes, outcome, replay, wire_values::read_log};

const CHAIN: ChainId = ChainId([1; 32]);

/// The hex with the byte at `at` replaced.
fn with(hex: &str, at: usize, byte: &str) -> String {
    format!("{}{byte}{}", &hex[..2 * at], &hex[2 * at + 2..])
}

#[test]
fn statements() {
    replay("wire/read_log.json", log_cases, |case| {
        let log = ReadLog::from_bytes(&bytes(case, "log")).unwrap();
        outcome(log.verify(&ChainId(array(case, "chain"))))
    });
}

fn log_cases() -> Vec<Value> {
    let case = |name: &str, chain: ChainId, log: &str, outcome: &str| json!({ "name": name, "chain": hex(&chain.0), "log": log, "outcome": outcome });
    let good = hex(&read_log().to_bytes());
    let row = |day| ReadRow { day, by: ReadBy::Claim, reads: 1, bytes: 2, reader: read_log().node };
    let made = |days, rows: &[u32]| {
        let key = SigningKey::from_bytes(&[7; 32]);
        let of = (AccountId([6; 32]), ObjectId([21; 16]));
        let rows = rows.iter().map(|day| row(*day)).collect();
        hex(&ReadLog::build(&CHAIN, &key, of, days, LedgerTime(77), rows).to_bytes())
    };
    let (false_one, rows) = ("Signature.SignatureError", "Rows");
    // node 0..32 | owner 32..64 | object 64..80 | from 80..84 | end 84..88 | time 88..96 | count 96..100 | first row:
    // day 100..104 | by 104..137 | reader 137..169 | reads 169..177 | bytes 177..185
    vec![
        case("a statement", CHAIN, &good, "ok"),
        case("no rows", CHAIN, &made(5..6, &[]), "ok"),
        case("two days", CHAIN, &made(5..7, &[5, 5, 6]), "ok"),
        case("of another ledger", ChainId([9; 32]), &good, false_one),
        case("of another node", CHAIN, &with(&good, 0, "00"), false_one),
        case("of another owner", CHAIN, &with(&good, 32, "00"), false_one),
        case("of another object", CHAIN, &with(&good, 64, "00"), false_one),
        case("from another day", CHAIN, &with(&good, 80, "49"), false_one),
        case("to another day", CHAIN, &with(&good, 84, "4d"), false_one),
        case("at another time", CHAIN, &with(&good, 88, "00"), false_one),
        case("by another right", CHAIN, &with(&good, 105, "00"), false_one),
        case("of another reader", CHAIN, &with(&good, 137, "00"), false_one),
        case("with more reads", CHAIN, &with(&good, 169, "4c"), false_one),
        case("with more bytes", CHAIN, &with(&good, 177, "4d"), false_one),
        case("about no day", CHAIN, &made(5..5, &[]), rows),
        case("a row before its days", CHAIN, &made(5..7, &[4]), rows),
        case("a row after its days", CHAIN, &made(5..7, &[7]), rows),
        case("days out of order", CHAIN, &made(5..7, &[6, 5]), rows),
        case("as many rows as any", CHAIN, &made(5..6, &[5; 975]), "ok"),
        case("more rows than any", CHAIN, &made(5..6, &[5; 976]), rows),
    ]
}

#[test]
fn questions() {
    replay("wire/read_question.json", question_cases, |case| {
        let (owner, object) = (AccountId(array(case, "owner")), ObjectId(array(case, "object")));
        let [node, peer] =
            ["node", "peer"].map(|who| symbolon_protocol::id::PeerId(array(case, who)));
        let asked = question(&ChainId(array(case, "chain")), &node, &peer, (&owner, &object));
        let signed: [u8; 64] = bytes(case, "signature").try_into().unwrap();
        outcome(signature::verify(&owner.0, &asked, &signed))
    });
}

fn question_cases() -> Vec<Value> {
    let owner = Identity::from_seed(&[21; 64]);
    let (node, object) = (read_log().node, ObjectId([22; 16]));
    let asked = question(&CHAIN, &node, &owner.peer(), (&owner.account(), &object));
    let signed = signature::sign(&owner.account_key(), &asked);
    let good = json!({
        "name": "the owner asks", "chain": hex(&CHAIN.0), "node": hex(&node.0), "peer": hex(&owner.peer().0),
        "owner": hex(&owner.account().0), "object": hex(&object.0), "signature": hex(&signed), "outcome": "ok",
    });
    let other = |name: &str, field: &str, length: usize| {
        let mut case = good.clone();
        case["name"] = json!(name);
        case[field] = json!("42".repeat(length));
        case["outcome"] = json!("SignatureError");
        case
    };
    vec![
        good.clone(),
        other("on another ledger", "chain", 32),
        other("at another node", "node", 32),
        other("by another peer", "peer", 32),
        other("for another owner", "owner", 32),
        other("about another object", "object", 16),
        other("with another signature", "signature", 64),
    ]
}
