//! Vectors of identities at their limits: texts, key files, order openings, phrases.

use serde_json::{Value, json};
use symbolon_protocol::{
    Encode,
    id::{ChainId, ListingId, hex},
    identity::{Identity, Phrase, Recipient, keyfile},
};

use crate::{array, bytes, number, outcome, replay, text, texts};

#[test]
fn order_openings() {
    replay("identity/orders.json", order_cases, |case| {
        let identity = Identity::from_seed(&array(case, "seed"));
        let chain = ChainId(array(case, "chain"));
        let listing = ListingId(array(case, "listing"));
        let attempt = u32::try_from(number(case, "attempt")).unwrap();
        let found = identity.order_opening(&chain, &listing, attempt).to_string();
        if found == text(case, "opening") { "ok".into() } else { "mismatch".into() }
    });
}

fn order_cases() -> Vec<Value> {
    let order = |[seed, chain, listing]: [u8; 3], attempt| {
        let (chain, listing) = (ChainId([chain; 32]), ListingId([listing; 16]));
        Identity::from_seed(&[seed; 64]).order_opening(&chain, &listing, attempt).to_string()
    };
    let case = |name: &str, of: [u8; 3], attempt: u32, outcome: &str| {
        json!({
            "name": name, "why": "an order's opening follows from phrase, ledger, listing and attempt",
            "seed": hex(&[of[0]; 64]), "chain": hex(&[of[1]; 32]), "listing": hex(&[of[2]; 16]),
            "attempt": attempt,
            "opening": if outcome == "ok" { order(of, attempt) } else { order([1, 5, 2], 0) },
            "outcome": outcome,
        })
    };
    vec![
        case("the first order", [1, 5, 2], 0, "ok"),
        case("after 258 refunds", [1, 5, 2], 258, "ok"),
        case("another phrase", [3, 5, 2], 0, "mismatch"),
        case("another ledger", [1, 6, 2], 0, "mismatch"),
        case("another listing", [1, 5, 3], 0, "mismatch"),
        case("another attempt", [1, 5, 2], 1, "mismatch"),
    ]
}

#[test]
fn recipients() {
    replay("identity/texts.json", text_cases, |case| outcome(Recipient::parse(text(case, "text"))));
}

fn text_cases() -> Vec<Value> {
    let identity = Identity::from_seed(&[1; 64]);
    let good = identity.recipient().to_bytes();
    let whole = texts::text("recipient", &good);
    assert_eq!(whole, identity.recipient().to_text());
    let case = |name: &str, why: &str, text: &str, outcome: &str| {
        json!({
            "name": name, "why": why, "text": text, "account": hex(&identity.account().0),
            "outcome": outcome,
        })
    };
    let longer = [&good[..], &[0]].concat();
    let short = texts::text("recipient", &[1; 3]);
    let filled = |letters: usize| format!("recipient1{}", "q".repeat(letters - 10));
    let swapped = whole.to_uppercase().replacen("RECIPIENT", "recipient", 1);
    vec![
        case("capitals", "as a QR code carries it", &whole.to_uppercase(), "ok"),
        case("a prefix in another case", "mixed", &swapped, "Text.Form"),
        case("mixed case", "one letter", &whole.replacen('q', "Q", 1), "Text.Form"),
        case(
            "a padding bit",
            "one text for some bytes",
            &texts::padded_with_a_bit("recipient", &good),
            "Text.Damaged",
        ),
        case(
            "a padding letter",
            "one text for some bytes",
            &texts::padded_with_a_letter("recipient", &longer[..160]),
            "Text.Damaged",
        ),
        case("a letter that is none", "bech32 has no b", &whole.replacen('q', "b", 1), "Text.Form"),
        case("no separator", "letters alone", &whole.replace('1', ""), "Text.Form"),
        case("no prefix", "nothing before the separator", &whole["recipient".len()..], "Text.Form"),
        case("five letters", "no room for a checksum", "recipient1qqqqq", "Text.Form"),
        case("4096 letters", "as long as can be, and damaged", &filled(4096), "Text.Damaged"),
        case("4097 letters", "longer than any", &filled(4097), "Text.TooLong"),
        case("three bytes", "no recipient", &short, "Layout.Short"),
        case("no bytes", "a checksum alone", &texts::text("recipient", &[]), "Layout.Short"),
        case(
            "a byte more",
            "after the record",
            &texts::text("recipient", &longer),
            "Layout.Trailing",
        ),
        case("version 0", "of no program", &texts::text("recipient", &[0; 161]), "Version"),
    ]
}

#[test]
fn key_files() {
    replay("identity/keyfile_limits.json", key_file_cases, |case| {
        let opened = keyfile::open(&bytes(case, "file"), case["passphrase"].as_str());
        if let Ok(phrase) = &opened {
            assert_eq!(hex(phrase.entropy()), case["entropy"]);
        }
        outcome(opened)
    });
}

