//! Vectors of phrases, derived keys, recipients, key files and envelopes.

use serde_json::{Value, json};
use symbolon_protocol::{
    Encode, envelope,
    grant::GrantToken,
    id::{ChainId, ListingId, OrderId, VaultId, hex},
    identity::{Identity, Phrase, Recipient, keyfile},
};

use crate::{array, bytes, outcome, replay, text as field_text};

/// The 24-word vectors of the BIP-39 reference (`trezor/python-mnemonic`, `vectors.json`): entropy and
/// words. The seeds are for the empty BIP-39 passphrase, which the reference does not have; they were
/// computed with Python's `hashlib.pbkdf2_hmac`.
const PHRASES: [(&str, &str, &str); 8] = [
    (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art",
        "408b285c123836004f4b8842c89324c1f01382450c0d439af345ba7fc49acf705489c6fc77dbd4e3dc1dd8cc6bc9f043db8ada1e243c4a0eafb290d399480840",
    ),
    (
        "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f",
        "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth title",
        "761914478ebf6fe16185749372e91549361af22b386de46322cf8b1ba7e92e80c4af05196f742be1e63aab603899842ddadf4e7248d8e43870a4b6ff9bf16324",
    ),
    (
        "8080808080808080808080808080808080808080808080808080808080808080",
        "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic bless",
        "848bbe19cad445e46f35fd3d1a89463583ac2b60b5eb4cfcf955731775a5d9e17a81a71613fed83f1ae27b408478fdec2bbc75b5161d1937aa7cdf4ad686ef5f",
    ),
    (
        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote",
        "e28a37058c7f5112ec9e16a3437cf363a2572d70b6ceb3b6965447623d620f14d06bb321a26b33ec15fcd84a3b5ddfd5520e230c924c87aaa0d559749e044fef",
    ),
    (
        "68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c",
        "hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis maple dilemma loan word shrug inflict delay length",
        "17e4b5661796eeff8904550f8572289317ece7c1cc1316469f8f4c986c1ffd7b9f4c3aeac3e1713ffc21fa33707d09d57a2ece358d72111ef7c7658e7b33f2d5",
    ),
    (
        "9f6a2878b2520799a44ef18bc7df394e7061a224d2c33cd015b157d746869863",
        "panda eyebrow bullet gorilla call smoke muffin taste mesh discover soft ostrich alcohol speed nation flash devote level hobby quick inner drive ghost inside",
        "3e066d7dee2dbf8fcd3fe240a3975658ca118a8f6f4ca81cf99104944604b05a5090a79d99e545704b914ca0397fedb82fd00fd6a72098703709c891a065ee49",
    ),
    (
        "066dca1a2bb7e8a1db2832148ce9933eea0f3ac9548d793112d9a95c9407efad",
        "all hour make first leader extend hole alien behind guard gospel lava path output census museum junior mass reopen famous sing advance salt reform",
        "fc795be0c3f18c50dddb34e72179dc597d64055497ecc1e69e2e56a5409651bc139aae8070d4df0ea14d8d2a518a9a00bb1cc6e92e053fe34051f6821df9164c",
    ),
    (
        "f585c11aec520db57dd353c69554b21a89b20fb0650966fa0a9d6f74fd989d8f",
        "void come effort suffer camp survey warrior heavy shoot primary clutch crush open amazing screen patrol group space point ten exist slush involve unfold",
        "b873212f885ccffbf4692afcb84bc2e55886de2dfa07d90f5c3c239abc31c0a6ce047e30fd8bf6a281e71389aa82d73df74c7bbfb3b06b4639a5cee775cccd3c",
    ),
];

#[test]
fn phrases() {
    replay("identity/phrase.json", phrase_cases, |case| {
        let phrase = Phrase::parse(field_text(case, "words"));
        if let Ok(phrase) = &phrase {
            assert_eq!(hex(phrase.entropy()), case["entropy"]);
            assert_eq!(hex(&*phrase.seed()), case["seed"]);
            let again = Phrase::from_entropy(phrase.entropy()).words();
            assert_eq!(again.as_str(), field_text(case, "words").to_lowercase());
        }
        outcome(phrase)
    });
}

