//! Blocks that say how their parent was committed, and whose turn it was.

use std::{format, string::String, vec::Vec};

use serde_json::{Value, json};

use crate::{
    codec::Encode,
    id::{ChainId, hex},
    ledger::{
        block::BlockInputs,
        commit::{
            Commit, Validators,
            tests::{commit, header, set},
        },
        last::{LastCommit, LastError, check_last},
        proposer::{proposer, turns as turns_of},
    },
    time::LedgerTime,
};

struct Cases {
    out: Vec<Value>,
    validators: Validators,
}

impl Cases {
    /// A block after the one of this height, whose facts say this of its commit, and that carries that commit.
    fn add(
        &mut self,
        (name, why): (&str, &str),
        height: u64,
        last: Option<LastCommit>,
        shown: Option<&Commit>,
    ) {
        let parent = header(height, &self.validators, &self.validators);
        let facts = BlockInputs { time_ms: LedgerTime(9_000), proposer: 0, reveal: None, last };
        let outcome = match check_last(&parent, &self.validators, &facts, shown) {
            Ok(()) => String::from("ok"),
            Err(LastError::Commit(error)) => format!("{error:?}"),
            Err(error) => format!("{error:?}"),
        };
        let outcome = outcome.split([' ', '{']).next().unwrap();
        self.out.push(json!({
            "name": name, "why": why, "outcome": outcome, "parent": hex(&parent.to_bytes()),
            "validators": hex(&self.validators.to_bytes()), "facts": hex(&facts.to_bytes()),
            "last": shown.map(|commit| hex(&commit.to_bytes())),
        }));
    }
}

pub(super) fn cases() -> Vec<Value> {
    let four = set(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
    let parent = header(7, &four, &four);
    let (all, three) = (commit(&parent, &four, &[1, 2, 3, 4]), commit(&parent, &four, &[1, 2, 4]));
    let (last, of_three) = (LastCommit::of(&all), LastCommit::of(&three));
    let mut cases = Cases { out: Vec::new(), validators: four.clone() };
    let why = "more than two thirds have signed";
    cases.add(("all have signed", "each bit stands for a place"), 7, Some(last), Some(&all));
    cases.add(("three of four", why), 7, Some(of_three), Some(&three));
    let why = "the facts count, and they are of another commit";
    cases.add(("one more than was said", why), 7, Some(of_three), Some(&all));
    cases.add(("one less than was said", why), 7, Some(last), Some(&three));
    let later = LastCommit { round: 4, ..last };
    cases.add(("another round", "turns would be missed"), 7, Some(later), Some(&all));
    cases.add(("nothing said", "the set has four members"), 7, None, None);
    cases.add(("nothing shown", "the facts alone prove nothing"), 7, Some(last), None);
    cases.add(("only shown", "what counts stands in the facts"), 7, None, Some(&all));
    let two = commit(&parent, &four, &[1, 2]);
    cases.add(("two of four", "no commit"), 7, Some(LastCommit::of(&two)), Some(&two));
    let mut beyond = last;
    beyond.signers[0] |= 1 << 4;
    cases.add(("a fifth member", "the set has four"), 7, Some(beyond), Some(&all));
    let mut forged = all.clone();
    forged.signatures[2].signature[9] ^= 1;
    cases.add(("a forged signature", "one bit"), 7, Some(last), Some(&forged));
    let mut twice = all.clone();
    twice.signatures.insert(1, twice.signatures[1]);
    cases.add(("one member twice", "it counts once"), 7, Some(last), Some(&twice));
    let other = commit(&header(8, &four, &four), &four, &[1, 2, 3, 4]);
    cases.add(("a commit of another block", "of the same set"), 7, Some(last), Some(&other));
    cases.add(("block 1", "its parent is the genesis"), 0, None, None);
    cases.add(("block 1 with a commit", "none is needed"), 0, Some(last), Some(&all));
    let one = set(&[(1, 1)]);
    let alone = commit(&header(7, &one, &one), &one, &[1]);
    cases.validators = one;
    cases.add(("one validator", "it can only have signed"), 7, None, None);
    let said = Some(LastCommit::of(&alone));
    cases.add(("one validator, said all the same", "none is needed"), 7, said, Some(&alone));
    cases.out
}

/// How often each member had its turn in the first rounds of a height.
pub(super) fn turns() -> Vec<Value> {
    let chain = ChainId([7; 32]);
    let sets = [&[(1, 1)][..], &[(1, 5), (2, 3), (3, 1), (4, 1)], &[(1, 1), (2, u64::MAX - 1)]];
    let mut out = Vec::new();
    for (members, height) in sets.into_iter().flat_map(|set| [1, 2, 900].map(|at| (set, at))) {
        let validators = set(members);
        for rounds in [0, 1, 2, 5, 1_000_003, u32::MAX] {
            out.push(json!({
                "name": format!("{} members, height {height}, {rounds} rounds", members.len()),
                "why": "the proposers of these rounds", "outcome": "ok",
                "chain": hex(&chain.to_bytes()), "validators": hex(&validators.to_bytes()),
                "height": height, "rounds": rounds,
                "first": hex(&proposer(&chain, &validators, height, 0).to_bytes()),
                "turns": turns_of(&chain, &validators, height, rounds),
            }));
        }
    }
    out
}
