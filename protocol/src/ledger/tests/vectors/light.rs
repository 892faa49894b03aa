//! Headers that a light client is given, and what it makes of them.

use std::{format, slice, string::String, vec, vec::Vec};

use serde_json::{Value, json};

use crate::{
    codec::Encode,
    id::{ChainId, Hash, hex},
    ledger::{
        block::{Header, SignedHeader},
        commit::{
            CommitError, Validators,
            tests::{commit, header, set},
        },
        light::{LightError, Trusted},
    },
    time::{LedgerTime, Millis},
};

fn name(error: LightError) -> String {
    let words = match error {
        LightError::Commit(error) => format!("{error:?}"),
        error => format!("{error:?}"),
    };
    words.split([' ', '{']).next().unwrap_or_default().into()
}

struct Client {
    trusted: Trusted,
    cases: Vec<Value>,
}

impl Client {
    fn at(height: u64, set: &Validators) -> Self {
        let header = header(height, set, set);
        let trusted = Trusted {
            chain: header.chain,
            height,
            digest: header.digest(),
            time_ms: header.facts.time_ms,
            validators: set.clone(),
            trusting_ms: Millis::DAY,
        };
        Self { trusted, cases: Vec::new() }
    }

    fn given(&mut self, called: &str, why: &str, signed: &SignedHeader, sets: &[Validators]) {
        let made = self.trusted.follow(signed, sets);
        let after = made.as_ref().map_or(String::new(), |after| hex(&after.to_bytes()));
        self.cases.push(json!({
            "name": called,
            "why": why,
            "trusted": hex(&self.trusted.to_bytes()),
            "header": hex(&signed.to_bytes()),
            "sets": sets.iter().map(|set| hex(&set.to_bytes())).collect::<Vec<_>>(),
            "outcome": made.map_or_else(name, |_| "ok".into()),
            "after": after,
        }));
    }
}

fn signed(header: Header, set: &Validators, signers: &[u8]) -> SignedHeader {
    SignedHeader { commit: commit(&header, set, signers), header }
}

/// Commits of a later header by four validators, of whom `client` knows the set.
fn commits(client: &mut Client, four: &Validators) {
    let later = || header(9, four, four);
    let good = signed(later(), four, &[1, 2]);
    client.given("a later header", "eight of ten parts have signed", &good, &[]);
    let seven = signed(later(), four, &[1, 3, 4]);
    client.given("seven parts", "just more than two thirds", &seven, &[]);
    client.given("six parts", "too little", &signed(later(), four, &[1, 3]), &[]);
    client.given("no signature", "none", &signed(later(), four, &[]), &[]);
    let mut other = good.clone();
    other.commit.round += 1;
    client.given("another round", "which was not signed", &other, &[]);
    let mut other = good.clone();
    other.commit.signatures.reverse();
    client.given("signatures in another order", "one form only", &other, &[]);
    let mut other = good.clone();
    other.commit.signatures[1] = other.commit.signatures[0];
    client.given("a signature twice", "it counts once", &other, &[]);
    let mut other = good.clone();
    other.commit.signatures[1].validator = 4;
    client.given("a fifth of four", "there is none", &other, &[]);
    let mut other = signed(later(), four, &[1, 2, 3]);
    other.commit.signatures[2].signature[9] ^= 1;
    client.given("a bad signature too many", "all must hold", &other, &[]);
    let mut other = good.clone();
    other.header.state_root = Hash([9; 32]);
    client.given("other rows", "which were not signed", &other, &[]);
}