fn phrase_cases() -> Vec<Value> {
    let good = |(entropy, words, seed): &(&str, &str, &str)| {
        json!({
            "name": words.split(' ').next().unwrap(), "why": "a published phrase", "words": words,
            "entropy": entropy, "seed": seed, "outcome": "ok",
        })
    };
    let bad = |name: &str, why: &str, words: String, outcome: &str| json!({ "name": name, "why": why, "words": words, "outcome": outcome });
    let panda = PHRASES[5].1;
    let mut cases: Vec<Value> = PHRASES.iter().map(good).collect();
    cases.extend([
        bad("empty", "no words", String::new(), "Count"),
        bad("12 words", "a phrase of another size", ["abandon"; 12].join(" "), "Count"),
        bad("23 words", "one was lost", panda.rsplit_once(' ').unwrap().0.into(), "Count"),
        bad("25 words", "one was doubled", format!("{panda} inside"), "Count"),
        bad("commas", "one word, for a computer", panda.replace(' ', ","), "Count"),
        bad("misspelt", "no such word", panda.replace("gorilla", "gorila"), "Word"),
        bad("abbreviated", "four letters are no word here", panda.replace("panda", "pand"), "Word"),
        bad("German", "another language", panda.replace("ghost", "geist"), "Word"),
        bad(
            "swapped",
            "two words changed places",
            panda.replacen("panda eyebrow", "eyebrow panda", 1),
            "Checksum",
        ),
        bad(
            "other word",
            "a true word, but not this one",
            panda.replace("ghost", "giant"),
            "Checksum",
        ),
        bad("all abandon", "the checksum word is missing", ["abandon"; 24].join(" "), "Checksum"),
        bad(
            "other end",
            "the last word of another phrase",
            panda.replace("inside", "unfold"),
            "Checksum",
        ),
    ]);
    cases
}

#[test]
fn keys() {
    // Nothing can fail here, so this file is not replayed as one of refusals.
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/vectors/identity/keys.json");
    let cases: Vec<Value> = PHRASES.iter().map(|(_, _, seed)| derived(seed)).collect();
    if std::env::var_os("SYMBOLON_REGENERATE").is_some() {
        std::fs::write(path, serde_json::to_string_pretty(&cases).unwrap() + "\n").unwrap();
    }
    let stored: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(stored, cases);
}

fn derived(seed: &str) -> Value {
    let seed_bytes: [u8; 64] = symbolon_protocol::id::unhex(seed).unwrap().try_into().unwrap();
    let identity = Identity::from_seed(&seed_bytes);
    let chain = ChainId([5; 32]);
    let delivery = symbolon_protocol::custody::DeliveryKey::make(
        &identity.delivery_secret(&chain, &OrderId([2; 16])),
        &symbolon_protocol::id::Hash([0; 32]),
        &[0; 32],
    );
    json!({
        "seed": seed,
        "account": hex(&identity.account().0),
        "peer": hex(&identity.peer().0),
        "wrap": hex(&identity.wrap_key()),
        "names": hex(&*identity.names_key()),
        "chain": hex(&chain.0),
        "vault_01": hex(&identity.vault_secret(&chain, &VaultId([1; 16])).public()),
        "delivery_02": hex(&delivery.point),
        "order_03_0": hex(&identity.order_opening(&chain, &ListingId([3; 16]), 0).0),
        "order_03_1": hex(&identity.order_opening(&chain, &ListingId([3; 16]), 1).0),
        "outcome": "ok",
    })
}

#[test]
fn recipients() {
    replay("identity/recipient.json", recipient_cases, |case| {
        let read = Recipient::parse(field_text(case, "text"));
        if let Ok(read) = &read {
            assert_eq!(hex(&read.account.0), case["account"]);
        }
        outcome(read)
    });
}

fn recipient_cases() -> Vec<Value> {
    let identity = Identity::from_seed(&[1; 64]);
    let good = identity.recipient();
    let whole = good.to_text();
    let case = |name: &str, why: &str, text: String, outcome: &str| {
        json!({
            "name": name, "why": why, "text": text, "account": hex(&identity.account().0),
            "outcome": outcome,
        })
    };
    let edit = |change: &dyn Fn(&mut Recipient)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed.to_text()
    };
    let other = Identity::from_seed(&[2; 64]);
    vec![
        case("good", "what others are given", whole.clone(), "ok"),
        case("spaces", "pasted with its line end", format!(" {whole}\n"), "ok"),
        case(
            "other wrap key",
            "a thief's key in it",
            edit(&|r| r.wrap = other.wrap_key()),
            "Signature",
        ),
        case("other peer", "a thief's peer in it", edit(&|r| r.access = other.peer()), "Signature"),
        case(
            "other account",
            "signed by another",
            edit(&|r| r.account = other.account()),
            "Signature",
        ),
        case("version 2", "of the future", edit(&|r| r.version = 2), "Version"),
        case("one letter", "a typing error", whole.replacen("1q", "1p", 1), "Text.Damaged"),
        case("cut", "not copied whole", whole[..whole.len() - 1].into(), "Text.Damaged"),
        case(
            "a grant",
            "another kind of text",
            GrantToken::FORM.encode(&good.to_bytes()),
            "Text.Prefix",
        ),
        case("nothing", "no text", String::new(), "Text.Form"),
        case("long", "longer than any", "q".repeat(5000), "Text.TooLong"),
        case(
            "short",
            "bytes are missing",
            Recipient::FORM.encode(&good.to_bytes()[..160]),
            "Layout.Short",
        ),
    ]
}

