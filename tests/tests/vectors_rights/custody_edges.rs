//! Vectors of custody at its limits: thresholds of one and of 32, identities, acceptances.

use curve25519_dalek::{RistrettoPoint, ristretto::CompressedRistretto};
use serde_json::{Value, json};
use symbolon_protocol::{
    Encode, LedgerTime,
    custody::{
        Capsule, CustodyAcceptance, CustodyTerms, DeliveryKey, DeliverySecret, Release,
        ReleaseRequest, Share, VaultKey, VaultSecret, listing_key, share,
    },
    envelope,
    id::{AccountId, ChainId, Hash, ListingId, NodeId, OrderId, VaultId, hex},
    identity::Identity,
};

use crate::{custody, replay};

const CHAIN: ChainId = ChainId([1; 32]);
const ORDER: OrderId = OrderId([2; 16]);
const LISTING: ListingId = ListingId([3; 16]);
const VAULT: VaultId = VaultId([4; 16]);

/// A sale under a vault of `required` of `total`.
struct Sale {
    vault: VaultKey,
    shares: Vec<Share>,
    capsule: Capsule,
    label: Hash,
    delivery: DeliveryKey,
    context: Hash,
}

fn secret() -> VaultSecret {
    VaultSecret::from_seed(&[1; 32])
}

