//! Vectors of grants at their limits, and of what a node is left to enforce.

use serde_json::{Value, json};
use symbolon_protocol::{
    Decode, Encode, LedgerTime, Millis,
    grant::{Access, Authorized, Caveat, Grant, Link, ability},
    id::{AccountId, ChainId, Hash, LinkId, ObjectId, PeerId, hex},
    identity::Identity,
};

use crate::{
    array, bytes,
    grant_sales::{paid, paid_of, sold},
    number, outcome, replay,
};

const OBJECT: ObjectId = ObjectId([7; 16]);
const LEDGER: ChainId = ChainId([3; 32]);

fn who(number: u8) -> Identity {
    Identity::from_seed(&[number; 64])
}

fn named(abilities: u16) -> Vec<Caveat> {
    vec![Caveat::Object { object: OBJECT }, Caveat::Abilities { set: abilities }]
}

/// Root 0, then 1, 2, ...: a link per list of caveats.
fn chain(links: &[Vec<Caveat>]) -> Grant {
    let (root, first) = (who(0).account_key(), links[0].clone());
    let mut grant = Grant::issue(&LEDGER, &root, who(1).peer(), first, &[1; 32]).unwrap();
    for (caveats, holder) in links[1..].iter().zip(1..) {
        let (key, next) = (who(holder).access_key(), who(holder + 1).peer());
        grant = grant.delegate(&LEDGER, &key, next, caveats.clone(), &[1; 32]).unwrap();
    }
    grant
}

fn pairs(pairs: impl Iterator<Item = (LinkId, AccountId)>) -> Value {
    pairs.map(|(link, by)| json!([link.to_string(), by.to_string()])).collect()
}

#[test]
fn limits() {
    replay("grant/limits.json", limit_cases, |case| {
        let verified = match Grant::from_bytes(&bytes(case, "grant")) {
            Ok(grant) => grant.verify(&ChainId(array(case, "chain"))),
            Err(error) => return format!("Decode.{}", outcome::<(), _>(Err(error))),
        };
        if let Ok(verified) = &verified {
            let ids = verified.link_ids().iter().map(ToString::to_string).collect::<Vec<_>>();
            assert_eq!(json!(ids), case["link_ids"]);
            assert_eq!(pairs(verified.revocations()), case["revocations"]);
        }
        outcome(verified)
    });
}

/// A chain of one link with exactly so many bytes: 146 without caveats, 33 for a purpose, 2 for a depth.
fn sized(bytes: usize) -> Grant {
    let odd = !bytes.is_multiple_of(2);
    let purpose = Caveat::Purpose { hash: Hash([3; 32]) };
    let depths = (bytes - 146 - if odd { 33 } else { 0 }) / 2;
    let mut caveats = vec![Caveat::Depth { links: 9 }; depths];
    caveats.extend(odd.then_some(purpose));
    let mut grant = chain(&[vec![]]);
    grant.links[0].caveats = caveats;
    resigned(grant)
}

/// The chain with its one link signed again, whatever it has become.
pub(crate) fn resigned(mut grant: Grant) -> Grant {
    use ed25519_dalek::Signer;
    let root = [&[1][..], &LEDGER.0, &grant.root.0].concat();
    let root = blake3::derive_key("symbolon 2026 grant root v2", &root);
    let mut link = root.to_vec();
    grant.links[0].audience.encode(&mut link);
    grant.links[0].nonce.encode(&mut link);
    grant.links[0].caveats.encode(&mut link);
    let digest = blake3::derive_key("symbolon 2026 grant link v1", &link);
    grant.links[0].signature = who(0).account_key().sign(&digest).to_bytes();
    grant
}

