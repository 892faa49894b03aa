//! Vectors of claims: releases for shards that a caretaker reads or rebuilds, and the keys that they give.

use serde_json::{Value, json};
use symbolon_protocol::{
    Decode, Encode,
    custody::{
        Capsule, ClaimRequest, DeliveryKey, DeliverySecret, Release, ReleaseRequest, Share,
        VaultKey, VaultSecret, care_point, claim_context, combine_care, label, pad,
        release_context, share,
    },
    id::{AccountId, ChainId, DealId, Hash, ListingId, NodeId, OrderId, VaultId, hex, unhex},
};

use crate::{array, bytes, number, outcome, replay};

const CHAIN: ChainId = ChainId([6; 32]);
const OWNER: AccountId = AccountId([2; 32]);
const DEAL: DealId = DealId([4; 16]);
const CLAIMANT: NodeId = symbolon_protocol::id::PeerId([7; 32]);
/// The shard, and the key of its mask.
const INDEX: u8 = 3;
const INDEX_KEY: [u8; 32] = [9; 32];

struct Claim {
    vault: VaultKey,
    shares: Vec<Share>,
    taker: DeliverySecret,
    context: Hash,
    delivery: DeliveryKey,
}

fn secret() -> VaultSecret {
    VaultSecret::from_seed(&[1; 32])
}

fn claim() -> Claim {
    let (vault, shares) = share(&secret(), 2, 3, &[5; 32]).unwrap();
    let context = claim_context(&CHAIN, &DEAL, &CLAIMANT);
    let taker = DeliverySecret::from_seed(&[8; 32]);
    let delivery = DeliveryKey::make(&taker, &context, &[9; 32]);
    Claim { vault, shares, taker, context, delivery }
}

impl Claim {
    fn release(&self, number: usize, index: u8) -> String {
        let point = care_point(&CHAIN, &OWNER, &DEAL, index);
        let Self { vault, delivery, context, .. } = self;
        let request = ClaimRequest { vault, point: &point, delivery, context };
        hex(&Release::make_claimed(&self.shares[number - 1], &request, &[3; 32])
            .unwrap()
            .to_bytes())
    }

    /// What a custodian gives for an order, with the same delivery secret.
    fn sold(&self) -> String {
        let content = Hash([4; 32]);
        let label = label(&CHAIN, &OWNER, &VaultId([3; 16]), &content);
        let (capsule, _) = Capsule::seal(&secret(), &label, &[5; 32]);
        let context = release_context(&CHAIN, &OrderId([1; 16]), &ListingId([2; 16]));
        let delivery = DeliveryKey::make(&self.taker, &context, &[9; 32]);
        let (vault, capsule, label) = (&self.vault, &capsule, &label);
        let request =
            ReleaseRequest { vault, capsule, label, delivery: &delivery, context: &context };
        hex(&Release::make(&self.shares[0], &request, &[3; 32]).unwrap().to_bytes())
    }
}

#[test]
fn claims() {
    replay("custody/claim.json", cases, run);
}

/// The delivery key, each release, and then the key that they give.
fn run(case: &Value) -> String {
    let index = u8::try_from(number(case, "index")).unwrap();
    let (chain, owner) = (ChainId(array(case, "chain")), AccountId(array(case, "owner")));
    let deal = DealId(array(case, "deal"));
    let claimant = symbolon_protocol::id::PeerId(array(case, "claimant"));
    let vault = VaultKey::from_bytes(&bytes(case, "vault_key")).unwrap();
    let delivery = DeliveryKey::from_bytes(&bytes(case, "delivery")).unwrap();
    let context = claim_context(&chain, &deal, &claimant);
    let point = care_point(&chain, &owner, &deal, index);
    if let Err(error) = delivery.verify(&context) {
        return outcome::<(), _>(Err(error));
    }
    let text = case["releases"].as_array().unwrap().iter().map(|one| one.as_str().unwrap());
    let releases: Vec<Release> =
        text.map(|text| Release::from_bytes(&unhex(text).unwrap()).unwrap()).collect();
    let request =
        ClaimRequest { vault: &vault, point: &point, delivery: &delivery, context: &context };
    for release in &releases {
        if let Err(error) = release.verify_claimed(&request) {
            return outcome::<(), _>(Err(error));
        }
    }
    let secret = DeliverySecret::from_seed(&array(case, "delivery_seed"));
    match combine_care(&releases, &secret, &vault) {
        Err(error) => outcome::<(), _>(Err(error)),
        Ok(key) if pad(&array(case, "pad"), &key) == array(case, "index_key") => "ok".into(),
        Ok(_) => "WrongKey".into(),
    }
}

