//! Replays `spec/vectors/ledger/*.json` against the rules, through nothing but their public face.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{collections::BTreeMap, fs, path::Path};

use ed25519_dalek::SigningKey;
use serde_json::Value;
use symbolon_audit::Auditor;
use symbolon_protocol::{
    Amount, Decode, Encode,
    id::{AccountId, Hash, unhex},
    ledger::{
        Params,
        block::{
            Block, BlockInputs, Event, Genesis, GenesisError, SignedHeader, events_root,
            transactions_root,
        },
        commit::{Commit, CommitSignature, Validators},
        deal_cost,
        execute::{self, BlockBuilder, BlockError, Executed, Pushed},
        last::LastCommit,
        light::{LightError, Trusted},
        rows::{Chains, Node, PastSets},
        sheet, slot_rate,
        state::{MemoryState, StateExt},
        transaction::Transaction,
        tree,
    },
    signature,
};

/// Files of ledgers, block by block. Most of what they try is refused.
const HISTORIES: [&str; 18] = [
    "history.json",
    "accounts.json",
    "chance.json",
    "deals.json",
    "tables.json",
    "late.json",
    "sales.json",
    "due.json",
    "disputes.json",
    "covered.json",
    "kept.json",
    "fees.json",
    "care.json",
    "claims.json",
    "claimants.json",
    "collateral.json",
    "equivocation.json",
    "motions.json",
];

/// The same of what comes by itself, with time: most of it is not refused.
const COURSES: [&str; 12] = [
    "answers.json",
    "faults.json",
    "lasting.json",
    "placed.json",
    "dead.json",
    "dying.json",
    "resting.json",
    "vaults.json",
    "stake.json",
    "turns_missed.json",
    "votes.json",
    "rules.json",
];

fn vectors(name: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors/ledger");
    let text = fs::read_to_string(folder.join(name)).unwrap();
    serde_json::from_str::<Vec<Value>>(&text).unwrap()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap_or_else(|| panic!("{}: no text {field}", vector["name"]))
}

/// The bytes of hexadecimal digits in which `(00*300)` stands for a byte 300 times.
fn unfold(text: &str) -> Vec<u8> {
    let (first, rest) = text.split_once('(').unwrap_or((text, ""));
    let mut bytes = unhex(first).unwrap();
    if let Some((run, rest)) = rest.split_once(')') {
        let (byte, count) = run.split_once('*').unwrap();
        bytes.extend(unhex(byte).unwrap().repeat(count.parse().unwrap()));
        bytes.extend(unfold(rest));
    }
    bytes
}

/// A value whose bytes are canonical: encoding it again gives the same.
fn decode<T: Encode + Decode>(text: &str) -> T {
    let bytes = unfold(text);
    let value = T::from_bytes(&bytes).unwrap();
    assert_eq!(value.to_bytes(), bytes);
    value
}

fn transactions(vector: &Value) -> Vec<Transaction> {
    let hexes = vector["transactions"].as_array().unwrap();
    hexes.iter().map(|hex| decode(hex.as_str().unwrap())).collect()
}

fn genesis(vector: &Value) -> (MemoryState, Hash) {
    let genesis: Genesis = decode(text(vector, "genesis"));
    assert_eq!(genesis.chain().to_string(), text(vector, "chain"));
    let executed = execute::genesis(&genesis);
    assert_eq!(executed.state_root.to_string(), text(vector, "state_root"));
    let mut state = MemoryState::default();
    state.commit(&executed.update);
    (state, genesis.header(&executed).digest())
}

/// The name of an enum's variant.
fn variant(error: &BlockError) -> String {
    if let BlockError::NotApplied { status, .. } = error {
        return format!("{status:?}");
    }
    first_word(error)
}

fn first_word(error: &impl std::fmt::Debug) -> String {
    let words = format!("{error:?}");
    words.split([' ', '{', '(']).next().unwrap_or_default().into()
}

