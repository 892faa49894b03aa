//! Vectors of vaults, capsules, delivery keys, releases and deposits.

use serde_json::{Value, json};
use symbolon_protocol::{
    Decode, Encode, LedgerTime,
    custody::{
        Capsule, CustodyAcceptance, CustodyTerms, DeliveryKey, DeliverySecret, Release,
        ReleaseRequest, Share, VaultKey, VaultSecret, combine, label, listing_key, release_context,
        share,
    },
    envelope,
    id::{AccountId, ChainId, Hash, ListingId, NodeId, OrderId, VaultId, hex},
    identity::Identity,
};

use crate::{array, bytes, number, outcome, replay};

const SELLER: AccountId = AccountId([3; 32]);
const VAULT: VaultId = VaultId([4; 16]);
const CONTENT: Hash = Hash([5; 32]);
const CHAIN: ChainId = ChainId([1; 32]);
const ORDER: OrderId = OrderId([2; 16]);
const LISTING: ListingId = ListingId([3; 16]);
/// The base point `B`: a true point that is not the one it stands for.
const BASE: &str = "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76";
/// The group order: zero, written a second way.
const ORDER_L: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

struct Sale {
    vault: VaultKey,
    shares: Vec<Share>,
    capsule: Capsule,
    label: Hash,
    buyer: DeliverySecret,
    delivery: DeliveryKey,
    context: Hash,
}

fn sale() -> Sale {
    let secret = VaultSecret::from_seed(&[1; 32]);
    let (vault, shares) = share(&secret, 2, 3, &[2; 32]).unwrap();
    let label = label(&CHAIN, &SELLER, &VAULT, &CONTENT);
    let (capsule, _) = Capsule::seal(&secret, &label, &[6; 32]);
    let context = release_context(&CHAIN, &ORDER, &LISTING);
    let buyer = DeliverySecret::from_seed(&[7; 32]);
    let delivery = DeliveryKey::make(&buyer, &context, &[8; 32]);
    Sale { vault, shares, capsule, label, buyer, delivery, context }
}

impl Sale {
    fn release(&self, index: usize) -> Release {
        let request = ReleaseRequest {
            vault: &self.vault,
            capsule: &self.capsule,
            label: &self.label,
            delivery: &self.delivery,
            context: &self.context,
        };
        Release::make(&self.shares[index - 1], &request, &[9; 32]).unwrap()
    }
}

/// The hex with 32 bytes from `at` on replaced.
fn with(hex: &str, at: usize, part: &str) -> String {
    format!("{}{part}{}", &hex[..2 * at], &hex[2 * at + part.len()..])
}

fn zero() -> String {
    "00".repeat(32)
}

#[test]
fn capsules() {
    replay("custody/capsule.json", capsule_cases, run_capsule);
}

pub(crate) fn run_capsule(case: &Value) -> String {
    let label = label(
        &ChainId(array(case, "chain")),
        &AccountId(array(case, "seller")),
        &VaultId(array(case, "vault")),
        &Hash(array(case, "content_root")),
    );
    outcome(Capsule::from_bytes(&bytes(case, "capsule")).unwrap().verify(&label))
}

/// What the capsules here are bound to.
pub(crate) fn sale_label() -> Hash {
    label(&CHAIN, &SELLER, &VAULT, &CONTENT)
}

/// The same as a vector has it.
pub(crate) fn sale_place() -> Value {
    json!({
        "chain": hex(&CHAIN.0), "seller": hex(&SELLER.0), "vault": hex(&VAULT.0),
        "content_root": hex(&CONTENT.0),
    })
}

