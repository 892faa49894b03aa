//! Vectors of vouchers: chains with a link that is redeemed, and vouchers as text.

use serde_json::{Value, json};
use symbolon_protocol::{
    Encode, LedgerTime,
    content::{
        Manifest, Scheme,
        manifest::{Codec, MaskMode},
    },
    grant::{Access, Caveat, Grant, GrantToken, Voucher, ability},
    id::{AccountId, ChainId, Hash, ObjectId, PeerId, hex},
    identity::Identity,
    ledger::rows::Redemption,
    text::TextForm,
};

use crate::{
    array, bytes,
    grant_sales::{paid, paid_of, sold},
    number, outcome, replay, text as field_text,
};

const OBJECT: ObjectId = ObjectId([7; 16]);
const LEDGER: ChainId = ChainId([3; 32]);
const SECRET: [u8; 32] = [9; 32];
const KEY: [u8; 32] = [42; 32];
const SECRET_FORM: TextForm = TextForm { prefix: "voucher", length_max: 128 };

fn who(number: u8) -> Identity {
    Identity::from_seed(&[number; 64])
}

fn once() -> Identity {
    Voucher::identity(&SECRET)
}

fn until(until_ms: u64) -> Caveat {
    Caveat::Once { until_ms: LedgerTime(until_ms) }
}

fn named(more: &[Caveat]) -> Vec<Caveat> {
    let named = [Caveat::Object { object: OBJECT }, Caveat::Abilities { set: ability::READ }];
    [&named[..], more].concat()
}

/// Root 0, the one-time key, 2, 3, ...: a link per list of caveats.
fn chain(links: &[Vec<Caveat>]) -> Grant {
    let (root, first) = (who(0).account_key(), once().peer());
    let mut grant = Grant::issue(&LEDGER, &root, first, links[0].clone(), &[1; 32]).unwrap();
    let mut holder = once();
    for (caveats, next) in links[1..].iter().zip(2..) {
        let (key, to) = (holder.access_key(), who(next));
        grant = grant.delegate(&LEDGER, &key, to.peer(), caveats.clone(), &[1; 32]).unwrap();
        holder = to;
    }
    grant
}

fn redeemed(case: &Value) -> Option<Redemption> {
    let row = case["redeemed"].as_object().map(|_| &case["redeemed"])?;
    let (holder, until_ms) = (PeerId(array(row, "holder")), LedgerTime(number(row, "until_ms")));
    Some(Redemption { holder, until_ms })
}

#[test]
fn requests_under_vouchers() {
    replay("grant/redeemed.json", request_cases, |case| {
        let grant: Grant = symbolon_protocol::Decode::from_bytes(&bytes(case, "grant")).unwrap();
        let grant = match grant.verify(&ChainId(array(case, "chain"))) {
            Ok(grant) => grant,
            Err(error) => return outcome::<(), _>(Err(error)),
        };
        let found = grant.authorize(&Access {
            owner: AccountId(array(case, "owner")),
            object: ObjectId(array(case, "object")),
            peer: PeerId(array(case, "peer")),
            ability: u16::try_from(number(case, "ability")).unwrap(),
            cells: None,
            now_ms: LedgerTime(number(case, "now_ms")),
            paid: paid(case),
            redeemed: redeemed(case),
        });
        if let Ok(found) = &found {
            let pairs =
                found.revocations.iter().map(|(link, by)| [link.to_string(), by.to_string()]);
            assert_eq!(json!(pairs.collect::<Vec<_>>()), case["link_revocations"]);
            assert_eq!(json!(found.ends_ms.map(|time| time.0)), case["ends_ms"]);
        }
        outcome(found)
    });
}

