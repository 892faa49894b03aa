//! Replays `spec/vectors/wycheproof` against the libraries that seal, sign and agree on keys here, the way they
//! are used here: what is invalid must be refused, whatever a library was built with.

#![allow(clippy::unwrap_used, reason = "a test stops where something is not as it should be")]

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use ed25519_dalek::{Signature, VerifyingKey};
use serde_json::Value;
use symbolon_protocol::id::{hex, unhex};

fn cases(name: &str) -> Vec<Value> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/vectors/wycheproof");
    let text = std::fs::read_to_string(format!("{folder}/{name}.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    file["cases"].as_array().unwrap().clone()
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    unhex(case[field].as_str().unwrap()).unwrap()
}

/// Replays the cases; `accepts` says whether one is taken for valid. How many were, and how many not.
fn replay(name: &str, accepts: impl Fn(&Value) -> bool) -> (usize, usize) {
    let mut counts = (0, 0);
    for case in cases(name) {
        let accepted = accepts(&case);
        match case["result"].as_str().unwrap() {
            "valid" => assert!(accepted, "{name} {case}"),
            "invalid" => assert!(!accepted, "{name} {case}"),
            // What an implementation may take or leave.
            _ => {}
        }
        counts = (counts.0 + usize::from(accepted), counts.1 + usize::from(!accepted));
    }
    counts
}

#[test]
fn sealed_bytes() {
    let counts = replay("chacha20_poly1305", |case| {
        let Ok(nonce) = <[u8; 12]>::try_from(bytes(case, "iv")) else { return false };
        let cipher = ChaCha20Poly1305::new_from_slice(&bytes(case, "key")).unwrap();
        let (nonce, aad) = (Nonce::from(nonce), bytes(case, "aad"));
        let sealed = [bytes(case, "ct"), bytes(case, "tag")].concat();
        match cipher.decrypt(&nonce, Payload { msg: &sealed, aad: &aad }) {
            Ok(opened) => {
                let again = cipher.encrypt(&nonce, Payload { msg: &opened, aad: &aad }).unwrap();
                assert_eq!(again, sealed, "{case}");
                opened == bytes(case, "msg")
            }
            Err(_) => false,
        }
    });
    assert_eq!(counts, (256, 69));
}

#[test]
fn signatures() {
    let counts = replay("ed25519", |case| {
        let key = <[u8; 32]>::try_from(bytes(case, "public")).unwrap();
        let Ok(signature) = <[u8; 64]>::try_from(bytes(case, "sig")) else { return false };
        // As `identity::signature` does, over a message instead of a digest.
        VerifyingKey::from_bytes(&key).is_ok_and(|key| {
            key.verify_strict(&bytes(case, "msg"), &Signature::from_bytes(&signature)).is_ok()
        })
    });
    assert_eq!(counts, (88, 63));
}

#[test]
fn agreed_keys() {
    let counts = replay("x25519", |case| {
        let public = <[u8; 32]>::try_from(bytes(case, "public")).unwrap();
        let secret = <[u8; 32]>::try_from(bytes(case, "private")).unwrap();
        let secret = x25519_dalek::StaticSecret::from(secret);
        let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(public));
        assert_eq!(hex(shared.as_bytes()), case["shared"].as_str().unwrap(), "{case}");
        // A point of low order takes the secret out of the agreement: RFC 9180 wants it refused.
        let contributory = shared.was_contributory();
        let zero = case["flags"].as_array().unwrap().iter().any(|flag| flag == "ZeroSharedSecret");
        assert_eq!(contributory, !zero, "{case}");
        contributory
    });
    assert_eq!(counts.0 + counts.1, 518);
}
