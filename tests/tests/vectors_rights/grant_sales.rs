//! Vectors of mandates, and of the orders that pass them on.

use serde_json::{Value, json};
use symbolon_protocol::{
    Decode, Encode, LedgerTime, Millis,
    grant::{
        Caveat, Grant, Link, PaidOrder, Sale, ability, mandate_id, market_audience, verify_mandate,
    },
    id::{AccountId, ChainId, Hash, ObjectId, OrderId, PeerId, hex},
    identity::Identity,
};

use crate::{array, bytes, grant::Case, number, outcome, replay};

const OBJECT: ObjectId = ObjectId([7; 16]);
const LEDGER: ChainId = ChainId([3; 32]);

fn who(number: u8) -> Identity {
    Identity::from_seed(&[number; 64])
}

fn mandate_of(caveats: Vec<Caveat>) -> Grant {
    let (seller, market) = (who(0).account_key(), market_audience(&LEDGER));
    Grant::issue(&LEDGER, &seller, market, caveats, &[1; 32]).unwrap()
}

fn sale() -> Sale {
    Sale { order: OrderId([6; 16]), holder: who(1).peer(), ends_ms: LedgerTime(2_000) }
}

/// A mandate of seller 0, an order of buyer 1, then 2, 3, ...: a link per list of caveats.
pub(crate) fn sold(links: &[Vec<Caveat>]) -> Grant {
    let mut grant = Grant { sale: Some(sale()), ..mandate_of(links[0].clone()) };
    for (caveats, holder) in links[1..].iter().zip(1..) {
        let (key, next) = (who(holder).access_key(), who(holder + 1).peer());
        grant = grant.delegate(&LEDGER, &key, next, caveats.clone(), &[1; 32]).unwrap();
    }
    grant
}

/// What the ledger says of a grant's order, if all is as it should be; null for a grant without one.
pub(crate) fn paid_of(grant: &Grant) -> Value {
    let Some(Sale { holder, ends_ms, .. }) = grant.sale else { return Value::Null };
    let mandate = Grant { sale: None, links: vec![grant.links[0].clone()], ..grant.clone() };
    let mandate = mandate.verify(&LEDGER).unwrap().digest();
    json!({
        "mandate": mandate.to_string(), "holder": hex(&holder.0), "ends_ms": ends_ms.0,
        "refunded": false,
    })
}

/// The facts of a case.
pub(crate) fn paid(case: &Value) -> Option<PaidOrder> {
    let paid = case["paid"].as_object().map(|_| &case["paid"])?;
    Some(PaidOrder {
        mandate: Hash(array(paid, "mandate")),
        holder: PeerId(array(paid, "holder")),
        ends_ms: LedgerTime(number(paid, "ends_ms")),
        refunded: paid["refunded"].as_bool().unwrap(),
    })
}

/// Bought chains that do not verify.
pub(crate) fn tampered_sales(case: Case<'_>) -> impl Iterator<Item = Value> {
    let grant = sold(&[vec![], vec![]]);
    let edit = |name: &str, why: &str, outcome: &str, change: &dyn Fn(&mut Grant)| {
        let mut changed = grant.clone();
        change(&mut changed);
        case(name, why, &changed.to_bytes(), outcome)
    };
    let with =
        |change: fn(&mut Sale)| move |grant: &mut Grant| grant.sale.iter_mut().for_each(change);
    let given = |grant: &mut Grant| {
        let link = Grant::issue(&LEDGER, &who(0).account_key(), who(1).peer(), vec![], &[1; 32]);
        grant.links = link.unwrap().links;
    };
    let elsewhere = |grant: &mut Grant| {
        grant.links[0].audience = market_audience(&ChainId([9; 32]));
    };
    let again = |grant: &mut Grant| {
        let audience = who(1).peer();
        grant.links.push(Link { audience, nonce: [0; 8], caveats: vec![], signature: [0; 64] });
    };
    let (signature, repeated) = ("Signature", "HolderRepeated");
    [
        edit(
            "another order",
            "under the buyer's link",
            signature,
            &with(|sale| {
                sale.order.0[0] ^= 1;
            }),
        ),
        edit(
            "another buyer",
            "who did not sign the link",
            signature,
            &with(|sale| {
                sale.holder = who(9).peer();
            }),
        ),
        edit(
            "a longer sale",
            "under the buyer's link",
            signature,
            &with(|sale| {
                sale.ends_ms.0 += 1;
            }),
        ),
        edit("an order of a friend's grant", "its first link is no mandate", "NoMandate", &given),
        edit("a mandate elsewhere", "for another ledger", "NoMandate", &elsewhere),
        edit("a mandate passed on", "without an order", "NoOrder", &|grant| grant.sale = None),
        edit(
            "sold to the seller",
            "who stands above",
            repeated,
            &with(|sale| {
                sale.holder = who(0).account().into();
            }),
        ),
        edit(
            "sold to no buyer",
            "the audience of mandates",
            repeated,
            &with(|sale| {
                sale.holder = market_audience(&LEDGER);
            }),
        ),
        edit("back to the buyer", "the order's holder", "AudienceRepeated", &again),
    ]
    .into_iter()
}

