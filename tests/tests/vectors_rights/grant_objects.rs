//! Vectors of grants for several objects: which object a request is for, and what no path proves.

use serde_json::{Value, json};
use symbolon_protocol::{
    Decode, Encode, LedgerTime,
    grant::{Access, Caveat, Grant, Member, ObjectSet, ability},
    id::{AccountId, ChainId, Hash, ObjectId, PeerId, hex},
    identity::Identity,
    merkle::Tree,
};

use crate::{array, bytes, grant_edges::resigned, grant_sales::sold, outcome, replay};

const LEDGER: ChainId = ChainId([3; 32]);

fn who(number: u8) -> Identity {
    Identity::from_seed(&[number; 64])
}

fn object(number: u8) -> ObjectId {
    ObjectId([number; 16])
}

/// Five objects: a tree whose last leaf stands in two levels.
fn set() -> ObjectSet {
    ObjectSet::new((1..=5).map(object)).unwrap()
}

fn member(number: u8) -> Member {
    set().member(&object(number)).unwrap()
}

fn reads() -> Vec<Caveat> {
    vec![Caveat::Abilities { set: ability::READ }]
}

/// The owner's grant to 1, for a request about one of the objects.
fn grant(number: u8) -> Grant {
    let of = (&set(), member(number));
    let owner = who(0).account_key();
    Grant::issue_for_several(&LEDGER, &owner, who(1).peer(), of, reads(), &[1; 32]).unwrap()
}

#[test]
fn several_objects() {
    replay("grant/objects.json", cases, |case| {
        let grant = match Grant::from_bytes(&bytes(case, "grant")) {
            Ok(grant) => grant,
            Err(error) => return format!("Decode.{}", outcome::<(), _>(Err(error))),
        };
        assert_eq!(grant.to_bytes(), bytes(case, "grant"), "one encoding");
        let verified = match grant.verify(&ChainId(array(case, "chain"))) {
            Ok(verified) => verified,
            error => return outcome(error),
        };
        outcome(verified.authorize(&Access {
            owner: AccountId(array(case, "owner")),
            object: ObjectId(array(case, "object")),
            peer: PeerId(array(case, "peer")),
            ability: ability::READ,
            cells: Some(0..4),
            now_ms: LedgerTime(5),
            paid: None,
            redeemed: None,
        }))
    });
}

fn cases() -> Vec<Value> {
    let case = |name: &str, why: &str, of: u8, (grant, holder): (&[u8], u8), outcome: &str| {
        json!({
            "name": name, "why": why, "chain": hex(&LEDGER.0), "grant": hex(grant),
            "owner": who(0).account().to_string(), "object": object(of).to_string(),
            "peer": hex(&who(holder).peer().0), "outcome": outcome,
        })
    };
    let plain = |name: &str, why: &str, of: u8, grant: &Grant, outcome: &str| {
        case(name, why, of, (&grant.to_bytes(), 1), outcome)
    };
    let edit = |name: &str, why: &str, outcome: &str, change: &dyn Fn(&mut Member)| {
        let mut other = member(5);
        change(&mut other);
        plain(name, why, 5, &grant(5).of_member(other), outcome)
    };
    let passed = grant(2).delegate(&LEDGER, &who(1).access_key(), who(2).peer(), vec![], &[1; 32]);
    let passed = passed.unwrap();
    let one = vec![Caveat::Object { object: object(4) }];
    let one =
        grant(4).delegate(&LEDGER, &who(1).access_key(), who(2).peer(), one, &[1; 32]).unwrap();
    let mut cases = vec![
        plain("the first", "its path has three hashes", 1, &grant(1), "ok"),
        plain("the last", "its path has one", 5, &grant(5), "ok"),
        case("passed on", "to the next holder", 2, (&passed.to_bytes(), 2), "ok"),
        case(
            "of another object",
            "with its own path",
            3,
            (&passed.of_member(member(3)).to_bytes(), 2),
            "ok",
        ),
        case("narrowed to one", "which is asked for", 4, (&one.to_bytes(), 2), "ok"),
        case(
            "narrowed to another one",
            "the holder has only that",
            3,
            (&one.of_member(member(3)).to_bytes(), 2),
            "WrongObject",
        ),
        case("stolen", "another's connection", 1, (&grant(1).to_bytes(), 2), "NotHolder"),
        plain("an object outside", "with the path of another", 6, &grant(5), "WrongObject"),
        plain("another object inside", "with the path of another", 4, &grant(5), "WrongObject"),
        edit("another place", "the path is of the last", "WrongObject", &|member| member.index = 3),
        edit("no such place", "after the last", "WrongObject", &|member| member.index = 5),
        edit("more objects", "than there are", "WrongObject", &|member| member.count = 6),
        edit("too many objects", "for any grant", "WrongObject", &|member| member.count = 65_537),
        edit("a path cut", "to nothing", "WrongObject", &|member| member.path.clear()),
        edit("a path changed", "one bit", "WrongObject", &|member| member.path[0].0[0] ^= 1),
        edit("a path too long", "for any set", "Decode.TooMany", &|member| {
            member.path = vec![Hash([0; 32]); 17];
        }),
    ];
    for (name, why, count, index, outcome) in [
        ("as many objects as any", "a path of 16", 65_536, 0, "ok"),
        ("one object too many", "its path is right", 65_537, 65_536, "WrongObject"),
    ] {
        let mut one = plain(name, why, 0, &in_crowd(count, index), outcome);
        one["object"] = json!(nth(index).to_string());
        cases.push(one);
    }
    cases.extend(misfits(&plain));
    cases.extend(layouts(&case));
    cases
}