fn limit_cases() -> Vec<Value> {
    let case = |name: &str, why: &str, grant: &[u8], outcome: &str| json!({ "name": name, "why": why, "chain": hex(&LEDGER.0), "grant": hex(grant), "outcome": outcome });
    let good = |name: &str, why: &str, grant: &Grant| {
        let verified = grant.verify(&LEDGER).unwrap();
        let ids = verified.link_ids().iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut case = case(name, why, &grant.to_bytes(), "ok");
        case["link_ids"] = json!(ids);
        case["revocations"] = pairs(verified.revocations());
        case
    };
    let edit =
        |name: &str, why: &str, grant: &Grant, outcome: &str, change: &dyn Fn(&mut Grant)| {
            let mut changed = grant.clone();
            change(&mut changed);
            case(name, why, &changed.to_bytes(), outcome)
        };
    let eight = chain(&vec![vec![]; 8]);
    let link = |audience| Link { audience, nonce: [0; 8], caveats: vec![], signature: [0; 64] };
    let deep = |links| chain(&[vec![Caveat::Depth { links }], vec![], vec![]]);
    let known = chain(&[vec![Caveat::Abilities { set: ability::ALL }]]);
    let small = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    let weak = |grant: &mut Grant| {
        let point = symbolon_protocol::id::unhex(small).unwrap();
        grant.links[0].signature[..32].copy_from_slice(&point);
    };
    let mut bare = eight.to_bytes();
    bare.truncate(38);
    vec![
        good("eight links", "as many as a chain has, and 36 revocations", &eight),
        good("2048 bytes", "as large as a chain may be", &sized(2048)),
        good("as deep as allowed", "two links below a depth of two", &deep(2)),
        good(
            "eight links of a buyer",
            "the order is none, and 36 revocations",
            &sold(&vec![vec![]; 8]),
        ),
        good("every ability", "all five bits", &known),
        case("2049 bytes", "one too many", &sized(2049).to_bytes(), "Decode.TooMany"),
        case("links that do not come", "eight are said", &bare, "Decode.Short"),
        edit("nine links", "one too many", &eight, "Decode.TooMany", &|grant| {
            grant.links.push(link(who(9).peer()));
        }),
        edit("an ability without a meaning", "bit 5", &known, "UnknownAbility", &|grant| {
            grant.links[0].caveats[0] = Caveat::Abilities { set: ability::ALL + 1 };
        }),
        edit("a link too deep", "three below a depth of two", &deep(2), "TooDeep", &|grant| {
            grant.links.push(link(who(4).peer()));
        }),
        edit(
            "small order R",
            "a point of order eight in the signature",
            &known,
            "Signature",
            &weak,
        ),
        edit(
            "small order audience",
            "whose signature anyone can make",
            &deep(2),
            "Signature",
            &|grant| {
                grant.links[0].audience = PeerId(array_of(small));
            },
        ),
        edit("a signature of zeros", "64 zero bytes", &known, "Signature", &|grant| {
            grant.links[0].signature = [0; 64];
        }),
    ]
}

fn array_of(text: &str) -> [u8; 32] {
    symbolon_protocol::id::unhex(text).unwrap().try_into().unwrap()
}

#[test]
fn left_to_the_node() {
    replay("grant/quotas.json", quota_cases, |case| {
        let grant = Grant::from_bytes(&bytes(case, "grant")).unwrap();
        let grant = grant.verify(&ChainId(array(case, "chain"))).unwrap();
        let cells = case["cells"].as_array();
        let found = grant.authorize(&Access {
            owner: AccountId(array(case, "owner")),
            object: ObjectId(array(case, "object")),
            peer: PeerId(array(case, "peer")),
            ability: u16::try_from(number(case, "ability")).unwrap(),
            cells: cells.map(|ends| ends[0].as_u64().unwrap()..ends[1].as_u64().unwrap()),
            now_ms: LedgerTime(number(case, "now_ms")),
            paid: paid(case),
            redeemed: None,
        });
        if let Ok(found) = &found {
            for (field, value) in left(found).as_object().unwrap() {
                assert_eq!(*value, case[field], "{field} of {}", case["name"]);
            }
        }
        outcome(found)
    });
}

