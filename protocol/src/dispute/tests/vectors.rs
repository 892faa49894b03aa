//! Writes `spec/vectors/content/leaf_list.json` and `spec/vectors/custody/shown.json` when `SYMBOLON_REGENERATE=1` is
//! set, and otherwise holds the files against what it would write: regenerating is approving.

use std::{env, format, fs, path::Path, string::String, vec, vec::Vec};

use curve25519_dalek::ristretto::CompressedRistretto;
use serde_json::{Value, json};

use crate::{
    codec::{Decode, Encode},
    content::{FileKey, Manifest},
    custody::{
        Capsule, DeliveryKey, DeliverySecret, PostedRelease, ShownKey, listing_key,
        release_context, released::ReleasedOrder,
    },
    dispute::{LeafList, OtherKey, goods::Goods},
    id::{ChainId, Hash, ListingId, OrderId, hex, unhex},
};

#[test]
fn the_files_are_what_the_rules_say() {
    check("content/leaf_list.json", lists(), run_list);
    check("custody/shown.json", shown(), run_shown);
}

/// Each case must have the outcome that it names, and most must be refused.
fn check(name: &str, cases: Vec<Value>, run: fn(&Value) -> String) {
    let refused = cases.iter().filter(|case| case["outcome"] != "ok").count();
    assert!(cases.len() < 2 * refused, "{name}: most vectors must fail");
    for case in &cases {
        assert_eq!(run(case), case["outcome"].as_str().unwrap(), "{name}: {}", case["name"]);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spec/vectors").join(name);
    let text = serde_json::to_string_pretty(&Value::Array(cases)).unwrap() + "\n";
    if env::var_os("SYMBOLON_REGENERATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(found == text, "{} differs: set SYMBOLON_REGENERATE=1 to approve", path.display());
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    unhex(case[field].as_str().unwrap()).unwrap()
}

fn array<const N: usize>(case: &Value, field: &str) -> [u8; N] {
    bytes(case, field).try_into().unwrap()
}

fn first_word(error: &impl core::fmt::Debug) -> String {
    let words = format!("{error:?}");
    words.split([' ', '{', '(']).next().unwrap().into()
}

fn run_list(case: &Value) -> String {
    let manifest = Manifest::from_bytes(&bytes(case, "manifest")).unwrap();
    let key = FileKey::from_bytes(array(case, "file_key"));
    match LeafList::read(&manifest, &Hash(array(case, "masks_root")), &bytes(case, "list")) {
        Err(error) => first_word(&error),
        Ok(list) => match list.other_key(&key, &manifest.layout().unwrap()) {
            None => "ok".into(),
            Some(OtherKey::Cell(cell)) => format!("OtherCell{cell}"),
            Some(OtherKey::Mask(segment)) => format!("OtherMask{segment}"),
        },
    }
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn lists() -> Vec<Value> {
    let case =
        |name: &str, why: &str, goods: &Goods, change: &dyn Fn(&mut Value), outcome: &str| {
            let mut case = json!({
                "name": name, "why": why, "manifest": hex(&goods.manifest.to_bytes()),
                "masks_root": hex(&goods.masks_root.0), "list": hex(&goods.list.to_bytes()),
                "file_key": "09".repeat(32), "outcome": outcome,
            });
            change(&mut case);
            case
        };
    let list = |change: fn(&mut Vec<u8>)| {
        move |case: &mut Value| {
            let mut list = bytes(case, "list");
            change(&mut list);
            case["list"] = json!(hex(&list));
        }
    };
    let (small, large) = (Goods::honest(1_500), Goods::honest(131_060));
    let of_other_length = {
        let mut goods = Goods::honest(131_060);
        goods.manifest.length = 1_500;
        goods
    };
    let of_other_root = {
        let mut goods = Goods::honest(1_500);
        goods.manifest.content_root = small.masks_root;
        goods
    };
    let other_cell = Goods::spoilt(131_060, |parts| parts[3].key = Hash([1; 32]));
    let other_mask = Goods::honest(1_500).with_other_mask();
    vec![
        case("two cells", "three masks of one segment", &small, &|_| (), "ok"),
        case("four cells", "two stripes", &large, &|_| (), "ok"),
        case("an empty file", "it has cells all the same", &Goods::honest(0), &|_| (), "ok"),
        case("no bytes", "a list is never empty", &small, &list(Vec::clear), "Length"),
        case("a byte less", "too short", &small, &list(|of| of.truncate(of.len() - 1)), "Length"),
        case("a byte more", "too long", &small, &list(|of| of.push(0)), "Length"),
        case("a hash less", "too short", &small, &list(|of| of.truncate(256)), "Length"),
        case(
            "the list of a longer file",
            "of another manifest",
            &of_other_length,
            &|_| (),
            "Length",
        ),
        case("another key", "of cell 0", &large, &list(|of| of[0] ^= 1), "Cells"),
        case("another sealed cell", "of cell 0", &large, &list(|of| of[32] ^= 1), "Cells"),
        case("other plain bytes", "of the last cell", &large, &list(|of| of[383] ^= 1), "Cells"),
        case("another content root", "of the manifest", &of_other_root, &|_| (), "Cells"),
        case(
            "two cells exchanged",
            "the same hashes",
            &small,
            &list(|of| of[..192].rotate_left(96)),
            "Cells",
        ),
        case("another mask", "of the last shard", &small, &list(|of| of[287] ^= 1), "Masks"),
        case(
            "two masks exchanged",
            "the same hashes",
            &small,
            &list(|of| of[192..256].rotate_left(32)),
            "Masks",
        ),
        case(
            "another root over masks",
            "of the listing",
            &small,
            &|case| case["masks_root"] = json!("01".repeat(32)),
            "Masks",
        ),
        case(
            "cells and masks",
            "cells are looked at first",
            &small,
            &list(|of| {
                of[0] ^= 1;
                of[287] ^= 1;
            }),
            "Cells",
        ),
        case(
            "a cell's key that is not the file's",
            "the list is as listed",
            &other_cell,
            &|_| (),
            "OtherCell3",
        ),
        case(
            "a mask that is not the file's",
            "the list is as listed",
            &other_mask,
            &|_| (),
            "OtherMask0",
        ),
        case(
            "another file key",
            "the first cell differs",
            &large,
            &|case| case["file_key"] = json!("0a".repeat(32)),
            "OtherCell0",
        ),
    ]
}

const CHAIN: ChainId = ChainId([1; 32]);
const ORDER: OrderId = OrderId([2; 16]);
const LISTING: ListingId = ListingId([3; 16]);

fn run_shown(case: &Value) -> String {
    let posted = |text: &Value| PostedRelease::from_bytes(&unhex(text.as_str().unwrap()).unwrap());
    let releases: Vec<_> =
        case["releases"].as_array().unwrap().iter().map(|one| posted(one).unwrap()).collect();
    let ids = (
        ChainId(array(case, "chain")),
        OrderId(array(case, "order")),
        ListingId(array(case, "listing")),
    );
    let context = release_context(&ids.0, &ids.1, &ids.2);
    let shown = ShownKey::from_bytes(&bytes(case, "shown")).unwrap();
    let capsule = Capsule::from_bytes(&bytes(case, "capsule")).unwrap();
    let delivery = DeliveryKey::from_bytes(&bytes(case, "delivery")).unwrap();
    let required = usize::try_from(case["required"].as_u64().unwrap()).unwrap();
    match shown.open(&capsule, &releases, required, &delivery, &context) {
        Err(error) => first_word(&error),
        Ok(point) if hex(&*listing_key(&point)) == case["listing_key"] => "ok".into(),
        Ok(_) => "WrongKey".into(),
    }
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn shown() -> Vec<Value> {
    let released = ReleasedOrder::of(CHAIN, &Hash([6; 32]), (ORDER, LISTING));
    let ReleasedOrder {
        vault_secret,
        label,
        capsule,
        point,
        posted,
        secret,
        delivery,
        context,
        ..
    } = released;
    let make = |releases: &[PostedRelease], secret: &DeliverySecret| {
        ShownKey::make(releases, 2, secret, &context, &[13; 32]).unwrap()
    };
    let good = make(&posted, &secret);
    let by_another = make(&posted, &DeliverySecret::from_seed(&[99; 32]));
    let hexes = |releases: &[PostedRelease]| -> Vec<String> {
        releases.iter().map(|one| hex(&one.to_bytes())).collect()
    };
    let case = |name: &str, why: &str, change: &dyn Fn(&mut Value), outcome: &str| {
        let mut case = json!({
            "name": name, "why": why, "chain": hex(&CHAIN.0), "order": hex(&ORDER.0),
            "listing": hex(&LISTING.0), "capsule": hex(&capsule.to_bytes()),
            "delivery": hex(&delivery.to_bytes()), "releases": hexes(&posted[..2]),
            "required": 2, "shown": hex(&good.to_bytes()),
            "listing_key": hex(&*listing_key(&point)), "outcome": outcome,
        });
        change(&mut case);
        case
    };
    let of =
        |shown: ShownKey| move |case: &mut Value| case["shown"] = json!(hex(&shown.to_bytes()));
    let with = |releases: Vec<PostedRelease>| {
        let releases = hexes(&releases);
        move |case: &mut Value| case["releases"] = json!(releases)
    };
    let changed = |change: fn(&mut ShownKey)| {
        let mut shown = good.clone();
        change(&mut shown);
        of(shown)
    };
    let first = |change: fn(&mut PostedRelease)| {
        let mut releases = posted[..2].to_vec();
        change(&mut releases[0]);
        with(releases)
    };
    let sealed = |change: &dyn Fn(&mut Capsule)| {
        let mut other = capsule.clone();
        change(&mut other);
        let other = hex(&other.to_bytes());
        move |case: &mut Value| case["capsule"] = json!(other)
    };
    let of_bytes = |bytes: [u8; 32]| CompressedRistretto(bytes).decompress().unwrap();
    let nothing = (of_bytes(capsule.c) - of_bytes(*point)).compress().to_bytes();
    let other = Capsule::seal(&vault_secret, &label, &[8; 32]).0;
    let swapped: Vec<_> = posted[..2].iter().rev().cloned().collect();
    let others = vec![posted[0], posted[2]];
    let no_delivery = hex(&DeliveryKey { point: [0; 32], ..delivery.clone() }.to_bytes());
    let bad_delivery = hex(&DeliveryKey { point: [0xff; 32], ..delivery.clone() }.to_bytes());
    vec![
        case("shown", "by the buyer", &|_| (), "ok"),
        case("three releases", "the first two count", &with(posted.clone()), "ok"),
        case("in another order", "the sums are the same", &with(swapped), "ok"),
        case("by another", "whose delivery key it is not", &of(by_another), "Proof"),
        case(
            "another point",
            "the base point of nothing",
            &changed(|of| of.shared = [0; 32]),
            "Proof",
        ),
        case("another challenge", "one bit", &changed(|of| of.e[0] ^= 1), "Proof"),
        case("another response", "one bit", &changed(|of| of.z[0] ^= 1), "Proof"),
        case("other releases", "1 and 3", &with(others.clone()), "Proof"),
        case("one custodian's index changed", "another sum", &first(|of| of.index = 3), "Proof"),
        case(
            "another order",
            "the proof is for one",
            &|case| case["order"] = json!("09".repeat(16)),
            "Proof",
        ),
        case(
            "another listing",
            "the proof is for one",
            &|case| case["listing"] = json!("09".repeat(16)),
            "Proof",
        ),
        case(
            "another ledger",
            "the proof is for one",
            &|case| case["chain"] = json!("09".repeat(32)),
            "Proof",
        ),
        case("no point", "D is not an encoding", &changed(|of| of.shared = [0xff; 32]), "Point"),
        case(
            "challenge not reduced",
            "of the order or more",
            &changed(|of| of.e = [0xff; 32]),
            "Scalar",
        ),
        case(
            "response not reduced",
            "of the order or more",
            &changed(|of| of.z = [0xff; 32]),
            "Scalar",
        ),
        case("one release of two", "too few", &with(posted[..1].to_vec()), "TooFew"),
        case("none required", "no sum", &|case| case["required"] = json!(0), "TooFew"),
        case("U is no point", "not an encoding", &first(|of| of.u = [0xff; 32]), "Point"),
        case("V is no point", "not an encoding", &first(|of| of.v = [0xff; 32]), "Point"),
        case("U is the identity", "it blinds nothing", &first(|of| of.u = [0; 32]), "Identity"),
        case("V is the identity", "it holds nothing", &first(|of| of.v = [0; 32]), "Identity"),
        case(
            "delivery to the identity",
            "no secret",
            &|case| case["delivery"] = json!(no_delivery),
            "Identity",
        ),
        case(
            "delivery to no point",
            "not an encoding",
            &|case| case["delivery"] = json!(bad_delivery),
            "Point",
        ),
        case("C is no point", "not an encoding", &sealed(&|of| of.c = [0xff; 32]), "Point"),
        case(
            "a capsule with nothing in it",
            "the identity is no key",
            &sealed(&|of| of.c = nothing),
            "Identity",
        ),
        case("another capsule", "another key", &sealed(&|of| *of = other.clone()), "WrongKey"),
    ]
}
