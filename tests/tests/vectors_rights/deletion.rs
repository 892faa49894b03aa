//! Vectors of deletion: the messages of the wire, and the receipt a node signs.

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use symbolon_protocol::{
    Decode, Encode, LedgerTime,
    deletion::DeletionReceipt,
    grant::{Caveat, Grant, ability},
    id::{ChainId, DealId, Hash, ObjectId, hex},
    identity::Identity,
    wire::storage::{Request, Response},
};

use crate::{array, bytes, outcome, replay, text};

const CHAIN: ChainId = ChainId([1; 32]);
const DEAL: DealId = DealId([2; 16]);
const ROOT: Hash = Hash([3; 32]);
const INDEX: u8 = 5;
const TIME_MS: LedgerTime = LedgerTime(1_795_370_000_000);

fn receipt() -> DeletionReceipt {
    let key = SigningKey::from_bytes(&[7; 32]);
    DeletionReceipt::build(&CHAIN, &key, (DEAL, INDEX), ROOT, TIME_MS)
}

fn request() -> Request {
    let owner = Identity::from_seed(&[21; 64]);
    let caveats = vec![
        Caveat::Object { object: ObjectId([4; 16]) },
        Caveat::Abilities { set: ability::DELETE },
    ];
    let grant =
        Grant::issue(&CHAIN, &owner.account_key(), owner.peer(), caveats, &[9; 32]).unwrap();
    Request::Delete { deal: DEAL, index: INDEX, grant }
}

/// The hex with the byte at `at` replaced.
fn with(hex: &str, at: usize, byte: &str) -> String {
    format!("{}{byte}{}", &hex[..2 * at], &hex[2 * at + 2..])
}

#[test]
fn messages() {
    replay("wire/deletion.json", message_cases, |case| {
        let bytes = bytes(case, "bytes");
        match text(case, "message") {
            "request" => outcome(Request::from_bytes(&bytes).map(|read| {
                assert_eq!(read.to_bytes(), bytes, "one encoding");
            })),
            _ => outcome(Response::from_bytes(&bytes).map(|read| {
                assert_eq!(read.to_bytes(), bytes, "one encoding");
            })),
        }
    });
}

fn message_cases() -> Vec<Value> {
    let case = |name: &str, message: &str, bytes: &str, outcome: &str| json!({ "name": name, "message": message, "bytes": bytes, "outcome": outcome });
    let asked = hex(&request().to_bytes());
    let told = hex(&Response::Deleted { receipt: receipt() }.to_bytes());
    vec![
        case("a request", "request", &asked, "ok"),
        case("a receipt", "response", &told, "ok"),
        case("the request ends in its grant", "request", &asked[..asked.len() - 2], "Short"),
        case("the request ends before its grant", "request", &asked[..2 * 18], "Short"),
        case("the request goes on", "request", &format!("{asked}00"), "Trailing"),
        case("no such request", "request", &with(&asked, 0, "07"), "Tag"),
        case("the receipt ends in its signature", "response", &told[..told.len() - 2], "Short"),
        case("the receipt goes on", "response", &format!("{told}00"), "Trailing"),
        case("no such answer", "response", &with(&told, 0, "07"), "Tag"),
    ]
}

#[test]
fn receipts() {
    replay("wire/deletion_receipt.json", receipt_cases, |case| {
        let receipt = DeletionReceipt::from_bytes(&bytes(case, "receipt")).unwrap();
        outcome(receipt.verify(&ChainId(array(case, "chain"))))
    });
}

fn receipt_cases() -> Vec<Value> {
    let case = |name: &str, chain: ChainId, receipt: &str, outcome: &str| json!({ "name": name, "chain": hex(&chain.0), "receipt": receipt, "outcome": outcome });
    let good = hex(&receipt().to_bytes());
    let refused = "SignatureError";
    // deal 0..16 | index 16 | node 17..49 | root 49..81 | time 81..89 | signature 89..153
    vec![
        case("a receipt", CHAIN, &good, "ok"),
        case("of another ledger", ChainId([9; 32]), &good, refused),
        case("for another deal", CHAIN, &with(&good, 0, "03"), refused),
        case("for another shard", CHAIN, &with(&good, 16, "06"), refused),
        case("of another node", CHAIN, &with(&good, 17, "00"), refused),
        case("over another root", CHAIN, &with(&good, 49, "04"), refused),
        case("at another time", CHAIN, &with(&good, 81, "ff"), refused),
        case("with another signature", CHAIN, &with(&good, 89, "00"), refused),
    ]
}