/// The objects of a crowd, in the order of their ids.
fn nth(number: u32) -> ObjectId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    ObjectId(id)
}

/// A grant for so many objects, which may be too many, about one of them.
fn in_crowd(count: u32, index: u32) -> Grant {
    let leaf = |number| blake3::derive_key("symbolon 2026 grant object v1", &nth(number).0);
    let tree = Tree::new((0..count).map(|number| Hash(leaf(number))).collect());
    let path = tree.path(u64::from(index));
    let mut grant = grant(1).of_member(Member { index, count, path });
    grant.links[0].caveats[0] = Caveat::Objects { root: tree.root() };
    resigned(grant)
}

type Plain<'a> = &'a dyn Fn(&str, &str, u8, &Grant, &str) -> Value;

type Case<'a> = &'a dyn Fn(&str, &str, u8, (&[u8], u8), &str) -> Value;

/// Other layouts than version 2.
fn layouts(case: Case<'_>) -> Vec<Value> {
    let with = |version: u8| {
        let mut bytes = grant(1).to_bytes();
        bytes[0] = version;
        bytes
    };
    let why = "the place stands where the links are";
    vec![
        case("version 3", "a layout of the future", 1, (&with(3), 1), "Decode.Tag"),
        case("read as version 1", why, 1, (&with(1), 1), "Decode.Trailing"),
    ]
}

/// Grants whose links and place do not go together.
fn misfits(plain: Plain<'_>) -> Vec<Value> {
    let owner = who(0).account_key();
    let single = [vec![Caveat::Object { object: object(1) }], reads()].concat();
    let single = Grant::issue(&LEDGER, &owner, who(1).peer(), single, &[1; 32]).unwrap();
    let bare = Grant { version: 1, member: None, ..grant(1) };
    let twice = {
        let mut twice = grant(1);
        let root = set().root();
        twice.links[0].caveats.push(Caveat::Objects { root });
        twice
    };
    let later = {
        let mut later = grant(1);
        let mut link = later.links[0].clone();
        link.audience = who(2).peer();
        later.links.push(link);
        later
    };
    let bought = sold(&[vec![]]).of_member(member(1));
    vec![
        plain(
            "a place for one object",
            "link 0 names no set",
            1,
            &single.of_member(member(1)),
            "Membership",
        ),
        plain("no place", "link 0 names a set", 1, &bare, "Membership"),
        plain("two sets", "in one link", 1, &twice, "Membership"),
        plain("a set in a later link", "only the root names one", 1, &later, "Membership"),
        plain("a place after an order", "a mandate is for one object", 1, &bought, "Membership"),
    ]
}