#[test]
fn mandates() {
    replay("grant/sale.json", mandate_cases, |case| {
        let mandate = Link::from_bytes(&bytes(case, "mandate")).unwrap();
        let seller = AccountId(array(case, "seller"));
        let (object, chain) = (ObjectId(array(case, "object")), ChainId(array(case, "chain")));
        if verify_mandate(&chain, &seller, &mandate, &object).is_err() {
            return "NotAMandate".into();
        }
        assert_eq!(mandate_id(&chain, &seller, &mandate).to_string(), case["mandate_id"]);
        assert_eq!(hex(&market_audience(&chain).0), case["audience"]);
        let sale = Sale {
            order: OrderId(array(case, "order")),
            holder: PeerId(array(case, "holder")),
            ends_ms: LedgerTime(number(case, "ends_ms")),
        };
        let grant = Grant {
            version: 1,
            root: seller,
            sale: Some(sale),
            member: None,
            links: vec![mandate],
        };
        match grant.verify(&chain) {
            Ok(verified) if verified.digest().to_string() == case["digest"] => "ok".into(),
            Ok(_) => "OtherDigest".into(),
            Err(error) => outcome::<(), _>(Err(error)),
        }
    });
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn mandate_cases() -> Vec<Value> {
    let seller = who(0).account();
    let case = |name: &str, why: &str, mandate: &Link, outcome: &str| {
        let links = vec![mandate.clone()];
        let grant = Grant { version: 1, root: seller, sale: Some(sale()), member: None, links };
        let digest = grant.verify(&LEDGER).map_or(Hash([0; 32]), |verified| verified.digest());
        json!({
            "name": name, "why": why, "chain": hex(&LEDGER.0), "seller": seller.to_string(),
            "audience": hex(&market_audience(&LEDGER).0), "object": OBJECT.to_string(),
            "mandate": hex(&mandate.to_bytes()),
            "mandate_id": mandate_id(&LEDGER, &seller, mandate).to_string(),
            "order": sale().order.to_string(), "holder": hex(&sale().holder.0),
            "ends_ms": sale().ends_ms.0, "digest": digest.to_string(), "outcome": outcome,
        })
    };
    let named = |set| vec![Caveat::Object { object: OBJECT }, Caveat::Abilities { set }];
    let issue = |caveats: Vec<Caveat>| mandate_of(caveats).links.remove(0);
    let usual = issue(named(ability::READ | ability::VERIFY));
    let change = |name: &str, why: &str, field: &str, value: Value, outcome: &str| {
        let mut case = case(name, why, &usual, outcome);
        case[field] = value;
        case
    };
    let (no, reads) = ("NotAMandate", named(ability::READ));
    let with = |name: &str, why: &str, caveat: Caveat, outcome: &str| {
        let caveats = reads.iter().cloned().chain([caveat]).collect();
        case(name, why, &issue(caveats), outcome)
    };
    let only =
        |name: &str, why: &str, caveats: &[Caveat]| case(name, why, &issue(caveats.to_vec()), no);
    let purpose = |byte| Caveat::Purpose { hash: Hash([byte; 32]) };
    let twice = reads.iter().cloned().chain([purpose(1), purpose(1)]).collect();
    let differ: Vec<_> = reads.iter().cloned().chain([purpose(1), purpose(2)]).collect();
    let mut forged = usual.clone();
    forged.signature[3] ^= 1;
    let friend =
        Grant::issue(&LEDGER, &who(0).account_key(), who(1).peer(), reads.clone(), &[1; 32]);
    let friend = friend.unwrap().links.remove(0);
    let set = |set| Caveat::Abilities { set };
    let other = |bytes: usize| json!("42".repeat(bytes));
    let sellers = json!(seller.to_string());
    let stranger = json!(who(9).account().to_string());
    vec![
        case("a mandate", "and an order", &usual, "ok"),
        with("no further links", "so the buyer keeps it", Caveat::Depth { links: 0 }, "ok"),
        with("a purpose", "which buyers keep", purpose(1), "ok"),
        case("a purpose twice", "the same one", &issue(twice), "ok"),
        change("for another object", "not what is listed", "object", other(16), no),
        change("of another ledger", "by the same people", "chain", other(32), no),
        case("to a friend", "who sells nothing", &friend, no),
        change("by another", "who has not signed it", "seller", stranger, no),
        change("another order", "another chain", "order", other(16), "OtherDigest"),
        change("a longer access", "another chain", "ends_ms", json!(2001), "OtherDigest"),
        change("to another holder", "another chain", "holder", other(32), "OtherDigest"),
        change("to the seller", "who stands above", "holder", sellers, "HolderRepeated"),
        case("forged", "a bit of its signature", &forged, no),
        only("nothing named", "all of the seller's files, everything", &[]),
        only("no object", "all of the seller's files", &reads[1..]),
        only("no abilities", "what is not named", &reads[..1]),
        with(
            "another object too",
            "the two contradict",
            Caveat::Object { object: ObjectId([8; 16]) },
            no,
        ),
        only("no reading", "only verifying", &[reads[0].clone(), set(ability::VERIFY)]),
        only(
            "storing",
            "at the seller's cost",
            &[reads[0].clone(), set(ability::READ | ability::STORE)],
        ),
        only(
            "deleting",
            "what the next buyer pays for",
            &[reads[0].clone(), set(ability::READ | ability::DELETE)],
        ),
        with("a beginning", "buyers would wait", Caveat::NotBefore { time_ms: LedgerTime(0) }, no),
        with(
            "an end",
            "before what was paid for",
            Caveat::NotAfter { time_ms: LedgerTime::NEVER },
            no,
        ),
        with("cells", "not all", Caveat::Cells { first: 0, end: u64::MAX }, no),
        with("reads", "shared by all buyers", Caveat::NodeReads { count: u64::MAX }, no),
        with("bytes", "shared by all buyers", Caveat::NodeBytes { bytes: u64::MAX }, no),
        with("staleness", "nodes would refuse", Caveat::Staleness { max_ms: Millis(u64::MAX) }, no),
        only("two purposes", "no use has both", &differ),
    ]
}