fn capsule_cases() -> Vec<Value> {
    let good = hex(&sale().capsule.to_bytes());
    let case = |name: &str, why: &str, capsule: &str, outcome: &str| {
        json!({
            "name": name, "why": why, "chain": hex(&CHAIN.0), "seller": hex(&SELLER.0),
            "vault": hex(&VAULT.0), "content_root": hex(&CONTENT.0), "capsule": capsule,
            "outcome": outcome,
        })
    };
    let relabel = |name: &str, why: &str, field: &str, value: &str| {
        let mut case = case(name, why, &good, "Proof");
        case[field] = json!(value);
        case
    };
    let (r, r2, c, e, f) = (0, 32, 64, 96, 128);
    let both = with(&with(&good, r, &zero()), r2, &zero());
    let not_a_point = "ff".repeat(32);
    vec![
        case("good", "the seller's own capsule in her own listing", &good, "ok"),
        relabel("other ledger", "the seller's own, from a test ledger", "chain", &"42".repeat(32)),
        relabel("copied", "a thief lists the capsule as his", "seller", &"42".repeat(32)),
        relabel("other vault", "the capsule is for another vault", "vault", &"42".repeat(16)),
        relabel("other content", "the capsule is for other content", "content_root", &zero()),
        case("R changed", "R is not what the proof is about", &with(&good, r, BASE), "Proof"),
        case("R2 changed", "R2 has another logarithm", &with(&good, r2, BASE), "Proof"),
        case("C changed", "the ciphertext is bound too", &with(&good, c, BASE), "Proof"),
        case("e changed", "another challenge", &with(&good, e, &zero()), "Proof"),
        case("f changed", "another response", &with(&good, f, &zero()), "Proof"),
        case("R is the identity", "the key would be in the clear", &both, "Identity"),
        case("C is the identity", "no honest ciphertext is", &with(&good, c, &zero()), "Identity"),
        case("R is no point", "not an encoding", &with(&good, r, &not_a_point), "Point"),
        case("e not reduced", "zero written as the order", &with(&good, e, ORDER_L), "Scalar"),
        case("f not reduced", "zero written as the order", &with(&good, f, ORDER_L), "Scalar"),
    ]
}

#[test]
fn deliveries() {
    replay("custody/delivery.json", delivery_cases, |case| {
        let key = DeliveryKey::from_bytes(&bytes(case, "delivery")).unwrap();
        outcome(key.verify(&context(case)))
    });
}

fn context(case: &Value) -> Hash {
    release_context(
        &ChainId(array(case, "chain")),
        &OrderId(array(case, "order")),
        &ListingId(array(case, "listing")),
    )
}

fn delivery_cases() -> Vec<Value> {
    let good = hex(&sale().delivery.to_bytes());
    let case = |name: &str, why: &str, delivery: &str, outcome: &str| {
        json!({
            "name": name, "why": why, "chain": hex(&CHAIN.0), "order": hex(&ORDER.0),
            "listing": hex(&LISTING.0), "delivery": delivery, "outcome": outcome,
        })
    };
    let moved = |name: &str, why: &str, field: &str, value: &str| {
        let mut case = case(name, why, &good, "Proof");
        case[field] = json!(value);
        case
    };
    vec![
        case("good", "the buyer's key for the buyer's order", &good, "ok"),
        moved("other order", "replayed for another order", "order", &"42".repeat(16)),
        moved("other listing", "replayed for another listing", "listing", &"42".repeat(16)),
        moved("other chain", "replayed on another ledger", "chain", &"42".repeat(32)),
        case("rogue key", "a point whose secret is not known", &with(&good, 0, BASE), "Proof"),
        case("identity", "V would show the share to all", &with(&good, 0, &zero()), "Identity"),
        case("no point", "not an encoding", &with(&good, 0, &"ff".repeat(32)), "Point"),
        case("e changed", "another challenge", &with(&good, 32, &zero()), "Proof"),
        case("z changed", "another response", &with(&good, 64, &zero()), "Proof"),
        case("z not reduced", "zero as the order", &with(&good, 64, ORDER_L), "Scalar"),
    ]
}

#[test]
fn releases() {
    replay("custody/release.json", release_cases, run_release);
}