/// A request by the holder, at 1,500, and a row for the redeemer 2 until the voucher's end.
fn case(name: &str, why: &str, grant: &Grant, outcome: &str) -> Value {
    let mut case = json!({
        "name": name, "why": why, "chain": hex(&LEDGER.0), "grant": hex(&grant.to_bytes()),
        "owner": hex(&who(0).account().0), "object": hex(&OBJECT.0),
        "peer": hex(&grant.holder().unwrap().0), "ability": ability::READ, "cells": null,
        "now_ms": 1_500, "node_reads": null, "order": null, "ends_ms": 2_000, "paid": null,
        "redeemed": { "holder": hex(&who(2).peer().0), "until_ms": 2_000 }, "outcome": outcome,
    });
    if outcome == "ok" {
        let verified = grant.verify(&LEDGER).unwrap();
        let pairs = verified.revocations().map(|(link, by)| [link.to_string(), by.to_string()]);
        case["link_revocations"] = json!(pairs.collect::<Vec<_>>());
    }
    case
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn request_cases() -> Vec<Value> {
    let voucher = chain(&[named(&[until(2_000)])]);
    let mine = chain(&[named(&[until(2_000)]), vec![]]);
    let passed = chain(&[named(&[until(2_000)]), vec![], vec![]]);
    let with = |mut case: Value, fields: Value| {
        for (field, value) in fields.as_object().unwrap() {
            case[field] = value.clone();
        }
        case
    };
    let row = |number: u8, until_ms: u64| json!({ "redeemed": { "holder": hex(&who(number).peer().0), "until_ms": until_ms } });
    let none = json!({ "redeemed": null });
    let refused =
        |name, why, grant, fields: Value, outcome| with(case(name, why, grant, outcome), fields);
    let shorter = chain(&[named(&[until(2_000)]), vec![until_not_after(1_800)]]);
    let mut ends = case("ends earlier", "by a later link", &shorter, "ok");
    ends["ends_ms"] = json!(1_800);
    let mut longer =
        with(case("a later end", "of the row: for two vouchers", &mine, "ok"), row(2, 2_001));
    longer["name"] = json!("the row ends later");
    let elsewhere = "RedeemedElsewhere";
    vec![
        case("redeemed", "the holder is who the row names", &mine, "ok"),
        case("passed on", "by the redeemer", &passed, "ok"),
        longer,
        ends,
        case("not redeemed", "the one-time key itself", &voucher, "NotRedeemed"),
        refused(
            "no redeemer, no row",
            "the chain is looked at first",
            &voucher,
            none.clone(),
            "NotRedeemed",
        ),
        refused(
            "no row",
            "a link that the one-time key signed is not enough",
            &mine,
            none.clone(),
            "UnknownRedemption",
        ),
        refused(
            "no row, passed on",
            "the same one link further",
            &passed,
            none,
            "UnknownRedemption",
        ),
        refused("another redeemer", "who was first", &mine, row(5, 2_000), elsewhere),
        refused("the holder below", "and not the redeemer", &passed, row(3, 2_000), elsewhere),
        refused(
            "a row that ends early",
            "the voucher could be redeemed again",
            &mine,
            row(2, 1_999),
            "RedemptionEnds",
        ),
        refused(
            "another's row that ends early",
            "the end is looked at first",
            &mine,
            row(5, 1_999),
            "RedemptionEnds",
        ),
        refused(
            "last moment",
            "the end is not in it",
            &mine,
            json!({ "now_ms": 1_999, "redeemed": null }),
            "UnknownRedemption",
        ),
        refused("ended", "at the very end", &mine, json!({ "now_ms": 2_000 }), "Expired"),
        refused(
            "stolen",
            "the redeemer's connection is not there",
            &mine,
            json!({ "peer": hex(&once().peer().0) }),
            "NotHolder",
        ),
        refused(
            "ability",
            "is looked at before the row",
            &mine,
            json!({ "ability": ability::DELETE, "redeemed": null }),
            "NotAllowed",
        ),
        case("redeemed twice", "in one link", &twice(&[until(9), until(9)], &[]), "OnceRepeated"),
        case(
            "a voucher of a voucher",
            "the redeemer makes one too",
            &twice(&[until(9)], &[until(9)]),
            "OnceRepeated",
        ),
        bought("bought", "and then given by a voucher", json!(null), "ok"),
        bought(
            "bought, without its order",
            "which is looked at first",
            json!({ "paid": null, "redeemed": null }),
            "UnknownOrder",
        ),
    ]
}

fn until_not_after(time_ms: u64) -> Caveat {
    Caveat::NotAfter { time_ms: LedgerTime(time_ms) }
}

/// A chain that no program makes, with these caveats beside the usual ones. Its signatures are looked at last.
fn twice(first: &[Caveat], second: &[Caveat]) -> Grant {
    let mut grant = chain(&[named(&[]), vec![]]);
    grant.links[0].caveats.extend_from_slice(first);
    grant.links[1].caveats.extend_from_slice(second);
    grant
}

/// A buyer, 1, gave a bought grant to 2 by a voucher, which 3 redeemed.
fn bought(name: &str, why: &str, fields: Value, outcome: &str) -> Value {
    let grant = sold(&[named(&[]), vec![until(1_900)], vec![]]);
    let mut case = case(name, why, &grant, outcome);
    case["redeemed"] = json!({ "holder": hex(&who(3).peer().0), "until_ms": 1_900 });
    case["ends_ms"] = json!(1_900);
    case["paid"] = paid_of(&grant);
    case["order"] = json!(hex(&[6; 16]));
    if let Some(fields) = fields.as_object() {
        fields.iter().for_each(|(field, value)| case[field] = value.clone());
    }
    case
}

#[test]
fn vouchers() {
    replay("grant/voucher.json", voucher_cases, |case| {
        let read = Voucher::parse(field_text(case, "voucher"));
        if let Ok(voucher) = &read {
            let key = voucher.token().open(&voucher.once().wrap_secret()).unwrap();
            assert_eq!(hex(&*key), case["file_key"]);
            assert_eq!(json!(voucher.until_ms().0), case["until_ms"]);
            assert_eq!(json!(voucher.account().to_string()), case["account"]);
        }
        outcome(read)
    });
}

fn token(to: &Identity, more: &[Caveat]) -> GrantToken {
    let manifest = Manifest {
        version: 1,
        codec: Codec::ReedSolomon8,
        mask: MaskMode::ChaCha20,
        scheme: Scheme { required: 3, total: 5 },
        object: OBJECT,
        length: 1000,
        commitment: Hash(blake3::derive_key("symbolon 2026 commit v1", &KEY)),
        content_root: Hash([9; 32]),
    };
    let (owner, file) = (who(0).account_key(), (&manifest, &KEY));
    GrantToken::issue(LEDGER, &owner, file, &to.recipient(), named(more), &[4; 32]).unwrap()
}

fn voucher_cases() -> Vec<Value> {
    let good = Voucher::new(token(&once(), &[until(2_000)]), &SECRET).unwrap();
    let whole = good.to_text().as_str().to_owned();
    let (front, secret) = whole.split_once('#').unwrap();
    let case = |name: &str, why: &str, voucher: &str, outcome: &str| {
        json!({
            "name": name, "why": why, "voucher": voucher, "file_key": hex(&KEY), "until_ms": 2_000,
            "account": good.account().to_string(), "outcome": outcome,
        })
    };
    let of = |token: &GrantToken, secret: &[u8]| {
        format!("symbolon://redeem/{}#{}", token.to_text(), SECRET_FORM.encode(secret))
    };
    let redeemed = good.redeemed(&who(2)).unwrap();
    let mut forged = good.token().clone();
    forged.grant.links[0].caveats[2] = until(9_000);
    let with_secret = |secret: &str| format!("{front}#{secret}");
    let longer = |letters: usize| format!("{secret}{}", "q".repeat(letters - secret.len()));
    vec![
        case("good", "as its maker gives it", &whole, "ok"),
        case("no secret", "the part that opens it was not copied", front, "Form"),
        case("a grant", "without the beginning", &good.token().to_text(), "Form"),
        case("another address", "of something else", &whole.replace("redeem", "buy"), "Form"),
        case("nothing", "no text", "", "Form"),
        case("cut grant", "a letter is missing", &format!("{front}q#{secret}"), "Token.Text"),
        case("forged", "a later end", &of(&forged, &SECRET), "Token.Grant"),
        case("cut secret", "a letter is missing", &whole[..whole.len() - 1], "Secret.Damaged"),
        case(
            "another kind of secret",
            "a grant",
            &with_secret(&good.token().to_text()),
            "Secret.TooLong",
        ),
        case("a long text", "129 letters", &with_secret(&longer(129)), "Secret.TooLong"),
        case("the longest text", "128 letters", &with_secret(&longer(128)), "Secret.Damaged"),
        case(
            "another prefix",
            "no voucher's",
            &with_secret(&secret.replacen("voucher", "grant", 1)),
            "Secret.Prefix",
        ),
        case("no secret behind the mark", "empty", &with_secret(""), "Secret.Form"),
        case("a short secret", "31 bytes", &of(good.token(), &[9; 31]), "Length"),
        case("a long secret", "33 bytes", &of(good.token(), &[9; 33]), "Length"),
        case("another's secret", "of another voucher", &of(good.token(), &[8; 32]), "OtherSecret"),
        case(
            "a plain grant",
            "its key is its holder's for good",
            &of(&token(&once(), &[]), &SECRET),
            "NotOnce",
        ),
        case(
            "redeemed already",
            "its last link is the redeemer's",
            &of(&redeemed, &SECRET),
            "NotOnce",
        ),
    ]
}