/// What is kept of a block besides its transactions: the signed header, and what happened.
fn check_header(vector: &Value, state: &MemoryState, parent: Hash, executed: &Executed) -> Hash {
    let signed: SignedHeader = decode(text(vector, "header"));
    let chain = state.get(Chains, &()).unwrap();
    let header = &signed.header;
    // A set that was followed by another one is kept.
    let past = state.get(PastSets, &chain.height).map(|past| past.validators);
    let validators = past.unwrap_or_else(|| chain.validators.clone());
    signed.commit.verify(header, &validators).unwrap();
    assert_eq!((header.chain, header.height, header.parent), (chain.id, chain.height, parent));
    assert_eq!(header.facts, decode::<BlockInputs>(text(vector, "facts")));
    assert_eq!(header.transactions_root, transactions_root(&transactions(vector)));
    assert_eq!(header.state_root, executed.state_root);
    assert_eq!(header.events_root, events_root(&executed.events));
    let hashes = (validators.hash(), chain.validators.hash());
    assert_eq!((header.validators, header.next_validators), hashes);
    assert_eq!(executed.next_validators, chain.validators);
    assert_eq!(header.digest().to_string(), text(vector, "digest"));
    assert_eq!(executed.events, decode::<Vec<Event>>(text(vector, "events")));
    header.digest()
}

/// Replays a file; gives how many cases it accepts and refuses.
fn replay(file: &str) -> (usize, usize) {
    let (mut accepted, mut refused) = (0, 0);
    let (mut state, mut parent) = (MemoryState::default(), Hash([0; 32]));
    for vector in vectors(file) {
        let name = text(&vector, "name");
        let outcome = text(&vector, "outcome");
        if vector.get("genesis").is_some() {
            (state, parent) = genesis(&vector);
            continue;
        }
        let facts: BlockInputs = decode(text(&vector, "facts"));
        match execute::replay(&state, &facts, &transactions(&vector)) {
            Ok(executed) => {
                assert_eq!(outcome, "ok", "{file}: {name}");
                let root = executed.state_root.to_string();
                assert_eq!(root, text(&vector, "state_root"), "{file}: {name}");
                state.commit(&executed.update);
                assert_eq!(tree::root(&state), executed.state_root, "{name}");
                assert!(sheet(&state).unwrap().balanced(), "{name}");
                parent = check_header(&vector, &state, parent, &executed);
                // A block of nothing is time that goes by between two cases. Money that is brought to an amount for the
                // next case is not one either.
                let is_case = !["a gift", "money spent"].contains(&name);
                accepted += usize::from(is_case && !transactions(&vector).is_empty());
            }
            Err(error) => {
                assert_eq!(outcome, variant(&error), "{file}: {name}");
                refused += 1;
            }
        }
    }
    (accepted, refused)
}

#[test]
fn histories_and_all_that_they_refuse() {
    for file in HISTORIES {
        let (accepted, refused) = replay(file);
        assert!(accepted <= refused, "{file}: {accepted} accepted, {refused} refused");
    }
}

#[test]
fn what_comes_with_time() {
    for file in COURSES {
        let (accepted, _) = replay(file);
        assert!(0 < accepted, "{file}: nothing happens");
    }
}

/// A commit of a block by those that its child says, with keys that are small numbers.
fn commit(parent: &SignedHeader, set: &Validators, last: LastCommit) -> Commit {
    let keys: BTreeMap<AccountId, SigningKey> = (0..=200)
        .map(|number| SigningKey::from_bytes(&[number; 32]))
        .map(|key| (AccountId(key.verifying_key().to_bytes()), key))
        .collect();
    let digest = Commit::digest(&parent.header, last.round);
    let members = set.members.iter().enumerate().filter(|(place, _)| last.has(*place));
    let signatures = members.map(|(place, member)| CommitSignature {
        validator: u16::try_from(place).unwrap(),
        signature: signature::sign(&keys[&member.key], &digest),
    });
    Commit { round: last.round, signatures: signatures.collect() }
}