pub(crate) fn run_release(case: &Value) -> String {
    let release = Release::from_bytes(&bytes(case, "release")).unwrap();
    let vault = VaultKey::from_bytes(&bytes(case, "vault_key")).unwrap();
    let capsule = Capsule::from_bytes(&bytes(case, "capsule")).unwrap();
    let delivery = DeliveryKey::from_bytes(&bytes(case, "delivery")).unwrap();
    outcome(release.verify(&vault, &capsule, &delivery, &context(case)))
}

fn release_cases() -> Vec<Value> {
    let sale = sale();
    let good = hex(&sale.release(2).to_bytes());
    let case = |name: &str, why: &str, release: &str, outcome: &str| {
        json!({
            "name": name, "why": why, "chain": hex(&CHAIN.0), "order": hex(&ORDER.0),
            "listing": hex(&LISTING.0), "vault_key": hex(&sale.vault.to_bytes()),
            "capsule": hex(&sale.capsule.to_bytes()), "delivery": hex(&sale.delivery.to_bytes()),
            "release": release, "outcome": outcome,
        })
    };
    let about = |name: &str, why: &str, field: &str, value: &str| {
        let mut case = case(name, why, &good, "Proof");
        case[field] = json!(value);
        case
    };
    let secret = VaultSecret::from_seed(&[1; 32]);
    let (second, _) = Capsule::seal(&secret, &sale.label, &[66; 32]);
    let (dealt, _) = share(&secret, 2, 3, &[66; 32]).unwrap();
    let other = DeliverySecret::from_seed(&[66; 32]);
    let other = DeliveryKey::make(&other, &sale.context, &[8; 32]);
    let (u, v, e, z_share, z_blind) = (1, 33, 65, 97, 129);
    let mut short = sale.vault.to_bytes();
    short[4..36].fill(0);
    let mut identity = about("vault identity", "Y is the identity", "vault_key", &hex(&short));
    identity["outcome"] = json!("Identity");
    let mut empty = about("vault without key", "no commitment at all", "vault_key", "00000000");
    empty["outcome"] = json!("Sharing");
    vec![
        case("good", "custodian 2 for the order", &good, "ok"),
        case("good too", "custodian 3", &hex(&sale.release(3).to_bytes()), "ok"),
        about("other order", "replayed for another order", "order", &"42".repeat(16)),
        about("other listing", "replayed for another listing", "listing", &"42".repeat(16)),
        about("other chain", "replayed on another ledger", "chain", &"42".repeat(32)),
        about("other buyer", "another delivery key", "delivery", &hex(&other.to_bytes())),
        about("other capsule", "another of the seller's", "capsule", &hex(&second.to_bytes())),
        about("dealt again", "shares of before", "vault_key", &hex(&dealt.to_bytes())),
        identity,
        empty,
        case("other custodian", "index 2 as index 1", &with(&good, 0, "01"), "Proof"),
        case("index 0", "the secret itself has no custodian", &with(&good, 0, "00"), "Index"),
        case("index 33", "more than any vault has", &with(&good, 0, "21"), "Index"),
        case("U changed", "another blind", &with(&good, u, BASE), "Proof"),
        case("V changed", "another share", &with(&good, v, BASE), "Proof"),
        case("U identity", "no blind: V is bare", &with(&good, u, &zero()), "Identity"),
        case("V identity", "nothing released", &with(&good, v, &zero()), "Identity"),
        case("U no point", "not an encoding", &with(&good, u, &"ff".repeat(32)), "Point"),
        case("e changed", "another challenge", &with(&good, e, &zero()), "Proof"),
        case("z_share changed", "another response", &with(&good, z_share, &zero()), "Proof"),
        case("z_blind changed", "another response", &with(&good, z_blind, &zero()), "Proof"),
        case("z_blind not reduced", "zero twice", &with(&good, z_blind, ORDER_L), "Scalar"),
    ]
}