pub(super) fn cases() -> Vec<Value> {
    let (four, alone) = (set(&[(1, 5), (2, 3), (3, 1), (4, 1)]), set(&[(9, 1)]));
    let mut client = Client::at(5, &four);
    commits(&mut client, &four);
    let later = || header(9, &four, &four);
    let here = header(5, &four, &four);
    let next = Header { parent: here.digest(), ..header(6, &four, &four) };
    let child = signed(next.clone(), &four, &[1, 2]);
    client.given("the next header", "its parent is known", &child, &[]);
    let unsigned = signed(here.clone(), &four, &[]);
    client.given("the same header", "it is trusted already", &unsigned, &[]);
    let other = Header { chain: ChainId([9; 32]), ..later() };
    client.given("another ledger", "with the same keys", &signed(other, &four, &[1, 2]), &[]);
    let other = signed(header(4, &four, &four), &four, &[1, 2]);
    client.given("an older header", "before the trusted one", &other, &[]);
    let mut other = later();
    other.facts.time_ms = LedgerTime(4_999);
    client.given("an earlier time", "in a later header", &signed(other, &four, &[1, 2]), &[]);
    let mut other = later();
    other.facts.time_ms = LedgerTime(5_000);
    client.given("the same time", "in a later header", &signed(other, &four, &[1, 2]), &[]);
    let twin = Header { events_root: Hash([9; 32]), ..here };
    client.given("a twin", "two headers of a height", &signed(twin.clone(), &four, &[1, 2]), &[]);
    client.given("a twin of few", "which proves nothing", &signed(twin, &four, &[1, 3]), &[]);
    let orphan = Header { parent: Hash([9; 32]), ..next };
    client.given("another parent", "of the next header", &signed(orphan, &four, &[1, 2]), &[]);
    let stranger = signed(header(9, &alone, &four), &alone, &[9]);
    client.given("other validators", "which are not named", &stranger, &[]);
    client.given("strangers", "of whom none is known", &stranger, slice::from_ref(&alone));

    let new = set(&[(1, 1), (5, 1), (6, 1), (7, 1)]);
    let changed = |signers: &[u8]| signed(header(9, &new, &new), &new, signers);
    let with = slice::from_ref(&new);
    client.given("a change", "five of ten known parts have signed", &changed(&[1, 5, 6]), with);
    client.given("a change without the set", "which is unknown", &changed(&[1, 5, 6]), &[]);
    client.given("a change without the old", "none has signed", &changed(&[5, 6, 7]), with);
    let mut next = header(6, &new, &new);
    next.parent = header(5, &four, &four).digest();
    let next = signed(next, &new, &[1, 5, 6, 7]);
    client.given("a change in the next header", "which the trusted one does not name", &next, with);
    let last = signed(header(9, &four, &new), &four, &[1, 2]);
    client.given("a set for the next", "it is known from then on", &last, with);
    client.given("a set for the next that is not given", "then the next is unknown", &last, &[]);

    let thirds = set(&[(1, 1), (2, 1), (3, 1)]);
    let mut one_third = Client::at(5, &thirds);
    one_third.given("a third", "exactly one is too little", &changed(&[1, 5, 6]), with);
    let two = signed(header(9, &thirds, &thirds), &thirds, &[1, 2]);
    one_third.given("two thirds", "exactly two are too little", &two, &[]);
    let mut solo = Client::at(0, &alone);
    let first = signed(header(9, &alone, &alone), &alone, &[9]);
    solo.given("one validator", "which is all", &first, &[]);
    solo.given(
        "an unsigned header",
        "without a signature",
        &signed(header(9, &alone, &alone), &alone, &[]),
        &[],
    );
    let all = [client.cases, one_third.cases, solo.cases].concat();
    assert!(matches!(
        one_third.trusted.follow(&two, &[]),
        Err(LightError::Commit(CommitError::TooLittlePower { signed: 2, total: 3 }))
    ));
    all
}

/// Sets of validators for a genesis, with why a ledger refuses them or takes them.
pub(super) fn sets() -> Vec<(&'static str, &'static str, Validators)> {
    let mut swapped = set(&[(1, 1), (2, 1)]);
    swapped.members.reverse();
    let mut twice = set(&[(1, 1), (2, 1)]);
    twice.members[1] = twice.members[0];
    let crowd = |count: u8| {
        let mut crowd = set(&[(1, 1)]);
        let mut one = crowd.members[0];
        crowd.members = (0..count)
            .map(|number| {
                one.key.0 = [number; 32];
                one
            })
            .collect();
        crowd
    };
    vec![
        ("128 validators", "the most there may be", crowd(128)),
        ("the most power", "all of it is the largest number", set(&[(1, 1), (2, u64::MAX - 1)])),
        ("no validator", "Count", Validators { members: Vec::new() }),
        ("129 validators", "Count", crowd(129)),
        ("validators in another order", "Order", swapped),
        ("a validator twice", "Order", twice),
        ("a validator without power", "NoPower", set(&[(1, 1), (2, 0)])),
        ("too much power", "TooMuchPower", set(&[(1, 1), (2, u64::MAX)])),
    ]
}
