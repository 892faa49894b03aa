//! What the certificate of a block costs a reader: bytes, and time beside the signatures in it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench")]

use criterion::{Criterion, criterion_group, criterion_main};
use ed25519_dalek::SigningKey;
use symbolon_protocol::{
    Encode as _,
    id::{AccountId, ChainId, Hash},
    ledger::commit::{Commit, CommitSignature, Validator, Validators},
    signature,
};

const CHAIN: ChainId = ChainId([7; 32]);
const BLOCK: Hash = Hash([9; 32]);

/// A certificate by the first so many of a hundred validators with equal power.
fn certificate(signers: usize) -> (Validators, Commit) {
    let keys = (1..=100_u8).map(|number| SigningKey::from_bytes(&[number; 32]));
    let mut keys: Vec<_> =
        keys.map(|key| (AccountId(key.verifying_key().to_bytes()), key)).collect();
    keys.sort_unstable_by_key(|(id, _)| *id);
    let members = keys.iter().map(|(key, _)| Validator { key: *key, power: 1 }).collect();
    let digest = Commit::statement(&CHAIN, 5, 0, &BLOCK);
    let sign = |(place, (_, key)): (usize, &(AccountId, SigningKey))| CommitSignature {
        validator: u16::try_from(place).unwrap(),
        signature: signature::sign(key, &digest),
    };
    let signatures = keys.iter().enumerate().take(signers).map(sign).collect();
    (Validators { members }, Commit { round: 0, signatures })
}

fn certificates(criterion: &mut Criterion) {
    for signers in [67, 100] {
        let (set, commit) = certificate(signers);
        println!("{signers} of 100 validators: {} bytes", commit.to_bytes().len());
        let digest = Commit::statement(&CHAIN, 5, 0, &BLOCK);
        let mut group = criterion.benchmark_group(format!("certificate of {signers}"));
        group.bench_function("verify", |bench| {
            bench.iter(|| {
                let digest = Commit::statement(&CHAIN, 5, 0, &BLOCK);
                commit.verify_statement(&digest, &set, signature::verify).unwrap();
            });
        });
        group.bench_function("floor: its signatures", |bench| {
            bench.iter(|| {
                for one in &commit.signatures {
                    let key = &set.members[usize::from(one.validator)].key;
                    signature::verify(&key.0, &digest, &one.signature).unwrap();
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, certificates);
criterion_main!(benches);