#[test]
fn combinations() {
    replay("custody/combine.json", combine_cases, run_combine);
}

pub(crate) fn run_combine(case: &Value) -> String {
    let releases: Vec<Release> = case["releases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| hex_release(one.as_str().unwrap()))
        .collect();
    let capsule = Capsule::from_bytes(&bytes(case, "capsule")).unwrap();
    let secret = DeliverySecret::from_seed(&array(case, "delivery_seed"));
    let vault = VaultKey::from_bytes(&bytes(case, "vault_key")).unwrap();
    let key = combine(&capsule, &releases, &secret, &vault);
    match &key {
        Ok(key) if hex(&*listing_key(key)) != case["listing_key"] => "WrongKey".into(),
        _ => outcome(key),
    }
}

fn hex_release(text: &str) -> Release {
    Release::from_bytes(&symbolon_protocol::id::unhex(text).unwrap()).unwrap()
}

fn combine_cases() -> Vec<Value> {
    let sale = sale();
    let [one, two, three] = [1, 2, 3].map(|index| hex(&sale.release(index).to_bytes()));
    let key = sale.capsule.open(&VaultSecret::from_seed(&[1; 32])).unwrap();
    let both = [hex_release(&one), hex_release(&two)];
    assert_eq!(*combine(&sale.capsule, &both, &sale.buyer, &sale.vault).unwrap(), *key);
    let case = |name: &str, why: &str, releases: &[&String], outcome: &str| {
        json!({
            "name": name, "why": why, "vault_key": hex(&sale.vault.to_bytes()),
            "capsule": hex(&sale.capsule.to_bytes()), "delivery_seed": "07".repeat(32),
            "releases": releases, "listing_key": hex(&*listing_key(&key)), "outcome": outcome,
        })
    };
    let mut thief = case("stolen", "another's delivery secret", &[&one, &two], "WrongKey");
    thief["delivery_seed"] = json!("08".repeat(32));
    let (nowhere, moved) = (with(&two, 0, "00"), with(&two, 0, "03"));
    vec![
        case("first two", "any two of three open", &[&one, &two], "ok"),
        case("last two, swapped", "the order does not matter", &[&three, &two], "ok"),
        case("all three", "more than enough", &[&three, &one, &two], "ok"),
        thief,
        case("none", "nothing opens nothing", &[], "TooFew"),
        case("one", "one short", &[&three], "TooFew"),
        case("twice the same", "one custodian is not two", &[&one, &one], "Repeated"),
        case("index 0", "no custodian", &[&one, &nowhere], "Index"),
        case("moved", "2 under the index 3", &[&one, &moved], "WrongKey"),
    ]
}

#[test]
fn deposits() {
    replay("custody/deposit.json", deposit_cases, run_deposit);
}

pub(crate) fn run_deposit(case: &Value) -> String {
    let key = VaultKey::from_bytes(&bytes(case, "vault_key")).unwrap();
    let terms = CustodyTerms {
        chain: &ChainId(array(case, "chain")),
        vault: &VaultId(array(case, "vault")),
        owner: &AccountId(array(case, "owner")),
        key: &key,
        index: u8::try_from(number(case, "index")).unwrap(),
        node: &NodeId::from(AccountId(array(case, "node"))),
    };
    let acceptance = CustodyAcceptance::from_bytes(&bytes(case, "acceptance")).unwrap();
    outcome(
        terms
            .verify_request(&array(case, "request"))
            .and_then(|()| terms.open(&bytes(case, "sealed"), &array(case, "custody_secret")))
            .and_then(|_| terms.verify_acceptance(&acceptance)),
    )
}

fn deposit_cases() -> Vec<Value> {
    let sale = sale();
    let (owner, node) = (Identity::from_seed(&[1; 64]), Identity::from_seed(&[2; 64]));
    let (account, peer) = (owner.account(), node.peer());
    let terms = CustodyTerms {
        chain: &CHAIN,
        vault: &VAULT,
        owner: &account,
        key: &sale.vault,
        index: 2,
        node: &peer,
    };
    let custody_key = envelope::public_key(&[7; 32]);
    let sealed = terms.seal(&sale.shares[1], &custody_key, &[8; 32]).unwrap();
    let good = json!({
        "name": "good", "why": "sealed, asked for and accepted", "chain": hex(&CHAIN.0),
        "vault": hex(&VAULT.0), "owner": hex(&account.0), "vault_key": hex(&sale.vault.to_bytes()),
        "index": 2, "node": hex(&peer.0), "request": hex(&terms.sign_request(&owner.account_key())),
        "sealed": hex(&sealed), "custody_secret": "07".repeat(32),
        "acceptance": hex(&terms.accept(&node.access_key(), LedgerTime(7000)).to_bytes()), "outcome": "ok",
    });
    let change = |name: &str, why: &str, field: &str, value: Value, outcome: &str| {
        let mut case = good.clone();
        case["name"] = json!(name);
        case["why"] = json!(why);
        case["outcome"] = json!(outcome);
        case[field] = value;
        case
    };
    let mut cases = vec![good.clone()];
    cases.extend(other_requests(&change, &account, &peer));
    cases.extend(other_answers(&change, &terms, &node));
    cases
}

type Change<'a> = &'a dyn Fn(&str, &str, &str, Value, &str) -> Value;

fn other_requests(change: Change<'_>, owner: &AccountId, node: &NodeId) -> Vec<Value> {
    let unlike = |bytes: usize| json!("42".repeat(bytes));
    let (key, _) = share(&VaultSecret::from_seed(&[9; 32]), 2, 3, &[2; 32]).unwrap();
    let key = json!(hex(&key.to_bytes()));
    let (as_node, at_owner) = (json!(hex(&node.0)), json!(hex(&owner.0)));
    vec![
        change("other chain", "asked on another ledger", "chain", unlike(32), "Signature"),
        change("other vault", "asked for another vault", "vault", unlike(16), "Signature"),
        change("other owner", "in another's name", "owner", as_node, "Signature"),
        change("other key", "other commitments", "vault_key", key, "Signature"),
        change("other index", "another share", "index", json!(1), "Signature"),
        change("other node", "sent to another node", "node", at_owner, "Signature"),
    ]
}

fn other_answers(change: Change<'_>, terms: &CustodyTerms<'_>, node: &Identity) -> Vec<Value> {
    let custody_key = envelope::public_key(&[7; 32]);
    let first = CustodyTerms { index: 1, ..*terms };
    let first = first.seal(&sale().shares[0], &custody_key, &[8; 32]).unwrap();
    let (_, strange) = share(&VaultSecret::from_seed(&[9; 32]), 2, 3, &[2; 32]).unwrap();
    let strange = terms.seal(&strange[1], &custody_key, &[8; 32]).unwrap();
    let unsigned = CustodyAcceptance {
        node: *terms.node,
        index: 2,
        expires_ms: LedgerTime(7000),
        signature: [0; 64],
    };
    let request = terms.sign_request(&node.access_key());
    let request = CustodyAcceptance { signature: request, ..unsigned.clone() };
    let (first, strange) = (json!(hex(&first)), json!(hex(&strange)));
    let (unsigned, request) = (json!(hex(&unsigned.to_bytes())), json!(hex(&request.to_bytes())));
    let secret = json!("08".repeat(32));
    vec![
        change("other share", "sealed for index 1", "sealed", first, "Sealed"),
        change("false share", "of another vault", "sealed", strange, "Share"),
        change("other secret", "not the node's", "custody_secret", secret, "Sealed"),
        change("not accepted", "no signature", "acceptance", unsigned, "Signature"),
        change("wrong word", "a request is no acceptance", "acceptance", request, "Signature"),
    ]
}