fn key_file_cases() -> Vec<Value> {
    let phrase = Phrase::from_entropy(&[1; 32]);
    let case = |name: &str, why: &str, file: &[u8], passphrase: Option<&str>, outcome: &str| {
        json!({
            "name": name, "why": why, "file": hex(file), "passphrase": passphrase,
            "entropy": hex(phrase.entropy()), "outcome": outcome,
        })
    };
    let seal = |memory_kib, passes, lanes, passphrase: &str| {
        let cost = keyfile::Cost { memory_kib, passes, lanes };
        keyfile::seal(&phrase, passphrase, cost, &[2; 32]).unwrap()
    };
    let usual = seal(64, 1, 1, "word");
    let checked = |body: &[u8]| {
        let check = blake3::derive_key("symbolon 2026 keyfile check v1", body);
        [body, &check[..16]].concat()
    };
    // magic 13 | version | kind | memory 4 | passes 4 | lanes 4 | salt 16 | nonce 12 | box 48
    let asking = |memory: u32, passes: u32, lanes: u32| {
        let mut body = usual[..usual.len() - 16].to_vec();
        body[15..19].copy_from_slice(&memory.to_le_bytes());
        body[19..23].copy_from_slice(&passes.to_le_bytes());
        body[23..27].copy_from_slice(&lanes.to_le_bytes());
        checked(&body)
    };
    let plain = keyfile::plain(&phrase);
    let kind = |of: &[u8], kind: u8| {
        let mut body = of[..of.len() - 16].to_vec();
        body[14] = kind;
        checked(&body)
    };
    let word = Some("word");
    let more = |of: &[u8]| checked(&[&of[..of.len() - 16], &[0]].concat());
    vec![
        case("sixteen passes", "as many as are accepted", &seal(64, 16, 1, "word"), word, "ok"),
        case("sixteen lanes", "as many as are accepted", &seal(128, 1, 16, "word"), word, "ok"),
        case("a ligature", "one letter for two", &seal(64, 1, 1, "fi"), Some("\u{fb01}"), "ok"),
        case("a wide letter", "typed wide", &seal(64, 1, 1, "A1"), Some("\u{ff21}\u{ff11}"), "ok"),
        case("17 passes", "one too many", &asking(64, 17, 1), word, "Cost"),
        case("17 lanes", "one too many", &asking(1024, 1, 17), word, "Cost"),
        case(
            "a KiB over a GiB",
            "more than is accepted",
            &asking((1 << 20) + 1, 1, 1),
            word,
            "Cost",
        ),
        case("no passes", "nothing is stretched", &asking(64, 0, 1), word, "Cost"),
        case("no lanes", "nothing is stretched", &asking(64, 1, 0), word, "Cost"),
        case("less memory than lanes need", "eight KiB for each", &asking(15, 1, 2), word, "Cost"),
        case("other passes", "another key", &asking(64, 2, 1), word, "WrongPassphrase"),
        case("kind 2", "neither plain nor sealed", &kind(&usual, 2), word, "Damaged"),
        case("sealed as plain", "of another length", &kind(&usual, 0), word, "Damaged"),
        case("plain as sealed", "of another length", &kind(&plain, 1), word, "Damaged"),
        case("a byte more of plain", "before the check", &more(&plain), None, "Damaged"),
        case("a byte more of sealed", "before the check", &more(&usual), word, "Damaged"),
        case("magic alone", "no version", b"symbolon key\n", None, "Damaged"),
    ]
}

#[test]
fn phrases() {
    replay("identity/spacing.json", phrase_cases, |case| {
        let phrase = Phrase::parse(text(case, "words"));
        if let Ok(phrase) = &phrase {
            assert_eq!(hex(phrase.entropy()), case["entropy"]);
            assert_eq!(hex(&*phrase.seed()), case["seed"]);
        }
        outcome(phrase)
    });
}

fn phrase_cases() -> Vec<Value> {
    let phrase = Phrase::from_entropy(&[0x7f; 32]);
    let words = phrase.words().to_string();
    let case = |name: &str, words: String, outcome: &str| {
        json!({
            "name": name, "why": "case and white space do not matter, letters do", "words": words,
            "entropy": hex(phrase.entropy()), "seed": hex(&*phrase.seed()), "outcome": outcome,
        })
    };
    vec![
        case("capitals", words.to_uppercase(), "ok"),
        case("lines", format!("\n  {}\t\n", words.replace(' ', "\n\t ")), "ok"),
        case("joined", words.replacen(' ', "", 1), "Count"),
        case("a stop", format!("{words}."), "Word"),
        case("white space alone", " \n\t".into(), "Count"),
    ]
}
