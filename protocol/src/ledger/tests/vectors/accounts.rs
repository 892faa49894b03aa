//! Ledgers at the edges of accounts, envelopes and facts.

use std::{vec, vec::Vec};

use super::{World, Writer, key, status_block, transfer};
use crate::{
    amount::Amount,
    codec::Encode,
    id::TransactionId,
    ledger::{
        Status,
        params::Params,
        tests::world::params,
        transaction::{Action, Transaction},
    },
    limits::{BLOCK_BYTES_MAX, TRANSACTION_BYTES_MAX},
    proof::LeafProof,
    time::Millis,
};

pub(super) fn write(writer: &mut Writer) {
    faucets(writer);
    sizes(writer);
    seen(writer);
    roots(writer);
}

fn roots(writer: &mut Writer) {
    writer.genesis("a ledger for root records", World::new());
    let set = |expected_version, bytes: usize| Action::SetRoot {
        expected_version,
        blob: vec![0xab; bytes],
    };
    writer.act("the largest root", "4096 bytes", 1, set(0, 4096));
    let why = "one step more than there may be";
    writer.refuse(Status::BadField, "root of 4608 bytes", why, (1, set(1, 4608)));
    let why = "no step ends there";
    writer.refuse(Status::BadField, "root of 1025 bytes", why, (1, set(1, 1025)));
    writer.act("another account's root", "is at a version of its own", 2, set(0, 512));
    let why = "it is at version 1";
    writer.refuse(Status::RootMoved, "root of version 2", why, (2, set(2, 512)));
}

fn with_faucet(faucet: u128, faucet_blocks: u64) -> Params {
    // No play money: stake stays bound for longer than a client trusts.
    let (trusting_ms, unbonding_ms) = (Millis::DAY, Millis::DAY.saturating_mul(2));
    let of = params();
    Params { faucet: Amount(faucet), faucet_blocks, trusting_ms, unbonding_ms, ..of }
}

fn faucets(writer: &mut Writer) {
    writer.genesis("a ledger without a faucet", World::with(with_faucet(0, 3)));
    let why = "it gives nothing";
    writer.refuse(Status::FaucetClosed, "closed faucet", why, (1, Action::Faucet));

    writer
        .genesis("a ledger whose faucet gives everything", World::with(with_faucet(u128::MAX, 0)));
    writer.act("all there can be", "2^128 - 1 units are issued", 1, Action::Faucet);
    let why = "no more can be counted";
    writer.refuse(Status::Overflow, "one faucet too many", why, (2, Action::Faucet));
    writer.act("everything moves", "a whole balance", 1, transfer(2, u128::MAX));

    writer.genesis("a ledger whose faucet waits for nothing", World::with(with_faucet(5, 0)));
    writer.act("faucet", "the first of this account", 1, Action::Faucet);
    writer.act("faucet in the next block", "no block has to be waited for", 1, Action::Faucet);
    let twice = [1, 1].map(|who| writer.world.sign(who, Action::Faucet));
    let why = "one request of an account in a block in any case";
    status_block(writer, Status::FaucetEmpty, "faucet twice in a block", why, &twice);

    writer.genesis("a ledger whose faucet waits three blocks", World::new());
    writer.act("faucet again", "at height 1", 1, Action::Faucet);
    writer.empty("a block", "height 2");
    let why = "two blocks after the last one";
    writer.refuse(Status::FaucetEmpty, "faucet a block early", why, (1, Action::Faucet));
    writer.empty("another block", "height 3");
    writer.act("faucet after three blocks", "the wait is over", 1, Action::Faucet);
}

/// A transaction of exactly so many bytes.
fn sized(writer: &mut Writer, bytes: usize) -> Transaction {
    let prove = |count| {
        let leaf = LeafProof { leaf: vec![0; count], path: Vec::new() };
        Action::Prove { epoch: 0, leaves: vec![leaf] }
    };
    let head = writer.world.sign(1, prove(0)).to_bytes().len();
    let signed = writer.world.sign(1, prove(bytes - head));
    assert_eq!(signed.to_bytes().len(), bytes);
    signed
}

fn sizes(writer: &mut Writer) {
    writer.genesis("a ledger for sizes", World::new());
    let largest = sized(writer, TRANSACTION_BYTES_MAX);
    let why = "as large as any, so something else is wrong with it";
    writer.no(Status::UnknownNode, "largest transaction", why, &largest);
    let larger = sized(writer, TRANSACTION_BYTES_MAX + 1);
    writer.no(Status::TooLarge, "a byte larger", "one byte over the limit", &larger);
    let mut full = vec![largest; BLOCK_BYTES_MAX / TRANSACTION_BYTES_MAX];
    let why = "as large as any, so its first transaction is looked at";
    status_block(writer, Status::UnknownNode, "largest block", why, &full);
    let faucet = writer.world.sign(1, Action::Faucet);
    let left = TRANSACTION_BYTES_MAX + 1 - faucet.to_bytes().len();
    *full.last_mut().unwrap() = sized(writer, left);
    full.push(faucet);
    let why = "a byte over a mebibyte of transactions";
    writer.none("a byte more in a block", why, &full, "TooLarge");
}

fn seen(writer: &mut Writer) {
    writer.genesis("a ledger for envelopes", World::new());
    writer.act("faucet once", "for envelopes", 1, Action::Faucet);
    let (chain, height) = (writer.world.id(), writer.world.chain().height + 1);
    let build = |id: u8, until| {
        Transaction::build(chain, &key(1), TransactionId([id; 16]), until, transfer(2, 1))
    };
    let now = build(1, height);
    writer.ok("valid for this block", "its last height is this one", std::slice::from_ref(&now));
    let far = build(2, height + 1 + 20);
    writer.ok("valid for as long as can be", "twenty blocks ahead", std::slice::from_ref(&far));
    let why = "it was applied, and is no part of another block";
    status_block(writer, Status::IdReused, "applied before", why, std::slice::from_ref(&far));
    let fresh = writer.world.sign(1, transfer(2, 1));
    let why = "nor twice of one block";
    status_block(writer, Status::IdReused, "twice in a block", why, &[fresh.clone(), fresh]);
    writer.no(Status::Expired, "expired by a block", "its last height was before", &now);
    let other = Transaction::build(chain, &key(2), far.id, far.valid_until, transfer(1, 1));
    writer.ok("the same id of another sender", "ids are each sender's own", &[other]);
    forgotten(writer);
}

/// An id is remembered until its transaction's last height, and free after it.
fn forgotten(writer: &mut Writer) {
    let paid = writer.world.sign(1, transfer(2, 9));
    writer.ok("a transfer of nine", "valid for ten blocks", std::slice::from_ref(&paid));
    for _ in 0..10 {
        writer.empty("time goes on", "until its id is forgotten");
    }
    let (chain, until) = (writer.world.id(), paid.valid_until);
    let why = "its last height is the one before";
    writer.no(Status::Expired, "the same transfer, sent late", why, &paid);
    let free = Transaction::build(chain, &key(1), paid.id, until + 5, transfer(2, 1));
    writer.ok("an id used again", "it was forgotten", &[free]);
}
