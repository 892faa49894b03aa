//! Vectors of grant chains, requests and tokens.

use serde_json::{Value, json};
use symbolon_protocol::{
    Decode, Encode, LedgerTime,
    content::{
        Manifest, Scheme,
        manifest::{Codec, MaskMode},
    },
    envelope,
    grant::{Access, Caveat, Grant, GrantToken, Link, ObjectSet, ability},
    id::{AccountId, ChainId, Hash, LinkId, ObjectId, PeerId, hex, unhex},
    identity::{Identity, Recipient},
};

use crate::{
    array, bytes,
    grant_sales::{paid, paid_of, sold, tampered_sales},
    number, outcome, replay, text as field_text,
};

const OBJECT: ObjectId = ObjectId([7; 16]);
const KEY: [u8; 32] = [42; 32];
/// The ledger of every case that names none.
const LEDGER: ChainId = ChainId([3; 32]);
/// `derive_key("symbolon 2026 commit v1", KEY)`.
const COMMITMENT: &str = "22153e95b73ee7fd8185528c05104f2df46db59ff1cb27d966e832596598f444";

fn who(number: u8) -> Identity {
    Identity::from_seed(&[number; 64])
}

/// Root 0, then 1, 2, ...: a link per list of caveats.
fn chain(links: &[Vec<Caveat>]) -> Grant {
    let mut grant =
        Grant::issue(&LEDGER, &who(0).account_key(), who(1).peer(), links[0].clone(), &[1; 32])
            .unwrap();
    for (caveats, holder) in links[1..].iter().zip(1..) {
        let next = who(holder + 1).peer();
        grant = grant
            .delegate(&LEDGER, &who(holder).access_key(), next, caveats.clone(), &[1; 32])
            .unwrap();
    }
    grant
}

fn usual() -> Grant {
    chain(&[
        vec![
            Caveat::Object { object: OBJECT },
            Caveat::Abilities { set: ability::READ | ability::VERIFY },
            Caveat::NotBefore { time_ms: LedgerTime(1_000) },
        ],
        vec![Caveat::NotAfter { time_ms: LedgerTime(2_000) }, Caveat::NodeReads { count: 9 }],
        vec![Caveat::Cells { first: 10, end: 20 }, Caveat::Depth { links: 1 }],
    ])
}