/// The auditor's own books of validators, over blocks in which they join, miss their turns, lose and leave.
#[test]
fn the_auditor_follows_the_validators() {
    let stakes = ["chance.json", "stake.json", "turns_missed.json", "equivocation.json"];
    for file in stakes.into_iter().chain(["motions.json", "votes.json", "rules.json"]) {
        let (mut books, mut parent) = (None::<Auditor>, None::<(SignedHeader, Validators)>);
        let mut state = MemoryState::default();
        for vector in vectors(file).iter().filter(|vector| text(vector, "outcome") == "ok") {
            let (header, set, last, applied, events) = if vector.get("genesis").is_some() {
                let genesis: Genesis = decode(text(vector, "genesis"));
                let executed = execute::genesis(&genesis);
                state = MemoryState::default();
                state.commit(&executed.update);
                books = Some(Auditor::of(&genesis));
                let header = genesis.header(&executed);
                let digest = LastCommit { round: 0, signers: [255; 16] };
                let set = genesis.validators.clone();
                let unsigned = Commit { round: 0, signatures: Vec::new() };
                let unsigned = SignedHeader { header, commit: unsigned };
                let signed = SignedHeader { commit: commit(&unsigned, &set, digest), ..unsigned };
                (signed, set, None, Vec::new(), executed.events)
            } else {
                let facts: BlockInputs = decode(text(vector, "facts"));
                let set = state.get(Chains, &()).unwrap().validators;
                let executed = execute::replay(&state, &facts, &transactions(vector)).unwrap();
                state.commit(&executed.update);
                let last = facts.last.zip(parent.as_ref());
                let last = last.map(|(last, (parent, set))| commit(parent, set, last));
                let header = decode(text(vector, "header"));
                (header, set, last, transactions(vector), executed.events)
            };
            let block = Block { header: header.clone(), last, transactions: applied, events };
            let taken = books.as_mut().unwrap().take(&block);
            assert_eq!(taken, Ok(()), "{file}: {}", text(vector, "name"));
            parent = Some((header, set));
        }
    }
}

#[test]
fn parameters_are_in_their_ranges() {
    for vector in vectors("genesis.json") {
        let genesis: Genesis = decode(text(&vector, "genesis"));
        assert_eq!(genesis.chain().to_string(), text(&vector, "chain"));
        let outcome = match genesis.check() {
            Ok(()) => "ok".into(),
            Err(GenesisError::Params(error)) => error.name.into(),
            Err(GenesisError::Validators(error)) => first_word(&error),
            Err(GenesisError::Onions { .. }) => "Onions".into(),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(outcome, text(&vector, "outcome"), "{}", vector["name"]);
    }
}

#[test]
fn what_was_applied_is_found_again() {
    let vectors = vectors("history.json");
    let (mut state, _) = genesis(&vectors[0]);
    let mut before: Vec<Transaction> = Vec::new();
    for vector in vectors.iter().skip(1).filter(|vector| text(vector, "outcome") == "ok") {
        let facts: BlockInputs = decode(text(vector, "facts"));
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
fn headers_that_a_light_client_is_given() {
    let mut refused = 0;
    for vector in vectors("light.json") {
        let name = text(&vector, "name");
        let trusted: Trusted = decode(text(&vector, "trusted"));
        let signed: SignedHeader = decode(text(&vector, "header"));
        let sets = vector["sets"].as_array().unwrap().iter();
        let sets: Vec<Validators> = sets.map(|set| decode(set.as_str().unwrap())).collect();
        let made = trusted.follow(&signed, &sets);
        let outcome = match &made {
            Ok(after) => {
                assert_eq!(*after, decode(text(&vector, "after")), "{name}");
                "ok".into()
            }
            Err(LightError::Commit(error)) => first_word(error),
            Err(error) => first_word(error),
        };
        refused += usize::from(made.is_err());
        assert_eq!(outcome, text(&vector, "outcome"), "{name}");
    }
    assert!(15 < refused, "most must be refused: {refused}");
}

#[test]
fn what_nodes_need_cover_and_withhold() {
    for vector in vectors("cover.json") {
        let params: Params = decode(text(&vector, "params"));
        let row: Node = decode(text(&vector, "node"));
        let amount = |field: &str| Amount(text(&vector, field).parse().unwrap());
        assert_eq!(row.needs(&params), amount("needs"), "{}", vector["name"]);
        assert_eq!(row.allowance(&params), amount("allowance"), "{}", vector["name"]);
        assert_eq!(row.withholds(&params, row.rate), amount("withholds"), "{}", vector["name"]);
        let length = vector["length"].as_u64().unwrap();
        let rate = slot_rate(amount("price"), length);
        let covers = rate.map(|rate| row.covers(&params, length, rate));
        assert_eq!(covers, vector["covers"].as_bool(), "{}", vector["name"]);
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