#[test]
fn keyfiles() {
    replay("identity/keyfile.json", keyfile_cases, |case| {
        let opened = keyfile::open(&bytes(case, "file"), case["passphrase"].as_str());
        if let Ok(phrase) = &opened {
            assert_eq!(hex(phrase.entropy()), case["entropy"]);
        }
        outcome(opened)
    });
}

fn keyfile_cases() -> Vec<Value> {
    let phrase = Phrase::from_entropy(&[1; 32]);
    // Cheap, so that replaying is quick; a real file costs what `Cost::STANDARD` says.
    let cost = keyfile::Cost { memory_kib: 64, passes: 1, lanes: 1 };
    let sealed = keyfile::seal(&phrase, "caf\u{e9} au lait", cost, &[2; 32]).unwrap();
    let plain = keyfile::plain(&phrase);
    let case = |name: &str, why: &str, file: &[u8], passphrase: Option<&str>, outcome: &str| {
        json!({
            "name": name, "why": why, "file": hex(file), "passphrase": passphrase,
            "entropy": hex(phrase.entropy()), "outcome": outcome,
        })
    };
    let flip = |file: &[u8], at: usize| {
        let mut changed = file.to_vec();
        changed[at] ^= 1;
        changed
    };
    let right = Some("caf\u{e9} au lait");
    let end = sealed.len() - 1;
    vec![
        case("sealed", "opens with its passphrase", &sealed, right, "ok"),
        case(
            "two accents",
            "the same text, typed otherwise",
            &sealed,
            Some("cafe\u{301} au lait"),
            "ok",
        ),
        case("plain", "needs nothing", &plain, None, "ok"),
        case("wrong passphrase", "one letter", &sealed, Some("cafe au lait"), "WrongPassphrase"),
        case("empty passphrase", "nothing typed", &sealed, Some(""), "WrongPassphrase"),
        case("no passphrase", "it has to be asked for", &sealed, None, "PassphraseNeeded"),
        case(
            "salt changed",
            "damage, not a wrong passphrase",
            &flip(&sealed, 30),
            right,
            "Damaged",
        ),
        case("key changed", "damage", &flip(&sealed, 70), right, "Damaged"),
        case("check changed", "damage", &flip(&sealed, end), right, "Damaged"),
        case("cut", "the last byte is missing", &sealed[..end], right, "Damaged"),
        case("head only", "nothing but the version", &sealed[..14], right, "Damaged"),
        case("plain changed", "damage", &flip(&plain, 20), None, "Damaged"),
        case("version", "of another program", &flip(&sealed, 13), right, "Version"),
        case("other file", "no key file", b"-----BEGIN", right, "NotAKeyfile"),
        case("empty", "no file", b"", right, "NotAKeyfile"),
    ]
}

#[test]
fn envelopes() {
    replay("identity/envelope.json", envelope_cases, |case| {
        let (info, aad, sealed) = (bytes(case, "info"), bytes(case, "aad"), bytes(case, "sealed"));
        let opened = envelope::open(&array(case, "secret"), &info, &aad, &sealed);
        if let Ok(plain) = &opened {
            assert_eq!(hex(plain), case["plain"]);
        }
        outcome(opened)
    });
}

/// RFC 9180, appendix A.2.1: base mode, X25519, HKDF-SHA256, ChaCha20Poly1305, sequence number 0.
fn envelope_cases() -> Vec<Value> {
    let good = json!({
        "name": "RFC 9180 A.2.1", "why": "the published vector",
        "secret": "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
        "info": "4f6465206f6e2061204772656369616e2055726e",
        "aad": "436f756e742d30",
        "sealed": concat!(
            "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
        ),
        "plain": "4265617574792069732074727574682c20747275746820626561757479",
        "outcome": "ok",
    });
    let change = |name: &str, why: &str, field: &str, value: String| {
        let mut case = good.clone();
        case["name"] = json!(name);
        case["why"] = json!(why);
        case["outcome"] = json!("Closed");
        case[field] = json!(value);
        case
    };
    let sealed = field_text(&good, "sealed").to_owned();
    vec![
        good.clone(),
        change("other secret", "not the recipient's", "secret", "11".repeat(32)),
        change("other info", "sealed for another purpose", "info", "00".into()),
        change("other aad", "bound to something else", "aad", "436f756e742d31".into()),
        change(
            "enc changed",
            "another ephemeral key",
            "sealed",
            sealed.replacen("1afa", "1bfa", 1),
        ),
        change("enc of small order", "no shared secret", "sealed", "00".repeat(32) + &sealed[64..]),
        change("tag changed", "another tag", "sealed", sealed.replace("51a28", "51a29")),
        change("cut", "no tag", "sealed", sealed[..64].into()),
        change("empty", "nothing", "sealed", String::new()),
    ]
}