#[test]
fn chains() {
    replay("grant/verify.json", verify_cases, |case| {
        let verified = match Grant::from_bytes(&bytes(case, "grant")) {
            Ok(grant) => grant.verify(&ChainId(array(case, "chain"))),
            Err(error) => return format!("Decode.{}", outcome::<(), _>(Err(error))),
        };
        if let Ok(verified) = &verified {
            let ids: Vec<LinkId> = case["link_ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|id| id.as_str().unwrap().parse().unwrap())
                .collect();
            assert_eq!(verified.link_ids(), ids);
        }
        outcome(verified)
    });
}

fn verify_cases() -> Vec<Value> {
    let grant = usual();
    let case = |name: &str, why: &str, grant: &[u8], outcome: &str| json!({ "name": name, "why": why, "chain": hex(&LEDGER.0), "grant": hex(grant), "outcome": outcome });
    let good = |name: &str, why: &str, grant: &Grant| {
        let mut case = case(name, why, &grant.to_bytes(), "ok");
        let ids = grant.verify(&LEDGER).unwrap().link_ids();
        case["link_ids"] = json!(ids.iter().map(ToString::to_string).collect::<Vec<_>>());
        case
    };
    let edit = |name: &str, why: &str, outcome: &str, change: &dyn Fn(&mut Grant)| {
        let mut changed = grant.clone();
        change(&mut changed);
        case(name, why, &changed.to_bytes(), outcome)
    };
    let mut cases = vec![
        good("three links", "root, holder, delegate, delegate", &grant),
        good("one link", "what an owner gives a friend", &chain(&[vec![]])),
        good("bought", "a mandate and an order: no party signed the second step", &sold(&[vec![]])),
        good("bought and passed on", "by the order's holder", &sold(&[vec![], vec![], vec![]])),
    ];
    let mut elsewhere = good("other ledger", "signed for a test ledger of the same people", &grant);
    elsewhere["chain"] = json!(hex(&[9; 32]));
    elsewhere["outcome"] = json!("Signature");
    cases.push(elsewhere);
    cases.extend(tampered(&edit));
    cases.extend(malformed(&grant, &case));
    cases.extend(tampered_sales(&case));
    cases
}

type Edit<'a> = &'a dyn Fn(&str, &str, &str, &dyn Fn(&mut Grant)) -> Value;

fn tampered(edit: Edit<'_>) -> Vec<Value> {
    let rogue = |grant: &mut Grant| {
        // Everything as it was, but the first signature by another key.
        let caveats = grant.links[0].caveats.clone();
        let forged =
            Grant::issue(&LEDGER, &who(9).account_key(), who(1).peer(), caveats, &[1; 32]).unwrap();
        grant.links[0] = forged.links[0].clone();
    };
    let other_front = |grant: &mut Grant| {
        let bare =
            Grant::issue(&LEDGER, &who(0).account_key(), who(1).peer(), vec![], &[1; 32]).unwrap();
        grant.links[0] = bare.links[0].clone();
    };
    let widen = |grant: &mut Grant| {
        grant.links[0].caveats[1] = Caveat::Abilities { set: ability::ALL };
    };
    let longer = |grant: &mut Grant| {
        grant.links[1].caveats[0] = Caveat::NotAfter { time_ms: LedgerTime::NEVER };
    };
    let repeat = |audience: PeerId| {
        move |grant: &mut Grant| {
            grant.links.push(Link { audience, nonce: [0; 8], caveats: vec![], signature: [0; 64] });
        }
    };
    vec![
        edit("rogue root", "signed by a key that is not the root", "Signature", &rogue),
        edit("other root", "the same links under another owner", "Signature", &|grant| {
            grant.root = who(9).account();
        }),
        edit("widened right", "the first link's abilities made all", "Signature", &widen),
        edit("lengthened", "the second link's end moved", "Signature", &longer),
        edit("caveat dropped", "the last link without its cells", "Signature", &|grant| {
            grant.links[2].caveats.remove(0);
        }),
        edit("stolen", "the last audience replaced by the thief", "Signature", &|grant| {
            grant.links[2].audience = who(9).peer();
        }),
        edit("link cut out", "the second link removed", "Signature", &|grant| {
            grant.links.remove(1);
        }),
        edit("links swapped", "second and third", "Signature", &|grant| grant.links.swap(1, 2)),
        edit("other front", "an older, wider first link in front", "Signature", &other_front),
        edit("nonce changed", "another revocation id", "Signature", &|grant| {
            grant.links[1].nonce[0] ^= 1;
        }),
        edit("signature changed", "one bit", "Signature", &|grant| {
            grant.links[2].signature[0] ^= 1;
        }),
        edit("malleable signature", "S plus 2^255", "Signature", &|grant| {
            grant.links[2].signature[63] |= 0x80;
        }),
        edit("small order root", "a key that accepts anything", "Signature", &|grant| {
            grant.root = AccountId([0; 32]);
        }),
        edit(
            "audience repeated",
            "back to the first holder",
            "AudienceRepeated",
            &repeat(who(1).peer()),
        ),
        edit(
            "back to the root",
            "the owner's own key",
            "AudienceRepeated",
            &repeat(who(0).account().into()),
        ),
        edit("too deep", "two links below a depth of one", "TooDeep", &|grant| {
            repeat(who(4).peer())(grant);
            repeat(who(5).peer())(grant);
        }),
        edit("no link", "a root alone allows nothing", "Links", &|grant| grant.links.clear()),
    ]
}

pub(crate) type Case<'a> = &'a dyn Fn(&str, &str, &[u8], &str) -> Value;

fn malformed(grant: &Grant, case: Case<'_>) -> Vec<Value> {
    let good = grant.to_bytes();
    let patched = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    // version 1 | root 32 | no sale 1 | count 4 | audience 32 | nonce 8 | caveat count 4 | tag
    let (sale, count, first_tag) = (33, 34, 82);
    let unknown_ability = {
        let mut changed = grant.clone();
        changed.links[0].caveats[1] = Caveat::Abilities { set: 1 << 15 };
        changed.to_bytes()
    };
    let mut huge = grant.clone();
    huge.links[0].caveats = vec![Caveat::Purpose { hash: Hash([0; 32]) }; 64];
    let mut trailing = good.clone();
    trailing.push(0);
    let mut nine = patched(count, 9);
    nine.extend_from_slice(&[0; 1000]);
    vec![
        case("version 3", "a layout of the future", &patched(0, 3), "Decode.Tag"),
        case(
            "unknown caveat",
            "what it forbids is not known",
            &patched(first_tag, 99),
            "Decode.Tag",
        ),
        case("caveat 0", "no caveat has this tag", &patched(first_tag, 0), "Decode.Tag"),
        case("half a sale", "neither there nor absent", &patched(sale, 2), "Decode.Tag"),
        case("unknown ability", "what it allows is not known", &unknown_ability, "UnknownAbility"),
        case("nine links", "more than any chain", &nine, "Decode.TooMany"),
        case("too large", "more than 2048 bytes", &huge.to_bytes(), "Decode.TooMany"),
        case("cut", "the last byte is missing", &good[..good.len() - 1], "Decode.Short"),
        case("trailing", "a byte too many", &trailing, "Decode.Trailing"),
        case("empty", "nothing", &[], "Decode.Short"),
    ]
}

#[test]
fn requests() {
    replay("grant/authorize.json", request_cases, |case| {
        let grant = Grant::from_bytes(&bytes(case, "grant")).unwrap();
        let grant = grant.verify(&ChainId(array(case, "chain"))).unwrap();
        let cells = case["cells"].as_array();
        let access = Access {
            owner: AccountId(array(case, "owner")),
            object: ObjectId(array(case, "object")),
            peer: PeerId(array(case, "peer")),
            ability: u16::try_from(number(case, "ability")).unwrap(),
            cells: cells.map(|ends| ends[0].as_u64().unwrap()..ends[1].as_u64().unwrap()),
            now_ms: LedgerTime(number(case, "now_ms")),
            paid: paid(case),
            redeemed: None,
        };
        let found = grant.authorize(&access);
        if let Ok(found) = &found {
            assert_eq!(json!(found.node_reads()), case["node_reads"]);
            assert_eq!(json!(found.order.map(|order| order.to_string())), case["order"]);
            assert_eq!(json!(found.ends_ms.map(|time| time.0)), case["ends_ms"]);
        }
        outcome(found)
    });
}

fn request_cases() -> Vec<Value> {
    let good = json!({
        "name": "good", "why": "all caveats of all links hold", "chain": hex(&LEDGER.0),
        "grant": hex(&usual().to_bytes()),
        "owner": hex(&who(0).account().0), "object": hex(&OBJECT.0), "peer": hex(&who(3).peer().0),
        "ability": ability::READ, "cells": [10, 20], "now_ms": 1_500, "node_reads": 9, "order": null,
        "ends_ms": 2_000, "paid": null, "outcome": "ok",
    });
    let change = |name: &str, why: &str, fields: Value, outcome: &str| {
        let mut case = good.clone();
        case["name"] = json!(name);
        case["why"] = json!(why);
        case["outcome"] = json!(outcome);
        for (field, value) in fields.as_object().unwrap() {
            case[field] = value.clone();
        }
        case
    };
    let mut cases = vec![good.clone()];
    cases.extend(other_grants(&change));
    cases.extend(other_askers(&change));
    cases.extend(other_wishes(&change));
    cases.extend(orders(&change));
    cases
}

type Change<'a> = &'a dyn Fn(&str, &str, Value, &str) -> Value;

fn other_grants(change: Change<'_>) -> Vec<Value> {
    let named = |more: &[Caveat]| {
        let mut all =
            vec![Caveat::Object { object: OBJECT }, Caveat::Abilities { set: ability::READ }];
        all.extend_from_slice(more);
        all
    };
    let purposes = chain(&[
        named(&[Caveat::Purpose { hash: Hash([1; 32]) }]),
        vec![Caveat::Purpose { hash: Hash([2; 32]) }],
        vec![],
    ]);
    let purposes = json!({ "grant": hex(&purposes.to_bytes()) });
    let refilled = chain(&[
        named(&[Caveat::NodeReads { count: 2 }]),
        vec![Caveat::NodeReads { count: 100 }],
        vec![],
    ]);
    let refilled = json!({ "grant": hex(&refilled.to_bytes()), "node_reads": 2, "ends_ms": null });
    let of = |first: &[Caveat]| {
        let grant = chain(&[first.to_vec(), vec![], vec![]]);
        json!({ "grant": hex(&grant.to_bytes()) })
    };
    let later = json!({ "grant": hex(&chain(&[vec![], named(&[]), vec![]]).to_bytes()) });
    vec![
        change("nothing named", "what link 0 does not name is not allowed", of(&[]), "Unnamed"),
        change("no object", "link 0 names abilities alone", of(&named(&[])[1..]), "Unnamed"),
        change("no abilities", "link 0 names an object alone", of(&named(&[])[..1]), "Unnamed"),
        change("named later", "a holder names what the owner did not", later, "Unnamed"),
        change("no refill", "a later, larger quota does not count", refilled, "ok"),
        change("purposes differ", "no use can have both", purposes, "PurposesDiffer"),
    ]
}

fn other_askers(change: Change<'_>) -> Vec<Value> {
    let peer = |seed| json!({ "peer": hex(&who(seed).peer().0) });
    let owner = json!({ "owner": hex(&who(9).account().0) });
    let object = json!({ "object": "42".repeat(16) });
    vec![
        change("stolen", "another peer's connection", peer(9), "NotHolder"),
        change("given away", "a holder above has passed it on", peer(2), "NotHolder"),
        change("owner of another", "the shard is not the root's", owner, "NotOwner"),
        change("other object", "another file of the owner", object, "WrongObject"),
    ]
}

fn other_wishes(change: Change<'_>) -> Vec<Value> {
    let able = |ability: u16| json!({ "ability": ability });
    let at = |now_ms: u64| json!({ "now_ms": now_ms });
    let cells = |first: u64, end: u64| json!({ "cells": [first, end] });
    let both = able(ability::READ | ability::DELETE);
    vec![
        change("last moment", "the end is not in it", at(1_999), "ok"),
        change("verify", "a second ability of the set", able(ability::VERIFY), "ok"),
        change("delete", "not in the set", able(ability::DELETE), "NotAllowed"),
        change("read and delete", "all asked bits must be allowed", both, "NotAllowed"),
        change("no ability", "a request for nothing", able(0), "NotAllowed"),
        change("unknown ability", "a bit without a meaning", able(1 << 15), "NotAllowed"),
        change("too early", "a millisecond", at(999), "NotYet"),
        change("expired", "at the very end", at(2_000), "Expired"),
        change("cell before", "one too early", cells(9, 12), "WrongCells"),
        change("cell after", "one too late", cells(19, 21), "WrongCells"),
        change("no cells", "an empty range", cells(15, 15), "WrongCells"),
        change("all cells", "about the whole object", json!({ "cells": null }), "WrongCells"),
    ]
}

/// Bought grants, and what the ledger's rows say of their order.
fn orders(change: Change<'_>) -> Vec<Value> {
    let reads = vec![Caveat::Object { object: OBJECT }, Caveat::Abilities { set: ability::READ }];
    let grant = sold(std::slice::from_ref(&reads));
    let of = |grant: &Grant, peer: u8, edit: &dyn Fn(&mut Value)| {
        let mut case = json!({
            "grant": hex(&grant.to_bytes()), "peer": hex(&who(peer).peer().0), "node_reads": null,
            "order": hex(&[6; 16]), "ends_ms": 2_000, "paid": paid_of(grant),
        });
        edit(&mut case);
        case
    };
    let differs = |field: &'static str, value: Value| {
        of(&grant, 1, &|case| case["paid"][field] = value.clone())
    };
    let none = of(&grant, 1, &|case| case["paid"] = Value::Null);
    let late = of(&grant, 1, &|case| {
        case["paid"] = Value::Null;
        case["now_ms"] = json!(2_000);
    });
    let thief = of(&grant, 9, &|case| case["paid"] = Value::Null);
    let longer = vec![Caveat::NotAfter { time_ms: LedgerTime(3_000) }];
    let (passed, no) = (sold(&[reads.clone(), longer]), "OrderDiffers");
    let other = sold(&[[&reads[..], &[Caveat::Depth { links: 9 }]].concat()]);
    let other = paid_of(&other)["mandate"].clone();
    vec![
        change("bought", "its order is paid", of(&grant, 1, &|_| {}), "ok"),
        change("bought and passed on", "a later end does not count", of(&passed, 2, &|_| {}), "ok"),
        change("an order that is not there", "it was never paid", none, "UnknownOrder"),
        change(
            "an order of another listing",
            "with another mandate",
            differs("mandate", other),
            no,
        ),
        change("of another holder", "who paid", differs("holder", json!("42".repeat(32))), no),
        change("a longer access", "than was paid for", differs("ends_ms", json!(1_999)), no),
        change("refunded", "the money is back", differs("refunded", json!(true)), "OrderRefunded"),
        change("access is over", "which needs no order", late, "Expired"),
        change("stolen from a buyer", "which needs no order", thief, "NotHolder"),
    ]
}