fn sale(required: u8, total: u8) -> Sale {
    let (vault, shares) = share(&secret(), required, total, &[2; 32]).unwrap();
    let label = custody::sale_label();
    let (capsule, _) = Capsule::seal(&secret(), &label, &[6; 32]);
    let context = symbolon_protocol::custody::release_context(&CHAIN, &ORDER, &LISTING);
    let buyer = DeliverySecret::from_seed(&[7; 32]);
    let delivery = DeliveryKey::make(&buyer, &context, &[8; 32]);
    Sale { vault, shares, capsule, label, delivery, context }
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

#[test]
fn releases() {
    replay("custody/release_limits.json", release_cases, custody::run_release);
}

fn release_cases() -> Vec<Value> {
    let case = |name: &str, why: &str, of: &Sale, release: &Release, outcome: &str| {
        json!({
            "name": name, "why": why, "chain": hex(&CHAIN.0), "order": hex(&ORDER.0),
            "listing": hex(&LISTING.0), "vault_key": hex(&of.vault.to_bytes()),
            "capsule": hex(&of.capsule.to_bytes()), "delivery": hex(&of.delivery.to_bytes()),
            "release": hex(&release.to_bytes()), "outcome": outcome,
        })
    };
    let (one, most) = (sale(1, 1), sale(16, 32));
    let last = most.release(32);
    let moved = Release { index: 32, ..one.release(1) };
    let beyond = Release { index: 33, ..last.clone() };
    let mut more = sale(16, 32);
    let first = more.vault.commitments[0];
    more.vault.commitments.resize(33, first);
    let mut other = sale(1, 1);
    other.capsule.r = other.vault.commitments[0];
    let mut bare = sale(1, 1);
    bare.capsule.r = [0; 32];
    let mut blank = sale(1, 1);
    blank.delivery.point = [0; 32];
    vec![
        case("one of one", "a seller's own node", &one, &one.release(1), "ok"),
        case("the last of 32", "as many as can be", &most, &last, "ok"),
        case("33 commitments", "one too many", &more, &last, "Sharing"),
        case("index 32", "which there may be, though not here", &one, &moved, "Proof"),
        case("index 33 of 32", "which there may not be", &most, &beyond, "Index"),
        case("R of another capsule", "another statement", &other, &one.release(1), "Proof"),
        case("R is the identity", "nothing would be released", &bare, &one.release(1), "Identity"),
        case("delivery to the identity", "V would be bare", &blank, &one.release(1), "Identity"),
    ]
}

#[test]
fn capsules() {
    replay("custody/capsule_limits.json", capsule_cases, custody::run_capsule);
}

fn capsule_cases() -> Vec<Value> {
    let good = sale(1, 1).capsule;
    let case = |name: &str, why: &str, capsule: &Capsule, outcome: &str| {
        let mut case = custody::sale_place();
        case["name"] = json!(name);
        case["why"] = json!(why);
        case["capsule"] = json!(hex(&capsule.to_bytes()));
        case["outcome"] = json!(outcome);
        case
    };
    let (zero, none) = ([0; 32], [0xff; 32]);
    // The field's order: zero, written a second way; and the number one, whose point has the wrong sign.
    let mut odd = [0; 32];
    odd[0] = 1;
    let mut order = [0xff; 32];
    (order[0], order[31]) = (0xed, 0x7f);
    vec![
        case("a capsule", "of the seller", &good, "ok"),
        case(
            "R alone is the identity",
            "and R2 is not",
            &Capsule { r: zero, ..good.clone() },
            "Identity",
        ),
        case(
            "R2 alone is the identity",
            "and R is not",
            &Capsule { r2: zero, ..good.clone() },
            "Identity",
        ),
        case("R2 is no point", "not an encoding", &Capsule { r2: none, ..good.clone() }, "Point"),
        case("C is no point", "not an encoding", &Capsule { c: none, ..good.clone() }, "Point"),
        case("C is negative", "the other sign", &Capsule { c: odd, ..good.clone() }, "Point"),
        case("C is zero written otherwise", "not reduced", &Capsule { c: order, ..good }, "Point"),
    ]
}

#[test]
fn combinations() {
    replay("custody/combine_limits.json", combine_cases, custody::run_combine);
}

fn combine_cases() -> Vec<Value> {
    let case = |name: &str, why: &str, of: &Sale, releases: &[Release], outcome: &str| {
        let key = of.capsule.open(&secret());
        let releases: Vec<_> = releases.iter().map(|one| hex(&one.to_bytes())).collect();
        json!({
            "name": name, "why": why, "vault_key": hex(&of.vault.to_bytes()),
            "capsule": hex(&of.capsule.to_bytes()), "delivery_seed": "07".repeat(32),
            "releases": releases, "listing_key": key.map(|key| hex(&*listing_key(&key))).ok(),
            "outcome": outcome,
        })
    };
    let (one, three) = (sale(1, 1), sale(3, 5));
    let all: Vec<_> = [5, 1, 3].map(|index| three.release(index)).into();
    let point = |bytes: [u8; 32]| CompressedRistretto(bytes).decompress().unwrap();
    let key = point(*one.capsule.open(&secret()).unwrap());
    let mut neutral = sale(1, 1);
    let empty: RistrettoPoint = point(neutral.capsule.c) - key;
    neutral.capsule.c = empty.compress().to_bytes();
    let mut free = sale(1, 1);
    free.vault.commitments.clear();
    let beyond = Release { index: 33, ..one.release(1) };
    let last = Release { index: 32, ..one.release(1) };
    let bare = Release { u: [0; 32], ..one.release(1) };
    vec![
        case("one of one", "a seller's own node", &one, &[one.release(1)], "ok"),
        case("three of five", "in any order", &three, &all, "ok"),
        case("two of three", "one short", &three, &all[..2], "TooFew"),
        case(
            "a key that is the identity",
            "anyone would have it",
            &neutral,
            &[one.release(1)],
            "Identity",
        ),
        case(
            "a vault without commitments",
            "nothing would open it",
            &free,
            &[one.release(1)],
            "TooFew",
        ),
        case("index 33", "no vault has it", &one, &[beyond], "Index"),
        case("index 32", "of one, which is what was asked", &one, &[last], "ok"),
        case("no blind", "U is the identity", &one, &[bare], "Identity"),
    ]
}

#[test]
fn deposits() {
    replay("custody/deposit_limits.json", deposit_cases, custody::run_deposit);
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn deposit_cases() -> Vec<Value> {
    let of = sale(2, 3);
    let (owner, node) = (Identity::from_seed(&[1; 64]), Identity::from_seed(&[2; 64]));
    let (account, peer): (AccountId, NodeId) = (owner.account(), node.peer());
    let (chain, vault) = (&CHAIN, &VAULT);
    let terms =
        CustodyTerms { chain, vault, owner: &account, key: &of.vault, index: 2, node: &peer };
    let custody_key = envelope::public_key(&[7; 32]);
    let accepted = terms.accept(&node.access_key(), LedgerTime(7000));
    let case = |name: &str, why: &str, sealed: &[u8], acceptance: &CustodyAcceptance, out: &str| {
        json!({
            "name": name, "why": why, "chain": hex(&CHAIN.0), "vault": hex(&VAULT.0),
            "owner": hex(&account.0), "vault_key": hex(&of.vault.to_bytes()), "index": 2,
            "node": hex(&peer.0), "request": hex(&terms.sign_request(&owner.account_key())),
            "sealed": hex(sealed), "custody_secret": "07".repeat(32),
            "acceptance": hex(&acceptance.to_bytes()), "outcome": out,
        })
    };
    let good = terms.seal(&of.shares[1], &custody_key, &[8; 32]).unwrap();
    let mut bytes = CHAIN.to_bytes();
    VAULT.encode(&mut bytes);
    account.encode(&mut bytes);
    of.vault.encode(&mut bytes);
    bytes.push(2);
    peer.encode(&mut bytes);
    let aad = blake3::derive_key("symbolon 2026 custody share aad v1", &bytes);
    let seal = |plain: &[u8]| {
        let info = b"symbolon 2026 custody share v1";
        envelope::seal(&custody_key, info, &aad, plain, &[8; 32]).unwrap()
    };
    assert_eq!(seal(of.shares[1].as_bytes()), good);
    let number = of.shares[1].as_bytes();
    // The share plus the group's order: the same number, not reduced.
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let order = symbolon_protocol::id::unhex(order).unwrap();
    let mut carry = 0;
    let unreduced: Vec<u8> = number
        .iter()
        .zip(&order)
        .map(|(one, other)| {
            carry += u16::from(*one) + u16::from(*other);
            let [byte, rest] = carry.to_le_bytes();
            carry = u16::from(rest);
            byte
        })
        .collect();
    let longer = [&number[..], &[0]].concat();
    let by_another = CustodyAcceptance { node: account.into(), ..accepted.clone() };
    let of_another = CustodyAcceptance { index: 3, ..accepted.clone() };
    let for_longer = CustodyAcceptance { expires_ms: LedgerTime(7001), ..accepted.clone() };
    vec![
        case("a deposit", "all is well", &good, &accepted, "ok"),
        case("33 bytes", "no share is so long", &seal(&longer), &accepted, "Sealed"),
        case("31 bytes", "no share is so short", &seal(&number[..31]), &accepted, "Sealed"),
        case(
            "not reduced",
            "the same number written otherwise",
            &seal(&unreduced),
            &accepted,
            "Scalar",
        ),
        case("accepted under another name", "the signature holds", &good, &by_another, "Signature"),
        case(
            "accepted under another index",
            "the signature holds",
            &good,
            &of_another,
            "Signature",
        ),
        case(
            "accepted for longer",
            "the signature is over the time",
            &good,
            &for_longer,
            "Signature",
        ),
    ]
}