/// A claim whose releases give the key.
fn good(claim: &Claim, pad: &str, releases: Value) -> Value {
    json!({
        "name": "good", "why": "two of three custodians", "chain": hex(&CHAIN.0), "owner": hex(&OWNER.0),
        "deal": hex(&DEAL.0), "index": INDEX, "claimant": hex(&CLAIMANT.0),
        "vault_key": hex(&claim.vault.to_bytes()), "delivery": hex(&claim.delivery.to_bytes()),
        "releases": releases, "delivery_seed": "08".repeat(32), "pad": pad,
        "index_key": hex(&INDEX_KEY), "outcome": "ok",
    })
}

fn cases() -> Vec<Value> {
    let claim = claim();
    let of = |index| {
        let key = secret().care_key(&care_point(&CHAIN, &OWNER, &DEAL, index)).unwrap();
        hex(&pad(&INDEX_KEY, &key))
    };
    let [one, two, three] = [1, 2, 3].map(|number| claim.release(number, INDEX));
    let good = good(&claim, &of(INDEX), json!([one, three]));
    let case = |name: &str, why: &str, field: &str, value: Value, outcome: &str| {
        let mut case = good.clone();
        (case["name"], case["why"]) = (json!(name), json!(why));
        (case[field], case["outcome"]) = (value, json!(outcome));
        case
    };
    let mut flipped = two.clone();
    flipped.replace_range(..2, "01");
    let stranger = DeliverySecret::from_seed(&[66; 32]);
    let stranger = DeliveryKey::make(&stranger, &claim.context, &[9; 32]);
    let (dealt, _) = share(&secret(), 2, 3, &[66; 32]).unwrap();
    vec![
        good.clone(),
        case("good too", "two others", "releases", json!([three, two]), "ok"),
        case("other shard", "releases for shard 3", "index", json!(4), "Proof"),
        case(
            "other deal",
            "the delivery key is for one deal",
            "deal",
            json!("42".repeat(16)),
            "Proof",
        ),
        case("other claimant", "and for one node", "claimant", json!("42".repeat(32)), "Proof"),
        case("other chain", "and for one ledger", "chain", json!("42".repeat(32)), "Proof"),
        case("other owner", "the point is another", "owner", json!("42".repeat(32)), "Proof"),
        case(
            "other delivery key",
            "of the same claim",
            "delivery",
            json!(hex(&stranger.to_bytes())),
            "Proof",
        ),
        case(
            "dealt again",
            "shares of before",
            "vault_key",
            json!(hex(&dealt.to_bytes())),
            "Proof",
        ),
        case(
            "for an order",
            "what a buyer gets",
            "releases",
            json!([claim.sold(), three]),
            "Proof",
        ),
        case("other custodian", "index 2 as index 1", "releases", json!([flipped, three]), "Proof"),
        case("too few", "one of two", "releases", json!([one]), "TooFew"),
        case("repeated", "one custodian twice", "releases", json!([one, one]), "Repeated"),
        case(
            "other secret",
            "not the claimant's",
            "delivery_seed",
            json!("42".repeat(32)),
            "WrongKey",
        ),
        case("copied pad", "the pad of shard 4", "pad", json!(of(4)), "WrongKey"),
    ]
}