#[test]
fn tokens() {
    replay("grant/token.json", token_cases, |case| {
        let opened = GrantToken::parse(field_text(case, "token"))
            .and_then(|token| token.open(&array(case, "wrap_secret")));
        if let Ok(key) = &opened {
            assert_eq!(hex(&**key), case["file_key"]);
        }
        outcome(opened)
    });
}

fn manifest() -> Manifest {
    Manifest {
        version: 1,
        codec: Codec::ReedSolomon8,
        mask: MaskMode::ChaCha20,
        scheme: Scheme { required: 3, total: 5 },
        object: OBJECT,
        length: 1000,
        commitment: COMMITMENT.parse().unwrap(),
        content_root: Hash([9; 32]),
    }
}

/// A folder's token for the same holder.
fn folder_token(manifest: &Manifest) -> GrantToken {
    let objects = ObjectSet::new([OBJECT, ObjectId([8; 16])]).unwrap();
    let (list, caveats) = ((manifest, &KEY), vec![Caveat::Abilities { set: ability::READ }]);
    let (owner, to) = (who(0).account_key(), who(3).recipient());
    GrantToken::issue_folder(LEDGER, &owner, (list, &objects), &to, caveats, &[4; 32]).unwrap()
}

fn token_cases() -> Vec<Value> {
    let manifest = manifest();
    let good =
        GrantToken::pack(LEDGER, usual(), (&manifest, &KEY), &who(3).wrap_key(), &[4; 32]).unwrap();
    let folder = folder_token(&manifest);
    let as_file = GrantToken { version: 1, ..folder.clone() };
    let case = |name: &str, why: &str, token: &str, outcome: &str| {
        json!({
            "name": name, "why": why, "token": token, "wrap_secret": hex(&*who(3).wrap_secret()),
            "file_key": hex(&KEY), "outcome": outcome,
        })
    };
    let edit = |name: &str, why: &str, outcome: &str, change: &dyn Fn(&mut GrantToken)| {
        let mut changed = good.clone();
        change(&mut changed);
        case(name, why, &changed.to_text(), outcome)
    };
    let whole = good.to_text();
    let mut stranger = case("stranger", "another's secret", &whole, "Sealed");
    stranger["wrap_secret"] = json!(hex(&*who(9).wrap_secret()));
    let swapped = format!("{}{}", &whole[..100], whole[100..].replacen('q', "p", 1));
    let other_prefix = Recipient::FORM.encode(&good.to_bytes());
    let mixed = whole.replacen('q', "Q", 1);
    let short = GrantToken::FORM.encode(&unhex("0102").unwrap());
    let mut aad = LEDGER.to_bytes();
    good.verify().unwrap().digest().encode(&mut aad);
    manifest.encode(&mut aad);
    let info = b"symbolon 2026 grant key box v1";
    let to = who(3).wrap_key();
    let other_key = envelope::seal(&to, info, &aad, &[43; 32], &[4; 32]).unwrap();
    vec![
        case("good", "the holder opens it", &whole, "ok"),
        edit("another's key", "sealed well, and not the manifest's", "WrongKey", &|token| {
            token.key_box.clone_from(&other_key);
        }),
        case("capitals", "as a QR code carries it", &whole.to_uppercase(), "ok"),
        stranger,
        case("one letter", "a typing error", &swapped, "Text.Damaged"),
        case("cut", "not copied whole", &whole[..whole.len() - 5], "Text.Damaged"),
        case("mixed case", "refused by bech32", &mixed, "Text.Form"),
        case("other kind", "a recipient is no grant", &other_prefix, "Text.Prefix"),
        case("no text", "something else", "hello", "Text.Form"),
        case("too short", "two bytes", &short, "Layout.Short"),
        edit("version 3", "a layout of the future", "Version", &|token| token.version = 3),
        case("a folder", "its own kind of box", &folder.to_text(), "ok"),
        case("a folder as a file", "the box is of a folder", &as_file.to_text(), "Sealed"),
        edit("a file as a folder", "its grant is for one object", "Grant.Membership", &|token| {
            token.version = 2;
        }),
        edit("other chain", "every link is bound to its ledger", "Grant.Signature", &|token| {
            token.chain = ChainId([9; 32]);
        }),
        edit("other file", "the box is bound to the manifest", "Sealed", &|token| {
            token.manifest.content_root = Hash([1; 32]);
        }),
        edit("other grant", "the box is bound to the last link", "Sealed", &|token| {
            token.grant.links.pop();
        }),
        edit("changed grant", "the chain is checked first", "Grant.Signature", &|token| {
            token.grant.links[2].caveats.clear();
        }),
        edit("changed box", "one bit of the sealed key", "Sealed", &|token| token.key_box[40] ^= 1),
        edit("short box", "a box of another size", "Sealed", &|token| token.key_box.truncate(79)),
    ]
}