fn left(found: &Authorized) -> Value {
    let quotas = found.quotas.iter();
    let quotas: Vec<_> =
        quotas.map(|one| json!([one.link.to_string(), one.reads, one.bytes])).collect();
    json!({
        "node_reads": found.node_reads(), "node_bytes": found.node_bytes(), "quotas": quotas,
        "order": found.order.map(|order| order.to_string()), "staleness_ms": found.staleness_ms.map(|max| max.0),
        "purpose": found.purpose.map(|hash| hash.to_string()),
        "revocations": pairs(found.revocations.iter().copied()),
    })
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn quota_cases() -> Vec<Value> {
    let purpose = |byte| Caveat::Purpose { hash: Hash([byte; 32]) };
    let mut first = named(ability::READ);
    first.extend([
        Caveat::NodeReads { count: 9 },
        Caveat::NodeReads { count: 5 },
        Caveat::NodeReads { count: 7 },
        Caveat::Staleness { max_ms: Millis(60) },
        purpose(1),
    ]);
    let second = vec![
        Caveat::NodeBytes { bytes: 1 << 40 },
        Caveat::NodeBytes { bytes: 1000 },
        Caveat::NodeBytes { bytes: 2000 },
        Caveat::Staleness { max_ms: Millis(50) },
        Caveat::Staleness { max_ms: Millis(70) },
        purpose(1),
    ];
    let third = vec![Caveat::NodeReads { count: 8 }, Caveat::NodeBytes { bytes: 1500 }];
    let full = chain(&[first.clone(), second.clone(), third.clone()]);
    // The buyer is 1, so the links are as before.
    let bought = sold(&[first, second, third]);
    let plain = chain(&[named(ability::ALL), vec![], vec![]]);
    let base = |grant: &Grant| {
        json!({
            "chain": hex(&LEDGER.0), "grant": hex(&grant.to_bytes()), "owner": who(0).account().to_string(),
            "object": OBJECT.to_string(), "peer": hex(&who(3).peer().0), "ability": ability::READ,
            "cells": null, "now_ms": 1500, "paid": paid_of(grant),
        })
    };
    let make = |name: &str, why: &str, grant: &Grant, change: Value, outcome: &str| {
        let mut case = base(grant);
        for (field, value) in change.as_object().unwrap() {
            case[field] = value.clone();
        }
        case["name"] = json!(name);
        case["why"] = json!(why);
        case["outcome"] = json!(outcome);
        if outcome == "ok" {
            let access = Access {
                owner: who(0).account(),
                object: OBJECT,
                peer: who(3).peer(),
                ability: u16::try_from(case["ability"].as_u64().unwrap()).unwrap(),
                cells: None,
                now_ms: LedgerTime(number(&case, "now_ms")),
                paid: paid(&case),
                redeemed: None,
            };
            let found = grant.verify(&LEDGER).unwrap().authorize(&access).unwrap();
            for (field, value) in left(&found).as_object().unwrap() {
                case[field] = value.clone();
            }
        }
        case
    };
    let timed = |caveat| chain(&[named(ability::READ), vec![caveat], vec![]]);
    let begins = timed(Caveat::NotBefore { time_ms: LedgerTime(1500) });
    let stranger = json!({ "owner": who(9).account().to_string(), "peer": hex(&who(9).peer().0) });
    let unknown = json!({ "ability": ability::READ | (ability::ALL + 1) });
    let cells = timed(Caveat::Cells { first: 0, end: 9 });
    let purposes = chain(&[named(ability::READ), vec![purpose(1)], vec![purpose(2)]]);
    vec![
        make("all that is left", "the least of each link", &full, json!({}), "ok"),
        make("all of a bought grant", "its order too; the buyer revokes", &bought, json!({}), "ok"),
        make("nothing is left", "but revocations", &plain, json!({}), "ok"),
        make("all abilities", "asked together", &plain, json!({ "ability": ability::ALL }), "ok"),
        make("it begins", "at this millisecond", &begins, json!({}), "ok"),
        make(
            "it has not begun",
            "a millisecond before",
            &begins,
            json!({ "now_ms": 1499 }),
            "NotYet",
        ),
        make("owner before peer", "neither is right", &plain, stranger, "NotOwner"),
        make("an unknown ability beside a known one", "bit 5", &plain, unknown, "NotAllowed"),
        make(
            "an empty range of an unlimited grant",
            "no cells are asked",
            &plain,
            json!({ "cells": [4, 4] }),
            "WrongCells",
        ),
        make(
            "a range backwards",
            "it ends before it begins",
            &plain,
            json!({ "cells": [5, 4] }),
            "WrongCells",
        ),
        make("a whole object under cells", "a deletion, for one", &cells, json!({}), "WrongCells"),
        make(
            "a cell past the range",
            "one too many",
            &cells,
            json!({ "cells": [0, 10] }),
            "WrongCells",
        ),
        make(
            "two purposes of two links",
            "no use has both",
            &purposes,
            json!({}),
            "PurposesDiffer",
        ),
    ]
}
